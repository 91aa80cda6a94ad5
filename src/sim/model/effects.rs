//! Effects of faults on the model.
//!
//! Owns the effects on the cluster itself. `wire.rs` has the effects on a response; each operation has its
//! own effects.

use crate::sim::faults;
use crate::sim::faults::{Effect, Fault};
use crate::sim::model::backups::BackupStore;
use crate::sim::model::cluster::{Cluster, Timer};
use crate::sim::model::condition::Condition;
use crate::sim::model::importer::App;
use crate::sim::model::indices::Index;
use crate::sim::model::snapshots::SnapshotOutcome;
use chrono::TimeDelta;

impl Cluster {
    /// Parses a list of faults and arms them; faults with the trigger `now` take effect at once.
    pub fn arm(&mut self, spec: &str) -> Result<(), String> {
        for fault in faults::parse(spec)? {
            self.arm_fault(fault);
        }
        Ok(())
    }

    /// Arms one fault.
    pub fn arm_fault(&mut self, fault: Fault) {
        if fault.trigger == "now" {
            self.faults.happened += 1;
            self.apply_before("zeebe", &[fault.effect]);
            self.apply_after("zeebe", &[fault.effect]);
        } else {
            self.faults.arm(fault);
        }
    }

    /// Effects that precede the execution of the request.
    pub(crate) fn apply_before(&mut self, part: &str, effects: &[Effect]) {
        for what in effects {
            match *what {
                Effect::StoreDown(length) => self.break_store(BackupStore::Down, length),
                Effect::StoreHung(length) => self.break_store(BackupStore::Hung, length),
                Effect::StoreNone => self.break_store(BackupStore::Absent, None),
                Effect::SearchDown(length) => self.stop_search(length),
                Effect::Clock(error) => self.clock_error = error,
                Effect::Compact => self.snapshot_broker_now(),
                Effect::RangeGap => {
                    self.world.export(self.now);
                    self.world.partitions.iter_mut().for_each(crate::sim::model::broker::Partition::drop_log);
                }
                Effect::ForeignBackup => self.foreign_backup(part),
                Effect::NoLeader(length) => {
                    self.leaderless = Some(self.now);
                    self.at(length, Timer::LeaderElected);
                }
                Effect::Suspend => self.saas.status = Some("Suspended"),
                Effect::Change(length) => {
                    self.condition.changing = true;
                    self.at(length, Timer::Changed);
                }
                Effect::StopProcessing(length) => {
                    self.condition.stopped = true;
                    self.at(length, Timer::Processes);
                }
                Effect::Disk(left) => self.condition.disk = left * 1024 * 1024 + self.log_bytes(),
                Effect::Heal => self.heal(),
                Effect::Unassigned => self.lose_a_primary(part),
                Effect::Stall(length) => self.break_app(part, SnapshotOutcome::Stall(length)),
                Effect::FailedShard | Effect::Fail => self.break_app(part, SnapshotOutcome::FailedShard),
                _ => {}
            }
        }
    }

    /// Effects that follow the execution of the request.
    pub(crate) fn apply_after(&mut self, part: &str, effects: &[Effect]) {
        for what in effects {
            match *what {
                Effect::BrokerRestart(down) => self.restart_broker(down),
                Effect::LeaderChange => self.change_leader(),
                Effect::Kill(down) if part == App::History.name() => self.restart_broker(down),
                Effect::Kill(down) => {
                    if let Some(app) = App::ALL.into_iter().find(|app| app.name() == part) {
                        self.restart_app(app, down);
                    }
                }
                Effect::ForeignResume(later) => self.at(later, Timer::ForeignResume),
                Effect::ForeignPause(later) => self.at(later, Timer::ForeignPause(true)),
                Effect::ForeignHardPause(later) => self.at(later, Timer::ForeignPause(false)),
                _ => {}
            }
        }
    }

    fn break_app(&mut self, part: &str, outcome: SnapshotOutcome) {
        if let Some(app) = App::ALL.into_iter().find(|app| app.name() == part) {
            // A part in the middle, so that some parts exist and later ones are missing.
            self.break_part(app, app.parts().div_ceil(2), outcome);
        }
    }

    /// Starts a foreign backup of the same kind.
    fn foreign_backup(&mut self, part: &str) {
        // A rejected foreign backup has no effect.
        if self.config.storage == crate::sim::model::config::Storage::Saas {
            let _ = self.saas_start_backup(false, &[]);
            return;
        }
        let _ = match App::ALL.into_iter().find(|app| app.name() == part) {
            Some(app) => {
                let highest = self.app_backup_ids(app).unwrap_or_default().into_iter().max().unwrap_or(0);
                self.begin_app_backup(app, highest + 1).is_ok()
            }
            None => self.begin_zeebe_backup(self.world.checkpoint_id() + 1, None).is_ok(),
        };
    }

    fn lose_a_primary(&mut self, part: &str) {
        let name = match part {
            "operate" => "operate-variable-8.3.0_2020-01-01",
            "tasklist" => "tasklist-task-8.5.0_2020-01-01",
            "history" => "operate-list-view-8.3.0_2020-01-01",
            _ => "zeebe-record-unassigned",
        };
        if !self.extra_indices.iter().any(|i| i.name == name) {
            self.extra_indices.push(Index { assigned: false, ..Index::healthy(name, 1) });
        }
    }

    fn heal(&mut self) {
        self.faults.disarm();
        self.extra_indices.clear();
        self.clock_error = TimeDelta::zero();
        self.search_down = false;
        self.broker_down = false;
        self.leaderless = None;
        self.saas.status = None;
        self.condition = Condition::default();
        self.apps.values_mut().for_each(|memory| {
            memory.down = false;
            memory.outcome = None;
        });
        self.set_store(BackupStore::Up);
    }
}
