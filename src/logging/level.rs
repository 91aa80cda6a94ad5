//! `[log] level`: a level, or a list of `target=level`.
//!
//! Owns the syntax, which is stricter than that of tracing-subscriber: that crate accepts an unknown word as a target
//! and logs all its events. A level alone applies to this program; other crates then log only warnings and errors. Must
//! not know the sink.

use tracing_subscriber::filter::{LevelFilter, Targets};

const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];
const PROGRAM: &str = "camunda_backupd";

/// Whether `level` is valid; the error names the invalid part and the valid forms.
pub fn check_level(level: &str) -> Result<(), String> {
    filter(level).map(|_| ())
}

/// Parses `level`.
pub(super) fn filter(level: &str) -> Result<Targets, String> {
    level.split(',').map(str::trim).try_fold(Targets::new(), |filter, part| {
        with(filter, part).ok_or_else(|| {
            format!(
                "invalid log level `{}`: write off, error, warn, info, debug or trace, \
                 or a list such as `info,camunda_backupd::queue=debug`",
                part.escape_debug()
            )
        })
    })
}

/// Adds one `level` or `target=level`; the last entry of a target counts.
fn with(filter: Targets, part: &str) -> Option<Targets> {
    let Some((target, word)) = part.rsplit_once('=') else {
        return Some(match level_of(part)? {
            level @ (LevelFilter::OFF | LevelFilter::ERROR | LevelFilter::WARN) => filter.with_default(level),
            level => filter.with_default(LevelFilter::WARN).with_target(PROGRAM, level),
        });
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "_:-".contains(c);
    let is_target = !target.is_empty() && target.chars().all(plain);
    let level = level_of(word.trim())?;
    is_target.then(|| filter.with_target(target, level))
}

fn level_of(word: &str) -> Option<LevelFilter> {
    LEVELS.iter().find(|(name, _)| *name == word).map(|(_, level)| *level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use tracing::Level;

    #[rstest]
    #[case("off", "off")]
    #[case("error", "error")]
    #[case("warn", "warn")]
    #[case("info", "camunda_backupd=info,warn")]
    #[case("trace, hyper=info", "camunda_backupd=trace,hyper=info,warn")]
    #[case("info, camunda_backupd::run=debug", "camunda_backupd::run=debug,camunda_backupd=info,warn")]
    #[case("camunda_backupd=trace,hyper-util=error", "camunda_backupd=trace,hyper-util=error")]
    fn levels_and_targets_are_parsed(#[case] level: &str, #[case] means: &str) {
        assert_eq!(filter(level).unwrap().to_string(), means);
    }

    #[rstest]
    #[case("info", "camunda_backupd::run", Level::INFO, true)]
    #[case("info", "camunda_backupd::run", Level::DEBUG, false)]
    #[case("debug", "hyper::proto", Level::WARN, true)]
    #[case("debug", "hyper::proto", Level::INFO, false)]
    #[case("error", "camunda_backupd", Level::WARN, false)]
    #[case("off", "camunda_backupd", Level::ERROR, false)]
    #[case("camunda_backupd=trace", "hyper", Level::ERROR, false)]
    #[case("info,camunda_backupd::run=trace", "camunda_backupd::run::queue", Level::TRACE, true)]
    #[case("info,camunda_backupd::run=off", "camunda_backupd::run", Level::ERROR, false)]
    #[case("info,debug", "camunda_backupd", Level::DEBUG, true)]
    #[case("debug,info", "camunda_backupd", Level::DEBUG, false)]
    #[case("hyper= debug", "hyper", Level::DEBUG, true)]
    fn most_specific_target_wins(
        #[case] level: &str,
        #[case] target: &str,
        #[case] event: Level,
        #[case] enabled: bool,
    ) {
        assert_eq!(filter(level).unwrap().would_enable(target, &event), enabled);
    }

    #[rstest]
    #[case("loud", "loud")]
    #[case("", "")]
    #[case("info,", "")]
    #[case("info,run=loud", "run=loud")]
    #[case("[span{secret=1}]=trace", "[span{secret=1}]=trace")]
    #[case("in\nfo", "in\\nfo")]
    fn invalid_levels_are_rejected_with_remedy(#[case] level: &str, #[case] named: &str) {
        assert_eq!(
            filter(level).unwrap_err(),
            format!(
                "invalid log level `{named}`: write off, error, warn, info, debug or trace, \
                 or a list such as `info,camunda_backupd::queue=debug`"
            )
        );
    }
}
