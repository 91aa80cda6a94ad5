//! Stores under test, with short constructors for their input.

use camunda_backupd::domain::{
    Addresses, BackupId, Component, Family, Occurrence, PauseMode, RetentionGroup, RunId, Trigger,
};
use camunda_backupd::journal::{Entry, Event, FailureClass, Outcome, Run, Step};
use camunda_backupd::store::memory::MemoryStore;
use camunda_backupd::store::sqlite::{SqliteStore, StateLock};
use camunda_backupd::store::{
    BackupFilter, DeletionProgress, NewRun, OccurrenceOutcome, OccurrenceRow, PendingResume, ResumeProgress,
    SharedStore, StoreError,
};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use std::ops::Deref;
use tempfile::TempDir;
use uuid::Uuid;

pub(crate) type At = DateTime<Utc>;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Memory,
    Sqlite,
}

/// A store with the values that must live as long.
pub(crate) struct Bed {
    pub store: SharedStore,
    _kept: Option<(TempDir, StateLock)>,
}

impl Deref for Bed {
    type Target = SharedStore;
    fn deref(&self) -> &SharedStore {
        &self.store
    }
}

impl Bed {
    pub(crate) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Memory => Self { store: MemoryStore::shared(), _kept: None },
            Kind::Sqlite => {
                let dir = tempfile::tempdir().unwrap();
                let (store, lock) = SqliteStore::open(dir.path()).unwrap();
                Self { store, _kept: Some((dir, lock)) }
            }
        }
    }

    /// A scheduled run of `cluster` that has begun.
    pub(crate) async fn begun(&self, cluster: &str, now: &str) -> Run {
        self.begin_run(scheduled(cluster, now)).await.unwrap()
    }

    /// A run with a pending resume.
    pub(crate) async fn started(&self, cluster: &str, now: &str) -> Run {
        let run = self.begun(cluster, now).await;
        self.append(run.run_id, vec![entry(now, started())]).await.unwrap();
        run
    }

    /// A run that has failed.
    pub(crate) async fn failed(&self, cluster: &str, now: &str) -> Run {
        let run = self.begun(cluster, now).await;
        self.append(run.run_id, vec![entry(now, failed("no answer"))]).await.unwrap();
        run
    }

    /// A run with a pending resume.
    pub(crate) async fn still_pending(&self, cluster: &str, now: &str) -> Run {
        let run = self.started(cluster, now).await;
        self.record_pending_resume(pending_resume(&run, now), entry(now, pause_intended())).await.unwrap();
        run
    }

    pub(crate) async fn ids(&self, filter: BackupFilter) -> Vec<i64> {
        self.backups(filter).await.unwrap().iter().map(|b| b.run.backup_id.get()).collect()
    }

    pub(crate) async fn journal_of(&self, run_id: RunId) -> Vec<Event> {
        self.journal(run_id).await.unwrap().into_iter().map(|entry| entry.event).collect()
    }
}

pub(crate) fn at(text: &str) -> At {
    text.parse().unwrap()
}

pub(crate) fn seconds(text: &str) -> i64 {
    at(text).timestamp()
}

pub(crate) fn id(value: i64) -> BackupId {
    BackupId::new(value).unwrap()
}

pub(crate) fn entry(now: &str, event: Event) -> Entry {
    Entry { at: at(now), event }
}

pub(crate) fn scheduled(cluster: &str, now: &str) -> NewRun {
    NewRun {
        run_id: Uuid::now_v7(),
        cluster: cluster.into(),
        trigger: Trigger::Schedule,
        occurrences: vec![],
        retention_groups: vec![RetentionGroup::Schedule("daily".into())],
        note: None,
        spec: json!({ "kept": ["for", "later"] }),
        id_scope: format!("scope of {cluster}"),
        largest_seen: 0,
        now: at(now),
        min_interval: None,
    }
}

pub(crate) fn manual(cluster: &str, now: &str) -> NewRun {
    NewRun {
        trigger: Trigger::Manual,
        retention_groups: vec![RetentionGroup::Manual],
        note: Some("before the upgrade".into()),
        min_interval: Some(std::time::Duration::from_hours(1)),
        ..scheduled(cluster, now)
    }
}

pub(crate) fn started() -> Event {
    Event::Started {
        version: "8.6.0".into(),
        family: Family::V82To87,
        routes: camunda_backupd::domain::Routes::default(),
        pause: Some(PauseMode::Soft),
        components: vec![Component::Operate, Component::Records, Component::Zeebe],
        steps: vec![Step::Guard],
        records_indices: vec!["zeebe-record_job_8.6.0_2025-03-01".into()],
        partitions: Some(3),
        above: None,
    }
}

pub(crate) fn pause_intended() -> Event {
    Event::StepIntended { step: Step::Pause }
}

pub(crate) fn failed(reason: &str) -> Event {
    Event::Ended(Outcome::Failed {
        class: FailureClass::Unreachable,
        reason: reason.into(),
        failure_report: json!({ "responses": [503] }),
    })
}

/// Everything a run with the one step `guard` does.
pub(crate) fn completed(now: &str) -> Vec<Entry> {
    vec![
        entry(now, started()),
        entry(now, Event::StepIntended { step: Step::Guard }),
        entry(now, Event::StepDone { step: Step::Guard, ms: 12 }),
        entry(now, Event::Ended(Outcome::Completed { attestation: json!({ "whole": true }) })),
    ]
}

pub(crate) fn addresses() -> Addresses {
    Addresses {
        zeebe: "http://zeebe:9600".into(),
        operate: Some("http://operate:8080".into()),
        tasklist: None,
        optimize: None,
        rest: None,
        brokers: vec!["http://zeebe-0:9600".into()],
        search: None,
        routes: camunda_backupd::domain::Routes::default(),
        ..Addresses::default()
    }
}

pub(crate) fn pending_resume(run: &Run, now: &str) -> PendingResume {
    PendingResume {
        intended_since_boot_ms: Some(123_456),
        ..PendingResume::new(run.run_id, run.cluster.clone(), addresses(), at(now))
    }
}

pub(crate) fn resume_intent(by: &str, now: &str) -> ResumeProgress {
    ResumeProgress::Intended { by: by.into(), at: at(now) }
}

pub(crate) fn failed_resume(error: &str) -> ResumeProgress {
    ResumeProgress::Failed { error: error.into() }
}

pub(crate) fn confirmed_resume(by: &str, now: &str) -> ResumeProgress {
    ResumeProgress::Confirmed { by: by.into(), at: at(now) }
}

pub(crate) fn failed_deletion(error: &str) -> DeletionProgress {
    DeletionProgress::Attempted { error: Some(error.into()) }
}

pub(crate) fn deletion_done(now: &str) -> DeletionProgress {
    DeletionProgress::Done { at: at(now) }
}

pub(crate) fn occurrence(schedule: &str, cluster: &str, due_at: &str) -> Occurrence {
    Occurrence { due_at: at(due_at), schedule: schedule.into(), cluster: cluster.into() }
}

pub(crate) fn waiting(occurrence: &Occurrence) -> OccurrenceRow {
    OccurrenceRow {
        occurrence: occurrence.clone(),
        until: None,
        count: 1,
        start_at: occurrence.due_at + TimeDelta::seconds(7),
        start_until: occurrence.due_at + TimeDelta::hours(1),
        missed: false,
        outcome: OccurrenceOutcome::Waiting,
        reason: None,
        run_id: None,
    }
}

/// A range of missed occurrences that will not run.
pub(crate) fn missed(first: &Occurrence, until: &str, count: u64) -> OccurrenceRow {
    OccurrenceRow {
        until: Some(at(until)),
        count,
        missed: true,
        outcome: OccurrenceOutcome::Skipped,
        reason: Some("missed_while_down".into()),
        ..waiting(first)
    }
}

pub(crate) fn refused<T: std::fmt::Debug>(response: Result<T, StoreError>) -> String {
    match response {
        Err(StoreError::Refused(sentence)) => sentence,
        other => panic!("expected a refusal, got {other:?}"),
    }
}
