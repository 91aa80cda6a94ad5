//! What is wrong with a config, where, and what to write instead; shown the way rustc shows it.
//!
//! Owns the text for people and the JSON for scripts. Must not know any config key, nor hold a secret:
//! excerpts come from `source`, which has blotted them out.

use annotate_snippets::{AnnotationKind, Group, Level as Title, Renderer, Snippet};
use serde::Serialize;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The config is refused.
    Error,
    /// The config is used.
    Warning,
}

/// A place in a file, with the lines around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The lines it is on.
    pub excerpt: String,
    /// Its bytes within the excerpt.
    pub span: Range<usize>,
    /// What to say beside it; may be empty.
    pub text: String,
}

/// One thing wrong: one sentence, the place, the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub level: Level,
    /// What is wrong, as one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The file, where there is no place in it.
    pub file: Option<PathBuf>,
    /// Where: the first is the place itself, the others explain it.
    pub labels: Vec<Label>,
}

impl Diagnostic {
    /// Something that refuses the config.
    pub fn error(message: impl Into<String>) -> Self {
        Self { level: Level::Error, message: message.into(), help: None, file: None, labels: vec![] }
    }

    /// Something that its author should look at.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::error(message) }
    }

    /// The remedy.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// A place; the first one given is the place itself.
    pub fn at(mut self, label: Label) -> Self {
        self.labels.push(label);
        self
    }

    /// A place, where there is one.
    pub fn at_location(self, label: Option<Label>) -> Self {
        match label {
            Some(label) => self.at(label),
            None => self,
        }
    }

    /// The file, where no place in it can be named.
    pub fn in_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Errors before warnings; then as a reader meets them: without a place first, by file and line.
    pub(super) fn order(&self) -> impl Ord + use<> {
        let place = self.labels.first().map(|label| (label.file.clone(), label.line, label.column));
        (self.level == Level::Warning, place, self.message.clone())
    }

    /// The shape that `check --json` prints.
    pub fn to_json(&self) -> serde_json::Value {
        let place = self.labels.first();
        let file = place.map(|label| &label.file).or(self.file.as_ref());
        serde_json::json!({
            "level": self.level,
            "file": file.map(|file| file.display().to_string()),
            "line": place.map(|label| label.line),
            "column": place.map(|label| label.column),
            "message": self.message,
            "help": self.help,
        })
    }

    /// The text for a terminal, with the lines it is about and a caret.
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        let title = match self.level {
            Level::Error => Title::ERROR,
            Level::Warning => Title::WARNING,
        };
        let mut group = Group::with_title(title.primary_title(self.message.as_str()));
        for (at, label) in self.labels.iter().enumerate() {
            let kind = if at == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            let annotation = kind.span(label.span.clone());
            let annotation =
                if label.text.is_empty() { annotation } else { annotation.label(label.text.as_str()) };
            group = group.element(
                Snippet::source(label.excerpt.as_str())
                    .line_start(label.line)
                    .path(label.file.display().to_string())
                    .annotation(annotation),
            );
        }
        if let (true, Some(file)) = (self.labels.is_empty(), &self.file) {
            group = group.element(annotate_snippets::Origin::path(file.display().to_string()));
        }
        if let Some(help) = &self.help {
            group = group.element(Title::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }
}

/// One line: place, level, sentence, remedy; for the log.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.labels.first(), &self.file) {
            (Some(label), _) => write!(f, "{}:{}:{}: ", label.file.display(), label.line, label.column)?,
            (None, Some(file)) => write!(f, "{}: ", file.display())?,
            (None, None) => {}
        }
        f.write_str(match self.level {
            Level::Error => "error: ",
            Level::Warning => "warning: ",
        })?;
        f.write_str(&self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, "; {help}"))
    }
}

/// All of them for a terminal, a blank line between two, and the count at the end.
pub fn render(diagnostics: &[Diagnostic], colours: bool) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        text.push_str(&diagnostic.render(colours));
        text.push_str("\n\n");
    }
    let errors = diagnostics.iter().filter(|d| d.level == Level::Error).count();
    let warnings = diagnostics.len() - errors;
    let counted = |n: usize, what: &str| match n {
        0 => None,
        1 => Some(format!("1 {what}")),
        n => Some(format!("{n} {what}s")),
    };
    let counts: Vec<String> =
        [counted(errors, "error"), counted(warnings, "warning")].into_iter().flatten().collect();
    if !counts.is_empty() {
        text.push_str(&counts.join(", "));
        text.push('\n');
    }
    text
}
