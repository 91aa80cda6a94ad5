//! Dispatch: the only file that names tokio-cron-scheduler, which ticks over our own timetable as its storage.
//!
//! Owns the tick: claim what is due up to `AHEAD` before its instant, in one store transaction, and hand it over.
//! tokio-cron-scheduler polls `list_next_ticks` twice a second on the monotonic clock and runs one job per schedule;
//! its opinion about times is ignored. Its channels may drop an activation, so what is not fetched within `FETCH`
//! is handed over directly; the store's unique key makes that exactly once.

use super::Timetable;
use crate::clock::{SharedClock, within};
use crate::config::Config;
use crate::domain::{Instant, Occurrence, instant_text};
use crate::lock::lock;
use crate::store::{OccurrenceOutcome, OccurrenceRow, SharedStore, StoreError, TimetableRow};
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

/// Occurrences are claimed so long before their instant; each waits for the exact instant itself, so that the
/// poll costs no lateness.
const AHEAD: TimeDelta = TimeDelta::seconds(2);
/// Pairs in one claim, and about as many schedules in one tick; a burst of more takes a second one.
const PER_TICK: usize = 5000;
/// Claims remembered without an answer. A store that fails for hours is asked for the same pairs again and again; what
/// falls out is still in the timetable, unless a reload comes in between.
const MAX_REQUESTED: usize = 4 * PER_TICK;
/// A claimed occurrence that the scheduler has not delivered within this time is handed over directly.
const FETCH: Duration = Duration::from_secs(5);
/// The longest that one claim is waited for; a tick that has claimed for so long claims no more.
const CLAIM: Duration = Duration::from_secs(10);
/// A wall clock that departs this much from the monotonic one has jumped.
const JUMP: TimeDelta = TimeDelta::seconds(5);
/// tokio-cron-scheduler wants an expression; it never decides anything.
const PLACEHOLDER: &str = "0 0 0 1 1 *";
const NAMESPACE: Uuid = Uuid::from_u128(0x6b1d_66d1_94c8_4c4a_8f0b_3c0d_5e5f_2a61);

/// Takes claimed occurrences over.
pub type Submit = Arc<dyn Fn(Vec<OccurrenceRow>) + Send + Sync>;

/// What the tick and its readers share.
pub struct Shared {
    clock: SharedClock,
    store: SharedStore,
    timetable: Mutex<Timetable>,
    claimed: Mutex<BTreeMap<Uuid, (Duration, Vec<OccurrenceRow>)>>,
    /// Asked for, and not answered yet or never: only the store knows whether they were written.
    requested: Mutex<BTreeSet<Occurrence>>,
    claiming: tokio::sync::Mutex<()>,
    submit: Submit,
    ticked_ms: AtomicU64,
    last: Mutex<Option<(Instant, Duration)>>,
    clock_jump: Mutex<Option<(Instant, String)>>,
    store_error: Mutex<Option<String>>,
}

impl Shared {
    /// Nothing scheduled yet.
    pub fn new(clock: SharedClock, store: SharedStore, submit: Submit) -> Arc<Self> {
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

    /// One tick: what is due is claimed. Returns the schedules that have something to deliver.
    pub async fn tick(&self) -> BTreeSet<String> {
        let now = self.clock.now();
        self.watch_clock(now);
        let schedules = self.claim_all(now).await;
        self.ticked();
        self.hand_over_forgotten();
        schedules
    }

    /// One claim takes one occurrence of each pair; after a while without ticks more are due, and whoever dies before the
    /// next tick must not have kept quiet about them.
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

    /// Claims whatever has come due by now, all of it: what a reload takes out of the timetable next has its fate first
    /// (rule I13).
    pub async fn settle(&self) -> Result<(), StoreError> {
        while self.claim_due(self.clock.now(), TimeDelta::zero()).await?.is_some() {}
        Ok(())
    }

    /// Claims what is due by `now` and so much later, and returns its schedules; nothing if there was nothing to ask.
    async fn claim_due(
        &self,
        now: Instant,
        ahead: TimeDelta,
    ) -> Result<Option<BTreeSet<String>>, StoreError> {
        // A tick and a reload at once would both find the other's claim unanswered, and hand it over twice.
        let _one = self.claiming.lock().await;
        let rows = lock(&self.timetable).due(now, ahead, PER_TICK);
        if rows.is_empty() && lock(&self.requested).is_empty() {
            return Ok(None);
        }
        let new = self.claim(&rows).await?;
        lock(&self.timetable).claimed(&rows);
        Ok(Some(self.keep(new)))
    }

    /// Claims, and returns what is to be handed over: what was new, and what an earlier claim wrote whose answer was
    /// lost or came too late. The earlier ones are asked about even if their schedule is gone meanwhile: nobody else
    /// would give them a fate. The store writes in order, so that after this answer every earlier claim is written or
    /// never will be.
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

    /// The scheduler delivers a schedule.
    fn deliver(&self, job: Uuid) {
        if let Some((_, rows)) = lock(&self.claimed).remove(&job) {
            (self.submit)(rows);
        }
    }

    fn hand_over_forgotten(&self) {
        let now = self.clock.monotonic();
        let forgotten: Vec<Uuid> = lock(&self.claimed)
            .iter()
            .filter(|(_, (at, _))| now.saturating_sub(*at) >= FETCH)
            .map(|(id, _)| *id)
            .collect();
        for job in forgotten {
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

    /// Time since the last tick ended; health and the watchdog live by it.
    pub fn since_tick(&self) -> Duration {
        let now = self.clock.monotonic().as_millis() as u64;
        Duration::from_millis(now.saturating_sub(self.ticked_ms.load(Ordering::Relaxed)))
    }

    /// A jump of the wall clock within the last hour.
    pub fn clock_jump(&self) -> Option<String> {
        let now = self.clock.now();
        lock(&self.clock_jump)
            .clone()
            .filter(|(at, _)| (now - *at).abs() < TimeDelta::hours(1))
            .map(|(_, text)| text)
    }

    /// The last claim that failed, until one succeeds.
    pub fn store_error(&self) -> Option<String> {
        lock(&self.store_error).clone()
    }

    /// The next due instant of every pair.
    pub fn next_due(&self) -> BTreeMap<super::Pair, Instant> {
        lock(&self.timetable).next_due()
    }

    /// The timetable of a config; nothing changes until it is taken over.
    pub fn planned(&self, config: &Config, known: &[TimetableRow]) -> Timetable {
        lock(&self.timetable).planned(config, known, self.clock.now())
    }

    /// Takes over what was planned and whose rows the store holds.
    pub fn take_over(&self, planned: Timetable) {
        lock(&self.timetable).take_over(planned);
    }

    fn schedules(&self) -> Vec<String> {
        lock(&self.timetable).schedules()
    }
}

/// The scheduler and the jobs it has.
pub struct Dispatch {
    shared: Arc<Shared>,
    /// From `start` on: its channels take megabytes, which nobody needs who only asks.
    scheduler: Option<JobScheduler>,
    jobs: BTreeMap<String, Uuid>,
}

impl Dispatch {
    /// A scheduler over `shared`; ticks after `start`.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, scheduler: None, jobs: BTreeMap::new() }
    }

    /// Adds and removes jobs until there is one for every schedule of the timetable; one at a time, since
    /// concurrent additions are lost. Before `start` there is nothing to do.
    pub async fn sync(&mut self) -> Result<(), DispatchError> {
        let Some(scheduler) = &self.scheduler else { return Ok(()) };
        let wanted: BTreeSet<String> = self.shared.schedules().into_iter().collect();
        let gone: Vec<String> = self.jobs.keys().filter(|name| !wanted.contains(*name)).cloned().collect();
        for name in gone {
            if let Some(id) = self.jobs.remove(&name) {
                scheduler.remove(&id).await?;
            }
        }
        for name in wanted {
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

    /// Starts ticking.
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

    /// Stops ticking; what was claimed and not delivered waits in the store for the next start.
    pub async fn stop(&mut self) {
        if let Some(mut scheduler) = self.scheduler.take() {
            let _ = scheduler.shutdown().await;
        }
    }
}

/// tokio-cron-scheduler failed.
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

/// Our timetable in the shape of tokio-cron-scheduler's storage.
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
                // An instant long past and never run: due, whatever the wall clock says.
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
