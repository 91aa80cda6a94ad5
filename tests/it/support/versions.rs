//! The support table in docs/support.md, generated from backups of simulated clusters and from
//! `tests/data/observed_on_real_clusters.tsv`.
//!
//! `SUPPORT_TABLE=write cargo test --test it support::versions` updates it.

use camunda_backupd::backup::prepare::prepare;
use camunda_backupd::camunda::Saas;
use camunda_backupd::clock::Clock;
use camunda_backupd::config::Environment;
use camunda_backupd::domain::{Component, Limits};
use camunda_backupd::journal::RunStatus;
use camunda_backupd::sim::{self, Storage, locked};
use harness::lab::Lab;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

const VERSIONS: [&str; 10] =
    ["8.2.4", "8.3.9", "8.4.6", "8.4.7", "8.5.8", "8.6.0", "8.7.3", "8.8.0", "8.9.1", "8.10.0"];
const STORAGES: [(Storage, &str); 3] = [
    (Storage::Elasticsearch, "elasticsearch"),
    (Storage::OpenSearch, "opensearch"),
    (Storage::Rdbms, "rdbms"),
];

/// One backup of each kind of cluster, restored: the components it was made of, or why there is none.
async fn taken(version: &str, storage: Storage, optimize: bool) -> Result<Vec<String>, String> {
    let rdbms = storage == Storage::Rdbms;
    let config = sim::Config {
        version: version.parse().unwrap(),
        storage,
        optimize,
        continuous: rdbms,
        ..sim::Config::named("orders")
    };
    config.check()?;
    if rdbms && optimize {
        return Err("Optimize beside a relational database".to_owned());
    }
    let lab = Lab::with(config, Limits::default());
    if let Err(error) = prepare(&lab.context, "orders", &lab.settings.spec).await {
        return Err(error.reason);
    }
    if rdbms {
        // The operator backs up the database between two of our backups.
        lab.backup().await;
        locked(&lab.cluster).backup_database();
        lab.clock.sleep(Duration::from_secs(20)).await;
    }
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{version}: {:?}", run.view.reason());
    lab.assert_nothing_pending(&run).await;
    Ok(run.view.components.keys().map(|component| component.name().to_owned()).collect())
}

/// The same for a Camunda 8 SaaS cluster, restored through the API.
async fn taken_by_saas() -> Vec<String> {
    let lab =
        Lab::with(sim::Config { storage: Storage::Saas, ..sim::Config::named("orders") }, Limits::default());
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{:?}", run.view.reason());
    lab.assert_nothing_pending(&run).await;
    let address = lab.settings.spec.addresses.saas.as_ref().unwrap();
    let saas = Saas::new(address, lab.context.transport.clone());
    let uuid = &run.view.components[&Component::Saas].names[0];
    saas.restore(uuid).await.unwrap();
    lab.clock.sleep(Duration::from_mins(2)).await;
    assert_eq!(saas.restore_state(uuid).await.unwrap().state, "COMPLETED");
    run.view.components.keys().map(|component| component.name().to_owned()).collect()
}

/// Observation on a real cluster with this version and storage.
fn observed(version: &str, storage: &str) -> Option<(String, String)> {
    let lines = include_str!("../../data/observed_on_real_clusters.tsv")
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>());
    let mut fits = lines.filter(|line| line[0] == version && line[1] == storage);
    fits.next().map(|line| (line[2].replace(' ', ", "), line[4].to_owned()))
}

#[tokio::test(start_paused = true)]
async fn support_table_matches_tests() {
    let mut table = String::from(
        "| Camunda | storage | Optimize | parts of a backup | evidence |\n|---|---|---|---|---|\n",
    );
    for version in VERSIONS {
        for (storage, name) in STORAGES {
            for optimize in [false, true] {
                let with = if optimize { "yes" } else { "no" };
                let (parts, shown) = match taken(version, storage, optimize).await {
                    Ok(parts) => (parts.join(", "), "tested with the simulation, restored whole".to_owned()),
                    Err(_)
                        if storage == Storage::Rdbms
                            && !version.starts_with("8.9")
                            && !version.starts_with("8.10") =>
                    {
                        continue;
                    }
                    Err(why) => ("-".to_owned(), format!("not supported: {why}")),
                };
                let shown = match observed(version, name) {
                    Some((parts, until)) if !optimize => {
                        format!("**observed on a real cluster** ({parts}; until {until}); {shown}")
                    }
                    _ => shown,
                };
                writeln!(table, "| {version} | {name} | {with} | {parts} | {shown} |").unwrap();
            }
        }
    }
    let parts = taken_by_saas().await.join(", ");
    let shown = "tested with the simulation, restored through the API";
    writeln!(table, "| 8.2.4 and later | Camunda 8 SaaS | any | {parts} | {shown} |").unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/support.md");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let (head, rest) =
        text.split_once("<!-- clusters -->\n").expect("docs/support.md has no start of the table");
    let (old, tail) = rest.split_once("<!-- end -->").expect("docs/support.md has no end of the table");
    if std::env::var("SUPPORT_TABLE").as_deref() == Ok("write") {
        std::fs::write(&file, format!("{head}<!-- clusters -->\n{table}<!-- end -->{tail}")).unwrap();
        return;
    }
    assert_eq!(old, table, "run SUPPORT_TABLE=write cargo test --test it support::versions");
}

/// `sim` prints a valid config for each cluster.
#[test]
fn config_printed_by_sim_is_valid() {
    for version in VERSIONS {
        for (storage, name) in STORAGES.into_iter().chain([(Storage::Saas, "saas")]) {
            let config =
                sim::Config { version: version.parse().unwrap(), storage, ..sim::Config::named("orders") };
            if config.check().is_err() {
                continue;
            }
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("config.toml");
            let state = directory.path().join("state");
            let table = config.daemon_table("http://127.0.0.1:9700");
            let text = format!(
                "{table}[schedules.daily]\nclusters = [\"orders\"]\ndaily = \"02:00\"\n[daemon]\nstate_dir = \"{}\"\n",
                state.display()
            );
            std::fs::write(&file, &text).unwrap();
            let environment = Environment::from_process("2026-11-23T06:00:00Z".parse().unwrap());
            let loaded = camunda_backupd::config::load(&file, &environment);
            let loaded = loaded.unwrap_or_else(|why| panic!("{version} {name}: {why:?}\n{text}"));
            let addresses = &loaded.config.clusters["orders"].addresses;
            assert_eq!(
                addresses.search.is_none(),
                matches!(storage, Storage::Rdbms | Storage::Saas),
                "{text}"
            );
            assert_eq!(addresses.saas.is_some(), storage == Storage::Saas, "{text}");
        }
    }
}
