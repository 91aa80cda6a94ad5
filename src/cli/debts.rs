//! Commands about debts: listing, forgiving, paying with and without a daemon.

use super::backups::{confirmed, said};
use super::client::{self, Client};
use super::output::{cell, json as print_json, print, table};
use super::{Failure, exit};
use crate::clients::http::HttpTransport;
use crate::clock::SystemClock;
use crate::config::{self, Environment};
use crate::daemon::pay_debts_offline;
use crate::store::sqlite::SqliteStore;
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `debts`.
pub async fn list(client: &Client, as_json: bool) -> Result<u8, Failure> {
    let debts = client.get("/v1/debts").await?;
    if as_json {
        print_json(&debts);
        return Ok(exit::DONE);
    }
    let rows: Vec<Vec<String>> = debts
        .as_array()
        .into_iter()
        .flatten()
        .map(|d| {
            ["cluster", "intended_at", "attempts", "last_error", "run_id"].map(|key| cell(&d[key])).to_vec()
        })
        .collect();
    if rows.is_empty() {
        print("no cluster is owed a resume");
    } else {
        table(&["cluster", "paused since", "attempts", "last error", "run"], rows);
    }
    Ok(exit::DONE)
}

/// `debts forgive CLUSTER --why TEXT`.
pub async fn forgive(client: &Client, cluster: &str, why: String, as_json: bool) -> Result<u8, Failure> {
    let answer = client
        .post(&format!("/v1/clusters/{cluster}/forgive"), json!({ "why": why }), Duration::ZERO)
        .await?;
    if as_json {
        print_json(&answer);
    } else {
        print(&format!("{} debts of {cluster} are given up", answer["forgiven"]));
    }
    Ok(exit::DONE)
}

/// `resume-exporting CLUSTER`: a human's act, whoever paused.
pub async fn resume(client: &Client, cluster: &str, yes: bool, as_json: bool) -> Result<u8, Failure> {
    if !yes
        && !confirmed(&format!(
            "Resume exporting of {cluster}, whoever paused it? A backup under way elsewhere would be broken."
        ))?
    {
        return Err(Failure::new(exit::REFUSED, "nothing was resumed"));
    }
    Ok(said(
        &client
            .post(&format!("/v1/clusters/{cluster}/resume-exporting"), json!({}), Duration::from_secs(60))
            .await?,
        as_json,
    ))
}

/// `resume-exporting --if-ours`: asks a live daemon, else pays from the state file alone.
pub async fn pay(
    config: &Path,
    url: Option<&str>,
    patience: Duration,
    state_dir: Option<PathBuf>,
    as_json: bool,
) -> Result<u8, Failure> {
    let environment = Environment::from_process(SystemClock::shared().now());
    let loaded = config::load(config, &environment).ok().map(|loaded| loaded.config);
    if state_dir.is_none()
        && let Ok(client) = if url.is_some() || loaded.is_some() {
            Client::find(url, config)
        } else {
            by_environment(&environment)
        }
    {
        let body = json!({ "wait_seconds": patience.as_secs() });
        match client.post("/v1/debts/pay", body, patience).await {
            Ok(answer) => {
                let owing: Vec<String> = answer["owing"].as_array().into_iter().flatten().map(cell).collect();
                return Ok(tell(&owing, as_json));
            }
            // No daemon, or one that hangs: the state file tells all.
            Err(failure) if failure.code == exit::UNREACHABLE => {}
            Err(failure) => return Err(failure),
        }
    }
    let state_dir = state_dir
        .or_else(|| loaded.as_ref().map(|c| c.daemon.state_dir.clone()))
        .or_else(|| environment.state_directory.clone())
        .unwrap_or_else(|| PathBuf::from("./state"));
    if let Some(code) = as_owner(&state_dir)? {
        return Ok(code);
    }
    let store = SqliteStore::open_without_lock(&state_dir)
        .map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
    let Some(store) = store else { return Ok(tell(&[], as_json)) };
    let transport = HttpTransport::shared().map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
    let instance = loaded.map(|c| c.daemon.instance).unwrap_or_default();
    let owing = pay_debts_offline(store, transport, SystemClock::shared(), instance, patience)
        .await
        .map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
    Ok(tell(&owing, as_json))
}

fn by_environment(environment: &Environment) -> Result<Client, Failure> {
    match &environment.runtime_directory {
        Some(dir) => Client::at(&dir.join("control.sock")),
        None => client::socket(Path::new("/nonexistent")).and_then(|path| Client::at(&path)),
    }
}

fn tell(owing: &[String], as_json: bool) -> u8 {
    if as_json {
        print_json(&json!({ "owing": owing }));
    } else if owing.is_empty() {
        print("nothing is owed: exporting is paused nowhere by us");
    } else {
        print(&format!("the resume is not confirmed yet for {}", owing.join(", ")));
    }
    if owing.is_empty() { exit::DONE } else { exit::UNREACHABLE }
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
