//! camunda-backupd: whole, consistent, zero-downtime backups of Camunda 8 clusters.
//!
//! The flow, left to right, is also the order in which modules may know each other:
//! `config -> schedule -> plan -> run (over clients) -> retention -> api`, with `store` under all of it.
//! `domain`, `clock` and `lock` are known by all and know nobody. `sim` is a Camunda cluster made of data:
//! it knows nothing of our plan, so it can tell when the plan is wrong.

pub mod api;
pub mod backup;
pub mod camunda;
pub mod cli;
pub mod clock;
pub mod config;
pub mod context;
pub mod daemon;
pub mod domain;
pub mod journal;
mod lock;
pub mod logging;
pub(crate) mod parts;
pub mod pause;
pub mod plan;
pub mod preflight;
pub mod queue;
pub mod retention;
pub mod schedule;
pub mod sim;
pub mod store;
pub mod upkeep;
