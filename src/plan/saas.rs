//! Steps for Camunda 8 SaaS: one backup request; Camunda keeps the order of its components itself.
//!
//! Must not execute a step.

use super::{Compensation, PlanInput, PlannedStep};
use crate::domain::Component;
use crate::journal::Step;

/// One request, and the wait for its end. A started backup cannot be cancelled, only found.
pub(super) fn steps(input: &PlanInput<'_>) -> Vec<PlannedStep> {
    let (start, wait) = (Step::Start(Component::Saas), Step::Wait(Component::Saas));
    let step = |step, after, deadline, compensation| PlannedStep {
        step,
        after,
        deadline: Some(deadline),
        compensation,
        needs_pause: false,
    };
    vec![
        step(Step::Guard, vec![], super::START_DEADLINE, None),
        step(start, vec![Step::Guard], super::START_DEADLINE, Some(Compensation::FindLostStart)),
        step(wait, vec![start], input.limits.run_deadline, None),
    ]
}
