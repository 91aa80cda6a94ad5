//! Log reminders, once a minute, while exporting stays paused. Each names the owner and the duration of a
//! pause.
//!
//! Owns the decision which pauses are reported. Must not resume exporting.

use crate::domain::{Addresses, Exporting, ExportingProbe, Instant, RunId};
use crate::store::{ClustersToResume, PendingResume};
use std::collections::BTreeMap;

/// Minimum duration of a reported pause, in seconds.
const LONG: i64 = 60;

/// Reason text for a pause without a pending resume, if the state file has lost commits.
const LOST: &str = "the state file has lost commits, so this pause may be ours: if nobody else paused exporting, `resume-exporting CLUSTER --yes` ends it";

/// One reminder, written as one line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reminder {
    cluster: String,
    /// Owner of the pause: `us` or `other`. `unknown` if partitions differ without a pause of ours, or if a
    /// pending resume may be lost.
    owner: &'static str,
    seconds: i64,
    run_id: Option<RunId>,
    attempts: Option<u32>,
    reason: Option<String>,
}

/// Returns all long pauses: those with a pending resume, and foreign pauses found by the last probe of a
/// configured cluster. `pending_resumes` is `None` if the store cannot be read. `is_whole` is false if the
/// state file lost commits.
pub(crate) fn reminders<'a>(
    pending_resumes: Option<&[PendingResume]>,
    is_whole: bool,
    probes: &BTreeMap<String, ExportingProbe>,
    configured: impl Fn(&str) -> Option<&'a Addresses>,
    now: Instant,
) -> Vec<Reminder> {
    let unread = pending_resumes.is_none();
    let pending_resumes = pending_resumes.unwrap_or_default();
    // A pending resume stays stored if its confirmation could not be written. Exporting then runs, so nothing
    // is reported.
    let is_resumed = |pending_resume: &&PendingResume| {
        !pending_resume.may_be_paused()
            || probes.iter().any(|(name, probe)| {
                configured(name).is_some_and(|addresses| {
                    let (exporting, checked_at) = (probe.exporting, probe.checked_at);
                    pending_resume.is_seen_resumed(exporting, checked_at, &addresses.zeebe)
                })
            })
    };
    let ours =
        pending_resumes.iter().filter(|pending_resume| !is_resumed(pending_resume)).map(|pending_resume| {
            Reminder {
                cluster: pending_resume.cluster.clone(),
                owner: "us",
                seconds: (now - pending_resume.intended_at).num_seconds(),
                run_id: Some(pending_resume.run_id),
                attempts: Some(pending_resume.attempts),
                reason: pending_resume.last_error.clone(),
            }
        });
    let to_resume =
        ClustersToResume::by(pending_resumes.iter().filter(|pending_resume| pending_resume.may_be_paused()));
    let free = |name: &str| configured(name).is_some_and(|addresses| to_resume.to(name, addresses).is_none());
    let others = probes.iter().filter(|(name, _)| free(name)).filter_map(|(name, probe)| {
        let (owner, reason) = match probe.exporting {
            Exporting::PausedByOther | Exporting::Mixed if !is_whole => ("unknown", LOST),
            Exporting::PausedByOther => ("other", "exporting was paused by someone else, who must resume it: no resume of ours is pending"),
            Exporting::PausedByUs if unread => ("us", "the pending resume cannot be read: check the state file"),
            Exporting::Mixed => ("unknown", "partitions differ in their exporting state, and no pause of ours is open: check whether each partition has a leader, and whether somebody paused some of them"),
            _ => return None,
        };
        Some(Reminder {
            cluster: name.clone(),
            owner,
            seconds: (now - probe.since?).num_seconds(),
            run_id: None,
            attempts: None,
            reason: Some(reason.to_owned()),
        })
    });
    ours.chain(others).filter(|reminder| reminder.seconds >= LONG).collect()
}

impl Reminder {
    /// Writes the reminder to the log.
    pub(crate) fn log(&self) {
        let Self { cluster, owner, seconds, run_id, attempts, reason } = self;
        tracing::error!(
            event = "exporting.still_paused",
            cluster,
            run_id = run_id.map(tracing::field::display),
            owner,
            seconds,
            attempts,
            reason
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Addresses;
    use chrono::TimeDelta;
    use rstest::rstest;
    use std::sync::LazyLock;

    static ADDRESSES: LazyLock<Addresses> =
        LazyLock::new(|| Addresses { zeebe: "http://h:9600".into(), ..Addresses::default() });

    fn now() -> Instant {
        "2026-11-23T10:00:00Z".parse().unwrap()
    }

    fn pending_resume(seconds: i64) -> PendingResume {
        PendingResume {
            attempts: 7,
            last_error: Some("connection refused".into()),
            ..PendingResume::new(
                RunId::nil(),
                "orders",
                ADDRESSES.clone(),
                now() - TimeDelta::seconds(seconds),
            )
        }
    }

    fn probes(exporting: Exporting, seconds: i64) -> BTreeMap<String, ExportingProbe> {
        let since = Some(now() - TimeDelta::seconds(seconds));
        let probe = ExportingProbe { exporting, checked_at: None, since };
        [("orders".to_owned(), probe)].into()
    }

    fn reported(
        pending_resumes: &[PendingResume],
        probes: &BTreeMap<String, ExportingProbe>,
    ) -> Vec<(&'static str, i64, Option<u32>)> {
        let all = reminders(
            Some(pending_resumes),
            true,
            probes,
            |name| (name == "orders").then_some(&ADDRESSES),
            now(),
        );
        all.iter().map(|reminder| (reminder.owner, reminder.seconds, reminder.attempts)).collect()
    }

    #[rstest]
    #[case::foreign_pause(Exporting::PausedByOther, 600, &[("other", 600, None)])]
    #[case::mixed(Exporting::Mixed, 600, &[("unknown", 600, None)])]
    #[case::short_pause(Exporting::PausedByOther, 59, &[])]
    #[case::none(Exporting::Running, 600, &[])]
    #[case::unknown(Exporting::Unknown, 600, &[])]
    fn foreign_pause_is_reported_with_its_duration(
        #[case] exporting: Exporting,
        #[case] seconds: i64,
        #[case] expected: &[(&'static str, i64, Option<u32>)],
    ) {
        assert_eq!(reported(&[], &probes(exporting, seconds)), expected);
    }

    /// A probe result may be older than the pause, so the pending resume decides the owner.
    #[test]
    fn pause_with_pending_resume_is_reported_once_as_ours() {
        assert_eq!(
            reported(&[pending_resume(61)], &probes(Exporting::PausedByOther, 600)),
            [("us", 61, Some(7))]
        );
        assert_eq!(reported(&[pending_resume(59)], &probes(Exporting::Mixed, 600)), []);
    }

    #[test]
    fn pause_of_a_renamed_cluster_is_reported_once() {
        let mut renamed = pending_resume(61);
        renamed.cluster = "old-name".into();
        for seen in [Exporting::PausedByOther, Exporting::Mixed] {
            assert_eq!(reported(std::slice::from_ref(&renamed), &probes(seen, 600)), [("us", 61, Some(7))]);
        }
    }

    /// The name `orders` now has another address. A probe there does not show whether the paused cluster
    /// exports again.
    #[test]
    fn probe_at_another_address_does_not_silence_the_reminder() {
        let mut pending_resume = pending_resume(600);
        pending_resume.addresses.zeebe = "http://old:9600".into();
        pending_resume.resume_intended_at = Some(now() - TimeDelta::seconds(20));
        let mut probes = probes(Exporting::Running, 300);
        probes.get_mut("orders").unwrap().checked_at = Some(now());
        assert_eq!(reported(&[pending_resume], &probes), [("us", 600, Some(7))]);
    }

    /// The server confirmed the resume, but a full disk prevented storing the confirmation.
    #[test]
    fn pending_resume_of_a_cluster_that_exports_again_is_not_reported() {
        let mut pending_resume = pending_resume(600);
        let mut probes = probes(Exporting::Running, 300);
        probes.get_mut("orders").unwrap().checked_at = Some(now());
        assert_eq!(
            reported(std::slice::from_ref(&pending_resume), &probes).len(),
            1,
            "no resume was sent yet"
        );
        pending_resume.resume_intended_at = Some(now() - TimeDelta::seconds(20));
        assert_eq!(reported(std::slice::from_ref(&pending_resume), &probes), []);
        // `confirmed_at` comes from the process that sent the resume, and outranks a probe that shows our
        // pause.
        pending_resume.confirmed_at = Some(now() - TimeDelta::seconds(19));
        assert_eq!(
            reported(std::slice::from_ref(&pending_resume), &self::probes(Exporting::PausedByUs, 600)),
            []
        );
        assert_eq!(
            reported(&[pending_resume], &self::probes(Exporting::PausedByOther, 600)),
            [("other", 600, None)]
        );
    }

    #[test]
    fn pauses_seen_by_probes_are_reported_if_pending_resumes_are_unreadable() {
        let all = reminders(None, true, &probes(Exporting::PausedByUs, 600), |_| Some(&ADDRESSES), now());
        assert_eq!(all.iter().map(|reminder| reminder.owner).collect::<Vec<_>>(), ["us"]);
    }

    #[rstest]
    #[case(Exporting::PausedByOther)]
    #[case(Exporting::Mixed)]
    fn pause_after_lost_commits_may_be_ours(#[case] exporting: Exporting) {
        let all = reminders(Some(&[]), false, &probes(exporting, 600), |_| Some(&ADDRESSES), now());
        let reported = all.iter().map(|reminder| (reminder.owner, reminder.reason.as_deref().unwrap()));
        let expected = "the state file has lost commits, so this pause may be ours: if nobody else paused \
                        exporting, `resume-exporting CLUSTER --yes` ends it";
        assert_eq!(reported.collect::<Vec<_>>(), [("unknown", expected)]);
    }

    #[test]
    fn removed_cluster_is_reported_only_while_its_resume_is_pending() {
        let gone = |pending_resumes: &[PendingResume]| {
            reminders(Some(pending_resumes), true, &probes(Exporting::PausedByOther, 600), |_| None, now())
                .len()
        };
        assert_eq!((gone(&[]), gone(&[pending_resume(61)])), (0, 1));
    }
}
