//! The trait `Runs`: runs from their beginning to their end, their journals and the backup ids.
//!
//! Owns the input of a new run. Changes after the end of a run are in `backups.rs`. `sqlite/runs.rs` has the SQL.

use super::{OccurrenceOutcome, StoreFuture};
use crate::domain::{Instant, Occurrence, RetentionGroup, RunId, Trigger};
use crate::journal::{Entry, Run, RunView};
use std::time::Duration;

/// Input for a new run.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Id of the run.
    pub run_id: RunId,
    /// Cluster name.
    pub cluster: String,
    /// Trigger of the run.
    pub trigger: Trigger,
    /// Waiting occurrences to serve, each with its outcome.
    pub occurrences: Vec<(Occurrence, OccurrenceOutcome)>,
    /// Retention groups that count the run.
    pub retention_groups: Vec<RetentionGroup>,
    /// Note of the operator.
    pub note: Option<String>,
    /// Input needed to continue after a restart.
    pub spec: serde_json::Value,
    /// Scope of the high-water mark: clusters with the same search engine and repository share ids.
    pub id_scope: String,
    /// Largest id found in any component, snapshot name or earlier run; `0` if none.
    pub largest_seen: i64,
    /// Wall-clock time.
    pub now: Instant,
    /// For manual runs: shortest interval between two starts.
    pub min_interval: Option<Duration>,
}

/// Runs, their journals and the high-water marks of their backup ids.
pub trait Runs: Send + Sync + 'static {
    /// Gives the run its backup id (`max(now in s, largest + 1)` over mark, `largest_seen` and all rows of the
    /// scope), writes it and settles its occurrences. `Busy` while another run of the cluster has not ended;
    /// `RateLimited` by the start of the newest manual run, failed ones included, unless a deletion of any backup of the
    /// cluster was accepted since; a start in the future counts as now, from the first time that is noticed. `Refused`
    /// when one of its occurrences no longer waits.
    fn begin_run(&self, new: NewRun) -> StoreFuture<'_, Run>;
    /// Raises the high-water mark of a scope, e.g. after a 409 that names a higher id. Never lowers it.
    fn raise_highest_id(&self, id_scope: String, largest: i64) -> StoreFuture<'_, ()>;
    /// The high-water mark of a scope: the largest id that was given in it or raised to; `0` if none.
    fn highest_id(&self, id_scope: String) -> StoreFuture<'_, i64>;
    /// Appends to a run's journal and returns the view after it. `Illegal` writes nothing.
    fn append(&self, run_id: RunId, entries: Vec<Entry>) -> StoreFuture<'_, RunView>;
    /// One run.
    fn run(&self, run_id: RunId) -> StoreFuture<'_, Option<Run>>;
    /// A run's journal; empty for a run that is not known or was adopted.
    fn journal(&self, run_id: RunId) -> StoreFuture<'_, Vec<Entry>>;
    /// Runs that have not ended, oldest first.
    fn unfinished(&self) -> StoreFuture<'_, Vec<Run>>;
}
