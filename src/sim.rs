//! A simulated Camunda cluster that computes its responses from data.
//!
//! - `model` owns data and time: brokers write logs, exporters copy records to a search store, web apps
//!   import them, and backups copy all of that at an instant. `model/restore.rs` computes the result of a
//!   restore from the copies.
//! - `wire` owns requests and responses, over HTTP and in memory alike.
//! - `faults` owns the language of faults.
//!
//! Must not import plans, backups, pauses, queues, retention, schedules, the journal or the store: the
//! simulation is independent of them, so that it can detect their errors. `wire` uses `model`; `model` uses
//! only the types of `faults`.
//!
//! # How to use it
//!
//! ```
//! use camunda_backupd::sim::{Cluster, Config, SimTransport, Timing, shared};
//! let config = Config { seed: 7, timing: Timing::default().faster(10.0), ..Config::named("orders") };
//! let table = config.daemon_table(&config.memory_url()); // configures a daemon
//! let cluster = shared(Cluster::new(config, chrono::DateTime::UNIX_EPOCH));
//! # assert!(table.contains("zeebe = \"http://sim-orders/zeebe\""));
//! # drop(cluster);
//! ```
//!
//! - In memory: `SimTransport::to([cluster], clock)` is a `camunda::Transport`; hosts are `sim-NAME`.
//! - On a socket: `server::serve(listener, cluster, clock, shutdown)`;
//!   `config.daemon_table("http://127.0.0.1:9700")`.
//! - Families: `Config::version` and `Config::storage`; with `continuous` and `scheduler` the brokers
//!   generate the ids. Exported records exist until 8.7 and with Optimize, the common history since 8.8,
//!   neither with `Storage::Rdbms`.
//! - Camunda 8 SaaS: `Storage::Saas`; its only part is `/saas`, the Administration API and its token
//!   endpoint.
//! - Speed: `Timing::default().faster(n)` or `Timing::tiny()`; wall clocks stay correct, only durations
//!   shrink.
//! - Faults: `locked(&cluster).arm("zeebe-post.drop-response, operate.stall")`; `faults.rs` lists them all.
//! - Verdict: `locked(&cluster).restore(id).is_whole()`, or `POST /sim/restore {"backup_id": id}`. The
//!   operator backs up a relational database, so use `backup_database()` or `POST /sim/backup-database`.
//! - Inspection: `seen` counts requests by endpoint, `pauses` measures exporting pauses, and `GET /sim/state`
//!   returns both. Tests without time use `advance(now)`, `pass(duration)` and the model's own methods.

pub(crate) mod faults;
pub mod model;
pub mod server;
pub(crate) mod transport;
pub mod wire;

pub use model::cluster::Cluster;
pub use model::config::{Config, Storage, Version};
pub use model::importer::App;
pub use model::restore::{Piece, Restored};
pub use model::timing::{Load, Timing};
pub use transport::{SharedCluster, SimTransport, locked, shared};
