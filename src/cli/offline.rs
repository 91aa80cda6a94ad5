//! Commands that need no daemon: `check`, `plan`, `next`.
//!
//! Owns their output. Must not contact a cluster.

use super::{Failure, exit, output};
use crate::clock::SystemClock;
use crate::config::{self, Config, Diagnostic, Environment, diagnostic};
use crate::domain::{Addresses, Component, Family, Instant, PauseMode, Version};
use crate::plan::{PlanInput, plan as plan_of};
use serde_json::json;
use std::io::IsTerminal;
use std::path::Path;

fn load(path: &Path) -> Result<config::Loaded, Vec<Diagnostic>> {
    config::load(path, &Environment::from_process(SystemClock::shared().now()))
}

fn load_or_print(path: &Path) -> Result<Config, Failure> {
    load(path).map(|loaded| loaded.config).map_err(|diagnostics| {
        let text = diagnostic::render(&diagnostics, false);
        Failure::new(exit::USAGE, format!("the config is invalid\n{text}"))
    })
}

/// `check`: every diagnostic, and when each schedule fires next.
pub(super) fn check(path: &Path, as_json: bool) -> u8 {
    let (ok, diagnostics, config) = match load(path) {
        Ok(loaded) => (true, loaded.warnings, Some(loaded.config)),
        Err(diagnostics) => (false, diagnostics, None),
    };
    if as_json {
        let shown: Vec<_> = diagnostics.iter().map(Diagnostic::to_json).collect();
        output::json(&json!({ "ok": ok, "diagnostics": shown }));
    } else {
        if !diagnostics.is_empty() {
            output::print(&diagnostic::render(&diagnostics, std::io::stdout().is_terminal()));
        }
        if let Some(config) = config {
            let count = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
            output::print(&format!(
                "{} is valid: {}, {}",
                path.display(),
                count(config.clusters.len(), "cluster"),
                count(config.schedules.len(), "schedule")
            ));
            let now = SystemClock::shared().now();
            for due in config::upcoming::occurrences(&config, None, now, 5) {
                output::print(&format!(
                    "  next: {} of {} at {} ({})",
                    due.schedule,
                    due.cluster,
                    due.local,
                    due.due_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
                ));
            }
        }
    }
    if ok { exit::DONE } else { exit::USAGE }
}

/// `plan CLUSTER`: the steps of a run. The version decides the procedure and the pause mode. Without a version in the
/// config, the addresses decide the plan shown; the probe before a run reads the version from the cluster.
pub(super) fn plan(path: &Path, cluster: &str, as_json: bool) -> Result<u8, Failure> {
    let config = load_or_print(path)?;
    let settings = config.clusters.get(cluster).ok_or_else(|| {
        Failure::new(
            exit::USAGE,
            format!("cluster {cluster} is not in the config. `status` lists the configured clusters"),
        )
    })?;
    let spec = crate::daemon::apply::spec(settings);
    let version = settings.version.as_ref();
    let fixed = settings.addresses.profile().procedure;
    let (family, components) = fixed.map_or_else(
        || assumed_procedure(&settings.addresses, version),
        |(family, components)| (family, components.to_vec()),
    );
    let plan = plan_of(&PlanInput {
        cluster,
        family,
        pause: version.map_or(PauseMode::Soft, Version::pause),
        components: &components,
        limits: spec.limits,
    });
    let forecast = super::online::forecast(&config, cluster);
    if as_json {
        let mut shown = json!(plan);
        let seconds = |pause: Option<std::time::Duration>| pause.map(|pause| pause.as_secs_f64());
        shown["expected_pause"] = json!({ "usual_seconds": seconds(forecast.usual()), "longest_seconds": seconds(forecast.longest()) });
        output::json(&shown);
        return Ok(exit::DONE);
    }
    let assumed = if settings.version.is_some() || fixed.is_some() {
        ""
    } else {
        " (assumed; the probe before a run reads the version)"
    };
    let pause = plan.pause.map_or("no".to_owned(), |pause| pause.name().to_owned());
    output::print(&format!("{cluster}: {} procedure, {pause} pause{assumed}", family.name()));
    if let (Some(_), Some(pauses)) = (plan.pause, forecast.in_text()) {
        let budget = humantime::format_duration(spec.limits.pause_budget);
        output::print(&format!("{pauses}; pause_budget: {budget}"));
    }
    let rows = plan
        .steps
        .iter()
        .map(|step| {
            let after: Vec<String> = step.after.iter().map(ToString::to_string).collect();
            let deadline = step.deadline.map_or("none".into(), |d| humantime::format_duration(d).to_string());
            let undo = step.compensation.map_or("-".into(), |c| output::cell(&json!(c)));
            let paused = if step.needs_pause { "yes" } else { "" };
            vec![step.step.to_string(), after.join(", "), paused.into(), deadline, undo]
        })
        .collect();
    output::table(&["step", "after", "paused", "deadline", "compensation"], rows);
    Ok(exit::DONE)
}

/// Family and components of a self-managed cluster without a probe.
fn assumed_procedure(addresses: &Addresses, version: Option<&Version>) -> (Family, Vec<Component>) {
    let rdbms = addresses.search.is_none();
    let older = addresses.operate.is_some() || addresses.tasklist.is_some();
    let family = version.and_then(|version| version.family(rdbms).ok());
    let family = family.unwrap_or(match (rdbms, older) {
        (true, _) => Family::V89OnRdbms,
        (false, true) => Family::V82To87,
        (false, false) => Family::V88OnSearch,
    });
    (family, components(addresses, family))
}

/// Components of a backup, derived from the family and the configured addresses.
fn components(addresses: &Addresses, family: Family) -> Vec<Component> {
    let standalone = addresses.operate.is_some() || addresses.tasklist.is_some();
    let history = family == Family::V88OnSearch && !standalone;
    let configured = [
        (Component::Operate, addresses.operate.is_some()),
        (Component::Tasklist, addresses.tasklist.is_some()),
        (Component::History, history),
        (Component::Optimize, addresses.optimize.is_some()),
        (Component::Records, addresses.search.as_ref().is_some_and(|s| s.records.is_some())),
        (Component::Zeebe, true),
    ];
    configured.into_iter().filter(|(_, has)| *has).map(|(component, _)| component).collect()
}

/// `next`: with `--from`, independent of the clock.
pub(super) fn next(
    path: &Path,
    schedule: Option<&str>,
    from: Option<Instant>,
    count: usize,
    as_json: bool,
) -> Result<u8, Failure> {
    let config = load_or_print(path)?;
    if let Some(name) = schedule
        && !config.schedules.contains_key(name)
    {
        return Err(Failure::new(
            exit::USAGE,
            format!("schedule {name} is not in the config. `next` without a name lists all schedules"),
        ));
    }
    let from = from.unwrap_or_else(|| SystemClock::shared().now());
    let due = config::upcoming::occurrences(&config, schedule, from, count);
    if as_json {
        output::json(&json!(due));
        return Ok(exit::DONE);
    }
    let rows = due
        .into_iter()
        .map(|d| {
            vec![d.schedule, d.cluster, d.due_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true), d.local]
        })
        .collect();
    output::table(&["schedule", "cluster", "due (UTC)", "local"], rows);
    Ok(exit::DONE)
}
