//! Timetable and occurrences: once, and never silently lost.

use crate::bed::{Bed, Kind, at, missed, occurrence, refused, scheduled, waiting};
use camunda_backupd::store::{NewRun, OccurrenceOutcome, OccurrenceRow, StoreError, TimetableRow};
use rstest::rstest;
use std::slice::from_ref;

fn pair(schedule: &str, cluster: &str, last_due: Option<&str>) -> TimetableRow {
    TimetableRow {
        schedule: schedule.into(),
        cluster: cluster.into(),
        times_key: "0 0 2 * * * UTC".into(),
        since: at("2025-01-01T00:00:00Z"),
        last_due: last_due.map(at),
        active: true,
    }
}

async fn last_due(bed: &Bed) -> Option<crate::bed::At> {
    bed.timetable().await.unwrap()[0].last_due
}

#[rstest]
#[tokio::test]
async fn pairs_absent_from_the_timetable_become_inactive(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let (daily, weekly) = (pair("daily", "prod", None), pair("weekly", "prod", Some("2025-02-23T03:00:00Z")));
    bed.set_timetable(vec![daily.clone(), weekly.clone()]).await.unwrap();
    assert_eq!(bed.timetable().await.unwrap(), [daily.clone(), weekly.clone()]);

    bed.set_timetable(vec![daily.clone()]).await.unwrap();
    assert_eq!(bed.timetable().await.unwrap(), [daily, TimetableRow { active: false, ..weekly }]);
}

#[rstest]
#[tokio::test]
async fn claim_is_idempotent(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let due = waiting(&occurrence("daily", "prod", "2025-03-01T02:00:00Z"));
    let later = waiting(&occurrence("daily", "prod", "2025-03-02T02:00:00Z"));
    assert_eq!(bed.claim(vec![due.clone()]).await.unwrap(), from_ref(&due));
    assert_eq!(bed.claim(vec![due.clone(), later.clone()]).await.unwrap(), from_ref(&later));
    assert_eq!(bed.waiting().await.unwrap(), [due.clone(), later]);

    bed.skip(vec![due.occurrence.clone()], "busy".into()).await.unwrap();
    assert!(bed.claim(vec![due]).await.unwrap().is_empty());
    assert_eq!(bed.waiting().await.unwrap().len(), 1);
}

/// A clock days ahead recorded future occurrences as missed; after its correction they become due.
#[rstest]
#[tokio::test]
async fn occurrence_missed_by_a_fast_clock_becomes_due_again(
    #[values(Kind::Memory, Kind::Sqlite)] kind: Kind,
) {
    let bed = Bed::new(kind);
    let range = missed(&occurrence("daily", "prod", "2025-03-01T02:00:00Z"), "2025-03-03T02:00:00Z", 3);
    bed.claim(vec![range]).await.unwrap();
    for due_at in ["2025-03-01T02:00:00Z", "2025-03-02T02:00:00Z", "2025-03-03T02:00:00Z"] {
        let due = waiting(&occurrence("daily", "prod", due_at));
        assert_eq!(bed.claim(vec![due.clone()]).await.unwrap(), from_ref(&due), "{due_at}");
        assert!(bed.claim(vec![due.clone()]).await.unwrap().is_empty(), "{due_at} twice");
        bed.skip(vec![due.occurrence.clone()], "busy".into()).await.unwrap();
        assert!(
            bed.claim(vec![due]).await.unwrap().is_empty(),
            "{due_at} was skipped when it really was due"
        );
    }
}

#[rstest]
#[tokio::test]
async fn occurrence_inside_a_recorded_range_is_not_claimed_again(
    #[values(Kind::Memory, Kind::Sqlite)] kind: Kind,
) {
    let bed = Bed::new(kind);
    let range = missed(&occurrence("daily", "prod", "2025-02-20T02:00:00Z"), "2025-02-27T02:00:00Z", 8);
    assert_eq!(bed.claim(vec![range.clone()]).await.unwrap(), [range]);

    let inside = waiting(&occurrence("daily", "prod", "2025-02-24T02:00:00Z"));
    let last = waiting(&occurrence("daily", "prod", "2025-02-27T02:00:00Z"));
    let again = [inside, last].map(|row| OccurrenceRow { missed: true, ..row });
    assert!(bed.claim(again.into()).await.unwrap().is_empty());

    let after = waiting(&occurrence("daily", "prod", "2025-02-28T02:00:00Z"));
    let other = waiting(&occurrence("daily", "test", "2025-02-24T02:00:00Z"));
    assert_eq!(bed.claim(vec![after.clone(), other.clone()]).await.unwrap(), [after, other]);
}

#[rstest]
#[tokio::test]
async fn claim_only_raises_last_due(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    bed.set_timetable(vec![pair("daily", "prod", None)]).await.unwrap();
    bed.claim(vec![waiting(&occurrence("daily", "prod", "2025-03-02T02:00:00Z"))]).await.unwrap();
    assert_eq!(last_due(&bed).await, Some(at("2025-03-02T02:00:00Z")));

    bed.claim(vec![waiting(&occurrence("daily", "prod", "2025-03-01T02:00:00Z"))]).await.unwrap();
    assert_eq!(last_due(&bed).await, Some(at("2025-03-02T02:00:00Z")));

    let range = missed(&occurrence("daily", "prod", "2025-03-03T02:00:00Z"), "2025-03-05T02:00:00Z", 3);
    bed.claim(vec![range]).await.unwrap();
    assert_eq!(last_due(&bed).await, Some(at("2025-03-05T02:00:00Z")), "a range counts to its end");
}

#[rstest]
#[tokio::test]
async fn stale_timetable_does_not_lower_last_due(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let read_before = pair("daily", "prod", None);
    bed.set_timetable(vec![read_before.clone()]).await.unwrap();
    bed.claim(vec![waiting(&occurrence("daily", "prod", "2025-03-02T02:00:00Z"))]).await.unwrap();
    bed.set_timetable(vec![read_before.clone()]).await.unwrap();
    assert_eq!(last_due(&bed).await, Some(at("2025-03-02T02:00:00Z")));

    let edited = TimetableRow { since: at("2025-03-02T09:00:00Z"), ..read_before };
    bed.set_timetable(vec![edited.clone()]).await.unwrap();
    assert_eq!(bed.timetable().await.unwrap(), [edited], "edited times start without a last due time");
}

#[rstest]
#[tokio::test]
async fn claim_with_one_bad_row_stores_nothing(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    bed.set_timetable(vec![pair("daily", "prod", None)]).await.unwrap();
    let good = waiting(&occurrence("daily", "prod", "2025-03-01T02:00:00Z"));
    let silent = OccurrenceRow {
        outcome: OccurrenceOutcome::Skipped,
        ..waiting(&occurrence("daily", "prod", "2025-03-02T02:00:00Z"))
    };
    assert_eq!(
        refused(bed.claim(vec![good, silent]).await),
        "occurrence 2025-03-02T02:00:00Z of schedule daily for cluster prod can be claimed as waiting or as skipped \
         with a reason only"
    );
    assert!(bed.waiting().await.unwrap().is_empty());
    assert_eq!(last_due(&bed).await, None);
}

#[rstest]
#[tokio::test]
async fn run_sets_the_outcome_of_its_occurrences(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let daily = occurrence("daily", "prod", "2025-03-02T02:00:00Z");
    let weekly = occurrence("weekly", "prod", "2025-03-02T02:00:00Z");
    bed.claim(vec![waiting(&daily), waiting(&weekly)]).await.unwrap();
    let occurrences =
        vec![(daily.clone(), OccurrenceOutcome::Started), (weekly.clone(), OccurrenceOutcome::Coalesced)];
    let run =
        bed.begin_run(NewRun { occurrences, ..scheduled("prod", "2025-03-02T02:00:00Z") }).await.unwrap();

    assert_eq!(run.occurrences, [daily.clone(), weekly.clone()]);
    assert_eq!(bed.run(run.run_id).await.unwrap(), Some(run.clone()));
    assert!(bed.waiting().await.unwrap().is_empty());
    let outcomes: Vec<_> =
        bed.occurrences(None, None, 0).await.unwrap().into_iter().map(|r| (r.outcome, r.run_id)).collect();
    assert_eq!(
        outcomes,
        [(OccurrenceOutcome::Coalesced, Some(run.run_id)), (OccurrenceOutcome::Started, Some(run.run_id))]
    );

    bed.skip(vec![daily], "too late".into()).await.unwrap();
    assert_eq!(
        bed.occurrences(Some("daily".into()), None, 0).await.unwrap()[0].outcome,
        OccurrenceOutcome::Started
    );
}

#[rstest]
#[tokio::test]
async fn no_second_run_serves_an_occurrence(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let (served, skipped) = (
        occurrence("daily", "prod", "2025-03-01T02:00:00Z"),
        occurrence("daily", "prod", "2025-03-02T02:00:00Z"),
    );
    bed.claim(vec![waiting(&served), waiting(&skipped)]).await.unwrap();
    bed.skip(vec![skipped.clone()], "disabled".into()).await.unwrap();
    let serving = |cluster: &str, o: &_, becomes| NewRun {
        occurrences: vec![(Clone::clone(o), becomes)],
        ..scheduled(cluster, "2025-03-02T02:00:00Z")
    };
    bed.begin_run(serving("prod", &served, OccurrenceOutcome::Started)).await.unwrap();

    for taken in [&served, &skipped] {
        let sentence = refused(bed.begin_run(serving("other", taken, OccurrenceOutcome::Started)).await);
        assert!(
            sentence.ends_with("does not wait any more: an occurrence leads to at most one run"),
            "{sentence}"
        );
    }
    let unknown = occurrence("daily", "prod", "2025-03-09T02:00:00Z");
    assert_eq!(
        bed.begin_run(serving("other", &unknown, OccurrenceOutcome::Started)).await.unwrap_err().to_string(),
        "the state has no occurrence 2025-03-09T02:00:00Z of schedule daily for cluster prod"
    );
    assert_eq!(bed.unfinished().await.unwrap().len(), 1, "a refusal leaves no run behind");
}

#[rstest]
#[tokio::test]
async fn served_occurrence_cannot_wait_or_be_skipped(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let due = occurrence("daily", "prod", "2025-03-01T02:00:00Z");
    bed.claim(vec![waiting(&due)]).await.unwrap();
    for becomes in [OccurrenceOutcome::Waiting, OccurrenceOutcome::Skipped] {
        let new =
            NewRun { occurrences: vec![(due.clone(), becomes)], ..scheduled("prod", "2025-03-01T02:00:00Z") };
        let response = bed.begin_run(new).await;
        assert!(matches!(response, Err(StoreError::Refused(_))), "{response:?}");
    }
    assert_eq!(bed.waiting().await.unwrap().len(), 1);
}

#[rstest]
#[tokio::test]
async fn occurrences_are_listed_newest_first(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let rows: Vec<_> =
        [("daily", "prod", 1), ("daily", "test", 2), ("weekly", "prod", 3), ("daily", "prod", 4)]
            .map(|(schedule, cluster, day)| {
                waiting(&occurrence(schedule, cluster, &format!("2025-03-0{day}T02:00:00Z")))
            })
            .to_vec();
    bed.claim(rows).await.unwrap();
    let days = |schedule: Option<&str>, cluster: Option<&str>, limit| {
        let (schedule, cluster) = (schedule.map(Into::into), cluster.map(Into::into));
        let response = bed.occurrences(schedule, cluster, limit);
        async {
            response
                .await
                .unwrap()
                .iter()
                .map(|r| r.occurrence.due_at.to_string()[9..10].to_owned())
                .collect::<String>()
        }
    };
    assert_eq!(days(None, None, 0).await, "4321");
    assert_eq!(days(None, None, 2).await, "43");
    assert_eq!(days(Some("daily"), None, 0).await, "421");
    assert_eq!(days(Some("daily"), Some("prod"), 1).await, "4");
    assert_eq!(days(Some("hourly"), None, 0).await, "");
}
