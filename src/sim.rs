//! A simulated Camunda cluster, made of data and not of canned answers.
//!
//! Brokers write logs, exporters copy records to a search store, web apps import them, and backups are copies of
//! that at an instant; what a restore would bring back is computed from the copies (`restore.rs` tells how and why).
//! The same model answers over HTTP and in memory. Must not know plans, runs, retention or the store: it could not
//! tell when they are wrong.
//!
//! # How to use it
//!
//! ```
//! use camunda_backupd::sim::{Cluster, Config, SimTransport, Timing, shared};
//! let config = Config { seed: 7, timing: Timing::default().faster(10.0), ..Config::named("orders") };
//! let table = config.daemon_table(&config.memory_url()); // the TOML that points a daemon at it
//! let cluster = shared(Cluster::new(config, chrono::DateTime::UNIX_EPOCH));
//! # assert!(table.contains("zeebe = \"http://sim-orders/zeebe\""));
//! # drop(cluster);
//! ```
//!
//! - In memory: `SimTransport::to([cluster], clock)` is a `clients::Transport`; hosts are `sim-NAME`.
//! - On a socket: `server::serve(listener, cluster, clock, shutdown)`; `config.daemon_table("http://127.0.0.1:9700")`.
//! - Families: `Config::version` and `Config::storage`; `continuous` and `scheduler` make the brokers give the ids.
//!   Until 8.7 and with Optimize there are exported records, since 8.8 one history, with `Storage::Rdbms` neither.
//! - In Camunda's cloud: `Storage::Saas`; the one part is then `/saas`, the Administration API and its token endpoint.
//! - Faster: `Timing::default().faster(n)`, or `Timing::tiny()`; wall clocks stay true, only durations shrink.
//! - Faults: `locked(&cluster).arm("zeebe-post.drop-answer, operate.stall")`; `faults.rs` lists them all.
//! - Judging: `locked(&cluster).restore(id).is_whole()`, or `POST /sim/restore {"backup_id": id}`; a relational database
//!   is backed up by its operator, so by `backup_database()` or `POST /sim/backup-database`.
//! - Looking: `seen` counts requests by endpoint, `pauses` tells how long exporting stood still, `GET /sim/state`
//!   tells both; in tests without time, `advance(now)`, `pass(duration)` and the model's own verbs.

pub mod backups;
pub mod broker;
mod condition;
pub mod config;
pub mod content;
mod control;
pub mod faults;
pub mod history;
pub mod importer;
pub mod indices;
pub mod model;
pub mod provider;
pub mod random;
pub mod restore;
pub mod server;
pub mod snapshots;
mod strike;
pub mod timing;
pub mod transport;
pub mod webapps;
pub mod wire;
mod wire_broker;
mod wire_clients;
mod wire_history;
mod wire_indices;
mod wire_rest;
mod wire_runtime;
mod wire_saas;
mod wire_search;
mod wire_state;
mod wire_webapp;
pub mod world;

pub use config::{Config, Storage, Version};
pub use importer::App;
pub use model::Cluster;
pub use restore::{Piece, Restored};
pub use timing::{Load, Timing};
pub use transport::{SharedCluster, SimTransport, locked, shared};
