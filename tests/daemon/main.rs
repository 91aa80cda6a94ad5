//! The real binary from the outside: commands, routes, signals, state file and log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // a test program on the real clock

mod access_health;
mod access_pending_resumes;
mod api_routes;
mod cli;
mod fuzz_inputs;
mod kill_fleet;
mod kill_loop;
mod killed_in_pause;
mod lost_state;
mod old_state;
mod on_disk;
mod reload;
mod saas_daemon;
mod serve;
mod served;
mod shutdown_signals;
mod sim_command;
mod small_disk;
mod state_disk;
mod state_room;
mod stop_post;
