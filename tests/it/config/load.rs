//! Valid configs: defaults, the example, several files, upcoming occurrences.

use crate::base_config::{ORDERS, environment, load, load_text};
use camunda_backupd::config::upcoming::occurrences;
use camunda_backupd::config::{self, CatchUp, Environment, Listen, Manual};
use camunda_backupd::domain::{Keep, Limits};
use camunda_backupd::logging::LogFormat;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[test]
fn example_config_loads_without_a_warning() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/config.toml");
    let loaded = config::load(&path, &environment()).unwrap();
    assert_eq!(loaded.warnings, vec![]);
    assert_eq!(loaded.config.schedules.len(), 3);
    assert_eq!(loaded.config.schedules["quarter"].clusters, ["orders"]);
    assert!(fs::read_to_string(path).unwrap().starts_with("#:schema ./config.schema.json\n"));
}

#[test]
fn comments_of_the_example_config_match_the_defaults() {
    let mut example = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/config.toml"));
    let mut bare = load_text(ORDERS);
    assert_eq!(example.daemon, bare.daemon);
    assert_eq!(example.http, bare.http);
    assert_eq!(example.log, bare.log);
    let (example, bare) =
        (example.clusters.remove("orders").unwrap(), bare.clusters.remove("orders").unwrap());
    assert_eq!((example.limits, example.manual), (bare.limits, bare.manual));
    assert_eq!((example.probe_interval, example.version), (bare.probe_interval, bare.version));
}

#[test]
fn schema_file_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/config.schema.json");
    let text = config::schema::text();
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let file = fs::read_to_string(&path).unwrap();
    assert!(
        file == text,
        "{} is old: run `UPDATE_SCHEMA=1 cargo test --test it schema_file_is_current`",
        path.display()
    );
}

#[test]
fn omitted_keys_have_documented_defaults() {
    let slash = ORDERS.replace("'http://h:9600'", "'http://h:9600/'");
    let config = load_text(&format!("{slash}[schedules.d]\nclusters = ['*']\ndaily = '02:00'\n"));
    assert_eq!(config.daemon.state_dir, PathBuf::from("./state"));
    assert_eq!(config.daemon.runtime_dir, PathBuf::from("/run/elsewhere"));
    assert_eq!(config.daemon.credentials_dir, None);
    assert_eq!((config.daemon.max_parallel_runs, config.daemon.instance.as_str()), (64, "host-1"));
    assert_eq!(config.daemon.shutdown_grace, Duration::from_secs(90));
    assert_eq!(config.http.listen, Listen::Tcp("127.0.0.1:9610".parse().unwrap()));
    assert_eq!((config.log.level.as_str(), config.log.format), ("info", LogFormat::Auto));

    let cluster = &config.clusters["orders"];
    assert_eq!(cluster.addresses.zeebe, "http://h:9600");
    assert_eq!(cluster.addresses.operate, None);
    let search = cluster.addresses.search.as_ref().unwrap();
    assert_eq!((search.url.as_str(), search.webapps_repository.as_str()), ("http://h:9200", "camunda"));
    assert_eq!(search.records.as_deref(), Some("zeebe-record*"));
    assert_eq!((cluster.limits, cluster.manual), (Limits::default(), Manual::default()));
    assert_eq!((&cluster.version, cluster.probe_interval), (&None, Duration::from_mins(5)));

    let schedule = &config.schedules["d"];
    assert_eq!((schedule.keep, schedule.catch_up, schedule.enabled), (Keep::default(), CatchUp::Once, true));
    assert_eq!((schedule.start_within, schedule.spread), (Duration::from_hours(6), Duration::ZERO));
    assert_eq!(schedule.timezone, chrono_tz::Tz::UTC);
}

#[test]
fn directories_come_from_file_then_systemd_then_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    fs::write(&path, ORDERS).unwrap();
    let systemd =
        Environment { state_directory: Some("/var/lib/x".into()), runtime_directory: None, ..environment() };
    let daemon = config::load(&path, &systemd).unwrap().config.daemon;
    assert_eq!(
        (daemon.state_dir.to_str(), daemon.runtime_dir.to_str()),
        (Some("/var/lib/x"), Some("/var/lib/x"))
    );
    fs::write(&path, format!("[daemon]\nstate_dir = 's'\nruntime_dir = 'r'\n{ORDERS}")).unwrap();
    let daemon = config::load(&path, &systemd).unwrap().config.daemon;
    assert_eq!((daemon.state_dir.to_str(), daemon.runtime_dir.to_str()), (Some("s"), Some("r")));
    let sockets = daemon.control_sockets();
    assert_eq!(
        sockets,
        ["r/control.sock", "/run/camunda-backupd/control.sock", "s/control.sock"].map(PathBuf::from)
    );
}

#[test]
fn clusters_and_schedules_override_defaults() {
    let config = load_text(&format!(
        "[defaults]
timezone = 'Europe/Berlin'
keep = {{ successful = 5 }}
catch_up = 'skip'
probe_interval = '1m'
manual = {{ keep = 7, min_interval = '0s' }}
{ORDERS}
[clusters.orders]
manual = {{ failed = 1 }}
[clusters.orders.limits]
run_deadline = '20m'
[schedules.a]
clusters = ['orders']
weekly = 'Mon 04:00'
[schedules.b]
clusters = ['orders']
cron = '0 2 * * *'
timezone = 'UTC'
keep = {{ failed = 9 }}
catch_up = 'once'
spread = '10m'
"
    ));
    let (a, b) = (&config.schedules["a"], &config.schedules["b"]);
    assert_eq!((a.timezone, b.timezone), (chrono_tz::Europe::Berlin, chrono_tz::Tz::UTC));
    assert_eq!((a.keep, b.keep), (Keep { successful: 5, failed: 3 }, Keep { successful: 5, failed: 9 }));
    assert_eq!((a.catch_up, b.catch_up), (CatchUp::Skip, CatchUp::Once));
    assert_eq!(b.spread, Duration::from_mins(10));
    let orders = &config.clusters["orders"];
    assert_eq!(orders.manual, Manual { keep: 7, failed: 1, min_interval: Duration::ZERO });
    assert_eq!(orders.probe_interval, Duration::from_mins(1));
    // Defaults are limited by the configured run_deadline.
    let minutes = |n| Duration::from_mins(n);
    let limits = Limits {
        run_deadline: minutes(20),
        pause_budget: minutes(20),
        stall_after: minutes(15),
        min_free_disk: None,
    };
    assert_eq!(orders.limits, limits);
}

#[test]
fn times_key_changes_only_with_the_due_times() {
    let key = |lines: &str| {
        let text = format!("{ORDERS}[schedules.d]\nclusters = ['*']\n{lines}\n");
        load_text(&text).schedules["d"].times_key.clone()
    };
    let daily = key("daily = '02:00'");
    assert_eq!(daily, "0 0 2 * * * UTC");
    assert_eq!(daily, key("cron = '0   2 * * *'\nkeep = { successful = 9 }\nenabled = false"));
    assert_ne!(daily, key("daily = '02:01'"));
    assert_ne!(daily, key("daily = '02:00'\ntimezone = 'Europe/Berlin'"));
}

#[test]
fn conf_d_files_are_merged_in_name_order() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("config.toml");
    fs::create_dir(dir.path().join("conf.d")).unwrap();
    fs::write(&main, ORDERS).unwrap();
    let more = |name: &str, text: &str| fs::write(dir.path().join("conf.d").join(name), text).unwrap();
    more("20-b.toml", "[schedules.b]\nclusters = ['*']\ndaily = '03:00'\n");
    more("10-a.toml", "[schedules.a]\nclusters = ['orders']\ndaily = '02:00'\n[log]\nlevel = 'debug'\n");
    more("readme.txt", "not = a config");
    more(".hidden.toml", "not = a config");
    let config = load(&main);
    let names: Vec<_> =
        config.sources.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["config.toml", "10-a.toml", "20-b.toml"]);
    assert_eq!(config.schedules.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(config.log.level, "debug");
    assert_eq!(load(dir.path()), config);
}

#[test]
fn upcoming_occurrences_are_in_time_order_with_local_time() {
    let config = load_text(
        "[clusters.a.self_managed]
zeebe = 'http://a:9600'
search = { url = 'http://h:9200', repository = 'camunda' }
[clusters.b.self_managed]
zeebe = 'http://b:9600'
search = { url = 'http://h:9200', repository = 'camunda' }
[schedules.nightly]
clusters = ['*']
daily = '02:00'
timezone = 'Europe/Berlin'
[schedules.noon]
clusters = ['b']
daily = '12:00'
[schedules.off]
clusters = ['b']
daily = '12:00'
enabled = false
",
    );
    let from = "2026-10-24T11:00:00Z".parse().unwrap();
    let lines = |schedule, count| {
        let due = occurrences(&config, schedule, from, count);
        let line = |one: camunda_backupd::config::upcoming::Upcoming| {
            format!("{} {} {} = {}", one.due_at.format("%FT%TZ"), one.schedule, one.cluster, one.local)
        };
        due.into_iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(
        lines(None, 5),
        [
            "2026-10-24T12:00:00Z noon b = 2026-10-24 12:00:00 +00:00",
            "2026-10-25T00:00:00Z nightly a = 2026-10-25 02:00:00 +02:00",
            "2026-10-25T00:00:00Z nightly b = 2026-10-25 02:00:00 +02:00",
            "2026-10-25T12:00:00Z noon b = 2026-10-25 12:00:00 +00:00",
            "2026-10-26T01:00:00Z nightly a = 2026-10-26 02:00:00 +01:00",
        ]
    );
    assert_eq!(lines(Some("off"), 1), ["2026-10-24T12:00:00Z off b = 2026-10-24 12:00:00 +00:00"]);
    assert_eq!(lines(Some("nobody"), 3), [""; 0]);
    let json = serde_json::to_value(occurrences(&config, Some("noon"), from, 1)).unwrap();
    assert_eq!(json[0]["due_at"], "2026-10-24T12:00:00Z");
}
