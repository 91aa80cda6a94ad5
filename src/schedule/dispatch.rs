//! Dispatch: claims due occurrences and submits them. tokio-cron-scheduler is only the timer.
//!
//! Owns the tick: it claims occurrences up to `AHEAD` before they are due, in one store transaction, and submits them.
//! The only file that uses tokio-cron-scheduler. That crate polls `list_next_ticks` twice a second on the monotonic clock
//! and runs one job per schedule; the due times come from our timetable. Its channels may drop an activation, so an
//! occurrence that is not fetched within `FETCH` is submitted directly. The unique key in the store prevents duplicates.

use super::Timetable;
use crate::clock::{SharedClock, within};
use crate::domain::{Instant, Occurrence, instant_text};
use crate::lock::lock;
use crate::schedule::PairTimes;
use crate::store::{OccurrenceOutcome, OccurrenceRow, Occurrences, StoreError, TimetableRow};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_cron_scheduler::job::job_data::{JobAndNextTick, JobStoredData, JobType};
use tokio_cron_scheduler::store::{DataStore, InitStore};
use tokio_cron_scheduler::{
    JobBuilder, JobScheduler, JobSchedulerError, MetaDataStorage, SimpleJobCode, SimpleNotificationCode,
    SimpleNotificationStore,
};
use uuid::Uuid;

/// Occurrences are claimed this long before they are due. Each waits for its exact instant, so the poll interval adds
/// no lateness.
const AHEAD: TimeDelta = TimeDelta::seconds(2);
/// Maximum number of pairs in one claim, and approximately of schedules in one tick.
const PER_TICK: usize = 5000;
/// Maximum number of unconfirmed claims to remember. A store that fails for hours gets the same claims repeatedly. A
/// dropped claim is still in the timetable, unless a reload intervenes.
const MAX_REQUESTED: usize = 4 * PER_TICK;
/// Timeout of the delivery by the scheduler; then a claimed occurrence is submitted directly.
const FETCH: Duration = Duration::from_secs(5);
/// Timeout of one claim, and of all claims of a tick.
const CLAIM: Duration = Duration::from_secs(10);
/// Minimum difference between wall clock and monotonic clock that counts as a jump.
const JUMP: TimeDelta = TimeDelta::seconds(5);
/// tokio-cron-scheduler requires an expression; it has no effect.
const PLACEHOLDER: &str = "0 0 0 1 1 *";
const NAMESPACE: Uuid = Uuid::from_u128(0x6b1d_66d1_94c8_4c4a_8f0b_3c0d_5e5f_2a61);

/// Receives claimed occurrences.
pub type Submit = Arc<dyn Fn(Vec<OccurrenceRow>) + Send + Sync>;

/// State shared by the tick and its readers.
pub struct Shared {
    clock: SharedClock,
    store: Arc<dyn Occurrences>,
    timetable: Mutex<Timetable>,
    claimed: Mutex<BTreeMap<Uuid, (Duration, Vec<OccurrenceRow>)>>,
    /// Claims without a response of the store, so it is unknown whether they were written.
    requested: Mutex<BTreeSet<Occurrence>>,
    claiming: tokio::sync::Mutex<()>,
    submit: Submit,
    ticked_ms: AtomicU64,
    last: Mutex<Option<(Instant, Duration)>>,
    clock_jump: Mutex<Option<(Instant, String)>>,
    store_error: Mutex<Option<String>>,
}

impl Shared {
    /// Starts with an empty timetable.
    pub fn new(clock: SharedClock, store: Arc<dyn Occurrences>, submit: Submit) -> Arc<Self> {
        Arc::new(Self {
            ticked_ms: AtomicU64::new(clock.monotonic().as_millis() as u64),
            clock,
            store,
            timetable: Mutex::default(),
            claimed: Mutex::default(),
            requested: Mutex::default(),
            claiming: tokio::sync::Mutex::default(),
            submit,
            last: Mutex::default(),
            clock_jump: Mutex::default(),
            store_error: Mutex::default(),
        })
    }

    /// Claims due occurrences. Returns the schedules with occurrences to deliver.
    pub async fn tick(&self) -> BTreeSet<String> {
        let now = self.clock.now();
        self.watch_clock(now);
        let schedules = self.claim_all(now).await;
        self.ticked();
        self.submit_undelivered();
        schedules
    }

    /// One claim covers one occurrence of each pair. After a period without ticks more are due, and a crash before the
    /// next tick must not lose them.
    async fn claim_all(&self, now: Instant) -> BTreeSet<String> {
        let began = self.clock.monotonic();
        let mut schedules = BTreeSet::new();
        while schedules.len() < PER_TICK && self.clock.monotonic().saturating_sub(began) < CLAIM {
            match within(&*self.clock, CLAIM, self.claim_due(now, AHEAD)).await {
                Some(Ok(None)) => break,
                Some(Ok(Some(claimed))) => {
                    *lock(&self.store_error) = None;
                    schedules.extend(claimed);
                    self.ticked();
                }
                Some(Err(error)) => {
                    self.store_failed(&error.to_string());
                    break;
                }
                None => {
                    self.store_failed(&format!("a write took longer than {} s", CLAIM.as_secs()));
                    break;
                }
            }
        }
        schedules
    }

    fn ticked(&self) {
        self.ticked_ms.store(self.clock.monotonic().as_millis() as u64, Ordering::Relaxed);
    }

    /// Claims every due occurrence, so that each has an outcome before a reload removes it from the timetable (rule I13).
    pub async fn settle(&self) -> Result<(), StoreError> {
        while self.claim_due(self.clock.now(), TimeDelta::zero()).await?.is_some() {}
        Ok(())
    }

    /// Claims occurrences due until `now + ahead` and returns their schedules; `None` without anything to claim.
    async fn claim_due(
        &self,
        now: Instant,
        ahead: TimeDelta,
    ) -> Result<Option<BTreeSet<String>>, StoreError> {
        // Only one claim at a time: a concurrent tick and reload would submit the same unconfirmed claim twice.
        let _one = self.claiming.lock().await;
        let rows = lock(&self.timetable).due(now, ahead, PER_TICK);
        if rows.is_empty() && lock(&self.requested).is_empty() {
            return Ok(None);
        }
        let new = self.claim(&rows).await?;
        lock(&self.timetable).claimed(&rows);
        Ok(Some(self.keep(new)))
    }

    /// Claims rows and returns the occurrences to submit: new ones, and those written by an earlier claim without a
    /// response. Earlier claims are checked even after the removal of their schedule, because nothing else gives them an
    /// outcome. The store writes in order: after this response every earlier claim is either written or never will be.
    async fn claim(&self, rows: &[OccurrenceRow]) -> Result<Vec<OccurrenceRow>, StoreError> {
        let mut known = {
            let mut requested = lock(&self.requested);
            requested.extend(rows.iter().map(|row| row.occurrence.clone()));
            while requested.len() > MAX_REQUESTED {
                requested.pop_first();
            }
            requested.clone()
        };
        let mut new = self.store.claim(rows.to_vec()).await?;
        let responded = known.clone();
        for row in &new {
            known.remove(&row.occurrence);
        }
        if !known.is_empty() {
            let waiting = self.store.waiting().await?.into_iter();
            new.extend(waiting.filter(|row| known.contains(&row.occurrence)));
        }
        lock(&self.requested).retain(|occurrence| !responded.contains(occurrence));
        Ok(new)
    }

    fn keep(&self, new: Vec<OccurrenceRow>) -> BTreeSet<String> {
        let at = self.clock.monotonic();
        let mut schedules = BTreeSet::new();
        let mut claimed = lock(&self.claimed);
        for row in new {
            if row.outcome == OccurrenceOutcome::Skipped {
                tracing::warn!(
                    event = "occurrence.skipped", schedule = %row.occurrence.schedule, cluster = %row.occurrence.cluster,
                    due_at = instant_text(row.occurrence.due_at), count = row.count,
                    reason = row.reason.as_deref().unwrap_or_default()
                );
                continue;
            }
            schedules.insert(row.occurrence.schedule.clone());
            let id = job_id(&row.occurrence.schedule);
            claimed.entry(id).or_insert_with(|| (at, Vec::new())).1.push(row);
        }
        schedules
    }

    /// Called by the scheduler: submits the claimed occurrences of a schedule.
    fn deliver(&self, job: Uuid) {
        if let Some((_, rows)) = lock(&self.claimed).remove(&job) {
            (self.submit)(rows);
        }
    }

    fn submit_undelivered(&self) {
        let now = self.clock.monotonic();
        let undelivered: Vec<Uuid> = lock(&self.claimed)
            .iter()
            .filter(|(_, (at, _))| now.saturating_sub(*at) >= FETCH)
            .map(|(id, _)| *id)
            .collect();
        for job in undelivered {
            self.deliver(job);
        }
    }

    fn watch_clock(&self, now: Instant) {
        let mono = self.clock.monotonic();
        let Some((wall_before, mono_before)) = lock(&self.last).replace((now, mono)) else { return };
        let passed = TimeDelta::from_std(mono.saturating_sub(mono_before)).unwrap_or_default();
        let jump = (now - wall_before) - passed;
        if jump.abs() <= JUMP {
            return;
        }
        let text = format!("the wall clock jumped by {} s", jump.num_seconds());
        tracing::warn!(event = "clock.jumped", reason = text);
        *lock(&self.clock_jump) = Some((now, text));
        if jump < TimeDelta::zero() {
            lock(&self.timetable).clock_set_back(now);
        }
    }

    fn store_failed(&self, reason: &str) {
        tracing::error!(event = "store.unwritable", reason);
        *lock(&self.store_error) = Some(reason.to_owned());
    }

    /// Time since the end of the last tick; for health and the watchdog.
    pub fn since_tick(&self) -> Duration {
        let now = self.clock.monotonic().as_millis() as u64;
        Duration::from_millis(now.saturating_sub(self.ticked_ms.load(Ordering::Relaxed)))
    }

    /// Description of a jump of the wall clock within the last hour.
    pub fn clock_jump(&self) -> Option<String> {
        let now = self.clock.now();
        lock(&self.clock_jump)
            .clone()
            .filter(|(at, _)| (now - *at).abs() < TimeDelta::hours(1))
            .map(|(_, text)| text)
    }

    /// Error of the last claim; `None` after a successful one.
    pub fn store_error(&self) -> Option<String> {
        lock(&self.store_error).clone()
    }

    /// Next due instant by pair of schedule and cluster.
    pub fn next_due(&self) -> BTreeMap<super::Pair, Instant> {
        lock(&self.timetable).next_due()
    }

    /// The timetable of a new config; takes effect with `take_over`.
    pub fn planned(&self, pairs: &[PairTimes], known: &[TimetableRow]) -> Timetable {
        lock(&self.timetable).planned(pairs, known, self.clock.now())
    }

    /// Activates a planned timetable after the store has its rows.
    pub fn take_over(&self, planned: Timetable) {
        lock(&self.timetable).take_over(planned);
    }

    fn schedules(&self) -> Vec<String> {
        lock(&self.timetable).schedules()
    }
}

/// The scheduler with one job per schedule.
pub struct Dispatch {
    shared: Arc<Shared>,
    /// Set by `start`, because its channels take megabytes.
    scheduler: Option<JobScheduler>,
    jobs: BTreeMap<String, Uuid>,
}

impl Dispatch {
    /// Creates the dispatch without ticks; `start` begins them.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, scheduler: None, jobs: BTreeMap::new() }
    }

    /// Adds and removes jobs until every schedule of the timetable has one; sequentially, because the scheduler loses
    /// concurrent additions. Without effect before `start`.
    pub async fn sync(&mut self) -> Result<(), DispatchError> {
        let Some(scheduler) = &self.scheduler else { return Ok(()) };
        let expected: BTreeSet<String> = self.shared.schedules().into_iter().collect();
        let removed: Vec<String> =
            self.jobs.keys().filter(|name| !expected.contains(*name)).cloned().collect();
        for name in removed {
            if let Some(id) = self.jobs.remove(&name) {
                scheduler.remove(&id).await?;
            }
        }
        for name in expected {
            if self.jobs.contains_key(&name) {
                continue;
            }
            let id = job_id(&name);
            let shared = self.shared.clone();
            let job = JobBuilder::new()
                .with_job_id(id.into())
                .with_cron_job_type()
                .with_schedule(PLACEHOLDER)?
                .with_run_async(Box::new(move |job, _| {
                    let shared = shared.clone();
                    Box::pin(async move { shared.deliver(job) })
                }))
                .build()?;
            scheduler.add(job).await?;
            self.jobs.insert(name, id);
        }
        Ok(())
    }

    /// Starts the ticks.
    pub async fn start(&mut self) -> Result<(), DispatchError> {
        let storage = Adapter { shared: self.shared.clone(), jobs: Arc::default() };
        let scheduler = JobScheduler::new_with_storage_and_code(
            Box::new(storage),
            Box::new(SimpleNotificationStore::default()),
            Box::new(SimpleJobCode::default()),
            Box::new(SimpleNotificationCode::default()),
            2 * PER_TICK,
        )
        .await?;
        self.scheduler = Some(scheduler.clone());
        self.sync().await?;
        Ok(scheduler.start().await?)
    }

    /// Stops the ticks. Claimed occurrences that were not delivered wait in the store for the next start.
    pub async fn stop(&mut self) {
        if let Some(mut scheduler) = self.scheduler.take() {
            let _ = scheduler.shutdown().await;
        }
    }
}

/// An error of tokio-cron-scheduler, or of the store during its start.
#[derive(Debug, thiserror::Error)]
#[error("the dispatch loop failed ({0:?}); restart the daemon and report it")]
pub struct DispatchError(#[from] JobSchedulerError);

impl From<StoreError> for DispatchError {
    fn from(_: StoreError) -> Self {
        Self(JobSchedulerError::CantInit)
    }
}

fn job_id(schedule: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, schedule.as_bytes())
}

type Done<T> = Pin<Box<dyn Future<Output = Result<T, JobSchedulerError>> + Send>>;

/// Presents the timetable as the storage of tokio-cron-scheduler.
struct Adapter {
    shared: Arc<Shared>,
    jobs: Arc<Mutex<HashMap<Uuid, JobStoredData>>>,
}

impl InitStore for Adapter {
    fn init(&mut self) -> Done<()> {
        Box::pin(ready(Ok(())))
    }

    fn inited(&mut self) -> Done<bool> {
        Box::pin(ready(Ok(true)))
    }
}

impl DataStore<JobStoredData> for Adapter {
    fn get(&mut self, id: Uuid) -> Done<Option<JobStoredData>> {
        let job = lock(&self.jobs).get(&id).cloned();
        Box::pin(ready(Ok(job)))
    }

    fn add_or_update(&mut self, data: JobStoredData) -> Done<()> {
        if let Some(id) = &data.id {
            lock(&self.jobs).insert(id.into(), data);
        }
        Box::pin(ready(Ok(())))
    }

    fn delete(&mut self, id: Uuid) -> Done<()> {
        lock(&self.jobs).remove(&id);
        Box::pin(ready(Ok(())))
    }
}

impl MetaDataStorage for Adapter {
    fn list_next_ticks(&mut self) -> Done<Vec<JobAndNextTick>> {
        let (shared, jobs) = (self.shared.clone(), self.jobs.clone());
        Box::pin(async move {
            let schedules = shared.tick().await;
            let known = lock(&jobs);
            Ok(schedules
                .iter()
                .map(|name| job_id(name))
                .filter(|id| known.contains_key(id))
                // An instant in the past, so that the scheduler runs the job at its next poll whatever the wall clock
                // shows.
                .map(|id| JobAndNextTick {
                    id: Some(id.into()),
                    job_type: JobType::Cron as i32,
                    next_tick: 1,
                    last_tick: None,
                })
                .collect())
        })
    }

    fn set_next_and_last_tick(
        &mut self,
        _: Uuid,
        _: Option<DateTime<Utc>>,
        _: Option<DateTime<Utc>>,
    ) -> Done<()> {
        Box::pin(ready(Ok(())))
    }

    fn time_till_next_job(&mut self) -> Done<Option<Duration>> {
        Box::pin(ready(Ok(None)))
    }
}
