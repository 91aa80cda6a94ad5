//! The real binary from the outside, story by story. One program, since most of them wait: they wait at the same time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // a test program on the real clock

#[path = "../harness/on_disk.rs"]
mod on_disk;
#[path = "../harness/process.rs"]
mod process;
#[path = "../harness/served.rs"]
mod served;
#[path = "../harness/small_disk.rs"]
mod small_disk;

mod api_routes;
mod cli;
mod kill_fleet;
mod kill_loop;
mod lost_state;
mod old_state;
mod saas_daemon;
mod serve;
mod shutdown_signals;
mod state_disk;
mod state_room;
mod stop_post;
mod upgrade;
