//! Effects of faults on the model.
//!
//! Owns the effects on the cluster itself. `wire.rs` has the effects on a response; each operation has its
//! own effects.

use crate::sim::faults;
use crate::sim::faults::{Fault, What};
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
        if fault.when == "now" {
            self.faults.happened += 1;
            self.strike_before("zeebe", &[fault.what]);
            self.strike_after("zeebe", &[fault.what]);
        } else {
            self.faults.arm(fault);
        }
    }

    /// Effects that precede the execution of the request.
    pub(crate) fn strike_before(&mut self, part: &str, struck: &[What]) {
        for what in struck {
            match *what {
                What::StoreDown(length) => self.spoil_store(BackupStore::Down, length),
                What::StoreHung(length) => self.spoil_store(BackupStore::Hung, length),
                What::StoreNone => self.spoil_store(BackupStore::Absent, None),
                What::SearchDown(length) => self.stop_search(length),
                What::Clock(error) => self.clock_error = error,
                What::Compact => self.snapshot_broker_now(),
                What::RangeGap => {
                    self.world.export(self.now);
                    self.world.partitions.iter_mut().for_each(crate::sim::model::broker::Partition::drop_log);
                }
                What::StrangerBackup => self.stranger_backup(part),
                What::NoLeader(length) => {
                    self.leaderless = Some(self.now);
                    self.at(length, Timer::LeaderElected);
                }
                What::Suspend => self.saas.status = Some("Suspended"),
                What::Change(length) => {
                    self.condition.changing = true;
                    self.at(length, Timer::Changed);
                }
                What::StopProcessing(length) => {
                    self.condition.stopped = true;
                    self.at(length, Timer::Processes);
                }
                What::Disk(left) => self.condition.disk = left * 1024 * 1024 + self.log_bytes(),
                What::Heal => self.heal(),
                What::Unassigned => self.lose_a_primary(part),
                What::Stall(length) => self.spoil_app(part, SnapshotOutcome::Stall(length)),
                What::FailedShard | What::Fail => self.spoil_app(part, SnapshotOutcome::FailedShard),
                _ => {}
            }
        }
    }

    /// Effects that follow the execution of the request.
    pub(crate) fn strike_after(&mut self, part: &str, struck: &[What]) {
        for what in struck {
            match *what {
                What::BrokerRestart(down) => self.restart_broker(down),
                What::LeaderChange => self.change_leader(),
                What::Kill(down) if part == App::History.name() => self.restart_broker(down),
                What::Kill(down) => {
                    if let Some(app) = App::ALL.into_iter().find(|app| app.name() == part) {
                        self.restart_app(app, down);
                    }
                }
                What::StrangerResume(later) => self.at(later, Timer::StrangerResumes),
                What::StrangerPause(later) => self.at(later, Timer::StrangerPauses(true)),
                What::StrangerHardPause(later) => self.at(later, Timer::StrangerPauses(false)),
                _ => {}
            }
        }
    }

    fn spoil_app(&mut self, part: &str, outcome: SnapshotOutcome) {
        if let Some(app) = App::ALL.into_iter().find(|app| app.name() == part) {
            // A part in the middle, so that some parts exist and later ones are missing.
            self.spoil_part(app, app.parts().div_ceil(2), outcome);
        }
    }

    /// Starts a foreign backup of the same kind.
    fn stranger_backup(&mut self, part: &str) {
        // A rejected foreign backup has no effect.
        if self.config.storage == crate::sim::model::config::Storage::Saas {
            let _ = self.provider_begins(false, &[]);
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
