//! Turns the signals of the process into a stream of three requests.
//!
//! Owns the meaning of each signal, and the immediate exit on the second request to stop. Must not act on a
//! request: the daemon does.

use futures::Stream;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use signal_hook::iterator::backend::Handle;
use signal_hook_tokio::Signals;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

/// Request that a signal stands for. The system merges pending signals, so several signals may arrive as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM, SIGINT: resume exporting where a run has paused it, then stop.
    Terminate,
    /// SIGHUP: read the config file again.
    Reload,
    /// SIGUSR1: write the number of active runs to the log.
    Status,
}

impl Signal {
    fn from_number(number: i32) -> Option<Self> {
        match number {
            SIGTERM | SIGINT => Some(Self::Terminate),
            SIGHUP => Some(Self::Reload),
            SIGUSR1 => Some(Self::Status),
            _ => None,
        }
    }
}

/// Exit code after a second SIGTERM or SIGINT.
pub(crate) const HARD_EXIT: i32 = 130;

/// The signals that the process receives after `register`.
pub(crate) struct SignalStream {
    signals: Signals,
    handle: Handle,
}

/// Registers handlers for SIGTERM, SIGINT, SIGHUP and SIGUSR1. To be called once, inside the tokio runtime.
///
/// The second SIGTERM or SIGINT ends the process at once with code 130. The signal handler does this, even if
/// the runtime hangs.
pub(crate) fn register() -> Result<SignalStream, String> {
    let watch = || {
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
        let armed = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // Register the exit before the flag: the first signal must find the flag unset, so that only the
            // second one exits.
            flag::register_conditional_shutdown(signal, HARD_EXIT, armed.clone())?;
            flag::register(signal, armed.clone())?;
        }
        Ok(signals)
    };
    let signals = watch().map_err(|e: std::io::Error| {
        format!("cannot register signal handlers ({e}). Raise the limit of open files (LimitNOFILE=)")
    })?;
    Ok(SignalStream { handle: signals.handle(), signals })
}

impl Stream for SignalStream {
    type Item = Signal;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Signal>> {
        Pin::new(&mut self.signals).poll_next(context).map(|number| number.and_then(Signal::from_number))
    }
}

impl Drop for SignalStream {
    fn drop(&mut self) {
        self.handle.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("SIGTERM", Some(Signal::Terminate))]
    #[case("SIGINT", Some(Signal::Terminate))]
    #[case("SIGHUP", Some(Signal::Reload))]
    #[case("SIGUSR1", Some(Signal::Status))]
    #[case("SIGPIPE", None)]
    fn each_signal_has_one_request(#[case] name: &str, #[case] request: Option<Signal>) {
        let number = (1..32).find(|n| signal_hook::low_level::signal_name(*n) == Some(name)).unwrap();
        assert_eq!(Signal::from_number(number), request);
    }
}
