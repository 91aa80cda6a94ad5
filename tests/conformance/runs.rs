//! Runs: increasing ids, one run per cluster, journals that accept only legal events.

use crate::bed::{
    At, Bed, Kind, at, completed, entry, failed, id, manual, pause_intended, scheduled, seconds, started,
};
use camunda_backupd::domain::{Component, PauseMode};
use camunda_backupd::journal::{Event, RunStatus, RunView, Step};
use camunda_backupd::store::{Adopted, NewRun, StoreError};
use rstest::rstest;
use std::collections::BTreeMap;
use uuid::Uuid;

const NOW: &str = "2025-03-01T02:00:00.123456789Z";

async fn end(bed: &Bed, run_id: Uuid) {
    bed.append(run_id, vec![entry(NOW, failed("no answer"))]).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn id_is_the_start_time_in_seconds(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let new = scheduled("prod", NOW);
    let run = bed.begin_run(new.clone()).await.unwrap();
    assert_eq!(run.backup_id.get(), seconds(NOW));
    assert_eq!((run.run_id, run.created_at, &run.spec), (new.run_id, at(NOW), &new.spec));
    assert_eq!(run.view, RunView::default());
    assert_eq!(bed.run(run.run_id).await.unwrap(), Some(run), "to the nanosecond");
    assert_eq!(bed.run(Uuid::nil()).await.unwrap(), None);
}

#[rstest]
#[case::seen_in_a_component(NewRun { largest_seen: 9_000_000_000, ..scheduled("prod", NOW) }, 9_000_000_001)]
#[case::clock_before_1970(scheduled("prod", "1969-01-01T00:00:00Z"), 1)]
#[case::seen_nonsense(NewRun { largest_seen: -5, ..scheduled("prod", NOW) }, 1_740_794_400)]
#[tokio::test]
async fn id_is_larger_than_every_known_id(
    #[values(Kind::Memory, Kind::Sqlite)] kind: Kind,
    #[case] new: NewRun,
    #[case] expected: i64,
) {
    assert_eq!(Bed::new(kind).begin_run(new).await.unwrap().backup_id, id(expected));
}

#[rstest]
#[tokio::test]
async fn ids_increase_after_clock_set_back(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let first = bed.failed("prod", NOW).await;
    let second = bed.failed("prod", "2020-01-01T00:00:00Z").await;
    assert_eq!(second.backup_id.get(), first.backup_id.get() + 1);
    let third = bed.begun("prod", "2025-03-02T02:00:00Z").await;
    assert_eq!(third.backup_id.get(), seconds("2025-03-02T02:00:00Z"));
}

#[rstest]
#[tokio::test]
async fn clusters_of_one_scope_never_share_an_id(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let of = |cluster| NewRun { id_scope: "one search engine".into(), ..scheduled(cluster, NOW) };
    let one = bed.begin_run(of("one")).await.unwrap().backup_id;
    let two = bed.begin_run(of("two")).await.unwrap().backup_id;
    assert_eq!((one.get(), two.get()), (seconds(NOW), seconds(NOW) + 1));
    let elsewhere = bed.begun("three", NOW).await.backup_id;
    assert_eq!(elsewhere, one, "another search engine has its own ids");
}

#[rstest]
#[tokio::test]
async fn ids_increase_when_a_cluster_changes_its_scope(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let before = bed.failed("prod", NOW).await.backup_id;
    let moved = NewRun { id_scope: "new search engine".into(), ..scheduled("prod", "2020-01-01T00:00:00Z") };
    assert_eq!(bed.begin_run(moved).await.unwrap().backup_id.get(), before.get() + 1);
}

#[rstest]
#[tokio::test]
async fn highest_id_can_be_raised_but_not_lowered(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let tag = || bed.highest_id("scope of prod".into());
    assert_eq!(tag().await, Ok(0));
    bed.raise_highest_id("scope of prod".into(), 8_000_000_000).await.unwrap();
    bed.raise_highest_id("scope of prod".into(), 7).await.unwrap();
    assert_eq!(bed.highest_id("scope of prod".into()).await.unwrap(), 8_000_000_000);
    assert_eq!(bed.begun("prod", NOW).await.backup_id, id(8_000_000_001));
    assert_eq!(
        bed.highest_id("scope of prod".into()).await.unwrap(),
        8_000_000_001,
        "a new backup id raises the highest id"
    );
    assert_eq!(bed.highest_id("another".into()).await.unwrap(), 0);
}

#[rstest]
#[tokio::test]
async fn largest_possible_id_is_rejected(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    bed.raise_highest_id("scope of prod".into(), i64::MAX).await.unwrap();
    assert_eq!(
        bed.begin_run(scheduled("prod", NOW)).await.unwrap_err().to_string(),
        "no backup id is left above 9223372036854775807 for `scope of prod`: delete the backup or snapshot that \
         carries it and the highest id in the state file"
    );
    assert!(bed.unfinished().await.unwrap().is_empty());
}

#[rstest]
#[tokio::test]
async fn adopted_ids_count(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let mut view = RunView::default();
    view.apply(&entry(NOW, failed("found"))).unwrap();
    let found = Adopted {
        run_id: Uuid::now_v7(),
        cluster: "prod".into(),
        backup_id: id(8_000_000_000),
        created_at: at(NOW),
        spec: serde_json::json!({}),
        view,
    };
    bed.adopt(found).await.unwrap();
    assert_eq!(bed.begun("prod", NOW).await.backup_id, id(8_000_000_001));
}

#[rstest]
#[tokio::test]
async fn one_unfinished_run_per_cluster(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let first = bed.begun("prod", NOW).await;
    let busy = bed.begin_run(scheduled("prod", NOW)).await.unwrap_err();
    assert_eq!(busy, StoreError::Busy { cluster: "prod".into(), run_id: first.run_id });
    assert_eq!(
        busy.to_string(),
        format!("cluster prod is busy with run {}: wait until it has ended", first.run_id)
    );
    bed.begun("test", NOW).await;

    bed.append(first.run_id, vec![entry(NOW, started())]).await.unwrap();
    assert!(bed.begin_run(scheduled("prod", NOW)).await.is_err(), "running is unfinished too");
    end(&bed, first.run_id).await;
    bed.begun("prod", NOW).await;
}

#[rstest]
#[tokio::test]
async fn run_begins_only_once(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let new = scheduled("prod", NOW);
    bed.begin_run(new.clone()).await.unwrap();
    end(&bed, new.run_id).await;
    let again = bed.begin_run(new.clone()).await.unwrap_err();
    assert_eq!(
        again.to_string(),
        format!("run {} exists already: check it instead of starting it", new.run_id)
    );
}

#[rstest]
#[tokio::test]
async fn failed_manual_runs_count_for_the_interval(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let first = bed.begin_run(manual("prod", "2025-03-01T10:00:00Z")).await.unwrap();
    end(&bed, first.run_id).await;
    let limited = bed.begin_run(manual("prod", "2025-03-01T10:59:59Z")).await.unwrap_err();
    let (last, until): (At, At) = (at("2025-03-01T10:00:00Z"), at("2025-03-01T11:00:00Z"));
    assert_eq!(limited, StoreError::RateLimited { cluster: "prod".into(), last, until });
    assert_eq!(
        limited.to_string(),
        "cluster prod had a manual backup at 2025-03-01T10:00:00Z. The next is allowed at 2025-03-01T11:00:00Z; deleting a backup of it allows one at once"
    );
    bed.begin_run(manual("test", "2025-03-01T10:30:00Z")).await.unwrap();
    bed.begin_run(manual("prod", "2025-03-01T11:00:00Z")).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn scheduled_runs_are_outside_the_manual_limit(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    bed.failed("prod", "2025-03-01T10:00:00Z").await;
    let first = bed.begin_run(manual("prod", "2025-03-01T10:01:00Z")).await.unwrap();
    end(&bed, first.run_id).await;
    bed.failed("prod", "2025-03-01T10:02:00Z").await;
    assert!(bed.begin_run(manual("prod", "2025-03-01T10:03:00Z")).await.is_err());
}

#[rstest]
#[tokio::test]
async fn accepted_deletion_frees_the_limit_once(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let old = bed.failed("prod", "2025-03-01T09:00:00Z").await;
    let foreign = bed.failed("test", "2025-03-01T09:00:00Z").await;
    let first = bed.begin_run(manual("prod", "2025-03-01T10:00:00Z")).await.unwrap();
    end(&bed, first.run_id).await;

    let delete = |run_id| {
        bed.request_deletion(run_id, "command".into(), "requested".into(), at("2025-03-01T10:05:00Z"))
    };
    delete(foreign.run_id).await.unwrap();
    assert!(
        bed.begin_run(manual("prod", "2025-03-01T10:06:00Z")).await.is_err(),
        "another cluster's deletion"
    );
    delete(old.run_id).await.unwrap();
    let second = bed.begin_run(manual("prod", "2025-03-01T10:07:00Z")).await.unwrap();
    end(&bed, second.run_id).await;
    assert!(bed.begin_run(manual("prod", "2025-03-01T10:08:00Z")).await.is_err(), "freed once");

    delete(old.run_id).await.unwrap();
    assert!(
        bed.begin_run(manual("prod", "2025-03-01T10:09:00Z")).await.is_err(),
        "the deletion was counted before"
    );
}

#[rstest]
#[tokio::test]
async fn manual_start_in_the_future_counts_as_now(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let wrong = bed.begin_run(manual("prod", "2099-01-01T00:00:00Z")).await.unwrap();
    end(&bed, wrong.run_id).await;
    let limited = bed.begin_run(manual("prod", "2025-03-01T10:00:00Z")).await.unwrap_err();
    let (last, until) = (at("2025-03-01T10:00:00Z"), at("2025-03-01T11:00:00Z"));
    assert_eq!(limited, StoreError::RateLimited { cluster: "prod".into(), last, until });
    assert!(bed.begin_run(manual("prod", "2025-03-01T10:59:00Z")).await.is_err());
    bed.begin_run(manual("prod", "2025-03-01T11:00:00Z")).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn journal_replay_equals_the_view(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let run = bed.started("prod", NOW).await;
    let zeebe = Component::Zeebe;
    let entries = vec![
        entry(NOW, Event::StepIntended { step: Step::Start(zeebe) }),
        entry(
            NOW,
            Event::Announced {
                component: zeebe,
                repository: None,
                names: vec!["a".into(), "b".into()],
                indices: vec![],
            },
        ),
        entry(NOW, Event::Progress { component: zeebe, state: "IN_PROGRESS".into(), done: 1, total: 3 }),
        entry(NOW, pause_intended()),
        entry(
            NOW,
            Event::PauseConfirmed {
                mode: PauseMode::Hard,
                positions: BTreeMap::from([(1, 42), (2, 9_007_199_254_740_993)]),
            },
        ),
    ];
    let mut view = bed.append(run.run_id, entries[..2].to_vec()).await.unwrap();
    assert_eq!(view.components[&zeebe].names, ["a", "b"]);
    view = bed.append(run.run_id, entries[2..].to_vec()).await.unwrap();

    let journal = bed.journal(run.run_id).await.unwrap();
    assert_eq!(journal[1..], entries);
    assert_eq!(RunView::replay(&journal).unwrap(), view);
    assert_eq!(bed.run(run.run_id).await.unwrap().unwrap().view, view);
    assert_eq!(bed.append(run.run_id, vec![]).await.unwrap(), view, "nothing to append changes nothing");
    assert_eq!(bed.journal(Uuid::nil()).await.unwrap(), []);
}

#[rstest]
#[tokio::test]
async fn append_with_an_illegal_entry_stores_nothing(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let run = bed.started("prod", NOW).await;
    let before = bed.run(run.run_id).await.unwrap();
    let good = entry(NOW, Event::StepIntended { step: Step::Guard });
    let bad = entry(NOW, Event::StepDone { step: Step::Pause, ms: 1 });
    let error = bed.append(run.run_id, vec![good, bad]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the journal refuses `step_done` while the run is running: a step that was never intended cannot be done; \
         this is a defect, please report it"
    );
    assert_eq!(bed.run(run.run_id).await.unwrap(), before);
    assert_eq!(bed.journal(run.run_id).await.unwrap().len(), 1);

    let unknown = bed.append(Uuid::nil(), vec![]).await.unwrap_err();
    assert_eq!(unknown.to_string(), "the state has no run 00000000-0000-0000-0000-000000000000");
}

#[rstest]
#[tokio::test]
async fn unfinished_runs_are_claimed_or_running(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let running = bed.started("b", "2025-03-01T03:00:00Z").await;
    let claimed = bed.begun("a", "2025-03-01T02:00:00Z").await;
    bed.failed("c", "2025-03-01T01:00:00Z").await;
    let done = bed.begun("d", "2025-03-01T01:00:00Z").await;
    let view = bed.append(done.run_id, completed(NOW)).await.unwrap();
    assert_eq!(view.status, RunStatus::Completed);

    let runs: Vec<_> = bed.unfinished().await.unwrap().iter().map(|r| (r.run_id, r.view.status)).collect();
    assert_eq!(
        runs,
        [(claimed.run_id, RunStatus::Claimed), (running.run_id, RunStatus::Running)],
        "oldest first"
    );
}

#[rstest]
#[tokio::test]
async fn concurrent_clusters_of_one_scope_get_different_ids(
    #[values(Kind::Memory, Kind::Sqlite)] kind: Kind,
) {
    let bed = Bed::new(kind);
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..100 {
        let store = bed.store.clone();
        let new = NewRun { id_scope: "shared".into(), ..scheduled(&format!("c{n}"), NOW) };
        racing.spawn(async move { store.begin_run(new).await.unwrap().backup_id.get() });
    }
    let mut ids = racing.join_all().await;
    ids.sort_unstable();
    assert_eq!(ids, (seconds(NOW)..seconds(NOW) + 100).collect::<Vec<_>>());
}
