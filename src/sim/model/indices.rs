//! The indices of the search engine, and patterns for their names.
//!
//! Owns the assignment of indices to parts of web apps, with the names of a real 8.6.0 and, from 8.8 on, the
//! names in Camunda's sources.

use crate::sim::model::importer::App;

/// An index as the search engine lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Primary shards.
    pub shards: u64,
    /// Whether its shards are allocated. A snapshot with an unallocated shard fails or is partial.
    pub assigned: bool,
}

impl Index {
    /// An index with `shards` allocated shards.
    pub fn healthy(name: impl Into<String>, shards: u64) -> Self {
        Self { name: name.into(), shards, assigned: true }
    }
}

/// Names of the indices in part `number` of a web app's backup.
pub(crate) fn of_part(app: App, number: u32) -> &'static [&'static str] {
    match (app, number) {
        (App::Operate, 1) => &["operate-import-position-8.3.0_"],
        (App::Operate, 2) => &["operate-list-view-8.3.0_"],
        (App::Operate, 4) => &[
            "operate-incident-8.3.1_",
            "operate-job-8.6.0_",
            "operate-variable-8.3.0_",
            "operate-user-task-8.5.0_",
            "operate-operation-8.4.1_",
            "operate-message-8.5.0_",
            "operate-event-8.3.0_",
            "operate-flownode-instance-8.3.1_",
            "operate-post-importer-queue-8.3.0_",
            "operate-sequence-flow-8.3.0_",
            "operate-batch-operation-1.0.0_",
            "operate-decision-instance-8.3.0_",
        ],
        (App::Operate, 6) => &[
            "operate-decision-8.3.0_",
            "operate-process-8.3.0_",
            "operate-web-session-1.1.0_",
            "operate-migration-steps-repository-1.1.0_",
            "operate-decision-requirements-8.3.0_",
            "operate-metric-8.3.0_",
            "operate-user-1.2.0_",
        ],
        (App::Tasklist, 1) => &["tasklist-import-position-8.2.0_"],
        (App::Tasklist, 2) => &["tasklist-process-instance-8.3.0_", "tasklist-task-8.5.0_"],
        (App::Tasklist, 4) => &[
            "tasklist-task-variable-8.3.0_",
            "tasklist-draft-task-variable-8.3.0_",
            "tasklist-list-view-8.6.0_",
            "tasklist-flownode-instance-8.3.0_",
            "tasklist-variable-8.3.0_",
        ],
        (App::Tasklist, 6) => &[
            "tasklist-form-8.4.0_",
            "tasklist-web-session-1.1.0_",
            "tasklist-user-1.4.0_",
            "tasklist-process-8.4.0_",
            "tasklist-migration-steps-repository-1.1.0_",
            "tasklist-metric-8.3.0_",
        ],
        (App::History, 1) => {
            &["operate-import-position-8.3.0_", "tasklist-import-position-8.2.0_", "camunda-metadata-8.8.0_"]
        }
        (App::History, 2) => &["operate-list-view-8.3.0_", "tasklist-task-8.8.0_"],
        (App::History, 4) => &[
            "operate-incident-8.3.1_",
            "operate-job-8.6.0_",
            "operate-variable-8.3.0_",
            "operate-flownode-instance-8.3.1_",
            "operate-message-8.5.0_",
            "operate-event-8.3.0_",
            "operate-sequence-flow-8.3.0_",
            "operate-decision-instance-8.3.0_",
            "tasklist-task-variable-8.3.0_",
            "camunda-usage-metric-8.8.0_",
        ],
        (App::History, 6) => &[
            "operate-process-8.3.0_",
            "operate-decision-8.3.0_",
            "operate-decision-requirements-8.3.0_",
            "tasklist-form-8.4.0_",
            "camunda-user-8.8.0_",
            "camunda-role-8.8.0_",
            "camunda-tenant-8.8.0_",
            "camunda-authorization-8.8.0_",
            "camunda-web-session-8.8.0_",
        ],
        (App::Optimize, 1) => &["optimize-position-based-import-index_v3", "optimize-settings_v2"],
        (App::Optimize, 2) => &["optimize-process-definition_v6", "optimize-process-instance-order_v8"],
        _ => &[],
    }
}

/// Patterns that a web app requests for part `number`: its indices, or their dated archives.
pub(crate) fn patterns_of_part(app: App, number: u32) -> Vec<String> {
    if app != App::Optimize && matches!(number, 3 | 5 | 7) {
        let live = of_part(app, number - 1);
        return live.iter().flat_map(|name| [format!("{name}*"), format!("-{name}")]).collect();
    }
    of_part(app, number).iter().map(|name| (*name).to_owned()).collect()
}

/// The web app and part number of an index.
pub(crate) fn part_of(name: &str, apps: impl IntoIterator<Item = App>) -> Option<(App, u32)> {
    apps.into_iter()
        .flat_map(|app| (1..=app.parts()).map(move |number| (app, number)))
        .find(|(app, number)| of_part(*app, *number).contains(&name))
}

/// Whether `name` matches `pattern`; `*` matches any text.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(head) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or("");
    for piece in pieces {
        let Some(at) = left.find(piece) else { return false };
        left = left.get(at + piece.len()..).unwrap_or("");
    }
    left.len() >= last.len() && left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_like_search_engines() {
        for (pattern, name, expected) in [
            ("zeebe-record*", "zeebe-record_job_8.6.0_2026-11-23", true),
            ("zeebe-record*", "operate-job-8.6.0_", false),
            ("*_200*", "camunda_operate_200_8.6.0_part_1_of_6", true),
            ("a*b*c", "abbc", true),
            ("a*b*c", "ac", false),
            ("*", "anything", true),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} over {name}");
        }
    }

    #[test]
    fn every_index_belongs_to_one_part() {
        assert_eq!(part_of("operate-import-position-8.3.0_", App::ALL), Some((App::Operate, 1)));
        assert_eq!(part_of("tasklist-variable-8.3.0_", App::ALL), Some((App::Tasklist, 4)));
        assert_eq!(part_of("operate-list-view-8.3.0_", [App::History]), Some((App::History, 2)));
        assert_eq!(part_of("zeebe-record_job_8.6.0_2026-11-23", App::ALL), None);
    }
}
