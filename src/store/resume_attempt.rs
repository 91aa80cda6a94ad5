//! Progress of a pending resume that is kept in memory, because a full disk may prevent writing the progress to its
//! row.
//!
//! Pure. The process that sends the resumes keeps the progress (`context::resume_attempts`). Every interface shows
//! the progress instead of the row's older values.

use crate::domain::{Instant, RunId, instant_text};
use crate::store::{PendingResume, StoreError};
use std::collections::BTreeMap;

/// Attempts of one pending resume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResumeAttempt {
    /// Time before the first attempt.
    pub intended_at: Option<Instant>,
    /// Number of attempts, including earlier processes.
    pub attempts: u32,
    /// Error of the last attempt, or the current wait.
    pub last_error: Option<String>,
    /// Time of the confirmed resume, which is not recorded yet.
    pub confirmed_at: Option<Instant>,
    /// Error that prevented recording the confirmation.
    pub unwritten: Option<StoreError>,
}

/// Returns the pending resumes with the progress that is known in memory.
pub fn with_attempt(
    attempt: &BTreeMap<RunId, ResumeAttempt>,
    mut pending_resumes: Vec<PendingResume>,
) -> Vec<PendingResume> {
    for pending_resume in &mut pending_resumes {
        if let Some(attempt) = attempt.get(&pending_resume.run_id) {
            attempt.over(pending_resume);
        }
    }
    pending_resumes
}

impl ResumeAttempt {
    /// Replaces the row's values by newer values of the attempt. A pending resume with `confirmed_at` is confirmed,
    /// but its row could not be written yet.
    fn over(&self, pending_resume: &mut PendingResume) {
        pending_resume.attempts = pending_resume.attempts.max(self.attempts);
        pending_resume.resume_intended_at = pending_resume.resume_intended_at.or(self.intended_at);
        pending_resume.confirmed_at = self.confirmed_at;
        let Some(at) = self.confirmed_at else {
            pending_resume.last_error = self.last_error.clone().or(pending_resume.last_error.take());
            return;
        };
        let why = self.unwritten.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let at = instant_text(at);
        pending_resume.last_error =
            Some(format!("the resume was confirmed at {at}, and this is not stored yet{why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Addresses;
    use chrono::TimeDelta;

    fn at(seconds: i64) -> Instant {
        chrono::DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn row(attempts: u32, last_error: Option<&str>) -> PendingResume {
        PendingResume {
            attempts,
            last_error: last_error.map(str::to_owned),
            ..PendingResume::new(RunId::nil(), "orders", Addresses::default(), at(0))
        }
    }

    fn shown(
        attempt: &ResumeAttempt,
        pending_resume: PendingResume,
    ) -> (u32, Option<String>, Option<Instant>, Option<Instant>) {
        let pending_resume =
            with_attempt(&[(pending_resume.run_id, attempt.clone())].into(), vec![pending_resume]).remove(0);
        (
            pending_resume.attempts,
            pending_resume.last_error,
            pending_resume.resume_intended_at,
            pending_resume.confirmed_at,
        )
    }

    #[test]
    fn unstored_attempt_replaces_the_facts_of_the_row() {
        let lost = Some("nobody listens".to_owned());
        let attempt = ResumeAttempt {
            intended_at: Some(at(5)),
            attempts: 3,
            last_error: lost.clone(),
            ..ResumeAttempt::default()
        };
        assert_eq!(shown(&attempt, row(0, None)), (3, lost.clone(), Some(at(5)), None));
        assert_eq!(shown(&attempt, row(7, Some("older"))), (7, lost, Some(at(5)), None));
        let begun = ResumeAttempt { attempts: 7, ..ResumeAttempt::default() };
        assert_eq!(shown(&begun, row(7, Some("older"))), (7, Some("older".to_owned()), None, None));
    }

    #[test]
    fn unstored_confirmation_is_shown_with_its_reason() {
        let mut attempt =
            ResumeAttempt { attempts: 1, confirmed_at: Some(at(9)), ..ResumeAttempt::default() };
        let sentence = "the resume was confirmed at 1970-01-01T00:00:09.000Z, and this is not stored yet";
        assert_eq!(shown(&attempt, row(0, Some("older"))), (1, Some(sentence.to_owned()), None, Some(at(9))));
        attempt.unwritten = Some(StoreError::Closed);
        let sentence = format!("{sentence}: the store is closed: the daemon is stopping");
        assert_eq!(shown(&attempt, row(0, None)).1, Some(sentence));
    }
}
