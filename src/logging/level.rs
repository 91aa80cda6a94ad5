//! `[log] level`: a level, or a list of `target=level`.
//!
//! Owns its grammar, which is narrower than tracing-subscriber's: that one takes any unknown word
//! for a target and logs everything of it. And a level alone is ours: of other crates, only warnings
//! and errors say anything to an operator who did not ask for more. Must not know where lines go.

use tracing_subscriber::EnvFilter;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Whether `level` can be used, without using it.
pub fn check_level(level: &str) -> Result<(), String> {
    level.split(',').try_for_each(|part| {
        let (target, word) = part.trim().rsplit_once('=').unwrap_or(("camunda_backupd", part.trim()));
        let known = LEVELS.contains(&word.trim());
        let plain =
            !target.is_empty() && target.chars().all(|c| c.is_ascii_alphanumeric() || "_:-".contains(c));
        if known && plain {
            return Ok(());
        }
        Err(format!(
            "log level `{}` is not one: write {}, or a list such as `info,camunda_backupd::run=debug`",
            part.trim().escape_debug(),
            "off, error, warn, info, debug or trace"
        ))
    })
}

/// The filter for `level`.
pub(super) fn filter(level: &str) -> Result<EnvFilter, String> {
    check_level(level)?;
    let directives: Vec<String> = level.split(',').map(|part| directive(part.trim())).collect();
    EnvFilter::builder().parse(directives.join(",")).map_err(|e| {
        format!(
            "log level `{}` is not one ({e}): write off, error, warn, info, debug or trace",
            level.escape_debug()
        )
    })
}

fn directive(part: &str) -> String {
    match part {
        "off" | "error" | "warn" => part.to_owned(),
        level if !level.contains('=') => format!("warn,camunda_backupd={level}"),
        directive => directive.chars().filter(|c| !c.is_whitespace()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("off", "off")]
    #[case("error", "error")]
    #[case("warn", "warn")]
    #[case("info", "camunda_backupd=info,warn")]
    #[case("trace, hyper=info", "camunda_backupd=trace,hyper=info,warn")]
    #[case("info, camunda_backupd::run=debug", "camunda_backupd::run=debug,camunda_backupd=info,warn")]
    #[case("camunda_backupd=trace,hyper-util=error", "camunda_backupd=trace,hyper-util=error")]
    fn levels_and_targets_are_taken(#[case] level: &str, #[case] means: &str) {
        assert_eq!(filter(level).unwrap().to_string(), means);
    }

    #[rstest]
    #[case("loud", "loud")]
    #[case("", "")]
    #[case("info,", "")]
    #[case("info,run=loud", "run=loud")]
    #[case("[span{secret=1}]=trace", "[span{secret=1}]=trace")]
    #[case("in\nfo", "in\\nfo")]
    fn anything_else_is_refused_in_one_sentence(#[case] level: &str, #[case] named: &str) {
        assert_eq!(
            filter(level).unwrap_err(),
            format!(
                "log level `{named}` is not one: write off, error, warn, info, debug or trace, \
                 or a list such as `info,camunda_backupd::run=debug`"
            )
        );
    }
}
