//! Camunda 8 SaaS clusters: a backup is requested once, polled, and left to the retention of Camunda 8 SaaS.

use camunda_backupd::clock::Clock;
use camunda_backupd::domain::{BackupState, Component, Family, Instant, Limits, Occurrence, RunId};
use camunda_backupd::journal::{FailureClass, Outcome, Run, RunStatus, RunView, Step};
use camunda_backupd::queue::ClusterSettings;
use camunda_backupd::sim::model::saas::HostedState;
use camunda_backupd::sim::{self, SharedCluster, Storage, locked};
use camunda_backupd::store::memory::MemoryStore;
use camunda_backupd::store::{Backup, BackupFilter, OccurrenceOutcome, OccurrenceRow};
use chrono::TimeDelta;
use harness::lab::{Lab, class_of, reason_of};
use rstest::rstest;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

fn lab() -> Lab {
    lab_within(Limits { stall_after: Limits::default().run_deadline, ..Limits::default() })
}

fn lab_within(limits: Limits) -> Lab {
    Lab::with(sim::Config { storage: Storage::Saas, ..sim::Config::named("orders") }, limits)
}

fn uuid_of(run: &Run) -> String {
    run.view.components[&Component::Saas].names[0].clone()
}

async fn backups(lab: &Lab) -> Vec<Backup> {
    let filter = BackupFilter { cluster: Some("orders".into()), ..Default::default() };
    lab.store.backups(filter).await.unwrap()
}

/// An occurrence that is due, as the dispatch loop claims it.
fn waiting_row(schedule: &str, due_at: Instant, wait: TimeDelta) -> OccurrenceRow {
    OccurrenceRow {
        occurrence: Occurrence { due_at, schedule: schedule.into(), cluster: "orders".into() },
        until: None,
        count: 1,
        start_at: due_at,
        start_until: due_at + wait,
        missed: false,
        outcome: OccurrenceOutcome::Waiting,
        reason: None,
        run_id: None,
    }
}

#[tokio::test(start_paused = true)]
async fn saas_backup_is_requested_once_and_restores_everything() {
    let lab = lab();
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    assert_eq!((run.view.family, run.view.pause.requested), (Some(Family::Saas), None));
    assert_eq!(run.view.version.as_deref(), Some("Camunda 8.6.0+gen1"));
    assert_eq!((lab.requested("saas-post"), lab.requested("saas-delete")), (1, 0));
    assert!(lab.requested("saas-list") < 15, "{} list requests in 40 s", lab.requested("saas-list"));
    let Some(Outcome::Completed { attestation }) = &run.view.outcome else { panic!("not completed") };
    assert_eq!(attestation["proof"]["provider"]["uuid"], uuid_of(&run));
    assert_eq!(attestation["proof"]["saas"].as_array().unwrap().len(), 3, "Zeebe, Operate, Tasklist");
    let taken = locked(&lab.cluster).world.live_instances();
    lab.clock.sleep(Duration::from_mins(5)).await;
    let saas = camunda_backupd::camunda::Saas::new(
        lab.settings.spec.addresses.saas.as_ref().unwrap(),
        lab.context.transport.clone(),
    );
    assert_eq!(saas.restore(&uuid_of(&run)).await.unwrap().state, "PENDING");
    let running = saas.start().await.unwrap_err();
    assert!(running.to_string().ends_with("A restore is in progress for this cluster"), "{running}");
    lab.clock.sleep(Duration::from_mins(1)).await;
    assert_eq!(saas.restore_state(&uuid_of(&run)).await.unwrap().state, "COMPLETED");
    let (now, live) = (lab.clock.now(), locked(&lab.cluster).world.live_instances());
    assert!(live.abs_diff(taken) < 100, "{taken} instances were backed up, {live} are there at {now}");
}

/// A lost response proves nothing: the list shows the backup, and no second request is sent.
#[rstest]
#[case("saas-post.drop-response")]
#[case("saas-post.acted-502")]
#[case("saas-post.acted-504")]
#[case("saas-post.not-json")]
#[case("saas-post.endless")]
#[case("saas-list.refuse@3+1")]
#[case("saas-list.numbers-as-text@*")]
#[tokio::test(start_paused = true)]
async fn backup_of_a_lost_response_is_found_in_the_list(#[case] fault: &str) {
    let lab = lab().fault(fault);
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    assert_eq!(lab.requested("saas-post"), 1);
    let there = locked(&lab.cluster).saas.backups.iter().map(|b| b.uuid.clone()).collect::<Vec<_>>();
    assert_eq!(there, [uuid_of(&run)]);
}

#[rstest]
#[case(
    "saas-post.drop-request",
    FailureClass::Component,
    "it is unknown whether saas started its backup (no complete response from saas to POST"
)]
#[case(
    "saas-post.foreign-backup,saas-post.drop-response",
    FailureClass::Component,
    "2 backups are new in the list of Camunda 8 SaaS; the one of this run cannot be identified"
)]
#[case(
    "saas-post.refuse",
    FailureClass::Unreachable,
    "saas did not start the backup: cannot connect to saas"
)]
#[case("saas-post.unauthorized", FailureClass::Access, "saas did not start the backup")]
#[case("saas-post.forbidden", FailureClass::Access, "saas did not start the backup")]
#[case("saas-list.foreign-backup+1", FailureClass::Component, "Camunda 8 SaaS is taking backup scheduled (")]
#[case(
    "saas.fail",
    FailureClass::Component,
    "Camunda reports that its backup of zeebe, operate, tasklist failed"
)]
#[case("saas-post.stall", FailureClass::Stalled, "saas made no progress for its stall_after of 30m")]
#[case("saas-list.unknown-state@*+3", FailureClass::Stalled, "saas reports REARRANGING, an unknown state")]
#[case("saas-cluster.unauthorized", FailureClass::Access, "the cluster could not be examined")]
#[case("saas-list.unauthorized@*+3", FailureClass::Access, "saas rejected the credentials during its backup")]
#[tokio::test(start_paused = true)]
async fn saas_fault_fails_the_run_with_its_class(
    #[case] fault: &str,
    #[case] class: FailureClass,
    #[case] sentence: &str,
) {
    let minutes = Duration::from_mins;
    let limits = Limits { run_deadline: minutes(60), stall_after: minutes(30), ..Limits::default() };
    let lab = lab_within(limits).fault(fault);
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(class), "{}", reason_of(&run));
    assert!(reason_of(&run).contains(sentence), "{}", reason_of(&run));
    assert!(lab.requested("saas-post") <= 1, "no second request");
    assert_eq!(lab.requested("saas-delete"), 0, "Camunda 8 SaaS ends a started backup itself");
}

#[tokio::test(start_paused = true)]
async fn rate_limit_of_saas_is_kept_if_ours_is_shorter() {
    let mut lab = lab();
    lab.settings.spec.addresses.saas.as_mut().unwrap().min_interval = Duration::from_secs(1);
    lab.queue.configure(BTreeMap::from([("orders".to_owned(), lab.settings.clone())]));
    assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
    let refused = lab.backup().await;
    assert_eq!(class_of(&refused), Some(FailureClass::Component));
    assert!(reason_of(&refused).ends_with("/backups: Too many requests"), "{}", reason_of(&refused));
    let until = refused.view.quiet_until.unwrap();
    let left = until - lab.clock.now();
    assert!(left > TimeDelta::minutes(13) && left < TimeDelta::minutes(15), "{left}");
    let error = lab.refused().await.to_string();
    let expected = format!(
        "cluster orders cannot be backed up now: Camunda 8 SaaS accepts no backup request until {}",
        camunda_backupd::domain::instant_text(until)
    );
    assert_eq!(error, expected);
    assert_eq!(lab.requested("saas-post"), 2);
    lab.clock.sleep(left.to_std().unwrap()).await;
    assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn occurrence_waits_for_the_rate_limit_within_start_within() {
    let lab = lab();
    assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
    let (due, requested) = (lab.clock.now(), lab.requested("saas-post"));
    let row = |schedule: &str, wait: TimeDelta| waiting_row(schedule, due, wait);
    let rows = vec![row("daily", TimeDelta::hours(6)), row("weekly", TimeDelta::minutes(5))];
    let rows = lab.store.claim(rows).await.unwrap();
    lab.queue.submit(rows);
    lab.clock.sleep(Duration::from_mins(2)).await;
    assert_eq!(lab.requested("saas-post"), requested, "no request within the limit");
    let outcomes = |schedule: &str| {
        let (store, schedule) = (lab.store.clone(), schedule.to_owned());
        async move { store.occurrences(Some(schedule), None, 1).await.unwrap().remove(0) }
    };
    let skipped = outcomes("weekly").await;
    assert_eq!(skipped.outcome, OccurrenceOutcome::Skipped);
    let reason = skipped.reason.unwrap();
    assert!(
        reason.starts_with(
            "Camunda 8 SaaS takes one backup in 15m and the last was requested at 2026-03-01T12:00:"
        ),
        "{reason}"
    );
    assert_eq!(outcomes("daily").await.outcome, OccurrenceOutcome::Waiting);
    lab.clock.sleep(Duration::from_mins(20)).await;
    assert_eq!(outcomes("daily").await.outcome, OccurrenceOutcome::Started);
    let last = backups(&lab).await.pop().unwrap();
    assert_eq!(last.state, BackupState::Completed, "{:?}", last.run.view.reason());
}

#[tokio::test(start_paused = true)]
async fn backup_pruned_by_saas_is_missing_and_not_deleted_by_us() {
    let lab = lab();
    for _ in 0..5 {
        let run = lab.backup().await;
        assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
        lab.clock.sleep(Duration::from_mins(16)).await;
    }
    let states: Vec<BackupState> = backups(&lab).await.into_iter().map(|backup| backup.state).collect();
    let (there, gone) = (BackupState::Completed, BackupState::Missing);
    assert_eq!(states, [gone, gone, there, there, there]);
    assert_eq!(lab.requested("saas-delete"), 0);
}

/// The cluster is replaced by a self-managed one of the same name, and the limits of the deletion are over.
#[tokio::test(start_paused = true)]
async fn saas_backup_survives_the_move_of_its_cluster() {
    let hosted = lab();
    let run = hosted.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    hosted.clock.sleep(Duration::from_mins(1)).await;
    let own = Lab::new();
    let own =
        Lab::daemon(own.cluster.clone(), hosted.memory.clone(), own.settings.clone(), hosted.clock.now());
    own.queue.configure(BTreeMap::from([("orders".to_owned(), own.settings.clone())]));
    for _ in 0..5 {
        own.clock.sleep(Duration::from_mins(2)).await;
        assert_eq!(own.backup().await.view.status, RunStatus::Completed);
    }
    own.clock.sleep(Duration::from_mins(2)).await;
    let states: Vec<BackupState> = backups(&own).await.into_iter().map(|backup| backup.state).collect();
    let (there, gone) = (BackupState::Completed, BackupState::Deleted);
    assert_eq!(states, [there, gone, gone, there, there, there]);
}

/// An unreadable list does not prove that a backup is gone.
#[tokio::test(start_paused = true)]
async fn unreadable_list_sets_nothing_missing() {
    let lab = lab();
    lab.backup().await;
    lab.clock.sleep(Duration::from_mins(16)).await;
    let lab = lab.fault("saas-list.not-json@*");
    lab.queue.request_upkeep("orders");
    lab.clock.sleep(Duration::from_mins(1)).await;
    assert_eq!(backups(&lab).await[0].state, BackupState::Completed);
}

#[tokio::test(start_paused = true)]
async fn operator_delete_in_saas_frees_the_rate_limit() {
    let lab = lab();
    let run = lab.backup().await;
    assert!(lab.refused().await.to_string().contains("Camunda 8 SaaS takes one backup in 15m"));
    lab.store
        .request_deletion(run.run_id, "command".into(), "requested by an operator".into(), lab.clock.now())
        .await
        .unwrap();
    lab.queue.request_upkeep("orders");
    lab.clock.sleep(Duration::from_mins(1)).await;
    assert_eq!(backups(&lab).await[0].state, BackupState::Deleted);
    assert!(locked(&lab.cluster).saas.backups.is_empty());
    assert_eq!(lab.requested("saas-delete"), 1);
    assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
}

/// Failed runs without a backup in Camunda 8 SaaS are deleted as for other clusters. Backups there are
/// kept.
#[tokio::test(start_paused = true)]
async fn failed_runs_without_a_backup_are_deleted() {
    let lab = lab().fault("saas-cluster.unauthorized@5");
    for _ in 0..5 {
        assert_eq!(class_of(&lab.backup().await), Some(FailureClass::Access));
        lab.clock.sleep(Duration::from_mins(1)).await;
    }
    let gone = backups(&lab).await.iter().filter(|b| b.state == BackupState::Deleted).count();
    assert_eq!(gone, 2, "three failed ones are kept");
    assert_eq!(lab.requested("saas-delete"), 0);
}

/// One operation at a time (rule I4): a restore is an operation, also if requested elsewhere or before a
/// restart.
#[tokio::test(start_paused = true)]
async fn no_operation_starts_during_a_saas_restore() {
    let lab = lab();
    let run = lab.backup().await;
    lab.clock.sleep(Duration::from_mins(16)).await;
    let address = lab.settings.spec.addresses.saas.clone().unwrap();
    let saas = camunda_backupd::camunda::Saas::new(&address, lab.context.transport.clone());
    saas.restore(&uuid_of(&run)).await.unwrap();
    let reason = format!(
        "Camunda 8 SaaS is restoring the cluster to backup {} (PENDING). Wait for its end; Console shows the progress",
        run.backup_id
    );
    assert_eq!(lab.refused().await.to_string(), format!("cluster orders cannot be backed up now: {reason}"));
    let at = lab.clock.now();
    lab.store.request_deletion(run.run_id, "command".into(), "requested".into(), at).await.unwrap();
    lab.queue.request_upkeep("orders");
    let row = waiting_row("daily", at, TimeDelta::hours(6));
    lab.queue.submit(lab.store.claim(vec![row]).await.unwrap());
    lab.clock.sleep(Duration::from_secs(20)).await;
    assert_eq!(
        (lab.requested("saas-post"), lab.requested("saas-delete")),
        (1, 0),
        "neither a run nor a deletion"
    );
    lab.clock.sleep(Duration::from_mins(3)).await;
    assert_eq!(lab.requested("saas-post"), 2, "the occurrence was not started after the wait");
    lab.queue.request_upkeep("orders");
    lab.clock.sleep(Duration::from_mins(1)).await;
    assert_eq!(lab.requested("saas-delete"), 1);
}

#[tokio::test(start_paused = true)]
async fn run_and_restore_exclude_each_other() {
    let lab = lab();
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    let busy = lab.queue.restore("orders", async {}).await.unwrap_err();
    assert_eq!(
        busy.to_string(),
        format!("cluster orders is busy with run {run_id}: wait until it has ended")
    );
    lab.ended(run_id).await;
    lab.clock.sleep(Duration::from_mins(16)).await;
    let (queue, clock) = (lab.queue.clone(), lab.clock.clone());
    let asking = lab.context.tasks.spawn(async move {
        queue.restore("orders", async move { clock.sleep(Duration::from_secs(25)).await }).await
    });
    lab.clock.sleep(Duration::from_secs(1)).await;
    let refused = lab.refused().await;
    assert_eq!(
        refused.to_string(),
        "cluster orders is being brought back to a backup: wait until that has ended"
    );
    asking.await.unwrap().unwrap();
    assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
}

/// State that survives a daemon.
struct Remains {
    cluster: SharedCluster,
    store: Arc<MemoryStore>,
    settings: ClusterSettings,
    now: Instant,
    run_id: RunId,
}

fn daemon<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(life)
}

fn dies(faults: &str, moment: impl Fn(&RunView, &Lab) -> bool) -> Remains {
    daemon(async {
        let lab = lab().fault(faults);
        let run_id = lab.queue.manual("orders", None).await.unwrap();
        loop {
            let view = lab.store.run(run_id).await.unwrap().unwrap().view;
            if moment(&view, &lab) {
                let now = lab.clock.now();
                let Lab { cluster, memory: store, settings, .. } = lab;
                return Remains { cluster, store, settings, now, run_id };
            }
            assert!(!view.ended(), "the moment never came");
            lab.clock.sleep(Duration::from_millis(1)).await;
        }
    })
}

fn restarts(remains: Remains) -> (Run, Lab) {
    daemon(async move {
        let Remains { cluster, store, settings, now, run_id } = remains;
        let lab = Lab::daemon(cluster, store, settings, now);
        lab.queue.configure(BTreeMap::from([("orders".to_owned(), lab.settings.clone())]));
        lab.queue.recover().await.unwrap();
        (lab.ended(run_id).await, lab)
    })
}

fn waiting(view: &RunView, _: &Lab) -> bool {
    view.intended.contains(&Step::Wait(Component::Saas))
}

fn request_in_flight(view: &RunView, lab: &Lab) -> bool {
    lab.requested("saas-post") == 1 && view.components[&Component::Saas].names.is_empty()
}

/// The request for the list before the start is in flight.
fn before_the_request(view: &RunView, lab: &Lab) -> bool {
    view.intended.contains(&Step::Start(Component::Saas)) && lab.requested("saas-post") == 0
}

#[rstest]
#[case("", waiting)]
#[case("saas-post.delay=20s", request_in_flight)]
fn backup_is_found_in_the_list_after_a_restart(
    #[case] faults: &str,
    #[case] moment: fn(&RunView, &Lab) -> bool,
) {
    let (run, lab) = restarts(dies(faults, moment));
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    assert_eq!(lab.requested("saas-post"), 1, "no second request");
    let cluster = locked(&lab.cluster);
    let at_the_provider: Vec<_> = cluster.saas.backups.iter().map(|b| (b.uuid.clone(), b.state)).collect();
    assert_eq!(at_the_provider, [(uuid_of(&run), HostedState::Complete)]);
}

#[rstest]
#[case("saas-list.delay=5s@*", before_the_request, 0)]
#[case("saas-post.drop-request", request_in_flight, 1)]
fn lost_request_is_reported_after_a_restart(
    #[case] faults: &str,
    #[case] moment: fn(&RunView, &Lab) -> bool,
    #[case] requested: u64,
) {
    let (run, lab) = restarts(dies(faults, moment));
    assert_eq!(class_of(&run), Some(FailureClass::Component), "{}", reason_of(&run));
    assert!(
        reason_of(&run).contains("and the backup does not appear: does not exist"),
        "{}",
        reason_of(&run)
    );
    assert_eq!(lab.requested("saas-post"), requested, "no second request");
}

/// The list is incomplete only for a moment, but a backup once marked missing stays missing.
#[tokio::test(start_paused = true)]
async fn briefly_empty_list_sets_nothing_missing() {
    let lab = lab();
    assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
    lab.clock.sleep(Duration::from_mins(2)).await;
    let there = std::mem::take(&mut locked(&lab.cluster).saas.backups);
    lab.queue.request_upkeep("orders");
    lab.clock.sleep(Duration::from_secs(5)).await;
    locked(&lab.cluster).saas.backups = there;
    lab.clock.sleep(Duration::from_mins(2)).await;
    assert_eq!(backups(&lab).await[0].state, BackupState::Completed);
}

#[tokio::test(start_paused = true)]
async fn backup_briefly_unlisted_after_its_end_is_polled_again() {
    let smooth = lab();
    smooth.backup().await;
    // The last probe is rejected until the list is empty.
    let lab = lab().fault(&format!("saas-list.refuse@8+{}", smooth.requested("saas-list") - 2));
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    while !lab.store.run(run_id).await.unwrap().unwrap().view.done.contains(&Step::Wait(Component::Saas)) {
        lab.clock.sleep(Duration::from_millis(10)).await;
    }
    let there = std::mem::take(&mut locked(&lab.cluster).saas.backups);
    lab.clock.sleep(Duration::from_secs(5)).await;
    locked(&lab.cluster).saas.backups = there;
    let run = lab.ended(run_id).await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
}

/// Without addresses the parts cannot be probed; a requested deletion would run when the cluster moves back.
#[tokio::test(start_paused = true)]
async fn self_managed_backup_survives_the_move_of_its_cluster() {
    let own = Lab::new();
    assert_eq!(own.backup().await.view.status, RunStatus::Completed);
    own.clock.sleep(Duration::from_mins(1)).await;
    let hosted = lab();
    let hosted = Lab::daemon(hosted.cluster, own.memory.clone(), hosted.settings.clone(), own.clock.now());
    hosted.queue.configure(BTreeMap::from([("orders".to_owned(), hosted.settings.clone())]));
    for _ in 0..4 {
        let run = hosted.backup().await;
        assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
        hosted.clock.sleep(Duration::from_mins(16)).await;
    }
    assert_eq!(backups(&hosted).await[0].state, BackupState::Completed);
}

/// The list of one cluster does not show the backups of another.
#[tokio::test(start_paused = true)]
async fn name_reused_for_another_cluster_keeps_the_backups_of_the_first() {
    let first = lab();
    let run = first.backup().await;
    first.clock.sleep(Duration::from_mins(1)).await;
    let config = sim::Config { storage: Storage::Saas, ..sim::Config::named("moved") };
    let moved = Lab::with(config, Limits::default());
    let lab = Lab::daemon(moved.cluster, first.memory.clone(), moved.settings, first.clock.now());
    lab.queue.configure(BTreeMap::from([("orders".to_owned(), lab.settings.clone())]));
    let second = lab.backup().await;
    assert_eq!(second.view.status, RunStatus::Completed, "its limit is its own: {}", reason_of(&second));
    lab.clock.sleep(Duration::from_mins(2)).await;
    assert_eq!(backups(&lab).await[0].state, BackupState::Completed);
    let requested =
        lab.store.request_deletion(run.run_id, "command".into(), "manual".into(), lab.clock.now());
    requested.await.unwrap();
    lab.queue.request_upkeep("orders");
    lab.clock.sleep(Duration::from_mins(2)).await;
    let left = backups(&lab).await.remove(0);
    assert_eq!(left.state, BackupState::Deleting, "Camunda 8 SaaS still has it");
    let note = left.deletion.unwrap().last_error.unwrap();
    assert!(
        note.contains("Restore the old `cluster_id` in the config, or delete the backup in Console"),
        "{note}"
    );
}

/// Times written while the clock was ahead block backups no longer than the configured limit.
#[rstest]
#[case(TimeDelta::days(30), true)]
#[case(TimeDelta::minutes(1), false)]
#[tokio::test(start_paused = true)]
async fn clock_set_back_does_not_block_backups(#[case] by: TimeDelta, #[case] may: bool) {
    let lab = lab();
    assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
    lab.clock.jump(-by);
    assert_eq!(lab.queue.manual("orders", None).await.is_ok(), may);
}

/// The limit counts from the request itself, not from the probe before it, which may have been slow.
#[tokio::test(start_paused = true)]
async fn rate_limit_counts_from_the_request() {
    let lab = lab().fault("saas-list.refuse@20+1");
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    let created = locked(&lab.cluster).saas.backups[0].created;
    let requested = run.view.components[&Component::Saas].requested_at.unwrap();
    assert!(
        (created - requested).abs() < TimeDelta::seconds(1),
        "{requested}, and the request came at {created}"
    );
}

/// A manual deletion does not wait for the second probe of pruned backups, which a due run interrupts.
#[tokio::test(start_paused = true)]
async fn manual_deletion_does_not_wait_for_the_pruning_probe() {
    let lab = lab();
    lab.backup().await;
    lab.clock.sleep(Duration::from_mins(16)).await;
    let run = lab.backup().await;
    lab.clock.sleep(Duration::from_mins(1)).await;
    locked(&lab.cluster).saas.backups.retain(|backup| backup.uuid == uuid_of(&run));
    lab.store
        .request_deletion(run.run_id, "command".into(), "requested by an operator".into(), lab.clock.now())
        .await
        .unwrap();
    lab.queue.request_upkeep("orders");
    lab.clock.sleep(Duration::from_secs(10)).await;
    assert_eq!(backups(&lab).await[1].state, BackupState::Deleted);
    lab.clock.sleep(Duration::from_mins(1)).await;
    assert_eq!(backups(&lab).await[0].state, BackupState::Missing);
    assert_eq!(lab.requested("saas-delete"), 1);
}

#[tokio::test(start_paused = true)]
async fn backup_of_a_cancelled_run_is_not_reported_as_foreign() {
    let lab = lab().fault("saas-post.stall");
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    lab.clock.sleep(Duration::from_secs(30)).await;
    assert!(lab.queue.stop("orders", FailureClass::Cancelled, "not now"));
    lab.ended(run_id).await;
    lab.clock.sleep(Duration::from_mins(16)).await;
    let reason = lab.not_ready_reason().await;
    let uuid = locked(&lab.cluster).saas.backups[0].uuid.clone();
    assert!(
        reason.contains(&uuid) && reason.contains("which this run did not request. Wait for its end"),
        "{reason}"
    );
    assert!(!reason.contains("foreign"), "{reason}");
}

/// With a short interval between backups, a due run would interrupt every long second probe.
#[tokio::test(start_paused = true)]
async fn pruned_backup_is_recorded_with_a_short_interval() {
    let mut lab = lab();
    lab.settings.spec.addresses.saas.as_mut().unwrap().min_interval = Duration::from_secs(15);
    lab.queue.configure(BTreeMap::from([("orders".to_owned(), lab.settings.clone())]));
    lab.backup().await;
    lab.clock.sleep(Duration::from_mins(1)).await;
    locked(&lab.cluster).saas.backups.clear();
    lab.queue.request_upkeep("orders");
    lab.clock.sleep(Duration::from_secs(8)).await;
    assert_eq!(backups(&lab).await[0].state, BackupState::Missing);
}
