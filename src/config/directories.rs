//! Directories of the daemon, read from a config that may be rejected: state, credentials, runtime.
//!
//! A resume without the daemon needs these directories, and no mistake in a config may prevent such a resume
//! (rule I1). Must not report errors of the config.

use crate::config::{Environment, RUN_DIR};
use std::path::{Path, PathBuf};

/// State directory to use if the config is rejected: `[daemon] state_dir` if readable, else
/// `$STATE_DIRECTORY`, else `./state`.
pub(crate) fn state_dir_of(config: &Path, state_directory: Option<&PathBuf>) -> PathBuf {
    configured(config, "state_dir").or_else(|| state_directory.cloned()).unwrap_or_else(|| "./state".into())
}

/// Reads a directory key of `[daemon]` even from a rejected config. If the file is not valid TOML, its lines
/// are searched one by one, because one mistake anywhere invalidates the whole file.
pub(crate) fn configured(config: &Path, key: &str) -> Option<PathBuf> {
    let read = |file: PathBuf| String::from_utf8_lossy(&std::fs::read(file).ok()?).into_owned().into();
    files(config).into_iter().filter_map(read).find_map(|text: String| {
        let value = |table: &toml::Table| table.get(key)?.as_str().map(PathBuf::from);
        match text.parse::<toml::Table>() {
            Ok(table) => value(table.get("daemon")?.as_table()?),
            Err(_) => text.lines().find_map(|line| {
                let line = line.trim_start();
                let line = line.strip_prefix("daemon.").unwrap_or(line);
                value(&line.starts_with(key).then(|| line.parse().ok()).flatten()?)
            }),
        }
    })
}

/// Paths at which the control socket of the daemon may be, read from a config that may not load.
pub(crate) fn sockets_of(config: &Path, environment: &Environment) -> Vec<PathBuf> {
    let state_dir = state_dir_of(config, environment.state_directory.as_ref());
    let dirs = runtime_dirs_of(config, environment, &state_dir);
    dirs.into_iter().map(|dir| dir.join("control.sock")).collect()
}

pub(crate) fn runtime_dirs_of(config: &Path, environment: &Environment, state_dir: &Path) -> Vec<PathBuf> {
    let configured = configured(config, "runtime_dir").or_else(|| environment.runtime_directory.clone());
    configured.into_iter().chain([RUN_DIR.into(), state_dir.to_owned()]).collect()
}

fn files(config: &Path) -> Vec<PathBuf> {
    let listed = |dir: &Path| {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|kind| kind == "toml"));
        files.sort();
        files
    };
    let (mut files, beside) = if config.is_dir() {
        (listed(config), Some(config))
    } else {
        (vec![config.to_owned()], config.parent())
    };
    files.extend(beside.map(|dir| listed(&dir.join("conf.d"))).unwrap_or_default());
    files
}
