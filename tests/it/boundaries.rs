//! Keeps the invariants of ARCHITECTURE.md: each is about something that must not be there.

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
    assert!(!found.is_empty(), "the sources of {folder} are not where this test looks");
    found
}

/// Lines of code that are neither comments nor inside `#[cfg(test)]` modules at the end of a file.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(n, line)| (n + 1, line))
}

/// No line of these files holds any of the words, except in the rooms named.
fn only_in(words: &[&str], disk_space_of_brokers: &[&str]) {
    let mut broken = Vec::new();
    for (path, text) in sources("src") {
        let name = path.to_string_lossy().replace('\\', "/");
        // Files of unit tests are held to clippy's rules alone.
        if disk_space_of_brokers.iter().any(|room| name.starts_with(room)) || name.ends_with("/tests.rs") {
            continue;
        }
        for (n, line) in code(&text) {
            if words.iter().any(|word| line.contains(word)) {
                broken.push(format!("{name}:{n}: {}", line.trim()));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "{words:?} may stand only in {disk_space_of_brokers:?}:\n{}",
        broken.join("\n")
    );
}

/// No file of the rooms holds any of the words.
fn never_in(disk_space_of_brokers: &[&str], words: &[&str]) {
    let mut broken = Vec::new();
    let mut read = 0;
    for (path, text) in sources("src") {
        let name = path.to_string_lossy().replace('\\', "/");
        if !disk_space_of_brokers.iter().any(|room| name.starts_with(room)) {
            continue;
        }
        read += 1;
        for (n, line) in code(&text) {
            if words.iter().any(|word| line.contains(word)) {
                broken.push(format!("{name}:{n}: {}", line.trim()));
            }
        }
    }
    assert!(read > 0, "no file of {disk_space_of_brokers:?} was read");
    assert!(broken.is_empty(), "{disk_space_of_brokers:?} must not hold {words:?}:\n{}", broken.join("\n"));
}

#[test]
fn only_the_dispatch_names_tokio_cron_scheduler() {
    only_in(&["tokio_cron_scheduler"], &["src/schedule/dispatch.rs"]);
}

#[test]
fn only_the_sqlite_store_knows_sql() {
    only_in(&["rusqlite", "SELECT ", "INSERT INTO", "UPDATE "], &["src/store/sqlite"]);
}

#[test]
fn only_the_http_client_and_the_command_line_know_reqwest() {
    only_in(&["reqwest"], &["src/clients/http", "src/cli/", "src/cli.rs"]);
}

#[test]
fn the_simulated_cluster_knows_nothing_of_our_plan() {
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
fn vocabulary_and_clock_know_nobody() {
    let disk_space_of_brokers = [
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
    let words: Vec<String> = disk_space_of_brokers.iter().map(|room| format!("crate::{room}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    never_in(&["src/domain", "src/clock.rs", "src/lock.rs"], &words);
}

#[test]
fn what_decides_does_no_io_and_reads_no_clock() {
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
fn arrows_go_one_way() {
    never_in(
        &["src/clients"],
        &["crate::plan", "crate::run", "crate::store", "crate::config", "crate::journal"],
    );
    never_in(&["src/store"], &["crate::run", "crate::clients", "crate::config", "crate::api", "crate::plan"]);
    never_in(&["src/run"], &["crate::daemon", "crate::cli::", "crate::config"]);
    never_in(&["src/schedule"], &["crate::run", "crate::daemon", "crate::clients"]);
}

#[test]
fn only_the_guardian_and_the_operators_own_act_resume_exporting() {
    only_in(&[".resume().await"], &["src/run/guardian.rs", "src/daemon/control.rs"]);
}

#[test]
fn only_the_clock_reads_time_or_spawns() {
    only_in(
        &["Utc::now()", "Instant::now()", "SystemTime::now()", "tokio::spawn", "tokio::time::sleep"],
        &["src/clock.rs"],
    );
}

#[test]
fn files_have_one_role_and_rooms_have_names() {
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
                broken.push(format!("{} is a room without a name", path.display()));
            }
            if !text.trim_start_matches('\u{feff}').starts_with("//!") {
                broken.push(format!("{} does not begin by saying what it owns", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
