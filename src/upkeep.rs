//! Keeping the backups that exist in order: deletion, adoption and the provider's list.

pub mod adopt;
pub mod delete;
pub mod prune;
pub(crate) mod saas_sync;
