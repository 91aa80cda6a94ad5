//! Generated scenarios: the engine against simulated clusters on virtual time, with injected faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // a test program that takes its time

mod crash_matrix;
mod matrix;
mod schedule_time;
mod seeds;
mod shutdown;
mod slow_state;
mod violence;

/// Scenarios clone and drop more than they compute.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
