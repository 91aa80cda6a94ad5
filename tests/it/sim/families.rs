//! Restores of the families from 8.8 on: the order of a family restores everything, the order of another
//! family does not. These tests call the model directly; the daemon takes no part.

use super::copies::{self, SEEDS, all_whole, take_records, take_web_apps, take_zeebe};
use camunda_backupd::sim::{App, Cluster, Config, Piece, Restored, Storage};
use chrono::{TimeZone, Utc};
use std::time::Duration;

fn cluster(version: &str, seed: u64) -> Cluster {
    let storage = if seed.is_multiple_of(3) { Storage::Elasticsearch } else { Storage::OpenSearch };
    let version = version.parse().unwrap();
    let config =
        Config { seed, version, storage, optimize: seed.is_multiple_of(2), ..Config::named("orders") };
    let mut cluster = Cluster::new(config, Utc.with_ymd_and_hms(2026, 11, 23, 6, 0, 0).unwrap());
    cluster.pass(Duration::from_secs(20));
    cluster
}

/// Takes the records snapshot, if the cluster has records.
fn take_needed_records(cluster: &mut Cluster, id: i64) {
    if cluster.config.exports().records {
        take_records(cluster, id);
    }
}

/// The order of 8.8 and later.
fn pause_first(cluster: &mut Cluster, id: i64) {
    cluster.pause(true);
    take_web_apps(cluster, id);
    take_needed_records(cluster, id);
    take_zeebe(cluster, id);
    cluster.resume();
}

/// The order until 8.7; the broker compacts as early as possible.
fn web_apps_before_the_pause(cluster: &mut Cluster, id: i64) {
    take_web_apps(cluster, id);
    cluster.pass(Duration::from_secs(1));
    cluster.snapshot_broker_now();
    cluster.pause(true);
    take_needed_records(cluster, id);
    take_zeebe(cluster, id);
    cluster.resume();
}

/// Results of restores for a cluster of that version.
fn restored(version: &str, take: impl Fn(&mut Cluster)) -> Vec<(u64, Restored)> {
    copies::restored(|seed| cluster(version, seed), take)
}

#[test]
fn pause_first_loses_and_duplicates_nothing_since_8_8() {
    for version in ["8.8.0", "8.9.0", "8.10.0"] {
        all_whole(&restored(version, |c| pause_first(c, 1)));
    }
}

#[test]
fn compaction_and_restart_during_the_pause_lose_nothing_since_8_8() {
    all_whole(&restored("8.8.0", |c| {
        c.snapshot_broker_now();
        c.pause(true);
        c.snapshot_broker_now();
        take_web_apps(c, 1);
        c.restart_broker(Duration::from_millis(300));
        c.pass(Duration::from_millis(400));
        c.snapshot_broker_now();
        take_needed_records(c, 1);
        take_zeebe(c, 1);
        c.resume();
    }));
}

#[test]
fn order_of_8_7_loses_records_acknowledged_between_history_and_pause_on_8_8() {
    for (seed, result) in restored("8.8.0", |c| web_apps_before_the_pause(c, 1)) {
        assert!(result.lost.history > 0 && result.lost() > 0, "seed {seed}: {result:?}");
        assert_eq!(result.lost.records, 0, "seed {seed}: the records are right: {result:?}");
        assert_eq!(result.duplicates(), 0, "seed {seed}: {result:?}");
    }
}

#[test]
fn both_orders_are_right_until_8_7_because_web_apps_import() {
    all_whole(&restored("8.6.0", |c| web_apps_before_the_pause(c, 1)));
    // The only disadvantage is a longer pause.
    all_whole(&restored("8.6.0", |c| pause_first(c, 1)));
}

#[test]
fn zeebe_before_history_shows_instances_unknown_to_the_broker() {
    let results = restored("8.8.0", |c| {
        c.pause(true);
        take_zeebe(c, 1);
        c.pass(Duration::from_secs(1));
        take_web_apps(c, 1);
        take_needed_records(c, 1);
        c.resume();
    });
    for (seed, result) in results {
        assert!(result.duplicates.history > 0, "seed {seed}: {result:?}");
        assert!(result.unknown_to_broker > 0, "seed {seed}: {result:?}");
    }
}

#[test]
fn resume_and_compaction_between_history_and_zeebe_lose_records() {
    let results = restored("8.10.0", |c| {
        c.pause(true);
        take_web_apps(c, 1);
        c.resume();
        c.pass(Duration::from_secs(1));
        c.snapshot_broker_now();
        c.pause(true);
        take_needed_records(c, 1);
        take_zeebe(c, 1);
        c.resume();
    });
    for (seed, result) in results {
        assert!(result.lost.history > 0 && result.lost() > 0, "seed {seed}: {result:?}");
    }
}

#[test]
fn records_are_not_needed_without_optimize_since_8_8() {
    for seed in [1, 3, 5] {
        let mut cluster = cluster("8.9.0", seed);
        assert!(!cluster.indices().iter().any(|index| index.name.starts_with("zeebe-record")));
        pause_first(&mut cluster, 1);
        assert!(!cluster.pieces_of(1).iter().any(|p| matches!(p, Piece::Records(_))));
        assert!(cluster.restore(1).is_whole());
    }
}

#[test]
fn records_are_needed_with_optimize() {
    let mut cluster = cluster("8.8.0", 2);
    pause_first(&mut cluster, 1);
    let mut pieces = cluster.pieces_of(1);
    pieces.retain(|p| !matches!(p, Piece::Records(_)));
    let result = cluster.restore_pieces(&pieces);
    assert!(result.lost.records > 0 && result.missing_pieces == 1, "{result:?}");
    assert_eq!(result.lost.history, 0, "{result:?}");
}

#[test]
fn missing_history_part_is_incomplete() {
    let mut cluster = cluster("8.8.0", 1);
    pause_first(&mut cluster, 1);
    let mut pieces = cluster.pieces_of(1);
    pieces.retain(|p| !matches!(p, Piece::Part(App::History, _)));
    let result = cluster.restore_pieces(&pieces);
    assert!(result.lost.history > 0 && result.missing_pieces == 3, "{result:?}");
}

#[test]
fn cluster_restored_in_place_can_be_backed_up_and_restored_again() {
    for seed in 0..SEEDS {
        let mut cluster = cluster("8.8.0", seed);
        pause_first(&mut cluster, 1);
        cluster.pass(Duration::from_secs(3));
        let pieces = cluster.pieces_of(1);
        cluster.restore_in_place(&pieces);
        cluster.pass(Duration::from_secs(3));
        pause_first(&mut cluster, 2);
        let result = cluster.restore(2);
        assert!(result.is_whole() && result.started_in_window > 0, "seed {seed}: {result:?}");
    }
}

#[test]
fn long_simulation_uses_bounded_memory() {
    let mut cluster = cluster("8.8.0", 2);
    for id in 1..=300 {
        pause_first(&mut cluster, id);
        cluster.snapshot_broker_now();
        cluster.pass(Duration::from_mins(1));
        for app in cluster.config.apps() {
            cluster.delete_app_backup(app, id - 3).unwrap();
        }
        cluster.delete_snapshots("camunda", &format!("camunda_zeebe_records_backup_{}", id - 3)).unwrap();
        cluster.delete_zeebe_backup(id - 3);
        if id % 50 == 0 {
            assert!(cluster.restore(id).is_whole(), "{:?}", cluster.restore(id));
        }
    }
    let kept: usize = cluster.world.partitions.iter().map(|p| p.histories.remembered()).sum();
    assert!(kept < 60_000, "{kept} positions are in memory");
}

// A relational database

fn with_database(seed: u64, continuous: bool) -> Cluster {
    let version = if seed.is_multiple_of(2) { "8.9.0" } else { "8.10.0" }.parse().unwrap();
    let config = Config { seed, version, storage: Storage::Rdbms, continuous, ..Config::named("orders") };
    let mut cluster = Cluster::new(config, Utc.with_ymd_and_hms(2026, 11, 23, 6, 0, 0).unwrap());
    cluster.pass(Duration::from_secs(20));
    cluster
}

/// A Zeebe backup, followed by time for compaction.
fn zeebe_and_a_while(cluster: &mut Cluster, id: i64) {
    take_zeebe(cluster, id);
    cluster.pass(Duration::from_secs(5));
    cluster.snapshot_broker_now();
}

#[test]
fn database_and_later_zeebe_backups_restore_everything_without_a_pause() {
    for seed in 0..SEEDS {
        let mut cluster = with_database(seed, true);
        zeebe_and_a_while(&mut cluster, 1);
        cluster.backup_database();
        for id in 2..=5 {
            cluster.pass(Duration::from_secs(5));
            zeebe_and_a_while(&mut cluster, id);
        }
        let result = cluster.restore(5);
        assert!(result.is_whole(), "seed {seed}: {result:?}");
        assert!(result.started_in_window > 0 && result.exported_again > 0, "seed {seed}: {result:?}");
        assert_eq!(cluster.ranges(0), 1, "seed {seed}");
        assert_eq!(cluster.pauses.ended, 0);
    }
}

#[test]
fn gap_in_the_range_loses_its_records() {
    for seed in 0..SEEDS {
        let mut cluster = with_database(seed, true);
        zeebe_and_a_while(&mut cluster, 1);
        cluster.backup_database();
        cluster.pass(Duration::from_secs(5));
        cluster.arm("now.range-gap").unwrap();
        zeebe_and_a_while(&mut cluster, 2);
        let result = cluster.restore(2);
        assert!(result.lost.database > 0, "seed {seed}: {result:?}");
        assert_eq!(cluster.ranges(0), 2, "seed {seed}");
    }
}

#[test]
fn deleted_backup_in_the_middle_is_a_gap() {
    for seed in 0..SEEDS {
        let mut cluster = with_database(seed, true);
        zeebe_and_a_while(&mut cluster, 1);
        cluster.backup_database();
        cluster.pass(Duration::from_secs(5));
        zeebe_and_a_while(&mut cluster, 2);
        zeebe_and_a_while(&mut cluster, 3);
        assert!(cluster.restore(3).is_whole(), "seed {seed}: {:?}", cluster.restore(3));
        cluster.delete_zeebe_backup(2);
        cluster.pass(Duration::from_secs(5));
        let result = cluster.restore(3);
        assert!(result.lost.database > 0, "seed {seed}: {result:?}");
    }
}

#[test]
fn records_are_lost_if_brokers_compact_log_before_its_backup() {
    for seed in 0..SEEDS {
        let mut cluster = with_database(seed, false);
        cluster.backup_database();
        cluster.pass(Duration::from_secs(5));
        cluster.snapshot_broker_now();
        take_zeebe(&mut cluster, 1);
        let result = cluster.restore(1);
        assert!(result.lost.database > 0, "seed {seed}: {result:?}");
    }
}

#[test]
fn database_newer_than_zeebe_shows_records_unknown_to_the_broker() {
    for seed in 0..SEEDS {
        let mut cluster = with_database(seed, true);
        cluster.backup_database();
        zeebe_and_a_while(&mut cluster, 1);
        cluster.backup_database();
        let mut pieces = cluster.pieces_of(1);
        let newer = cluster.databases.last().unwrap().tables.clone();
        pieces.push(Piece::Database(newer)); // the later piece wins
        let result = cluster.restore_pieces(&pieces);
        assert!(result.duplicates.database > 0 && result.unknown_to_broker > 0, "seed {seed}: {result:?}");
    }
}

#[test]
fn backup_without_database_backup_is_incomplete() {
    let mut cluster = with_database(1, true);
    zeebe_and_a_while(&mut cluster, 1);
    let result = cluster.restore(1);
    assert!(!result.is_whole() && result.missing_pieces == 1, "{result:?}");
}

#[test]
fn log_is_kept_until_it_is_backed_up() {
    let mut cluster = with_database(1, true);
    zeebe_and_a_while(&mut cluster, 1);
    let before = cluster.log_bytes();
    for _ in 0..20 {
        cluster.pass(Duration::from_mins(1));
        cluster.snapshot_broker_now();
    }
    assert!(cluster.log_bytes() > before * 2, "continuous mode without backups fills the disk");
    take_zeebe(&mut cluster, 2);
    cluster.pass(Duration::from_secs(5));
    cluster.snapshot_broker_now();
    assert!(cluster.log_bytes() < before * 2);
}
