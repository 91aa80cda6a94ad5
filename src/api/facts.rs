//! Reads the input of health from the store.
//!
//! Owns the reading for routes and for the daemon's health watch. Must not judge: `health` does.

use super::Live;
use super::health::{self, Facts, Health};
use crate::store::{BackupFilter, SharedStore};

/// Reads the input and judges health. An unreadable store becomes the finding `store`.
pub async fn judged(store: &SharedStore, mut live: Live) -> Health {
    let filter = BackupFilter { existing: true, ..Default::default() };
    let (backups, pending_resumes, timetable, clusters, unfinished, failures) = futures::join!(
        store.backups(filter),
        store.pending_resumes(),
        store.timetable(),
        store.clusters(),
        store.unfinished(),
        store.failures_in_a_row(),
    );
    // A store that cannot be read must not hide other findings: the `store` check reports it.
    let errors = [
        backups.as_ref().err(),
        pending_resumes.as_ref().err(),
        timetable.as_ref().err(),
        clusters.as_ref().err(),
        unfinished.as_ref().err(),
        failures.as_ref().err(),
    ];
    for error in errors.into_iter().flatten() {
        live.store_error.get_or_insert(error.to_string());
    }
    health::judge(&Facts {
        live: &live,
        backups: &backups.unwrap_or_default(),
        pending_resumes: &live.pending_resumes(pending_resumes.unwrap_or_default()),
        timetable: &timetable.unwrap_or_default(),
        clusters: &clusters.unwrap_or_default(),
        unfinished: &unfinished.unwrap_or_default(),
        failures: &failures.unwrap_or_default(),
    })
}
