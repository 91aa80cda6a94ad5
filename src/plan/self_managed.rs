//! Steps of self-managed clusters, by family.
//!
//! Owns the documented order of each family (rule I2). Must not execute a step.

use super::{Compensation, Plan, PlanInput, PlannedStep, START_DEADLINE, saas};
use crate::domain::{Component, Family};
use crate::journal::Step;
use std::time::Duration;

/// Deadline of the pause step: the pause request and the polls until every partition is paused.
const PAUSE_DEADLINE: Duration = Duration::from_secs(30);

/// The plan of a backup.
pub(crate) fn plan(input: &PlanInput<'_>) -> Plan {
    let (steps, pause) = match input.family {
        Family::V82To87 => (web_apps_then_pause(input), Some(input.pause)),
        Family::V88OnSearch => (pause_around_everything(input), Some(input.pause)),
        Family::V89OnRdbms => (zeebe_alone(input), None),
        Family::Saas => (saas::steps(input), None),
    };
    Plan {
        cluster: input.cluster.to_owned(),
        family: input.family,
        pause,
        components: input.components.to_vec(),
        steps,
    }
}

/// 8.2 to 8.7. The web apps import from the exported records, so they are captured first and in parallel; Zeebe is
/// captured last, because its log must still contain everything that the records snapshot lacks. The pause keeps the
/// log from being compacted in between.
fn web_apps_then_pause(input: &PlanInput<'_>) -> Vec<PlannedStep> {
    let mut steps = vec![step(Step::Guard, vec![], START_DEADLINE, None, false)];
    let waits = web_apps(&mut steps, input, Step::Guard, false);
    pause(&mut steps, waits);
    records_and_zeebe(&mut steps, input, vec![Step::Pause]);
    resume(&mut steps);
    steps
}

/// 8.8 and later on a search engine. The exporter of the brokers writes directly into the indices of the web apps, so their
/// snapshots must not be ahead of the log either: the pause comes first and covers everything.
fn pause_around_everything(input: &PlanInput<'_>) -> Vec<PlannedStep> {
    let mut steps = vec![step(Step::Guard, vec![], START_DEADLINE, None, false)];
    pause(&mut steps, vec![Step::Guard]);
    let waits = web_apps(&mut steps, input, Step::Pause, true);
    records_and_zeebe(&mut steps, input, waits);
    resume(&mut steps);
    steps
}

/// 8.9 and later on a relational database, which its operator backs up. The restore aligns both by the exporter
/// position that the database holds, so nothing is paused and no order is kept.
fn zeebe_alone(input: &PlanInput<'_>) -> Vec<PlannedStep> {
    let undo = Some(Compensation::DeleteRunningParts);
    let zeebe = Step::Start(Component::Zeebe);
    vec![
        step(Step::Guard, vec![], START_DEADLINE, None, false),
        step(zeebe, vec![Step::Guard], START_DEADLINE, undo, false),
        step(Step::Wait(Component::Zeebe), vec![zeebe], input.limits.run_deadline, None, false),
    ]
}

/// Adds the steps of all web apps, in parallel after `after`. Returns the steps that the next step depends on.
fn web_apps(
    steps: &mut Vec<PlannedStep>,
    input: &PlanInput<'_>,
    after: Step,
    needs_pause: bool,
) -> Vec<Step> {
    let apps = [Component::Operate, Component::Tasklist, Component::History, Component::Optimize];
    let apps: Vec<Component> = apps.into_iter().filter(|c| input.components.contains(c)).collect();
    let limit = if needs_pause { input.limits.pause_budget } else { input.limits.run_deadline };
    for app in &apps {
        let undo = Some(Compensation::DeleteRunningParts);
        steps.push(step(Step::Start(*app), vec![after], START_DEADLINE, undo, needs_pause));
    }
    for app in &apps {
        steps.push(step(Step::Wait(*app), vec![Step::Start(*app)], limit, None, needs_pause));
    }
    if apps.is_empty() { vec![after] } else { apps.into_iter().map(Step::Wait).collect() }
}

fn pause(steps: &mut Vec<PlannedStep>, after: Vec<Step>) {
    steps.push(step(Step::Pause, after, PAUSE_DEADLINE, Some(Compensation::ResumeExporting), true));
}

/// Inside the pause, sequentially: first the exported records, then Zeebe.
fn records_and_zeebe(steps: &mut Vec<PlannedStep>, input: &PlanInput<'_>, mut after: Vec<Step>) {
    for component in [Component::Records, Component::Zeebe] {
        if !input.components.contains(&component) {
            continue;
        }
        let undo = match component {
            Component::Records => Compensation::DeleteRunningSnapshot,
            _ => Compensation::DeleteRunningParts,
        };
        let (start, wait) = (Step::Start(component), Step::Wait(component));
        steps.push(step(start, after, START_DEADLINE, Some(undo), true));
        steps.push(step(wait, vec![start], input.limits.pause_budget, None, true));
        after = vec![wait];
    }
}

fn resume(steps: &mut Vec<PlannedStep>) {
    let last = steps.last().map(|planned| planned.step);
    steps.push(step(Step::CheckPause, last.into_iter().collect(), PAUSE_DEADLINE, None, true));
    steps.push(PlannedStep {
        step: Step::Resume,
        after: vec![Step::CheckPause],
        deadline: None,
        compensation: None,
        needs_pause: false,
    });
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

    fn input(family: Family, components: &[Component]) -> PlanInput<'_> {
        let limits = Limits::default();
        PlanInput { cluster: "orders", family, pause: PauseMode::Soft, components, limits }
    }

    fn order(family: Family, components: &[Component]) -> Vec<String> {
        plan(&input(family, components))
            .steps
            .iter()
            .map(|s| {
                let after: Vec<String> = s.after.iter().map(ToString::to_string).collect();
                let paused = if s.needs_pause { " (paused)" } else { "" };
                format!("{} <- {}{paused}", s.step, after.join(", "))
            })
            .collect()
    }

    #[test]
    fn up_to_8_7_web_apps_run_in_parallel_and_other_steps_in_documented_order() {
        use Component::{Operate, Optimize, Records, Tasklist, Zeebe};
        assert_eq!(
            order(Family::V82To87, &[Operate, Tasklist, Optimize, Records, Zeebe]),
            [
                "guard <- ",
                "operate.start <- guard",
                "tasklist.start <- guard",
                "optimize.start <- guard",
                "operate.wait <- operate.start",
                "tasklist.wait <- tasklist.start",
                "optimize.wait <- optimize.start",
                "pause <- operate.wait, tasklist.wait, optimize.wait (paused)",
                "records.start <- pause (paused)",
                "records.wait <- records.start (paused)",
                "zeebe.start <- records.wait (paused)",
                "zeebe.wait <- zeebe.start (paused)",
                "check_pause <- zeebe.wait (paused)",
                "resume <- check_pause",
            ]
        );
    }

    #[test]
    fn from_8_8_the_pause_covers_every_component() {
        use Component::{History, Optimize, Records, Zeebe};
        assert_eq!(
            order(Family::V88OnSearch, &[History, Optimize, Records, Zeebe]),
            [
                "guard <- ",
                "pause <- guard (paused)",
                "history.start <- pause (paused)",
                "optimize.start <- pause (paused)",
                "history.wait <- history.start (paused)",
                "optimize.wait <- optimize.start (paused)",
                "records.start <- history.wait, optimize.wait (paused)",
                "records.wait <- records.start (paused)",
                "zeebe.start <- records.wait (paused)",
                "zeebe.wait <- zeebe.start (paused)",
                "check_pause <- zeebe.wait (paused)",
                "resume <- check_pause",
            ]
        );
        let without = order(Family::V88OnSearch, &[History, Zeebe]);
        assert_eq!(without[4], "zeebe.start <- history.wait (paused)");
    }

    #[test]
    fn with_rdbms_only_zeebe_is_backed_up_without_a_pause() {
        let plan = plan(&input(Family::V89OnRdbms, &[Component::Zeebe]));
        assert_eq!(plan.pause, None);
        let order = order(Family::V89OnRdbms, &[Component::Zeebe]);
        assert_eq!(order, ["guard <- ", "zeebe.start <- guard", "zeebe.wait <- zeebe.start"]);
    }

    #[test]
    fn saas_backup_is_one_request_and_one_wait() {
        let plan = plan(&input(Family::Saas, &[Component::Saas]));
        assert_eq!(plan.pause, None);
        let compensations: Vec<_> = plan.steps.iter().map(|step| step.compensation).collect();
        assert_eq!(compensations, [None, Some(Compensation::FindLostStart), None]);
        let order = order(Family::Saas, &[Component::Saas]);
        assert_eq!(order, ["guard <- ", "saas.start <- guard", "saas.wait <- saas.start"]);
    }

    #[test]
    fn every_start_has_a_compensation() {
        for family in [Family::V82To87, Family::V88OnSearch, Family::V89OnRdbms, Family::Saas] {
            for step in plan(&input(family, &Component::ALL)).steps {
                let is_start = matches!(step.step, Step::Start(_));
                let is_pause = step.step == Step::Pause;
                assert_eq!(step.compensation.is_some(), is_start || is_pause, "{family:?}: {}", step.step);
            }
        }
    }

    #[test]
    fn without_web_apps_the_pause_follows_the_guard() {
        let order = order(Family::V82To87, &[Component::Records, Component::Zeebe]);
        assert_eq!(order[1], "pause <- guard (paused)");
    }

    #[test]
    fn only_the_resume_has_no_deadline_and_only_the_pause_is_compensated_by_it() {
        use Component::{Operate, Records, Zeebe};
        let input = input(Family::V82To87, &[Operate, Records, Zeebe]);
        for step in plan(&input).steps {
            assert_eq!(step.deadline.is_none(), step.step == Step::Resume, "{}", step.step);
            let resumes = step.compensation == Some(Compensation::ResumeExporting);
            assert_eq!(resumes, step.step == Step::Pause, "{}", step.step);
        }
    }
}
