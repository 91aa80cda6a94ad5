//! Table of contents: arguments, then one command, then the exit code.

use camunda_backupd::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::failed(&format!("the runtime cannot be started: {error}")),
    };
    let code = runtime.block_on(cli::run(arguments));
    // What is still under way is re-entered, and paid for, by the next start.
    runtime.shutdown_background();
    ExitCode::from(code)
}
