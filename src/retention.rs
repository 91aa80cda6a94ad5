//! Retention: a decision with a reason for every backup (rule I8).
//!
//! Owns the count per retention group and, in `ownership`, the proof that a backup is ours. Must not do IO or read a
//! clock: `upkeep` probes components and deletes.

use crate::domain::{BackupId, BackupState, Keep, RetentionGroup, RunId};
use crate::store::Backup;
use std::collections::{BTreeMap, BTreeSet};

pub mod ownership;

/// Rule of one retention group of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// The group that the rule counts.
    pub group: RetentionGroup,
    /// Number of backups to keep.
    pub keep: Keep,
    /// Whether the schedule of the group was removed or renamed. Retention deletes no backup of such a group.
    pub frozen: bool,
}

/// Decision on a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The backup stays.
    Keep,
    /// The backup is deleted.
    Delete,
}

/// The verdict on one backup, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Run of the backup.
    pub run_id: RunId,
    /// Id of the backup, for the text.
    pub backup_id: BackupId,
    /// Keep or delete.
    pub verdict: Verdict,
    /// One sentence for the operator.
    pub reason: String,
}

/// One decision for each existing backup of one cluster that is not being deleted, oldest first.
///
/// `complete`: completed backups that a probe in this pass found complete in all components. Only these replace an older
/// backup. `stopped`: reason why nothing may be deleted.
pub fn decide(
    retention_groups: &[RetentionRule],
    backups: &[Backup],
    complete: &BTreeSet<RunId>,
    stopped: Option<&str>,
) -> Vec<Decision> {
    Counted::new(retention_groups, backups).decide(complete, stopped)
}

/// The completed backups to probe before `decide` may count them, newest first; empty if no probe would allow a deletion.
///
/// `doubtful`: backups that a probe in this pass did not find complete. Only probes that allow a deletion are requested,
/// so most passes send no request to the cluster.
pub fn needs_probe(
    retention_groups: &[RetentionRule],
    backups: &[Backup],
    complete: &BTreeSet<RunId>,
    doubtful: &BTreeSet<RunId>,
    stopped: Option<&str>,
) -> Vec<RunId> {
    if stopped.is_some() {
        return Vec::new();
    }
    let counted = Counted::new(retention_groups, backups);
    let hopeful: BTreeSet<RunId> =
        counted.good.iter().map(|b| b.run.run_id).filter(|id| !doubtful.contains(id)).collect();
    let mut needed = BTreeMap::new();
    for candidate in &counted.good {
        if counted.good_outcome(candidate, &hopeful).is_err() {
            continue;
        }
        needed.extend(counted.stand_ins(candidate, &hopeful).into_iter().map(|b| (age(b), b.run.run_id)));
    }
    needed.into_values().rev().filter(|id| !complete.contains(id)).collect()
}

/// The backups of one cluster, sorted by age.
struct Counted<'a> {
    rules: BTreeMap<RetentionGroup, RetentionRule>,
    present: Vec<&'a Backup>,
    good: Vec<&'a Backup>,
    /// Completed backups of our own runs, not adopted: only these replace an older backup.
    attested: Vec<&'a Backup>,
    bad: Vec<&'a Backup>,
}

/// Reason of a decision, without its prefix.
type Reason = String;

impl<'a> Counted<'a> {
    fn new(retention_groups: &[RetentionRule], backups: &'a [Backup]) -> Self {
        let mut rules: BTreeMap<RetentionGroup, RetentionRule> =
            retention_groups.iter().map(|r| (r.group.clone(), r.clone())).collect();
        if let Some(manual) = rules.get(&RetentionGroup::Manual) {
            let keep = Keep { successful: manual.keep.successful.max(1), ..manual.keep };
            let adopted = RetentionRule { group: RetentionGroup::Adopted, keep, frozen: manual.frozen };
            rules.insert(RetentionGroup::Adopted, adopted);
        }
        let mut present: Vec<&Backup> = backups.iter().filter(|b| exists(b.state)).collect();
        present.sort_by_key(|b| age(b));
        let of = |state| present.iter().copied().filter(|b| b.state == state).collect();
        let (good, bad): (Vec<&Backup>, _) = (of(BackupState::Completed), of(BackupState::Failed));
        let attested = good.iter().copied().filter(|b| is_attested(b)).collect();
        Self { rules, present, good, attested, bad }
    }

    fn decide(&self, complete: &BTreeSet<RunId>, stopped: Option<&str>) -> Vec<Decision> {
        self.present
            .iter()
            .map(|backup| {
                let outcome = match (stopped, backup.state) {
                    (Some(why), _) => Err(format!("retention of this cluster is stopped: {why}")),
                    (None, BackupState::Completed) => self.good_outcome(backup, complete),
                    (None, BackupState::Failed) => self.bad_outcome(backup),
                    (None, _) => Err("its run has not ended".to_owned()),
                };
                let (verdict, reason) = match outcome {
                    Ok(reason) => (Verdict::Delete, format!("retention: {reason}")),
                    Err(reason) => (Verdict::Keep, format!("kept: {reason}")),
                };
                Decision { run_id: backup.run.run_id, backup_id: backup.run.backup_id, verdict, reason }
            })
            .collect()
    }

    /// `Ok` with the reason of a deletion, `Err` with the reason to keep the backup.
    fn good_outcome(&self, backup: &Backup, complete: &BTreeSet<RunId>) -> Result<Reason, Reason> {
        let rules = self.rules_of(backup)?;
        let mut reasons = Vec::new();
        for rule in rules {
            let newer = self.newer_attested(backup, &rule.group, complete);
            let seen = newer.iter().filter(|b| complete.contains(&b.run.run_id)).count();
            let (limit, group) = (rule.keep.successful, &rule.group);
            if *group == RetentionGroup::Adopted {
                reasons.push(self.adopted_outcome(backup, limit, seen)?);
                continue;
            }
            if newer.len() < limit as usize {
                return Err(format!(
                    "one of the newest completed backups of {}, which keeps {limit}",
                    label(group)
                ));
            }
            if seen < limit as usize {
                return Err(format!(
                    "{} keeps {limit}, and this pass found only {} complete",
                    label(group),
                    counted(seen, "newer backup")
                ));
            }
            let newer = counted(seen, "newer complete backup");
            reasons.push(format!("{} keeps {limit} and has {newer}", label(group)));
        }
        // With `keep.successful = 0` every backup may be deleted except the newest completed backup of the cluster.
        if self.good.last().is_some_and(|last| age(last) == age(backup)) {
            return Err("the newest completed backup of the cluster always stays".to_owned());
        }
        if !self.attested.iter().any(|b| age(b) > age(backup) && complete.contains(&b.run.run_id)) {
            return Err("this pass found no newer backup of the cluster complete".to_owned());
        }
        Ok(reasons.join("; "))
    }

    /// Decision on an adopted backup. Adopted backups do not replace each other, because it is unknown whether
    /// exporting stayed paused during them.
    fn adopted_outcome(&self, backup: &Backup, limit: u32, seen: usize) -> Result<Reason, Reason> {
        if newer(&self.good, backup, &RetentionGroup::Adopted).next().is_none() {
            return Err("the newest completed backup of group adopted always stays".to_owned());
        }
        if seen < limit as usize {
            return Err(format!(
                "group adopted needs {limit} newer attested backups, and this pass found only {seen} of them complete"
            ));
        }
        Ok(format!("group adopted needs {limit} newer attested backups, and {seen} are complete"))
    }

    /// The newer backups that may replace `backup` in a retention group, newest first. For an adopted backup: those of any
    /// group that stay themselves.
    fn newer_attested(
        &self,
        backup: &Backup,
        group: &RetentionGroup,
        complete: &BTreeSet<RunId>,
    ) -> Vec<&'a Backup> {
        if *group != RetentionGroup::Adopted {
            return newer(&self.attested, backup, group).collect();
        }
        let than = age(backup);
        let later = self.attested.iter().rev().copied().take_while(|b| age(b) > than);
        later.filter(|b| self.good_outcome(b, complete).is_err()).collect()
    }

    fn bad_outcome(&self, backup: &Backup) -> Result<Reason, Reason> {
        let mut reasons = Vec::new();
        for rule in self.rules_of(backup)? {
            let count = newer(&self.bad, backup, &rule.group).count();
            let (limit, group) = (rule.keep.failed, &rule.group);
            if count < limit as usize {
                return Err(format!(
                    "one of the newest failed runs of {}, which keeps {limit}",
                    label(group)
                ));
            }
            let newer = counted(count, "newer failed run");
            reasons.push(format!("{} keeps {limit} and has {newer}", label(group)));
        }
        Ok(reasons.join("; "))
    }

    /// The rules of all retention groups of the backup, or the reason to keep it.
    fn rules_of(&self, backup: &Backup) -> Result<Vec<&RetentionRule>, Reason> {
        if backup.held {
            return Err("held by an operator".to_owned());
        }
        if backup.run.retention_groups.is_empty() {
            return Err("it belongs to no retention group".to_owned());
        }
        backup
            .run
            .retention_groups
            .iter()
            .map(|group| match self.rules.get(group) {
                Some(rule) if !rule.frozen => Ok(rule),
                _ => Err(format!(
                    "{} is no longer in the config, so retention deletes none of its backups",
                    label(group)
                )),
            })
            .collect()
    }

    /// Backups of `hopeful` that would replace `backup`: the newest of each of its retention groups, at least one of the
    /// cluster.
    fn stand_ins(&self, backup: &Backup, hopeful: &BTreeSet<RunId>) -> Vec<&'a Backup> {
        let hope = |b: &&Backup| hopeful.contains(&b.run.run_id);
        let mut found = Vec::new();
        for group in &backup.run.retention_groups {
            let limit = self.rules.get(group).map_or(0, |r| r.keep.successful) as usize;
            found.extend(self.newer_attested(backup, group, hopeful).into_iter().filter(hope).take(limit));
        }
        if found.is_empty() {
            found.extend(self.attested.iter().rev().copied().filter(|b| age(b) > age(backup)).find(hope));
        }
        found
    }
}

fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Name of a group in a sentence.
fn label(group: &RetentionGroup) -> String {
    match group {
        RetentionGroup::Schedule(name) => format!("schedule {name}"),
        RetentionGroup::Manual => "group manual".to_owned(),
        RetentionGroup::Adopted => "group adopted".to_owned(),
    }
}

/// Backups of `list` in `group` that are newer than `than`, newest first.
fn newer<'a>(list: &[&'a Backup], than: &Backup, group: &RetentionGroup) -> impl Iterator<Item = &'a Backup> {
    let than = age(than);
    list.iter()
        .rev()
        .copied()
        .take_while(move |b| age(b) > than)
        .filter(move |b| b.run.retention_groups.contains(group))
}

/// Whether the journal of the backup's run is known. For an adopted backup only the parts are known.
fn is_attested(backup: &Backup) -> bool {
    !backup.run.retention_groups.contains(&RetentionGroup::Adopted)
}

/// Backup ids only grow, also after the clock was set back; the run id breaks ties.
fn age(backup: &Backup) -> (BackupId, RunId) {
    (backup.run.backup_id, backup.run.run_id)
}

fn exists(state: BackupState) -> bool {
    !matches!(state, BackupState::Deleting | BackupState::Deleted | BackupState::Missing)
}
