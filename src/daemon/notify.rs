//! What systemd is told: ready, reloading, stopping, still alive, more time.
//!
//! Owns the notification socket. Must not decide when anything is said, nor feed the watchdog by itself:
//! who feeds it proves that it is alive. Without `NOTIFY_SOCKET` everything here does nothing.

use sd_notify::NotifyState;
use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// systemd may be busy; the daemon does not wait longer for it than this.
const PATIENCE: Duration = Duration::from_millis(100);
/// systemd shows one line.
const STATUS_LIMIT: usize = 300;

/// The way to systemd, or to nobody.
#[derive(Default)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// The service manager that started this process, if one did.
    pub fn from_env() -> Result<Self, String> {
        std::env::var_os("NOTIFY_SOCKET").map_or_else(|| Ok(Self::default()), Self::to)
    }

    /// Whoever listens on `socket`: a path, or an abstract name written with `@` in front.
    pub fn to(socket: OsString) -> Result<Self, String> {
        let open = || {
            let address = match socket.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None => SocketAddr::from_pathname(&socket)?,
            };
            let ours = UnixDatagram::unbound()?;
            ours.set_write_timeout(Some(PATIENCE))?;
            Ok((ours, address))
        };
        let to = open().map_err(|e: io::Error| {
            format!(
                "NOTIFY_SOCKET `{}` cannot be used ({e}): let systemd set it, or unset it",
                socket.to_string_lossy().escape_debug()
            )
        })?;
        Ok(Self { to: Some(to) })
    }

    /// Start-up, or a reload, is complete; `status` is what `systemctl status` shows.
    pub fn ready(&self, status: &str) -> Result<(), String> {
        self.send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))])
    }

    /// What `systemctl status` shows from now on.
    pub fn status(&self, status: &str) -> Result<(), String> {
        self.send(&[NotifyState::Status(&one_line(status))])
    }

    /// A reload begins; `ready` must follow, whether the new config is taken or refused.
    pub fn reloading(&self) -> Result<(), String> {
        // `Type=notify-reload` ends a service that says RELOADING without the time.
        let now = NotifyState::monotonic_usec_now()
            .map_err(|e| format!("the monotonic clock cannot be read ({e}): restart instead of reloading"))?;
        self.send(&[NotifyState::Reloading, now])
    }

    /// The daemon is on its way out.
    pub fn stopping(&self, status: &str) -> Result<(), String> {
        self.send(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))])
    }

    /// Still alive; to be called by the loop whose death must be noticed, every `watchdog_interval`.
    pub fn watchdog(&self) -> Result<(), String> {
        self.send(&[NotifyState::Watchdog])
    }

    /// Starting or stopping takes up to `more` from now.
    pub fn extend_timeout(&self, more: Duration) -> Result<(), String> {
        self.send(&[NotifyState::ExtendTimeoutUsec(u32::try_from(more.as_micros()).unwrap_or(u32::MAX))])
    }

    fn send(&self, states: &[NotifyState<'_>]) -> Result<(), String> {
        let Some((ours, address)) = &self.to else { return Ok(()) };
        let mut message = String::new();
        for state in states {
            let _ = writeln!(message, "{state}");
        }
        ours.send_to_addr(message.as_bytes(), address).map(drop).map_err(|e| {
            let first = message.lines().next().unwrap_or_default();
            format!("systemd could not be told `{first}` ({e}): check `NotifyAccess=` of the unit")
        })
    }
}

/// How often `Notifier::watchdog` must be called, a third of what systemd waits; `None` where it does not watch.
pub fn watchdog_interval() -> Option<Duration> {
    let read = |name| std::env::var(name).ok();
    interval(read("WATCHDOG_USEC").as_deref(), read("WATCHDOG_PID").as_deref(), std::process::id())
}

fn interval(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    // Children inherit the variables; only the process that is named is watched.
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let usec: u64 = usec?.parse().ok()?;
    (usec > 0).then(|| Duration::from_micros(usec / 3))
}

/// A status may quote a cluster's answer; a line end in it would be a message of its own.
fn one_line(status: &str) -> String {
    status.chars().map(|c| if c.is_control() { ' ' } else { c }).take(STATUS_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    struct Systemd {
        socket: UnixDatagram,
        notifier: Notifier,
        _dir: tempfile::TempDir,
    }

    fn systemd() -> Systemd {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Systemd { socket, notifier: Notifier::to(path.into()).unwrap(), _dir: dir }
    }

    impl Systemd {
        fn heard(&self) -> String {
            let mut buffer = [0; 1024];
            let length = self.socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        }
    }

    #[test]
    fn every_word_arrives_in_a_datagram_of_its_own() {
        let systemd = systemd();

        systemd.notifier.ready("2 clusters, next backup 02:00").unwrap();
        assert_eq!(systemd.heard(), "READY=1\nSTATUS=2 clusters, next backup 02:00\n");
        systemd.notifier.status("backing up orders").unwrap();
        assert_eq!(systemd.heard(), "STATUS=backing up orders\n");
        systemd.notifier.watchdog().unwrap();
        assert_eq!(systemd.heard(), "WATCHDOG=1\n");
        systemd.notifier.extend_timeout(Duration::from_secs(90)).unwrap();
        assert_eq!(systemd.heard(), "EXTEND_TIMEOUT_USEC=90000000\n");
        systemd.notifier.stopping("resuming exporting of orders").unwrap();
        assert_eq!(systemd.heard(), "STOPPING=1\nSTATUS=resuming exporting of orders\n");
    }

    #[test]
    fn a_reload_carries_the_time_that_notify_reload_demands() {
        let systemd = systemd();
        systemd.notifier.reloading().unwrap();

        let heard = systemd.heard();
        let time = heard.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!(time.parse::<u64>().unwrap() > 0, "{heard}");
    }

    #[test]
    fn a_status_cannot_smuggle_in_another_word() {
        let systemd = systemd();
        systemd.notifier.status("orders: 500\nMAINPID=1").unwrap();
        assert_eq!(systemd.heard(), "STATUS=orders: 500 MAINPID=1\n");

        systemd.notifier.status(&"x".repeat(5000)).unwrap();
        assert_eq!(systemd.heard().len(), "STATUS=\n".len() + STATUS_LIMIT);
    }

    #[test]
    fn an_abstract_socket_is_reached() {
        let name = format!("camunda-backupd-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::to(format!("@{name}").into()).unwrap().watchdog().unwrap();

        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"WATCHDOG=1\n");
    }

    #[test]
    fn nobody_to_tell_is_no_error_and_a_dead_socket_is() {
        assert_eq!(Notifier::default().ready("up"), Ok(()));

        let gone = Notifier::to("/nowhere/notify".into()).unwrap();
        assert_eq!(
            gone.ready("up").unwrap_err(),
            "systemd could not be told `READY=1` (No such file or directory (os error 2)): \
             check `NotifyAccess=` of the unit"
        );
        assert_eq!(
            Notifier::to("x".repeat(200).into()).err().unwrap(),
            format!(
                "NOTIFY_SOCKET `{}` cannot be used (path must be shorter than SUN_LEN): \
                 let systemd set it, or unset it",
                "x".repeat(200)
            )
        );
    }

    #[rstest]
    #[case(Some("30000000"), Some("7"), Some(Duration::from_secs(10)))]
    #[case(Some("30000000"), None, Some(Duration::from_secs(10)))]
    #[case(Some("30000000"), Some("8"), None)]
    #[case(Some("30000000"), Some("me"), None)]
    #[case(Some("0"), Some("7"), None)]
    #[case(Some("soon"), Some("7"), None)]
    #[case(None, None, None)]
    fn the_watchdog_is_fed_three_times_as_often_as_it_looks(
        #[case] usec: Option<&str>,
        #[case] pid: Option<&str>,
        #[case] every: Option<Duration>,
    ) {
        assert_eq!(interval(usec, pid, 7), every);
    }
}
