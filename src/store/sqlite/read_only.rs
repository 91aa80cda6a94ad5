//! A look at a whole state file, beside everything else: no resume waits for it.
//!
//! Owns the thread on which it is done, and its order: what is owed first. Must not write.

use crate::store::PendingResume;
use crate::store::sqlite::salvage::{FoundDebts, Reading};
use crate::store::sqlite::trace::Trace;
use crate::store::sqlite::{FILE, clusters, lock, open};
use std::path::Path;
use tokio::sync::oneshot;

/// What a look will tell. A channel that closes tells that there is nothing to be had of that.
pub struct ReadOnlyState {
    /// What the list of open debts shows, each with whether its run is known to have seen its pause.
    pub listed: oneshot::Receiver<Vec<(PendingResume, bool)>>,
    /// The rest, once every row was looked at.
    pub rest: oneshot::Receiver<Rest>,
}

/// What a look shows in the end.
pub struct Rest {
    /// How recent the file is.
    pub trace: Trace,
    /// Debts that were not listed; `None` where the file cannot be read.
    pub unlisted: Option<FoundDebts>,
}

/// Begins to look.
pub(crate) fn begin(state_dir: &Path) -> ReadOnlyState {
    let (tell_listed, listed) = oneshot::channel();
    let (tell_rest, rest) = oneshot::channel();
    let state_dir = state_dir.to_owned();
    let work = move || {
        let file = state_dir.join(FILE);
        let connection = (!matches!(file.try_exists(), Ok(false))).then(|| open::read_only(&file));
        let reading = connection.as_ref().and_then(|connection| Reading::of(connection.as_ref().ok()?));
        let reading = reading.map(|mut reading| {
            // Who asked may have gone.
            let _ = tell_listed.send(reading.listed());
            reading
        });
        // First what must be in the file: a daemon that is alive may add to it.
        let noted = lock::noted(&state_dir);
        let last = connection.as_ref().map(|connection| connection.as_ref().map_err(drop));
        let last = last.map(|connection| connection.and_then(|c| clusters::probed(c).map_err(drop)));
        let trace = Trace::of(&file, last, noted);
        let _ = tell_rest.send(Rest { trace, unlisted: reading.map(Reading::rest) });
    };
    // Without a thread both channels close.
    let _ = crate::clock::thread("state-read", work);
    ReadOnlyState { listed, rest }
}
