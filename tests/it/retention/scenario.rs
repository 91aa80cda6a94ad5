//! Fixture of the retention tests: a cluster, an empty state, and backups of earlier runs.

use super::cluster::{Cluster, PARTS, part_name, records_name};
use camunda_backupd::camunda::SharedTransport;
use camunda_backupd::clock::{ManualClock, Tasks};
use camunda_backupd::context::{Context, Spec};
use camunda_backupd::domain::{
    Addresses, BackupId, BackupState, Component, Family, Limits, PauseMode, RetentionGroup, RunId,
    SearchAddress, Trigger,
};
use camunda_backupd::domain::{OwnershipTag, id_scope};
use camunda_backupd::journal::{Entry, Event, FailureClass, Outcome, Step};
use camunda_backupd::store::memory::MemoryStore;
use camunda_backupd::store::{Backup, BackupFilter, Backups, ClusterRow, Clusters, NewRun, Runs};
use camunda_backupd::upkeep::delete::{DeletionPass, delete_backup};
use chrono::{DateTime, TimeDelta};
use serde_json::json;
use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) const ALL: [Component; 4] =
    [Component::Operate, Component::Tasklist, Component::Records, Component::Zeebe];

pub(super) struct Scenario {
    pub clock: Arc<ManualClock>,
    pub cluster: Arc<Cluster>,
    pub store: Arc<MemoryStore>,
    pub context: Context,
    pub spec: Spec,
}

pub(super) fn addresses() -> Addresses {
    Addresses {
        zeebe: "http://zeebe".into(),
        operate: Some("http://operate".into()),
        tasklist: Some("http://tasklist".into()),
        optimize: None,
        rest: None,
        brokers: Vec::new(),
        routes: camunda_backupd::domain::Routes::default(),
        search: Some(SearchAddress {
            url: "http://search".into(),
            repository: "camunda".into(),
            webapps_repository: "camunda".into(),
            records: Some("zeebe-record*".into()),
        }),
        ..Addresses::default()
    }
}

impl Scenario {
    pub(super) async fn begin() -> Self {
        Log::install();
        let clock = ManualClock::at(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        let cluster = Cluster::new(clock.clone());
        let store = MemoryStore::shared();
        let transport: SharedTransport = cluster.clone();
        let context = Context {
            store: store.clone(),
            transport,
            clock: clock.clone(),
            tasks: Tasks::new(),
            instance: "ops-1".into(),
            attempts: camunda_backupd::context::resume_attempts::ResumeAttempts::default(),
            current_addresses: Arc::default(),
        };
        let spec = Spec { addresses: addresses(), version: None, limits: Limits::default() };
        let scenario = Self { clock, cluster, store, context, spec };
        scenario.configure(scenario.spec.addresses.clone()).await;
        scenario
    }

    pub(super) async fn configure(&self, addresses: Addresses) {
        let row = ClusterRow {
            name: "orders".into(),
            uuid: Uuid::from_u128(1),
            addresses,
            configured: true,
            state_behind: None,
        };
        self.store.set_clusters(vec![row]).await.unwrap();
    }

    /// Stores the journal of a run that sent start requests to all of `requested` and ended with `end`. The cluster stays
    /// unchanged.
    pub(super) async fn journal(
        &self,
        group: &str,
        requested: &[Component],
        end: Option<FailureClass>,
    ) -> Backup {
        let run_id = Uuid::from_u128(u128::from(self.clock_ms()) << 64 | u128::from(rank(&self.store).await));
        let new = NewRun {
            run_id,
            cluster: "orders".into(),
            trigger: Trigger::Schedule,
            occurrences: Vec::new(),
            retention_groups: vec![RetentionGroup::from(group.to_owned())],
            note: None,
            spec: serde_json::to_value(&self.spec).unwrap(),
            id_scope: id_scope("orders", &self.spec.addresses),
            largest_seen: 0,
            now: self.context.clock.now(),
            min_interval: None,
        };
        let run = self.store.begin_run(new).await.unwrap();
        let id = run.backup_id.get();
        let mut steps = vec![Step::Guard];
        steps.extend(requested.iter().flat_map(|c| [Step::Start(*c), Step::Wait(*c)]));
        let mut events = vec![Event::Started {
            version: "8.6.0".into(),
            family: Family::V82To87,
            routes: camunda_backupd::domain::Routes::default(),
            pause: Some(PauseMode::Soft),
            components: ALL.to_vec(),
            steps: steps.clone(),
            records_indices: vec!["zeebe-record_job".into()],
            partitions: Some(1),
            above: None,
        }];
        for step in steps {
            events.push(Event::StepIntended { step });
            if let Step::Start(component) = step
                && component != Component::Zeebe
            {
                let names = match component {
                    Component::Records => vec![records_name(id)],
                    app => (1..=PARTS).map(|part| part_name(app.name(), id, part)).collect(),
                };
                events.push(Event::Announced {
                    component,
                    repository: Some("camunda".into()),
                    names,
                    indices: vec![],
                });
            }
            events.push(Event::StepDone { step, ms: 10 });
        }
        events.push(Event::Ended(match end {
            None => Outcome::Completed { attestation: json!({}) },
            Some(class) => {
                Outcome::Failed { class, reason: "injected failure".into(), failure_report: json!({}) }
            }
        }));
        self.append(run_id, events).await;
        self.reload(run.backup_id).await
    }

    pub(super) async fn append(&self, run_id: RunId, events: Vec<Event>) {
        let at = self.context.clock.now();
        let entries = events.into_iter().map(|event| Entry { at, event }).collect();
        self.store.append(run_id, entries).await.unwrap();
    }

    /// A complete backup in state and cluster. Each call is one hour later.
    pub(super) async fn good(&self, group: &str) -> Backup {
        let backup = self.journal(group, &ALL, None).await;
        self.cluster.put_backup(backup.run.backup_id.get(), Some(self.tag(&backup)));
        self.clock.jump(TimeDelta::hours(1));
        backup
    }

    /// A run that failed before the records, with the parts of two web apps.
    pub(super) async fn failed_before_records(&self, group: &str) -> Backup {
        let requested = [Component::Operate, Component::Tasklist];
        let backup = self.journal(group, &requested, Some(FailureClass::Component)).await;
        for app in requested {
            for part in 1..=PARTS {
                let name = part_name(app.name(), backup.run.backup_id.get(), part);
                self.cluster.put("camunda", &name, "SUCCESS");
            }
        }
        self.clock.jump(TimeDelta::hours(1));
        backup
    }

    pub(super) fn tag(&self, backup: &Backup) -> OwnershipTag {
        let run = &backup.run;
        OwnershipTag {
            instance: self.context.instance.clone(),
            cluster: run.cluster.clone(),
            run_id: run.run_id,
        }
    }

    pub(super) async fn request(&self, backup: &Backup) {
        let at = self.context.clock.now();
        let requested =
            self.store.request_deletion(backup.run.run_id, "retention".into(), "too many".into(), at);
        requested.await.unwrap();
    }

    pub(super) async fn reload(&self, id: BackupId) -> Backup {
        self.store.backup("orders".into(), id).await.unwrap().unwrap()
    }

    pub(super) async fn state(&self, backup: &Backup) -> BackupState {
        self.reload(backup.run.backup_id).await.state
    }

    /// Note of the last deletion pass.
    pub(super) async fn note(&self, backup: &Backup) -> String {
        self.reload(backup.run.backup_id).await.deletion.unwrap().last_error.unwrap_or_default()
    }

    /// One deletion pass over the stored backup.
    pub(super) async fn pass(&self, backup: &Backup) -> DeletionPass {
        let backup = self.reload(backup.run.backup_id).await;
        delete_backup(&self.context, &backup, CancellationToken::new()).await
    }

    pub(super) async fn states(&self) -> Vec<(i64, BackupState)> {
        let all = self.store.backups(BackupFilter::default()).await.unwrap();
        all.into_iter().map(|b| (b.run.backup_id.get(), b.state)).collect()
    }

    fn clock_ms(&self) -> u64 {
        self.context.clock.now().timestamp_millis() as u64
    }
}

async fn rank(store: &Arc<MemoryStore>) -> u64 {
    store.backups(BackupFilter::default()).await.unwrap().len() as u64
}

/// Collects logged events, for example `event=backup.deleted`.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

thread_local! {
    /// Log buffer of the scenario on this thread; each scenario has one thread.
    static LISTENING: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// Stops the collection when dropped.
pub(super) struct Listening;

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENING.set(None);
    }
}

impl Log {
    /// Installs one subscriber for all scenarios before the first event. With one subscriber each, an event could be lost
    /// that another thread registers at the same moment.
    fn install() {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            let writer = || LISTENING.with_borrow(Clone::clone).unwrap_or_default();
            let subscriber = tracing_subscriber::fmt()
                .with_ansi(false)
                .without_time()
                .with_max_level(tracing::Level::INFO)
                .with_writer(writer)
                .finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
    }

    pub(super) fn listen() -> (Self, Listening) {
        let log = Self::default();
        // Another thread may have registered an event during the installation of the subscriber.
        tracing::callsite::rebuild_interest_cache();
        LISTENING.set(Some(log.clone()));
        (log, Listening)
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    pub(super) fn count(&self, level: &str, event: &str) -> usize {
        let event = format!("event=\"{event}\"");
        self.lines().iter().filter(|l| l.trim_start().starts_with(level) && l.contains(&event)).count()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(super) const SECOND: Duration = Duration::from_secs(1);
