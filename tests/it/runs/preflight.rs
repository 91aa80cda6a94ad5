//! `check --online` against the simulated cluster: each problem has its own error text.

use camunda_backupd::clock::Clock;
use camunda_backupd::domain::Limits;
use camunda_backupd::pause::forecast::Forecast;
use camunda_backupd::preflight::{Check, preflight};
use camunda_backupd::sim::{self, locked};
use harness::lab::Lab;
use rstest::rstest;
use std::time::Duration;

async fn probe(lab: &Lab, is_pending: Option<bool>) -> Vec<Check> {
    let forecast = Forecast::of(&*lab.store, "orders", lab.clock.now()).await;
    preflight(&lab.context.transport, &*lab.context.clock, &lab.settings.spec, is_pending, &forecast).await
}

fn failed(checks: &[Check]) -> Vec<(&str, String)> {
    checks.iter().filter(|c| !c.ok).map(|c| (c.check, c.detail.clone())).collect()
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn healthy_cluster_passes_every_check(
    #[values(sim::Storage::OpenSearch, sim::Storage::Elasticsearch)] storage: sim::Storage,
    #[values(true, false)] optimize: bool,
) {
    let lab = Lab::with(sim::Config { storage, optimize, ..sim::Config::named("orders") }, Limits::default());
    let checks = probe(&lab, Some(false)).await;
    assert_eq!(failed(&checks), []);
    let requested: Vec<&str> = checks.iter().map(|c| c.check).collect();
    for check in
        ["zeebe", "topology", "exporting", "clock", "backup_store", "repository", "records", "indices", "ids"]
    {
        assert!(requested.contains(&check), "{requested:?}");
    }
    assert_eq!(
        (lab.requested("pause"), lab.requested("operate-post"), lab.requested("zeebe-post")),
        (0, 0, 0)
    );
}

#[rstest]
#[case(
    "now.store-none",
    "backup_store",
    "No backup store is configured",
    "configure a backup store on every broker"
)]
#[case("now.store-down", "backup_store", "returned 500", "whether they reach their backup store")]
#[case("tasklist.refuse@*", "tasklist", "cannot connect to tasklist at", "start it, or correct its address")]
#[case("operate.not-json@*", "operate", "operate responded to", "`operate` of this cluster in the config")]
#[case("now.search-down=1h", "search", "cannot connect to search at", "start it, or correct its address")]
#[case("zeebe.refuse@*", "backup_store", "cannot connect to zeebe at", "start it, or correct its address")]
#[case(
    "partitions.no-leader=1h",
    "exporting",
    "no leader of partition 1 was seen",
    "list every broker's management URL"
)]
#[case("now.clock=-10m", "clock", "are 600 s apart", "NTP")]
#[case(
    "now.change=1h",
    "change",
    "change 2 (BROKER_ADD, PARTITION_JOIN, PARTITION_LEAVE)",
    "wait for its end"
)]
#[case("now.stop-processing=1h", "processing", "partition 1 processes nothing (PAUSED)", "disk is full")]
#[tokio::test(start_paused = true)]
async fn each_failure_has_its_sentence_and_its_remedy(
    #[case] fault: &str,
    #[case] check: &str,
    #[case] sentence: &str,
    #[case] remedy: &str,
) {
    let lab = Lab::new().fault(fault);
    let checks = probe(&lab, Some(false)).await;
    let found = checks.iter().find(|c| c.check == check && !c.ok);
    let found = found.unwrap_or_else(|| panic!("{check} did not fail: {checks:#?}"));
    assert!(found.detail.contains(sentence), "{}", found.detail);
    assert!(found.help.as_ref().unwrap().contains(remedy), "{:?}", found.help);
}

#[rstest]
#[case(Some(true), "exporting is paused by us")]
#[case(Some(false), "exporting is paused by someone else")]
#[case(None, "not known by whom")]
#[tokio::test(start_paused = true)]
async fn pause_check_names_the_owner_if_known(#[case] is_pending: Option<bool>, #[case] sentence: &str) {
    let lab = Lab::new();
    locked(&lab.cluster).pause(true);
    let checks = probe(&lab, is_pending).await;
    let failed = failed(&checks);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].1.contains(sentence), "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn foreign_backup_is_detected() {
    let lab = Lab::new().fault("search-put.stall");
    lab.queue.manual("orders", None).await.unwrap();
    while lab.requested("search-put") == 0 {
        lab.clock.sleep(Duration::from_millis(5)).await;
    }
    let checks = probe(&lab, Some(false)).await;
    let failed = failed(&checks);
    assert!(
        failed
            .iter()
            .any(|(check, detail)| *check == "snapshots" && detail.contains("camunda_zeebe_records_backup_")),
        "{failed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn unregistered_repository_is_named() {
    let mut lab = Lab::new();
    let search = lab.settings.spec.addresses.search.as_mut().unwrap();
    search.repository = "elsewhere".into();
    let checks = probe(&lab, Some(false)).await;
    assert_eq!(
        failed(&checks),
        [(
            "repository",
            "the snapshot repository elsewhere is not registered in the search engine".to_owned()
        )]
    );
}

fn hosted() -> Lab {
    Lab::with(sim::Config { storage: sim::Storage::Saas, ..sim::Config::named("orders") }, Limits::default())
}

#[tokio::test(start_paused = true)]
async fn saas_cluster_is_checked_through_the_administration_api() {
    let lab = hosted();
    let reported = |checks: Vec<Check>| {
        checks.into_iter().map(|c| format!("{} {}: {}", c.ok, c.check, c.detail)).collect()
    };
    let lines: Vec<String> = reported(probe(&lab, Some(false)).await);
    assert_eq!(
        lines,
        [
            "true saas: cluster orders runs Camunda 8.6.0+gen1 and is Healthy",
            "true backups: 0 backups are listed; Camunda 8 SaaS keeps 3 and takes one in 15m",
            "true provider_schedule: Camunda 8 SaaS takes no backups by its own schedule",
        ]
    );
    lab.backup().await;
    locked(&lab.cluster).saas.schedule = Some("0 2 * * *".into());
    let lines: Vec<String> = reported(probe(&lab, Some(false)).await);
    assert_eq!(
        lines[1..],
        [
            "true backups: 1 backups are listed; Camunda 8 SaaS keeps 3 and takes one in 15m: the next can start from 2026-03-01T12:15:00.035Z",
            "true provider_schedule: Camunda 8 SaaS takes backups by its own schedule nightly as well: `0 2 * * *` in UTC; keep ours apart from it",
        ]
    );
}

#[rstest]
#[case("now.suspend", "saas", "Camunda 8 SaaS reports the state Suspended", "see Console")]
#[case(
    "saas-list.foreign-backup",
    "backups",
    "Camunda 8 SaaS is taking backup scheduled (",
    "wait for its end"
)]
#[case("saas-cluster.unauthorized", "saas", "saas returned 401 to GET", "stand under `saas` of this cluster")]
#[case("saas-cluster.refuse", "saas", "cannot connect to saas at", "let this machine connect to it: `api`")]
#[case("saas-list.not-json", "backups", "saas responded to GET", "`api`, `cluster_id` and the client")]
#[tokio::test(start_paused = true)]
async fn saas_problem_has_its_sentence_and_its_remedy(
    #[case] fault: &str,
    #[case] check: &str,
    #[case] sentence: &str,
    #[case] remedy: &str,
) {
    let lab = hosted().fault(fault);
    let checks = probe(&lab, Some(false)).await;
    let found = checks.iter().find(|c| c.check == check && !c.ok);
    let found = found.unwrap_or_else(|| panic!("{check} did not fail: {checks:#?}"));
    assert!(found.detail.contains(sentence), "{}", found.detail);
    assert!(found.help.as_ref().unwrap().contains(remedy), "{:?}", found.help);
}
