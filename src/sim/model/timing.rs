//! Durations in the simulated cluster, and its load.
//!
//! Owns only the figures. The defaults are close to those of a real 8.6.0 on two cores with small data.

use std::time::Duration;

/// Durations of the simulated cluster.
#[derive(Clone, Debug)]
pub struct Timing {
    /// From a request to its response.
    pub response: Duration,
    /// One part of a web app's backup.
    pub part: Duration,
    /// Before each part; during this time a web app does not report its backup.
    pub part_gap: Duration,
    /// Wait of the history for a missing part before it reports the backup as incomplete.
    pub incomplete_check: Duration,
    /// A snapshot requested directly from the search engine.
    pub snapshot: Duration,
    /// From the deletion of a web app's backup until its first part is deleted.
    pub delete_begins: Duration,
    /// From one deleted part to the next.
    pub delete_part: Duration,
    /// From the checkpoint until a partition's backup is visible.
    pub backup_seen: Duration,
    /// Delay of each partition after the previous one.
    pub backup_skew: Duration,
    /// From the visibility of a partition's backup until its completion.
    pub backup: Duration,
    /// A complete SaaS backup.
    pub saas_backup: Duration,
    /// Minimum interval between two requested SaaS backups.
    pub saas_interval: Duration,
    /// Interval between two exports.
    pub export_every: Duration,
    /// Interval between two imports of a web app.
    pub import_every: Duration,
    /// Interval between two writes of a web app's import position.
    pub store_position_every: Duration,
    /// Interval between two snapshots of the broker, each followed by compaction.
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
    /// These durations divided by `factor`.
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

    /// Milliseconds instead of tenths of a second, for tests on the real clock.
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

/// Background load: process instances are started and completed continuously.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Instances started or completed per second. A long interval between two requests has at most `BURST` of
    /// them, spread evenly, so that a simulated night stays cheap.
    pub per_second: f64,
    /// Instances at the start.
    pub initial: u32,
}

/// Maximum number of operations between two requests.
pub(crate) const BURST: f64 = 64.0;

impl Default for Load {
    fn default() -> Self {
        Self { per_second: 40.0, initial: 20 }
    }
}
