//! Seeded bugs: mistakes that a daemon could make, each at one of its disk or network operations.
//!
//! Owns the list; docs/proof.md has the check that detects each of them. Must not act: `violence` applies a bug.

/// Bug that a scenario runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A resume counts as confirmed and was never sent.
    ResumeNotSent,
    /// A pause counts as confirmed and was never sent.
    PauseNotSent,
    /// Zeebe is backed up before the records.
    ZeebeFirst,
    /// Every deletion deletes the newest backup.
    DeletesTheNewest,
    /// The pending resume is written after the pause, or never.
    NoPendingResume,
    /// A run gets the id of the previous run.
    IdAgain,
    /// A run does not finish the occurrences that it serves.
    NotClaimed,
    /// A claim is never written.
    ClaimLost,
    /// Unfinished runs are not recovered after a crash.
    RunsForgotten,
    /// Intents are not written.
    NoIntent,
    /// Retention keeps one backup less.
    KeepsOneLess,
    /// Retention never deletes.
    NeverDeletes,
    /// A requested deletion counts as done.
    CalledDeleted,
    /// A part in progress counts as complete.
    NotWaitedFor,
    /// A reload loses waiting occurrences of a removed schedule or cluster.
    ReloadForgetsWaiting,
    /// Runs and pending resumes of a removed cluster are lost.
    RemovedForgotten,
    /// The backups of a removed cluster are deleted with it.
    OrphansDeleted,
    /// A reload restarts every schedule.
    AllBeginAnew,
    /// An edited schedule continues from its old position.
    EditedGoesOn,
    /// A hold is confirmed and not written.
    HoldForgotten,
    /// A manual deletion is confirmed and not written.
    DeletionForgotten,
    /// A wait accepts a response about another id.
    AnyAnswerTaken,
}

impl Bug {
    pub(crate) const ALL: [Self; 22] = [
        Self::ResumeNotSent,
        Self::PauseNotSent,
        Self::ZeebeFirst,
        Self::DeletesTheNewest,
        Self::NoPendingResume,
        Self::IdAgain,
        Self::NotClaimed,
        Self::ClaimLost,
        Self::RunsForgotten,
        Self::NoIntent,
        Self::KeepsOneLess,
        Self::NeverDeletes,
        Self::CalledDeleted,
        Self::NotWaitedFor,
        Self::ReloadForgetsWaiting,
        Self::RemovedForgotten,
        Self::OrphansDeleted,
        Self::AllBeginAnew,
        Self::EditedGoesOn,
        Self::HoldForgotten,
        Self::DeletionForgotten,
        Self::AnyAnswerTaken,
    ];
}
