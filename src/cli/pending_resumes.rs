//! `pending-resumes` and `resume-exporting`: list, abandon and resume, with and without a daemon.
//!
//! Owns the choice between the daemon and the state file. Must not send a resume itself (`pause::offline` does).

use crate::cli::backups::{confirmed, print_message};
use crate::cli::client::Client;
use crate::cli::output::{cell, complain, json as print_json, print, rows, table};
use crate::cli::{Failure, exit};
use crate::clock::SystemClock;
use crate::config;
use crate::config::directories::{sockets_of, state_dir_of};
use crate::config::{Config, Environment};
use crate::domain::instant_text;
use crate::pause::offline::{OfflineResult, resume_from, transport_of};
use crate::store::sqlite::FILE;
use crate::store::{retried_by_daemon, unconfirmed};
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Added to `--for`: timeout of the daemon's response, after which the state file is read.
const RESPONSE_MARGIN: Duration = Duration::from_secs(2);
/// Added to `--for`: time for the probe of the brokers after the resume.
const PROBE_MARGIN: Duration = Duration::from_secs(15);

/// Remedy for resumes sent without a daemon.
const NO_RETRY: &str =
    "fix this, then run the command again, or start the daemon, which continues to send the resume";

/// `pending-resumes`.
pub(super) async fn list(client: &Client, as_json: bool) -> Result<u8, Failure> {
    let pending_resumes = client.get("/v1/pending-resumes").await?;
    if as_json {
        print_json(&pending_resumes);
        return Ok(exit::DONE);
    }
    let rows = rows(&pending_resumes, ["cluster", "intended_at", "attempts", "last_error", "run_id"]);
    if rows.is_empty() {
        print("no resume is pending");
    } else {
        table(&["cluster", "paused since", "attempts", "last error", "run"], rows);
    }
    Ok(exit::DONE)
}

/// `pending-resumes abandon CLUSTER --why TEXT`.
pub(super) async fn abandon(
    client: &Client,
    cluster: &str,
    why: String,
    as_json: bool,
) -> Result<u8, Failure> {
    let response = client
        .post(&format!("/v1/pending-resumes/{cluster}/abandon"), json!({ "why": why }), Duration::ZERO)
        .await?;
    if as_json {
        print_json(&response);
    } else {
        let count = &response["abandoned"];
        let noun = if *count == json!(1) { "pending resume" } else { "pending resumes" };
        print(&format!("{count} {noun} of {cluster} abandoned"));
    }
    Ok(exit::DONE)
}

/// `resume-exporting CLUSTER`: an operator's decision, also for a foreign pause.
pub(super) async fn resume(
    client: &Client,
    cluster: &str,
    patience: Duration,
    yes: bool,
    as_json: bool,
) -> Result<u8, Failure> {
    if !yes
        && !confirmed(&format!(
            "Resume exporting of {cluster}, even if someone else paused it? A backup in progress elsewhere would fail."
        ))?
    {
        return Err(Failure::new(exit::REFUSED, "nothing was resumed"));
    }
    let body = json!({ "wait_seconds": patience.as_secs() });
    let path = format!("/v1/clusters/{cluster}/resume-exporting");
    Ok(print_message(&client.post_within(&path, body, patience.saturating_add(PROBE_MARGIN)).await?, as_json))
}

/// `resume-exporting --pending`: through a live daemon, or from the state file alone where the daemon does not respond
/// or fails.
pub(super) async fn resume_pending(
    config: &Path,
    url: Option<&str>,
    patience: Duration,
    state_dir: Option<PathBuf>,
    as_json: bool,
) -> Result<u8, Failure> {
    let environment = Environment::from_process(SystemClock::shared().now());
    let loaded = config::load(config, &environment).ok().map(|loaded| loaded.config);
    if state_dir.is_none() {
        for client in daemons(config, url, loaded.as_ref(), &environment) {
            let body = json!({ "wait_seconds": patience.as_secs() });
            let limit = patience.saturating_add(RESPONSE_MARGIN);
            match client.post_within("/v1/pending-resumes/resume", body, limit).await {
                Ok(response) => {
                    let still_pending = response["still_pending"].as_array().into_iter().flatten().map(cell);
                    let why = |cluster: String| {
                        let why = response["reasons"][&cluster].as_str().unwrap_or("no reason given");
                        (cluster, why.to_owned())
                    };
                    let unread = response["unread"].as_str().map(str::to_owned);
                    let result = OfflineResult {
                        still_pending: still_pending.map(why).collect(),
                        unread,
                        ..OfflineResult::default()
                    };
                    let clear = "no cluster needs to be resumed";
                    let code = report(&result, retried_by_daemon, clear, as_json);
                    return with_warning(code, result);
                }
                // No daemon runs, or the daemon hangs. Continue with the state file, which has every pending resume.
                Err(failure) if failure.code == exit::UNREACHABLE => {}
                // The daemon failed to resume: a readable state file is enough to send the resumes.
                Err(failure) if failure.code == exit::FAILED => {
                    complain(&format!(
                        "the daemon returned an error, so the state file is read: {}",
                        failure.message
                    ));
                }
                Err(failure) => return Err(failure),
            }
        }
    }
    let under_systemd = state_dir.is_none() && environment.state_directory.is_some();
    let state_dir = state_dir
        .or_else(|| loaded.as_ref().map(|c| c.daemon.state_dir.clone()))
        .unwrap_or_else(|| state_dir_of(config, environment.state_directory.as_ref()));
    if let Some(code) = as_owner(&state_dir)? {
        return Ok(code);
    }
    let failed = |why: String| Failure::new(exit::FAILED, why);
    let clock = SystemClock::shared();
    let transport = transport_of(loaded.as_ref(), config, &environment, &state_dir, &clock);
    let transport = transport.map_err(|error| failed(error.to_string()))?;
    let instance = loaded.map(|c| c.daemon.instance).unwrap_or_default();
    let result = resume_from(&state_dir, transport, clock, instance, patience)
        .await
        .map_err(|error| failed(error.to_string()))?;
    if !result.found && result.unread.is_none() && !under_systemd {
        // Without a state file the directory may be the wrong one. Do not report that no cluster needs to be resumed.
        return Err(Failure::new(
            exit::USAGE,
            format!(
                "no state file in {}: pending resumes are unknown. Name its directory with --state-dir, or the config of the daemon with --config",
                state_dir.display()
            ),
        ));
    }
    let code = report(&result, |_| NO_RETRY.into(), &all_clear(&result, &state_dir), as_json);
    with_warning(code, result)
}

/// Prints a reason against an all-clear last. Without a worse failure the exit code is 1.
fn with_warning(code: u8, result: OfflineResult) -> Result<u8, Failure> {
    let OfflineResult { still_pending, unrecorded, unread, .. } = result;
    let warning = unread.or_else(|| {
        let why = unrecorded.filter(|_| still_pending.is_empty())?;
        Some(format!("every resume is confirmed, but the confirmation could not be stored: {why}"))
    });
    match warning {
        Some(warning) if code == exit::DONE => Err(Failure::new(exit::FAILED, warning)),
        Some(warning) => {
            complain(&format!("error: {warning}"));
            Ok(code)
        }
        None => Ok(code),
    }
}

/// Addresses at which a daemon may listen. Also known for a config that does not load.
fn daemons(
    config: &Path,
    url: Option<&str>,
    loaded: Option<&Config>,
    environment: &Environment,
) -> Vec<Client> {
    if url.is_some() {
        return Client::find(url, config).into_iter().collect();
    }
    let sockets = if let Some(config) = loaded {
        config.daemon.control_sockets()
    } else {
        sockets_of(config, environment)
    };
    let existing = sockets.into_iter().filter(|socket| socket.exists());
    existing.filter_map(|socket| Client::at(&socket).ok()).collect()
}

/// The sentence for no pending resume, with its evidence: the file and the time of its last write.
fn all_clear(result: &OfflineResult, state_dir: &Path) -> String {
    if !result.found {
        return format!("no state file in {}: pending resumes are unknown", state_dir.display());
    }
    let last = result.last_written.map(|last| format!(", last written {}", instant_text(last)));
    let file = state_dir.join(FILE);
    format!("no cluster needs to be resumed (state file {}{})", file.display(), last.unwrap_or_default())
}

/// Prints the result. `next`: remedy for a cluster whose resume is not confirmed; `all_clear`: text for no pending
/// resume.
fn report(result: &OfflineResult, next: impl Fn(&str) -> String, all_clear: &str, as_json: bool) -> u8 {
    let OfflineResult { resumed, still_pending, unread, .. } = result;
    if as_json {
        let names: Vec<&String> = still_pending.keys().collect();
        print_json(&json!({ "resumed": resumed, "still_pending": names, "reasons": still_pending }));
    } else {
        if !resumed.is_empty() {
            print(&format!("exporting of {} is resumed", resumed.join(", ")));
        }
        for (cluster, why) in still_pending {
            print(&unconfirmed(cluster, why, &next(cluster)));
        }
        if still_pending.is_empty() && resumed.is_empty() && unread.is_none() {
            print(all_clear);
        }
    }
    if still_pending.is_empty() { exit::DONE } else { exit::UNREACHABLE }
}

/// As root, runs the command again as the owner of the state file, so that no file of the daemon becomes root's.
/// Returns the exit code of that run.
fn as_owner(state_dir: &Path) -> Result<Option<u8>, Failure> {
    let Ok(owner) = std::fs::metadata(state_dir.join("state.db")) else { return Ok(None) };
    let Ok(me) = std::fs::metadata("/proc/self") else { return Ok(None) };
    if me.uid() != 0 || owner.uid() == 0 {
        return Ok(None);
    }
    let own = std::env::current_exe().map_err(|error| {
        Failure::new(exit::FAILED, format!("the path of this program cannot be read: {error}"))
    })?;
    let status = std::process::Command::new(own)
        .args(std::env::args_os().skip(1))
        .uid(owner.uid())
        .gid(owner.gid())
        .status()
        .map_err(|error| {
            Failure::new(
                exit::FAILED,
                format!("the command cannot run as the owner of the state file: {error}"),
            )
        })?;
    Ok(Some(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILED)))
}
