//! Duration of a pause, independent of clock changes.

use crate::clock::Clock;
use crate::domain::Instant;
use std::time::Duration;

/// Duration of our pause: the larger of wall-clock and monotonic time, so that a clock set back or a
/// suspended machine cannot shorten it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PauseClock {
    intended_at: Instant,
    since_boot: Option<Duration>,
    monotonic: Duration,
}

impl PauseClock {
    /// Clock of a pause that this process requests now.
    pub(crate) fn now(intended_at: Instant, clock: &dyn Clock) -> Self {
        Self { intended_at, since_boot: clock.since_boot(), monotonic: clock.monotonic() }
    }

    /// A pause requested by an earlier process at machine uptime `since_boot_ms`. After a reboot the uptime
    /// is smaller than the elapsed time, so it never lengthens the pause.
    pub(crate) fn after_restart(intended_at: Instant, since_boot_ms: Option<u64>, clock: &dyn Clock) -> Self {
        Self {
            intended_at,
            since_boot: since_boot_ms.map(Duration::from_millis),
            monotonic: clock.monotonic(),
        }
    }

    /// Time since the pause was requested.
    pub(crate) fn elapsed(&self, clock: &dyn Clock) -> Duration {
        let wall = (clock.now() - self.intended_at).to_std().unwrap_or_default();
        let mono = clock.monotonic().saturating_sub(self.monotonic);
        let boot = match (self.since_boot, clock.since_boot()) {
            (Some(then), Some(now)) => now.saturating_sub(then),
            _ => Duration::ZERO,
        };
        wall.max(mono).max(boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn uptime_corrects_a_clock_set_back_after_restart() {
        let clock = crate::clock::ManualClock::at(chrono::DateTime::UNIX_EPOCH);
        let intended_at = clock.now();
        tokio::time::advance(Duration::from_secs(600)).await;
        clock.jump(chrono::TimeDelta::hours(-1));
        let known = PauseClock::after_restart(intended_at, Some(0), &*clock);
        assert_eq!(known.elapsed(&*clock), Duration::from_secs(600));
        let rebooted = PauseClock::after_restart(intended_at, Some(9_000_000), &*clock);
        assert_eq!(rebooted.elapsed(&*clock), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_clock_takes_the_larger_of_both_clocks() {
        let clock = crate::clock::ManualClock::at(chrono::DateTime::UNIX_EPOCH);
        let pause = PauseClock::now(clock.now(), &*clock);
        tokio::time::advance(Duration::from_secs(10)).await;
        clock.jump(chrono::TimeDelta::hours(-1));
        assert_eq!(pause.elapsed(&*clock), Duration::from_secs(10), "a clock set back does not shorten it");
        clock.jump(chrono::TimeDelta::hours(2));
        assert_eq!(pause.elapsed(&*clock), Duration::from_secs(3610), "a clock set forward lengthens it");
    }
}
