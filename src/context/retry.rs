//! Probes that are retried while their response is transient.

use crate::camunda::{ClientError, PartState};
use crate::clock::Clock;
use std::future::Future;
use std::time::Duration;

/// Maximum `Retry-After` of a response that is followed.
const QUIET: Duration = Duration::from_mins(5);
/// Shortest wait between two probes.
const INTERVAL: Duration = Duration::from_millis(250);

/// Retries a probe at a fixed interval, or after the requested `Retry-After`, while its response is transient.
pub(crate) struct RetryTransient<'a> {
    clock: &'a dyn Clock,
    limit: Duration,
}

impl<'a> RetryTransient<'a> {
    /// Creates retries that end after `limit`.
    pub(crate) fn new(clock: &'a dyn Clock, limit: Duration) -> Self {
        Self { clock, limit }
    }

    /// Probes a backup. An unclear state is retried like a transient error, and returned after the limit.
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

    /// Retries until `is_unclear` is false for a response. After the limit, returns the last response.
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

    /// Retries while the error is transient. After the limit, returns the last error.
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
