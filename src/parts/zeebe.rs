//! The part of Zeebe: state and log of every partition.
//!
//! Owns the choice of the backup id and the verification of the partitions. Must not pause or resume exporting.

use crate::camunda::checkpoints::OWN_IDS;
use crate::camunda::{ClientError, PartState, Progress, Scheduled, Zeebe};
use crate::context::error::StepError;
use crate::domain::{BackupId, Component, Version};
use crate::journal::{Event, FailureClass, Run, Step};
use crate::parts::part::{Guard, ListedPart, Notes, Part, PartRun, Seen, StartError, Unidentified, Verdict};
use futures::future::{BoxFuture, FutureExt as _, ready};
use serde_json::json;

pub(crate) struct ZeebePart {
    pub zeebe: Zeebe,
}

impl Part for ZeebePart {
    fn component(&self) -> Component {
        Component::Zeebe
    }

    fn guard<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Guard, ClientError>> {
        async { Ok(Guard::of_state(Component::Zeebe, run.id, self.zeebe.see(run.id).await?)) }.boxed()
    }

    fn start<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Notes, StartError>> {
        self.request(run).boxed()
    }

    fn probe<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Seen, ClientError>> {
        async { Ok(self.zeebe.see(run.id).await?.into()) }.boxed()
    }

    fn verify<'a>(
        &'a self,
        run: &'a PartRun<'_>,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Verdict, ClientError>> {
        ready(Ok(verdict(run, progress))).boxed()
    }

    fn delete<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<(), ClientError>> {
        self.zeebe.delete(run.id).boxed()
    }

    fn listed(&self, _run: &Run) -> Result<Option<Box<dyn ListedPart>>, String> {
        Ok(Some(Box::new(self.zeebe.clone())))
    }

    fn unidentified<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Option<Unidentified>> {
        self.unreceived_ids(run).boxed()
    }
}

impl ListedPart for Zeebe {
    fn see(&self, id: BackupId) -> BoxFuture<'_, Result<PartState, ClientError>> {
        Zeebe::see(self, id).boxed()
    }

    fn delete(&self, id: BackupId) -> BoxFuture<'_, Result<(), ClientError>> {
        Zeebe::delete(self, id).boxed()
    }
}

impl ZeebePart {
    /// Requests the backup without an id if the cluster may assign ids. If the cluster rejects that, repeats the
    /// request with our id.
    async fn request(&self, run: &PartRun<'_>) -> Result<Notes, StartError> {
        let may_assign = run.view.above.is_some();
        let mut response = None;
        if may_assign {
            match self.zeebe.start(None).await {
                // 415: the request without an id has no JSON body, and only a cluster that assigns ids accepts that.
                Err(error) if matches!(error.status, Some(400 | 415)) => run.remember(&error),
                other => response = Some(other),
            }
        }
        let response = match response {
            Some(response) => response,
            None => self.zeebe.start(Some(run.id)).await,
        };
        match response {
            Ok(Scheduled { id: Some(backup_id) }) if backup_id != run.id && may_assign => {
                Ok(Notes::event(Event::Identified { backup_id }))
            }
            Ok(_) => Ok(Notes::default()),
            Err(error) if error.status == Some(400) && requires_own_ids(&error) => {
                Err(StartError::Certain(StepError::new(
                    FailureClass::Component,
                    format!("zeebe did not start the backup: {error}; {OWN_IDS}"),
                )))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Searches for backups with unknown ids. One may exist if the cluster assigns ids and the response with our id
    /// was lost.
    async fn unreceived_ids(&self, run: &PartRun<'_>) -> Option<Unidentified> {
        let view = &run.view;
        let responded = view.done.contains(&Step::Start(Component::Zeebe))
            || view.components.get(&Component::Zeebe).is_some_and(|zeebe| zeebe.reason.is_some());
        let open = view.uncertain.contains(&Component::Zeebe) || !responded;
        let above = view.above.filter(|_| view.identified.is_none() && open)?;
        let listed = self.zeebe.list().await.ok()?;
        let named = run.id.get();
        let new: Vec<i64> =
            listed.iter().map(|listed| listed.id).filter(|id| *id > above && *id != named).collect();
        let largest = *new.iter().max()?;
        let ids: Vec<String> = new.iter().map(ToString::to_string).collect();
        let sentence = format!(
            "zeebe may have taken this backup under an id that was never received ({}). None of these is deleted automatically: delete the one that nobody else requested",
            ids.join(", ")
        );
        Some(Unidentified { largest, sentence })
    }
}

/// Whether a broker rejects an id because it assigns ids itself.
fn requires_own_ids(error: &ClientError) -> bool {
    let text = error.message.to_ascii_lowercase();
    ["generated", "continuous", "scheduler", "must not be provided", "must be omitted"]
        .iter()
        .any(|w| text.contains(w))
}

/// Verifies that every partition is complete, and that all brokers had one version.
fn verdict(run: &PartRun<'_>, progress: &Progress) -> Verdict {
    let doubt = |why: &str| Verdict::doubt(Component::Zeebe, why);
    if let Some(expected) = run.view.partitions
        && progress.parts.len() as u32 != expected
    {
        return doubt(&format!("it holds {} of {expected} partitions", progress.parts.len()));
    }
    if progress.parts.is_empty() {
        return doubt("it lists no partition");
    }
    if let Some(why) = of_another_version(run, progress) {
        return doubt(&why);
    }
    Verdict::Verified(Notes { events: vec![], facts: vec![(Component::Zeebe.name(), json!(progress.parts))] })
}

/// Sign of an upgrade during the run: no version restores parts from both sides of it. Patch versions do not count.
fn of_another_version(run: &PartRun<'_>, progress: &Progress) -> Option<String> {
    // A version from the config may differ from the version that the brokers report.
    if run.version_in_config {
        return None;
    }
    let began = run.view.version.as_ref()?.parse::<Version>().ok()?;
    let differs = |version: &Version| (version.major, version.minor) != (began.major, began.minor);
    progress.parts.iter().find_map(|part| {
        let version = part.broker_version.as_ref()?.parse::<Version>().ok().filter(differs)?;
        Some(format!(
            "{} was taken by Camunda {version}, and the run began with {began}: the parts of one backup must be of one version",
            part.name
        ))
    })
}
