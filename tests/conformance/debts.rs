//! Debts: durable before the pause, paid or forgiven once, mirrored in the journal.

use crate::bed::{Bed, Kind, addresses, at, debt, entry, failed, pause_intended, started};
use camunda_backupd::domain::Addresses;
use camunda_backupd::journal::{Event, Step};
use camunda_backupd::store::Debt;
use camunda_backupd::store::StoreError;
use rstest::rstest;
use uuid::Uuid;

const NOW: &str = "2025-03-01T02:00:00Z";
const LATER: &str = "2025-03-01T02:01:00Z";

fn resume_intended(by: &str) -> Event {
    Event::ResumeIntended { by: by.into() }
}

fn resumed(by: &str) -> Event {
    Event::Resumed { by: by.into() }
}

#[rstest]
#[tokio::test]
async fn a_debt_and_its_intent_are_written_together(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let run = bed.started("prod", NOW).await;
    bed.owe(debt(&run, NOW), entry(NOW, pause_intended())).await.unwrap();
    assert_eq!(bed.debts().await.unwrap(), [debt(&run, NOW)]);
    assert_eq!(bed.debts().await.unwrap()[0].addresses, addresses());
    assert_eq!(bed.journal_of(run.run_id).await, [started(), pause_intended()]);
    assert!(bed.run(run.run_id).await.unwrap().unwrap().view.owes_resume());
}

#[rstest]
#[tokio::test]
async fn an_illegal_intent_leaves_no_debt(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let claimed = bed.begun("prod", NOW).await;
    let answer = bed.owe(debt(&claimed, NOW), entry(NOW, pause_intended())).await;
    assert!(matches!(answer, Err(StoreError::Illegal(_))), "{answer:?}");
    assert_eq!(bed.debts().await.unwrap(), []);

    let run = bed.owing("test", NOW).await;
    let second = bed.owe(debt(&run, LATER), entry(LATER, Event::StepIntended { step: Step::Guard })).await;
    assert_eq!(
        second.unwrap_err().to_string(),
        format!("debt of run {} exists already: a run pauses exporting at most once", run.run_id)
    );
    assert_eq!(bed.journal_of(run.run_id).await.len(), 2);
    assert_eq!(bed.debts().await.unwrap(), [debt(&run, NOW)]);
}

#[rstest]
#[tokio::test]
async fn failed_resumes_are_counted(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let run = bed.owing("prod", NOW).await;
    bed.resume_failed(run.run_id, "connection refused".into()).await.unwrap();
    bed.resume_failed(run.run_id, "503".into()).await.unwrap();
    let owed = &bed.debts().await.unwrap()[0];
    assert_eq!((owed.attempts, owed.last_error.as_deref()), (2, Some("503")));
}

#[rstest]
#[tokio::test]
async fn a_debt_keeps_where_its_cluster_has_moved_to(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let run = bed.owing("prod", NOW).await;
    let there = Addresses { zeebe: "http://new:9600".into(), ..Addresses::default() };
    bed.debt_moved(run.run_id, there.clone()).await.unwrap();
    assert_eq!(bed.debts().await.unwrap(), [Debt { addresses: there, ..debt(&run, NOW) }]);
}

#[rstest]
#[tokio::test]
async fn the_first_intent_to_resume_counts(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let run = bed.owing("prod", NOW).await;
    bed.resume_intended(run.run_id, "run".into(), at(LATER)).await.unwrap();
    bed.resume_intended(run.run_id, "run".into(), at("2025-03-01T02:02:00Z")).await.unwrap();
    bed.resume_intended(run.run_id, "guardian".into(), at("2025-03-01T02:03:00Z")).await.unwrap();

    assert_eq!(bed.debts().await.unwrap()[0].resume_intended_at, Some(at(LATER)));
    let view = bed.run(run.run_id).await.unwrap().unwrap().view;
    assert_eq!(view.pause.resume_intended_at, Some(at(LATER)));
    assert_eq!(
        bed.journal_of(run.run_id).await[2..],
        [resume_intended("run"), resume_intended("guardian")],
        "once for each who tries"
    );
}

#[rstest]
#[tokio::test]
async fn a_paid_debt_is_gone_and_the_run_may_end(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let run = bed.owing("prod", NOW).await;
    let early = bed.append(run.run_id, vec![entry(NOW, failed("too early"))]).await;
    assert!(matches!(early, Err(StoreError::Illegal(_))), "{early:?}");

    bed.debt_paid(run.run_id, "guardian".into(), at(LATER)).await.unwrap();
    bed.debt_paid(run.run_id, "command".into(), at("2025-03-01T02:09:00Z")).await.unwrap();
    assert_eq!(bed.debts().await.unwrap(), []);
    assert_eq!(bed.journal_of(run.run_id).await[2..], [resumed("guardian")], "paid once");
    let pause = bed.run(run.run_id).await.unwrap().unwrap().view.pause;
    assert_eq!((pause.resume_intended_at, pause.resumed_at), (Some(at(LATER)), Some(at(LATER))));
    bed.append(run.run_id, vec![entry(LATER, failed("interrupted"))]).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn what_happens_to_a_debt_after_the_end_is_not_the_runs(
    #[values(Kind::Memory, Kind::Sqlite)] kind: Kind,
) {
    let bed = Bed::new(kind);
    let run = bed.owing("prod", NOW).await;
    bed.debt_paid(run.run_id, "run".into(), at(LATER)).await.unwrap();
    bed.append(run.run_id, vec![entry(LATER, failed("cancelled"))]).await.unwrap();
    let journal = bed.journal_of(run.run_id).await;

    bed.resume_intended(run.run_id, "command".into(), at(LATER)).await.unwrap();
    bed.debt_paid(run.run_id, "command".into(), at(LATER)).await.unwrap();
    assert_eq!(bed.journal_of(run.run_id).await, journal);
}

#[rstest]
#[tokio::test]
async fn forgiving_ends_the_debts_of_one_cluster(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let gone = bed.owing("gone", NOW).await;
    let prod = bed.owing("prod", LATER).await;
    assert_eq!(bed.forgive("gone".into(), "the cluster was torn down".into(), at(LATER)).await.unwrap(), 1);
    assert_eq!(bed.forgive("gone".into(), "again".into(), at(LATER)).await.unwrap(), 0);

    assert_eq!(bed.debts().await.unwrap(), [debt(&prod, LATER)]);
    assert_eq!(bed.journal_of(gone.run_id).await[2..], [resumed("forgiven")]);
    bed.append(gone.run_id, vec![entry(LATER, failed("removed"))]).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn debts_are_listed_oldest_first(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    for (cluster, now) in
        [("b", "2025-03-01T04:00:00Z"), ("a", "2025-03-01T03:00:00Z"), ("c", "2025-03-01T05:00:00Z")]
    {
        bed.owing(cluster, now).await;
    }
    let clusters: Vec<_> = bed.debts().await.unwrap().into_iter().map(|d| d.cluster).collect();
    assert_eq!(clusters, ["a", "b", "c"]);
}

#[rstest]
#[tokio::test]
async fn a_debt_that_is_not_known_is_said_to_be(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let nobody = Uuid::nil();
    let answers = [
        bed.resume_intended(nobody, "run".into(), at(NOW)).await,
        bed.resume_failed(nobody, "503".into()).await,
        bed.debt_moved(nobody, Addresses::default()).await,
        bed.debt_paid(nobody, "run".into(), at(NOW)).await,
    ];
    for answer in answers {
        let sentence = "the state knows no debt of run 00000000-0000-0000-0000-000000000000";
        assert_eq!(answer.unwrap_err().to_string(), sentence);
    }
}
