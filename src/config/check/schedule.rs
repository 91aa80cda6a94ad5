//! `[defaults]` and `[schedules.*]`: clusters, due times and retention.
//!
//! Owns the checks of one schedule; `neighbours` compares schedules. Must not read a clock.

use super::{Checker, YEAR, path_of, quoted};
use crate::config::diagnostic::Diagnostic;
use crate::config::nearest::nearest;
use crate::config::raw::{At, Raw};
use crate::config::{CatchUp, Manual, ScheduleConfig, raw};
use crate::domain::Keep;
use crate::schedule::cron::{Refusal, Timing};
use chrono_tz::{TZ_VARIANTS, Tz};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Values of `[defaults]`, for clusters and schedules without values of their own.
pub(super) struct Defaults {
    timezone: Tz,
    keep: Keep,
    catch_up: CatchUp,
    start_within: Duration,
    spread: Duration,
    pub(super) probe_interval: Duration,
    pub(super) manual: Manual,
}

const CATCH_UP: [(&str, CatchUp); 2] = [("once", CatchUp::Once), ("skip", CatchUp::Skip)];
/// Maximum number of pairs of schedule and cluster: each is a retention group and a timetable entry.
const PAIR_LIMIT: usize = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);

impl Checker<'_> {
    pub(super) fn defaults(&mut self, raw: &raw::Defaults) -> Defaults {
        Defaults {
            timezone: self.zone(raw.timezone.as_ref(), Tz::UTC),
            keep: self.keep(&raw.keep, "defaults.keep", Keep::default()),
            catch_up: self.one_of(raw.catch_up.as_ref(), "defaults.catch_up", &CATCH_UP, CatchUp::Once),
            start_within: self.duration(
                raw.start_within.as_ref(),
                "defaults.start_within",
                Duration::from_hours(6),
                SECOND..=YEAR,
            ),
            spread: self.duration(
                raw.spread.as_ref(),
                "defaults.spread",
                Duration::ZERO,
                Duration::ZERO..=YEAR,
            ),
            probe_interval: self.duration(
                raw.probe_interval.as_ref(),
                "defaults.probe_interval",
                Duration::from_mins(5),
                SECOND..=YEAR,
            ),
            manual: self.manual(&raw.manual, "defaults.manual", Manual::default()),
        }
    }

    pub(super) fn schedules(&mut self, raw: &Raw, defaults: &Defaults) -> BTreeMap<String, ScheduleConfig> {
        let clusters: BTreeSet<&str> = raw.clusters.keys().map(|name| name.value().as_str()).collect();
        let schedules = raw.schedules.iter();
        schedules.filter_map(|(name, schedule)| self.schedule(name, schedule, defaults, &clusters)).collect()
    }

    fn schedule(
        &mut self,
        name: &At<String>,
        raw: &raw::Schedule,
        defaults: &Defaults,
        known: &BTreeSet<&str>,
    ) -> Option<(String, ScheduleConfig)> {
        self.name(name, "schedule");
        let path = path_of("schedules", name);
        let clusters = self.served(name, raw, &path, known);
        let timezone = self.zone(raw.timezone.as_ref(), defaults.timezone);
        let keep = self.keep(&raw.keep, &format!("{path}.keep"), defaults.keep);
        let catch_up =
            self.one_of(raw.catch_up.as_ref(), &format!("{path}.catch_up"), &CATCH_UP, defaults.catch_up);
        let start_within = format!("{path}.start_within");
        let start_within =
            self.duration(raw.start_within.as_ref(), &start_within, defaults.start_within, SECOND..=YEAR);
        let spread = format!("{path}.spread");
        let spread = self.duration(raw.spread.as_ref(), &spread, defaults.spread, Duration::ZERO..=YEAR);
        let timing = self.timing(name, raw, &path)?;
        let schedule = ScheduleConfig {
            name: name.value().clone(),
            clusters,
            times_key: format!("{} {}", timing.canonical(), timezone.name()),
            timing,
            timezone,
            keep,
            catch_up,
            start_within,
            spread,
            enabled: raw.enabled.as_ref().is_none_or(|at| *at.value()),
        };
        Some((name.value().clone(), schedule))
    }

    fn keep(&mut self, raw: &raw::Keep, path: &str, default: Keep) -> Keep {
        Keep {
            successful: self.kept(raw.successful.as_ref(), &format!("{path}.successful"), default.successful),
            failed: self.kept(raw.failed.as_ref(), &format!("{path}.failed"), default.failed),
        }
    }

    fn zone(&mut self, raw: Option<&At<String>>, default: Tz) -> Tz {
        let Some(at) = raw else { return default };
        let name = at.value();
        if let Ok(zone) = name.parse() {
            return zone;
        }
        let names = || TZ_VARIANTS.iter().map(|zone| zone.name());
        let city = || {
            names().find(|zone| zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name)))
        };
        let help = match nearest(name, names()).or_else(city) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => "write an IANA name, as in \"Europe/Berlin\" or \"UTC\"".into(),
        };
        self.error(at.span(), format!("unknown time zone {}", quoted(name)), help);
        default
    }

    fn timing(&mut self, name: &At<String>, raw: &raw::Schedule, path: &str) -> Option<Timing> {
        const HELP: &str = "write daily = \"02:00\", weekly = \"sunday 03:30\" or cron = \"0 2 * * *\"";
        let given: Vec<(&str, &At<String>)> =
            [("daily", raw.daily.as_ref()), ("weekly", raw.weekly.as_ref()), ("cron", raw.cron.as_ref())]
                .into_iter()
                .filter_map(|(key, at)| Some((key, at?)))
                .collect();
        let refused = |key: &str| self.taken.contains(&format!("{path}.{key}"));
        match given.as_slice() {
            [] if ["daily", "weekly", "cron"].into_iter().any(refused) => None,
            [] => {
                let message = format!("schedule {} has no due time", quoted(name.value()));
                self.error(name.span(), message, HELP);
                None
            }
            [(key, at)] => {
                let timing = match *key {
                    "daily" => Timing::daily(at.value()),
                    "weekly" => Timing::weekly(at.value()),
                    _ => Timing::cron(at.value(), self.env.now),
                };
                match timing {
                    Ok(timing) => {
                        self.both_days(at, &timing);
                        Some(timing)
                    }
                    Err(refusal) => {
                        self.refused_timing(at, refusal);
                        None
                    }
                }
            }
            [(first, _), (second, at), ..] => {
                let message = format!("schedule {} has both `{first}` and `{second}`", quoted(name.value()));
                self.error(at.span(), message, "keep one of them, or make two schedules");
                None
            }
        }
    }

    fn refused_timing(&mut self, at: &At<String>, refusal: Refusal) {
        let mut span = at.span();
        let verbatim = span.len() == at.value().len() + 2;
        // The problem's position inside the value is known. It is a position in the file only if the string has no
        // escapes.
        if let (Some(part), true) = (refusal.at, verbatim) {
            span = span.start + 1 + part.start..span.start + 1 + part.end;
        }
        self.error(span, refusal.message, refusal.help);
    }

    fn both_days(&mut self, at: &At<String>, timing: &Timing) {
        if timing.restricts_both_days() {
            let message =
                format!("{} is due only if day of month and day of week both match", quoted(at.value()));
            let help = "some other tools accept either; write two schedules for that";
            self.warning(at.span(), message, help);
        }
    }

    /// The clusters of a schedule: exact names first, then patterns.
    fn served(
        &mut self,
        name: &At<String>,
        raw: &raw::Schedule,
        path: &str,
        known: &BTreeSet<&str>,
    ) -> Vec<String> {
        const HELP: &str = "write clusters = [\"orders\"], or [\"*\"] for all";
        let Some(list) = &raw.clusters else {
            self.missing(&format!("{path}.clusters"), name.span(), "", HELP);
            return vec![];
        };
        if list.value().is_empty() {
            self.error(list.span(), format!("schedule {} has no cluster", quoted(name.value())), HELP);
        }
        if self.pairs > PAIR_LIMIT {
            return vec![];
        }
        let mut served = BTreeSet::new();
        for at in list.value() {
            let entry = at.value().as_str();
            if known.contains(entry) {
                served.insert(entry.to_owned());
            } else if entry.contains(['*', '?']) {
                let before = served.len();
                let mut matching = known.iter().filter(|name| matches(entry, name)).peekable();
                let none = matching.peek().is_none();
                served.extend(matching.map(|name| (*name).to_owned()));
                if none && before == served.len() && !known.is_empty() {
                    let message = format!("{} matches no cluster", quoted(entry));
                    let help = format!("the clusters are {}", listed(known));
                    self.warning(at.span(), message, help);
                }
            } else if !known.is_empty() {
                let help = match nearest(entry, known.iter().copied()) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => format!("the clusters are {}", listed(known)),
                };
                let diagnostic = Diagnostic::error(format!("unknown cluster {}", quoted(entry))).help(help);
                self.found.push(diagnostic.at_location(self.label(at.span(), "")));
            }
        }
        self.pairs += served.len();
        if self.pairs > PAIR_LIMIT {
            let upto = quoted(name.value());
            let message = format!(
                "the schedules up to {upto} have more than {PAIR_LIMIT} pairs of schedule and cluster"
            );
            self.error(list.span(), message, "use fewer schedules with all clusters");
        }
        served.into_iter().collect()
    }
}

fn listed(names: &BTreeSet<&str>) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| quoted(name)).collect();
    let rest = names.len().saturating_sub(SHOWN);
    if rest == 0 { shown.join(", ") } else { format!("{} and {rest} more", shown.join(", ")) }
}

/// `*` matches any text, `?` one character. Backtracks to the last star only, so the time is bounded.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if p < pattern.len() && (pattern[p] == b'?' || (pattern[p] == name[n] && pattern[p] != b'*')) {
            (p, n) = (p + 1, n + 1);
        } else if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, n));
            p += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            (p, n) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;
    use rstest::rstest;

    #[rstest]
    #[case("*", "orders", true)]
    #[case("o*", "orders", true)]
    #[case("*ers", "orders", true)]
    #[case("o*d*s", "orders", true)]
    #[case("order?", "orders", true)]
    #[case("order?", "order", false)]
    #[case("o*x", "orders", false)]
    #[case("**", "a", true)]
    #[case("a*b*c", "aabbcc", true)]
    #[case("prod", "prod-eu", false)]
    fn patterns_match_like_shell_globs(#[case] pattern: &str, #[case] name: &str, #[case] expected: bool) {
        assert_eq!(matches(pattern, name), expected);
    }
}
