//! One pass over the places of one backup: look, prove, delete, look again, until each answers that it is gone.
//!
//! Deletion is asynchronous everywhere: an accepted DELETE proves nothing, and a part that still runs goes on.

use crate::backup::steps::word;
use crate::camunda::{Progress, Seen};
use crate::clock::within;
use crate::context::{Clients, Ground};
use crate::domain::{Addresses, Component};
use crate::retention::ownership;
use crate::retention::ownership::{NotProven, Proof, Shown};
use crate::store::Backup;
use crate::upkeep::delete::located;
use crate::upkeep::delete::location::{Look, Place, asked_for_something, places, records_of_another};
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest pass; what is left is left to the next one.
pub const PASS_LIMIT: Duration = Duration::from_mins(1);
/// Longest wait for one place, so that one that hangs does not use up the pass.
pub const PLACE_LIMIT: Duration = Duration::from_secs(20);
/// A web app asked to delete while it takes parts shows nothing between two of them: absence has to last so long.
pub const SETTLE: Duration = Duration::from_secs(1);
const FIRST_POLL: Duration = Duration::from_millis(50);
const LAST_POLL: Duration = Duration::from_secs(2);

/// Why a pass ended before everything was gone.
#[derive(Debug)]
pub(crate) enum End {
    GaveWay,
    Left(String),
    NotOurs(String),
}

pub(crate) struct Pass<'a> {
    ground: &'a Ground,
    backup: &'a Backup,
    give_way: &'a CancellationToken,
    until: Duration,
    /// What an earlier pass proved, or this one.
    pub(crate) proof: Option<Proof>,
    /// Something was seen that may go on after its deletion.
    unsettled: bool,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(ground: &'a Ground, backup: &'a Backup, give_way: &'a CancellationToken) -> Self {
        let noted = backup.deletion.as_ref().and_then(|d| d.last_error.as_deref()).and_then(Proof::noted);
        let until = ground.clock.monotonic() + PASS_LIMIT;
        Self { ground, backup, give_way, until, proof: noted, unsettled: false }
    }

    /// `Ok` when every place answers that nothing is there.
    pub(crate) async fn walk(&mut self, addresses: &Addresses) -> Result<(), End> {
        let run = &self.backup.run;
        let mut addresses = addresses.clone();
        if asked_for_something(run) {
            addresses = self.ask(located(self.ground, self.backup, addresses)).await?;
        }
        let clients = Clients::new(&addresses, &self.ground.transport);
        let places = places(run, &addresses, &clients).map_err(End::Left)?;
        let mut looks = self.look_at(&places).await?;
        if looks.iter().all(|look| look.seen == Seen::Absent) {
            if !self.may_surface() {
                return Ok(());
            }
            self.unsettled = true;
        }
        let shows = looks.iter().any(|look| look.seen != Seen::Absent);
        if let (Some(place), true) = (records_of_another(run, &addresses, &clients), shows) {
            looks.push(self.look(&place).await?);
        }
        self.prove(&looks).await?;
        let (records, others): (Vec<Place>, Vec<Place>) = places.into_iter().partition(Place::is_records);
        self.clear_all(&others).await?;
        if self.unsettled {
            self.sleep(SETTLE).await?;
            self.clear_all(&others).await?;
        }
        self.clear_all(&records).await
    }

    /// A start whose answer was lost may surface shortly after a look that showed nothing.
    fn may_surface(&self) -> bool {
        let ended = self.backup.run.view.finished_at;
        let failed = self.backup.run.view.reason().is_some();
        failed
            && ended
                .is_some_and(|at| (self.ground.clock.now() - at).to_std().is_ok_and(|age| age < SETTLE * 10))
    }

    async fn look_at(&mut self, places: &[Place]) -> Result<Vec<Look>, End> {
        let mut looks: Vec<Look> = Vec::new();
        for place in places {
            let shown = |l: &Look| l.component == place.component && l.seen != Seen::Absent;
            if place.is_second_look() && looks.iter().any(shown) {
                continue;
            }
            let look = self.look(place).await?;
            self.unsettled |=
                matches!(look.seen, Seen::Running(_) | Seen::Incomplete(_) | Seen::Unclear { .. });
            looks.push(look);
        }
        Ok(looks)
    }

    async fn look(&self, place: &Place) -> Result<Look, End> {
        let looked = self.ask(place.look(self.backup.run.backup_id)).await?;
        looked.map_err(|error| {
            End::Left(format!("{} could not be asked what is left: {error}", place.component))
        })
    }

    /// The proof is noted before the first DELETE, because what follows may remove the evidence.
    async fn prove(&mut self, looks: &[Look]) -> Result<(), End> {
        if self.proof.is_some() || looks.iter().all(|look| look.seen == Seen::Absent) {
            return Ok(());
        }
        let run = &self.backup.run;
        let mut shown = Shown::default();
        for look in looks.iter().filter(|look| look.seen != Seen::Absent) {
            if let Some(records) = &look.records {
                shown.records = Some(records.clone());
            } else {
                let begun = look.seen.progress().and_then(Progress::earliest_start);
                shown.parts.push((look.component, begun));
            }
        }
        let unclear = looks.iter().any(|look| matches!(look.seen, Seen::Unclear { .. }));
        let proof = ownership::prove(&self.ground.instance, run, &shown).map_err(|why| match why {
            NotProven::NoTime(_) if unclear => {
                End::Left(format!("{why}; a component cannot say yet, so it is asked again"))
            }
            why => End::NotOurs(why.to_string()),
        })?;
        let note = proof.note("not looked at again since deletion began");
        self.ground.store.deletion_tried(run.run_id, Some(note)).await.map_err(|error| {
            End::Left(format!("nothing was deleted, because the proof could not be noted: {error}"))
        })?;
        self.proof = Some(proof);
        Ok(())
    }

    /// Clears each place in its order; one that stays does not keep the others.
    async fn clear_all(&mut self, places: &[Place]) -> Result<(), End> {
        let mut left: BTreeMap<Component, String> = BTreeMap::new();
        for place in places {
            if place.is_second_look() && left.contains_key(&place.component) {
                continue;
            }
            match self.clear(place).await {
                Ok(()) => {}
                Err(End::Left(what)) => {
                    left.insert(place.component, what);
                }
                Err(end) => return Err(end),
            }
        }
        let left: Vec<String> = left.into_values().collect();
        if left.is_empty() { Ok(()) } else { Err(End::Left(left.join("; "))) }
    }

    async fn clear(&mut self, place: &Place) -> Result<(), End> {
        let id = self.backup.run.backup_id;
        let until = self.ground.clock.monotonic() + PLACE_LIMIT;
        let (mut pause, mut asked, mut trouble) = (FIRST_POLL, false, None);
        loop {
            let look = self.look(place).await?;
            let repeat = match &look.seen {
                Seen::Absent => return Ok(()),
                // The real broker answers 204 and goes on: its end is when asking again helps. Operate on OpenSearch
                // cannot be read while it takes a part: later it can.
                Seen::Running(_) | Seen::Unclear { .. } => !asked,
                Seen::Incomplete(_) | Seen::Completed(_) | Seen::Failed { .. } => true,
            };
            if repeat {
                if self.proof.is_none() {
                    // Surfaced after the look that showed nothing.
                    self.prove(std::slice::from_ref(&look)).await?;
                }
                asked = true;
                match self.ask(place.delete(id, &look.seen)).await? {
                    Ok(()) => trouble = None,
                    Err(error) if error.is_transient() || error.may_have_acted() => trouble = Some(error),
                    Err(error) => {
                        return Err(End::Left(format!(
                            "{} does not delete its part: {error}",
                            place.component
                        )));
                    }
                }
            }
            if self.ground.clock.monotonic() >= until {
                let why = trouble.map(|error| format!(" ({error})")).unwrap_or_default();
                return Err(End::Left(format!(
                    "{} still shows backup {id} after {} s: {}{why}",
                    place.component,
                    PLACE_LIMIT.as_secs(),
                    word(&look.seen)
                )));
            }
            self.sleep(pause).await?;
            pause = (pause * 2).min(LAST_POLL);
        }
    }

    /// One request, unless a due run wants the cluster or the pass is over. Never cut off by a due run: an answer
    /// that is outstanding is waited for.
    async fn ask<T>(&self, request: impl Future<Output = T>) -> Result<T, End> {
        if self.give_way.is_cancelled() {
            return Err(End::GaveWay);
        }
        let left = self.until.saturating_sub(self.ground.clock.monotonic());
        match within(&*self.ground.clock, left, request).await {
            Some(answer) => Ok(answer),
            None => Err(End::Left(format!("the pass took longer than {} s", PASS_LIMIT.as_secs()))),
        }
    }

    async fn sleep(&self, pause: Duration) -> Result<(), End> {
        tokio::select! {
            biased;
            () = self.give_way.cancelled() => Err(End::GaveWay),
            () = self.ground.clock.sleep(pause) => Ok(()),
        }
    }
}
