//! Health: all findings, derived from the store and from the current state of the daemon.
//!
//! Owns the severity of each finding: `degraded` or `failing`. Pure: `judge` gets all its input. Must not read the
//! store or the clock.

use super::{Live, ProbeError, shapes};
use crate::domain::{BackupState, Exporting, Instant, Trigger};
use crate::journal::Run;
use crate::schedule::next::{longest_gap, next_after};
use crate::store::{Backup, ClusterRow, ClustersToResume, PendingResume, TimetableRow};
use chrono::TimeDelta;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A resume that is pending for longer makes health `failing`.
const RESUME_FAILING: TimeDelta = TimeDelta::minutes(5);
/// Rejections of one cluster that are listed one by one.
const REJECTIONS_LISTED: usize = 3;
/// Time without a tick after which dispatch counts as stalled; the loop ticks twice a second.
const DISPATCH_STALLED: std::time::Duration = std::time::Duration::from_secs(10);

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// No problem.
    Ok,
    /// Needs attention; backups are still taken.
    Degraded,
    /// Backups are not taken, or exporting may be paused.
    Failing,
}

impl Status {
    /// Name in JSON and log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

/// One finding, an `ok` one included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `store dispatch config clock pending_resumes exporting schedules retention credentials probes copy`.
    pub name: &'static str,
    /// Cluster, for a finding about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Severity.
    pub status: Status,
    /// Cause in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Input of `judge`.
pub struct Facts<'a> {
    /// Current state of the daemon.
    pub live: &'a Live,
    /// Existing backups, oldest first.
    pub backups: &'a [Backup],
    /// Pending resumes.
    pub pending_resumes: &'a [PendingResume],
    /// Known pairs of schedule and cluster.
    pub timetable: &'a [TimetableRow],
    /// Known clusters, configured or not.
    pub clusters: &'a [ClusterRow],
    /// Runs that have not ended.
    pub unfinished: &'a [Run],
    /// Failed runs since the last success, per cluster.
    pub failures: &'a BTreeMap<String, u32>,
}

/// Result of `judge`: the body of `/health` and the findings of `/health/backups`.
#[derive(Clone, Debug)]
pub struct Health {
    /// Highest severity of all checks.
    pub status: Status,
    /// All findings, `ok` ones included.
    pub checks: Vec<Check>,
    /// Element of `clusters` in `GET /health`, one per configured cluster.
    pub clusters: Vec<Value>,
    /// Reasons for a 503 of `/health/backups`; empty for a 200.
    pub backups: Vec<String>,
    /// Overdue pairs of schedule and cluster, each with its finding.
    pub overdue: BTreeMap<(String, String), String>,
}

impl Health {
    /// JSON body of `GET /health`.
    pub fn body(&self) -> Value {
        json!({
            "status": self.status,
            "version": env!("CARGO_PKG_VERSION"),
            "checks": self.checks,
            "clusters": self.clusters,
        })
    }
}

/// Judges health from `facts` alone.
pub fn judge(facts: &Facts<'_>) -> Health {
    let mut checks = process(facts.live);
    checks.push(pending_resumes(facts));
    let mut backups = Vec::new();
    let (overdue, late) = overdue(facts, &mut backups);
    checks.extend(late);
    let late_clusters: BTreeSet<&str> = overdue.keys().map(|(_, cluster)| cluster.as_str()).collect();
    let mut clusters = Vec::new();
    let mut of_clusters: HashMap<&str, Vec<&Backup>> = HashMap::new();
    for backup in facts.backups {
        of_clusters.entry(backup.run.cluster.as_str()).or_default().push(backup);
    }
    let mut next_due: HashMap<&str, Instant> = HashMap::new();
    for ((_, cluster), due) in &facts.live.next_due {
        next_due.entry(cluster).and_modify(|first| *first = (*first).min(*due)).or_insert(*due);
    }
    let to_resume = ClustersToResume::by(
        facts.pending_resumes.iter().filter(|pending_resume| pending_resume.may_be_paused()),
    );
    for (name, settings) in &facts.live.config.clusters {
        let backups = of_clusters.remove(name.as_str()).unwrap_or_default();
        let next = next_due.get(name.as_str()).copied();
        clusters.push(cluster(
            facts,
            name,
            to_resume.to(name, &settings.addresses).is_some_and(|owner| !seen_running(facts, name, owner)),
            &backups,
            next,
            late_clusters.contains(name.as_str()),
            &mut checks,
        ));
    }
    checks.extend(credentials(facts.live));
    checks.extend(retention(facts));
    let status = checks.iter().map(|c| c.status).max().unwrap_or(Status::Ok);
    Health { status, checks, clusters, backups, overdue }
}

/// Whether the last probe of cluster `name` shows that every resume of `owner` took effect, although no server has
/// confirmed one yet.
fn seen_running(facts: &Facts<'_>, name: &str, owner: &str) -> bool {
    let Some(probe) = facts.live.clusters.get(name) else { return false };
    let Some(settings) = facts.live.config.clusters.get(name) else { return false };
    let mut pending = facts
        .pending_resumes
        .iter()
        .filter(|pending_resume| pending_resume.cluster == owner && pending_resume.may_be_paused());
    let zeebe = &settings.addresses.zeebe;
    pending.all(|pending_resume| {
        pending_resume.is_seen_resumed(probe.exporting, probe.exporting_checked_at, zeebe)
    })
}

fn check(name: &'static str, status: Status, detail: impl Into<Option<String>>) -> Check {
    Check { name, cluster: None, status, detail: detail.into() }
}

fn process(live: &Live) -> Vec<Check> {
    let store = match (&live.store_error, &live.state_lost) {
        (Some(error), _) => check("store", Status::Failing, error.clone()),
        (None, Some(lost)) => check("store", Status::Degraded, lost.clone()),
        (None, None) => check("store", Status::Ok, None),
    };
    let dispatch = if live.stopping {
        let detail = "the daemon is stopping: no run starts, and paused clusters are resumed";
        check("dispatch", Status::Degraded, detail.to_owned())
    } else if live.since_tick >= DISPATCH_STALLED {
        check(
            "dispatch",
            Status::Failing,
            format!("the dispatch loop has not ticked for {} s", live.since_tick.as_secs()),
        )
    } else {
        check("dispatch", Status::Ok, None)
    };
    let config = match &live.config_refused {
        Some(why) => check(
            "config",
            Status::Degraded,
            format!("the last reload was refused and the old config is active: {why}"),
        ),
        None => check("config", Status::Ok, None),
    };
    let clock = match &live.clock_jump {
        Some(jump) => check("clock", Status::Degraded, jump.clone()),
        None => check("clock", Status::Ok, None),
    };
    vec![store, dispatch, config, clock]
}

fn pending_resumes(facts: &Facts<'_>) -> Check {
    let due = |pending_resume: &&PendingResume| {
        !facts.unfinished.iter().any(|r| r.run_id == pending_resume.run_id)
            || pending_resume.resume_intended_at.is_some()
    };
    let pending: Vec<&PendingResume> = facts.pending_resumes.iter().filter(due).collect();
    // A pause of this process counts from the first resume on; one of an earlier process counts from its start.
    let since = |pending_resume: &PendingResume| match pending_resume.resume_intended_at {
        Some(at) if pending_resume.intended_at >= facts.live.started_at => at,
        _ => pending_resume.intended_at,
    };
    let named = |pending_resumes: &[&PendingResume]| {
        let names: BTreeSet<&str> =
            pending_resumes.iter().map(|pending_resume| pending_resume.cluster.as_str()).collect();
        let why = pending_resumes.iter().find_map(|pending_resume| pending_resume.last_error.as_deref());
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        (names.into_iter().collect::<Vec<_>>().join(", "), why)
    };
    // A pending resume with `confirmed_at` is confirmed, but its row could not be written yet. Exporting is running,
    // so only the missing write is reported.
    let (confirmed, pending): (Vec<&PendingResume>, Vec<&PendingResume>) =
        pending.into_iter().partition(|pending_resume| !pending_resume.may_be_paused());
    let Some(since) = pending.iter().map(|pending_resume| since(pending_resume)).min() else {
        if confirmed.is_empty() {
            return check("pending_resumes", Status::Ok, None);
        }
        let (names, why) = named(&confirmed);
        return check(
            "pending_resumes",
            Status::Degraded,
            format!("the resume of {names} is confirmed but still pending in the state file{why}"),
        );
    };
    let age = facts.live.now - since;
    let status = if age > RESUME_FAILING { Status::Failing } else { Status::Degraded };
    let (names, why) = named(&pending);
    check(
        "pending_resumes",
        status,
        format!("exporting of {names} has a pending resume for {} s{why}", age.num_seconds()),
    )
}

/// Pairs without a completed backup for the longest gap of their schedule plus `run_deadline`, and the findings.
fn overdue(facts: &Facts<'_>, backups: &mut Vec<String>) -> (BTreeMap<(String, String), String>, Vec<Check>) {
    let (mut late, mut checks) = (BTreeMap::new(), Vec::new());
    let live = facts.live;
    let mut scheduled = BTreeSet::new();
    let since: HashMap<(&str, &str), Instant> = facts
        .timetable
        .iter()
        .map(|row| ((row.schedule.as_str(), row.cluster.as_str()), row.since))
        .collect();
    let mut of_pairs: HashMap<(&str, &str), Vec<&Backup>> = HashMap::new();
    for backup in facts.backups {
        let schedules: BTreeSet<&str> = backup.run.occurrences.iter().map(|o| o.schedule.as_str()).collect();
        for schedule in schedules {
            of_pairs.entry((schedule, backup.run.cluster.as_str())).or_default().push(backup);
        }
    }
    for schedule in live.config.schedules.values().filter(|s| s.enabled) {
        for name in &schedule.clusters {
            let Some(settings) = live.config.clusters.get(name) else { continue };
            scheduled.insert(name.clone());
            let pair = (schedule.name.as_str(), name.as_str());
            let of_pair = of_pairs.get(&pair).map_or(&[][..], Vec::as_slice);
            let last_run = of_pair.iter().rfind(|b| b.run.view.ended());
            let last_success = of_pair
                .iter()
                .filter(|b| b.state == BackupState::Completed)
                .filter_map(|b| b.run.view.finished_at)
                .max();
            let since = since.get(&pair).copied().unwrap_or(live.started_at);
            let gap = longest_gap(&schedule.timing, schedule.timezone, since)
                .and_then(|g| TimeDelta::from_std(g).ok());
            let deadline = TimeDelta::from_std(settings.limits.run_deadline).unwrap_or_default();
            let first_due = next_after(&schedule.timing, schedule.timezone, since);
            if last_success.is_none() && first_due.is_some_and(|due| live.now > due + deadline) {
                backups.push(format!(
                    "{name}: schedule {} has no completed backup since its first due time",
                    schedule.name
                ));
            }
            let allowed = gap.unwrap_or(TimeDelta::days(366))
                + TimeDelta::from_std(settings.limits.run_deadline).unwrap_or_default();
            let from = last_success.unwrap_or(since);
            if live.now - from > allowed {
                let detail = match last_success {
                    Some(at) => {
                        format!(
                            "schedule {} has no completed backup since {}",
                            schedule.name,
                            shapes::instant(at)
                        )
                    }
                    None => format!(
                        "schedule {} has had no completed backup since it was added at {}",
                        schedule.name,
                        shapes::instant(since)
                    ),
                };
                backups.push(format!("{name}: {detail}"));
                late.insert((schedule.name.clone(), name.clone()), detail.clone());
                checks.push(Check {
                    name: "schedules",
                    cluster: Some(name.clone()),
                    status: Status::Failing,
                    detail: Some(detail),
                });
            } else if let Some(failed) = last_run.filter(|b| b.run.view.reason().is_some()) {
                backups.push(format!("{name}: the last run of schedule {} failed", schedule.name));
                let why = failed.run.view.reason().unwrap_or("no reason recorded");
                let detail = format!("the last run of schedule {} failed: {why}", schedule.name);
                checks.push(Check {
                    name: "schedules",
                    cluster: Some(name.clone()),
                    status: Status::Degraded,
                    detail: Some(detail),
                });
            }
        }
    }
    for name in live.config.clusters.keys().filter(|name| !scheduled.contains(*name)) {
        let detail = "no enabled schedule names this cluster".to_owned();
        checks.push(Check {
            name: "schedules",
            cluster: Some(name.clone()),
            status: Status::Degraded,
            detail: Some(detail),
        });
    }
    if checks.is_empty() {
        checks.push(check("schedules", Status::Ok, None));
    }
    (late, checks)
}

fn cluster(
    facts: &Facts<'_>,
    name: &str,
    still_pending: bool,
    backups: &[&Backup],
    next: Option<Instant>,
    overdue: bool,
    checks: &mut Vec<Check>,
) -> Value {
    let live = facts.live;
    let finished = |state: BackupState| {
        backups.iter().copied().filter(|b| b.state == state).max_by_key(|b| b.run.view.finished_at)
    };
    let last = |backup: Option<&Backup>| -> Value {
        let Some((backup, at)) = backup.and_then(|b| Some((b, b.run.view.finished_at?))) else {
            return Value::Null;
        };
        json!({
            "backup_id": backup.run.backup_id,
            "finished_at": shapes::instant(at),
            "age_seconds": (live.now - at).num_seconds().max(0),
        })
    };
    let running = facts.unfinished.iter().find(|r| r.cluster == name);
    let probe = live.clusters.get(name);
    // A probe from before our own pause or resume would contradict the pending resumes.
    let exporting = match (still_pending, probe.map(|l| l.exporting).unwrap_or_default()) {
        (true, _) => Exporting::PausedByUs,
        (false, Exporting::PausedByUs) => Exporting::Unknown,
        (false, probed) => probed,
    };
    let (status, since) = if exporting.is_foreign_pause() {
        (Status::Degraded, probe.and_then(|l| l.exporting_since))
    } else {
        (Status::Ok, None)
    };
    let since = since.map(|at| format!(" since {}", shapes::instant(at))).unwrap_or_default();
    checks.push(Check {
        name: "exporting",
        cluster: Some(name.to_owned()),
        status,
        detail: Some(format!("{exporting}{since}")),
    });
    // Failed scheduled runs are reported as findings of their schedules, so only manual runs are considered here.
    let newest = backups.iter().filter(|b| b.run.view.ended()).max_by_key(|b| b.run.view.finished_at);
    let manual = newest.filter(|b| b.run.trigger == Trigger::Manual);
    if let Some(why) = manual.and_then(|b| b.run.view.reason()) {
        checks.push(Check {
            name: "schedules",
            cluster: Some(name.to_owned()),
            status: Status::Degraded,
            detail: Some(format!("the last manual backup failed: {why}")),
        });
    }
    // Authentication failures are left out here, because the check `credentials` reports them.
    if let Some(ProbeError::Unreachable(reason)) = probe.and_then(|l| l.unreachable.clone()) {
        checks.push(Check {
            name: "probes",
            cluster: Some(name.to_owned()),
            status: Status::Degraded,
            detail: Some(reason),
        });
    }
    let failures = facts.failures.get(name).copied().unwrap_or(0);
    json!({
        "name": name,
        "exporting": exporting,
        "exporting_checked_at": probe.and_then(|l| l.exporting_checked_at).map(shapes::instant),
        "last_success": last(finished(BackupState::Completed)),
        "last_failure": last(finished(BackupState::Failed)),
        "next_due": next.map(shapes::instant),
        "overdue": overdue,
        "running": running.map(shapes::running),
        "consecutive_failures": failures,
    })
}

/// Clusters that rejected our authentication, or whose credentials cannot be read.
fn credentials(live: &Live) -> Vec<Check> {
    let denied = live.clusters.iter().filter(|(_, probe)| !probe.denied.is_empty());
    let mut checks: Vec<Check> = denied
        .filter(|(name, _)| live.config.clusters.contains_key(*name))
        .map(|(name, probe)| {
            let listed = probe.denied.iter().take(REJECTIONS_LISTED);
            let mut listed: Vec<String> = listed
                .map(|rejection| format!("since {}: {}", shapes::instant(rejection.since), rejection.why))
                .collect();
            if probe.denied.len() > REJECTIONS_LISTED {
                listed.push(format!("and {} more", probe.denied.len() - REJECTIONS_LISTED));
            }
            Check {
                name: "credentials",
                cluster: Some(name.clone()),
                status: Status::Degraded,
                detail: Some(listed.join("; ")),
            }
        })
        .collect();
    if checks.is_empty() {
        checks.push(check("credentials", Status::Ok, None));
    }
    checks
}

fn retention(facts: &Facts<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut behind: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for backup in facts.backups {
        if let Some(deletion) =
            backup.deletion.as_ref().filter(|d| backup.state == BackupState::Deleting && d.attempts > 3)
        {
            let error = deletion.last_error.as_deref().unwrap_or("the backup still exists");
            behind
                .entry(&backup.run.cluster)
                .or_default()
                .push(format!("deletion of backup {} is behind: {error}", backup.run.backup_id));
        }
        if backup.state == BackupState::Failed && !backup.run.view.cleanup_unfinished.is_empty() {
            behind
                .entry(&backup.run.cluster)
                .or_default()
                .push(backup.run.view.cleanup_unfinished.join("; "));
        }
    }
    for row in facts.clusters.iter().filter(|row| row.configured) {
        if let Some(reason) = &row.state_behind {
            behind
                .entry(&row.name)
                .or_default()
                .push(format!("state_behind: {reason}. Run `adopt {}`", row.name));
        }
    }
    for (cluster, reasons) in behind {
        let detail = Some(reasons.join("; "));
        checks.push(Check {
            name: "retention",
            cluster: Some(cluster.to_owned()),
            status: Status::Degraded,
            detail,
        });
    }
    let orphans: BTreeSet<&str> = facts
        .backups
        .iter()
        .filter(|b| !facts.live.config.clusters.contains_key(&b.run.cluster))
        .map(|b| b.run.cluster.as_str())
        .collect();
    for cluster in orphans {
        let detail = Some(
            "the cluster was removed from the config; its backups stay until you delete them".to_owned(),
        );
        checks.push(Check {
            name: "retention",
            cluster: Some(cluster.to_owned()),
            status: Status::Degraded,
            detail,
        });
    }
    let frozen: BTreeSet<String> = facts
        .backups
        .iter()
        .flat_map(|b| b.run.occurrences.iter().map(|o| (&o.schedule, &o.cluster)))
        .filter(|(schedule, cluster)| {
            let config = &facts.live.config;
            config.clusters.contains_key(*cluster)
                && !config.schedules.get(*schedule).is_some_and(|s| s.clusters.contains(cluster))
        })
        .map(|(schedule, cluster)| format!("{schedule} of {cluster}"))
        .collect();
    if !frozen.is_empty() {
        let names = frozen.into_iter().collect::<Vec<_>>().join(", ");
        checks.push(check(
            "retention",
            Status::Degraded,
            format!(
                "no schedule has these retention groups, so retention keeps their backups: {names}. Delete them with `delete CLUSTER ID`"
            ),
        ));
    }
    if checks.is_empty() {
        checks.push(check("retention", Status::Ok, None));
    }
    checks
}
