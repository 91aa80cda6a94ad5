//! Sends pending resumes without a running daemon: for `resume-exporting --pending`, and for a start that
//! fails.
//!
//! Needs only the state file, because the row of a pending resume holds every address. Neither a broken
//! config nor a damaged state file may prevent a readable pending resume from being sent (rule I1).

use crate::camunda::{HttpTransport, SharedTransport, TransportError};
use crate::clock::{Clock, SharedClock, Tasks, within};
use crate::config::directories::{configured, runtime_dirs_of};
use crate::config::{Config, Environment};
use crate::context::Context;
use crate::context::resume_attempts::ResumeAttempts;
use crate::domain::{Instant, RunId};
use crate::pause::credentials::Keyring;
use crate::pause::resume::{PauseKnown, ResumeTask, resume_until_confirmed};
use crate::pause::sweep::Sweeper;
use crate::store::memory::MemoryStore;
use crate::store::sqlite::{FILE, REMEDY, ReadOnlyState, Rest, SqliteStore};
use crate::store::{PendingResume, PendingResumes, Store, StoreError, UnconfirmedResumes};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Transport for a command that runs beside or without the daemon. Credentials come from the configured
/// directory, which is read even from a rejected config, or else from copies in a runtime directory.
pub fn transport_of(
    loaded: Option<&Config>,
    config: &Path,
    environment: &Environment,
    state_dir: &Path,
    clock: &SharedClock,
) -> Result<SharedTransport, TransportError> {
    let (credentials_dir, runtime_dirs) = match loaded {
        Some(config) => (config.daemon.credentials_dir.clone(), config.daemon.runtime_dirs()),
        None => (configured(config, "credentials_dir"), runtime_dirs_of(config, environment, state_dir)),
    };
    let keyring = Keyring::of(environment, credentials_dir, runtime_dirs);
    Ok(Arc::new(HttpTransport::with(keyring, clock.clone())?))
}

/// Time limit for opening the state file for writing. After this time the file is only read.
const RECORDS: Duration = Duration::from_millis(500);

/// Result of resuming without the daemon.
#[derive(Debug, Default)]
pub struct OfflineResult {
    /// Names of the clusters whose resume was confirmed.
    pub resumed: Vec<String>,
    /// Names of the clusters whose resume is not confirmed, each with the reason.
    pub still_pending: UnconfirmedResumes,
    /// Whether a state file exists.
    pub found: bool,
    /// Error of the state file that prevented recording the confirmed resumes.
    pub unrecorded: Option<StoreError>,
    /// Time of the last write by a daemon, from the state file.
    pub last_written: Option<Instant>,
    /// Sentence that explains why more resumes may be pending than were read. `None` if the whole file was
    /// read.
    pub unread: Option<String>,
}

/// Sends every pending resume of the state file in `state_dir`, for at most `wait`. Pending resumes in the
/// table are sent at once. A parallel scan of the whole file finds those missing from the table, which are
/// sent too. An unusable file, for example of a newer version, is still read: its resumes are sent but not
/// recorded.
pub async fn resume_from(
    state_dir: &Path,
    transport: SharedTransport,
    clock: SharedClock,
    instance: String,
    wait: Duration,
) -> Result<OfflineResult, StoreError> {
    if std::fs::metadata(state_dir).is_ok_and(|found| !found.is_dir()) {
        return Ok(OfflineResult::default());
    }
    let file = state_dir.join(FILE).display().to_string();
    let until = clock.monotonic().saturating_add(wait);
    let left = || until.saturating_sub(clock.monotonic());
    let opened = writable(state_dir, &file, &*clock).await;
    let ReadOnlyState { listed, rest } = SqliteStore::probe(state_dir);
    if let Ok(None) = opened {
        let seen = within(&*clock, left(), rest).await;
        let unread = seen.map_or_else(|| Some(not_in_time(&file)), |seen| seen.ok()?.trace.lost);
        // A state file whose creation was interrupted counts as found, although it has no pending resumes.
        let found = state_dir.join(FILE).exists();
        return Ok(OfflineResult { found, unread, ..OfflineResult::default() });
    }
    let (store, unusable) = match opened {
        Ok(store) => (store, None),
        Err(unusable) => (None, Some(unusable)),
    };
    let context = |store| {
        let (transport, clock, instance) = (transport.clone(), clock.clone(), instance.clone());
        Context {
            store,
            transport,
            clock,
            tasks: Tasks::new(),
            instance,
            attempts: ResumeAttempts::default(),
            current_addresses: Arc::default(),
        }
    };
    let unrecorded = context(MemoryStore::shared());
    let known = async {
        match &store {
            Some(store) => resume_pending_offline(context(store.clone()), left()).await,
            None => match within(&*clock, left(), listed).await {
                Some(Ok(pending_resumes)) => {
                    Ok(resume_unrecorded(&unrecorded, &pending_resumes, left()).await)
                }
                _ => Ok(Default::default()),
            },
        }
    };
    let more = async {
        let rest = within(&*clock, left(), rest).await?.ok()?;
        let pending_resumes =
            rest.unlisted.as_ref().map(|found| found.pending_resumes.as_slice()).unwrap_or_default();
        let unrecorded_resumes = resume_unrecorded(&unrecorded, pending_resumes, left()).await;
        Some((rest, unrecorded_resumes))
    };
    let (known, more) = futures::join!(known, more);
    let (mut resumed, mut still_pending) = known?;
    let (last_written, unread) = match more {
        None => (None, Some(not_in_time(&file))),
        Some((Rest { trace, unlisted }, (more_resumed, more_pending))) => {
            if let (None, Some(unusable)) = (&unlisted, unusable.clone()) {
                return Err(unreadable(unusable));
            }
            resumed.extend(more_resumed.into_iter().filter(|cluster| !still_pending.contains_key(cluster)));
            still_pending.extend(more_pending);
            let wrong = unlisted.and_then(|found| found.unread).map(|why| in_part(&file, &why));
            (trace.last, wrong.or(trace.lost))
        }
    };
    if let Some(store) = store.filter(|_| unread.is_none() && still_pending.is_empty()) {
        // A failure here loses nothing: commits that are not checkpointed stay in the WAL.
        let _ = within(&*clock, RECORDS, store.close_and_checkpoint(state_dir)).await;
    }
    let unrecorded = unusable.filter(|_| !(resumed.is_empty() && still_pending.is_empty()));
    Ok(OfflineResult { resumed, still_pending, found: true, unrecorded, last_written, unread })
}

/// Opens the state file for writing within `RECORDS`. `None` if no file exists. Resume attempts can then be
/// recorded before they are sent. Commits stay in the WAL, because the file is not yet checked for damage.
async fn writable(
    state_dir: &Path,
    file: &str,
    clock: &dyn Clock,
) -> Result<Option<Arc<SqliteStore>>, StoreError> {
    let late = || StoreError::Unknown { path: file.to_owned() };
    let opened = within(clock, RECORDS, SqliteStore::open_beside(state_dir)).await;
    let Some(store) = opened.unwrap_or_else(|| Err(late()))? else { return Ok(None) };
    let requested = async {
        // Test whether the file is writable only if a resume is pending. Otherwise the file must stay
        // unchanged.
        if store.pending_resumes().await?.is_empty() { Ok(()) } else { store.probe(clock.now()).await }
    };
    // After a timeout the caller reads the file without writing, because a resume waits for no record.
    within(clock, RECORDS, requested).await.unwrap_or_else(|| Err(late()))?;
    Ok(Some(store))
}

/// Clusters whose resume was confirmed, and clusters whose resume is not confirmed.
type Settled = (Vec<String>, UnconfirmedResumes);

async fn resume_unrecorded(
    context: &Context,
    pending_resumes: &[(PendingResume, bool)],
    wait: Duration,
) -> Settled {
    let resumes =
        pending_resumes.iter().map(|(pending_resume, seen)| resumed(context, pending_resume, *seen, wait));
    let still_pending: UnconfirmedResumes =
        futures::future::join_all(resumes).await.into_iter().flatten().collect();
    let clusters: BTreeSet<&String> =
        pending_resumes.iter().map(|(pending_resume, _)| &pending_resume.cluster).collect();
    (
        clusters.into_iter().filter(|cluster| !still_pending.contains_key(*cluster)).cloned().collect(),
        still_pending,
    )
}

/// Warning text if the scan of the state file did not end within the time limit.
fn not_in_time(path: &str) -> String {
    format!(
        "the state file {path} was not read to its end in time, so more resumes may be pending than are known: run \
         `resume-exporting --pending` with a longer `--for`"
    )
}

/// Warning text if only a part of the state file was readable. The daemon may reject this file, so the text
/// begins with its repair.
fn in_part(path: &str, why: &str) -> String {
    format!(
        "the state file {path} cannot be read in full ({why}), so more resumes may be pending than are known: {REMEDY}; then, \
         if `check --online` reports that exporting is paused and nobody else paused it, `resume-exporting CLUSTER --yes` \
         ends it"
    )
}

/// Error if the pending resumes cannot be read. Only the operator can then find out whether a pause of ours
/// is open.
fn unreadable(unusable: StoreError) -> StoreError {
    let StoreError::Unusable { path, reason } = unusable else { return unusable };
    let reason = format!(
        "{reason}; its pending resumes cannot be read either: if `check --online` then reports that exporting is paused, \
         `resume-exporting CLUSTER --yes` ends it"
    );
    StoreError::Unusable { path, reason }
}

/// Sends one pending resume for at most `wait`. Returns the cluster and the reason if the resume is not
/// confirmed.
async fn resumed(
    context: &Context,
    pending_resume: &PendingResume,
    pause_seen: bool,
    wait: Duration,
) -> Option<(String, String)> {
    let task = ResumeTask {
        run_id: pending_resume.run_id,
        cluster: &pending_resume.cluster,
        addresses: &pending_resume.addresses,
        by: "command",
        paused_since: Some(pending_resume.intended_at),
        attempts: pending_resume.attempts,
        pause: PauseKnown { settled: pause_seen, ..PauseKnown::default() },
    };
    within(&*context.clock, wait, resume_until_confirmed(context, &task))
        .await
        .is_none()
        .then(|| why(context, pending_resume.clone()))
}

/// Returns the cluster of a pending resume, and the reason why it is not confirmed.
fn why(context: &Context, pending_resume: PendingResume) -> (String, String) {
    let cluster = pending_resume.cluster.clone();
    let pending_resume = context.attempts.over(vec![pending_resume]).pop();
    (cluster, pending_resume.map(|pending_resume| pending_resume.why()).unwrap_or_default())
}

/// Retries every pending resume with backoff until it is confirmed, for at most `wait`.
async fn resume_pending_offline(context: Context, wait: Duration) -> Result<Settled, StoreError> {
    let sweeper = Sweeper::new(context.clone());
    let Context { store, transport, clock, .. } = &context;
    let began = clock.monotonic();
    let of = |pending_resumes: Vec<PendingResume>| {
        pending_resumes.into_iter().map(|pending_resume| (pending_resume.run_id, pending_resume.cluster))
    };
    let pending: BTreeMap<RunId, String> = of(store.pending_resumes().await?).collect();
    sweeper.sweep("command").await?;
    loop {
        let pending_resumes = store.pending_resumes().await?;
        let still_pending: BTreeMap<RunId, String> = of(pending_resumes.clone()).collect();
        let left = wait.saturating_sub(clock.monotonic().saturating_sub(began));
        if still_pending.is_empty() || left.is_zero() {
            // Release the credentials here too: this process may end before the task that sent the resume
            // releases them.
            for run in pending.keys().filter(|run| !still_pending.contains_key(*run)) {
                transport.release(*run).await;
            }
            let still_pending: UnconfirmedResumes =
                pending_resumes.into_iter().map(|pending_resume| why(&context, pending_resume)).collect();
            let pending: BTreeSet<String> = pending.into_values().collect();
            let resumed =
                pending.into_iter().filter(|cluster| !still_pending.contains_key(cluster)).collect();
            return Ok((resumed, still_pending));
        }
        within(&**clock, left, clock.sleep(Duration::from_millis(50))).await;
    }
}
