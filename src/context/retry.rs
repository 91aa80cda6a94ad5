//! Probes that are retried while their response is transient.

use crate::camunda::{ClientError, PartState};
use crate::clock::Clock;
use std::future::Future;
use std::time::Duration;

/// Longest wait that a response's `Retry-After` is followed.
const QUIET: Duration = Duration::from_mins(5);
/// Shortest wait between two probes.
const INTERVAL: Duration = Duration::from_millis(250);

/// Retries a probe at a fixed interval, or after the requested `Retry-After`, while its response is transient.
pub(crate) struct RetryTransient<'a> {
    clock: &'a dyn Clock,
    limit: Duration,
}

impl<'a> RetryTransient<'a> {
    /// Retries for at most `limit`.
    pub(crate) fn new(clock: &'a dyn Clock, limit: Duration) -> Self {
        Self { clock, limit }
    }

    /// Probe of a backup: an unclear response is transient too, and is returned after the limit.
    pub(crate) async fn probe_backup<F>(
        &self,
        once: impl FnMut() -> F,
        remember: impl FnMut(&ClientError),
    ) -> Result<PartState, ClientError>
    where
        F: Future<Output = Result<PartState, ClientError>>,
    {
        self.until_clear(once, remember, |state| matches!(state, PartState::Unclear { .. })).await
    }

    /// The first response that `is_unclear` does not apply to, or the last one after the limit.
    pub(crate) async fn until_clear<T, F>(
        &self,
        mut once: impl FnMut() -> F,
        mut remember: impl FnMut(&ClientError),
        is_unclear: impl Fn(&T) -> bool,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let began = self.clock.monotonic();
        loop {
            let response = self.probe(&mut once, &mut remember).await?;
            if !is_unclear(&response) || self.clock.monotonic().saturating_sub(began) >= self.limit {
                return Ok(response);
            }
            self.clock.sleep(INTERVAL).await;
        }
    }

    /// The first response that is not transient, or the last error.
    pub(crate) async fn probe<T, F>(
        &self,
        mut once: impl FnMut() -> F,
        mut remember: impl FnMut(&ClientError),
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let began = self.clock.monotonic();
        loop {
            let error = match once().await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            remember(&error);
            let pause = quiet_of(&error).max(INTERVAL);
            let over = self.clock.monotonic().saturating_sub(began);
            if !error.is_transient() || over >= self.limit || pause >= self.limit {
                return Err(error);
            }
            self.clock.sleep(pause).await;
        }
    }
}

/// The wait that the response requested, at most five minutes; zero if it requested none.
pub(crate) fn quiet_of(error: &ClientError) -> Duration {
    error.retry_after.map_or(Duration::ZERO, Duration::from_secs).min(QUIET)
}
