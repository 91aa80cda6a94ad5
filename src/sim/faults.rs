//! What is to go wrong, and when.
//!
//! Owns the language of faults: `WHEN.WHAT[=VALUE][@TIMES][+SKIP]`, several separated by commas. A fault waits for
//! a request that matches WHEN and then breaks something in the model or on the way; it never replaces an answer by
//! one the product would not give in that state. Must not act itself: `strike.rs` does.
//!
//! WHEN is `now`, `*` for every request, a part (`zeebe operate tasklist optimize history search rest saas`), or one kind of request: `pause resume
//! partitions info health cluster prometheus topology status zeebe-post zeebe-get zeebe-list zeebe-delete zeebe-state`
//! (`operate-`, `history-`, `saas-` and so on likewise; `saas-token saas-cluster saas-schedule saas-restore`), by whatever path it comes, `search-put search-get search-status search-delete search-indices search-repository`. `records` stands
//! for `search-put` and the other requests about snapshots. TIMES is how often it happens, 1 unless told, `*` for
//! always; SKIP lets that many matching requests pass first.
//!
//! | WHAT | effect |
//! |---|---|
//! | `refuse` `drop-request` `drop-answer` | nobody listens; lost before it was read; lost after it was acted upon |
//! | `acted-502` `acted-503` `acted-504` | acted upon, and then an answer that says otherwise |
//! | `unauthorized` `forbidden` | 401 or 403, and nothing was done |
//! | `numbers-as-text` | every number in the answer is a text |
//! | `delay=2s` `not-json` `endless` `redirect` `content-type` `unknown-state` | what becomes of the answer on its way |
//! | `fail` `partial` `partial-silent` | pause, resume: no or only one partition switches, and the body says so or not |
//! | `act-late=30s` | pause, resume: acted upon and answered that much later, as by a gateway that hangs |
//! | `fail` `stall[=10s]` `conflict` `missing-partition` `scaling` | a Zeebe backup fails, hangs, a stranger takes a higher id before, one partition never gets any, or 409 because partitions are being added |
//! | `stranger-backup` | somebody else's backup, of the history or of Zeebe, is running when the request comes |
//! | `range-gap` | brokers drop log that is in no backup |
//! | `stall[=10s]` `failed-shard` `unassigned` `empty` | a web app's part or the records: hangs, lacks a shard, has an index without primary, matches no index |
//! | `broker-restart[=1s]` `leader-change` `no-leader[=5s]` `compact` | the broker after, or for the last two before, the request; without a leader the first partition's exporter is shown by a follower |
//! | `kill[=1s]` | the web app restarts and forgets its queue |
//! | `store-down[=5s]` `store-hung[=5s]` `store-none` `search-down[=5s]` | what backups are written to |
//! | `stranger-resume[=1s]` `stranger-pause[=1s]` `stranger-hard-pause[=1s]` | somebody else, that much later |
//! | `suspend` | the provider calls the cluster suspended |
//! | `change[=10s]` `stop-processing[=10s]` | the cluster is being scaled, its partitions process nothing |
//! | `disk=500` | from then on the brokers' disk has so many MiB left, less what their log grows |
//! | `clock=-10m` | the cluster's timestamps are off from then on |
//! | `heal` | everything but running backups is well again |

use chrono::TimeDelta;
use std::str::FromStr;
use std::time::Duration;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the table above tells each
pub enum What {
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
    StrangerBackup,
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
    StrangerResume(Duration),
    StrangerPause(Duration),
    StrangerHardPause(Duration),
    Suspend,
    Change(Duration),
    StopProcessing(Duration),
    Disk(u64),
    Clock(TimeDelta),
    Heal,
}

/// The parts of a cluster: path prefixes, and the history, which lies under that of the broker.
pub const PARTS: [&str; 8] =
    ["zeebe", "operate", "tasklist", "optimize", "history", "search", "rest", "saas"];

/// Every kind of request, as the counters name them.
pub const ENDPOINTS: [&str; 52] = [
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

/// A fault that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Part, kind of request, `records` or `now`.
    pub when: String,
    /// What happens then.
    pub what: What,
    /// How often it still happens; `None` is always.
    pub times: Option<u64>,
    /// Matching requests to let pass first.
    pub skip: u64,
}

impl Fault {
    /// A fault that happens once, at the next matching request.
    pub fn once(when: &str, what: What) -> Self {
        Self { when: when.to_owned(), what, times: Some(1), skip: 0 }
    }

    /// Whether it waits for this kind of request to one of these parts.
    fn awaits(&self, parts: &[&str], endpoint: &str) -> bool {
        let begins = matches!(
            self.what,
            What::Stall(_)
                | What::Fail
                | What::Conflict
                | What::MissingPartition
                | What::Scaling
                | What::FailedShard
                | What::Unassigned
                | What::Empty
        );
        match self.when.as_str() {
            "*" => true,
            when if when == endpoint => true,
            "records" | "search" if begins => endpoint == "search-put",
            "records" => matches!(endpoint, "search-put" | "search-get" | "search-status" | "search-delete"),
            when if begins && parts.contains(&when) => endpoint.strip_prefix(when) == Some("-post"),
            when => parts.contains(&when),
        }
    }
}

/// The faults that wait, and those that happened.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    armed: Vec<Fault>,
    /// How many have happened.
    pub happened: u64,
}

impl Faults {
    /// Adds a fault.
    pub fn arm(&mut self, fault: Fault) {
        self.armed.push(fault);
    }

    /// What happens at this request to a part that goes by these names.
    pub fn strike(&mut self, parts: &[&str], endpoint: &str) -> Vec<What> {
        let mut struck = Vec::new();
        for fault in self.armed.iter_mut().filter(|f| f.awaits(parts, endpoint)) {
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if let Some(times) = &mut fault.times {
                *times = times.saturating_sub(1);
            }
            struck.push(fault.what);
        }
        self.armed.retain(|f| f.times != Some(0));
        self.happened += struck.len() as u64;
        struck
    }

    /// How many still wait.
    pub fn waiting(&self) -> usize {
        self.armed.len()
    }

    /// Forgets those that still wait.
    pub fn disarm(&mut self) {
        self.armed.clear();
    }
}

/// Reads a list of faults.
pub fn parse(spec: &str) -> Result<Vec<Fault>, String> {
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
        let Some((when, what)) = name.split_once('.') else {
            return Err(format!("`{text}` is not a fault: write WHEN.WHAT, as in zeebe.drop-answer"));
        };
        if !matches!(when, "now" | "records" | "*") && !PARTS.contains(&when) && !ENDPOINTS.contains(&when) {
            let known = PARTS.join(", ");
            return Err(format!(
                "`{when}` in the fault `{text}` is no part or kind of request: write one of {known}"
            ));
        }
        Ok(Self { when: when.to_owned(), what: read_what(text, what, value)?, times, skip })
    }
}

fn read_what(text: &str, what: &str, value: Option<&str>) -> Result<What, String> {
    let duration = |value: &str| {
        humantime::parse_duration(value)
            .map_err(|_| format!("`{value}` in the fault `{text}` is not a duration: write it as in 2s"))
    };
    let length = value.filter(|_| !matches!(what, "clock" | "disk")).map(duration).transpose()?;
    let or = |default: u64| length.unwrap_or(Duration::from_secs(default));
    Ok(match what {
        "refuse" => What::Refuse,
        "drop-request" => What::DropRequest,
        "drop-answer" => What::DropResponse,
        "delay" => What::Delay(or(1)),
        "acted-502" => What::Acted(502),
        "acted-503" => What::Acted(503),
        "acted-504" => What::Acted(504),
        "unauthorized" => What::Unauthorized,
        "forbidden" => What::Forbidden,
        "numbers-as-text" => What::NumbersAsText,
        "not-json" => What::NotJson,
        "endless" => What::Endless,
        "redirect" => What::Redirect,
        "content-type" => What::ContentType,
        "unknown-state" => What::UnknownState,
        "fail" => What::Fail,
        "partial" => What::Partial,
        "partial-silent" => What::PartialSilent,
        "act-late" => What::ActLate(or(30)),
        "stall" => What::Stall(length),
        "conflict" => What::Conflict,
        "missing-partition" => What::MissingPartition,
        "scaling" => What::Scaling,
        "stranger-backup" => What::StrangerBackup,
        "range-gap" => What::RangeGap,
        "failed-shard" => What::FailedShard,
        "unassigned" => What::Unassigned,
        "empty" => What::Empty,
        "broker-restart" => What::BrokerRestart(or(1)),
        "leader-change" => What::LeaderChange,
        "no-leader" => What::NoLeader(or(5)),
        "compact" => What::Compact,
        "kill" => What::Kill(or(1)),
        "store-down" => What::StoreDown(length),
        "store-hung" => What::StoreHung(length),
        "store-none" => What::StoreNone,
        "search-down" => What::SearchDown(or(5)),
        "stranger-resume" => What::StrangerResume(or(1)),
        "stranger-pause" => What::StrangerPause(or(1)),
        "stranger-hard-pause" => What::StrangerHardPause(or(1)),
        "suspend" => What::Suspend,
        "change" => What::Change(or(10)),
        "stop-processing" => What::StopProcessing(or(10)),
        "disk" => {
            let value = value.unwrap_or("500");
            let wrong =
                || format!("`{value}` in the fault `{text}` is not a number of MiB: write it as in 500");
            What::Disk(value.parse().map_err(|_| wrong())?)
        }
        "clock" => {
            let value = value.unwrap_or("10m");
            let (sign, length) = value.strip_prefix('-').map_or((1, value), |rest| (-1, rest));
            What::Clock(TimeDelta::from_std(duration(length)?).unwrap_or(TimeDelta::MAX) * sign)
        }
        "heal" => What::Heal,
        _ => {
            return Err(format!(
                "`{what}` in the fault `{text}` is nothing that can go wrong: see the list of faults"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_read_and_strikes_as_often_as_it_says() {
        let mut faults = Faults::default();
        for fault in parse("zeebe.drop-answer@2+1, operate.stall=3s").unwrap() {
            faults.arm(fault);
        }
        let mut struck = Vec::new();
        for _ in 0..5 {
            struck.push(faults.strike(&["zeebe"], "zeebe-get").len());
        }
        assert_eq!(struck, [0, 1, 1, 0, 0]);
        assert_eq!(
            faults.strike(&["operate"], "operate-get"),
            [],
            "a stall waits for the beginning of a backup"
        );
        assert_eq!(faults.strike(&["operate"], "operate-post"), [What::Stall(Some(Duration::from_secs(3)))]);
        assert_eq!(faults.waiting(), 0);
    }

    #[test]
    fn always_and_negative_clocks_are_understood() {
        let faults = parse("resume.refuse@*,now.clock=-10m").unwrap();
        assert_eq!(faults[0].times, None);
        assert_eq!(faults[1].what, What::Clock(TimeDelta::minutes(-10)));
    }

    #[test]
    fn what_is_wrong_with_a_spec_is_said_in_one_sentence() {
        for (spec, error) in [
            ("stall", "`stall` is not a fault: write WHEN.WHAT, as in zeebe.drop-answer"),
            (
                "zebra.stall",
                "`zebra` in the fault `zebra.stall` is no part or kind of request: write one of zeebe, operate, \
                 tasklist, optimize, history, search, rest, saas",
            ),
            (
                "zeebe.sulk",
                "`sulk` in the fault `zeebe.sulk` is nothing that can go wrong: see the list of faults",
            ),
            (
                "zeebe.delay=long",
                "`long` in the fault `zeebe.delay=long` is not a duration: write it as in 2s",
            ),
            (
                "now.disk=full",
                "`full` in the fault `now.disk=full` is not a number of MiB: write it as in 500",
            ),
            ("zeebe.refuse@0", "`0` in the fault `zeebe.refuse@0` is not a count: write a number"),
        ] {
            assert_eq!(parse(spec), Err(error.to_owned()));
        }
    }
}
