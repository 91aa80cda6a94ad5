//! Commands about debts: listing, forgiving, paying with and without a daemon.

use crate::cli::backups::{confirmed, said};
use crate::cli::client::Client;
use crate::cli::output::{cell, complain, json as print_json, print, rows, table};
use crate::cli::{Failure, exit};
use crate::clock::SystemClock;
use crate::config;
use crate::config::{Config, Environment};
use crate::domain::instant_text;
use crate::pause::offline::{OfflineResult, resume_from, sockets_of, state_dir_of, transport_of};
use crate::store::sqlite::FILE;
use crate::store::{retried_by_daemon, unconfirmed};
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How much longer than asked for a daemon is waited for before the state file is read.
const ANSWER: Duration = Duration::from_secs(2);
/// How much longer where it looks at the brokers afterwards.
const PROBE_LIMIT: Duration = Duration::from_secs(15);

/// What to do next where no daemon was asked.
const NO_RETRY: &str = "mend that, then run this command again, or start the daemon, which tries on";

/// `pending_resumes`.
pub async fn list(client: &Client, as_json: bool) -> Result<u8, Failure> {
    let pending_resumes = client.get("/v1/debts").await?;
    if as_json {
        print_json(&pending_resumes);
        return Ok(exit::DONE);
    }
    let rows = rows(&pending_resumes, ["cluster", "intended_at", "attempts", "last_error", "run_id"]);
    if rows.is_empty() {
        print("no cluster is owed a resume");
    } else {
        table(&["cluster", "paused since", "attempts", "last error", "run"], rows);
    }
    Ok(exit::DONE)
}

/// `debts forgive CLUSTER --why TEXT`.
pub async fn abandon_resumes(
    client: &Client,
    cluster: &str,
    why: String,
    as_json: bool,
) -> Result<u8, Failure> {
    let response = client
        .post(&format!("/v1/clusters/{cluster}/forgive"), json!({ "why": why }), Duration::ZERO)
        .await?;
    if as_json {
        print_json(&response);
    } else {
        print(&format!("{} debts of {cluster} are given up", response["forgiven"]));
    }
    Ok(exit::DONE)
}

/// `resume-exporting CLUSTER`: a human's act, whoever paused.
pub async fn resume(
    client: &Client,
    cluster: &str,
    patience: Duration,
    yes: bool,
    as_json: bool,
) -> Result<u8, Failure> {
    if !yes
        && !confirmed(&format!(
            "Resume exporting of {cluster}, whoever paused it? A backup under way elsewhere would be broken."
        ))?
    {
        return Err(Failure::new(exit::REFUSED, "nothing was resumed"));
    }
    let body = json!({ "wait_seconds": patience.as_secs() });
    let path = format!("/v1/clusters/{cluster}/resume-exporting");
    Ok(said(&client.post_within(&path, body, patience.saturating_add(PROBE_LIMIT)).await?, as_json))
}

/// `resume-exporting --if-ours`: asks a live daemon; where that does not do it, pays from the state file alone.
pub async fn resume_until_confirmed(
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
            match client.post_within("/v1/debts/pay", body, patience.saturating_add(ANSWER)).await {
                Ok(response) => {
                    let still_pending = response["owing"].as_array().into_iter().flatten().map(cell);
                    let why = |cluster: String| {
                        let why =
                            response["reasons"][&cluster].as_str().unwrap_or("the daemon gave no reason");
                        (cluster, why.to_owned())
                    };
                    let unread = response["unread"].as_str().map(str::to_owned);
                    let paid = OfflineResult {
                        still_pending: still_pending.map(why).collect(),
                        unread,
                        ..OfflineResult::default()
                    };
                    let clear = "nothing is owed: the daemon knows of no pause of ours";
                    let code = tell(&paid, retried_by_daemon, clear, as_json);
                    return ended(code, paid);
                }
                // No daemon, or one that hangs: the state file tells all.
                Err(failure) if failure.code == exit::UNREACHABLE => {}
                // One that fails cannot pay: the state file still can, so long as it can be read.
                Err(failure) if failure.code == exit::FAILED => {
                    complain(&format!(
                        "the daemon failed, so that the state file is read: {}",
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
    let paid = resume_from(&state_dir, transport, clock, instance, patience)
        .await
        .map_err(|error| failed(error.to_string()))?;
    if !paid.found && paid.unread.is_none() && !under_systemd {
        // Perhaps the wrong place was looked at: that must not sound like an all-clear.
        return Err(Failure::new(
            exit::USAGE,
            format!(
                "there is no state file in {}, so that nothing can be told of our debts: name its directory with --state-dir, or the daemon's config with --config",
                state_dir.display()
            ),
        ));
    }
    let code = tell(&paid, |_| NO_RETRY.into(), &all_clear(&paid, &state_dir), as_json);
    ended(code, paid)
}

/// What keeps a payment from being an all-clear is told last, and in the exit code where nothing worse is.
fn ended(code: u8, paid: OfflineResult) -> Result<u8, Failure> {
    let OfflineResult { still_pending, unrecorded, unread, .. } = paid;
    let but = unread.or_else(|| {
        let why = unrecorded.filter(|_| still_pending.is_empty())?;
        Some(format!("every resume is confirmed, but that could not be recorded: {why}"))
    });
    match but {
        Some(but) if code == exit::DONE => Err(Failure::new(exit::FAILED, but)),
        Some(but) => {
            complain(&format!("error: {but}"));
            Ok(code)
        }
        None => Ok(code),
    }
}

/// Where a daemon may answer. The config need not load for that.
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
    let there = sockets.into_iter().filter(|socket| socket.exists());
    there.filter_map(|socket| Client::at(&socket).ok()).collect()
}

/// What was read, and no more than that shows.
fn all_clear(paid: &OfflineResult, state_dir: &Path) -> String {
    if !paid.found {
        return format!(
            "there is no state file in {}, so that nothing is known of debts",
            state_dir.display()
        );
    }
    let last = paid.last_written.map(|last| format!(", last written at {},", instant_text(last)));
    format!("the state file {}{} owes nothing", state_dir.join(FILE).display(), last.unwrap_or_default())
}

/// `next`: what to do about a cluster whose resume is not settled; `all_clear`: what is said where nothing is owed.
fn tell(paid: &OfflineResult, next: impl Fn(&str) -> String, all_clear: &str, as_json: bool) -> u8 {
    let OfflineResult { resumed, still_pending, unread, .. } = paid;
    if as_json {
        let names: Vec<&String> = still_pending.keys().collect();
        print_json(&json!({ "resumed": resumed, "owing": names, "reasons": still_pending }));
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

/// As root the state file is opened as its owner, so that no file of the daemon's becomes root's: the command runs
/// again under that user.
fn as_owner(state_dir: &Path) -> Result<Option<u8>, Failure> {
    let Ok(owner) = std::fs::metadata(state_dir.join("state.db")) else { return Ok(None) };
    let Ok(me) = std::fs::metadata("/proc/self") else { return Ok(None) };
    if me.uid() != 0 || owner.uid() == 0 {
        return Ok(None);
    }
    let own = std::env::current_exe()
        .map_err(|error| Failure::new(exit::FAILED, format!("the program cannot find itself: {error}")))?;
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
