//! Guarantees of every store, checked on each implementation, and additional guarantees of the state file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod backups;
mod bed;
mod clusters;
mod damage;
mod faults;
mod file;
mod killed;
mod manual;
mod occurrences;
mod pending_resumes;
mod refusals;
mod runs;
