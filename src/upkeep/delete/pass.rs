//! One deletion pass over the locations of a backup: probes, proves ownership, deletes, and probes again
//! until every location reports that the backup is gone.
//!
//! Deletion is asynchronous in every component: after an accepted DELETE, a part may still exist or still be
//! in progress.

use crate::backoff::Backoff;
use crate::camunda::{PartState, Progress};
use crate::clock::within;
use crate::context::{Clients, Context};
use crate::domain::{Addresses, Component, OwnershipProof};
use crate::retention::ownership;
use crate::retention::ownership::{NotProven, Shown};
use crate::store::{Backup, DeletionProgress};
use crate::upkeep::addresses::located;
use crate::upkeep::delete::location::{
    Location, LocationState, has_requested, locations, records_of_another,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time limit of a deletion pass. The next pass deletes the remaining parts.
pub const PASS_LIMIT: Duration = Duration::from_mins(1);
/// Time limit for one location, so that a location without a response does not use up the time of the pass.
pub const LOCATION_LIMIT: Duration = Duration::from_secs(20);
/// Wait before an interrupted part is probed and deleted a second time. A web app that receives a DELETE
/// while it takes parts lists nothing between two parts.
pub const SETTLE: Duration = Duration::from_secs(1);
const FIRST_POLL: Duration = Duration::from_millis(50);
const LAST_POLL: Duration = Duration::from_secs(2);

/// Reason why a deletion pass ended before all parts were gone.
#[derive(Debug)]
pub(crate) enum End {
    Yielded,
    Left(String),
    NotOurs(String),
}

pub(crate) struct Pass<'a> {
    context: &'a Context,
    backup: &'a Backup,
    yield_now: &'a CancellationToken,
    until: Duration,
    /// Proof that the backup is ours, from this pass or an earlier one.
    proof: Option<OwnershipProof>,
    /// Whether a part may appear after its deletion, because the component may still be taking it.
    unconfirmed: bool,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(context: &'a Context, backup: &'a Backup, yield_now: &'a CancellationToken) -> Self {
        let proof = backup.deletion.as_ref().and_then(|deletion| deletion.ownership_proof.clone());
        let until = context.clock.monotonic() + PASS_LIMIT;
        Self { context, backup, yield_now, until, proof, unconfirmed: false }
    }

    /// Deletes the backup at the given addresses. `Ok` means that every location reports the backup gone.
    pub(crate) async fn walk(&mut self, addresses: &Addresses) -> Result<(), End> {
        let run = &self.backup.run;
        let mut addresses = addresses.clone();
        if has_requested(run) {
            addresses = self.request(located(self.context, self.backup, addresses)).await?;
        }
        let clients = Clients::new(&addresses, &self.context.transport);
        let locations = locations(run, &addresses, &clients).map_err(End::Left)?;
        let mut probes = self.probe_at(&locations).await?;
        if probes.iter().all(|probe| probe.seen == PartState::Absent) {
            if !self.may_surface() {
                return Ok(());
            }
            self.unconfirmed = true;
        }
        let shows = probes.iter().any(|probe| probe.seen != PartState::Absent);
        if let (Some(location), true) = (records_of_another(run, &addresses, &clients), shows) {
            probes.push(self.probe(&location).await?);
        }
        self.prove(&probes).await?;
        let (records, others): (Vec<Location>, Vec<Location>) =
            locations.into_iter().partition(Location::is_records);
        self.clear_all(&others).await?;
        if self.unconfirmed {
            self.sleep(SETTLE).await?;
            self.clear_all(&others).await?;
        }
        self.clear_all(&records).await
    }

    /// Whether a start with a lost response may still become visible: this is possible shortly after a failed
    /// run.
    fn may_surface(&self) -> bool {
        let ended = self.backup.run.view.finished_at;
        let failed = self.backup.run.view.reason().is_some();
        failed
            && ended
                .is_some_and(|at| (self.context.clock.now() - at).to_std().is_ok_and(|age| age < SETTLE * 10))
    }

    async fn probe_at(&mut self, locations: &[Location]) -> Result<Vec<LocationState>, End> {
        let mut probes: Vec<LocationState> = Vec::new();
        for location in locations {
            let shown = |l: &LocationState| l.component == location.component && l.seen != PartState::Absent;
            if location.is_second_probe() && probes.iter().any(shown) {
                continue;
            }
            let probe = self.probe(location).await?;
            self.unconfirmed |= matches!(
                probe.seen,
                PartState::Running(_) | PartState::Incomplete(_) | PartState::Unclear { .. }
            );
            probes.push(probe);
        }
        Ok(probes)
    }

    async fn probe(&self, location: &Location) -> Result<LocationState, End> {
        let probed = self.request(location.probe(self.backup.run.backup_id)).await?;
        probed.map_err(|error| {
            End::Left(format!("{} could not be probed for remains: {error}", location.component))
        })
    }

    /// Proves that the backup is ours, and stores the proof before the first DELETE: a deletion may remove
    /// the evidence.
    async fn prove(&mut self, probes: &[LocationState]) -> Result<(), End> {
        if self.proof.is_some() || probes.iter().all(|probe| probe.seen == PartState::Absent) {
            return Ok(());
        }
        let run = &self.backup.run;
        let mut shown = Shown::default();
        for probe in probes.iter().filter(|probe| probe.seen != PartState::Absent) {
            if let Some(records) = &probe.records {
                shown.records = Some(records.clone());
            } else {
                let begun = probe.seen.progress().and_then(Progress::earliest_start);
                shown.parts.push((probe.component, begun));
            }
        }
        let unclear = probes.iter().any(|probe| matches!(probe.seen, PartState::Unclear { .. }));
        let proof = ownership::prove(&self.context.instance, run, &shown).map_err(|why| match why {
            NotProven::NoTime(_) if unclear => {
                End::Left(format!("{why}; the state of a component is unclear, so it is probed again"))
            }
            why => End::NotOurs(why.to_string()),
        })?;
        let proven = DeletionProgress::OwnershipProven(proof.clone());
        self.context.store.record_deletion_progress(run.run_id, proven).await.map_err(|error| {
            End::Left(format!(
                "nothing was deleted, because the proof of ownership could not be stored: {error}"
            ))
        })?;
        self.proof = Some(proof);
        Ok(())
    }

    /// Deletes the parts at each location in order. If a location fails, the others are still processed.
    async fn clear_all(&mut self, locations: &[Location]) -> Result<(), End> {
        let mut left: BTreeMap<Component, String> = BTreeMap::new();
        for location in locations {
            if location.is_second_probe() && left.contains_key(&location.component) {
                continue;
            }
            match self.clear(location).await {
                Ok(()) => {}
                Err(End::Left(what)) => {
                    left.insert(location.component, what);
                }
                Err(end) => return Err(end),
            }
        }
        let left: Vec<String> = left.into_values().collect();
        if left.is_empty() { Ok(()) } else { Err(End::Left(left.join("; "))) }
    }

    async fn clear(&mut self, location: &Location) -> Result<(), End> {
        let id = self.backup.run.backup_id;
        let until = self.context.clock.monotonic() + LOCATION_LIMIT;
        let mut backoff = Backoff::new(FIRST_POLL, LAST_POLL);
        let (mut requested, mut trouble) = (false, None);
        loop {
            let probe = self.probe(location).await?;
            let repeat = match &probe.seen {
                PartState::Absent => return Ok(()),
                // Send only one DELETE to a part in progress: a broker responds 204 and completes the part
                // all the same. After its end, DELETE is sent again. An unclear state also gets one DELETE:
                // Operate on OpenSearch cannot be read while it takes a part.
                PartState::Running(_) | PartState::Unclear { .. } => !requested,
                PartState::Incomplete(_) | PartState::Completed(_) | PartState::Failed { .. } => true,
            };
            if repeat {
                if self.proof.is_none() {
                    // No proof exists yet, because the part became visible only after the first probe.
                    self.prove(std::slice::from_ref(&probe)).await?;
                }
                requested = true;
                match self.request(location.delete(id, &probe.seen)).await? {
                    Ok(()) => trouble = None,
                    Err(error) if error.is_transient() || error.may_have_acted() => trouble = Some(error),
                    Err(error) => {
                        return Err(End::Left(format!(
                            "{} does not delete its part: {error}",
                            location.component
                        )));
                    }
                }
            }
            if self.context.clock.monotonic() >= until {
                let why = trouble.map(|error| format!(" ({error})")).unwrap_or_default();
                return Err(End::Left(format!(
                    "{} still shows backup {id} after {} s: {}{why}",
                    location.component,
                    LOCATION_LIMIT.as_secs(),
                    probe.seen.describe()
                )));
            }
            self.sleep(backoff.delay()).await?;
            backoff.grow();
        }
    }

    /// Sends one request, unless a due run needs the cluster or the time of the pass is over. A due run does
    /// not cancel a request that was sent: its response is awaited.
    async fn request<T>(&self, request: impl Future<Output = T>) -> Result<T, End> {
        if self.yield_now.is_cancelled() {
            return Err(End::Yielded);
        }
        let left = self.until.saturating_sub(self.context.clock.monotonic());
        match within(&*self.context.clock, left, request).await {
            Some(response) => Ok(response),
            None => Err(End::Left(format!("the pass took longer than {} s", PASS_LIMIT.as_secs()))),
        }
    }

    async fn sleep(&self, pause: Duration) -> Result<(), End> {
        tokio::select! {
            biased;
            () = self.yield_now.cancelled() => Err(End::Yielded),
            () = self.context.clock.sleep(pause) => Ok(()),
        }
    }
}
