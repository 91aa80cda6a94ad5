//! Structure rules of ARCHITECTURE.md: forbidden dependencies, file sizes, file names.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join(folder), &mut found);
    for (path, _) in &mut found {
        *path = path.strip_prefix(root).unwrap().to_owned();
    }
    assert!(!found.is_empty(), "no source files in {folder}");
    found
}

/// Lines of code with their numbers, without comments and without the `#[cfg(test)]` module at the end of a file.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(n, line)| (n + 1, line))
}

/// Asserts that no line contains any of the words, except in these modules.
fn only_in(words: &[&str], modules: &[&str]) {
    let mut broken = Vec::new();
    for (path, text) in sources("src") {
        let name = path.to_string_lossy().replace('\\', "/");
        // Only clippy checks files of unit tests.
        if modules.iter().any(|module| name.starts_with(module)) || name.ends_with("/tests.rs") {
            continue;
        }
        for (n, line) in code(&text) {
            if words.iter().any(|word| line.contains(word)) {
                broken.push(format!("{name}:{n}: {}", line.trim()));
            }
        }
    }
    assert!(broken.is_empty(), "{words:?} are allowed in {modules:?} only:\n{}", broken.join("\n"));
}

/// Asserts that no file of these modules contains any of the words.
fn never_in(modules: &[&str], words: &[&str]) {
    let mut broken = Vec::new();
    let mut read = 0;
    for (path, text) in sources("src") {
        let name = path.to_string_lossy().replace('\\', "/");
        if !modules.iter().any(|module| name.starts_with(module)) {
            continue;
        }
        read += 1;
        for (n, line) in code(&text) {
            if words.iter().any(|word| line.contains(word)) {
                broken.push(format!("{name}:{n}: {}", line.trim()));
            }
        }
    }
    assert!(read > 0, "no file of {modules:?} was read");
    assert!(broken.is_empty(), "{modules:?} must not contain {words:?}:\n{}", broken.join("\n"));
}

#[test]
fn only_dispatch_uses_tokio_cron_scheduler() {
    only_in(&["tokio_cron_scheduler"], &["src/schedule/dispatch.rs"]);
}

#[test]
fn only_the_sqlite_store_contains_sql() {
    only_in(&["rusqlite", "SELECT ", "INSERT INTO", "UPDATE "], &["src/store/sqlite"]);
}

#[test]
fn only_the_http_client_and_the_command_line_use_reqwest() {
    only_in(&["reqwest"], &["src/clients/http", "src/cli/", "src/cli.rs"]);
}

#[test]
fn the_simulated_cluster_does_not_use_the_plan() {
    never_in(
        &["src/sim"],
        &[
            "crate::plan",
            "crate::run",
            "crate::retention",
            "crate::store",
            "crate::schedule",
            "crate::journal",
        ],
    );
}

#[test]
fn vocabulary_and_clock_use_no_other_module() {
    let modules = [
        "api",
        "cli",
        "clients",
        "config",
        "daemon",
        "journal",
        "logging",
        "plan",
        "retention",
        "run",
        "schedule",
        "sim",
        "store",
    ];
    let words: Vec<String> = modules.iter().map(|module| format!("crate::{module}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    never_in(&["src/domain", "src/clock.rs", "src/lock.rs"], &words);
}

#[test]
fn decisions_do_no_io_and_read_no_clock() {
    let io =
        ["async fn", ".await", "std::fs", "Utc::now", "monotonic()", "clock.now", "SharedStore", "Transport"];
    never_in(
        &[
            "src/journal",
            "src/plan",
            "src/retention",
            "src/schedule.rs",
            "src/schedule/next.rs",
            "src/schedule/cron.rs",
            "src/run/recover.rs",
        ],
        &io,
    );
}

#[test]
fn dependencies_have_one_direction() {
    never_in(
        &["src/clients"],
        &["crate::plan", "crate::run", "crate::store", "crate::config", "crate::journal"],
    );
    never_in(&["src/store"], &["crate::run", "crate::clients", "crate::config", "crate::api", "crate::plan"]);
    never_in(&["src/run"], &["crate::daemon", "crate::cli::", "crate::config"]);
    never_in(&["src/schedule"], &["crate::run", "crate::daemon", "crate::clients"]);
}

#[test]
fn only_pause_and_the_resume_command_resume_exporting() {
    only_in(&[".resume().await"], &["src/run/guardian.rs", "src/daemon/control.rs"]);
}

#[test]
fn only_the_clock_reads_time_or_spawns_tasks() {
    only_in(
        &["Utc::now()", "Instant::now()", "SystemTime::now()", "tokio::spawn", "tokio::time::sleep"],
        &["src/clock.rs"],
    );
}

#[test]
fn files_are_short_and_have_meaningful_names_and_headers() {
    let mut broken = Vec::new();
    for folder in ["src", "tests"] {
        for (path, text) in sources(folder) {
            let lines = text.lines().count();
            if lines > 600 {
                broken.push(format!("{} has {lines} lines: split it by role", path.display()));
            }
            if path.components().any(|c| {
                matches!(
                    c.as_os_str().to_string_lossy().trim_end_matches(".rs"),
                    "mod" | "utils" | "util" | "common" | "helpers" | "misc"
                )
            }) {
                broken.push(format!("{} is a name without a meaning", path.display()));
            }
            if !text.trim_start_matches('\u{feff}').starts_with("//!") {
                broken.push(format!("{} does not start with a module header", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
