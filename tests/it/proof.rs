//! docs/proof.md lists exactly the seeded bugs, broken daemons and programs that exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// The cells of a table of the document, between its marker and the end.
fn table(tag: &str) -> Vec<Vec<String>> {
    let text = read("docs/proof.md");
    let (_, rest) = text.split_once(&format!("<!-- {tag} -->\n")).expect("the table has its marker");
    let (table, _) = rest.split_once("<!-- end -->").expect("the table has an end");
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    table.lines().skip(2).map(cells).collect()
}

fn bare(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

#[test]
fn every_seeded_bug_is_listed_with_the_check_that_caught_it() {
    let source = read("tests/explore/violence/bugs.rs");
    let (_, rest) = source.split_once("enum Bug {").unwrap();
    let (body, _) = rest.split_once('}').unwrap();
    let variants = body.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("///"));
    let seeded: BTreeSet<String> = variants.map(|line| line.trim_end_matches(',').to_owned()).collect();
    assert!(seeded.len() >= 10, "{seeded:?}");
    let rows = table("seeded");
    assert!(rows.iter().all(|row| row.len() == 3 && row.iter().all(|cell| !cell.is_empty())), "{rows:?}");
    let listed: BTreeSet<String> = rows.iter().map(|row| bare(&row[0])).collect();
    assert_eq!(listed, seeded);
    assert_eq!(listed.len(), rows.len(), "each once");
}

#[test]
fn every_mutant_is_listed() {
    let mut seeded = Vec::new();
    let folders = ["tests", "tests/jobs"].map(|folder| root().join(folder));
    for job in folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten() {
        let script = job.unwrap().path().join("run");
        let Ok(text) = std::fs::read_to_string(&script) else { continue };
        let name = script.strip_prefix(root()).unwrap().display().to_string();
        for line in text.lines().filter_map(|line| line.strip_prefix("mutant ")) {
            let (file, rest) = line.split_once(' ').unwrap();
            let broken = rest.split('\'').nth(1).expect("the line to break, in quotes");
            assert!(read(file).contains(broken), "{name} breaks a line that {file} does not have: {broken}");
            seeded.push((name.clone(), file.to_owned()));
        }
    }
    let mut listed: Vec<_> = table("mutants").iter().map(|row| (bare(&row[0]), bare(&row[1]))).collect();
    seeded.sort();
    listed.sort();
    assert_eq!(listed, seeded);
    assert!(!listed.is_empty());
}

#[test]
fn every_listed_program_exists() {
    let text = read("docs/proof.md");
    let words = text.split(|c: char| c.is_whitespace() || "`,|()".contains(c));
    let named: Vec<&str> = words
        .filter(|word| {
            ["tests/", "benches/", "src/", "docs/", ".ci/"].iter().any(|folder| word.starts_with(folder))
        })
        .collect();
    let missing: Vec<&&str> = named.iter().filter(|name| !root().join(name).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
    for program in text.split("--test ").skip(1).filter_map(|rest| rest.split([' ', '`', '|']).next()) {
        let location = format!("tests/{program}/main.rs");
        assert!(root().join(location).exists(), "no test program {program}");
    }
    assert!(named.len() > 10);
}
