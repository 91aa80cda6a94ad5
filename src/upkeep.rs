//! Upkeep of existing backups: retention passes (`prune`), deletion (`delete`), registration after a loss of
//! the state file (`adopt`), and comparison with the backup list of Camunda 8 SaaS (`saas_sync`).

pub mod adopt;
pub mod delete;
pub mod prune;
pub(crate) mod saas_sync;
