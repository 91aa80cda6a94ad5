//! Each family of Camunda from a run's beginning to a restore, through the engine that the daemon uses.

use camunda_backupd::clock::Clock;
use camunda_backupd::domain::{BackupId, BackupState, Component, Family, Limits, PauseMode, RuntimeRoute};
use camunda_backupd::journal::{FailureClass, Outcome, RunStatus};
use camunda_backupd::sim::{self, Storage, locked};
use camunda_backupd::store::BackupFilter;
use harness::lab::{Lab, class_of, reason_of};
use rstest::rstest;
use std::time::Duration;

fn config(version: &str, storage: Storage, optimize: bool) -> sim::Config {
    let version = version.parse().unwrap();
    sim::Config { version, storage, optimize, ..sim::Config::named("orders") }
}

fn lab(version: &str, storage: Storage, optimize: bool) -> Lab {
    Lab::with(config(version, storage, optimize), Limits::default())
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn every_version_on_a_search_engine_is_backed_up_whole_under_load(
    #[values("8.2.4", "8.3.9", "8.4.6", "8.4.7", "8.5.8", "8.6.0", "8.7.3", "8.8.0", "8.9.1", "8.10.0")]
    version: &str,
    #[values(Storage::OpenSearch, Storage::Elasticsearch)] storage: Storage,
    #[values(true, false)] optimize: bool,
) {
    let lab = lab(version, storage, optimize);
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{version}: {}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
    let together = run.view.components.contains_key(&Component::History);
    let (family, pause) = match version {
        "8.2.4" | "8.3.9" | "8.4.6" => (Family::V82To87, PauseMode::Hard),
        v if !together => (Family::V82To87, if v == "8.4.6" { PauseMode::Hard } else { PauseMode::Soft }),
        _ => (Family::V88OnSearch, PauseMode::Soft),
    };
    assert_eq!((run.view.family, run.view.pause.mode), (Some(family), Some(pause)));
    assert_eq!(together, ["8.8.0", "8.9.1", "8.10.0"].contains(&version));
    // Since 8.8 only Optimize reads the exported records.
    let records = run.view.components.contains_key(&Component::Records);
    assert_eq!(records, !together || optimize, "{:?}", run.view.components.keys());
}

/// With the order of the other family, the same clusters lose records: see `tests/it/sim/families.rs`. This test shows that the daemon uses the order of the family.
#[rstest]
#[case("8.7.3", false)]
#[case("8.8.0", true)]
#[tokio::test(start_paused = true)]
async fn pause_position_depends_on_the_version(#[case] version: &str, #[case] first: bool) {
    let lab = lab(version, Storage::OpenSearch, true);
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    let paused = run.view.pause.intended_at.unwrap();
    let requested = run.view.components[&Component::Optimize].requested_at.unwrap();
    assert_eq!(paused < requested, first, "paused at {paused}, Optimize requested at {requested}");
}

#[rstest]
#[case("history-post.drop-response", None)]
#[case("history-post.drop-request", Some(FailureClass::Component))]
#[case("history.stall", Some(FailureClass::Stalled))]
#[case("history-post.unassigned", Some(FailureClass::Stalled))]
#[case("history-get.search-down=3s", None)]
#[case("zeebe-post.drop-response", None)]
#[case("zeebe-post.conflict", Some(FailureClass::Conflict))]
#[case("zeebe-post.foreign-resume=0s", Some(FailureClass::PauseBroken))]
#[case("pause.act-late=40s", Some(FailureClass::PauseBroken))]
#[tokio::test(start_paused = true)]
async fn exporting_resumes_after_every_failure_since_8_8(
    #[case] fault: &str,
    #[case] class: Option<FailureClass>,
) {
    let limits = Limits { stall_after: Duration::from_mins(2), ..Limits::default() };
    let lab = Lab::with(config("8.8.0", Storage::OpenSearch, false), limits).fault(fault);
    let run = lab.backup().await;
    assert_eq!(class_of(&run), class, "{}", reason_of(&run));
    lab.clock.sleep(Duration::from_mins(2)).await;
    let now = lab.clock.now();
    locked(&lab.cluster).advance(now);
    lab.assert_nothing_pending(&run).await;
}

/// Two backups more than retention keeps, with time between them for the deletions.
async fn five_backups(lab: &Lab) -> Vec<BackupId> {
    let mut ids = Vec::new();
    for _ in 0..5 {
        let run = lab.backup().await;
        assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
        ids.push(run.backup_id);
        lab.clock.sleep(Duration::from_mins(2)).await;
    }
    ids
}

/// Retention with the common history: the oldest backup is deleted from every component.
#[tokio::test(start_paused = true)]
async fn old_backups_are_deleted_everywhere_since_8_8() {
    let lab = lab("8.8.0", Storage::Elasticsearch, true);
    lab.keeps_the_newest_three().await;
}

/// A long part inside the pause is no stall as long as the pause budget allows it.
#[tokio::test(start_paused = true)]
async fn pause_budget_ends_a_slow_web_app_backup_since_8_8() {
    let limits = Limits { pause_budget: Duration::from_mins(10), ..Limits::default() };
    let timing = sim::Timing { part: Duration::from_mins(20), ..sim::Timing::default() };
    let lab = Lab::with(sim::Config { timing, ..config("8.9.1", Storage::OpenSearch, false) }, limits);
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::PauseBudget), "{}", reason_of(&run));
    let longest = locked(&lab.cluster).pauses.longest;
    assert!(longest < chrono::TimeDelta::seconds(605), "{longest}");
    lab.assert_nothing_pending(&run).await;
}

/// The operator backs up the database. The restore aligns both by the position in the database.
#[rstest]
#[tokio::test(start_paused = true)]
async fn rdbms_zeebe_backup_needs_no_pause(
    #[values("8.9.0", "8.10.0")] version: &str,
    #[values(true, false)] continuous: bool,
) {
    let config = sim::Config { continuous, ..config(version, Storage::Rdbms, false) };
    let lab = Lab::with(config, Limits::default());
    let first = lab.backup().await;
    assert_eq!(first.view.status, RunStatus::Completed, "{}", reason_of(&first));
    locked(&lab.cluster).backup_database();
    lab.clock.sleep(Duration::from_secs(20)).await;
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    assert_eq!((run.view.family, run.view.pause.requested), (Some(Family::V89OnRdbms), None));
    assert_eq!(lab.requested("pause") + lab.requested("resume"), 0);
    // In continuous mode the cluster generates ids in milliseconds. They replace ours.
    assert_eq!(run.backup_id.get() > 100_000_000_000, continuous, "{}", run.backup_id);
    assert!(run.backup_id > first.backup_id);
    if continuous {
        lab.assert_nothing_pending(&run).await;
    }
    let Some(Outcome::Completed { attestation }) = &run.view.outcome else { panic!("not completed") };
    assert!(attestation["reminder"].as_str().unwrap().contains("the relational database is not part"));
}

/// Only the response contains the assigned id: after a lost response no id is guessed.
#[rstest]
#[case(
    "zeebe-post.drop-response",
    Some(FailureClass::Component),
    "it is unknown whether zeebe started its backup"
)]
#[case(
    "zeebe-post.drop-request",
    Some(FailureClass::Component),
    "it is unknown whether zeebe started its backup"
)]
#[case("zeebe-post.stall=5s", None, "")]
#[case("zeebe-post.fail", Some(FailureClass::Component), "zeebe failed")]
#[tokio::test(start_paused = true)]
async fn lost_response_with_assigned_id_is_not_guessed(
    #[case] fault: &str,
    #[case] class: Option<FailureClass>,
    #[case] sentence: &str,
) {
    let config = sim::Config { continuous: true, ..config("8.9.0", Storage::Rdbms, false) };
    let lab = Lab::with(config, Limits::default()).fault(fault);
    let run = lab.backup().await;
    assert_eq!(class_of(&run), class, "{}", reason_of(&run));
    assert!(class.is_none() || reason_of(&run).contains(sentence), "{}", reason_of(&run));
    let next = lab.backup().await;
    assert_eq!(next.view.status, RunStatus::Completed, "{}", reason_of(&next));
    assert!(next.backup_id > run.backup_id);
}

/// With a search engine all parts need one id. A cluster that generates ids does not accept ours.
#[rstest]
#[tokio::test(start_paused = true)]
async fn generated_backup_ids_are_rejected_with_a_search_engine(
    #[values("8.9.0", "8.10.0")] version: &str,
    #[values(true, false)] continuous: bool,
) {
    let scheduler = (!continuous).then_some(Duration::from_mins(5));
    let config = sim::Config { continuous, scheduler, ..config(version, Storage::OpenSearch, false) };
    let lab = Lab::with(config, Limits::default());
    lab.clock.sleep(Duration::from_mins(20)).await;
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::Component), "{}", reason_of(&run));
    let wanted = "switch off its backup schedule, checkpoint-interval and continuous mode";
    assert!(reason_of(&run).contains(wanted), "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
}

/// With a database, the deletion uses the id that the cluster generated.
#[tokio::test(start_paused = true)]
async fn rdbms_old_backups_are_deleted() {
    let config = sim::Config { continuous: true, ..config("8.9.0", Storage::Rdbms, false) };
    let lab = Lab::with(config, Limits::default());
    let ids = five_backups(&lab).await;
    let mut cluster = locked(&lab.cluster);
    let now = lab.clock.now();
    cluster.advance(now);
    let left: Vec<bool> = ids.iter().map(|id| !cluster.pieces_of(id.get()).is_empty()).collect();
    assert_eq!(left, [false, false, true, true, true]);
}

fn by_rest_alone(mut lab: Lab) -> Lab {
    let addresses = &mut lab.settings.spec.addresses;
    addresses.zeebe = addresses.rest.clone().unwrap();
    addresses.routes.runtime = RuntimeRoute::Rest;
    lab.queue.configure([("orders".to_owned(), lab.settings.clone())].into());
    lab
}

/// From 8.10, without a management port.
#[tokio::test(start_paused = true)]
async fn rest_api_is_sufficient_since_8_10() {
    let lab = by_rest_alone(lab("8.10.0", Storage::OpenSearch, false));
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    assert_eq!(lab.requested("info") + lab.requested("partitions"), 0, "no request to the management port");
    lab.assert_nothing_pending(&run).await;
}

/// The REST API responds 401 and 403 if the credential or its permission is missing.
#[rstest]
#[case("zeebe-post.forbidden@*", "403")]
#[case("pause.unauthorized@*", "401")]
#[tokio::test(start_paused = true)]
async fn missing_permission_is_reported(#[case] fault: &str, #[case] status: &str) {
    let lab = by_rest_alone(lab("8.10.0", Storage::OpenSearch, false).fault(fault));
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::Access), "{}", reason_of(&run));
    assert!(reason_of(&run).contains(status), "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
}

/// Inside the pause the wait for a renewed credential is short; a renewed one is used.
#[rstest]
#[case("history-get.unauthorized@*+2", Some(FailureClass::Access))]
#[case("history-get.unauthorized@5+2", None)]
#[tokio::test(start_paused = true)]
async fn credential_rejected_during_the_pause_ends_it_soon(
    #[case] fault: &str,
    #[case] class: Option<FailureClass>,
) {
    let lab = lab("8.8.0", Storage::OpenSearch, false).fault(fault);
    let run = lab.backup().await;
    assert_eq!(class_of(&run), class, "{}", reason_of(&run));
    let longest = locked(&lab.cluster).pauses.longest;
    assert!(longest < chrono::TimeDelta::seconds(90), "{longest}");
    lab.assert_nothing_pending(&run).await;
}

#[rstest]
#[case("8.6.0")]
#[case("8.9.1")]
#[tokio::test(start_paused = true)]
async fn accepted_request_with_error_response_is_verified(
    #[case] version: &str,
    #[values("zeebe-post.acted-502", "zeebe-post.acted-503", "zeebe-post.acted-504")] fault: &str,
) {
    let lab = lab(version, Storage::OpenSearch, false).fault(fault);
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    assert_eq!(lab.requested("zeebe-post"), 1, "one request");
    lab.assert_nothing_pending(&run).await;
}

#[rstest]
#[case("zeebe-post.scaling", FailureClass::Component, "wait until the partitions are scaled")]
#[case("zeebe-post.missing-partition", FailureClass::Stalled, "incomplete, ")]
#[case("history-post.foreign-backup", FailureClass::Conflict, "Another backup is running")]
#[tokio::test(start_paused = true)]
async fn rejection_text_is_reported_since_8_8(
    #[case] fault: &str,
    #[case] class: FailureClass,
    #[case] sentence: &str,
) {
    let lab = lab("8.9.1", Storage::Elasticsearch, false).fault(fault);
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(class), "{}", reason_of(&run));
    assert!(reason_of(&run).contains(sentence), "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn numbers_as_text_are_numbers(
    #[values("zeebe-get", "zeebe-list", "history-get", "partitions", "topology", "search-get")]
    endpoint: &str,
) {
    let fault = format!("{endpoint}.numbers-as-text@*");
    let lab = lab("8.10.0", Storage::Elasticsearch, true).fault(&fault);
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
}

/// The response with the id is lost: a backup may exist without a known id, which does not stop retention.
#[tokio::test(start_paused = true)]
async fn unknown_assigned_id_is_reported_and_retention_continues() {
    let given = sim::Config { continuous: true, ..config("8.9.0", Storage::Rdbms, false) };
    let lab = Lab::with(given, Limits::default()).fault("zeebe-post.drop-response");
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::Component), "{}", reason_of(&run));
    let pending = run.view.cleanup_unfinished.join("; ");
    assert!(
        pending.starts_with("zeebe may have taken this backup under an id that was never received (1772"),
        "{pending}"
    );
    for _ in 0..5 {
        lab.clock.sleep(Duration::from_mins(2)).await;
        let run = lab.backup().await;
        assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    }
    lab.clock.sleep(Duration::from_mins(2)).await;
    let there = lab.store.backups(BackupFilter { existing: true, ..Default::default() }).await.unwrap();
    let completed = there.iter().filter(|b| b.state == BackupState::Completed).count();
    assert_eq!(completed, 3, "retention does not continue");
}

/// One unclear response right before the pause is retried.
#[tokio::test(start_paused = true)]
async fn one_failed_partitions_request_does_not_fail_the_run() {
    let lab = lab("8.8.0", Storage::OpenSearch, false).fault("partitions.acted-503+1");
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
}

/// A cluster with its own backups lists ids that are not ours. They do not indicate a lost state.
#[tokio::test(start_paused = true)]
async fn rdbms_own_backups_of_the_cluster_do_not_stop_retention() {
    let scheduler = Some(Duration::from_secs(50));
    let config = sim::Config { continuous: true, scheduler, ..config("8.9.0", Storage::Rdbms, false) };
    // Our backup takes so long that the cluster's next own backup has a higher id when retention runs.
    let lab = Lab::with(config, Limits::default()).fault("zeebe-post.stall=70s@*");
    let ids = five_backups(&lab).await;
    let mut cluster = locked(&lab.cluster);
    let now = lab.clock.now();
    cluster.advance(now);
    assert!(cluster.backups.len() > 5, "the cluster took no backups of its own");
    let left: Vec<bool> = ids.iter().map(|id| !cluster.pieces_of(id.get()).is_empty()).collect();
    assert_eq!(left, [false, false, true, true, true]);
}

/// A gateway among `brokers` has no partitions; the others show all there are.
#[rstest]
#[case::nobody_else("", None)]
#[case::paused_by_others_meanwhile("operate-post.foreign-pause=0s", Some(FailureClass::PauseBroken))]
#[tokio::test(start_paused = true)]
async fn gateway_among_brokers_does_not_hide_partitions(
    #[case] fault: &str,
    #[case] class: Option<FailureClass>,
) {
    let mut lab = lab("8.6.0", Storage::OpenSearch, false);
    let addresses = &mut lab.settings.spec.addresses;
    addresses.brokers = vec![addresses.zeebe.clone(), addresses.rest.clone().unwrap()];
    lab.queue.configure([("orders".to_owned(), lab.settings.clone())].into());
    if !fault.is_empty() {
        locked(&lab.cluster).arm(fault).unwrap();
    }
    let run = lab.backup().await;
    assert_eq!(class_of(&run), class, "{}", reason_of(&run));
    if class.is_some() {
        assert_eq!(lab.requested("pause") + lab.requested("resume"), 0, "the foreign pause is unchanged");
    } else {
        lab.assert_nothing_pending(&run).await;
    }
}

/// Stopped between the request and its response: the possible backup is recorded and reported.
#[tokio::test(start_paused = true)]
async fn unreceived_assigned_id_is_reported() {
    let config = sim::Config { continuous: true, ..config("8.10.0", Storage::Rdbms, false) };
    let lab = Lab::with(config, Limits::default()).fault("zeebe-post.delay=5s");
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    while lab.requested("zeebe-post") == 0 {
        lab.clock.sleep(Duration::from_millis(5)).await;
    }
    assert!(lab.queue.stop("orders", FailureClass::Cancelled, "cancelled by an operator"));
    let run = lab.ended(run_id).await;
    assert_eq!(class_of(&run), Some(FailureClass::Cancelled), "{}", reason_of(&run));
    let reported = run.view.cleanup_unfinished.join(" ");
    assert!(reported.contains("under an id that was never received"), "{reported}");
}
