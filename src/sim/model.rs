//! Data and time of a simulated cluster.
//!
//! Owns the stored data and its change over time. Must not know requests or responses (`wire`).

pub(crate) mod backups;
pub(crate) mod broker;
pub(crate) mod client_work;
pub(crate) mod cluster;
pub(crate) mod condition;
pub mod config;
pub(crate) mod content;
mod effects;
pub(crate) mod history;
pub(crate) mod importer;
pub(crate) mod indices;
pub mod random;
pub(crate) mod restore;
pub mod saas;
pub mod snapshots;
pub(crate) mod timing;
pub mod webapps;
pub(crate) mod world;
