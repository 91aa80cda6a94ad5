//! Generated config files: each loads or is rejected with positions; validation never panics.

use crate::base_config::{diagnostics, environment, written};
use camunda_backupd::config;
use harness::corpus;
use proptest::prelude::*;
use std::path::Path;

/// Valid files, by name.
fn good() -> Vec<(String, String)> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/config.toml");
    let files = corpus::files("config/good").into_iter().chain([example]);
    files.map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap())).collect()
}

/// Every file of the corpus has the expected result.
#[test]
fn corpus_files_load_or_are_rejected_with_positions() {
    for (name, text) in good() {
        let (dir, _) = written(&text);
        if let Err(found) = config::load(&dir.path().join("config.toml"), &environment()) {
            panic!("{name}: {found:?}");
        }
    }
    for path in corpus::files("config/bad") {
        let (dir, _) = written(&std::fs::read_to_string(&path).unwrap());
        let refused = config::load(&dir.path().join("config.toml"), &environment());
        let Err(found) = refused else { panic!("{} loads", path.display()) };
        assert!(!found.is_empty(), "{}", path.display());
        for one in found {
            assert!(!one.message.is_empty() && (!one.labels.is_empty() || one.file.is_some()), "{one:?}");
            let shown = one.render(false);
            assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        }
    }
}

proptest! {
    #![proptest_config(corpus::cases(300, "tests/data/corpus/regressions/config.txt"))]

    /// Any edit of a valid file gives a config, or diagnostics with valid positions.
    #[test]
    fn edited_files_load_or_are_rejected_with_positions(
        (_, text) in prop::sample::select(good()),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..12_usize, "[a-zß=\\[\\]{}.,'\"#\n 0-9:@/*-]{0,6}"), 1..6)
    ) {
        let mut text = text;
        for (location, removed, typed) in edits {
            let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let first = location.index(boundaries.len());
            let last = (first + removed).min(boundaries.len() - 1);
            text.replace_range(boundaries[first]..boundaries[last], &typed);
        }
        let (dir, _) = written(&text);
        let found = diagnostics(&dir.path().join("config.toml"));
        prop_assert!(found.iter().all(|d| !d.message.is_empty() && (!d.labels.is_empty() || d.file.is_some())));
        prop_assert!(found.iter().all(|d| !d.render(true).is_empty()));
    }

    /// Any value of any setting is accepted, or rejected with a valid position in the file.
    #[test]
    fn any_value_is_accepted_or_rejected_with_position(
        table in prop::sample::select(&TABLES[..]),
        settings in proptest::collection::vec((prop::sample::select(&KEYS[..]), any_value()), 1..4),
    ) {
        let settings: Vec<String> = settings.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        let (dir, text) = written(&format!("@orders\n@daily\n[{table}]\n{}\n", settings.join("\n")));
        let file = dir.path().join("config.toml");
        for found in diagnostics(&file) {
            prop_assert!(!found.message.is_empty() && !found.render(true).is_empty());
            prop_assert!(!found.labels.is_empty() || found.file.is_some(), "{}", found.message);
            for label in found.labels {
                prop_assert_eq!(&label.file, &file);
                prop_assert!((1..=text.lines().count() + 1).contains(&label.line), "line {}", label.line);
            }
        }
    }
}

const TABLES: [&str; 13] = [
    "daemon",
    "http",
    "log",
    "defaults",
    "defaults.keep",
    "notify",
    "schedules.e",
    "schedules.e.keep",
    "clusters.pay",
    "clusters.pay.self_managed",
    "clusters.pay.saas",
    "clusters.pay.self_managed.search",
    "clusters.pay.manual",
];

const KEYS: [&str; 42] = [
    "state_dir",
    "runtime_dir",
    "credentials_dir",
    "max_parallel_runs",
    "shutdown_grace",
    "instance",
    "listen",
    "public_hosts",
    "level",
    "format",
    "clusters",
    "cron",
    "daily",
    "weekly",
    "timezone",
    "keep",
    "catch_up",
    "start_within",
    "spread",
    "enabled",
    "zeebe",
    "operate",
    "tasklist",
    "optimize",
    "rest",
    "brokers",
    "search",
    "storage",
    "version",
    "url",
    "repository",
    "webapps_repository",
    "records",
    "cluster_id",
    "client_id",
    "successful",
    "failed",
    "min_interval",
    "pause_budget",
    "run_deadline",
    "stall_after",
    "\"\"",
];

const VALUES: [&str; 22] = [
    "'orders'",
    "['orders']",
    "['*']",
    "'02:00'",
    "'0 3 * * *'",
    "'sunday 03:30'",
    "'Europe/Berlin'",
    "'1h'",
    "'99999999999999999999d'",
    "'http://h:9600'",
    "'http://[::1'",
    "'unix:/run/x'",
    "'127.0.0.1:0'",
    "{}",
    "{ successful = 3, failed = -1 }",
    "[[1], ['x']]",
    "2026-11-23T05:59:36Z",
    "'''",
    "nan",
    "'\u{202e}'",
    "{ file = 'token' }",
    "{ env = 'HOME' }",
];

/// TOML values of any kind, valid or invalid.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (0..20_i64).prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        any::<bool>().prop_map(|truth| truth.to_string()),
        prop::sample::select(&VALUES[..]).prop_map(str::to_owned),
        "[a-z0-9:/*ß. -]{0,30}".prop_map(|text| format!("\"{text}\"")),
        "[ -~]{0,20}",
    ]
}
