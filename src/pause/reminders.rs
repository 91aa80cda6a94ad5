//! What is said each minute while exporting is paused for long: whose pause it is, and since when.
//!
//! Owns when a pause is worth a word. Must not resume anything.

use crate::api::LiveCluster;
use crate::domain::{Addresses, Exporting, Instant, RunId};
use crate::store::{ClustersToResume, PendingResume};
use std::collections::BTreeMap;

/// A pause of a minute is none of the short ones any more.
const LONG: i64 = 60;

/// Said of a pause that no debt is known for.
const LOST: &str = "the state file has lost commits, so that this pause may be ours: where nobody else paused exporting, `resume-exporting CLUSTER --yes` ends it";

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reminder {
    cluster: String,
    /// `us`, `other`, or `unknown` where partitions differ and nobody of ours has paused them, or a debt may be lost.
    owner: &'static str,
    seconds: i64,
    run_id: Option<RunId>,
    attempts: Option<u32>,
    reason: Option<String>,
}

/// Everything that is paused for long: by our debts, and on configured clusters by what was last seen there. Where the
/// debts cannot be read, what was seen is all there is; where the state is not whole, a debt may be missing.
pub(crate) fn reminders<'a>(
    pending_resumes: Option<&[PendingResume]>,
    is_whole: bool,
    probes: &BTreeMap<String, LiveCluster>,
    configured: impl Fn(&str) -> Option<&'a Addresses>,
    now: Instant,
) -> Vec<Reminder> {
    let unread = pending_resumes.is_none();
    let pending_resumes = pending_resumes.unwrap_or_default();
    // A resume that was confirmed and could not be written down leaves its debt open, and nothing paused.
    let runs = |pending_resume: &&PendingResume| {
        !pending_resume.may_be_paused()
            || probes.iter().any(|(name, probe)| {
                configured(name).is_some_and(|addresses| {
                    let (exporting, checked_at) = (probe.exporting, probe.exporting_checked_at);
                    pending_resume.is_seen_resumed(exporting, checked_at, &addresses.zeebe)
                })
            })
    };
    let ours = pending_resumes.iter().filter(|pending_resume| !runs(pending_resume)).map(|pending_resume| {
        Reminder {
            cluster: pending_resume.cluster.clone(),
            owner: "us",
            seconds: (now - pending_resume.intended_at).num_seconds(),
            run_id: Some(pending_resume.run_id),
            attempts: Some(pending_resume.attempts),
            reason: pending_resume.last_error.clone(),
        }
    });
    let owed =
        ClustersToResume::by(pending_resumes.iter().filter(|pending_resume| pending_resume.may_be_paused()));
    let free = |name: &str| configured(name).is_some_and(|addresses| owed.to(name, addresses).is_none());
    let others = probes.iter().filter(|(name, _)| free(name)).filter_map(|(name, probe)| {
        let (owner, reason) = match probe.exporting {
            Exporting::PausedByOther | Exporting::Mixed if !is_whole => ("unknown", LOST),
            Exporting::PausedByOther => ("other", "whoever paused exporting must resume it: we owe no resume"),
            Exporting::PausedByUs if unread => ("us", "its debt cannot be read: see whether the state file can be"),
            Exporting::Mixed => ("unknown", "the partitions do not export alike, and no pause of ours is open: see who paused some of them, and whether each has a leader"),
            _ => return None,
        };
        Some(Reminder {
            cluster: name.clone(),
            owner,
            seconds: (now - probe.exporting_since?).num_seconds(),
            run_id: None,
            attempts: None,
            reason: Some(reason.to_owned()),
        })
    });
    ours.chain(others).filter(|reminder| reminder.seconds >= LONG).collect()
}

impl Reminder {
    /// Into the log.
    pub(crate) fn say(&self) {
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

    static PLACE: LazyLock<Addresses> =
        LazyLock::new(|| Addresses { zeebe: "http://h:9600".into(), ..Addresses::default() });

    fn now() -> Instant {
        "2026-11-23T10:00:00Z".parse().unwrap()
    }

    fn pending_resume(seconds: i64) -> PendingResume {
        PendingResume {
            run_id: RunId::nil(),
            cluster: "orders".into(),
            addresses: PLACE.clone(),
            intended_at: now() - TimeDelta::seconds(seconds),
            intended_since_boot_ms: None,
            resume_intended_at: None,
            attempts: 7,
            last_error: Some("nobody listens".into()),
            confirmed_at: None,
            abandoned: None,
        }
    }

    fn probes(exporting: Exporting, seconds: i64) -> BTreeMap<String, LiveCluster> {
        let exporting_since = Some(now() - TimeDelta::seconds(seconds));
        let probe = LiveCluster { exporting, exporting_since, ..LiveCluster::default() };
        [("orders".to_owned(), probe)].into()
    }

    fn told(
        pending_resumes: &[PendingResume],
        probes: &BTreeMap<String, LiveCluster>,
    ) -> Vec<(&'static str, i64, Option<u32>)> {
        let all = reminders(
            Some(pending_resumes),
            true,
            probes,
            |name| (name == "orders").then_some(&PLACE),
            now(),
        );
        all.iter().map(|reminder| (reminder.owner, reminder.seconds, reminder.attempts)).collect()
    }

    #[rstest]
    #[case::a_foreign_pause(Exporting::PausedByOther, 600, &[("other", 600, None)])]
    #[case::half_a_pause(Exporting::Mixed, 600, &[("unknown", 600, None)])]
    #[case::a_short_one(Exporting::PausedByOther, 59, &[])]
    #[case::none(Exporting::Running, 600, &[])]
    #[case::nobody_can_tell(Exporting::Unknown, 600, &[])]
    fn a_pause_that_is_not_ours_is_told_with_since_when(
        #[case] exporting: Exporting,
        #[case] seconds: i64,
        #[case] expected: &[(&'static str, i64, Option<u32>)],
    ) {
        assert_eq!(told(&[], &probes(exporting, seconds)), expected);
    }

    /// The look is from before the pause, or from inside it: a debt is ours whatever was seen.
    #[test]
    fn a_debt_is_told_once_and_as_ours() {
        assert_eq!(
            told(&[pending_resume(61)], &probes(Exporting::PausedByOther, 600)),
            [("us", 61, Some(7))]
        );
        assert_eq!(told(&[pending_resume(59)], &probes(Exporting::Mixed, 600)), []);
    }

    #[test]
    fn a_pause_of_ours_is_told_once_under_the_name_of_its_debt() {
        let mut owed = pending_resume(61);
        owed.cluster = "old-name".into();
        for seen in [Exporting::PausedByOther, Exporting::Mixed] {
            assert_eq!(told(std::slice::from_ref(&owed), &probes(seen, 600)), [("us", 61, Some(7))]);
        }
    }

    /// The name leads to another cluster by now, whose exporting proves nothing about the paused one.
    #[test]
    fn probe_at_another_address_does_not_silence_the_reminder() {
        let mut pending_resume = pending_resume(600);
        pending_resume.addresses.zeebe = "http://old:9600".into();
        pending_resume.resume_intended_at = Some(now() - TimeDelta::seconds(20));
        let mut probes = probes(Exporting::Running, 300);
        probes.get_mut("orders").unwrap().exporting_checked_at = Some(now());
        assert_eq!(told(&[pending_resume], &probes), [("us", 600, Some(7))]);
    }

    /// The server confirmed the resume, and a full disk keeps that from being written down.
    #[test]
    fn a_debt_whose_cluster_was_seen_to_export_since_is_no_pause() {
        let mut pending_resume = pending_resume(600);
        let mut probes = probes(Exporting::Running, 300);
        probes.get_mut("orders").unwrap().exporting_checked_at = Some(now());
        assert_eq!(told(std::slice::from_ref(&pending_resume), &probes).len(), 1, "no resume was sent yet");
        pending_resume.resume_intended_at = Some(now() - TimeDelta::seconds(20));
        assert_eq!(told(std::slice::from_ref(&pending_resume), &probes), []);
        // Who sent it knows that it was confirmed, whatever the last look says.
        pending_resume.confirmed_at = Some(now() - TimeDelta::seconds(19));
        assert_eq!(
            told(std::slice::from_ref(&pending_resume), &self::probes(Exporting::PausedByUs, 600)),
            []
        );
        assert_eq!(
            told(&[pending_resume], &self::probes(Exporting::PausedByOther, 600)),
            [("other", 600, None)]
        );
    }

    #[test]
    fn where_the_debts_cannot_be_read_what_was_seen_is_told() {
        let all = reminders(None, true, &probes(Exporting::PausedByUs, 600), |_| Some(&PLACE), now());
        assert_eq!(all.iter().map(|reminder| reminder.owner).collect::<Vec<_>>(), ["us"]);
    }

    #[rstest]
    #[case(Exporting::PausedByOther)]
    #[case(Exporting::Mixed)]
    fn where_commits_were_lost_a_pause_without_a_debt_may_be_ours(#[case] exporting: Exporting) {
        let all = reminders(Some(&[]), false, &probes(exporting, 600), |_| Some(&PLACE), now());
        let told = all.iter().map(|reminder| (reminder.owner, reminder.reason.as_deref().unwrap()));
        let expected = "the state file has lost commits, so that this pause may be ours: where nobody else paused \
                        exporting, `resume-exporting CLUSTER --yes` ends it";
        assert_eq!(told.collect::<Vec<_>>(), [("unknown", expected)]);
    }

    #[test]
    fn a_cluster_that_left_the_configuration_is_told_of_only_while_it_is_owed() {
        let gone = |pending_resumes: &[PendingResume]| {
            reminders(Some(pending_resumes), true, &probes(Exporting::PausedByOther, 600), |_| None, now())
                .len()
        };
        assert_eq!((gone(&[]), gone(&[pending_resume(61)])), (0, 1));
    }
}
