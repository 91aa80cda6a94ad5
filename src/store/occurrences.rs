//! The trait `Occurrences`: the timetable, and the occurrences that were claimed from it.
//!
//! Owns the rows of both. `sqlite/timetable.rs` and `sqlite/occurrences.rs` have the SQL.

use super::StoreFuture;
use crate::domain::{Instant, Occurrence, RunId};
use serde::{Deserialize, Serialize};

/// Stored state of one (schedule, cluster) pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimetableRow {
    /// Schedule name.
    pub schedule: String,
    /// Cluster name.
    pub cluster: String,
    /// Canonical text of times and zone; a change means that the times were edited.
    pub times_key: String,
    /// Time at which the pair appeared, was edited or was enabled again; earlier due times do not count as
    /// missed.
    pub since: Instant,
    /// Last due instant that was processed.
    pub last_due: Option<Instant>,
    /// Whether the pair is configured and enabled. Inactive rows stay, so that their retention groups can be
    /// shown as frozen.
    pub active: bool,
}

/// Outcome of an occurrence (rule I13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OccurrenceOutcome {
    /// Claimed; waits for its start time, its cluster or its preconditions.
    Waiting,
    /// Served by a run of its own.
    Started,
    /// Served by a run although it was missed.
    CaughtUp,
    /// Served by a run together with other occurrences.
    Coalesced,
    /// Not run, with a reason.
    Skipped,
}

/// One occurrence, or a range of missed ones, with its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OccurrenceRow {
    /// Due instant; of a range, the first one.
    pub occurrence: Occurrence,
    /// Of a range, the last due instant.
    pub until: Option<Instant>,
    /// Number of occurrences in the range.
    pub count: u64,
    /// Earliest start: `due_at` plus spread.
    pub start_at: Instant,
    /// End of waiting.
    pub start_until: Instant,
    /// Whether the occurrence was missed while the daemon was down.
    pub missed: bool,
    /// Outcome.
    pub outcome: OccurrenceOutcome,
    /// Reason for skipping.
    pub reason: Option<String>,
    /// Run that served the occurrence.
    pub run_id: Option<RunId>,
}

/// The timetable and its occurrences.
pub trait Occurrences: Send + Sync + 'static {
    /// All pairs, active or not.
    fn timetable(&self) -> StoreFuture<'_, Vec<TimetableRow>>;
    /// Replaces the rows of these pairs and marks every other pair inactive. Where `times_key` and `since` stay the same,
    /// `last_due` does not move back: a claim may have come between reading the rows and writing them.
    fn set_timetable(&self, rows: Vec<TimetableRow>) -> StoreFuture<'_, ()>;
    /// Writes occurrences (outcome `Waiting`, or `Skipped` ranges) and moves `last_due` of each pair of schedule and
    /// cluster forward, in one transaction. Returns the new ones: claiming twice after a crash cannot start a run twice
    /// (rule I5). Known occurrences, alone or inside a range, stay unchanged, with one exception: an occurrence that was
    /// skipped as missed while the clock was ahead, and is due now, becomes new.
    fn claim(&self, rows: Vec<OccurrenceRow>) -> StoreFuture<'_, Vec<OccurrenceRow>>;
    /// Waiting occurrences, oldest first.
    fn waiting(&self) -> StoreFuture<'_, Vec<OccurrenceRow>>;
    /// Ends the waiting of occurrences that no run will serve. Those that no longer wait stay as they are.
    fn skip(&self, occurrences: Vec<Occurrence>, reason: String) -> StoreFuture<'_, ()>;
    /// Newest first, of one schedule and cluster or of all, at most `limit`; `0` means all.
    fn occurrences(
        &self,
        schedule: Option<String>,
        cluster: Option<String>,
        limit: u32,
    ) -> StoreFuture<'_, Vec<OccurrenceRow>>;
}
