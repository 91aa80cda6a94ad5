//! Upkeep of existing backups: retention passes (`retention_pass`, `deletions`), deletion (`delete`), registration after a loss of
//! the state file (`adopt`), and comparison with the backup list of Camunda 8 SaaS (`saas_sync`).

mod addresses;
pub mod adopt;
pub mod delete;
pub(crate) mod deletions;
pub mod retention_pass;
pub(crate) mod saas_sync;
pub mod still_complete;

pub(crate) use deletions::RetainReport;
