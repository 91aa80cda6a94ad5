//! Broker checks: leaders, exporting, backup store, ids, clocks.

use crate::camunda::checkpoints::OWN_IDS;
use crate::camunda::checkpoints::OWN_LATELY;
use crate::camunda::exporters::unprocessed;
use crate::camunda::{Capabilities, Exporters};
use crate::context::Clients;
use crate::domain::{Component, Family, Instant, instant_text};
use crate::preflight::{Check, taking};
use chrono::TimeDelta;

/// Maximum clock difference between daemon and brokers; a larger one makes backup times unreliable.
const CLOCKS: TimeDelta = TimeDelta::minutes(2);
/// Smallest id that counts as milliseconds since 1970.
const MILLISECONDS: i64 = 100_000_000_000;

pub(crate) fn topology(found: &Capabilities) -> Check {
    match &found.leaderless {
        None => Check::good(
            "topology",
            "the topology was not read: write `rest`, and every partition is seen to have a healthy leader",
        ),
        Some(without) if without.is_empty() => {
            let partitions = found.partitions.unwrap_or_default();
            Check::good("topology", format!("all {partitions} partitions have a healthy leader"))
        }
        Some(without) => {
            let names: Vec<String> = without.iter().map(ToString::to_string).collect();
            Check::bad(
                "topology",
                format!("partition {} has no healthy leader", names.join(", ")),
                "see the brokers' logs, and wait until every partition is led",
            )
        }
    }
}

/// Checks exporter phases, clocks and the number of visible partitions.
pub(crate) async fn exporting(
    clients: &Clients,
    found: &Capabilities,
    is_pending: Option<bool>,
    now: Instant,
) -> Vec<Check> {
    let pauses = found.family != Family::V89OnRdbms;
    let exporters = match clients.zeebe.exporters().await {
        Ok(exporters) => exporters,
        Err(error) => {
            let help = "`zeebe` and `brokers` are the brokers' management URLs";
            return vec![Check::of_error("exporting", &error, help)];
        }
    };
    if !exporters.readable {
        return vec![Check::good(
            "exporting",
            "whether exporting is paused cannot be read: list every broker's management URL in `brokers`",
        )];
    }
    let mut checks = vec![phases(&exporters, found.partitions, is_pending, pauses)];
    checks.extend(unprocessed(&exporters).map(|what| {
        Check::bad("processing", what, "check whether its broker's disk is full or processing is paused")
    }));
    checks.push(clock(&exporters, now));
    checks
}

/// `None` if no change is in progress or the version does not report changes.
pub(crate) fn change(found: &Capabilities) -> Option<Check> {
    let change = found.change.as_deref()?;
    let help = "wait for its end, or cancel it; GET /actuator/cluster shows the remaining operations";
    Some(Check::bad("change", format!("the cluster is being scaled or changed, {change} is under way"), help))
}

fn phases(exporters: &Exporters, partitions: Option<u32>, is_pending: Option<bool>, pauses: bool) -> Check {
    let advice = "list every broker's management URL in `brokers`";
    let described = exporters.describe();
    if exporters.any_paused() {
        return match is_pending {
            Some(true) => Check::bad(
                "exporting",
                format!("exporting is paused by us ({described}): a resume is pending"),
                "wait for it: `pending-resumes` shows why it is not confirmed yet, `resume-exporting --pending` retries it now",
            ),
            Some(false) => Check::bad(
                "exporting",
                format!("exporting is paused by someone else ({described}): no resume of ours is pending"),
                "find out who backs up or maintains this cluster; `resume-exporting CLUSTER` ends their pause",
            ),
            None => Check::bad(
                "exporting",
                format!(
                    "exporting is paused ({described}), but not known by whom: our state file was not read"
                ),
                "run this as the daemon's user, or check with `pending-resumes` whether the pause is ours",
            ),
        };
    }
    let unseen = exporters.leaders_not_seen();
    if let (Some(first), true) = (unseen.first(), pauses) {
        return Check::bad(
            "exporting",
            format!("no leader of partition {first} was seen ({described})"),
            advice,
        );
    }
    match partitions {
        Some(expected) if (exporters.partitions.len() as u32) < expected && pauses => Check::bad(
            "exporting",
            format!(
                "the exporter phases of only {} of {expected} partitions can be read",
                exporters.partitions.len()
            ),
            advice,
        ),
        _ => Check::good("exporting", format!("exporting runs ({described})")),
    }
}

fn clock(exporters: &Exporters, now: Instant) -> Check {
    let Some(theirs) = exporters.clock else {
        return Check::good("clock", "this version does not report the brokers' clock");
    };
    let apart = (theirs - now).abs();
    let seconds = apart.num_milliseconds() as f64 / 1000.0;
    if apart > CLOCKS {
        return Check::bad(
            "clock",
            format!("the brokers' clock and ours are {seconds:.0} s apart: ours shows {}", instant_text(now)),
            "let both machines keep their time by NTP",
        );
    }
    Check::good("clock", format!("the brokers' clock and ours are {seconds:.1} s apart"))
}

/// Checks the backup store of the brokers; returns the largest id in it.
pub(crate) async fn backups(clients: &Clients) -> (Check, i64) {
    let listed = match clients.zeebe.list().await {
        Ok(listed) => listed,
        Err(error) => {
            let help = if error.message.contains("No backup store") {
                "configure a backup store on every broker (data.backup.store and what it needs), and restart them"
            } else {
                "see the brokers' log, and whether they reach their backup store"
            };
            return (Check::of_error("backup_store", &error, help), 0);
        }
    };
    let largest = listed.iter().map(|l| l.id).fold(0, i64::max);
    let check = match listed.iter().find(|l| l.state == "IN_PROGRESS") {
        Some(running) => Check { check: "backup_store", ..taking(Component::Zeebe, running.id) },
        None => Check::good("backup_store", format!("{} backups are listed", listed.len())),
    };
    (check, largest)
}

/// Whether the cluster assigns ids itself, and whether its backups can be restored without a gap.
pub(crate) fn checkpoints(found: &Capabilities, now: Instant) -> Vec<Check> {
    let Some(checkpoints) = &found.checkpoints else { return Vec::new() };
    let rdbms = found.family == Family::V89OnRdbms;
    let mut checks = Vec::new();
    match checkpoints.own_at {
        Some(at) if !rdbms && now - at < OWN_LATELY => checks.push(Check::bad(
            "own_backups",
            format!("the cluster made a checkpoint or a backup of its own at {}", instant_text(at)),
            OWN_IDS,
        )),
        Some(at) => checks.push(Check::good(
            "own_backups",
            format!("the cluster makes checkpoints or backups of its own, the last at {}", instant_text(at)),
        )),
        None => {}
    }
    if rdbms {
        let gaps = checkpoints.gaps();
        let ranges: Vec<String> = (checkpoints.ranges.iter())
            .map(|(partition, ranges)| {
                let spans: Vec<String> = ranges.iter().map(|(from, to)| format!("{from} to {to}")).collect();
                format!("partition {partition}: {}", spans.join(" and "))
            })
            .collect();
        let detail = if ranges.is_empty() { "no range of backups yet".to_owned() } else { ranges.join("; ") };
        checks.push(if gaps.is_empty() {
            Check::good("ranges", detail)
        } else {
            // A gap does not affect this backup. It prevents restores that start from an older backup.
            Check {
                check: "ranges",
                ok: true,
                detail: format!("there is a gap, across which nothing can be restored: {detail}"),
                help: Some("only what lies after the gap brings the cluster back".into()),
            }
        });
    }
    checks
}

pub(crate) fn ids(largest: i64, now: Instant) -> Check {
    let detail = match largest {
        0 => "no backup is known to any component".to_owned(),
        largest if largest >= MILLISECONDS && now.timestamp() < MILLISECONDS => format!(
            "the largest id known is {largest}, in milliseconds: the next ones count on from there, because smaller ones are refused"
        ),
        largest => format!("the largest id known is {largest}"),
    };
    Check::good("ids", detail)
}
