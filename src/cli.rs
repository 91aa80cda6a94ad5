//! The command line.
//!
//! Owns arguments, output and exit codes. Commands call the daemon over its control socket, or read the config alone.
//! Must not contact a cluster or open the store, except for `check --online`, `plan` (read-only) and `resume-exporting --pending` without a
//! daemon.

#![allow(clippy::print_stdout, clippy::print_stderr)] // the command line's own output

mod arguments;
mod backups;
mod client;
#[cfg(feature = "sim")]
mod demo;
mod offline;
mod online;
mod output;
mod pending_resumes;
mod restore;
#[cfg(feature = "sim")]
mod simulate;

use arguments::{Arguments, Command, PendingResumeAction};
use client::Client;
use std::process::ExitCode;

/// Exit codes, as listed in the man page.
mod exit {
    pub(super) const DONE: u8 = 0;
    pub(super) const FAILED: u8 = 1;
    /// Usage or config error.
    pub(super) const USAGE: u8 = 2;
    /// Daemon or cluster not reachable.
    pub(super) const UNREACHABLE: u8 = 3;
    /// Refused: rate limit, busy, hold, not ours.
    pub(super) const REFUSED: u8 = 4;
}

/// A failed command: the message goes to standard error, the code to the shell.
#[derive(Debug)]
struct Failure {
    /// Exit code, one of the constants in `exit`.
    pub code: u8,
    /// Cause and remedy; printed after `error: `.
    pub message: String,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Parses the arguments; usage errors end the process with code 2.
pub(crate) fn parse() -> Arguments {
    <Arguments as clap::Parser>::parse()
}

/// Reports a failure before any command ran.
pub(crate) fn failed(message: &str) -> ExitCode {
    output::complain(&format!("error: {message}"));
    ExitCode::from(exit::FAILED)
}

/// Runs one command; returns its exit code.
pub(crate) async fn run(arguments: Arguments) -> u8 {
    match dispatch(arguments).await {
        Ok(code) => code,
        Err(failure) => {
            output::complain(&format!("error: {}", failure.message));
            failure.code
        }
    }
}

async fn dispatch(arguments: Arguments) -> Result<u8, Failure> {
    let json = arguments.json;
    let config = &arguments.config;
    match arguments.command {
        Command::Serve => match crate::daemon::serve::serve(config).await {
            Ok(()) => Ok(exit::DONE),
            Err(refused) => {
                output::complain(&refused.text);
                Ok(if refused.transient { exit::FAILED } else { exit::USAGE })
            }
        },
        #[cfg(feature = "sim")]
        Command::Demo { period, listen } => demo::demo(period, listen).await,
        #[cfg(feature = "sim")]
        Command::Sim(options) => simulate::sim(options).await,
        Command::Check { online: true } => online::check(config, json).await,
        Command::Check { online: false } => Ok(offline::check(config, json)),
        Command::Plan { cluster } => offline::plan(config, &cluster, json),
        Command::Next { schedule, from, count } => {
            offline::next(config, schedule.as_deref(), from, count.into(), json)
        }
        Command::Schema => {
            output::print(&crate::config::schema::text());
            Ok(exit::DONE)
        }
        Command::Backup { cluster, wait, note } => {
            backups::backup(&Client::find(arguments.url.as_deref(), config)?, &cluster, wait, note, json)
                .await
        }
        Command::Cancel { cluster, why, patience } => {
            backups::cancel(&Client::find(arguments.url.as_deref(), config)?, &cluster, why, patience, json)
                .await
        }
        Command::List { cluster } => {
            backups::list(&Client::find(arguments.url.as_deref(), config)?, cluster, json).await
        }
        Command::Show { id } => {
            backups::show(&Client::find(arguments.url.as_deref(), config)?, &id, json).await
        }
        Command::Delete { cluster, backup_id, yes } => {
            backups::delete(&Client::find(arguments.url.as_deref(), config)?, &cluster, backup_id, yes, json)
                .await
        }
        Command::Restore { cluster, backup_id, yes, wait } => {
            let client = Client::find(arguments.url.as_deref(), config)?;
            restore::restore(&client, &cluster, backup_id, yes, wait, json).await
        }
        Command::Status => backups::status(&Client::find(arguments.url.as_deref(), config)?, json).await,
        Command::Schedules => {
            backups::schedules(&Client::find(arguments.url.as_deref(), config)?, json).await
        }
        Command::Adopt { cluster } => {
            backups::adopt(&Client::find(arguments.url.as_deref(), config)?, &cluster, json).await
        }
        Command::PendingResumes { action: None } => {
            pending_resumes::list(&Client::find(arguments.url.as_deref(), config)?, json).await
        }
        Command::PendingResumes { action: Some(PendingResumeAction::Abandon { cluster, why }) } => {
            let client = Client::find(arguments.url.as_deref(), config)?;
            pending_resumes::abandon(&client, &cluster, why, json).await
        }
        Command::ResumeExporting { pending: true, patience, state_dir, .. } => {
            let url = arguments.url.as_deref();
            pending_resumes::resume_pending(config, url, patience, state_dir, json).await
        }
        Command::ResumeExporting { cluster: Some(cluster), patience, yes, .. } => {
            let client = Client::find(arguments.url.as_deref(), config)?;
            pending_resumes::resume(&client, &cluster, patience, yes, json).await
        }
        Command::ResumeExporting { .. } => Err(Failure::new(
            exit::USAGE,
            "name a cluster (`resume-exporting CLUSTER`) or write `resume-exporting --pending`",
        )),
    }
}
