//! Steps for Camunda 8 SaaS: one backup request; Camunda keeps the order of its components itself.
//!
//! Must not execute a step.

use super::{PlanInput, PlannedStep};
use crate::domain::Component;
use crate::journal::Step;

/// One request, and the wait for its end. Without compensation: a started backup cannot be cancelled.
pub(super) fn steps(input: &PlanInput<'_>) -> Vec<PlannedStep> {
    let (start, wait) = (Step::Start(Component::Saas), Step::Wait(Component::Saas));
    let step = |step, after, deadline| PlannedStep {
        step,
        after,
        deadline: Some(deadline),
        compensation: None,
        needs_pause: false,
    };
    vec![
        step(Step::Guard, vec![], super::START_DEADLINE),
        step(start, vec![Step::Guard], super::START_DEADLINE),
        step(wait, vec![start], input.limits.run_deadline),
    ]
}
