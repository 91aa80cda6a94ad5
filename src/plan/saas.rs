//! The steps of a cluster that the provider runs: it is asked for a backup, and keeps the order of everything itself.
//!
//! Must not know how a step is carried out.

use super::{PlanInput, PlannedStep};
use crate::domain::Component;
use crate::journal::Step;

/// One request, and the wait for its end. Nothing of it is undone: what the provider has begun it ends itself.
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
