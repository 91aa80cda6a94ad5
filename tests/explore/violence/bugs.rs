//! Mistakes that a daemon could make, each planted where it touches something.

/// A mistake that a daemon could make, planted where it touches something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A resume is taken for confirmed that was never sent.
    ResumeNotSent,
    /// A pause is taken for confirmed that was never sent.
    PauseNotSent,
    /// Zeebe is backed up before the records.
    ZeebeFirst,
    /// Whatever is deleted, it is the newest.
    DeletesTheNewest,
    /// The debt is written after the pause, or never.
    NoDebt,
    /// A run gets the id of the one before.
    IdAgain,
    /// A run does not settle the occurrences it serves.
    NotClaimed,
    /// A claim is never written.
    ClaimLost,
    /// Runs that a crash left are not taken up.
    RunsForgotten,
    /// Intents are not written.
    NoIntent,
    /// Retention keeps one less.
    KeepsOneLess,
    /// Retention never deletes.
    NeverDeletes,
    /// What is asked to be deleted is called deleted.
    CalledDeleted,
    /// What is in progress is taken for complete.
    NotWaitedFor,
    /// A reload forgets what waits for a schedule or cluster that it takes out.
    ReloadForgetsWaiting,
    /// What is under way and owed at a cluster that left the file is forgotten.
    RemovedForgotten,
    /// The backups of a cluster that left the file go with it.
    OrphansDeleted,
    /// A reload lets every schedule begin anew.
    AllBeginAnew,
    /// A schedule whose times were edited goes on from where it was.
    EditedGoesOn,
    /// A hold is confirmed and not written.
    HoldForgotten,
    /// A deletion by hand is confirmed and not written.
    DeletionForgotten,
    /// While it waits, an answer that was given about another id will do.
    AnyAnswerTaken,
}

impl Bug {
    pub const ALL: [Self; 22] = [
        Self::ResumeNotSent,
        Self::PauseNotSent,
        Self::ZeebeFirst,
        Self::DeletesTheNewest,
        Self::NoDebt,
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
