//! How long things take in the simulated cluster, and how much load it has.
//!
//! Owns the figures only. The defaults are near what a real 8.6.0 showed on two cores with small data.

use std::time::Duration;

/// Durations of the simulated cluster.
#[derive(Clone, Debug)]
pub struct Timing {
    /// From a request to its answer.
    pub response: Duration,
    /// One part of a web app's backup.
    pub part: Duration,
    /// Between two parts, and before the first: a web app knows nothing of its backup meanwhile.
    pub part_gap: Duration,
    /// How long the history waits for a part that does not come, before it says so.
    pub incomplete_check: Duration,
    /// A snapshot taken directly at the search engine.
    pub snapshot: Duration,
    /// From the deletion of a web app's backup until its first part is gone.
    pub delete_begins: Duration,
    /// From one deleted part to the next.
    pub delete_part: Duration,
    /// From the checkpoint until a partition's backup can be seen.
    pub backup_seen: Duration,
    /// How much later than the partition before it a partition is seen and done.
    pub backup_skew: Duration,
    /// From being seen until the partition's backup is complete.
    pub backup: Duration,
    /// The whole of a provider's backup.
    pub saas_backup: Duration,
    /// Between two backups that a provider takes when asked.
    pub saas_interval: Duration,
    /// Between two exports.
    pub export_every: Duration,
    /// Between two imports of a web app.
    pub import_every: Duration,
    /// Between two writes of a web app's import position.
    pub store_position_every: Duration,
    /// Between two snapshots of the broker, each followed by compaction.
    pub snapshot_every: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            response: ms(5),
            part: ms(95),
            part_gap: ms(40),
            incomplete_check: Duration::from_mins(5),
            snapshot: ms(100),
            delete_begins: ms(550),
            delete_part: ms(100),
            backup_seen: ms(90),
            backup_skew: ms(20),
            backup: ms(430),
            saas_backup: Duration::from_secs(40),
            saas_interval: Duration::from_mins(15),
            export_every: ms(100),
            import_every: ms(120),
            store_position_every: ms(500),
            snapshot_every: Duration::from_mins(5),
        }
    }
}

impl Timing {
    /// The same, `factor` times as fast.
    #[must_use]
    pub fn faster(mut self, factor: f64) -> Self {
        let factor = if factor.is_finite() && factor > 0.0 { factor } else { 1.0 };
        for duration in [
            &mut self.response,
            &mut self.part,
            &mut self.part_gap,
            &mut self.incomplete_check,
            &mut self.snapshot,
            &mut self.delete_begins,
            &mut self.delete_part,
            &mut self.backup_seen,
            &mut self.backup_skew,
            &mut self.backup,
            &mut self.saas_backup,
            &mut self.saas_interval,
            &mut self.export_every,
            &mut self.import_every,
            &mut self.store_position_every,
            &mut self.snapshot_every,
        ] {
            *duration = duration.div_f64(factor);
        }
        self
    }

    /// Milliseconds where the default has tenths of a second, for tests on the real clock.
    pub fn tiny() -> Self {
        let ms = Duration::from_millis;
        let fast = Self::default().faster(20.0);
        Self {
            response: Duration::ZERO,
            snapshot_every: ms(50),
            export_every: ms(1),
            import_every: ms(2),
            ..fast
        }
    }
}

/// Process instances started and completed all the time.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Instances started or completed each second. A long silence between two requests has no more than
    /// `BURST` of them, spread over it, so that a simulated night costs nothing.
    pub per_second: f64,
    /// Instances there are at the beginning.
    pub initial: u32,
}

/// Most operations between two requests.
pub(crate) const BURST: f64 = 64.0;

impl Default for Load {
    fn default() -> Self {
        Self { per_second: 40.0, initial: 20 }
    }
}
