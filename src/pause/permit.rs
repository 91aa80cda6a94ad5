//! The permission to resume exporting, which only this module can issue.
//!
//! Owns the only implementations of `ResumeAuthority`: without one of these values no code can call `Zeebe::resume`.

use crate::camunda::zeebe::ResumeAuthority;
use crate::camunda::{ClientError, Zeebe};

/// Permission of `resume.rs`, which retries until the server confirms.
pub(super) struct ResumePermit(());

impl ResumePermit {
    /// Issued for a pending resume.
    pub(super) fn issue() -> Self {
        Self(())
    }
}

impl ResumeAuthority for ResumePermit {}

/// An operator's own request to resume a cluster, which may also end a foreign pause. Sent once, not retried.
pub struct OperatorResume(ResumePermit);

impl OperatorResume {
    /// The operator has confirmed that a foreign pause may end, or no pending resume of ours exists.
    pub fn confirmed() -> Self {
        Self(ResumePermit::issue())
    }

    /// Sends the resume.
    ///
    /// # Errors
    /// The response of the management port when the resume was not confirmed.
    pub async fn send(self, zeebe: &Zeebe) -> Result<(), ClientError> {
        zeebe.resume(&self.0).await
    }
}
