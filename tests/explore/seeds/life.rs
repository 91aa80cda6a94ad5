//! One scenario: daemons that start, die and restart on virtual time, until everything has settled.

use super::edits::{Edit, File, keeps, pairs};
use super::oracle::Oracle;
use super::people::People;
use super::scenario::{Event, Scenario, begin};
use super::state::State;
use crate::violence::{Bug, Disk, Fault, Script, Wire};
use camunda_backupd::api::Control;
use camunda_backupd::clock::{Clock, ManualClock};
use camunda_backupd::config::Config;
use camunda_backupd::daemon::Daemon;
use camunda_backupd::domain::Instant;
use camunda_backupd::sim::{self, SharedCluster, SimTransport, locked};
use camunda_backupd::store::SharedStore;
use chrono::TimeDelta;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Result of a scenario.
pub(super) struct Report {
    pub wrong: Vec<String>,
    pub happened: Vec<String>,
    /// All operations of every daemon.
    pub operations: Vec<String>,
    pub runs: usize,
    pub completed: usize,
}

/// Objects that outlive a daemon.
pub(super) struct World {
    pub scenario: Scenario,
    pub clusters: Vec<SharedCluster>,
    state: State,
    bug: Option<Bug>,
    /// Time at the clusters, and how far the daemon's wall clock is from it.
    now: Instant,
    skew: TimeDelta,
    events: VecDeque<(i64, Event)>,
    file: File,
    /// When a config was taken over last, in seconds after the beginning.
    reloaded: i64,
    people: People,
    happened: Vec<String>,
    operations: Vec<String>,
    oracle: Oracle,
}

enum End {
    /// Down for so many seconds.
    Down(i64),
    /// All that was to happen has happened, and everything has settled.
    Over,
}

fn daemon<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(life)
}

/// Runs a scenario; with a seeded bug, the oracle must report a violation.
pub(super) fn run_scenario(scenario: Scenario, bug: Option<Bug>) -> Report {
    let clusters = scenario.clusters.iter().map(|c| sim::shared(sim::Cluster::new(c.clone(), begin())));
    let clusters: Vec<SharedCluster> = clusters.collect();
    let mut world = World {
        oracle: Oracle::new(&scenario),
        events: scenario.events.iter().cloned().collect(),
        clusters,
        state: State::new(scenario.sqlite),
        bug,
        now: begin(),
        skew: TimeDelta::zero(),
        file: File::new(&scenario.config),
        reloaded: 0,
        people: People::default(),
        happened: Vec::new(),
        operations: Vec::new(),
        scenario,
    };
    // A restart a minute is more than any of them has.
    for life in 0..30 {
        let inject = world.scenario.inject.get(life).cloned().unwrap_or_default();
        match world.live(inject) {
            End::Over => {
                let World { mut oracle, state, clusters, file, people, happened, operations, now, .. } =
                    world;
                oracle.wrong.extend(people.wrong());
                let store = state.store();
                // Time passes in a cluster without requests, too.
                for cluster in &clusters {
                    locked(cluster).advance(now);
                }
                let config = file.config();
                let (runs, completed) = daemon(oracle.conclude(&config, &people, &store, &clusters));
                return Report { wrong: oracle.wrong, happened, operations, runs, completed };
            }
            End::Down(seconds) => {
                world.state.crash();
                world.now += TimeDelta::seconds(seconds.max(1));
                for cluster in &world.clusters {
                    locked(cluster).advance(world.now);
                }
            }
        }
    }
    let mut wrong = world.oracle.wrong;
    wrong.push("it never settled".into());
    Report { wrong, happened: world.happened, operations: world.operations, runs: 0, completed: 0 }
}

impl World {
    fn live(&mut self, inject: Vec<(usize, Fault)>) -> End {
        let script = Script::with_bug(inject, self.bug);
        let (end, now) = daemon(async {
            let clock = ManualClock::at(self.now + self.skew);
            let sim_clock = ManualClock::at(self.now);
            let end = tokio::select! {
                biased;
                () = script.death() => End::Down(3),
                end = self.life(&script, &clock, &sim_clock) => end,
            };
            (end, sim_clock.now())
        });
        self.now = now;
        self.happened.extend(script.happened());
        self.operations.extend(script.operations());
        self.oracle.wrong.extend(script.wrong());
        end
    }

    async fn life(
        &mut self,
        script: &Arc<Script>,
        clock: &Arc<ManualClock>,
        sim_clock: &Arc<ManualClock>,
    ) -> End {
        let inner = self.state.store();
        let transport = Arc::new(Wire {
            inner: Arc::new(SimTransport::to(self.clusters.iter().cloned(), sim_clock.clone())),
            script: script.clone(),
            clock: clock.clone(),
            memory: inner.clone(),
        });
        let store: SharedStore =
            Arc::new(Disk { inner: inner.clone(), script: script.clone(), clock: clock.clone() });
        let mut quiet = false;
        let mut running = self.file.config();
        script.keep(keeps(&running));
        script.pin(self.people.pinned.clone());
        let config = with_bug(&running, self.bug);
        let Ok(daemon) = Daemon::come_up(config, store.clone(), transport, clock.clone()).await else {
            return End::Down(5);
        };
        daemon.start_rounds();
        let mut settling = 0;
        loop {
            daemon.tick().await;
            let applied = daemon.live().store_error.is_none().then_some(&running);
            self.oracle.follow(&inner, applied, clock.now()).await;
            self.oracle.probe(&inner, &self.clusters).await;
            let seconds = (sim_clock.now() - begin()).num_seconds();
            if seconds > self.reloaded + 90 {
                script.forget_earlier_rules();
            }
            let mut later = Vec::new();
            while let Some((at, event)) = self.events.pop_front_if(|(at, _)| *at <= seconds) {
                if let Event::TakeOutPaused { cluster, .. } = &event
                    && seconds < self.scenario.seconds
                    && !self.is_paused(cluster)
                {
                    later.push((at, event));
                    continue;
                }
                self.happened.push(format!("at {seconds} s: {event:?}"));
                match event {
                    Event::Fault { cluster, spec } => {
                        let named = |c: &&SharedCluster| locked(c).config.name == cluster;
                        if let Some(cluster) = self.clusters.iter().find(named) {
                            locked(cluster).arm(&spec).unwrap();
                        }
                    }
                    Event::Jump(by) => {
                        self.skew += TimeDelta::seconds(by);
                        clock.jump(TimeDelta::seconds(by));
                    }
                    Event::Kill(down) => return End::Down(down),
                    Event::Term(down) => {
                        daemon.stop(|_| {}).await;
                        return End::Down(down);
                    }
                    Event::Manual(cluster) => {
                        let daemon = daemon.clone();
                        tokio::spawn(async move { drop(daemon.backup(cluster, None).await) });
                    }
                    Event::TakeOutPaused { cluster, killed: Some(down) } => {
                        self.edit(&Edit::TakeOut(cluster));
                        return End::Down(down);
                    }
                    Event::Edit { edit, reload: false } => drop(self.edit(&edit)),
                    event @ (Event::Edit { .. } | Event::TakeOutPaused { .. }) => {
                        let after = match event {
                            Event::TakeOutPaused { cluster, .. } => self.edit(&Edit::TakeOut(cluster)),
                            Event::Edit { edit, .. } => self.edit(&edit),
                            _ => continue,
                        };
                        match daemon.apply(with_bug(&after, self.bug)).await {
                            Ok(()) => {
                                script.keep(keeps(&after));
                                (running, self.reloaded) = (after, seconds);
                                // The next event may take longer than the new times are valid.
                                let applied = daemon.live().store_error.is_none().then_some(&running);
                                self.oracle.follow(&inner, applied, clock.now()).await;
                            }
                            Err(error) => {
                                daemon.refuse_config(error.to_string());
                                self.oracle.half_reloaded(&pairs(&running), &pairs(&after));
                                self.oracle.unchanged(&running, &daemon.live());
                            }
                        }
                    }
                    Event::Refused => {
                        daemon.refuse_config("config.toml:1:1: nothing of it is understood".into());
                        self.oracle.unchanged(&running, &daemon.live());
                    }
                    act => self.people.act(act, &daemon, &inner, &store, script).await,
                }
            }
            later.into_iter().rev().for_each(|event| self.events.push_front(event));
            if seconds >= self.scenario.seconds {
                script.stop_faults();
                if !quiet && daemon.apply(silent(&running)).await.is_ok() {
                    quiet = true;
                    running = silent(&running);
                }
                if settling == 0 {
                    self.clusters.iter().for_each(|c| locked(c).arm("now.heal").unwrap());
                }
                settling += 1;
                if quiet && settling % 20 == 0 && is_settled(&inner).await {
                    self.last_backups(&running, &daemon, clock).await;
                    return End::Over;
                }
                if settling > 4000 {
                    self.oracle.wrong.push("nothing settled in half an hour without faults".into());
                    return End::Over;
                }
            }
            clock.sleep(Duration::from_millis(500)).await;
        }
    }

    /// The file after the edit.
    fn edit(&mut self, edit: &Edit) -> Config {
        let before = pairs(&self.file.config());
        self.file.change(edit);
        let after = self.file.config();
        self.oracle.edited(&before, &pairs(&after));
        after
    }

    fn is_paused(&self, cluster: &str) -> bool {
        let mut named = self.clusters.iter().filter(|c| locked(c).config.name == cluster);
        named.any(|c| locked(c).pauses.since.is_some())
    }

    /// Afterwards every cluster can be backed up, and retention continues.
    async fn last_backups(&mut self, running: &Config, daemon: &Arc<Daemon>, clock: &Arc<ManualClock>) {
        let store = self.state.store();
        clock.sleep(Duration::from_secs(150)).await;
        for cluster in running.clusters.keys() {
            match daemon.backup(cluster.clone(), None).await {
                Ok(run_id) => {
                    let ended =
                        |run: Option<camunda_backupd::journal::Run>| run.is_some_and(|r| r.view.ended());
                    while !ended(store.run(run_id).await.unwrap_or_default()) {
                        clock.sleep(Duration::from_millis(500)).await;
                        self.oracle.probe(&store, &self.clusters).await;
                    }
                    let run = store.run(run_id).await.unwrap().unwrap();
                    if let Some(reason) = run.view.reason() {
                        self.oracle.wrong.push(format!("the last backup of {cluster} failed: {reason}"));
                    }
                }
                Err(error) => {
                    self.oracle.wrong.push(format!("the last backup of {cluster} is refused: {error}"));
                }
            }
        }
        clock.sleep(Duration::from_secs(120)).await;
    }
}

async fn is_settled(store: &SharedStore) -> bool {
    let unfinished = store.unfinished().await.is_ok_and(|runs| runs.is_empty());
    let pending_resumes =
        store.pending_resumes().await.is_ok_and(|pending_resumes| pending_resumes.is_empty());
    unfinished && pending_resumes
}

/// The same without schedules.
fn silent(config: &Config) -> Config {
    let mut config = config.clone();
    config.schedules.values_mut().for_each(|schedule| schedule.enabled = false);
    config
}

fn with_bug(config: &Config, bug: Option<Bug>) -> Config {
    let mut config = config.clone();
    if bug == Some(Bug::KeepsOneLess) {
        config.schedules.values_mut().for_each(|s| s.keep.successful = s.keep.successful.saturating_sub(1));
    }
    config
}
