//! Data and time of a simulated cluster.
//!
//! Owns the stored data and its change over time. Must not know requests or responses (`wire`).

pub mod backups;
pub mod broker;
pub(crate) mod client_work;
pub(crate) mod cluster;
pub(crate) mod condition;
pub mod config;
pub mod content;
mod effects;
pub mod history;
pub mod importer;
pub mod indices;
pub mod random;
pub mod restore;
pub mod saas;
pub mod snapshots;
pub mod timing;
pub mod webapps;
pub mod world;
