//! What every story of a refused config needs: a file with the text, and what was said about it.

use camunda_backupd::config::diagnostic::Diagnostic;
use camunda_backupd::config::{self, Environment};
use std::fs;
use std::path::Path;

/// What `@orders` stands for in a case.
pub const CLUSTER: &str = "[clusters.orders.self_managed]
zeebe = 'http://h:9600'
operate = 'http://h:9621'
search = { url = 'http://h:9200', repository = 'camunda' }
";
/// What `@daily` stands for.
pub const SCHEDULE: &str = "[schedules.d]
clusters = ['orders']
daily = '02:00'
";

pub fn env() -> Environment {
    Environment {
        state_directory: None,
        runtime_directory: Some("/run/elsewhere".into()),
        credentials_directory: None,
        hostname: "host-1".into(),
        now: "2026-11-23T12:00:00Z".parse().unwrap(),
    }
}

/// Everything said about a path, warnings of a config that loads included.
pub fn said(path: &Path) -> Vec<Diagnostic> {
    match config::load(path, &env()) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    }
}

pub fn written(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let text = text.replace("@orders\n", CLUSTER).replace("@daily\n", SCHEDULE);
    fs::write(dir.path().join("config.toml"), &text).unwrap();
    (dir, text)
}
