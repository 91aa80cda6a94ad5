//! The steps of a self-managed Camunda 8 cluster, one table of contents per family.
//!
//! Must not know how a step is carried out.

use super::{Compensation, Plan, PlanInput, PlannedStep};
use crate::domain::{Component, Family};
use crate::journal::Step;
use std::time::Duration;

/// A start is one request and a look before it.
const START_DEADLINE: Duration = Duration::from_secs(90);
/// A pause is one request and looks until every partition reads paused.
const PAUSE_DEADLINE: Duration = Duration::from_secs(30);

/// The plan for a cluster of that family.
pub fn plan(input: &PlanInput<'_>) -> Plan {
    let steps = match input.family {
        Family::V82To87 => web_apps_then_pause(input),
    };
    Plan {
        cluster: input.cluster.to_owned(),
        family: input.family,
        pause: input.pause,
        components: input.components.to_vec(),
        steps,
    }
}

/// 8.2 to 8.7. The web apps import from the exported records, so they are captured first and in parallel; Zeebe is
/// captured last, because its log must still hold everything that the records snapshot lacks. The pause keeps the
/// log from being compacted in between.
fn web_apps_then_pause(input: &PlanInput<'_>) -> Vec<PlannedStep> {
    let limits = input.limits;
    let web_apps: Vec<Component> = [Component::Operate, Component::Tasklist, Component::Optimize]
        .into_iter()
        .filter(|c| input.components.contains(c))
        .collect();
    let waits: Vec<Step> = web_apps.iter().map(|c| Step::Wait(*c)).collect();
    let before_pause = if waits.is_empty() { vec![Step::Guard] } else { waits };

    let mut steps = vec![step(Step::Guard, vec![], START_DEADLINE, None, false)];
    for component in &web_apps {
        let undo = Some(Compensation::DeleteRunningParts);
        steps.push(step(Step::Start(*component), vec![Step::Guard], START_DEADLINE, undo, false));
    }
    for component in &web_apps {
        let start = Step::Start(*component);
        steps.push(step(Step::Wait(*component), vec![start], limits.run_deadline, None, false));
    }
    let resume = Some(Compensation::ResumeExporting);
    steps.push(step(Step::Pause, before_pause, PAUSE_DEADLINE, resume, true));
    let mut last = Step::Pause;
    for component in [Component::Records, Component::Zeebe] {
        if !input.components.contains(&component) {
            continue;
        }
        let undo = match component {
            Component::Records => Compensation::DeleteRunningSnapshot,
            _ => Compensation::DeleteRunningParts,
        };
        steps.push(step(Step::Start(component), vec![last], START_DEADLINE, Some(undo), true));
        steps.push(step(
            Step::Wait(component),
            vec![Step::Start(component)],
            limits.pause_budget,
            None,
            true,
        ));
        last = Step::Wait(component);
    }
    steps.push(step(Step::CheckPause, vec![last], PAUSE_DEADLINE, None, true));
    steps.push(PlannedStep {
        step: Step::Resume,
        after: vec![Step::CheckPause],
        deadline: None,
        compensation: None,
        needs_pause: false,
    });
    steps
}

fn step(
    step: Step,
    after: Vec<Step>,
    deadline: Duration,
    compensation: Option<Compensation>,
    needs_pause: bool,
) -> PlannedStep {
    PlannedStep { step, after, deadline: Some(deadline), compensation, needs_pause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Limits;
    use crate::domain::PauseMode;

    fn order(components: &[Component]) -> Vec<String> {
        let input = PlanInput {
            cluster: "orders",
            family: Family::V82To87,
            pause: PauseMode::Soft,
            components,
            limits: Limits::default(),
        };
        plan(&input)
            .steps
            .iter()
            .map(|s| {
                let after: Vec<String> = s.after.iter().map(ToString::to_string).collect();
                format!("{} <- {}", s.step, after.join(", "))
            })
            .collect()
    }

    #[test]
    fn web_apps_run_side_by_side_and_everything_else_in_camundas_order() {
        use Component::{Operate, Optimize, Records, Tasklist, Zeebe};
        assert_eq!(
            order(&[Operate, Tasklist, Optimize, Records, Zeebe]),
            [
                "guard <- ",
                "operate.start <- guard",
                "tasklist.start <- guard",
                "optimize.start <- guard",
                "operate.wait <- operate.start",
                "tasklist.wait <- tasklist.start",
                "optimize.wait <- optimize.start",
                "pause <- operate.wait, tasklist.wait, optimize.wait",
                "records.start <- pause",
                "records.wait <- records.start",
                "zeebe.start <- records.wait",
                "zeebe.wait <- zeebe.start",
                "check_pause <- zeebe.wait",
                "resume <- check_pause",
            ]
        );
    }

    #[test]
    fn a_cluster_without_web_apps_pauses_after_the_guard() {
        let order = order(&[Component::Records, Component::Zeebe]);
        assert_eq!(order[1], "pause <- guard");
    }

    #[test]
    fn only_the_resume_has_no_deadline_and_only_the_pause_is_undone_by_it() {
        use Component::{Operate, Records, Zeebe};
        let input = PlanInput {
            cluster: "orders",
            family: Family::V82To87,
            pause: PauseMode::Hard,
            components: &[Operate, Records, Zeebe],
            limits: Limits::default(),
        };
        for step in plan(&input).steps {
            assert_eq!(step.deadline.is_none(), step.step == Step::Resume, "{}", step.step);
            let resumes = step.compensation == Some(Compensation::ResumeExporting);
            assert_eq!(resumes, step.step == Step::Pause, "{}", step.step);
        }
    }
}
