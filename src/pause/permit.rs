//! The permission to resume exporting, which only `pause` can issue.
//!
//! Owns the only type that implements `ResumeAuthority`. `Zeebe::resume` requires such a value, so only
//! `pause` can send a resume.

use crate::camunda::zeebe::ResumeAuthority;
use crate::camunda::{ClientError, Zeebe};

/// Permission for `resume.rs`, which sends a resume until the server confirms it.
pub(super) struct ResumePermit(());

impl ResumePermit {
    /// Issues a permission. The caller must have a pending resume or the request of an operator.
    pub(super) fn issue() -> Self {
        Self(())
    }
}

impl ResumeAuthority for ResumePermit {}

/// A resume that an operator requested, which may also end a foreign pause. It is sent once and not retried.
pub struct OperatorResume(ResumePermit);

impl OperatorResume {
    /// To be called only after an operator requested the resume and no resume of ours is pending.
    pub fn confirmed() -> Self {
        Self(ResumePermit::issue())
    }

    /// Sends the resume.
    ///
    /// # Errors
    /// Returns the error of the management port if the resume was not confirmed.
    pub async fn send(self, zeebe: &Zeebe) -> Result<(), ClientError> {
        zeebe.resume(&self.0).await
    }
}
