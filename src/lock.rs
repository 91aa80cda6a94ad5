//! Locks that outlive a panic: what one holder left half done is no reason to stop resuming clusters.
//!
//! Must not know any other module.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits for `mutex`, also where a holder panicked.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
