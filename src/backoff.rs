//! Exponential backoff of retries.
//!
//! Owns the delay between two attempts. Must not sleep: the caller does, so that it can be woken.

use std::time::Duration;

/// Delay between two attempts, doubled from `first` up to `longest`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    delay: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { delay: first.min(longest), longest }
    }

    /// Delay before the next attempt.
    pub(crate) fn delay(&self) -> Duration {
        self.delay
    }

    /// Doubles the delay, after it has passed.
    pub(crate) fn grow(&mut self) {
        self.delay = self.delay.saturating_mul(2).min(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_doubles_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
        let mut delays = Vec::new();
        for _ in 0..5 {
            delays.push(backoff.delay().as_millis());
            backoff.grow();
        }
        assert_eq!(delays, [200, 400, 800, 1000, 1000]);
    }
}
