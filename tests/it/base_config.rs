//! Fixture of the config tests: one cluster, one schedule and the environment.

use camunda_backupd::config::diagnostic::Diagnostic;
use camunda_backupd::config::{self, Config, Environment};
use std::fs;
use std::path::Path;

/// Text of `@orders` in a test config.
pub(crate) const ORDERS: &str = "[clusters.orders.self_managed]
zeebe = 'http://h:9600'
search = { url = 'http://h:9200', repository = 'camunda' }
";
/// Text of `@daily` in a test config.
pub(crate) const DAILY: &str = "[schedules.daily]
clusters = ['orders']
daily = '02:00'
";

pub(crate) fn environment() -> Environment {
    Environment {
        state_directory: None,
        runtime_directory: Some("/run/elsewhere".into()),
        credentials_directory: None,
        hostname: "host-1".into(),
        now: "2026-11-23T12:00:00Z".parse().unwrap(),
    }
}

/// A directory with `text` as its config, and the expanded text.
pub(crate) fn written(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let text = text.replace("@orders\n", ORDERS).replace("@daily\n", DAILY);
    fs::write(dir.path().join("config.toml"), &text).unwrap();
    (dir, text)
}

/// All diagnostics of a config, including the warnings of a valid one.
pub(crate) fn diagnostics(path: &Path) -> Vec<Diagnostic> {
    match config::load(path, &environment()) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    }
}

/// Loads a valid config.
pub(crate) fn load(path: &Path) -> Config {
    match config::load(path, &environment()) {
        Ok(loaded) => loaded.config,
        Err(found) => panic!("{}", config::diagnostic::render(&found, false)),
    }
}

/// Loads a valid config from its text.
pub(crate) fn load_text(text: &str) -> Config {
    let (dir, _) = written(text);
    load(&dir.path().join("config.toml"))
}
