//! Sends notifications to systemd: ready, reloading, stopping, watchdog, more time.
//!
//! Owns the notification socket. Without `NOTIFY_SOCKET` every call is a no-op. Must not decide when a
//! notification is sent. In particular, the watchdog is fed only while the dispatch loop ticks (`serve`).

use sd_notify::NotifyState;
use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Timeout of one notification, because systemd may be busy.
const SEND_TIMEOUT: Duration = Duration::from_millis(100);
/// Maximum length of the status line, in characters.
const STATUS_LIMIT: usize = 300;

/// Connection to systemd. The default value does nothing.
#[derive(Default)]
pub(crate) struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// Connects to `$NOTIFY_SOCKET`, if it is set.
    pub(crate) fn from_env() -> Result<Self, String> {
        std::env::var_os("NOTIFY_SOCKET").map_or_else(|| Ok(Self::default()), Self::to)
    }

    /// Connects to `socket`: a path, or an abstract name with `@` in front.
    pub(crate) fn to(socket: OsString) -> Result<Self, String> {
        let open = || {
            let address = match socket.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None => SocketAddr::from_pathname(&socket)?,
            };
            let ours = UnixDatagram::unbound()?;
            ours.set_write_timeout(Some(SEND_TIMEOUT))?;
            Ok((ours, address))
        };
        let to = open().map_err(|e: io::Error| {
            format!(
                "cannot use NOTIFY_SOCKET `{}` ({e}). Let systemd set it, or unset it",
                socket.to_string_lossy().escape_debug()
            )
        })?;
        Ok(Self { to: Some(to) })
    }

    /// Reports that start-up or a reload is complete. `systemctl status` shows `status`.
    pub(crate) fn ready(&self, status: &str) -> Result<(), String> {
        self.send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))])
    }

    /// Reports the start of a reload. `ready` must follow, also after a rejected config.
    pub(crate) fn reloading(&self) -> Result<(), String> {
        // systemd ends a `Type=notify-reload` service that sends RELOADING without the monotonic time.
        let now = NotifyState::monotonic_usec_now()
            .map_err(|e| format!("cannot read the monotonic clock ({e}). Restart the daemon instead"))?;
        self.send(&[NotifyState::Reloading, now])
    }

    /// Reports the start of the shutdown. `systemctl status` shows `status`.
    pub(crate) fn stopping(&self, status: &str) -> Result<(), String> {
        self.send(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))])
    }

    /// Feeds the watchdog of systemd. Must be called at least every `watchdog_interval`.
    pub(crate) fn watchdog(&self) -> Result<(), String> {
        self.send(&[NotifyState::Watchdog])
    }

    /// Extends systemd's timeout for the current start or stop to `more` from now.
    pub(crate) fn extend_timeout(&self, more: Duration) -> Result<(), String> {
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
            format!("cannot send `{first}` to systemd ({e}). Check `NotifyAccess=` of the unit")
        })
    }
}

/// Interval for calls of `Notifier::watchdog`: a third of systemd's timeout. `None` without a watchdog.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    let read = |name| std::env::var(name).ok();
    interval(read("WATCHDOG_USEC").as_deref(), read("WATCHDOG_PID").as_deref(), std::process::id())
}

fn interval(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    // Child processes inherit both variables, but systemd watches only the process in `WATCHDOG_PID`.
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let usec: u64 = usec?.parse().ok()?;
    (usec > 0).then(|| Duration::from_micros(usec / 3))
}

/// Replaces control characters with spaces. A status may quote a response, and a line end in the status would
/// start another notification.
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
        fn received(&self) -> String {
            let mut buffer = [0; 1024];
            let length = self.socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        }
    }

    #[test]
    fn each_notification_is_one_datagram() {
        let systemd = systemd();

        systemd.notifier.ready("2 clusters, next backup 02:00").unwrap();
        assert_eq!(systemd.received(), "READY=1\nSTATUS=2 clusters, next backup 02:00\n");
        systemd.notifier.watchdog().unwrap();
        assert_eq!(systemd.received(), "WATCHDOG=1\n");
        systemd.notifier.extend_timeout(Duration::from_secs(90)).unwrap();
        assert_eq!(systemd.received(), "EXTEND_TIMEOUT_USEC=90000000\n");
        systemd.notifier.stopping("resuming exporting of orders").unwrap();
        assert_eq!(systemd.received(), "STOPPING=1\nSTATUS=resuming exporting of orders\n");
    }

    #[test]
    fn reloading_contains_the_monotonic_time() {
        let systemd = systemd();
        systemd.notifier.reloading().unwrap();

        let received = systemd.received();
        let time = received.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!(time.parse::<u64>().unwrap() > 0, "{received}");
    }

    #[test]
    fn status_cannot_inject_another_notification() {
        let systemd = systemd();
        systemd.notifier.ready("orders: 500\nMAINPID=1").unwrap();
        assert_eq!(systemd.received(), "READY=1\nSTATUS=orders: 500 MAINPID=1\n");

        systemd.notifier.ready(&"x".repeat(5000)).unwrap();
        assert_eq!(systemd.received().len(), "READY=1\nSTATUS=\n".len() + STATUS_LIMIT);
    }

    #[test]
    fn abstract_socket_receives_notifications() {
        let name = format!("camunda-backupd-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::to(format!("@{name}").into()).unwrap().watchdog().unwrap();

        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"WATCHDOG=1\n");
    }

    #[test]
    fn missing_socket_variable_is_a_no_op_and_dead_socket_an_error() {
        assert_eq!(Notifier::default().ready("up"), Ok(()));

        let gone = Notifier::to("/nowhere/notify".into()).unwrap();
        assert_eq!(
            gone.ready("up").unwrap_err(),
            "cannot send `READY=1` to systemd (No such file or directory (os error 2)). \
             Check `NotifyAccess=` of the unit"
        );
        assert_eq!(
            Notifier::to("x".repeat(200).into()).err().unwrap(),
            format!(
                "cannot use NOTIFY_SOCKET `{}` (path must be shorter than SUN_LEN). \
                 Let systemd set it, or unset it",
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
    fn watchdog_interval_is_a_third_of_the_timeout(
        #[case] usec: Option<&str>,
        #[case] pid: Option<&str>,
        #[case] every: Option<Duration>,
    ) {
        assert_eq!(interval(usec, pid, 7), every);
    }
}
