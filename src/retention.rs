//! What to keep: a pure decision with a reason for every keep and every delete (rule I8).
//!
//! Owns the counting of pools and, in `ownership`, the proof that a backup is ours. Must not do IO or read a
//! clock: who looks at components and who deletes is `run/delete`.

use crate::domain::{BackupId, BackupState, Keep, RetentionGroup, RunId};
use crate::store::Backup;
use std::collections::{BTreeMap, BTreeSet};

pub mod ownership;

/// How one pool of a cluster is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// Which.
    pub group: RetentionGroup,
    /// What stays.
    pub keep: Keep,
    /// Its schedule was removed or renamed: nothing of it is pruned.
    pub frozen: bool,
}

/// What is to become of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Stays.
    Keep,
    /// Goes.
    Delete,
}

/// The verdict on one backup and the sentence that explains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whose.
    pub run_id: RunId,
    /// Its id.
    pub backup_id: BackupId,
    /// What becomes of it.
    pub verdict: Verdict,
    /// One sentence for the operator.
    pub reason: String,
}

/// One decision for each backup of one cluster that still exists and is not on its way out, oldest first.
///
/// `complete` names the good ones that a look in this pass found complete in all components: only they stand in
/// for an older one. `stopped` says why nothing may be deleted.
pub fn decide(
    retention_groups: &[RetentionRule],
    backups: &[Backup],
    complete: &BTreeSet<RunId>,
    stopped: Option<&str>,
) -> Vec<Decision> {
    Counted::new(retention_groups, backups).decide(complete, stopped)
}

/// The good ones to look at before `decide` may count on them; empty when no good one would go or all is known.
///
/// `doubtful` are those that were looked at in this pass and not found complete. Looks are asked for only where
/// they would let something be deleted, newest first, so that most passes ask the cluster nothing.
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
    let mut wanted = BTreeMap::new();
    for candidate in &counted.good {
        if counted.good_outcome(candidate, &hopeful).is_err() {
            continue;
        }
        wanted.extend(counted.stand_ins(candidate, &hopeful).into_iter().map(|b| (age(b), b.run.run_id)));
    }
    wanted.into_values().rev().filter(|id| !complete.contains(id)).collect()
}

/// The backups of one cluster, sorted so that the order they came in does not matter.
struct Counted<'a> {
    rules: BTreeMap<RetentionGroup, RetentionRule>,
    present: Vec<&'a Backup>,
    good: Vec<&'a Backup>,
    /// The good ones whose runs we saw to their end: no other stands in for anything.
    certified: Vec<&'a Backup>,
    bad: Vec<&'a Backup>,
}

/// A sentence that says why.
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
        let certified = good.iter().copied().filter(|b| is_certified(b)).collect();
        Self { rules, present, good, certified, bad }
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
                    Ok(reason) => (Verdict::Delete, format!("deleted: {reason}")),
                    Err(reason) => (Verdict::Keep, format!("kept: {reason}")),
                };
                Decision { run_id: backup.run.run_id, backup_id: backup.run.backup_id, verdict, reason }
            })
            .collect()
    }

    /// `Ok` with the reason it goes, `Err` with the reason it stays.
    fn good_outcome(&self, backup: &Backup, complete: &BTreeSet<RunId>) -> Result<Reason, Reason> {
        let rules = self.rules_of(backup)?;
        let mut reasons = Vec::new();
        for rule in rules {
            let newer = self.newer_certified(backup, &rule.group, complete);
            let seen = newer.iter().filter(|b| complete.contains(&b.run.run_id)).count();
            let (limit, group) = (rule.keep.successful, &rule.group);
            if *group == RetentionGroup::Adopted {
                reasons.push(self.adopted_outcome(backup, limit, seen)?);
                continue;
            }
            if newer.len() < limit as usize {
                return Err(format!("one of the {limit} newest good ones of {group}"));
            }
            if seen < limit as usize {
                return Err(format!(
                    "{limit} newer good ones of {group} must be seen complete in this pass before it may go, and {seen} were"
                ));
            }
            reasons
                .push(format!("{seen} newer good ones of {group} were seen complete, and it keeps {limit}"));
        }
        // Decides with a limit of 0 only: the one that would be left must be whole.
        if self.good.last().is_some_and(|last| age(last) == age(backup)) {
            return Err("the newest good one of the cluster always stays".to_owned());
        }
        if !self.certified.iter().any(|b| age(b) > age(backup) && complete.contains(&b.run.run_id)) {
            return Err("no newer good one of the cluster was seen complete in this pass".to_owned());
        }
        Ok(reasons.join("; "))
    }

    /// Whether exporting stayed paused for an adopted one cannot be told, nor so for another of that pool.
    fn adopted_outcome(&self, backup: &Backup, limit: u32, seen: usize) -> Result<Reason, Reason> {
        if newer(&self.good, backup, &RetentionGroup::Adopted).next().is_none() {
            return Err("the newest good one of adopted".to_owned());
        }
        if seen < limit as usize {
            return Err(format!(
                "{limit} newer good ones with a certificate of ours must stay and be seen complete in this pass before an adopted one may go, and {seen} were"
            ));
        }
        Ok(format!(
            "{seen} newer good ones with a certificate of ours were seen complete, and {limit} are enough"
        ))
    }

    /// The newer good ones that may stand in for `backup` in a pool, newest first; for an adopted one those of any pool
    /// that stay themselves.
    fn newer_certified(
        &self,
        backup: &Backup,
        group: &RetentionGroup,
        complete: &BTreeSet<RunId>,
    ) -> Vec<&'a Backup> {
        if *group != RetentionGroup::Adopted {
            return newer(&self.certified, backup, group).collect();
        }
        let than = age(backup);
        let later = self.certified.iter().rev().copied().take_while(|b| age(b) > than);
        later.filter(|b| self.good_outcome(b, complete).is_err()).collect()
    }

    fn bad_outcome(&self, backup: &Backup) -> Result<Reason, Reason> {
        let mut reasons = Vec::new();
        for rule in self.rules_of(backup)? {
            let count = newer(&self.bad, backup, &rule.group).count();
            let (limit, group) = (rule.keep.failed, &rule.group);
            if count < limit as usize {
                return Err(format!("one of the {limit} newest failures of {group}"));
            }
            reasons.push(format!("{count} newer failures of {group} exist, and it keeps {limit}"));
        }
        Ok(reasons.join("; "))
    }

    /// The rules of every pool the backup belongs to, or why none of them lets it go.
    fn rules_of(&self, backup: &Backup) -> Result<Vec<&RetentionRule>, Reason> {
        if backup.held {
            return Err("an operator holds it".to_owned());
        }
        if backup.run.retention_groups.is_empty() {
            return Err("it belongs to no pool".to_owned());
        }
        backup
            .run
            .retention_groups
            .iter()
            .map(|group| match self.rules.get(group) {
                Some(rule) if !rule.frozen => Ok(rule),
                _ => Err(format!("{group} is no longer in the configuration, so nothing of it is pruned")),
            })
            .collect()
    }

    /// Those of `hopeful` that would let `backup` go: the newest of each of its pools, at least one of the cluster.
    fn stand_ins(&self, backup: &Backup, hopeful: &BTreeSet<RunId>) -> Vec<&'a Backup> {
        let hope = |b: &&Backup| hopeful.contains(&b.run.run_id);
        let mut found = Vec::new();
        for group in &backup.run.retention_groups {
            let limit = self.rules.get(group).map_or(0, |r| r.keep.successful) as usize;
            found.extend(self.newer_certified(backup, group, hopeful).into_iter().filter(hope).take(limit));
        }
        if found.is_empty() {
            found.extend(self.certified.iter().rev().copied().filter(|b| age(b) > age(backup)).find(hope));
        }
        found
    }
}

/// Those of `list` that belong to `group` and are newer than `than`, newest first.
fn newer<'a>(list: &[&'a Backup], than: &Backup, group: &RetentionGroup) -> impl Iterator<Item = &'a Backup> {
    let than = age(than);
    list.iter()
        .rev()
        .copied()
        .take_while(move |b| age(b) > than)
        .filter(move |b| b.run.retention_groups.contains(group))
}

/// Whether our run of it is known: of an adopted one only the parts are.
fn is_certified(backup: &Backup) -> bool {
    !backup.run.retention_groups.contains(&RetentionGroup::Adopted)
}

/// Ids only grow, also when the clock was set back; run ids settle what cannot be.
fn age(backup: &Backup) -> (BackupId, RunId) {
    (backup.run.backup_id, backup.run.run_id)
}

fn exists(state: BackupState) -> bool {
    !matches!(state, BackupState::Deleting | BackupState::Deleted | BackupState::Missing)
}
