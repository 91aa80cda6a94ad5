//! Structure rules of ARCHITECTURE.md: forbidden dependencies, file sizes, file names.

use std::collections::{BTreeMap, BTreeSet};
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

/// Lines of code with their numbers, to the end of the file, without comments and without `#[cfg(test)]` items.
fn code(text: &str) -> Vec<(usize, &str)> {
    let mut lines = Vec::new();
    let mut skipped: Option<&str> = None;
    let mut test_item = false;
    for (n, line) in text.lines().enumerate() {
        let start = line.trim_start();
        if let Some(indent) = skipped {
            if line.strip_prefix(indent).is_some_and(|rest| rest.starts_with('}')) {
                skipped = None;
            }
        } else if start.starts_with("#[cfg(test)]") {
            test_item = true;
        } else if test_item && start.starts_with("#[") {
        } else if test_item {
            test_item = false;
            if start.ends_with('{') {
                skipped = Some(&line[..line.len() - start.len()]);
            }
        } else if !start.starts_with("//") {
            lines.push((n + 1, line));
        }
    }
    assert!(skipped.is_none(), "a test item without an end");
    lines
}

/// Top module of a source file below `src/`; none for `lib.rs` and `main.rs`.
fn top_module(path: &str) -> Option<&str> {
    let name = path.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs");
    (!matches!(name, "lib" | "main")).then_some(name)
}

/// `crate::` paths in the code of a file, one for each imported item.
fn crate_paths(text: &str) -> BTreeSet<String> {
    let code: String = code(text).into_iter().flat_map(|(_, line)| [line, "\n"]).collect();
    let mut paths = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        let path = rest[..end].trim_end_matches(':');
        if rest[end..].starts_with('{') {
            let group = &rest[end + 1..rest[end..].find('}').map_or(rest.len(), |close| end + close)];
            for item in group.split(',') {
                let item: String = item
                    .trim()
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':'))
                    .collect();
                let item = item.trim_end_matches("::self").trim_end_matches("self");
                paths.insert(if path.is_empty() { item.to_owned() } else { format!("{path}::{item}") });
            }
        } else {
            paths.insert(path.to_owned());
        }
    }
    paths
}

/// Dependencies between top modules, as the sources have them.
fn edges() -> BTreeSet<(String, String)> {
    let mut edges = BTreeSet::new();
    for (path, text) in sources("src") {
        let name = path.to_string_lossy().into_owned();
        let Some(from) = top_module(&name).map(str::to_owned) else { continue };
        for to in crate_paths(&text) {
            let to = to.split("::").next().unwrap_or_default().to_owned();
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(format!("{to}.rs"));
            if file.exists() && to != from {
                edges.insert((from.clone(), to));
            }
        }
    }
    assert!(edges.len() > 50, "too few dependencies were read: {}", edges.len());
    edges
}

/// Rows of the table of allowed dependencies in ARCHITECTURE.md.
fn allowed() -> BTreeSet<(String, String)> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let table =
        text.split("<!-- edges:begin -->").nth(1).unwrap().split("<!-- edges:end -->").next().unwrap();
    let mut allowed = BTreeSet::new();
    for row in table.lines().filter(|row| row.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for to in cells[2].split('`').filter(|name| name.chars().any(char::is_alphanumeric)) {
            allowed.insert((cells[1].trim_matches('`').to_owned(), to.to_owned()));
        }
    }
    allowed
}

/// Strongly connected groups of more than one node.
fn cycles(edges: &BTreeSet<(String, String)>) -> Vec<Vec<String>> {
    let reachable = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut next = vec![from.to_owned()];
        while let Some(node) = next.pop() {
            for (_, to) in edges.iter().filter(|(a, _)| *a == node) {
                if seen.insert(to.clone()) {
                    next.push(to.clone());
                }
            }
        }
        seen
    };
    let nodes: BTreeSet<&String> = edges.iter().map(|(from, _)| from).collect();
    let reach: BTreeMap<&str, BTreeSet<String>> =
        nodes.iter().map(|node| (node.as_str(), reachable(node))).collect();
    let mut found = BTreeSet::new();
    for (node, to) in &reach {
        let group: Vec<String> = to
            .iter()
            .filter(|other| reach.get(other.as_str()).is_some_and(|back| back.contains(*node)))
            .cloned()
            .collect();
        if !group.is_empty() {
            found.insert(group);
        }
    }
    found.into_iter().collect()
}

#[test]
fn modules_import_only_what_the_architecture_allows() {
    let (is, may) = (edges(), allowed());
    let forbidden: Vec<_> = is.difference(&may).collect();
    assert!(forbidden.is_empty(), "not allowed by ARCHITECTURE.md: {forbidden:?}");
    let unused: Vec<_> = may.difference(&is).collect();
    assert!(unused.is_empty(), "allowed by ARCHITECTURE.md and not used any more: {unused:?}");
}

#[test]
fn modules_have_no_cycle() {
    assert_eq!(cycles(&edges()), Vec::<Vec<String>>::new());
}

/// Files import each other in one direction. The model of the simulation is one thing in several files.
#[test]
fn files_have_no_cycle_outside_the_simulation_model() {
    let files = sources("src");
    let modules: BTreeSet<String> = files.iter().map(|(path, _)| module_of(path)).collect();
    let mut edges = BTreeSet::new();
    for (path, text) in &files {
        let from = module_of(path);
        for path in crate_paths(text) {
            let mut to = path.as_str();
            while !modules.contains(to) {
                let Some((parent, _)) = to.rsplit_once("::") else { break };
                to = parent;
            }
            if modules.contains(to) && to != from && !from.starts_with(&format!("{to}::")) {
                edges.insert((from.clone(), to.to_owned()));
            }
        }
    }
    let cycles: Vec<_> = cycles(&edges)
        .into_iter()
        .filter(|group| !group.iter().all(|module| module.starts_with("sim::model::")))
        .collect();
    assert_eq!(cycles, Vec::<Vec<String>>::new());
}

fn module_of(path: &Path) -> String {
    let name = path.to_string_lossy().replace('\\', "/");
    name.trim_start_matches("src/").trim_end_matches(".rs").replace('/', "::")
}

#[test]
fn code_is_read_to_the_end_of_a_file() {
    let text = "a\n// b\n#[cfg(test)]\nmod tests {\n    x\n}\nc\n    #[cfg(test)]\n    use d;\ne\n";
    assert_eq!(code(text), [(1, "a"), (7, "c"), (10, "e")]);
}

/// Source files by their name with `/`.
fn named_sources() -> Vec<(String, String)> {
    let name = |path: &Path| path.to_string_lossy().replace('\\', "/");
    sources("src").into_iter().map(|(path, text)| (name(&path), text)).collect()
}

/// A renamed file must not take itself out of a check.
fn all_exist(modules: &[&str], sources: &[(String, String)]) {
    for module in modules {
        assert!(sources.iter().any(|(name, _)| name.starts_with(module)), "{module} has no source file");
    }
}

/// Asserts that no line contains any of the words, except in these modules.
fn only_in(words: &[&str], modules: &[&str]) {
    let mut broken = Vec::new();
    let sources = named_sources();
    all_exist(modules, &sources);
    for (name, text) in sources {
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
    let sources = named_sources();
    all_exist(modules, &sources);
    for (name, text) in
        sources.iter().filter(|(name, _)| modules.iter().any(|module| name.starts_with(module)))
    {
        for (n, line) in code(text) {
            if words.iter().any(|word| line.contains(word)) {
                broken.push(format!("{name}:{n}: {}", line.trim()));
            }
        }
    }
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
    only_in(&["reqwest"], &["src/camunda/http", "src/cli/", "src/cli.rs"]);
}

#[test]
fn simulation_does_not_import_the_procedure() {
    let known: BTreeSet<String> =
        edges().into_iter().filter(|(from, _)| from == "sim").map(|(_, to)| to).collect();
    let allowed = ["camunda", "clock", "domain", "lock"].map(str::to_owned);
    assert_eq!(known, BTreeSet::from(allowed));
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
            "src/backup/recovery_decision.rs",
        ],
        &io,
    );
}

#[test]
fn only_pause_can_resume_exporting() {
    only_in(&["impl ResumeAuthority for"], &["src/pause/permit.rs"]);
    only_in(&["ResumePermit::issue()"], &["src/pause/"]);
    only_in(&["OperatorResume::confirmed()"], &["src/daemon/control.rs"]);
}

#[test]
fn only_the_clock_reads_time_or_spawns_tasks() {
    only_in(
        &[
            "Utc::now()",
            "Instant::now()",
            "SystemTime::now()",
            "tokio::spawn",
            "tokio::time::",
            "std::thread",
            "thread::spawn",
            "thread::Builder",
        ],
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
