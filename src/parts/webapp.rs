//! The parts of the web apps: Operate, Tasklist, their common history, and Optimize.
//!
//! Owns the announced snapshot names of a web app. Must not know the differences between the APIs (`camunda::webapp`).

use crate::camunda::snapshot::part_of;
use crate::camunda::{ClientError, Part as OnePart, PartState, Progress, Search, SnapshotState, WebApp};
use crate::domain::{BackupId, Component};
use crate::journal::{Event, Run};
use crate::parts::part::{Guard, ListedPart, Notes, Part, PartRun, Seen, StartError, Verdict};
use futures::future::{BoxFuture, FutureExt as _, ready};
use serde_json::json;

pub(crate) struct WebAppPart {
    pub component: Component,
    pub app: WebApp,
    /// Search engine with the app's repository, for a second probe of the snapshots.
    pub search: Option<Search>,
    pub repository: Option<String>,
}

impl Part for WebAppPart {
    fn component(&self) -> Component {
        self.component
    }

    fn guard<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Guard, ClientError>> {
        async { Ok(Guard::of_state(self.component, run.id, self.app.see(run.id).await?)) }.boxed()
    }

    fn start<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Notes, StartError>> {
        async {
            let names = self.app.start(run.id).await?;
            Ok(if names.is_empty() { Notes::default() } else { Notes::event(self.announced(names)) })
        }
        .boxed()
    }

    fn probe<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Seen, ClientError>> {
        async { Ok(self.app.see(run.id).await?.into()) }.boxed()
    }

    /// A web app does not report how far a part is, and Operate on OpenSearch responds 400 while a part is running. On a
    /// large cluster that takes longer than `stall_after`, so the snapshots themselves show the progress.
    fn second_probe<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Option<Progress>> {
        async {
            let (search, repository) = (self.search.as_ref()?, self.repository.as_ref()?);
            let prefix = if self.component == Component::History { "webapps" } else { self.component.name() };
            let pattern = format!("camunda_{prefix}_{}_*", run.id);
            let mut snapshots = search.snapshots(repository, &pattern).await.ok()?;
            // Only the request for one snapshot returns its shards and bytes while it runs; a web app takes its
            // snapshots one after the other.
            if let Some(running) = snapshots.iter_mut().find(|s| s.state == SnapshotState::InProgress)
                && let Ok(Some(refined)) = search.see_snapshot(repository, &running.name).await
            {
                *running = refined;
            }
            let parts: Vec<OnePart> = snapshots.iter().map(part_of).collect();
            (!parts.is_empty()).then_some(Progress { parts })
        }
        .boxed()
    }

    fn verify<'a>(
        &'a self,
        run: &'a PartRun<'_>,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Verdict, ClientError>> {
        ready(Ok(self.verdict(run, progress))).boxed()
    }

    fn delete<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<(), ClientError>> {
        self.app.delete(run.id).boxed()
    }

    fn listed(&self, _run: &Run) -> Result<Option<Box<dyn ListedPart>>, String> {
        Ok(Some(Box::new(self.app.clone())))
    }
}

impl ListedPart for WebApp {
    fn see(&self, id: BackupId) -> BoxFuture<'_, Result<PartState, ClientError>> {
        WebApp::see(self, id).boxed()
    }

    fn delete(&self, id: BackupId) -> BoxFuture<'_, Result<(), ClientError>> {
        WebApp::delete(self, id).boxed()
    }
}

impl WebAppPart {
    fn announced(&self, names: Vec<String>) -> Event {
        let repository = self.repository.clone();
        Event::Announced { component: self.component, repository, names, indices: vec![] }
    }

    /// Verifies that every announced snapshot is complete, and that there are as many snapshots as their names state
    /// (`_of_6`).
    fn verdict(&self, run: &PartRun<'_>, progress: &Progress) -> Verdict {
        let doubt = |why: &str| Verdict::doubt(self.component, why);
        let found: Vec<String> = progress.parts.iter().map(|p| p.name.clone()).collect();
        let announced = run.view.components.get(&self.component).map(|c| c.names.clone()).unwrap_or_default();
        if let Some(missing) = announced.iter().find(|name| !found.contains(name)) {
            return doubt(&format!("the announced part {missing} is missing"));
        }
        let expected = progress.total_in_names().unwrap_or(0).max(announced.len() as u32);
        if found.is_empty() || (found.len() as u32) != expected {
            return doubt(&format!("{} of {expected} parts are present", found.len()));
        }
        let events = if announced.is_empty() { vec![self.announced(found)] } else { vec![] };
        Verdict::Verified(Notes { events, facts: vec![(self.component.name(), json!(progress.parts))] })
    }
}
