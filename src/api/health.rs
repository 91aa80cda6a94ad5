//! Health: the truth about everything, derived from the store and from what is true right now.
//!
//! Pure: `judge` gets all it needs. Contract section 4 says which finding is `degraded` and which `failing`.

use super::{Live, ProbeError, shapes};
use crate::domain::{BackupState, Exporting, Instant, Trigger};
use crate::journal::Run;
use crate::schedule::next::{longest_gap, next_after};
use crate::store::{Backup, ClusterRow, ClustersToResume, PendingResume, TimetableRow};
use chrono::TimeDelta;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A debt that is unpaid for longer is an emergency.
const RESUME_FAILING: TimeDelta = TimeDelta::minutes(5);
/// Refusals of one cluster that are told one by one.
const DENIALS_TOLD: usize = 3;
/// The dispatch loop ticks twice a second.
const DISPATCH_STALLED: std::time::Duration = std::time::Duration::from_secs(10);

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Somebody should look.
    Degraded,
    /// Backups are not being taken, or exporting is in danger.
    Failing,
}

impl Status {
    /// As in the JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `store dispatch config clock pending_resumes exporting schedules retention credentials probes copy`.
    pub name: &'static str,
    /// Whose, if it is about one cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// How bad.
    pub status: Status,
    /// One sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Everything health is judged from.
pub struct Facts<'a> {
    /// What is true right now.
    pub live: &'a Live,
    /// Existing backups, oldest first.
    pub backups: &'a [Backup],
    /// Open debts.
    pub pending_resumes: &'a [PendingResume],
    /// Known pairs.
    pub timetable: &'a [TimetableRow],
    /// Known clusters.
    pub clusters: &'a [ClusterRow],
    /// Runs that have not ended.
    pub unfinished: &'a [Run],
    /// Failed runs since the last success, per cluster.
    pub failures: &'a BTreeMap<String, u32>,
}

/// The body of `/health`, and what `/health/backups` needs beside it.
#[derive(Clone, Debug)]
pub struct Health {
    /// The worst of all checks.
    pub status: Status,
    /// All findings, good ones included.
    pub checks: Vec<Check>,
    /// Per cluster, as contract section 4 shapes it.
    pub clusters: Vec<Value>,
    /// Why `/health/backups` is 503; empty if it is not.
    pub backups: Vec<String>,
    /// Pairs of schedule and cluster that are overdue, with the sentence.
    pub overdue: BTreeMap<(String, String), String>,
}

impl Health {
    /// The JSON body.
    pub fn body(&self) -> Value {
        json!({
            "status": self.status,
            "version": env!("CARGO_PKG_VERSION"),
            "checks": self.checks,
            "clusters": self.clusters,
        })
    }
}

/// What is good and what is not.
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
    let owed = ClustersToResume::by(
        facts.pending_resumes.iter().filter(|pending_resume| pending_resume.may_be_paused()),
    );
    for (name, settings) in &facts.live.config.clusters {
        let backups = of_clusters.remove(name.as_str()).unwrap_or_default();
        let next = next_due.get(name.as_str()).copied();
        clusters.push(cluster(
            facts,
            name,
            owed.to(name, &settings.addresses).is_some_and(|owner| !seen_running(facts, name, owner)),
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

/// Whether the partitions were seen exporting after the resume of `owner` had been sent: it acted, although nobody has
/// confirmed it yet. A look from before it would tell of the time before the pause.
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
        let what = "the daemon is stopping: nothing is begun, and what has paused exporting resumes it";
        check("dispatch", Status::Degraded, what.to_owned())
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
            format!("the last reload was refused and the old config runs: {why}"),
        ),
        None => check("config", Status::Ok, None),
    };
    let clock = match &live.clock_jump {
        Some(what) => check("clock", Status::Degraded, what.clone()),
        None => check("clock", Status::Ok, None),
    };
    vec![store, dispatch, config, clock]
}

fn pending_resumes(facts: &Facts<'_>) -> Check {
    let due = |pending_resume: &&PendingResume| {
        !facts.unfinished.iter().any(|r| r.run_id == pending_resume.run_id)
            || pending_resume.resume_intended_at.is_some()
    };
    let owed: Vec<&PendingResume> = facts.pending_resumes.iter().filter(due).collect();
    // A pause of this process is owed from the first resume on; one that an earlier process left, since it was intended.
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
    // A resume that was confirmed and could not be written down leaves its debt open, and nothing paused.
    let (confirmed, owed): (Vec<&PendingResume>, Vec<&PendingResume>) =
        owed.into_iter().partition(|pending_resume| !pending_resume.may_be_paused());
    let Some(since) = owed.iter().map(|pending_resume| since(pending_resume)).min() else {
        if confirmed.is_empty() {
            return check("pending_resumes", Status::Ok, None);
        }
        let (names, why) = named(&confirmed);
        return check("pending_resumes", Status::Degraded, format!("the debt of {names} is still open{why}"));
    };
    let age = facts.live.now - since;
    let status = if age > RESUME_FAILING { Status::Failing } else { Status::Degraded };
    let (names, why) = named(&owed);
    check(
        "pending_resumes",
        status,
        format!(
            "exporting of {names} was paused by us and its resume is not settled, for {} s{why}",
            age.num_seconds()
        ),
    )
}

/// Pairs that have no success for their schedule's longest gap plus `run_deadline`, and the findings.
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
                    "{name}: schedule {} has not succeeded since its first due time",
                    schedule.name
                ));
            }
            let allowed = gap.unwrap_or(TimeDelta::days(366))
                + TimeDelta::from_std(settings.limits.run_deadline).unwrap_or_default();
            let from = last_success.unwrap_or(since);
            if live.now - from > allowed {
                let detail = match last_success {
                    Some(at) => {
                        format!("schedule {} has had no success since {}", schedule.name, shapes::instant(at))
                    }
                    None => format!(
                        "schedule {} has never succeeded since {}",
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
    // Of scheduled ones each schedule tells its own.
    let newest = backups.iter().filter(|b| b.run.view.ended()).max_by_key(|b| b.run.view.finished_at);
    let by_hand = newest.filter(|b| b.run.trigger == Trigger::Manual);
    if let Some(why) = by_hand.and_then(|b| b.run.view.reason()) {
        checks.push(Check {
            name: "schedules",
            cluster: Some(name.to_owned()),
            status: Status::Degraded,
            detail: Some(format!("the last backup was asked for by hand and failed: {why}")),
        });
    }
    // `credentials` reports authentication failures.
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

/// Clusters that did not let us in when last asked, or whose credentials cannot be read.
fn credentials(live: &Live) -> Vec<Check> {
    let denied = live.clusters.iter().filter(|(_, probe)| !probe.denied.is_empty());
    let mut checks: Vec<Check> = denied
        .filter(|(name, _)| live.config.clusters.contains_key(*name))
        .map(|(name, probe)| {
            let told = probe.denied.iter().take(DENIALS_TOLD);
            let mut told: Vec<String> = told
                .map(|rejection| format!("since {}: {}", shapes::instant(rejection.since), rejection.why))
                .collect();
            if probe.denied.len() > DENIALS_TOLD {
                told.push(format!("and {} more", probe.denied.len() - DENIALS_TOLD));
            }
            Check {
                name: "credentials",
                cluster: Some(name.clone()),
                status: Status::Degraded,
                detail: Some(told.join("; ")),
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
            let error = deletion.last_error.as_deref().unwrap_or("it is not gone yet");
            behind
                .entry(&backup.run.cluster)
                .or_default()
                .push(format!("deletion of {} is behind: {error}", backup.run.backup_id));
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
                .push(format!("state_behind: {reason}; `adopt {}` mends it", row.name));
        }
    }
    for (cluster, what) in behind {
        let detail = Some(what.join("; "));
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
        let detail =
            Some("the cluster left the config; its backups stay until they are deleted by hand".to_owned());
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
            format!("pools without a schedule are frozen: {names}"),
        ));
    }
    if checks.is_empty() {
        checks.push(check("retention", Status::Ok, None));
    }
    checks
}
