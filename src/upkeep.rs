//! Upkeep of existing backups: deletion, adoption and comparison with the backup list of Camunda 8 SaaS.

pub mod adopt;
pub mod delete;
pub mod prune;
pub(crate) mod saas_sync;
