//! Diagnostics of a config: message, position and remedy, rendered in the style of rustc.
//!
//! Owns the text for people and the JSON for scripts. Must not know any config key, nor contain a secret: excerpts
//! come from `source`, which masks secrets.

use annotate_snippets::{AnnotationKind, Group, Level as Title, Renderer, Snippet};
use serde::Serialize;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// Severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The config is invalid.
    Error,
    /// The config is valid, but probably not intended.
    Warning,
}

/// A position in a file, with an excerpt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Path as given or found.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Text of the line.
    pub excerpt: String,
    /// Byte range within the excerpt.
    pub span: Range<usize>,
    /// Text beside the caret; may be empty.
    pub text: String,
}

/// One error or warning with its position and remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Severity.
    pub level: Level,
    /// The problem: one sentence without a full stop.
    pub message: String,
    /// The remedy.
    pub help: Option<String>,
    /// The file, for a diagnostic without a position.
    pub file: Option<PathBuf>,
    /// Positions: the first is the problem, the others explain it.
    pub labels: Vec<Label>,
}

impl Diagnostic {
    /// Makes the config invalid.
    pub fn error(message: impl Into<String>) -> Self {
        Self { level: Level::Error, message: message.into(), help: None, file: None, labels: vec![] }
    }

    /// Keeps the config valid.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::error(message) }
    }

    /// Sets the remedy.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a position.
    pub fn at(mut self, label: Label) -> Self {
        self.labels.push(label);
        self
    }

    /// Adds a position, if known.
    pub fn at_location(self, label: Option<Label>) -> Self {
        match label {
            Some(label) => self.at(label),
            None => self,
        }
    }

    /// Sets the file of a diagnostic without a position.
    pub fn in_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Sort key: errors before warnings, without a position first, then by file and line.
    pub(super) fn order(&self) -> impl Ord + use<> {
        let position = self.labels.first().map(|label| (label.file.clone(), label.line, label.column));
        (self.level == Level::Warning, position, self.message.clone())
    }

    /// One entry of `check --json`.
    pub fn to_json(&self) -> serde_json::Value {
        let position = self.labels.first();
        let file = position.map(|label| &label.file).or(self.file.as_ref());
        serde_json::json!({
            "level": self.level,
            "file": file.map(|file| file.display().to_string()),
            "line": position.map(|label| label.line),
            "column": position.map(|label| label.column),
            "message": self.message,
            "help": self.help,
        })
    }

    /// Multi-line text with excerpts and carets.
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

/// One line for the log: position, severity, message, remedy.
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

/// All diagnostics, separated by blank lines, and their count at the end.
pub fn render(diagnostics: &[Diagnostic], colours: bool) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        text.push_str(&diagnostic.render(colours));
        text.push_str("\n\n");
    }
    let errors = diagnostics.iter().filter(|d| d.level == Level::Error).count();
    let warnings = diagnostics.len() - errors;
    let counted = |n: usize, noun: &str| match n {
        0 => None,
        1 => Some(format!("1 {noun}")),
        n => Some(format!("{n} {noun}s")),
    };
    let counts: Vec<String> =
        [counted(errors, "error"), counted(warnings, "warning")].into_iter().flatten().collect();
    if !counts.is_empty() {
        text.push_str(&counts.join(", "));
        text.push('\n');
    }
    text
}
