//! A simulated Camunda cluster, made of data and not of canned answers.

pub mod backups;
pub mod broker;
pub mod config;
pub mod content;
pub mod faults;
pub mod history;
pub mod importer;
pub mod indices;
pub mod model;
pub mod random;
pub mod restore;
pub mod snapshots;
pub mod timing;
pub mod webapps;
pub mod world;

pub use config::{Config, Engine, Version};
pub use importer::App;
pub use model::Cluster;
pub use restore::{Piece, Restored};
pub use timing::{Load, Timing};
