//! Time and tasks: the only module that reads a clock or spawns a task.
//!
//! Owns `Clock` (wall and monotonic time, sleeping) and `Tasks` (spawned work that shutdown waits for).
//! Must not use any module other than `domain` and `lock`.

use crate::domain::Instant;
use crate::lock::lock;
use futures::future::BoxFuture;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// Source of time. `now` may jump both ways; `monotonic` never goes back within one process.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time.
    fn now(&self) -> Instant;
    /// Time since an arbitrary point, unaffected by changes of the wall clock.
    fn monotonic(&self) -> Duration;
    /// Time since boot, suspend included; `None` if it cannot be read.
    fn since_boot(&self) -> Option<Duration>;
    /// Waits for `duration` of monotonic time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// `SystemClock` in the daemon, `ManualClock` in tests.
pub type SharedClock = Arc<dyn Clock>;

/// The clocks of the machine.
pub struct SystemClock {
    start: tokio::time::Instant,
}

impl SystemClock {
    /// Starts monotonic time at zero.
    pub fn shared() -> SharedClock {
        Arc::new(Self { start: tokio::time::Instant::now() })
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the only exception
    fn now(&self) -> Instant {
        chrono::Utc::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn since_boot(&self) -> Option<Duration> {
        let text = std::fs::read_to_string("/proc/uptime").ok()?;
        let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    #[allow(clippy::disallowed_methods)] // the only exception
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock for tests: the test sets wall time, which then follows tokio's time, paused or not.
pub struct ManualClock {
    start: tokio::time::Instant,
    wall: Mutex<Instant>,
}

impl ManualClock {
    /// Starts at `wall`.
    pub fn at(wall: Instant) -> Arc<Self> {
        Arc::new(Self { start: tokio::time::Instant::now(), wall: Mutex::new(wall) })
    }

    /// Makes the wall clock jump; monotonic time stays unaffected.
    pub fn jump(&self, by: chrono::TimeDelta) {
        let mut wall = lock(&self.wall);
        *wall += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        let wall = *lock(&self.wall);
        wall + chrono::TimeDelta::from_std(self.start.elapsed()).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn since_boot(&self) -> Option<Duration> {
        Some(self.start.elapsed())
    }

    #[allow(clippy::disallowed_methods)] // follows tokio's time, which tests pause
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Runs `work` for at most `limit` of the clock's time. `None` if the limit passed first.
pub async fn within<T>(clock: &dyn Clock, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let sleep = clock.sleep(limit);
    tokio::select! {
        biased;
        done = work => Some(done),
        () = sleep => None,
    }
}

/// Runs `work` for at most `limit` of real time. `None` if the limit passed first. For the store, which must not use
/// a `Clock`.
pub(crate) async fn within_real_time<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, work).await.ok()
}

/// Runs `work` on a thread of its own.
///
/// # Errors
/// The operating system started no thread, for example because of a limit on tasks.
pub(crate) fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Spawned tasks, tracked so that shutdown can wait for them.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
}

impl Tasks {
    /// A tracker without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `work` concurrently with the caller.
    pub fn spawn<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(work)
    }

    /// Returns when every spawned task has ended. Nothing may be spawned after this call.
    pub async fn finish(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
