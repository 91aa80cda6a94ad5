//! Each family of Camunda from a run's beginning to a restore, through the engine that the daemon uses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "harness/lab.rs"]
mod lab;

use camunda_backupd::clock::Clock;
use camunda_backupd::domain::{Component, Family, Limits, PauseMode};
use camunda_backupd::journal::{FailureClass, RunStatus};
use camunda_backupd::sim::{self, Storage, locked};
use lab::{Lab, class_of, reason_of};
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
    lab.nothing_owed(&run).await;
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

/// The order of the other family, on the same clusters and under the same load, is shown to lose in
/// `tests/sim_families.rs`; here it is shown that the daemon takes each its own.
#[rstest]
#[case("8.7.3", false)]
#[case("8.8.0", true)]
#[tokio::test(start_paused = true)]
async fn the_pause_is_where_the_version_wants_it(#[case] version: &str, #[case] first: bool) {
    let lab = lab(version, Storage::OpenSearch, true);
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    let paused = run.view.pause.intended_at.unwrap();
    let asked = run.view.components[&Component::Optimize].asked_at.unwrap();
    assert_eq!(paused < asked, first, "paused at {paused}, Optimize asked at {asked}");
}

#[rstest]
#[case("history-post.drop-answer", None)]
#[case("history-post.drop-request", Some(FailureClass::Component))]
#[case("history.stall", Some(FailureClass::Stalled))]
#[case("history-post.unassigned", Some(FailureClass::Stalled))]
#[case("history-get.search-down=3s", None)]
#[case("zeebe-post.drop-answer", None)]
#[case("zeebe-post.conflict", Some(FailureClass::Conflict))]
#[case("zeebe-post.stranger-resume=0s", Some(FailureClass::PauseBroken))]
#[case("pause.act-late=40s", Some(FailureClass::PauseBroken))]
#[tokio::test(start_paused = true)]
async fn from_8_8_whatever_happens_exporting_runs_afterwards(
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
    lab.nothing_owed(&run).await;
}

/// Retention over the common history: the oldest goes from every place.
#[tokio::test(start_paused = true)]
async fn from_8_8_old_backups_are_deleted_everywhere() {
    let lab = lab("8.8.0", Storage::Elasticsearch, true);
    let mut ids = Vec::new();
    for _ in 0..5 {
        let run = lab.backup().await;
        assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
        ids.push(run.backup_id);
        lab.clock.sleep(Duration::from_mins(2)).await;
    }
    let mut cluster = locked(&lab.cluster);
    let now = lab.clock.now();
    cluster.advance(now);
    for (index, id) in ids.iter().enumerate() {
        let pieces = cluster.pieces_of(id.get()).len();
        assert_eq!(pieces > 0, index >= 2, "backup {index} has {pieces} pieces");
    }
}

/// A long part is no stall where the pause is around it, as long as the pause budget allows it.
#[tokio::test(start_paused = true)]
async fn from_8_8_a_web_app_that_takes_too_long_is_ended_by_the_pause_budget() {
    let limits = Limits { pause_budget: Duration::from_mins(10), ..Limits::default() };
    let timing = sim::Timing { part: Duration::from_mins(20), ..sim::Timing::default() };
    let lab = Lab::with(sim::Config { timing, ..config("8.9.1", Storage::OpenSearch, false) }, limits);
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::PauseBudget), "{}", reason_of(&run));
    let longest = locked(&lab.cluster).pauses.longest;
    assert!(longest < chrono::TimeDelta::seconds(605), "{longest}");
    lab.nothing_owed(&run).await;
}
