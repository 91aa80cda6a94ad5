//! Words of the repository: cited rules and tests exist, and private expressions do not return.

use regex::{Regex, RegexSet};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, ending, found);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), ending, &mut found);
    found.sort();
    let named = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        (name, text)
    };
    found.into_iter().map(named).collect()
}

fn rules() -> String {
    fs::read_to_string(root().join("docs/rules.md")).unwrap()
}

#[test]
fn every_cited_rule_is_in_docs_rules() {
    let heading = Regex::new(r"(?m)^## (I\d+):").unwrap();
    let rules: BTreeSet<String> = heading.captures_iter(&rules()).map(|found| found[1].to_owned()).collect();
    assert_eq!(rules.len(), 15, "{rules:?}");
    let cited = Regex::new(r"\b[Rr]ules? (I\d+)(?:(?:,| and| to) (I\d+))*").unwrap();
    let number = Regex::new(r"I\d+").unwrap();
    let mut citations = 0;
    for (name, text) in ["src", "tests"].into_iter().flat_map(|folder| files(folder, "rs")) {
        for citation in cited.find_iter(&text) {
            for rule in number.find_iter(citation.as_str()) {
                citations += 1;
                assert!(
                    rules.contains(rule.as_str()),
                    "{name} cites {}, which docs/rules.md lacks",
                    rule.as_str()
                );
            }
        }
    }
    assert!(citations > 20, "only {citations} citations were found");
}

#[test]
fn every_test_that_docs_rules_cites_exists() {
    let citation = Regex::new(r"`([\w/]+\.rs)`: `(\w+)`").unwrap();
    let rules = rules();
    let cited: Vec<_> = citation.captures_iter(&rules).collect();
    assert!(cited.len() > 90, "only {} citations were found", cited.len());
    for cited in cited {
        let text = fs::read_to_string(root().join(&cited[1])).unwrap_or_default();
        assert!(text.contains(&format!("fn {}(", &cited[2])), "{} has no test {}", &cited[1], &cited[2]);
    }
}

/// Words of a line: identifiers are split, so that `read_debts` and `FoundDebts` are found too.
fn words(line: &str) -> String {
    let mut words = String::new();
    let mut before = ' ';
    for c in line.chars() {
        if c.is_uppercase() && (before.is_lowercase() || before.is_ascii_digit()) {
            words.push(' ');
        }
        words.push(if c == '_' { ' ' } else { c });
        before = c;
    }
    words
}

/// Every text that a person reads, by its path.
fn texts() -> Vec<(String, String)> {
    let folders = ["src", "tests", "benches", "docs", "config", "systemd", ".github"];
    let kinds = ["rs", "md", "toml", "service", "py", "sh", "html", "js", "sql", "yml"];
    let mut all: Vec<_> = folders
        .into_iter()
        .filter(|folder| root().join(folder).is_dir())
        .flat_map(|folder| kinds.into_iter().flat_map(move |kind| files(folder, kind)))
        .collect();
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "justfile"]
    {
        all.push((name.to_owned(), fs::read_to_string(root().join(name)).unwrap()));
    }
    all
}

#[test]
fn identifiers_are_split_into_words() {
    assert_eq!(words("fn read_debts() -> FoundDebts"), "fn read debts() -> Found Debts");
}

/// The list has one regular expression a line; `allow PREFIX EXPRESSION` permits it in files whose path begins so.
/// An expression without a capital letter matches in any case.
#[test]
fn private_expressions_do_not_return() {
    let list = fs::read_to_string(root().join("tests/data/private_expressions.txt")).unwrap();
    let lines: Vec<&str> = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let allowed: Vec<(&str, &str)> =
        lines.iter().filter_map(|line| line.strip_prefix("allow ")?.split_once(' ')).collect();
    let expressions: Vec<&str> = lines.into_iter().filter(|line| !line.starts_with("allow ")).collect();
    assert!(expressions.len() >= 30, "only {} expressions", expressions.len());
    let texts = texts();
    assert!(texts.len() > 400, "only {} files were found", texts.len());
    let any_case = |text: &str| if text.contains(char::is_uppercase) { "" } else { "(?i)" };
    let set = RegexSet::new(expressions.iter().map(|text| format!("{}{text}", any_case(text)))).unwrap();
    let mut hits = Vec::new();
    for (name, content) in texts.iter().filter(|(name, _)| name != "tests/it/words.rs") {
        for (n, line) in content.lines().enumerate() {
            for text in set.matches(&words(line)).into_iter().map(|at| expressions[at]) {
                if !allowed.iter().any(|(prefix, of)| *of == text && name.starts_with(prefix)) {
                    hits.push(format!("{name}:{}: {text}: {}", n + 1, line.trim()));
                }
            }
        }
    }
    assert!(hits.is_empty(), "use the terms of docs/glossary.md:\n{}", hits.join("\n"));
}
