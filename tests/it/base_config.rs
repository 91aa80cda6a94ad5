//! The one cluster and the one schedule that stories of configs begin with, and the environment they are read in.

use camunda_backupd::config::diagnostic::Diagnostic;
use camunda_backupd::config::{self, Config, Environment};
use std::fs;
use std::path::Path;

/// What `@orders` stands for in a story.
pub const ORDERS: &str = "[clusters.orders.self_managed]
zeebe = 'http://h:9600'
search = { url = 'http://h:9200', repository = 'camunda' }
";
/// What `@daily` stands for.
pub const DAILY: &str = "[schedules.daily]
clusters = ['orders']
daily = '02:00'
";

pub fn environment() -> Environment {
    Environment {
        state_directory: None,
        runtime_directory: Some("/run/elsewhere".into()),
        credentials_directory: None,
        hostname: "host-1".into(),
        now: "2026-11-23T12:00:00Z".parse().unwrap(),
    }
}

/// A directory with this as its config, and the text that it has become.
pub fn written(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let text = text.replace("@orders\n", ORDERS).replace("@daily\n", DAILY);
    fs::write(dir.path().join("config.toml"), &text).unwrap();
    (dir, text)
}

/// Everything said about a path, warnings of a config that loads included.
pub fn said(path: &Path) -> Vec<Diagnostic> {
    match config::load(path, &environment()) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    }
}

/// The config at a path, which loads.
pub fn load(path: &Path) -> Config {
    match config::load(path, &environment()) {
        Ok(loaded) => loaded.config,
        Err(found) => panic!("{}", config::diagnostic::render(&found, false)),
    }
}

/// This text as a config, which loads.
pub fn load_text(text: &str) -> Config {
    let (dir, _) = written(text);
    load(&dir.path().join("config.toml"))
}
