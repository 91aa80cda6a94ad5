//! Verdicts of the simulated restore: the right order restores everything, each wrong order does not. These
//! tests call the model directly; neither the wire nor the daemon takes part.

use super::copies::{self, SEEDS, all_whole, take_records, take_web_apps, take_zeebe};
use camunda_backupd::sim::{App, Cluster, Config, Load, Piece, Restored};
use chrono::{TimeZone, Utc};
use std::time::Duration;

fn cluster(seed: u64) -> Cluster {
    let config = Config { seed, optimize: seed.is_multiple_of(2), ..Config::named("orders") };
    let mut cluster = Cluster::new(config, Utc.with_ymd_and_hms(2026, 11, 23, 6, 0, 0).unwrap());
    cluster.pass(Duration::from_secs(20));
    cluster
}

fn right_order(cluster: &mut Cluster, id: i64) {
    take_web_apps(cluster, id);
    cluster.pause(true);
    take_records(cluster, id);
    take_zeebe(cluster, id);
    cluster.resume();
}

fn restored(take: impl Fn(&mut Cluster)) -> Vec<(u64, Restored)> {
    copies::restored(cluster, take)
}

#[test]
fn right_order_loses_and_duplicates_nothing() {
    all_whole(&restored(|c| right_order(c, 1)));
}

#[test]
fn right_order_with_hard_pause_loses_and_duplicates_nothing() {
    all_whole(&restored(|c| {
        take_web_apps(c, 1);
        c.pause(false);
        take_records(c, 1);
        take_zeebe(c, 1);
        c.resume();
    }));
}

#[test]
fn broker_snapshot_and_restart_during_the_pause_lose_nothing() {
    all_whole(&restored(|c| {
        take_web_apps(c, 1);
        c.snapshot_broker_now();
        c.pause(true);
        c.snapshot_broker_now();
        take_records(c, 1);
        c.restart_broker(Duration::from_millis(300));
        c.pass(Duration::from_millis(400));
        c.snapshot_broker_now();
        take_zeebe(c, 1);
        c.resume();
    }));
}

#[test]
fn zeebe_before_records_restores_records_and_instances_unknown_to_the_broker() {
    let results = restored(|c| {
        take_web_apps(c, 1);
        c.pause(true);
        take_zeebe(c, 1);
        c.pass(Duration::from_secs(1));
        take_records(c, 1);
        c.resume();
    });
    for (seed, result) in results {
        assert!(result.duplicates.records > 0, "seed {seed}: {result:?}");
        assert!(result.duplicates.operate > 0, "seed {seed}: {result:?}");
        assert!(result.unknown_to_broker > 0, "seed {seed}: {result:?}");
        assert!(result.sequence_doubles > 0 || result.lost() > 0, "seed {seed}: {result:?}");
    }
}

#[test]
fn web_apps_last_skip_records_after_the_restore() {
    let results = restored(|c| {
        c.pause(true);
        take_records(c, 1);
        take_zeebe(c, 1);
        c.pass(Duration::from_secs(1));
        take_web_apps(c, 1);
        c.resume();
    });
    for (seed, result) in results {
        assert!(result.duplicates.operate > 0 && result.duplicates.tasklist > 0, "seed {seed}: {result:?}");
        assert!(result.lost.operate > 0 && result.lost.tasklist > 0, "seed {seed}: {result:?}");
        assert_eq!(result.duplicates.records, 0, "seed {seed}: the records themselves are right");
    }
}

#[test]
fn resume_and_compaction_between_records_and_zeebe_lose_records() {
    let results = restored(|c| {
        take_web_apps(c, 1);
        c.pause(true);
        take_records(c, 1);
        c.resume();
        c.pass(Duration::from_secs(1));
        c.snapshot_broker_now();
        c.pause(true);
        take_zeebe(c, 1);
        c.resume();
    });
    for (seed, result) in results {
        assert!(result.lost.records > 0 && result.sequence_gaps > 0, "seed {seed}: {result:?}");
        assert!(result.lost.operate > 0 && result.lost.tasklist > 0, "seed {seed}: {result:?}");
        assert_eq!(result.duplicates(), 0, "seed {seed}: {result:?}");
    }
}

#[test]
fn resume_without_compaction_before_zeebe_loses_nothing_by_chance() {
    all_whole(&restored(|c| {
        take_web_apps(c, 1);
        c.pause(true);
        take_records(c, 1);
        c.resume();
        take_zeebe(c, 1);
    }));
}

#[test]
fn compaction_without_pause_loses_records() {
    let results = restored(|c| {
        take_web_apps(c, 1);
        take_records(c, 1);
        c.pass(Duration::from_secs(1));
        c.snapshot_broker_now();
        take_zeebe(c, 1);
    });
    for (seed, result) in results {
        assert!(result.lost.records > 0, "seed {seed}: {result:?}");
    }
}

#[test]
fn parts_of_two_backup_ids_are_inconsistent() {
    for seed in 0..SEEDS {
        let mut cluster = cluster(seed);
        right_order(&mut cluster, 1);
        cluster.pass(Duration::from_secs(2));
        cluster.snapshot_broker_now();
        right_order(&mut cluster, 2);
        let of = |id, wanted: fn(&Piece) -> bool| -> Vec<Piece> {
            cluster.pieces_of(id).into_iter().filter(wanted).collect()
        };
        let records: fn(&Piece) -> bool = |p| matches!(p, Piece::Records(_));
        let operate: fn(&Piece) -> bool = |p| matches!(p, Piece::Part(App::Operate, _));
        let broker: fn(&Piece) -> bool = |p| matches!(p, Piece::Broker(_));
        let mut whole = cluster.pieces_of(1);
        assert!(cluster.restore_pieces(&whole).is_whole());

        for (part, wanted) in [("records", records), ("Operate", operate), ("Zeebe", broker)] {
            let mut mixed = whole.clone();
            mixed.extend(of(2, wanted)); // the later piece wins
            let result = cluster.restore_pieces(&mixed);
            assert!(
                result.lost() + result.duplicates() > 0,
                "seed {seed}, {part} of the newer id: {result:?}"
            );
        }

        // Import positions of the newer id with documents of the older one.
        whole.push(of(2, operate).first().unwrap().clone());
        let result = cluster.restore_pieces(&whole);
        assert!(result.lost.operate > 0, "seed {seed}: {result:?}");
    }
}

#[test]
fn empty_records_snapshot_counts_as_loss() {
    let mut cluster = cluster(3);
    right_order(&mut cluster, 1);
    let mut pieces = cluster.pieces_of(1);
    pieces.retain(|p| !matches!(p, Piece::Records(_)));
    let result = cluster.restore_pieces(&pieces);
    assert!(result.lost.records > 0 && result.lost() > 0, "{result:?}");
}

#[test]
fn missing_partition_counts_as_loss() {
    let mut cluster = cluster(3);
    right_order(&mut cluster, 1);
    let mut pieces = cluster.pieces_of(1);
    pieces.retain(|p| !matches!(p, Piece::Broker(copy) if copy.partition == 1));
    assert!(cluster.restore_pieces(&pieces).lost.broker > 0);
}

#[test]
fn missing_web_app_part_is_incomplete_although_it_could_be_imported_again() {
    let mut cluster = cluster(3);
    right_order(&mut cluster, 1);
    let mut pieces = cluster.pieces_of(1);
    pieces.retain(|p| !matches!(p, Piece::Part(App::Tasklist, _)));
    let result = cluster.restore_pieces(&pieces);
    assert_eq!((result.missing_pieces, result.is_whole()), (4, false), "{result:?}");
}

#[test]
fn idle_cluster_has_zero_loss_counts() {
    let config = Config { load: Load { per_second: 0.0, initial: 5 }, ..Config::named("idle") };
    let mut cluster = Cluster::new(config, Utc.with_ymd_and_hms(2026, 11, 23, 6, 0, 0).unwrap());
    right_order(&mut cluster, 1);
    let result = cluster.restore(1);
    assert!(result.is_whole());
    assert_eq!(
        result.started_in_window, 0,
        "so a test that relies on the counts can see that it tests nothing"
    );
}

#[test]
fn cluster_restored_in_place_can_be_backed_up_and_restored_again() {
    for seed in 0..SEEDS {
        let mut cluster = cluster(seed);
        right_order(&mut cluster, 1);
        cluster.pass(Duration::from_secs(3));
        let pieces = cluster.pieces_of(1);
        cluster.restore_in_place(&pieces);
        cluster.pass(Duration::from_secs(3));
        right_order(&mut cluster, 2);
        let result = cluster.restore(2);
        assert!(result.is_whole() && result.started_in_window > 0, "seed {seed}: {result:?}");
    }
}

#[test]
fn id_existing_in_the_store_is_a_false_success_after_a_restore() {
    let mut cluster = cluster(1);
    right_order(&mut cluster, 1);
    right_order(&mut cluster, 2);
    let pieces = cluster.pieces_of(1);
    cluster.restore_in_place(&pieces);
    cluster.pass(Duration::from_secs(5));
    let before = cluster.backups[&2].partitions[0].created;
    assert_eq!(cluster.begin_zeebe_backup(2, None), Ok(()), "accepted");
    assert_eq!(cluster.backups[&2].partitions[0].created, before, "but no new backup was taken");
}

#[test]
fn same_seed_and_same_calls_result_in_the_same_cluster() {
    let take = |seed| {
        let mut cluster = cluster(seed);
        right_order(&mut cluster, 1);
        format!("{:?}", cluster.world)
    };
    assert_eq!(take(5), take(5));
    assert_ne!(take(5), take(7));
}

#[test]
fn long_simulation_uses_bounded_memory() {
    let mut cluster = cluster(2);
    for id in 1..=400 {
        right_order(&mut cluster, id);
        cluster.snapshot_broker_now();
        cluster.pass(Duration::from_mins(1));
        for app in App::ALL {
            cluster.delete_app_backup(app, id - 3).unwrap();
        }
        cluster.delete_snapshots("camunda", &format!("camunda_zeebe_records_backup_{}", id - 3)).unwrap();
        cluster.delete_zeebe_backup(id - 3);
        if id % 50 == 0 {
            assert!(cluster.restore(id).is_whole(), "{:?}", cluster.restore(id));
        }
    }
    let kept: usize = cluster.world.partitions.iter().map(|p| p.histories.remembered()).sum();
    let written: u64 = cluster.world.partitions.iter().map(|p| p.state.end).sum();
    assert!(kept < 60_000, "{kept} of {written} positions are in memory");
    assert!(written > 100_000, "only {written} positions were written");
}
