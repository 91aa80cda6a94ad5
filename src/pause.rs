//! Pausing and resuming exporting.

pub mod confirm;
pub mod credentials;
pub mod disk_space;
pub mod forecast;
pub mod offline;
pub mod relocate;
pub mod reminders;
pub mod resume;
pub mod start;
