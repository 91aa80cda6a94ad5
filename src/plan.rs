//! The plan of a run: an ordered graph of steps, as pure data.
//!
//! Owns order, deadline and compensation of each step. Must not do IO or read a clock: equal input gives an equal plan,
//! and the `plan` command prints exactly the steps of a run.

mod saas;
mod self_managed;

use crate::domain::{Component, Family, Limits, PauseMode};
use crate::journal::Step;
use serde::Serialize;
use std::time::Duration;

pub(crate) use self_managed::plan;

/// Note on backups of a cluster with a relational database.
pub(crate) const DATABASE: &str = "the relational database is not part of this backup: back it up with its own tools, before or after, and keep it as long as this one";

/// Deadline of a start step, which is one probe and one start request.
const START_DEADLINE: Duration = Duration::from_secs(90);

/// Action of the executor if a run ends early after this step was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Compensation {
    /// Send resume until the server confirms it; precedes every other compensation. The pending resume decides it, so that
    /// a resume never depends on the plan.
    ResumeExporting,
    /// Delete the records snapshot if it is in progress.
    DeleteRunningSnapshot,
    /// Delete parts in progress, and once more if they are listed as finished afterwards.
    DeleteRunningParts,
    /// Search for the backup of a start without a response: it cannot be cancelled, but must not stay unknown.
    FindLostStart,
}

/// One step with its position in the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PlannedStep {
    /// Action of the step.
    pub step: Step,
    /// Steps that must be completed before.
    pub after: Vec<Step>,
    /// Maximum duration; `None` for the resume, which is retried without limit.
    #[serde(serialize_with = "seconds")]
    pub deadline: Option<Duration>,
    /// Action if the run ends early after the start of this step.
    pub compensation: Option<Compensation>,
    /// Exporting must stay paused during the step.
    pub needs_pause: bool,
}

/// All steps of a backup of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Plan {
    /// Key of the cluster in the config.
    pub cluster: String,
    /// Decides order and pause.
    pub family: Family,
    /// Pause mode; `None` for a procedure without a pause.
    pub pause: Option<PauseMode>,
    /// Components of the backup.
    pub components: Vec<Component>,
    /// Steps in display order; `after` has the real dependencies.
    pub steps: Vec<PlannedStep>,
}

impl Plan {
    /// The steps of a completed run.
    pub(crate) fn step_names(&self) -> Vec<Step> {
        self.steps.iter().map(|s| s.step).collect()
    }

    /// The planned entry of `step`.
    pub(crate) fn step(&self, step: Step) -> Option<&PlannedStep> {
        self.steps.iter().find(|s| s.step == step)
    }
}

/// Input of `plan`.
#[derive(Clone, Debug)]
pub(crate) struct PlanInput<'a> {
    /// Key of the cluster in the config.
    pub cluster: &'a str,
    /// Procedure of the version.
    pub family: Family,
    /// Pause mode of the version.
    pub pause: PauseMode,
    /// Components of the cluster.
    pub components: &'a [Component],
    /// Limits of the cluster.
    pub limits: Limits,
}

#[allow(clippy::ref_option)] // signature required by serde
fn seconds<S: serde::Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(duration) => serializer.serialize_some(&humantime::format_duration(*duration).to_string()),
        None => serializer.serialize_none(),
    }
}
