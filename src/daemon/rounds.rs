//! Periodic work of the daemon: expiry of waiting occurrences, probes, pending resumes, pending deletions,
//! heartbeat.
//!
//! Owns the intervals. Each round is a separate task, so that a slow cluster or disk does not delay the
//! others. Must not contain the logic of runs, resumes or retention.

use super::Daemon;
use super::watch::Change;
use crate::api::{Control, LiveCluster, ProbeError, facts, shapes};
use crate::camunda::ExportingState;
use crate::clock::within;
use crate::config::{ClusterConfig, Config};
use crate::domain::{BackupState, Exporting};
use crate::lock::lock;
use crate::pause::reminders::{Reminder, reminders};
use crate::queue::deployment_of;
use crate::store::{BackupFilter, ClustersToResume, PendingResume};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const EXPIRY: Duration = Duration::from_secs(1);
const PENDING_RESUMES: Duration = Duration::from_secs(10);
const DELETIONS: Duration = Duration::from_secs(60);
const HEARTBEAT: Duration = Duration::from_secs(300);
/// Interval between two checks of health for the log.
const HEALTH: Duration = Duration::from_secs(30);
/// Interval of the test write to the store, and time limit of one write.
const STORE: Duration = Duration::from_secs(10);
/// Timeout of a probe that a command waits for. Without a result the exporting state is unknown until the
/// next probe.
const COMMAND_PROBE: Duration = Duration::from_secs(10);
const REMINDER: Duration = Duration::from_secs(60);
/// Time after the resume request in which a resume is normally confirmed. After it, due occurrences of the
/// cluster are skipped.
const RESUME_CONFIRMED_WITHIN: chrono::TimeDelta = chrono::TimeDelta::seconds(10);
/// Maximum number of clusters that are probed at the same time.
const PROBES_AT_ONCE: usize = 32;

/// Whether the probe shows a foreign pause of at least one partition.
fn is_foreign(probe: &LiveCluster) -> bool {
    probe.exporting.is_foreign_pause()
}

impl Daemon {
    /// Starts one background task for each round.
    pub fn start_rounds(self: &Arc<Self>) {
        let clock = self.context.clock.clone();
        let tasks = self.context.tasks.clone();
        let every = move |daemon: Arc<Self>, period: Duration, first: Duration, round: Round| {
            let clock = clock.clone();
            tasks.spawn(async move {
                clock.sleep(first).await;
                loop {
                    match round {
                        Round::Expiry => daemon.expiry_round().await,
                        Round::PendingResumes => daemon.pending_resumes_round().await,
                        Round::Deletions => daemon.deletions_round().await,
                        Round::Probes => daemon.probes_round().await,
                        Round::Heartbeat => daemon.heartbeat().await,
                        Round::Reminder => daemon.reminder().await,
                        Round::Store => daemon.store_round().await,
                        Round::Health => daemon.health_round().await,
                    }
                    // A reload may have changed the probe interval.
                    let period =
                        if matches!(round, Round::Probes) { daemon.probe_interval() } else { period };
                    clock.sleep(period).await;
                }
            });
        };
        every(self.clone(), EXPIRY, EXPIRY, Round::Expiry);
        every(self.clone(), PENDING_RESUMES, PENDING_RESUMES, Round::PendingResumes);
        every(self.clone(), DELETIONS, Duration::from_secs(5), Round::Deletions);
        every(self.clone(), HEARTBEAT, Duration::ZERO, Round::Probes);
        every(self.clone(), HEARTBEAT, HEARTBEAT, Round::Heartbeat);
        every(self.clone(), REMINDER, REMINDER, Round::Reminder);
        every(self.clone(), STORE, STORE, Round::Store);
        every(self.clone(), HEALTH, HEALTH, Round::Health);
    }

    fn probe_interval(&self) -> Duration {
        let config = self.config.load();
        let shortest = config.clusters.values().map(|c| c.probe_interval).min();
        shortest.unwrap_or(HEARTBEAT).max(Duration::from_secs(1))
    }

    async fn expiry_round(&self) {
        self.queue.expire();
        // A resume that is not confirmed in time prevents new runs of its cluster, so due occurrences are
        // skipped.
        let now = self.context.clock.now();
        let pending_resumes = self.context.store.pending_resumes().await.unwrap_or_default();
        let still_pending: BTreeSet<String> = pending_resumes
            .into_iter()
            .filter(|d| d.resume_intended_at.is_some_and(|at| now - at > RESUME_CONFIRMED_WITHIN))
            .map(|d| d.cluster)
            .collect();
        if !still_pending.is_empty() {
            self.queue.skip_resume_pending(&still_pending);
        }
    }

    async fn pending_resumes_round(&self) {
        if let Err(error) = self.sweeper.sweep("sweeper").await {
            tracing::error!(event = "store.unwritable", reason = %error);
        }
        self.sweeper.tidy_copies().await;
    }

    /// Continues deletions that a crash or an unreachable component left unfinished.
    async fn deletions_round(&self) {
        let filter = BackupFilter { existing: true, ..Default::default() };
        let Ok(backups) = self.context.store.backups(filter).await else { return };
        let behind: BTreeSet<&str> = backups
            .iter()
            .filter(|b| b.state == BackupState::Deleting)
            .map(|b| b.run.cluster.as_str())
            .collect();
        for cluster in behind {
            self.queue.request_upkeep(cluster);
        }
    }

    /// Reads the exporting state of every cluster, for health. Never ends a foreign pause.
    async fn probes_round(&self) {
        let config = self.config.load_full();
        let pending_resumes =
            self.context.attempts.over(self.context.store.pending_resumes().await.unwrap_or_default());
        // Use only pending resumes whose cluster may still be paused. After a confirmed resume, a new pause
        // is foreign.
        let to_resume = ClustersToResume::by(
            pending_resumes.iter().filter(|pending_resume| pending_resume.may_be_paused()),
        );
        let mut probes = FuturesUnordered::new();
        let mut clusters = config.clusters.values();
        loop {
            while probes.len() < PROBES_AT_ONCE {
                let Some(cluster) = clusters.next() else { break };
                probes
                    .push(self.probe_at(cluster, to_resume.to(&cluster.name, &cluster.addresses).is_some()));
            }
            if probes.next().await.is_none() {
                break;
            }
        }
    }

    /// Probes one cluster and stores the result for health. `is_pending` is true if the cluster has a pending
    /// resume.
    async fn probe_at(&self, cluster: &ClusterConfig, is_pending: bool) {
        let name = &cluster.name;
        let spec = super::apply::spec(cluster);
        let before = self.queue.running(name).is_some();
        let deployment = deployment_of(&self.context, name, &spec);
        deployment.probe_rejected_logins().await;
        let probed = deployment.exporting().await.map_err(ProbeError::from);
        let ours = is_pending || before || self.queue.running(name).is_some();
        let at = Some(self.context.clock.now());
        let mut probe = match probed {
            Ok(state) => LiveCluster {
                exporting: exporting(state, ours),
                exporting_checked_at: at,
                ..Default::default()
            },
            Err(error) => {
                tracing::warn!(event = "cluster.unreachable", cluster = name, reason = %error);
                LiveCluster { exporting_checked_at: at, unreachable: Some(error), ..Default::default() }
            }
        };
        if probe.exporting == Exporting::PausedByOther {
            tracing::error!(
                event = "exporting.paused_by_other",
                cluster = name,
                reason = "exporting is already paused by someone else, who must resume it"
            );
        }
        {
            let mut probes = lock(&self.probes);
            let goes_on = |before: &&LiveCluster| {
                before.exporting == probe.exporting || is_foreign(before) && is_foreign(&probe)
            };
            let before = probes.get(name).filter(goes_on);
            probe.exporting_since = before.map_or(at, |before| before.exporting_since);
            probe.noted = before.is_some_and(|before| before.noted);
            probes.insert(name.clone(), probe.clone());
        }
        // While a pause of ours may be open, another pause cannot be recognised as foreign. Only the end of a
        // foreign pause, seen as running exporting, is stored then.
        if !probe.noted && (!ours || probe.exporting == Exporting::Running) {
            self.note(name, &probe).await;
        }
    }

    /// Stores the start of a foreign pause, because the pause may outlive this process. Removes the start
    /// once exporting runs. After a failed write, the next probe tries again.
    async fn note(&self, cluster: &str, probe: &LiveCluster) {
        let (store, clock, name) = (&self.context.store, &*self.context.clock, cluster.to_owned());
        let since = match probe.exporting_since {
            Some(at) if is_foreign(probe) => {
                match within(clock, STORE, store.foreign_pause(name, at)).await {
                    Some(Ok(since)) => Some(since),
                    _ => return,
                }
            }
            since if probe.exporting == Exporting::Running => {
                let Some(Ok(())) = within(clock, STORE, store.foreign_pause_over(name)).await else { return };
                since
            }
            // The probe showed neither a foreign pause nor running exporting.
            _ => return,
        };
        let mut probes = lock(&self.probes);
        let the_same = |known: &&mut LiveCluster| known.exporting_checked_at == probe.exporting_checked_at;
        if let Some(known) = probes.get_mut(cluster).filter(the_same) {
            (known.exporting_since, known.noted) = (since, true);
        }
    }

    /// Removes the probe results of clusters that are not in `new` or have other addresses there.
    pub(super) fn forget_probes(&self, new: &Config) {
        let before = self.config.load();
        let addresses = |config: &Config, name: &str| config.clusters.get(name).map(|c| c.addresses.clone());
        lock(&self.probes)
            .retain(|name, _| addresses(new, name).is_some_and(|now| addresses(&before, name) == Some(now)));
    }

    /// Probes the clusters of abandoned resumes at once, because their last probe may be older than the
    /// pause.
    pub(super) async fn probe_again(&self, abandoned: &[PendingResume]) {
        let config = self.config.load_full();
        let abandoned = ClustersToResume::by(abandoned);
        let clusters = config.clusters.values();
        let left = self.context.store.pending_resumes().await.unwrap_or_default();
        let left = ClustersToResume::by(&left);
        for cluster in clusters.filter(|c| abandoned.to(&c.name, &c.addresses).is_some()) {
            lock(&self.probes).remove(&cluster.name);
            let is_pending = left.to(&cluster.name, &cluster.addresses).is_some();
            let _ = within(&*self.context.clock, COMMAND_PROBE, self.probe_at(cluster, is_pending)).await;
        }
    }

    /// Makes a test write to the store, so that a full disk is found before the next backup is due.
    async fn store_round(&self) {
        let clock = &self.context.clock;
        let response = within(&**clock, STORE, self.context.store.probe(clock.now())).await;
        let error = match response {
            Some(response) => response.err().map(|error| error.to_string()),
            None => Some(format!("a write took longer than {} s", STORE.as_secs())),
        };
        let before = std::mem::replace(&mut *lock(&self.store_probe), error.clone());
        if let Some(error) = error.filter(|_| before.is_none()) {
            tracing::error!(event = "store.unwritable", reason = error);
        }
    }

    async fn health_round(&self) {
        let health = facts::judged(&self.context.store, self.live()).await;
        let changes = lock(&self.watch).changes(&health);
        changes.iter().for_each(Change::log);
    }

    async fn reminder(&self) {
        // Limit the read: if the disk hangs, the reminders are made from the last probes alone.
        let pending_resumes = within(&*self.context.clock, STORE, self.context.store.pending_resumes())
            .await
            .and_then(Result::ok);
        let (config, probes) = (self.config.load_full(), lock(&self.probes).clone());
        let pending_resumes =
            pending_resumes.map(|pending_resumes| self.context.attempts.over(pending_resumes));
        let now = self.context.clock.now();
        let configured = |name: &str| Some(&config.clusters.get(name)?.addresses);
        let is_whole = lock(&self.state_lost).is_none();
        let probes = probes.iter().map(|(name, probe)| (name.clone(), probe.exporting_probe())).collect();
        reminders(pending_resumes.as_deref(), is_whole, &probes, configured, now)
            .iter()
            .for_each(Reminder::log);
    }

    async fn heartbeat(&self) {
        let store = &self.context.store;
        let Ok(backups) = store.backups(BackupFilter { existing: true, ..Default::default() }).await else {
            return;
        };
        let pending_resumes = store.pending_resumes().await.map(|d| d.len()).unwrap_or_default();
        let mut newest: BTreeMap<&str, crate::domain::Instant> = BTreeMap::new();
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for backup in &backups {
            *count.entry(backup.state.name()).or_default() += 1;
            if let (BackupState::Completed, Some(at)) = (backup.state, backup.run.view.finished_at) {
                let newest = newest.entry(&backup.run.cluster).or_insert(at);
                *newest = at.max(*newest);
            }
        }
        let of = |state: BackupState| count.get(state.name()).copied().unwrap_or(0);
        tracing::info!(
            event = "daemon.heartbeat",
            ok = of(BackupState::Completed),
            failed = of(BackupState::Failed),
            overdue = lock(&self.watch).overdue(),
            running = self.queue.under_way(),
            pending_resumes,
            oldest_success = newest.values().min().map(|at| shapes::instant(*at))
        );
    }
}

#[derive(Clone, Copy)]
enum Round {
    Expiry,
    PendingResumes,
    Deletions,
    Probes,
    Heartbeat,
    Reminder,
    Store,
    Health,
}

/// Adds the owner of a pause to the exporting state. `ours` is true if a pending resume or a run of this
/// daemon explains the pause.
fn exporting(state: ExportingState, ours: bool) -> Exporting {
    match state {
        ExportingState::Running => Exporting::Running,
        ExportingState::Mixed => Exporting::Mixed,
        ExportingState::Unknown => Exporting::Unknown,
        ExportingState::SoftPaused | ExportingState::Paused if ours => Exporting::PausedByUs,
        ExportingState::SoftPaused | ExportingState::Paused => Exporting::PausedByOther,
    }
}
