//! Injected faults: kind and trigger.
//!
//! Owns the language of faults: `TRIGGER.EFFECT[=VALUE][@TIMES][+SKIP]`, several separated by commas. A fault
//! waits for a request that matches TRIGGER, then changes the model or the delivery of the response. A fault
//! never fakes a response that the product would not return in that state. Must not apply effects:
//! `model/effects.rs` and `wire.rs` do.
//!
//! TRIGGER is one of:
//!
//! - `now`;
//! - `*` for every request;
//! - a part: `zeebe operate tasklist optimize history search rest saas`;
//! - a kind of request, independent of its path: `pause resume partitions info health cluster prometheus
//!   topology status zeebe-post zeebe-get zeebe-list zeebe-delete zeebe-state` (`operate-`, `history-`,
//!   `saas-` and so on likewise; `saas-token saas-cluster saas-schedule saas-restore`), `search-put
//!   search-get search-status search-delete search-indices search-repository`;
//! - `records`: `search-put` and the other requests about snapshots.
//!
//! TIMES is the number of occurrences: default 1, `*` for unlimited. SKIP is the number of matching requests
//! that pass first.
//!
//! | EFFECT | result |
//! |---|---|
//! | `refuse` `drop-request` `drop-response` | connection refused; request lost before it is read; response lost after the request was executed |
//! | `acted-502` `acted-503` `acted-504` | executed, but the response has this status |
//! | `unauthorized` `forbidden` | 401 or 403, not executed |
//! | `numbers-as-text` | every number in the response is a text |
//! | `delay=2s` `not-json` `endless` `redirect` `content-type` `unknown-state` | change of the response during delivery |
//! | `fail` `partial` `partial-silent` | pause, resume: no partition or only one switches; with `partial-silent` the body reports success |
//! | `act-late=30s` | pause, resume: executed and answered after this delay, as by a hanging gateway |
//! | `fail` `stall[=10s]` `conflict` `missing-partition` `scaling` | a Zeebe backup fails; hangs; a foreign backup takes a higher id first; one partition is never backed up; or 409 because partitions are being added |
//! | `foreign-backup` | a foreign backup, of the history or of Zeebe, is running when the request arrives |
//! | `range-gap` | brokers drop log that is in no backup |
//! | `stall[=10s]` `failed-shard` `unassigned` `empty` | a web app's part or the records: hangs, lacks a shard, has an index without primary, matches no index |
//! | `broker-restart[=1s]` `leader-change` `no-leader[=5s]` `compact` | applied to the broker after the request, the last two before the request; without a leader a follower reports the first partition's exporter |
//! | `kill[=1s]` | the web app restarts and loses its queue |
//! | `store-down[=5s]` `store-hung[=5s]` `store-none` `search-down[=5s]` | failure of the backup store or the search engine |
//! | `foreign-resume[=1s]` `foreign-pause[=1s]` `foreign-hard-pause[=1s]` | foreign resume or pause after this delay |
//! | `suspend` | Camunda 8 SaaS reports the cluster as suspended |
//! | `change[=10s]` `stop-processing[=10s]` | the cluster is being scaled; its partitions do not process |
//! | `disk=500` | from now on the brokers' disk has this many MiB available, minus the growth of the log |
//! | `clock=-10m` | offset of the cluster's timestamps from now on |
//! | `heal` | ends every fault except those of running backups |

use chrono::TimeDelta;
use std::str::FromStr;
use std::time::Duration;

/// Effect of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the table above describes each effect
pub enum Effect {
    Refuse,
    DropRequest,
    DropResponse,
    Delay(Duration),
    Acted(u16),
    Unauthorized,
    Forbidden,
    NumbersAsText,
    NotJson,
    Endless,
    Redirect,
    ContentType,
    UnknownState,
    Fail,
    Partial,
    PartialSilent,
    ActLate(Duration),
    Stall(Option<Duration>),
    Conflict,
    MissingPartition,
    Scaling,
    ForeignBackup,
    RangeGap,
    FailedShard,
    Unassigned,
    Empty,
    BrokerRestart(Duration),
    LeaderChange,
    NoLeader(Duration),
    Compact,
    Kill(Duration),
    StoreDown(Option<Duration>),
    StoreHung(Option<Duration>),
    StoreNone,
    SearchDown(Duration),
    ForeignResume(Duration),
    ForeignPause(Duration),
    ForeignHardPause(Duration),
    Suspend,
    Change(Duration),
    StopProcessing(Duration),
    Disk(u64),
    Clock(TimeDelta),
    Heal,
}

/// Parts of a cluster: the path prefixes, and the history, which is below the broker's prefix.
pub(crate) const PARTS: [&str; 8] =
    ["zeebe", "operate", "tasklist", "optimize", "history", "search", "rest", "saas"];

/// Every kind of request, as the counters name it.
pub(crate) const ENDPOINTS: [&str; 52] = [
    "pause",
    "resume",
    "partitions",
    "info",
    "health",
    "cluster",
    "prometheus",
    "zeebe-post",
    "zeebe-get",
    "zeebe-list",
    "zeebe-delete",
    "zeebe-state",
    "zeebe-other",
    "operate-post",
    "operate-get",
    "operate-list",
    "operate-delete",
    "operate-other",
    "tasklist-post",
    "tasklist-get",
    "tasklist-list",
    "tasklist-delete",
    "tasklist-other",
    "optimize-post",
    "optimize-get",
    "optimize-list",
    "optimize-delete",
    "optimize-other",
    "history-post",
    "history-get",
    "history-list",
    "history-delete",
    "history-other",
    "search-put",
    "search-get",
    "search-status",
    "search-delete",
    "search-indices",
    "search-repository",
    "search-other",
    "topology",
    "status",
    "rest-other",
    "saas-token",
    "saas-cluster",
    "saas-post",
    "saas-list",
    "saas-delete",
    "saas-schedule",
    "saas-restore",
    "saas-other",
    "unknown",
];

/// A fault that waits for its trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Trigger: part, kind of request, `records`, `*` or `now`.
    pub trigger: String,
    /// Effect.
    pub effect: Effect,
    /// Remaining occurrences; `None` is unlimited.
    pub times: Option<u64>,
    /// Matching requests that pass first.
    pub skip: u64,
}

impl Fault {
    /// A fault with one occurrence, at the next matching request.
    pub fn once(trigger: &str, effect: Effect) -> Self {
        Self { trigger: trigger.to_owned(), effect, times: Some(1), skip: 0 }
    }

    /// Whether this kind of request to one of these parts matches the trigger.
    fn awaits(&self, parts: &[&str], endpoint: &str) -> bool {
        let begins = matches!(
            self.effect,
            Effect::Stall(_)
                | Effect::Fail
                | Effect::Conflict
                | Effect::MissingPartition
                | Effect::Scaling
                | Effect::FailedShard
                | Effect::Unassigned
                | Effect::Empty
        );
        match self.trigger.as_str() {
            "*" => true,
            trigger if trigger == endpoint => true,
            "records" | "search" if begins => endpoint == "search-put",
            "records" => matches!(endpoint, "search-put" | "search-get" | "search-status" | "search-delete"),
            trigger if begins && parts.contains(&trigger) => endpoint.strip_prefix(trigger) == Some("-post"),
            trigger => parts.contains(&trigger),
        }
    }
}

/// Waiting faults, and the number of triggered ones.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    armed: Vec<Fault>,
    /// Number of faults triggered so far.
    pub happened: u64,
}

impl Faults {
    /// Adds a fault.
    pub fn arm(&mut self, fault: Fault) {
        self.armed.push(fault);
    }

    /// Takes the effects that this request triggers; `parts` are the names of the requested part.
    pub fn take_effects(&mut self, parts: &[&str], endpoint: &str) -> Vec<Effect> {
        let mut effects = Vec::new();
        for fault in self.armed.iter_mut().filter(|f| f.awaits(parts, endpoint)) {
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if let Some(times) = &mut fault.times {
                *times = times.saturating_sub(1);
            }
            effects.push(fault.effect);
        }
        self.armed.retain(|f| f.times != Some(0));
        self.happened += effects.len() as u64;
        effects
    }

    /// Number of waiting faults.
    pub fn waiting(&self) -> usize {
        self.armed.len()
    }

    /// Removes the waiting faults.
    pub fn disarm(&mut self) {
        self.armed.clear();
    }
}

/// Parses a list of faults.
pub(crate) fn parse(spec: &str) -> Result<Vec<Fault>, String> {
    spec.split(',').map(str::trim).filter(|text| !text.is_empty()).map(str::parse).collect()
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, skip) = match text.rsplit_once('+') {
            Some((rest, skip)) if skip.chars().all(|c| c.is_ascii_digit()) && !skip.is_empty() => {
                (rest, skip)
            }
            _ => (text, "0"),
        };
        let (rest, times) = rest.split_once('@').unwrap_or((rest, "1"));
        let wrong_count =
            |count: &str| format!("`{count}` in the fault `{text}` is not a count: write a number");
        let skip = skip.parse().map_err(|_| wrong_count(skip))?;
        let times = match times {
            "*" => None,
            times => Some(times.parse().ok().filter(|t| *t > 0).ok_or_else(|| wrong_count(times))?),
        };
        let (name, value) = rest.split_once('=').map_or((rest, None), |(name, value)| (name, Some(value)));
        let Some((trigger, effect)) = name.split_once('.') else {
            return Err(format!(
                "`{text}` is not a fault: write TRIGGER.EFFECT, for example zeebe.drop-response"
            ));
        };
        if !matches!(trigger, "now" | "records" | "*")
            && !PARTS.contains(&trigger)
            && !ENDPOINTS.contains(&trigger)
        {
            let known = PARTS.join(", ");
            return Err(format!(
                "`{trigger}` in the fault `{text}` is not a part or kind of request: write one of {known}"
            ));
        }
        Ok(Self { trigger: trigger.to_owned(), effect: read_effect(text, effect, value)?, times, skip })
    }
}

fn read_effect(text: &str, effect: &str, value: Option<&str>) -> Result<Effect, String> {
    let duration = |value: &str| {
        humantime::parse_duration(value)
            .map_err(|_| format!("`{value}` in the fault `{text}` is not a duration: write for example 2s"))
    };
    let length = value.filter(|_| !matches!(effect, "clock" | "disk")).map(duration).transpose()?;
    let or = |default: u64| length.unwrap_or(Duration::from_secs(default));
    Ok(match effect {
        "refuse" => Effect::Refuse,
        "drop-request" => Effect::DropRequest,
        "drop-response" => Effect::DropResponse,
        "delay" => Effect::Delay(or(1)),
        "acted-502" => Effect::Acted(502),
        "acted-503" => Effect::Acted(503),
        "acted-504" => Effect::Acted(504),
        "unauthorized" => Effect::Unauthorized,
        "forbidden" => Effect::Forbidden,
        "numbers-as-text" => Effect::NumbersAsText,
        "not-json" => Effect::NotJson,
        "endless" => Effect::Endless,
        "redirect" => Effect::Redirect,
        "content-type" => Effect::ContentType,
        "unknown-state" => Effect::UnknownState,
        "fail" => Effect::Fail,
        "partial" => Effect::Partial,
        "partial-silent" => Effect::PartialSilent,
        "act-late" => Effect::ActLate(or(30)),
        "stall" => Effect::Stall(length),
        "conflict" => Effect::Conflict,
        "missing-partition" => Effect::MissingPartition,
        "scaling" => Effect::Scaling,
        "foreign-backup" => Effect::ForeignBackup,
        "range-gap" => Effect::RangeGap,
        "failed-shard" => Effect::FailedShard,
        "unassigned" => Effect::Unassigned,
        "empty" => Effect::Empty,
        "broker-restart" => Effect::BrokerRestart(or(1)),
        "leader-change" => Effect::LeaderChange,
        "no-leader" => Effect::NoLeader(or(5)),
        "compact" => Effect::Compact,
        "kill" => Effect::Kill(or(1)),
        "store-down" => Effect::StoreDown(length),
        "store-hung" => Effect::StoreHung(length),
        "store-none" => Effect::StoreNone,
        "search-down" => Effect::SearchDown(or(5)),
        "foreign-resume" => Effect::ForeignResume(or(1)),
        "foreign-pause" => Effect::ForeignPause(or(1)),
        "foreign-hard-pause" => Effect::ForeignHardPause(or(1)),
        "suspend" => Effect::Suspend,
        "change" => Effect::Change(or(10)),
        "stop-processing" => Effect::StopProcessing(or(10)),
        "disk" => {
            let value = value.unwrap_or("500");
            let wrong =
                || format!("`{value}` in the fault `{text}` is not a number of MiB: write for example 500");
            Effect::Disk(value.parse().map_err(|_| wrong())?)
        }
        "clock" => {
            let value = value.unwrap_or("10m");
            let (sign, length) = value.strip_prefix('-').map_or((1, value), |rest| (-1, rest));
            Effect::Clock(TimeDelta::from_std(duration(length)?).unwrap_or(TimeDelta::MAX) * sign)
        }
        "heal" => Effect::Heal,
        _ => {
            return Err(format!("`{effect}` in the fault `{text}` is not an effect: see the list of faults"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_list_is_parsed_and_triggers_the_given_number_of_times() {
        let mut faults = Faults::default();
        for fault in parse("zeebe.drop-response@2+1, operate.stall=3s").unwrap() {
            faults.arm(fault);
        }
        let mut effects = Vec::new();
        for _ in 0..5 {
            effects.push(faults.take_effects(&["zeebe"], "zeebe-get").len());
        }
        assert_eq!(effects, [0, 1, 1, 0, 0]);
        assert_eq!(
            faults.take_effects(&["operate"], "operate-get"),
            [],
            "a stall waits for the beginning of a backup"
        );
        assert_eq!(
            faults.take_effects(&["operate"], "operate-post"),
            [Effect::Stall(Some(Duration::from_secs(3)))]
        );
        assert_eq!(faults.waiting(), 0);
    }

    #[test]
    fn unlimited_faults_and_negative_clock_offsets_are_parsed() {
        let faults = parse("resume.refuse@*,now.clock=-10m").unwrap();
        assert_eq!(faults[0].times, None);
        assert_eq!(faults[1].effect, Effect::Clock(TimeDelta::minutes(-10)));
    }

    #[test]
    fn invalid_fault_list_is_explained_in_one_sentence() {
        for (spec, error) in [
            ("stall", "`stall` is not a fault: write TRIGGER.EFFECT, for example zeebe.drop-response"),
            (
                "zebra.stall",
                "`zebra` in the fault `zebra.stall` is not a part or kind of request: write one of zeebe, operate, \
                 tasklist, optimize, history, search, rest, saas",
            ),
            ("zeebe.sulk", "`sulk` in the fault `zeebe.sulk` is not an effect: see the list of faults"),
            (
                "zeebe.delay=long",
                "`long` in the fault `zeebe.delay=long` is not a duration: write for example 2s",
            ),
            (
                "now.disk=full",
                "`full` in the fault `now.disk=full` is not a number of MiB: write for example 500",
            ),
            ("zeebe.refuse@0", "`0` in the fault `zeebe.refuse@0` is not a count: write a number"),
        ] {
            assert_eq!(parse(spec), Err(error.to_owned()));
        }
    }
}
