//! A cluster in Camunda 8 SaaS: creation, limits and pruning of backups, and restores.
//!
//! Owns the documented rules: a minimum interval between backups, the newest few kept, none during a restore.
//! The implementation behind the API is not public; here a backup is a copy of the whole cluster at an
//! instant.

use crate::domain::Instant;
use crate::sim::faults::Effect;
use crate::sim::model::cluster::{Cluster, Timer};
use crate::sim::model::world::{World, span};
use std::collections::BTreeMap;
use std::time::Duration;

/// Lifetime of a token.
const TOKEN_LIFE: Duration = Duration::from_hours(24);
/// Minimum interval between two requests to the token endpoint.
const TOKEN_GAP: Duration = Duration::from_secs(1);
/// Number of completed and of failed backups that are kept.
const KEPT: usize = 3;

/// State of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostedState {
    /// In progress.
    InProgress,
    /// Failed.
    Failed,
    /// Complete.
    Complete,
}

impl HostedState {
    /// State on the wire.
    pub fn wire(self) -> &'static str {
        match self {
            Self::InProgress => "In progress",
            Self::Failed => "Failed",
            Self::Complete => "Complete",
        }
    }
}

/// One backup in Camunda 8 SaaS.
#[derive(Clone, Debug)]
pub struct Hosted {
    /// Id in the API.
    pub uuid: String,
    /// Whether a user requested the backup. The API does not report this.
    pub manual: bool,
    /// Start time.
    pub created: Instant,
    /// End time.
    pub completed: Option<Instant>,
    /// State.
    pub state: HostedState,
    fails: bool,
    taken: Option<Box<World>>,
}

/// State of the cluster in Camunda 8 SaaS.
#[derive(Clone, Debug, Default)]
pub struct SaasCluster {
    /// Backups, oldest first.
    pub backups: Vec<Hosted>,
    /// Camunda's own schedule, as uploaded; shown but never executed.
    pub schedule: Option<String>,
    /// `Suspended` and the like; `None` for `Healthy`.
    pub status: Option<&'static str>,
    /// State of the restores, by backup.
    pub restores: BTreeMap<String, &'static str>,
    tokens: BTreeMap<String, Instant>,
    token_requested: Option<Instant>,
    /// Number of issued tokens.
    pub tokens_given: u64,
}

/// Reason for a rejected request. The texts are guesses: the documents have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SaasRefusal {
    /// Rate limit reached: retry after this time.
    TooOften(Duration),
    /// There is no such backup.
    Unknown,
    /// Another restore is in progress, or this one is impossible.
    Conflict(&'static str),
}

impl Cluster {
    /// Starts a backup.
    pub(crate) fn saas_start_backup(
        &mut self,
        manual: bool,
        effects: &[Effect],
    ) -> Result<Hosted, SaasRefusal> {
        if self.restoring() {
            return Err(SaasRefusal::Conflict("A restore is in progress for this cluster"));
        }
        let every = self.config.timing.saas_interval;
        let newest = self.saas.backups.iter().filter(|b| b.manual && manual).map(|b| b.created).max();
        if let Some(since) = newest.map(|at| (self.now - at).to_std().unwrap_or_default())
            && since < every
        {
            return Err(SaasRefusal::TooOften(every.saturating_sub(since)));
        }
        let stall = effects.iter().find_map(|what| match what {
            Effect::Stall(length) => Some(*length),
            _ => None,
        });
        let hosted = Hosted {
            uuid: self.random.uuid(),
            manual,
            created: self.now,
            completed: None,
            state: HostedState::InProgress,
            fails: effects.contains(&Effect::Fail),
            taken: None,
        };
        self.saas.backups.push(hosted.clone());
        let takes = self.config.timing.saas_backup;
        match stall {
            Some(None) => {}
            Some(Some(length)) => self.at(takes + length, Timer::SaasBackupEnds(hosted.uuid.clone())),
            None => self.at(takes, Timer::SaasBackupEnds(hosted.uuid.clone())),
        }
        Ok(hosted)
    }

    /// Ends a backup: a copy of the whole cluster as it is now.
    pub(crate) fn saas_end_backup(&mut self, uuid: &str) {
        let (now, world) = (self.now, &self.world);
        if let Some(backup) = self.saas.backups.iter_mut().find(|b| b.uuid == uuid) {
            backup.completed = Some(now);
            backup.state = if backup.fails { HostedState::Failed } else { HostedState::Complete };
            backup.taken = (!backup.fails).then(|| Box::new(world.clone()));
        }
        for state in [HostedState::Complete, HostedState::Failed] {
            let of = self.saas.backups.iter().filter(|b| b.state == state).count();
            for _ in KEPT..of {
                let oldest = self.saas.backups.iter().position(|b| b.state == state);
                oldest.map(|at| self.saas.backups.remove(at));
            }
        }
    }

    /// Deletes a backup.
    pub(crate) fn saas_delete_backup(&mut self, uuid: &str) -> Result<Hosted, SaasRefusal> {
        let at = self.saas.backups.iter().position(|b| b.uuid == uuid);
        at.map(|at| self.saas.backups.remove(at)).ok_or(SaasRefusal::Unknown)
    }

    /// Starts a restore of the cluster.
    pub(crate) fn saas_start_restore(&mut self, uuid: &str) -> Result<(), SaasRefusal> {
        let backup = self.saas.backups.iter().find(|b| b.uuid == uuid).ok_or(SaasRefusal::Unknown)?;
        if backup.taken.is_none() {
            return Err(SaasRefusal::Conflict("Only a completed backup can be restored"));
        }
        if self.restoring() {
            return Err(SaasRefusal::Conflict("A restore is in progress for this cluster"));
        }
        self.saas.restores.insert(uuid.to_owned(), "PENDING");
        let step = self.config.timing.saas_backup / 4;
        for (after, state) in [(1, "VALIDATING"), (2, "IN_PROGRESS"), (4, "COMPLETED")] {
            self.at(step * after, Timer::SaasRestoreAdvances(uuid.to_owned(), state));
        }
        Ok(())
    }

    /// Advances a restore to `state`.
    pub(crate) fn saas_advance_restore(&mut self, uuid: &str, state: &'static str) {
        self.saas.restores.insert(uuid.to_owned(), state);
        let taken = self.saas.backups.iter().find(|b| b.uuid == uuid).and_then(|b| b.taken.clone());
        if let (Some(world), "COMPLETED") = (taken, state) {
            self.world = *world;
        }
    }

    fn restoring(&self) -> bool {
        self.saas.restores.values().any(|state| !matches!(*state, "COMPLETED" | "FAILED" | "ABORTED"))
    }

    /// Issues a token, unless the last request was a moment ago.
    pub(crate) fn saas_issue_token(&mut self) -> Result<String, SaasRefusal> {
        let since = self.saas.token_requested.map(|at| (self.now - at).to_std().unwrap_or_default());
        self.saas.token_requested = Some(self.now);
        if let Some(since) = since.filter(|since| *since < TOKEN_GAP) {
            return Err(SaasRefusal::TooOften(TOKEN_GAP.saturating_sub(since)));
        }
        let token = format!("sim-{}", self.random.uuid());
        self.saas.tokens.retain(|_, until| *until > self.now);
        self.saas.tokens.insert(token.clone(), self.now + span(TOKEN_LIFE));
        self.saas.tokens_given += 1;
        Ok(token)
    }

    /// Whether that token was issued and is still valid.
    pub(crate) fn saas_accepts_token(&self, token: &str) -> bool {
        self.saas.tokens.get(token).is_some_and(|until| *until > self.now)
    }
}
