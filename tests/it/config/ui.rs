//! Diagnostics of configs: every case under `tests/data/ui`, compared with the whole expected text.
//!
//! A case is `NAME.toml`, or a folder `NAME` with a `config.toml`; `NAME.stderr` has the text, and is empty for a
//! config that loads without a warning. `BLESS=1 cargo test --test it config::ui` rewrites the texts, for `git diff`.

use crate::base_config::diagnostics;
use camunda_backupd::config::diagnostic::render;
use harness::tls;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Minimum number of cases.
const CASES: usize = 116;
/// Placeholder of the scratch directory in cases and texts; of equal length, so that carets stay aligned.
const DIRECTORY: &str = "/tmp/ui-directory";

/// Files and folders of one case each, in name order.
fn cases(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let mut found = Vec::new();
    for path in entries {
        if !path.is_dir() {
            let known = path.extension().is_some_and(|end| end == "toml" || end == "stderr");
            assert!(known, "{} is neither a case nor the text of one", path.display());
            let case = ["toml", ""].map(|end| path.with_extension(end));
            assert!(case.iter().any(|case| case.exists()), "{} has no case", path.display());
            found.extend(path.extension().is_some_and(|end| end == "toml").then_some(path));
        } else if path.join("config.toml").exists() {
            found.push(path);
        } else {
            found.extend(cases(&path));
        }
    }
    found
}

fn put(directory: &Path, name: &str, text: &str, mode: u32) {
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join(name), text).unwrap();
    fs::set_permissions(directory.join(name), fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with all files of the cases: credentials of every kind, and files with and without certificates.
fn scratch() -> tempfile::TempDir {
    let random = DIRECTORY.len() - "/tmp/ui-".len();
    let scratch = tempfile::Builder::new().prefix("ui-").rand_bytes(random).tempdir_in("/tmp").unwrap();
    let credentials = scratch.path().join("credentials");
    let (ca, issued) = (tls::Ca::new(), tls::Ca::new().issue("backup"));
    put(&credentials, "good", "geheim", 0o600);
    put(&credentials, "empty", "\n", 0o600);
    put(&credentials, "cert", &issued.cert.pem(), 0o600);
    put(&credentials, "cert-key", &issued.key.serialize_pem(), 0o600);
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIgeheim\n-----END ENCRYPTED PRIVATE KEY-----\n";
    put(&credentials, "locked-key", locked, 0o600);
    put(scratch.path(), "ca.pem", &ca.pem(), 0o644);
    put(scratch.path(), "no.pem", "geheim", 0o644);
    put(&scratch.path().join("open"), "open", "geheim", 0o644);
    for (name, mode) in [("good", 0o600), ("group", 0o640), ("world", 0o604)] {
        put(&scratch.path().join("shared"), name, "geheim", mode);
    }
    scratch
}

/// Copies the files of a case into the scratch directory.
fn copy(from: &Path, to: &Path, scratch: &str) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            copy(&entry.path(), &to.join(entry.file_name()), scratch);
        }
    } else {
        let text = fs::read_to_string(from).unwrap();
        fs::write(to, text.replace(DIRECTORY, scratch)).unwrap();
    }
}

/// All diagnostics of a case, without colours.
fn shown(case: &Path, scratch: &Path) -> String {
    let location = scratch.display().to_string();
    let config = scratch.join("config.toml");
    let _ = fs::remove_dir_all(scratch.join("conf.d"));
    copy(case, if case.is_dir() { scratch } else { &config }, &location);
    let diagnostics = diagnostics(&config);
    for diagnostic in &diagnostics {
        log_line_is_complete(diagnostic);
    }
    let text = render(&diagnostics, false);
    let relative = ["-->", ":::"]
        .iter()
        .fold(text, |text, arrow| text.replace(&format!("{arrow} {location}/"), &format!("{arrow} ")));
    relative.replace(&location, DIRECTORY)
}

/// The line for the log has the same position, message and remedy as the text.
fn log_line_is_complete(diagnostic: &camunda_backupd::config::diagnostic::Diagnostic) {
    let json = diagnostic.to_json();
    let mut line = String::new();
    if let Some(file) = json["file"].as_str() {
        line += file;
        line += ":";
    }
    if let (Some(row), Some(column)) = (json["line"].as_u64(), json["column"].as_u64()) {
        write!(line, "{row}:{column}:").unwrap();
    }
    let space = if line.is_empty() { "" } else { " " };
    write!(line, "{space}{}: {}", json["level"].as_str().unwrap(), json["message"].as_str().unwrap())
        .unwrap();
    if let Some(help) = json["help"].as_str() {
        write!(line, "; {help}").unwrap();
    }
    assert_eq!(diagnostic.to_string(), line);
}

/// The differing lines, without the common beginning and end.
fn difference(expected: &str, found: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let same = |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| pairs.take_while(|(a, b)| a == b).count();
    let first = same(&mut old.iter().zip(&new));
    let last = same(&mut old[first..].iter().rev().zip(new[first..].iter().rev()));
    let mut text = format!("  from line {}:\n", first + 1);
    for (sign, lines) in [('-', &old), ('+', &new)] {
        for line in &lines[first..lines.len() - last] {
            writeln!(text, "  {sign} {line}").unwrap();
        }
    }
    text
}

#[test]
fn every_config_case_has_the_expected_text() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ui");
    let bless = std::env::var_os("BLESS").is_some();
    let scratch = scratch();
    let all = cases(&root);
    let mut wrong = String::new();
    for case in &all {
        let name = case.strip_prefix(&root).unwrap().display();
        let found = shown(case, scratch.path());
        assert!(!found.contains("geheim"), "{name} shows a secret:\n{found}");
        assert!(
            !found.chars().any(|c| c.is_control() && c != '\n'),
            "{name} shows control characters:\n{found:?}"
        );
        let file = case.with_extension("stderr");
        match fs::read_to_string(&file) {
            Ok(expected) if expected == found => {}
            _ if bless => fs::write(&file, &found).unwrap(),
            Ok(expected) => writeln!(wrong, "{name}\n{}", difference(&expected, &found)).unwrap(),
            Err(_) => writeln!(wrong, "{name} has no text beside it; it would be\n{found}").unwrap(),
        }
    }
    assert!(wrong.is_empty(), "run BLESS=1 cargo test --test it config::ui, if this is meant:\n\n{wrong}");
    assert!(all.len() >= CASES, "there were {CASES} cases, and now there are {}", all.len());
}
