//! camunda-backupd: scheduled, consistent backups for Camunda 8.
//!
//! Flow: `config -> schedule -> queue -> plan -> backup (over parts and camunda) -> retention -> api`, with `store` below
//! all of it. Every module may use `domain`, `clock` and `lock`; these use no other module. `sim` simulates a Camunda
//! cluster in memory. It must not use `plan`, `backup` or `retention`, so that a test against it can prove them wrong.
//! ARCHITECTURE.md lists the allowed dependencies.

pub mod api;
mod backoff;
pub mod backup;
pub mod camunda;
mod cli;
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
pub(crate) mod plan;
pub mod preflight;
pub mod queue;
pub mod retention;
pub mod schedule;
#[cfg(feature = "sim")]
pub mod sim;
pub mod store;
pub mod upkeep;

use std::process::ExitCode;

/// Parses the arguments, runs one command, returns its exit code.
///
/// The runtime starts here and not in `main.rs`: a generic `block_on` in another crate would compile every async
/// function of the command line a second time.
pub fn main() -> ExitCode {
    let arguments = cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::failed(&format!("cannot start the async runtime: {error}")),
    };
    let code = runtime.block_on(cli::run(arguments));
    // Tasks that still run are dropped. The next start resumes exporting and continues their runs.
    runtime.shutdown_background();
    ExitCode::from(code)
}
