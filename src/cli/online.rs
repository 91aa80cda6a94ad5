//! `check --online`: whether a backup of each cluster would work now.
//!
//! Owns the output. Must not change anything; `preflight` owns the checks.

use super::output::{complain, json as print_json, print};
use super::{Failure, exit};
use crate::clock::SystemClock;
use crate::config::{self, ClusterConfig, Config, Diagnostic, Environment, diagnostic};
use crate::pause::forecast::Forecast;
use crate::pause::offline::transport_of;
use crate::preflight::{Check, preflight};
use crate::store::ClustersToResume;
use crate::store::sqlite::{FoundPendingResumes, SqliteStore};
use futures::StreamExt;
use serde_json::json;
use std::path::Path;

/// Clusters that are checked concurrently.
const AT_ONCE: usize = 8;

/// Validates the config, then checks every cluster of a valid one.
pub(super) async fn check(path: &Path, as_json: bool) -> Result<u8, Failure> {
    let environment = Environment::from_process(SystemClock::shared().now());
    let loaded = config::load(path, &environment);
    let (config, diagnostics) = match loaded {
        Ok(loaded) => (Some(loaded.config), loaded.warnings),
        Err(diagnostics) => (None, diagnostics),
    };
    let clusters = match &config {
        Some(config) => all(config, path, &environment, as_json).await?,
        None => Vec::new(),
    };
    let ok = config.is_some() && clusters.iter().all(|(_, checks)| checks.iter().all(|check| check.ok));
    if as_json {
        let diagnostics: Vec<_> = diagnostics.iter().map(Diagnostic::to_json).collect();
        let rows: Vec<_> =
            clusters.iter().flat_map(|(name, checks)| checks.iter().map(move |c| row(name, c))).collect();
        print_json(&json!({ "ok": ok, "diagnostics": diagnostics, "preflight": rows }));
    } else {
        if !diagnostics.is_empty() {
            print(&diagnostic::render(&diagnostics, std::io::IsTerminal::is_terminal(&std::io::stdout())));
        }
        for (name, checks) in &clusters {
            show(name, checks);
        }
    }
    Ok(match (config.is_some(), ok) {
        (false, _) => exit::USAGE,
        (true, true) => exit::DONE,
        (true, false) => exit::FAILED,
    })
}

async fn all(
    config: &Config,
    path: &Path,
    environment: &Environment,
    quiet: bool,
) -> Result<Vec<(String, Vec<Check>)>, Failure> {
    let clock = SystemClock::shared();
    let transport = transport_of(Some(config), path, environment, &config.daemon.state_dir, &clock)
        .map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
    let found = pending_resumes(config);
    let pending = found.as_ref().map(|found| {
        ClustersToResume::by(found.pending_resumes.iter().map(|(pending_resume, _)| pending_resume))
    });
    let has_pending_resume = |cluster: &ClusterConfig| {
        let is_pending = pending.as_ref()?.to(&cluster.name, &cluster.addresses).is_some();
        // If only a part of the file is readable, a found pending resume is certain, but the absence of one is
        // unknown.
        (is_pending || found.as_ref()?.unread.is_none()).then_some(is_pending)
    };
    if !quiet && config.clusters.len() > 1 {
        complain(&format!("checking {} clusters", config.clusters.len()));
    }
    let probes = config.clusters.values().map(|cluster| {
        let (transport, clock) = (transport.clone(), clock.clone());
        let resume_pending = has_pending_resume(cluster);
        let spec = crate::daemon::apply::spec(cluster);
        let forecast = forecast(config, &cluster.name);
        async move {
            (cluster.name.clone(), preflight(&transport, &*clock, &spec, resume_pending, &forecast).await)
        }
    });
    Ok(futures::stream::iter(probes).buffered(AT_ONCE).collect().await)
}

/// Expected pause, from the last runs in the state file; empty if the file cannot be read.
pub(super) fn forecast(config: &Config, cluster: &str) -> Forecast {
    let backups = SqliteStore::read_backups(&config.daemon.state_dir, &Forecast::taken_from(cluster));
    Forecast::of_backups(&backups.unwrap_or_default(), SystemClock::shared().now())
}

/// `None`: the state file exists and this user cannot read it.
fn pending_resumes(config: &Config) -> Option<FoundPendingResumes> {
    let state_dir = &config.daemon.state_dir;
    match state_dir.join("state.db").try_exists() {
        Ok(false) => Some(FoundPendingResumes { pending_resumes: Vec::new(), unread: None }),
        _ => SqliteStore::read_pending_resumes(state_dir),
    }
}

fn row(cluster: &str, check: &Check) -> serde_json::Value {
    let Check { check, ok, detail, help } = check;
    json!({ "cluster": cluster, "check": check, "ok": ok, "detail": detail, "help": help })
}

fn show(cluster: &str, checks: &[Check]) {
    let failed = checks.iter().filter(|check| !check.ok).count();
    let verdict = match failed {
        0 => "a backup would work now".to_owned(),
        1 => "a backup would fail now: 1 problem".to_owned(),
        n => format!("a backup would fail now: {n} problems"),
    };
    print(&format!("{cluster}: {verdict}"));
    for Check { check, ok, detail, help } in checks {
        let sign = if *ok { "ok  " } else { "FAIL" };
        print(&format!("  {sign} {check}: {detail}"));
        if let Some(help) = help {
            print(&format!("       help: {help}"));
        }
    }
}
