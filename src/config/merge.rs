//! Reads the config files and merges them into one tree; a table in two files is an error.
//!
//! Owns reading and merging. Must not interpret a key. Spans of the merged tree are offsets over all sources.

use crate::config::diagnostic::Diagnostic;
use crate::config::source::Sources;
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// Maximum size of a file in bytes; ten thousand clusters need a fraction of it.
const SIZE_LIMIT: u64 = 32 * 1024 * 1024;
/// Maximum number of files in a directory.
const FILE_LIMIT: usize = 10_000;
/// Tables whose entries may come from different files, each entry from one file.
const BY_NAME: [&str; 2] = ["clusters", "schedules"];

/// Path and text of one config file.
pub(super) struct Text {
    path: PathBuf,
    text: String,
}

/// Reads `path` and the `conf.d` beside it; adds a diagnostic to `found` for every unreadable file.
pub(super) fn read(path: &Path, sources: &mut Sources, found: &mut Vec<Diagnostic>) -> Vec<Text> {
    let mut texts = vec![];
    for path in files(path, found) {
        match text(&path) {
            Ok(text) => texts.push(Text { path, text }),
            Err(Unread::NotText { shown, at }) => {
                let base = sources.add(&path, &shown);
                let message = format!("`{}` is not UTF-8 text", path.display());
                let help = "save it as UTF-8, for example with `iconv -f latin1 -t utf-8`";
                let label = sources.label(base + at..base + at + 1, "this byte is not UTF-8");
                found.push(Diagnostic::error(message).help(help).at_location(label));
            }
            Err(Unread::Why(message, help)) => {
                found.push(Diagnostic::error(message).help(help).in_file(path));
            }
        }
    }
    texts
}

/// Merges all texts that are valid TOML; spans are offsets over all sources.
pub(super) fn tree<'a>(
    texts: &'a [Text],
    sources: &mut Sources,
    found: &mut Vec<Diagnostic>,
) -> Spanned<DeTable<'a>> {
    let mut merged = DeTable::new();
    for Text { path, text } in texts {
        let base = sources.add(path, text);
        let (tree, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            for (key, value) in tree.into_inner() {
                add(&mut merged, entry(key, value, base), sources, found);
            }
        }
        for error in errors {
            let label = sources.label(moved(error.span().unwrap_or(0..0), base), "");
            let diagnostic = match error.message() {
                "duplicate key" => {
                    Diagnostic::error("this key or table is written twice").help("keep one of the two")
                }
                other => Diagnostic::error(format!("this is not TOML: {other}"))
                    .help("see https://toml.io for how tables, keys and values are written"),
            };
            found.push(diagnostic.at_location(label));
        }
    }
    Spanned::new(0..0, merged)
}

fn add<'a>(
    merged: &mut DeTable<'a>,
    (key, value): Entry<'a>,
    sources: &Sources,
    found: &mut Vec<Diagnostic>,
) {
    let name = key.get_ref().clone();
    let Some((first, _)) = merged.get_key_value(&*name) else {
        merged.insert(key, value);
        return;
    };
    let first = first.span();
    let is_table = value.get_ref().is_table();
    let by_name = BY_NAME.contains(&&*name);
    match (merged.get_mut(&*name).map(Spanned::get_mut), value.into_inner()) {
        (Some(DeValue::Table(ours)), DeValue::Table(theirs)) if by_name => {
            for (key, value) in theirs {
                let first = ours.get_key_value(&**key.get_ref()).map(|(first, _)| first.span());
                match first {
                    Some(first) => {
                        let table = format!("[{name}.{}]", key.get_ref().escape_debug());
                        found.push(twice(sources, &table, first, key.span()));
                    }
                    None => _ = ours.insert(key, value),
                }
            }
        }
        _ => {
            let shown = if is_table { format!("[{name}]") } else { name.into_owned() };
            found.push(twice(sources, &shown, first, key.span()));
        }
    }
}

fn twice(sources: &Sources, key: &str, first: Range<usize>, second: Range<usize>) -> Diagnostic {
    Diagnostic::error(format!("`{key}` is written in two files"))
        .help("keep one of them, or give one another name")
        .at_location(sources.label(second, "again here"))
        .at_location(sources.label(first, "first here"))
}

type Entry<'a> = (Spanned<DeString<'a>>, Spanned<DeValue<'a>>);

/// Adds `base` to the spans of a key and its value.
fn entry<'a>(key: Spanned<DeString<'a>>, value: Spanned<DeValue<'a>>, base: usize) -> Entry<'a> {
    (Spanned::new(moved(key.span(), base), key.into_inner()), shifted(value, base))
}

fn shifted(value: Spanned<DeValue<'_>>, base: usize) -> Spanned<DeValue<'_>> {
    let span = moved(value.span(), base);
    let value = match value.into_inner() {
        DeValue::Table(table) => {
            DeValue::Table(table.into_iter().map(|(key, value)| entry(key, value, base)).collect())
        }
        DeValue::Array(array) => {
            DeValue::Array(array.into_iter().map(|value| shifted(value, base)).collect())
        }
        scalar => scalar,
    };
    Spanned::new(span, value)
}

fn moved(span: Range<usize>, base: usize) -> Range<usize> {
    base + span.start..base + span.end
}

/// The main file, or the files of the directory, then `conf.d/*.toml` in name order.
fn files(path: &Path, found: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    let (mut files, beside) = if path.is_dir() {
        (listed(path, found), path)
    } else {
        (vec![path.to_owned()], path.parent().unwrap_or(Path::new("")))
    };
    let extra = beside.join("conf.d");
    if extra.is_dir() {
        files.extend(listed(&extra, found));
    }
    if files.is_empty() {
        let message = format!("there is no *.toml file in `{}`", path.display());
        found.push(
            Diagnostic::error(message)
                .help("put a config.toml there, or name a file with --config")
                .in_file(path),
        );
    }
    files
}

fn listed(dir: &Path, found: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) => {
            let message = format!("the directory `{}` cannot be listed: {}", dir.display(), plain(&e));
            let help = "give the daemon's user the right to read it";
            found.push(Diagnostic::error(message).help(help).in_file(dir));
            return vec![];
        }
    };
    let hidden = |path: &Path| path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "toml") && !hidden(path))
        .take(FILE_LIMIT + 1)
        .collect();
    if files.len() > FILE_LIMIT {
        let message = format!("the directory `{}` contains more than {FILE_LIMIT} files", dir.display());
        found.push(Diagnostic::error(message).help("put several tables into one file").in_file(dir));
    }
    files.sort();
    files
}

enum Unread {
    NotText { shown: String, at: usize },
    Why(String, &'static str),
}

fn text(path: &Path) -> Result<String, Unread> {
    let shown = path.display();
    let unread = |e: std::io::Error| {
        let help = match e.kind() {
            std::io::ErrorKind::NotFound => "create it, or name another file with --config",
            _ => "give the daemon's user the right to read it",
        };
        Unread::Why(format!("`{shown}` cannot be read: {}", plain(&e)), help)
    };
    // A pipe or a device would block or never end.
    if !fs::metadata(path).map_err(unread)?.is_file() {
        return Err(Unread::Why(
            format!("`{shown}` is not a file"),
            "name a file or a directory with --config",
        ));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes))
        .map_err(unread)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(Unread::Why(
            format!("`{shown}` is larger than 32 MiB"),
            "name the config file with --config",
        ));
    }
    String::from_utf8(bytes).map_err(|e| Unread::NotText {
        at: e.utf8_error().valid_up_to(),
        shown: String::from_utf8_lossy(e.as_bytes()).into_owned(),
    })
}

/// The message of the error without the number that the standard library appends.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
