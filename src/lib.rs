//! camunda-backupd: whole, consistent, zero-downtime backups of Camunda 8 clusters.
//!
//! The flow, left to right, is also the order in which modules may know each other:
//! `config -> schedule -> plan -> run (over clients) -> retention -> api`, with `store` under all of it.
//! `domain`, `clock` and `lock` are known by all and know nobody. `sim` is a Camunda cluster made of data:
//! it knows nothing of our plan, so it can tell when the plan is wrong.

pub mod api;
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
pub mod plan;
pub mod preflight;
pub mod queue;
pub mod retention;
pub mod schedule;
#[cfg(feature = "sim")]
pub mod sim;
pub mod store;
pub mod upkeep;

use std::process::ExitCode;

/// The program: parses the arguments, runs one command, returns its exit code.
///
/// The runtime is started here and not in `main.rs`, because a generic `block_on` in another crate would compile
/// every async function of the command line a second time.
pub fn main() -> ExitCode {
    let arguments = cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::failed(&format!("the runtime cannot be started: {error}")),
    };
    let code = runtime.block_on(cli::run(arguments));
    // Running tasks are dropped: the next start resumes exporting and continues their runs.
    runtime.shutdown_background();
    ExitCode::from(code)
}
