//! The part of the exported records: one snapshot of the `zeebe-record*` indices, with our ownership tag.
//!
//! Owns the conditions of a complete records snapshot. Must not know the shapes of the search engine's responses
//! (`camunda::search`).

use crate::camunda::snapshot::state_of;
use crate::camunda::{ClientError, Progress, Search, Snapshot};
use crate::context::error::StepError;
use crate::domain::{Component, OwnershipTag};
use crate::journal::{Event, FailureClass};
use crate::parts::part::{Guard, Notes, Part, PartRun, Seen, StartError, Verdict};
use futures::future::{BoxFuture, FutureExt as _};
use serde_json::json;

pub(crate) struct RecordsPart {
    pub search: Search,
    pub repository: String,
    /// Index pattern of the exported records.
    pub pattern: String,
}

impl Part for RecordsPart {
    fn component(&self) -> Component {
        Component::Records
    }

    fn failure_class(&self) -> FailureClass {
        FailureClass::Records
    }

    fn guard<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Guard, ClientError>> {
        async {
            let snapshot = self.snapshot(run).await?;
            Ok(Guard::of_state(Component::Records, run.id, state_of(snapshot.as_ref())))
        }
        .boxed()
    }

    fn announce<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Notes, StepError>> {
        async {
            let pattern = &self.pattern;
            let failed = |why: String| StepError::new(FailureClass::Records, why);
            let indices = self.search.indices(pattern).await.map_err(|error| {
                run.remember(&error);
                failed(format!("the indices of {pattern} could not be listed: {error}"))
            })?;
            if indices.is_empty() {
                return Err(failed(no_index(pattern)));
            }
            let facts = vec![("records_indices_before", json!(indices))];
            let announced = Event::Announced {
                component: Component::Records,
                repository: Some(self.repository.clone()),
                names: vec![Search::records_name(run.id)],
                indices,
            };
            Ok(Notes { events: vec![announced], facts })
        }
        .boxed()
    }

    fn start<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Notes, StartError>> {
        async {
            let (name, metadata) = (Search::records_name(run.id), run.tag().metadata());
            self.search.start_snapshot(&self.repository, &name, &self.pattern, metadata).await?;
            Ok(Notes::default())
        }
        .boxed()
    }

    fn probe<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Seen, ClientError>> {
        async { Ok(state_of(self.snapshot(run).await?.as_ref()).into()) }.boxed()
    }

    fn verify<'a>(
        &'a self,
        run: &'a PartRun<'_>,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Verdict, ClientError>> {
        async { Ok(verdict(run, progress, self.snapshot(run).await?.as_ref())) }.boxed()
    }

    fn delete<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<(), ClientError>> {
        async {
            self.search.delete_snapshot(&self.repository, &Search::records_name(run.id)).await.map(|_| ())
        }
        .boxed()
    }
}

impl RecordsPart {
    async fn snapshot(&self, run: &PartRun<'_>) -> Result<Option<Snapshot>, ClientError> {
        self.search.see_snapshot(&self.repository, &Search::records_name(run.id)).await
    }
}

/// Error for a pattern without an index.
pub(crate) fn no_index(pattern: &str) -> String {
    format!(
        "no index matches {pattern}: the records snapshot would be empty; check `search.records` and the exporter"
    )
}

/// Verifies the snapshot: state SUCCESS, no failed shard, not empty, every index that matched before, and the
/// ownership tag of this run.
fn verdict(run: &PartRun<'_>, progress: &Progress, snapshot: Option<&Snapshot>) -> Verdict {
    let rejected = |why: String| {
        Verdict::Rejected(StepError::new(FailureClass::Records, format!("the records snapshot {why}")))
    };
    let Some(snapshot) = snapshot else { return rejected("is gone".into()) };
    if snapshot.shards_total == 0 || snapshot.indices.is_empty() {
        return rejected("is empty: no index matched; check `search.records` and the exporter".into());
    }
    if snapshot.shards_failed > 0 {
        return rejected(format!("lost {} of {} shards", snapshot.shards_failed, snapshot.shards_total));
    }
    if let Some(missing) = run.view.records_indices.iter().find(|i| !snapshot.indices.contains(i)) {
        return rejected(format!("lacks index {missing}, which matched before"));
    }
    let tag = snapshot.metadata.as_ref().and_then(OwnershipTag::read);
    if tag.as_ref().map(|tag| tag.run_id) != Some(run.run.run_id) {
        return rejected(
            "does not have our ownership tag: someone else created it under the same name".into(),
        );
    }
    let shards = json!({ "indices": snapshot.indices, "shards_total": snapshot.shards_total, "shards_failed": snapshot.shards_failed });
    let facts = vec![("records_snapshot", shards), (Component::Records.name(), json!(progress.parts))];
    Verdict::Verified(Notes { events: vec![], facts })
}
