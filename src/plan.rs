//! The plan of a run: an ordered graph of steps, as pure data.
//!
//! Owns which step follows which, with its deadline and what undoes it. Must not do IO or read a clock: the same
//! cluster and version always give the same plan, and the `plan` command prints exactly what a run would do.

mod saas;
mod self_managed;

use crate::domain::{Component, Family, Limits, PauseMode};
use crate::journal::Step;
use serde::Serialize;
use std::time::Duration;

pub use self_managed::plan;

/// What a backup beside a relational database does not hold.
pub const DATABASE: &str = "the relational database is not part of this backup: back it up with its own tools, before or after, and keep it as long as this one";

/// A start is one request and a look before it.
const START_DEADLINE: Duration = Duration::from_secs(90);

/// What must happen when a run ends before its time and this step was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compensation {
    /// Send resume until the server confirms it; comes before every other compensation.
    ResumeExporting,
    /// Delete the records snapshot while it is in progress.
    DeleteRunningSnapshot,
    /// Delete what still runs, and again after it has ended.
    DeleteRunningParts,
}

/// One step and its place in the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    /// What is done.
    pub step: Step,
    /// Steps that must be done before.
    pub after: Vec<Step>,
    /// Longest time it may take; `None` for the resume, which is tried for ever.
    #[serde(serialize_with = "seconds")]
    pub deadline: Option<Duration>,
    /// What undoes it.
    pub compensation: Option<Compensation>,
    /// Exporting stays paused while it is done.
    pub needs_pause: bool,
}

/// A whole plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Cluster name.
    pub cluster: String,
    /// Procedure.
    pub family: Family,
    /// Pause that will be asked for; none where the procedure has none.
    pub pause: Option<PauseMode>,
    /// Everything the backup consists of.
    pub components: Vec<Component>,
    /// Steps in the order in which they are listed; `after` says what really waits for what.
    pub steps: Vec<PlannedStep>,
}

impl Plan {
    /// The steps a completed run has done.
    pub fn step_names(&self) -> Vec<Step> {
        self.steps.iter().map(|s| s.step).collect()
    }

    /// One step.
    pub fn step(&self, step: Step) -> Option<&PlannedStep> {
        self.steps.iter().find(|s| s.step == step)
    }
}

/// What a plan is made from.
#[derive(Clone, Debug)]
pub struct PlanInput<'a> {
    /// Cluster name.
    pub cluster: &'a str,
    /// Procedure that the version asks for.
    pub family: Family,
    /// Pause that the version has.
    pub pause: PauseMode,
    /// Components that exist.
    pub components: &'a [Component],
    /// Limits of the cluster.
    pub limits: Limits,
}

#[allow(clippy::ref_option)] // the shape that serde asks for
fn seconds<S: serde::Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(duration) => serializer.serialize_some(&humantime::format_duration(*duration).to_string()),
        None => serializer.serialize_none(),
    }
}
