//! Pending resumes: durable before the pause, confirmed or abandoned once, mirrored in the journal.

use crate::bed::{
    Bed, Kind, addresses, at, confirmed_resume, entry, failed, failed_resume, pause_intended, pending_resume,
    resume_intent, started,
};
use camunda_backupd::domain::Addresses;
use camunda_backupd::journal::{Event, Step};
use camunda_backupd::store::PendingResume;
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
async fn pending_resume_and_its_intent_are_stored_together(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let run = bed.started("prod", NOW).await;
    bed.record_pending_resume(pending_resume(&run, NOW), entry(NOW, pause_intended())).await.unwrap();
    assert_eq!(bed.pending_resumes().await.unwrap(), [pending_resume(&run, NOW)]);
    assert_eq!(bed.pending_resumes().await.unwrap()[0].addresses, addresses());
    assert_eq!(bed.journal_of(run.run_id).await, [started(), pause_intended()]);
    assert!(bed.run(run.run_id).await.unwrap().unwrap().view.needs_resume());
}

#[rstest]
#[tokio::test]
async fn illegal_intent_leaves_no_pending_resume(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let claimed = bed.begun("prod", NOW).await;
    let response =
        bed.record_pending_resume(pending_resume(&claimed, NOW), entry(NOW, pause_intended())).await;
    assert!(matches!(response, Err(StoreError::Illegal(_))), "{response:?}");
    assert_eq!(bed.pending_resumes().await.unwrap(), []);

    let run = bed.still_pending("test", NOW).await;
    let second = bed
        .record_pending_resume(
            pending_resume(&run, LATER),
            entry(LATER, Event::StepIntended { step: Step::Guard }),
        )
        .await;
    assert_eq!(
        second.unwrap_err().to_string(),
        format!("pending resume of run {} exists already: a run pauses exporting at most once", run.run_id)
    );
    assert_eq!(bed.journal_of(run.run_id).await.len(), 2);
    assert_eq!(bed.pending_resumes().await.unwrap(), [pending_resume(&run, NOW)]);
}

#[rstest]
#[tokio::test]
async fn failed_resumes_are_counted(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let run = bed.still_pending("prod", NOW).await;
    bed.record_resume_progress(run.run_id, failed_resume("connection refused")).await.unwrap();
    bed.record_resume_progress(run.run_id, failed_resume("503")).await.unwrap();
    let pending = &bed.pending_resumes().await.unwrap()[0];
    assert_eq!((pending.attempts, pending.last_error.as_deref()), (2, Some("503")));
}

#[rstest]
#[tokio::test]
async fn pending_resume_stores_the_new_address_of_its_cluster(
    #[values(Kind::Memory, Kind::Sqlite)] kind: Kind,
) {
    let bed = Bed::new(kind);
    let run = bed.still_pending("prod", NOW).await;
    let there = Addresses { zeebe: "http://new:9600".into(), ..Addresses::default() };
    bed.relocate_pending_resume(run.run_id, there.clone()).await.unwrap();
    assert_eq!(
        bed.pending_resumes().await.unwrap(),
        [PendingResume { addresses: there, ..pending_resume(&run, NOW) }]
    );
}

#[rstest]
#[tokio::test]
async fn first_resume_intent_sets_the_time(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let run = bed.still_pending("prod", NOW).await;
    bed.record_resume_progress(run.run_id, resume_intent("run", LATER)).await.unwrap();
    bed.record_resume_progress(run.run_id, resume_intent("run", "2025-03-01T02:02:00Z")).await.unwrap();
    bed.record_resume_progress(run.run_id, resume_intent("sweeper", "2025-03-01T02:03:00Z")).await.unwrap();

    assert_eq!(bed.pending_resumes().await.unwrap()[0].resume_intended_at, Some(at(LATER)));
    let view = bed.run(run.run_id).await.unwrap().unwrap().view;
    assert_eq!(view.pause.resume_intended_at, Some(at(LATER)));
    assert_eq!(
        bed.journal_of(run.run_id).await[2..],
        [resume_intended("run"), resume_intended("sweeper")],
        "once for each sender"
    );
}

#[rstest]
#[tokio::test]
async fn confirmed_resume_is_not_pending_and_the_run_may_end(
    #[values(Kind::Memory, Kind::Sqlite)] kind: Kind,
) {
    let bed = Bed::new(kind);
    let run = bed.still_pending("prod", NOW).await;
    let early = bed.append(run.run_id, vec![entry(NOW, failed("too early"))]).await;
    assert!(matches!(early, Err(StoreError::Illegal(_))), "{early:?}");

    bed.record_resume_progress(run.run_id, confirmed_resume("sweeper", LATER)).await.unwrap();
    bed.record_resume_progress(run.run_id, confirmed_resume("command", "2025-03-01T02:09:00Z"))
        .await
        .unwrap();
    assert_eq!(bed.pending_resumes().await.unwrap(), []);
    assert_eq!(bed.journal_of(run.run_id).await[2..], [resumed("sweeper")], "recorded once");
    let pause = bed.run(run.run_id).await.unwrap().unwrap().view.pause;
    assert_eq!((pause.resume_intended_at, pause.resumed_at), (Some(at(LATER)), Some(at(LATER))));
    bed.append(run.run_id, vec![entry(LATER, failed("interrupted"))]).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn resume_events_after_the_end_are_not_in_the_journal(
    #[values(Kind::Memory, Kind::Sqlite)] kind: Kind,
) {
    let bed = Bed::new(kind);
    let run = bed.still_pending("prod", NOW).await;
    bed.record_resume_progress(run.run_id, confirmed_resume("run", LATER)).await.unwrap();
    bed.append(run.run_id, vec![entry(LATER, failed("cancelled"))]).await.unwrap();
    let journal = bed.journal_of(run.run_id).await;

    bed.record_resume_progress(run.run_id, resume_intent("command", LATER)).await.unwrap();
    bed.record_resume_progress(run.run_id, confirmed_resume("command", LATER)).await.unwrap();
    assert_eq!(bed.journal_of(run.run_id).await, journal);
}

#[rstest]
#[tokio::test]
async fn abandon_ends_the_pending_resumes_of_one_cluster(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let gone = bed.still_pending("gone", NOW).await;
    let prod = bed.still_pending("prod", LATER).await;
    assert_eq!(
        bed.abandon_resumes("gone".into(), "the cluster was torn down".into(), at(LATER)).await.unwrap(),
        1
    );
    assert_eq!(bed.abandon_resumes("gone".into(), "again".into(), at(LATER)).await.unwrap(), 0);

    assert_eq!(bed.pending_resumes().await.unwrap(), [pending_resume(&prod, LATER)]);
    assert_eq!(
        bed.journal_of(gone.run_id).await[2..],
        [Event::ResumeAbandoned { reason: "the cluster was torn down".into() }]
    );
    bed.append(gone.run_id, vec![entry(LATER, failed("removed"))]).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn pending_resumes_are_listed_oldest_first(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    for (cluster, now) in
        [("b", "2025-03-01T04:00:00Z"), ("a", "2025-03-01T03:00:00Z"), ("c", "2025-03-01T05:00:00Z")]
    {
        bed.still_pending(cluster, now).await;
    }
    let clusters: Vec<_> =
        bed.pending_resumes().await.unwrap().into_iter().map(|pending| pending.cluster).collect();
    assert_eq!(clusters, ["a", "b", "c"]);
}

#[rstest]
#[tokio::test]
async fn unknown_pending_resume_is_not_found(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let nobody = Uuid::nil();
    let responses = [
        bed.record_resume_progress(nobody, resume_intent("run", NOW)).await,
        bed.record_resume_progress(nobody, failed_resume("503")).await,
        bed.relocate_pending_resume(nobody, Addresses::default()).await,
        bed.record_resume_progress(nobody, confirmed_resume("run", NOW)).await,
    ];
    for response in responses {
        let sentence = "the state has no pending resume of run 00000000-0000-0000-0000-000000000000";
        assert_eq!(response.unwrap_err().to_string(), sentence);
    }
}
