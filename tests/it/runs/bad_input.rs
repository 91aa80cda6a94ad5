//! Unexpected responses of clusters: each ends with a failure class, an error that names the component and
//! the remedy, and resumed exporting.

use camunda_backupd::clock::Clock;
use camunda_backupd::domain::Limits;
use camunda_backupd::journal::{FailureClass, RunStatus};
use camunda_backupd::queue::ManualError;
use camunda_backupd::sim::{self, locked};
use harness::lab::{Lab, class_of, reason_of};
use rstest::rstest;
use std::collections::BTreeMap;
use std::time::Duration;

fn config(version: &str) -> sim::Config {
    sim::Config { version: version.parse().unwrap(), ..sim::Config::named("orders") }
}

fn limits() -> Limits {
    Limits { stall_after: Duration::from_mins(2), ..Limits::default() }
}

#[rstest]
#[case(
    "8.6.0",
    "operate.unknown-state@*",
    FailureClass::Stalled,
    "operate reports REARRANGING, an unknown state"
)]
#[case(
    "8.6.0",
    "tasklist-get.kill=2s+3",
    FailureClass::Stalled,
    "tasklist made no progress for its stall_after of 2m"
)]
#[case("8.6.0", "search-put.failed-shard", FailureClass::Records, "is PARTIAL, 1 of")]
#[case("8.8.0", "search-put.failed-shard", FailureClass::Records, "is PARTIAL, 1 of")]
#[case(
    "8.6.0",
    "operate-get.content-type@*+2",
    FailureClass::Component,
    "instead of JSON; check its address"
)]
#[case(
    "8.6.0",
    "zeebe-get.not-json@*+2",
    FailureClass::Component,
    "a body that is not JSON; check its address"
)]
#[case("8.6.0", "zeebe-post.conflict", FailureClass::Conflict, "The latest backup has id")]
#[case("8.8.0", "zeebe-post.conflict", FailureClass::Conflict, "The latest backup has id")]
#[tokio::test(start_paused = true)]
async fn rejection_text_of_the_component_is_reported(
    #[case] version: &str,
    #[case] fault: &str,
    #[case] class: FailureClass,
    #[case] sentence: &str,
) {
    let optimize = version == "8.8.0";
    let lab = Lab::with(sim::Config { optimize, ..config(version) }, limits()).fault(fault);
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(class), "{}", reason_of(&run));
    assert!(reason_of(&run).contains(sentence), "{}", reason_of(&run));
    locked(&lab.cluster).arm("now.heal").unwrap();
    lab.assert_nothing_pending(&run).await;
}

/// A wrong base path returns 404, like an absent backup.
#[rstest]
#[case("operate")]
#[case("zeebe")]
#[case("tasklist")]
#[tokio::test(start_paused = true)]
async fn wrong_base_path_is_not_an_absent_backup(#[case] component: &str) {
    let mut lab = Lab::new();
    let addresses = &mut lab.settings.spec.addresses;
    let wrong = format!("http://sim-orders/{component}/context");
    match component {
        "operate" => addresses.operate = Some(wrong),
        "tasklist" => addresses.tasklist = Some(wrong),
        _ => addresses.zeebe = wrong,
    }
    lab.queue.configure(BTreeMap::from([("orders".to_owned(), lab.settings.clone())]));
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::Component), "{}", reason_of(&run));
    let reason = reason_of(&run);
    assert!(
        reason.contains(component) && reason.contains("no API at that path, check the component's address"),
        "{reason}"
    );
    assert_eq!(lab.requested("pause"), 0);
}

/// After an id in milliseconds, brokers reject ids in seconds permanently. Our ids continue from the larger one.
#[rstest]
#[case("8.6.0")]
#[case("8.8.0")]
#[tokio::test(start_paused = true)]
async fn ids_exceed_an_existing_id_in_milliseconds(#[case] version: &str) {
    let lab = Lab::with(config(version), Limits::default());
    let milliseconds = lab.clock.now().timestamp_millis();
    locked(&lab.cluster).begin_zeebe_backup(milliseconds, None).unwrap();
    lab.clock.sleep(Duration::from_secs(30)).await;
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    assert_eq!(run.backup_id.get(), milliseconds + 1);
    lab.assert_nothing_pending(&run).await;
}

/// A foreign manual backup is in progress in the web app.
#[tokio::test(start_paused = true)]
async fn foreign_backup_in_progress_is_named() {
    let lab = Lab::new().fault("operate.stall=90s");
    let theirs = lab.queue.manual("orders", None).await.unwrap();
    lab.clock.sleep(Duration::from_secs(1)).await;
    let busy = lab.queue.manual("orders", None).await.unwrap_err();
    assert!(matches!(busy, ManualError::Busy { .. }), "{busy}");
    // The state of another daemon does not contain this backup.
    let other = Lab::daemon(
        lab.cluster.clone(),
        camunda_backupd::store::memory::MemoryStore::shared(),
        lab.settings.clone(),
        lab.clock.now(),
    );
    other.queue.configure(BTreeMap::from([("orders".to_owned(), lab.settings.clone())]));
    let reason = other.not_ready_reason().await;
    assert!(reason.contains("is taking snapshot camunda_operate_"), "{reason}");
    let run = lab.ended(theirs).await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
}
