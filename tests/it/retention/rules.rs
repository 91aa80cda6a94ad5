//! Decisions of retention: a table of cases, then properties over generated lists of backups.

use camunda_backupd::domain::{BackupId, BackupState, Keep, RetentionGroup, RunId, Trigger};
use camunda_backupd::journal::{Run, RunView};
use camunda_backupd::retention::{Decision, RetentionRule, Verdict, decide, needs_probe};
use camunda_backupd::store::Backup;
use chrono::DateTime;
use proptest::prelude::*;
use rstest::rstest;
use std::collections::BTreeSet;
use uuid::Uuid;

fn run_id(id: i64) -> RunId {
    Uuid::from_u128(id as u128)
}

fn backup(id: i64, state: BackupState, retention_groups: &[&str]) -> Backup {
    let run = Run {
        run_id: run_id(id),
        cluster: "orders".into(),
        backup_id: BackupId::new(id).unwrap(),
        trigger: Trigger::Schedule,
        occurrences: Vec::new(),
        retention_groups: retention_groups.iter().map(|p| RetentionGroup::from((*p).to_owned())).collect(),
        note: None,
        created_at: DateTime::from_timestamp(id, 0).unwrap(),
        spec: serde_json::Value::Null,
        view: RunView::default(),
    };
    Backup { run, state, held: false, deletion: None }
}

fn rule(group: &str, successful: u32, failed: u32) -> RetentionRule {
    RetentionRule {
        group: RetentionGroup::from(group.to_owned()),
        keep: Keep { successful, failed },
        frozen: false,
    }
}

/// `c1:daily+weekly` is a completed backup with id 1 in two retention groups; `f` failed, `h` completed and held, `r` running,
/// `x` being deleted, `m` missing.
fn backups_of(text: &str) -> Vec<Backup> {
    text.split_whitespace()
        .map(|word| {
            let (head, retention_groups) = word.split_once(':').unwrap_or((word, "daily"));
            let (kind, id) = head.split_at(1);
            let state = match kind {
                "c" | "h" => BackupState::Completed,
                "f" => BackupState::Failed,
                "r" => BackupState::Running,
                "x" => BackupState::Deleting,
                _ => BackupState::Missing,
            };
            let retention_groups: Vec<&str> = retention_groups.split('+').filter(|p| !p.is_empty()).collect();
            Backup { held: kind == "h", ..backup(id.parse().unwrap(), state, &retention_groups) }
        })
        .collect()
}

fn ids(backups: &[Backup]) -> BTreeSet<RunId> {
    backups.iter().map(|b| b.run.run_id).collect()
}

fn deleted(decisions: &[Decision]) -> Vec<i64> {
    decisions.iter().filter(|d| d.verdict == Verdict::Delete).map(|d| d.backup_id.get()).collect()
}

fn reason(decisions: &[Decision], id: i64) -> &str {
    &decisions.iter().find(|d| d.backup_id.get() == id).unwrap().reason
}

#[rstest]
#[case::nothing("", &[])]
#[case::three_stay("c1 c2 c3", &[])]
#[case::fourth_backup_replaces_the_first("c1 c2 c3 c4", &[1])]
#[case::failed_runs_are_counted_separately("f1 c2 f3 c4 f5 c6 f7 c8", &[1, 2])]
#[case::failed_runs_are_deleted_without_a_completed_backup("f1 f2 f3 f4 f5", &[1, 2])]
#[case::held_backup_stays_and_counts("h1 c2 h3 c4 c5", &[2])]
#[case::running_backup_does_not_count("c1 c2 c3 r4", &[])]
#[case::deleting_and_missing_backups_do_not_count("c1 c2 c3 x4 m5", &[])]
#[case::every_group_must_allow_the_deletion("c1:daily+weekly c2 c3 c4 c5", &[2])]
#[case::every_group_allows_the_deletion("c1:daily+weekly c2:weekly c3:weekly c4:weekly c5 c6 c7", &[1])]
#[case::coalesced_failed_run_counts_in_both_groups("f1 f2:weekly f3:daily+weekly f4:daily+weekly f5:daily+weekly", &[1, 2])]
#[case::unknown_group_is_frozen("c1:gone c2:gone c3:gone c4:gone f5:gone f6:gone f7:gone f8:gone", &[])]
#[case::frozen_group_protects_shared_backups("c1:daily+frozen c2 c3 c4 c5", &[2])]
#[case::backup_without_a_group_stays("c1: c2 c3 c4 c5", &[2])]
#[case::manual_backups_have_their_own_limits("c1:manual c2:manual c3 c4 f5:manual f6:manual", &[1, 5])]
#[case::adopted_backups_replace_no_other("c1:adopted c2:adopted c3:adopted", &[])]
#[case::adopted_backup_replaces_no_attested_one("c1:none c2:adopted", &[])]
#[case::attested_backup_replaces_adopted_ones("c1:adopted c2:adopted c3:adopted c4:manual", &[1, 2])]
#[case::backup_to_be_deleted_replaces_no_other("c1:adopted c2:adopted c3:none h4:none f5", &[1, 3])]
#[case::failed_adopted_runs_count_like_manual("f1:adopted f2:adopted c3:adopted", &[1])]
#[case::newest_adopted_backup_stays("c1:adopted c2 c3 c4 c5", &[2])]
#[case::limit_of_zero_keeps_the_last_completed_backup("c1:none c2:none c3:none f4:none", &[1, 2, 4])]
fn retention_table(#[case] text: &str, #[case] expected: &[i64]) {
    let mut rules = vec![
        rule("daily", 3, 3),
        rule("weekly", 3, 3),
        rule("manual", 1, 1),
        rule("none", 0, 0),
        rule("frozen", 1, 1),
    ];
    rules[4].frozen = true;
    let backups = backups_of(text);
    assert_eq!(deleted(&decide(&rules, &backups, &ids(&backups), None)), expected);
}

#[test]
fn manual_limit_of_zero_keeps_the_newest_adopted_backup() {
    let backups = backups_of("c1:adopted c2:adopted c3:manual c4:daily");
    let rules = [rule("manual", 0, 0), rule("daily", 3, 3)];
    assert_eq!(deleted(&decide(&rules, &backups, &ids(&backups), None)), [1, 3]);
}

#[test]
fn only_backups_seen_complete_replace_older_ones() {
    let backups = backups_of("c1 c2 c3 c4 c5");
    let seen = ids(&backups[2..4]);
    let decisions = decide(&[rule("daily", 3, 3)], &backups, &seen, None);
    assert_eq!(deleted(&decisions), [] as [i64; 0]);
    assert_eq!(
        reason(&decisions, 1),
        "kept: schedule daily keeps 3, and this pass found only 2 newer backups complete"
    );
}

#[test]
fn every_decision_has_its_numbers() {
    let backups = backups_of("c1 c2 h3 c4 f5:manual f6:manual r7 c8:gone c9:none c10:none");
    let rules = [rule("daily", 2, 3), rule("manual", 1, 1), rule("none", 0, 0)];
    let decisions: Vec<String> = decide(&rules, &backups, &ids(&backups), None)
        .into_iter()
        .map(|d| format!("{:?} {}", d.backup_id, d.reason))
        .collect();
    insta::assert_snapshot!(decisions.join("\n"), @r"
    #1 retention: schedule daily keeps 2 and has 3 newer complete backups
    #2 retention: schedule daily keeps 2 and has 2 newer complete backups
    #3 kept: held by an operator
    #4 kept: one of the newest completed backups of schedule daily, which keeps 2
    #5 retention: group manual keeps 1 and has 1 newer failed run
    #6 kept: one of the newest failed runs of group manual, which keeps 1
    #7 kept: its run has not ended
    #8 kept: schedule gone is no longer in the config, so retention deletes none of its backups
    #9 retention: schedule none keeps 0 and has 1 newer complete backup
    #10 kept: the newest completed backup of the cluster always stays
    ");
}

#[test]
fn state_behind_deletes_nothing() {
    let backups = backups_of("c1 c2 c3 c4 f5 f6 f7 f8");
    let rules = [rule("daily", 1, 1)];
    let why = "zeebe lists id 900, which the state does not know; run `adopt orders`";
    let decisions = decide(&rules, &backups, &ids(&backups), Some(why));
    assert_eq!(deleted(&decisions), [] as [i64; 0]);
    assert_eq!(reason(&decisions, 1), format!("kept: retention of this cluster is stopped: {why}"));
    assert!(needs_probe(&rules, &backups, &BTreeSet::new(), &BTreeSet::new(), Some(why)).is_empty());
}

fn probe(rules: &[RetentionRule], backups: &[Backup], complete: &[i64], doubtful: &[i64]) -> Vec<i64> {
    let set = |ids: &[i64]| ids.iter().map(|id| run_id(*id)).collect::<BTreeSet<_>>();
    let wanted = needs_probe(rules, backups, &set(complete), &set(doubtful), None);
    wanted
        .into_iter()
        .map(|id| backups.iter().find(|b| b.run.run_id == id).unwrap().run.backup_id.get())
        .collect()
}

#[test]
fn probes_are_requested_only_for_possible_deletions() {
    let rules = [rule("daily", 3, 3), rule("weekly", 3, 3)];
    assert_eq!(
        probe(&rules, &backups_of("c1 c2 c3 f4 f5 f6 f7"), &[], &[]),
        [] as [i64; 0],
        "nothing good would go"
    );
    let backups = backups_of("c1 c2 c3 c4 c5 c6:weekly");
    assert_eq!(probe(&rules, &backups, &[], &[]), [5, 4, 3], "the newest three of the group, newest first");
    assert_eq!(probe(&rules, &backups, &[5, 4, 3], &[]), [] as [i64; 0], "all is known");
    assert_eq!(probe(&rules, &backups, &[5, 3], &[4]), [2], "an older one may stand in for the doubtful one");
    assert_eq!(probe(&rules, &backups, &[5], &[4, 3]), [] as [i64; 0], "nothing can go any more");
}

fn any_state() -> impl Strategy<Value = BackupState> {
    prop_oneof![
        6 => Just(BackupState::Completed),
        4 => Just(BackupState::Failed),
        1 => Just(BackupState::Running),
        1 => Just(BackupState::Queued),
        1 => Just(BackupState::Deleting),
        1 => Just(BackupState::Deleted),
        1 => Just(BackupState::Missing),
    ]
}

fn any_backups() -> impl Strategy<Value = Vec<Backup>> {
    let names = ["daily", "weekly", "manual", "adopted", "gone"];
    let retention_groups = prop::sample::subsequence(names.to_vec(), 0..=2);
    let one = (any_state(), retention_groups, prop::bool::weighted(0.1));
    prop::collection::vec(one, 0..16).prop_map(|all| {
        let ids = 1..;
        all.into_iter()
            .zip(ids)
            .map(|((state, retention_groups, held), id)| Backup {
                held,
                ..backup(id, state, &retention_groups)
            })
            .collect()
    })
}

fn any_rules() -> impl Strategy<Value = Vec<RetentionRule>> {
    prop::collection::vec((0u32..4, 0u32..4, prop::bool::weighted(0.1)), 3).prop_map(|limits| {
        ["daily", "weekly", "manual"]
            .iter()
            .zip(limits)
            .map(|(name, (good, bad, frozen))| RetentionRule { frozen, ..rule(name, good, bad) })
            .collect()
    })
}

/// Backups, and the run ids of those that a probe would find complete.
fn backups_and_complete() -> impl Strategy<Value = (Vec<Backup>, BTreeSet<RunId>)> {
    any_backups().prop_flat_map(|backups| {
        let all: Vec<RunId> = ids(&backups).into_iter().collect();
        let count = all.len();
        (Just(backups), prop::sample::subsequence(all, 0..=count).prop_map(|some| some.into_iter().collect()))
    })
}

fn after(backups: &[Backup], decisions: &[Decision]) -> Vec<Backup> {
    let gone: BTreeSet<i64> = deleted(decisions).into_iter().collect();
    backups.iter().filter(|b| !gone.contains(&b.run.backup_id.get())).cloned().collect()
}

proptest! {
    #[test]
    fn second_pass_changes_nothing(rules in any_rules(), (backups, complete) in backups_and_complete()) {
        let first = decide(&rules, &backups, &complete, None);
        let left = after(&backups, &first);
        prop_assert_eq!(deleted(&decide(&rules, &left, &complete, None)), [] as [i64; 0]);
    }

    #[test]
    fn order_of_the_rows_does_not_matter(
        rules in any_rules(),
        ((backups, complete), shuffled) in backups_and_complete()
            .prop_flat_map(|(b, c)| (Just((b.clone(), c)), Just(b).prop_shuffle())),
    ) {
        prop_assert_eq!(decide(&rules, &backups, &complete, None), decide(&rules, &shuffled, &complete, None));
    }

    #[test]
    fn deletions_leave_enough_backups_in_every_group(rules in any_rules(), (backups, complete) in backups_and_complete()) {
        let decisions = decide(&rules, &backups, &complete, None);
        let left = after(&backups, &decisions);
        let standing = |state: BackupState, than: i64, group: Option<&RetentionGroup>| {
            left.iter()
                .filter(|b| b.state == state && b.run.backup_id.get() > than)
                .filter(|b| match group {
                    // It is unknown whether exporting stayed paused during an adopted backup.
                    Some(RetentionGroup::Adopted) if state == BackupState::Completed => true,
                    group => group.is_none_or(|p| b.run.retention_groups.contains(p)),
                })
                .filter(|b| {
                    state == BackupState::Failed
                        || (complete.contains(&b.run.run_id) && !b.run.retention_groups.contains(&RetentionGroup::Adopted))
                })
                .count()
        };
        for gone in deleted(&decisions) {
            let gone = backups.iter().find(|b| b.run.backup_id.get() == gone).unwrap();
            prop_assert!(matches!(gone.state, BackupState::Completed | BackupState::Failed));
            prop_assert!(!gone.held && !gone.run.retention_groups.is_empty());
            if gone.state == BackupState::Completed {
                prop_assert!(standing(gone.state, gone.run.backup_id.get(), None) >= 1, "the last completed backup of the cluster");
            }
            for group in &gone.run.retention_groups {
                let named = if *group == RetentionGroup::Adopted { &RetentionGroup::Manual } else { group };
                let rule = rules.iter().find(|r| r.group == *named);
                prop_assert!(rule.is_some_and(|r| !r.frozen), "a retention group that is not in the config");
                let keep = rule.unwrap().keep;
                let limit = if gone.state == BackupState::Completed { keep.successful } else { keep.failed };
                prop_assert!(standing(gone.state, gone.run.backup_id.get(), Some(group)) >= limit as usize);
            }
        }
    }

    #[test]
    fn every_existing_backup_has_one_reason(rules in any_rules(), (backups, complete) in backups_and_complete()) {
        let gone = [BackupState::Deleting, BackupState::Deleted, BackupState::Missing];
        let present: Vec<i64> =
            backups.iter().filter(|b| !gone.contains(&b.state)).map(|b| b.run.backup_id.get()).collect();
        let decisions = decide(&rules, &backups, &complete, None);
        prop_assert_eq!(decisions.iter().map(|d| d.backup_id.get()).collect::<Vec<_>>(), present);
        for decision in &decisions {
            let prefix = if decision.verdict == Verdict::Keep { "kept: " } else { "retention: " };
            prop_assert!(decision.reason.starts_with(prefix), "{}", decision.reason);
        }
    }

    #[test]
    fn requested_probes_decide_like_probes_of_all_backups(rules in any_rules(), (backups, truth) in backups_and_complete()) {
        let (mut complete, mut doubtful) = (BTreeSet::new(), BTreeSet::new());
        loop {
            let wanted = needs_probe(&rules, &backups, &complete, &doubtful, None);
            if wanted.is_empty() {
                break;
            }
            for id in wanted {
                let fresh = if truth.contains(&id) { complete.insert(id) } else { doubtful.insert(id) };
                prop_assert!(fresh, "probed twice");
            }
        }
        prop_assert_eq!(
            deleted(&decide(&rules, &backups, &complete, None)),
            deleted(&decide(&rules, &backups, &truth, None))
        );
    }
}
