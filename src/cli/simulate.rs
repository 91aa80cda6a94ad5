//! `sim` and `demo`: simulated clusters for trying things out.

use super::arguments::SimOptions;
use super::{Failure, exit};
use std::net::SocketAddr;
use std::time::Duration;

/// `sim`: one simulated cluster until Ctrl-C.
pub async fn sim(_options: SimOptions) -> Result<u8, Failure> {
    Err(Failure::new(exit::USAGE, "`sim` is not built yet"))
}

/// `demo`.
pub async fn demo(_period: Option<Duration>, _listen: SocketAddr) -> Result<u8, Failure> {
    Err(Failure::new(exit::USAGE, "`demo` is not built yet"))
}
