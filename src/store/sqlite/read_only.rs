//! Read-only scan of a whole state file on a thread of its own, so that no resume waits for the scan.
//!
//! Owns the thread and its order: pending resumes first. Must not write.

use crate::store::PendingResume;
use crate::store::sqlite::salvage::{FoundPendingResumes, Reading};
use crate::store::sqlite::trace::Trace;
use crate::store::sqlite::{FILE, clusters, lock, open};
use std::path::Path;
use tokio::sync::oneshot;

/// Results of a scan. A closed channel means that this result is not available.
pub struct ReadOnlyState {
    /// Listed pending resumes, each with whether its run confirmed its pause.
    pub listed: oneshot::Receiver<Vec<(PendingResume, bool)>>,
    /// Results of the full scan.
    pub rest: oneshot::Receiver<Rest>,
}

/// Final result of a scan.
pub struct Rest {
    /// Last write and lost commits.
    pub trace: Trace,
    /// Pending resumes missing from the list; `None` if the file cannot be read.
    pub unlisted: Option<FoundPendingResumes>,
}

/// Starts the scan.
pub(crate) fn begin(state_dir: &Path) -> ReadOnlyState {
    let (send_listed, listed) = oneshot::channel();
    let (send_rest, rest) = oneshot::channel();
    let state_dir = state_dir.to_owned();
    let work = move || {
        let file = state_dir.join(FILE);
        let connection = (!matches!(file.try_exists(), Ok(false))).then(|| open::read_only(&file));
        let reading = connection.as_ref().and_then(|connection| Reading::of(connection.as_ref().ok()?));
        let reading = reading.map(|mut reading| {
            // A send error means that the caller stopped waiting.
            let _ = send_listed.send(reading.listed());
            reading
        });
        // Read the trace first: a running daemon may add to the file.
        let noted = lock::noted(&state_dir);
        let last = connection.as_ref().map(|connection| connection.as_ref().map_err(drop));
        let last = last.map(|connection| connection.and_then(|c| clusters::probed(c).map_err(drop)));
        let trace = Trace::of(&file, last, noted);
        let _ = send_rest.send(Rest { trace, unlisted: reading.map(Reading::rest) });
    };
    // If no thread can be started, both channels close, and the caller sees that no result is available.
    let _ = crate::clock::thread("state-read", work);
    ReadOnlyState { listed, rest }
}
