//! `docs/files.md` lists every source file with the purpose that its header states.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- files:begin -->\n";
const END: &str = "<!-- files:end -->\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The first paragraph of a header and its sentence that begins with "Owns", on one line.
fn purpose(text: &str) -> String {
    let header: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let paragraphs: Vec<String> = header.split(|line| line.is_empty()).map(|lines| lines.join(" ")).collect();
    let owns = paragraphs[1..].iter().find_map(|paragraph| {
        let from = paragraph.find("Owns ")?;
        let sentence = &paragraph[from..];
        Some(sentence.split_once(". ").map_or(sentence, |(sentence, _)| sentence).trim_end_matches('.'))
    });
    let first = paragraphs[0].trim_end_matches(':').to_owned();
    owns.map_or(first.clone(), |owns| format!("{first} {owns}.")).replace('|', "\\|")
}

fn table() -> String {
    let mut files = Vec::new();
    source_files(&root().join("src"), &mut files);
    files.sort();
    let mut table = String::from("| file | content |\n|---|---|\n");
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root().join("src")).unwrap().to_string_lossy().replace('\\', "/");
        let purpose = purpose(&text);
        assert!(purpose.len() > 20, "{name} has no header that states its purpose");
        writeln!(table, "| `{name}` | {purpose} |").unwrap();
    }
    table
}

/// After a change of a header: `WRITE_FILES=1 cargo test --test it file_list`.
#[test]
fn docs_files_lists_every_source_file_with_its_header() {
    let path = root().join("docs/files.md");
    let document = fs::read_to_string(&path).unwrap();
    let (head, rest) = document.split_once(BEGIN).unwrap();
    let (listed, tail) = rest.split_once(END).unwrap();
    let expected = table();
    if std::env::var_os("WRITE_FILES").is_some() {
        fs::write(&path, format!("{head}{BEGIN}{expected}{END}{tail}")).unwrap();
        return;
    }
    assert!(
        listed == expected,
        "docs/files.md is out of date: run WRITE_FILES=1 cargo test --test it file_list"
    );
}
