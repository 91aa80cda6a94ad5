//! The queue of a daemon against one simulated cluster, in memory and on virtual time, for scenarios of ten lines.

use camunda_backupd::clock::{Clock, ManualClock, Tasks};
use camunda_backupd::context::resume_attempts::ResumeAttempts;
use camunda_backupd::context::{Context, Spec};
use camunda_backupd::domain::id_scope;
use camunda_backupd::domain::{
    Addresses, Instant, Keep, Limits, RetentionGroup, RuntimeRoute, SaasAddress, SearchAddress, Trigger,
};
use camunda_backupd::journal::{FailureClass, Outcome, Run, RunStatus};
use camunda_backupd::pause::sweep::Sweeper;
use camunda_backupd::queue::{ClusterSettings, ManualError, Queue};
use camunda_backupd::retention::RetentionRule;
use camunda_backupd::sim::{self, SharedCluster, SimTransport, locked};
use camunda_backupd::store::memory::MemoryStore;
use camunda_backupd::store::{NewRun, SharedStore};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub struct Lab {
    pub clock: Arc<ManualClock>,
    pub cluster: SharedCluster,
    pub store: SharedStore,
    /// The same, to make it fail.
    pub memory: Arc<MemoryStore>,
    pub queue: Queue,
    pub context: Context,
    pub settings: ClusterSettings,
}

/// Addresses of a simulated cluster in memory.
pub fn addresses(config: &sim::Config) -> Addresses {
    let base = config.memory_url();
    let at = |part: &str| format!("{base}/{part}");
    let older = config.version.minor < 8;
    let search = || SearchAddress {
        url: at("search"),
        repository: config.repository.clone(),
        webapps_repository: config.repository.clone(),
        records: Some("zeebe-record*".into()),
    };
    if config.storage == sim::Storage::Saas {
        let (api, cluster_id) = (at("saas"), config.cluster_uuid());
        let saas = SaasAddress { api, cluster_id, min_interval: Duration::from_mins(15), max_backups: 3 };
        return Addresses { saas: Some(saas), ..Addresses::default() };
    }
    Addresses {
        zeebe: at("zeebe"),
        operate: older.then(|| at("operate")),
        tasklist: older.then(|| at("tasklist")),
        optimize: config.optimize.then(|| at("optimize")),
        rest: Some(at("rest")),
        search: (config.storage != sim::Storage::Rdbms).then(search),
        ..Addresses::default()
    }
}

/// The same without a management port, from 8.10.
pub fn by_rest_alone(addresses: &mut Addresses) {
    addresses.zeebe = addresses.rest.clone().unwrap();
    addresses.routes.runtime = RuntimeRoute::Rest;
}

impl Lab {
    pub fn new() -> Self {
        Self::with(sim::Config::named("orders"), Limits::default())
    }

    pub fn with(config: sim::Config, limits: Limits) -> Self {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let addresses = addresses(&config);
        let cluster = sim::shared(sim::Cluster::new(config, now));
        let settings = ClusterSettings {
            spec: Spec { addresses, version: None, limits },
            rules: vec![RetentionRule {
                group: RetentionGroup::Manual,
                keep: Keep::default(),
                frozen: false,
            }],
            schedules: ["daily", "weekly"].map(String::from).into(),
            manual_min_interval: Duration::ZERO,
        };
        let lab = Self::daemon(cluster, MemoryStore::shared(), settings, now);
        lab.queue.configure(BTreeMap::from([("orders".to_owned(), lab.settings.clone())]));
        lab
    }

    /// Another process on the same state and cluster, at `now`, without a config yet.
    pub fn daemon(
        cluster: SharedCluster,
        memory: Arc<MemoryStore>,
        settings: ClusterSettings,
        now: Instant,
    ) -> Self {
        let store: SharedStore = memory.clone();
        let clock = ManualClock::at(now);
        let context = Context {
            store: store.clone(),
            transport: Arc::new(SimTransport::to([cluster.clone()], clock.clone())),
            clock: clock.clone(),
            tasks: Tasks::new(),
            instance: "lab".into(),
            attempts: ResumeAttempts::default(),
            current_addresses: Arc::default(),
        };
        let queue = Queue::new(context.clone(), Sweeper::new(context.clone()), 8);
        Self { clock, cluster, store, memory, queue, context, settings }
    }

    /// Arms faults; `sim::faults` has their syntax.
    pub fn fault(self, spec: &str) -> Self {
        locked(&self.cluster).arm(spec).unwrap();
        self
    }

    /// Takes a manual backup and waits for its end.
    pub async fn backup(&self) -> Run {
        let run_id = self.queue.manual("orders", None).await.unwrap();
        self.ended(run_id).await
    }

    /// A stored run without an executor: its daemon crashed, or did not get the result of the commit.
    pub async fn claimed_run(&self, spec: serde_json::Value) -> Run {
        let new = NewRun {
            run_id: uuid::Uuid::now_v7(),
            cluster: "orders".into(),
            trigger: Trigger::Manual,
            occurrences: vec![],
            retention_groups: vec![RetentionGroup::Manual],
            note: None,
            spec,
            id_scope: id_scope("orders", &self.settings.spec.addresses),
            largest_seen: 0,
            now: self.clock.now(),
            min_interval: None,
        };
        self.store.begin_run(new).await.unwrap()
    }

    /// Settings that a run stores.
    pub fn spec(&self) -> serde_json::Value {
        serde_json::to_value(&self.settings.spec).unwrap()
    }

    pub async fn refused(&self) -> ManualError {
        self.queue.manual("orders", None).await.unwrap_err()
    }

    /// Reason why a manual backup cannot start now, although it may soon.
    pub async fn not_ready_reason(&self) -> String {
        let refused = self.refused().await;
        let ManualError::NotReady { reason, .. } = refused else { panic!("refused otherwise: {refused}") };
        reason
    }

    /// The run after its end; a day of virtual time is enough for every scenario.
    pub async fn ended(&self, run_id: uuid::Uuid) -> Run {
        for _ in 0..864_000 {
            let run = self.store.run(run_id).await.unwrap().unwrap();
            if run.view.ended() {
                return run;
            }
            self.clock.sleep(Duration::from_millis(100)).await;
        }
        panic!("the run did not end: {:?}", self.store.run(run_id).await.unwrap().unwrap().view);
    }

    /// Checks the final state: exporting runs, no resume is pending, and every completed backup is whole.
    pub async fn assert_nothing_pending(&self, run: &Run) {
        assert!(self.store.pending_resumes().await.unwrap().is_empty(), "a resume is still pending");
        let cluster = locked(&self.cluster);
        let paused = cluster.pauses.since.is_some();
        assert!(!paused, "exporting is left paused");
        let hosted = cluster.config.storage == sim::Storage::Saas;
        if matches!(run.view.outcome, Some(Outcome::Completed { .. })) && !hosted {
            let restored = cluster.restore(run.backup_id.get());
            assert!(restored.is_whole(), "called completed, but {restored:?}");
            assert!(
                restored.started_in_window > 0,
                "no load ran during the backup: the check would be empty"
            );
        }
    }

    /// Of five backups the newest three stay, and of the others nothing anywhere.
    pub async fn keeps_the_newest_three(&self) {
        let mut ids = Vec::new();
        for _ in 0..5 {
            let run = self.backup().await;
            assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
            ids.push(run.backup_id);
            self.clock.sleep(Duration::from_mins(2)).await;
        }
        let mut cluster = locked(&self.cluster);
        cluster.advance(self.clock.now());
        for (index, id) in ids.iter().enumerate() {
            let pieces = cluster.pieces_of(id.get()).len();
            assert_eq!(pieces > 0, index >= 2, "backup {index} has {pieces} pieces");
        }
    }

    /// Number of requests to an endpoint.
    pub fn requested(&self, endpoint: &str) -> u64 {
        locked(&self.cluster).seen.get(endpoint).copied().unwrap_or(0)
    }
}

pub fn class_of(run: &Run) -> Option<FailureClass> {
    match &run.view.outcome {
        Some(Outcome::Failed { class, .. }) => Some(*class),
        _ => None,
    }
}

pub fn reason_of(run: &Run) -> String {
    run.view.reason().unwrap_or("completed").to_owned()
}
