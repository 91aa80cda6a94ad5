//! Copies of a simulated cluster, made by direct calls to the model, and the result of a restore from them.
//! Neither the wire nor the daemon takes part.

use camunda_backupd::sim::model::snapshots::{SnapshotRequest, SnapshotState};
use camunda_backupd::sim::model::webapps::WebAppState;
use camunda_backupd::sim::{Cluster, Restored};
use std::time::Duration;

/// Number of seeds for each scenario.
pub(super) const SEEDS: u64 = 40;

/// Advances the time until `done` returns true.
pub(super) fn wait(cluster: &mut Cluster, done: impl Fn(&Cluster) -> bool) {
    for _ in 0..1000 {
        if done(cluster) {
            return;
        }
        cluster.pass(Duration::from_millis(50));
    }
    panic!("it never ended");
}

pub(super) fn take_web_apps(cluster: &mut Cluster, id: i64) {
    let apps = cluster.config.apps();
    for app in &apps {
        cluster.begin_app_backup(*app, id).unwrap();
    }
    for app in apps {
        wait(cluster, |c| c.app_state(app, &c.parts_taken(app, id).unwrap()) == WebAppState::Completed);
    }
}

pub(super) fn take_records(cluster: &mut Cluster, id: i64) {
    let request = SnapshotRequest { indices: vec!["zeebe-record*".into()], ..SnapshotRequest::default() };
    let name = format!("camunda_zeebe_records_backup_{id}");
    let takes = cluster.config.timing.snapshot;
    let key = cluster.begin_snapshot("camunda", &name, &request, takes, None).unwrap();
    wait(cluster, |c| c.snapshot(key).unwrap().state == SnapshotState::Success);
}

pub(super) fn take_zeebe(cluster: &mut Cluster, id: i64) {
    cluster.begin_zeebe_backup(id, None).unwrap();
    let partitions = cluster.world.partitions.len();
    wait(cluster, |c| c.backups[&id].pieces(c.now()).len() == partitions);
}

/// Runs `take` on a cluster of each seed. Returns the result of a later restore of id 1.
pub(super) fn restored(
    cluster: impl Fn(u64) -> Cluster,
    take: impl Fn(&mut Cluster),
) -> Vec<(u64, Restored)> {
    let judge = |seed| {
        let mut cluster = cluster(seed);
        take(&mut cluster);
        cluster.pass(Duration::from_secs(5));
        (seed, cluster.restore(1))
    };
    (0..SEEDS).map(judge).collect()
}

pub(super) fn all_whole(results: &[(u64, Restored)]) {
    for (seed, result) in results {
        assert!(result.is_whole(), "seed {seed}: {result:?}");
        assert!(result.started_in_window > 0, "seed {seed}: nothing was started in the window: {result:?}");
        assert!(result.instances > 0, "seed {seed}: nothing is alive: {result:?}");
    }
    let exported_again: usize = results.iter().map(|(_, result)| result.exported_again).sum();
    assert!(exported_again > 0, "the broker's log brought nothing back on any seed");
}
