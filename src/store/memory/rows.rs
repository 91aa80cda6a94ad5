//! Rows of the store in memory, and the effect of each method on them.
//!
//! Owns the maps. Every change checks first and changes after, so that a refusal has changed nothing.

use crate::domain::{Addresses, BackupId, Instant, Occurrence, RunId, Trigger};
use crate::journal::{Entry, Event, Run, RunStatus, RunView};
use crate::store::{
    Adopted, Backup, BackupFilter, ClusterRow, Deletion, NewRun, OccurrenceOutcome, OccurrenceRow,
    PendingResume, StoreError, TimetableRow, rules,
};
use std::collections::BTreeMap;

pub(super) struct RunRow {
    pub(super) run: Run,
    pub(super) journal: Vec<Entry>,
    scope: Option<String>,
    held: bool,
    missing: bool,
    deletion: Option<Deletion>,
}

impl RunRow {
    fn backup(&self) -> Backup {
        Backup {
            state: rules::state(self.run.view.status, self.missing, self.deletion.as_ref()),
            run: self.run.clone(),
            held: self.held,
            deletion: self.deletion.clone(),
        }
    }
}

struct Limit {
    last_start: Instant,
    freed: bool,
}

#[derive(Default)]
pub(super) struct Rows {
    pub(super) timetable: BTreeMap<(String, String), TimetableRow>,
    pub(super) runs: BTreeMap<RunId, RunRow>,
    pub(super) clusters: BTreeMap<String, ClusterRow>,
    occurrences: BTreeMap<Occurrence, OccurrenceRow>,
    pending_resumes: BTreeMap<RunId, PendingResume>,
    highest_ids: BTreeMap<String, i64>,
    limits: BTreeMap<String, Limit>,
    pub(super) foreign_pauses: BTreeMap<String, Instant>,
}

impl Rows {
    pub(super) fn set_timetable(&mut self, rows: Vec<TimetableRow>) {
        self.timetable.values_mut().for_each(|row| row.active = false);
        for mut row in rows {
            let key = (row.schedule.clone(), row.cluster.clone());
            if let Some(old) = self.timetable.get(&key)
                && (&old.times_key, old.since) == (&row.times_key, row.since)
            {
                row.last_due = row.last_due.max(old.last_due);
            }
            self.timetable.insert(key, row);
        }
    }

    pub(super) fn claim(&mut self, rows: Vec<OccurrenceRow>) -> Result<Vec<OccurrenceRow>, StoreError> {
        rows.iter().try_for_each(rules::may_claim)?;
        let mut new = Vec::new();
        for row in rows {
            let Occurrence { due_at, schedule, cluster } = row.occurrence.clone();
            if let Some(pair) = self.timetable.get_mut(&(schedule, cluster)) {
                pair.last_due = pair.last_due.max(Some(row.until.unwrap_or(due_at)));
            }
            if !self.known(&row) {
                self.occurrences.insert(row.occurrence.clone(), row.clone());
                new.push(row);
            }
        }
        Ok(new)
    }

    /// Whether an occurrence was claimed before, alone or inside a range. An occurrence that was skipped as missed
    /// while the clock was ahead, and is due now, is not known.
    fn known(&self, new: &OccurrenceRow) -> bool {
        let occurrence = &new.occurrence;
        self.occurrences.range(..=occurrence).any(|(key, row)| {
            key.schedule == occurrence.schedule
                && key.cluster == occurrence.cluster
                && (key.due_at == occurrence.due_at || row.until >= Some(occurrence.due_at))
                && !(rules::really_due(new) && row.outcome == OccurrenceOutcome::Skipped && row.missed)
        })
    }

    pub(super) fn waiting(&self) -> Vec<OccurrenceRow> {
        self.occurrences.values().filter(|row| row.outcome == OccurrenceOutcome::Waiting).cloned().collect()
    }

    pub(super) fn skip(&mut self, occurrences: &[Occurrence], reason: &str) {
        for occurrence in occurrences {
            if let Some(row) = self.occurrences.get_mut(occurrence)
                && row.outcome == OccurrenceOutcome::Waiting
            {
                row.outcome = OccurrenceOutcome::Skipped;
                row.reason = Some(reason.to_owned());
            }
        }
    }

    pub(super) fn list_occurrences(
        &self,
        schedule: Option<&str>,
        cluster: Option<&str>,
        limit: u32,
    ) -> Vec<OccurrenceRow> {
        self.occurrences
            .values()
            .rev()
            .filter(|row| schedule.is_none_or(|s| s == row.occurrence.schedule))
            .filter(|row| cluster.is_none_or(|c| c == row.occurrence.cluster))
            .take(at_most(limit))
            .cloned()
            .collect()
    }

    pub(super) fn begin(&mut self, new: NewRun) -> Result<Run, StoreError> {
        if let Some(busy) =
            self.runs.values().find(|row| row.run.cluster == new.cluster && !row.run.view.ended())
        {
            return Err(StoreError::Busy { cluster: new.cluster, run_id: busy.run.run_id });
        }
        if self.runs.contains_key(&new.run_id) {
            return Err(rules::second_run(new.run_id));
        }
        if new.trigger == Trigger::Manual
            && let Some(interval) = new.min_interval
            && let Some(limit) = self.limits.get_mut(&new.cluster).filter(|limit| !limit.freed)
        {
            limit.last_start = limit.last_start.min(new.now);
            if let Some(until) = rules::limited_until(limit.last_start, new.now, interval) {
                return Err(StoreError::RateLimited { cluster: new.cluster, last: limit.last_start, until });
            }
        }
        let backup_id = rules::next_id(new.now, self.largest(&new), &new.id_scope)?;
        for (occurrence, becomes) in &new.occurrences {
            rules::may_serve(occurrence, self.occurrences.get(occurrence).map(|row| row.outcome), *becomes)?;
        }

        self.raise_highest_id(new.id_scope.clone(), backup_id.get());
        for (occurrence, becomes) in &new.occurrences {
            if let Some(row) = self.occurrences.get_mut(occurrence) {
                row.outcome = *becomes;
                row.run_id = Some(new.run_id);
            }
        }
        if new.trigger == Trigger::Manual {
            self.limits.insert(new.cluster.clone(), Limit { last_start: new.now, freed: false });
        }
        let scope = new.id_scope.clone();
        let run = rules::new_run(new, backup_id);
        self.insert(run.clone(), Some(scope));
        Ok(run)
    }

    fn largest(&self, new: &NewRun) -> i64 {
        let same =
            |row: &&RunRow| row.run.cluster == new.cluster || row.scope.as_ref() == Some(&new.id_scope);
        let rows = self.runs.values().filter(same).map(|row| row.run.backup_id.get()).max();
        let highest_id = self.highest_ids.get(&new.id_scope).copied();
        rows.max(highest_id).unwrap_or(0).max(new.largest_seen)
    }

    fn insert(&mut self, run: Run, scope: Option<String>) {
        let row = RunRow { journal: Vec::new(), scope, held: false, missing: false, deletion: None, run };
        self.runs.insert(row.run.run_id, row);
    }

    pub(super) fn raise_highest_id(&mut self, scope: String, largest: i64) {
        let highest_id = self.highest_ids.entry(scope).or_insert(largest);
        *highest_id = largest.max(*highest_id);
    }

    pub(super) fn highest_id(&self, scope: &str) -> i64 {
        self.highest_ids.get(scope).copied().unwrap_or(0)
    }

    pub(super) fn adopt(&mut self, adopted: Adopted) -> Result<(), StoreError> {
        if self.runs.contains_key(&adopted.run_id) {
            return Ok(());
        }
        let same_id = self.backup(&adopted.cluster, adopted.backup_id).map(|backup| backup.run.run_id);
        rules::may_adopt(&adopted, same_id)?;
        self.insert(rules::adopted_run(adopted), None);
        Ok(())
    }

    pub(super) fn append(&mut self, run_id: RunId, entries: Vec<Entry>) -> Result<RunView, StoreError> {
        let row = self.runs.get_mut(&run_id).ok_or_else(|| StoreError::NotFound(rules::run_name(run_id)))?;
        let mut view = row.run.view.clone();
        entries.iter().try_for_each(|entry| view.apply(entry))?;
        row.journal.extend(entries);
        row.run.view = view.clone();
        if let Some(id) = view.identified.filter(|id| *id != row.run.backup_id) {
            row.run.backup_id = id;
            if let Some(scope) = row.scope.clone() {
                self.raise_highest_id(scope, id.get());
            }
        }
        Ok(view)
    }

    pub(super) fn unfinished(&self) -> Vec<Run> {
        let mut runs: Vec<Run> =
            self.runs.values().map(|row| &row.run).filter(|run| !run.view.ended()).cloned().collect();
        runs.sort_by_key(order);
        runs
    }

    pub(super) fn record_pending_resume(
        &mut self,
        pending_resume: PendingResume,
        entry: Entry,
    ) -> Result<(), StoreError> {
        if self.pending_resumes.contains_key(&pending_resume.run_id) {
            return Err(rules::second_pending_resume(pending_resume.run_id));
        }
        self.append(pending_resume.run_id, vec![entry])?;
        self.pending_resumes.insert(pending_resume.run_id, pending_resume);
        Ok(())
    }

    pub(super) fn resume_intended(
        &mut self,
        run_id: RunId,
        by: String,
        at: Instant,
    ) -> Result<(), StoreError> {
        self.pending_resume(run_id)?.resume_intended_at.get_or_insert(at);
        let event = Event::ResumeIntended { by };
        let written =
            self.runs.get(&run_id).is_some_and(|row| row.journal.iter().any(|entry| entry.event == event));
        if !written {
            self.mirror(run_id, Entry { at, event }, |_| true);
        }
        Ok(())
    }

    pub(super) fn resume_failed(&mut self, run_id: RunId, error: String) -> Result<(), StoreError> {
        let pending_resume = self.pending_resume(run_id)?;
        pending_resume.attempts += 1;
        pending_resume.last_error = Some(error);
        Ok(())
    }

    pub(super) fn moved(&mut self, run_id: RunId, addresses: Addresses) -> Result<(), StoreError> {
        self.pending_resume(run_id)?.addresses = addresses;
        Ok(())
    }

    pub(super) fn confirm_resume(
        &mut self,
        run_id: RunId,
        by: String,
        at: Instant,
    ) -> Result<(), StoreError> {
        let pending_resume = self.pending_resume(run_id)?;
        if pending_resume.confirmed_at.is_none() {
            pending_resume.attempts += 1;
            pending_resume.last_error = None;
            pending_resume.confirmed_at = Some(at);
            pending_resume.resume_intended_at.get_or_insert(at);
        }
        self.mirror(run_id, Entry { at, event: Event::Resumed { by } }, RunView::needs_resume);
        Ok(())
    }

    pub(super) fn abandon_resumes(&mut self, cluster: &str, why: &str, at: Instant) -> u32 {
        let open: Vec<RunId> =
            self.unconfirmed().iter().filter(|d| d.cluster == cluster).map(|d| d.run_id).collect();
        for run_id in &open {
            if let Some(pending_resume) = self.pending_resumes.get_mut(run_id) {
                pending_resume.abandoned = Some(why.to_owned());
            }
            let event = Event::ResumeAbandoned { reason: why.to_owned() };
            self.mirror(*run_id, Entry { at, event }, RunView::needs_resume);
        }
        open.len() as u32
    }

    pub(super) fn unconfirmed(&self) -> Vec<PendingResume> {
        let open = |pending_resume: &&PendingResume| {
            pending_resume.confirmed_at.is_none() && pending_resume.abandoned.is_none()
        };
        let mut pending_resumes: Vec<PendingResume> =
            self.pending_resumes.values().filter(open).cloned().collect();
        pending_resumes.sort_by_key(|pending_resume| (pending_resume.intended_at, pending_resume.run_id));
        pending_resumes
    }

    fn pending_resume(&mut self, run_id: RunId) -> Result<&mut PendingResume, StoreError> {
        self.pending_resumes
            .get_mut(&run_id)
            .ok_or_else(|| StoreError::NotFound(rules::pending_resume_name(run_id)))
    }

    /// Writes the entry to the journal of the run, if the run has not ended and `wanted` is true for its view.
    fn mirror(&mut self, run_id: RunId, entry: Entry, wanted: fn(&RunView) -> bool) {
        if let Some(row) = self.runs.get(&run_id)
            && rules::journal_open(&row.run.view)
            && wanted(&row.run.view)
        {
            // A rejected journal entry must not prevent writing the pending resume.
            let _ = self.append(run_id, vec![entry]);
        }
    }

    pub(super) fn backups(&self, filter: &BackupFilter) -> Vec<Backup> {
        let mut rows: Vec<&RunRow> = self
            .runs
            .values()
            .filter(|row| filter.cluster.as_ref().is_none_or(|cluster| *cluster == row.run.cluster))
            .filter(|row| !filter.existing || row.deletion.as_ref().is_none_or(|d| d.done_at.is_none()))
            .collect();
        rows.sort_by_key(|row| order(&row.run));
        let from = rows.len().saturating_sub(at_most(filter.limit));
        rows.drain(from..).map(RunRow::backup).collect()
    }

    pub(super) fn failures_in_a_row(&self) -> BTreeMap<String, u32> {
        let mut runs: Vec<&Run> = self.runs.values().map(|row| &row.run).collect();
        runs.sort_by_key(|run| run.created_at);
        let mut failures = BTreeMap::new();
        for run in runs {
            match run.view.status {
                RunStatus::Completed => drop(failures.remove(&run.cluster)),
                RunStatus::Failed => *failures.entry(run.cluster.clone()).or_default() += 1,
                RunStatus::Claimed | RunStatus::Running => {}
            }
        }
        failures
    }

    pub(super) fn backup(&self, cluster: &str, id: BackupId) -> Option<Backup> {
        let found = self.runs.values().find(|row| row.run.cluster == cluster && row.run.backup_id == id);
        found.map(RunRow::backup)
    }

    pub(super) fn request_deletion(
        &mut self,
        run_id: RunId,
        by: String,
        reason: String,
        at: Instant,
    ) -> Result<(), StoreError> {
        let (row, backup, name) = self.named(run_id)?;
        if rules::may_delete(&name, backup.state, backup.held)? {
            row.deletion = Some(Deletion {
                requested_at: at,
                by,
                reason,
                attempts: 0,
                last_error: None,
                ownership_proof: None,
                done_at: None,
            });
            if let Some(limit) = self.limits.get_mut(&backup.run.cluster) {
                limit.freed = true;
            }
        }
        Ok(())
    }

    pub(super) fn deletion(&mut self, run_id: RunId) -> Result<&mut Deletion, StoreError> {
        self.runs
            .get_mut(&run_id)
            .and_then(|row| row.deletion.as_mut())
            .ok_or_else(|| StoreError::NotFound(rules::deletion_name(run_id)))
    }

    pub(super) fn set_missing(&mut self, run_id: RunId) -> Result<(), StoreError> {
        let (row, backup, name) = self.named(run_id)?;
        if rules::may_be_missing(&name, backup.state)? {
            row.missing = true;
        }
        Ok(())
    }

    pub(super) fn hold(&mut self, run_id: RunId, held: bool) -> Result<(), StoreError> {
        let (row, backup, name) = self.named(run_id)?;
        rules::may_hold(&name, backup.state, held)?;
        row.held = held;
        Ok(())
    }

    fn named(&mut self, run_id: RunId) -> Result<(&mut RunRow, Backup, String), StoreError> {
        let row = self.runs.get_mut(&run_id).ok_or_else(|| StoreError::NotFound(rules::run_name(run_id)))?;
        let backup = row.backup();
        let name = rules::name(&row.run.cluster, row.run.backup_id);
        Ok((row, backup, name))
    }

    pub(super) fn set_clusters(&mut self, rows: Vec<ClusterRow>) {
        self.clusters.values_mut().for_each(|row| row.configured = false);
        for mut row in rows {
            if let Some(old) = self.clusters.get(&row.name) {
                row.state_behind.clone_from(&old.state_behind);
                if old.addresses != row.addresses {
                    self.foreign_pauses.remove(&row.name);
                }
            }
            self.clusters.insert(row.name.clone(), row);
        }
        let clusters = &self.clusters;
        self.foreign_pauses.retain(|cluster, _| clusters.get(cluster).is_some_and(|row| row.configured));
    }

    pub(super) fn set_state_behind(&mut self, name: &str, reason: Option<String>) -> Result<(), StoreError> {
        let row =
            self.clusters.get_mut(name).ok_or_else(|| StoreError::NotFound(rules::cluster_name(name)))?;
        row.state_behind = reason;
        Ok(())
    }
}

fn order(run: &Run) -> (Instant, BackupId, RunId) {
    (run.created_at, run.backup_id, run.run_id)
}

/// Converts a `limit` to a number of rows; `0` means all rows.
fn at_most(limit: u32) -> usize {
    if limit == 0 { usize::MAX } else { limit as usize }
}
