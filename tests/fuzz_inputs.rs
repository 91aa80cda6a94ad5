//! What people and strangers send in: times of schedules, and requests. Nothing of it makes the program stumble.
//!
//! Config files are in `tests/config_fuzz.rs`, answers of components in `tests/clients_junk.rs`, the order of events
//! in `tests/journal.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::disallowed_methods)] // a test program on the real clock

#[path = "harness/process.rs"]
mod process;

use camunda_backupd::domain::Instant;
use camunda_backupd::schedule::cron::Timing;
use camunda_backupd::schedule::next::next_after;
use process::{Place, Up, command, ends};
use proptest::prelude::*;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn now() -> Instant {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// Cron that is nearly right, and text that is nothing.
fn any_times() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        Just("*".to_owned()),
        "[0-9]{1,3}",
        "\\*/[0-9]{1,4}",
        "[0-9]{1,2}-[0-9]{1,2}(/[0-9]{1,3})?",
        "(mon|tue|sun|MON|fri|jan|feb|13)(,[a-z0-9]{1,3})?",
        "[-*/,0-9a-zA-Z#?LW]{0,8}",
    ];
    prop_oneof![
        4 => proptest::collection::vec(field, 1..8).prop_map(|fields| fields.join(" ")),
        1 => "(sunday|monday|Funday)? ?[0-9]{1,2}:[0-9]{1,3}",
        1 => ".{0,60}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn times_are_understood_or_refused_in_one_sentence(text in any_times()) {
        for read in [Timing::cron(&text, now()), Timing::daily(&text), Timing::weekly(&text)] {
            match read {
                Ok(timing) => {
                    let first = next_after(&timing, chrono_tz::Europe::Berlin, now());
                    prop_assert!(first.is_some(), "`{text}` is taken and never due");
                    let second = next_after(&timing, chrono_tz::Europe::Berlin, first.unwrap());
                    prop_assert!(second.is_none_or(|second| second > first.unwrap()));
                }
                Err(refusal) => {
                    let said = format!("{refusal:?}");
                    prop_assert!(said.len() < 2000, "{said}");
                }
            }
        }
    }
}

/// Requests that are nearly right, and bytes that are none.
fn any_request() -> impl Strategy<Value = Vec<u8>> {
    let method =
        proptest::sample::select(vec!["GET", "POST", "DELETE", "PUT", "PATCH", "CONNECT", "get", "\u{7f}"]);
    let path = prop_oneof![
        proptest::sample::select(vec![
            "/health",
            "/clusters",
            "/api/clusters",
            "/v1/backups",
            "/v1/clusters/orders/backups",
            "/v1/clusters/orders/backups/7/restore",
            "/v1/clusters/orders/cancel",
            "/v1/debts/pay",
            "/v1/schedules",
            "/clusters/00000000-0000-0000-0000-000000000000/backups",
            "*",
            "http://elsewhere/health",
        ])
        .prop_map(str::to_owned),
        "/[a-zA-Z0-9/%._~?=&-]{0,80}",
        "/v1/clusters/[%a-zA-Z0-9.]{1,40}/backups/[-0-9]{1,25}",
    ];
    let header = prop_oneof![
        Just("Host: localhost".to_owned()),
        Just("Content-Type: application/json".to_owned()),
        "Content-Length: [0-9]{1,20}",
        Just("Transfer-Encoding: chunked".to_owned()),
        "Forwarded: for=[a-z0-9.]{1,20}",
        "[A-Za-z-]{1,20}: [ -~]{0,200}",
    ];
    let body = prop_oneof![
        Just(Vec::new()),
        Just(br#"{"note":null}"#.to_vec()),
        proptest::collection::vec(any::<u8>(), 0..400),
        Just(vec![b'['; 5000]),
    ];
    let request = (method, path, proptest::collection::vec(header, 0..8), body).prop_map(
        |(method, path, headers, body)| {
            let mut bytes =
                format!("{method} {path} HTTP/1.1\r\n{}\r\n\r\n", headers.join("\r\n")).into_bytes();
            bytes.extend(body);
            bytes
        },
    );
    prop_oneof![6 => request, 1 => proptest::collection::vec(any::<u8>(), 0..600)]
}

/// Sends, says that nothing more comes, and reads what comes back until the end.
fn answered(mut stream: impl Read + Write, end: impl FnOnce(), bytes: &[u8]) -> Vec<u8> {
    // Whoever has heard enough may close before all of it is written.
    let _ = stream.write_all(bytes);
    end();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn no_request_makes_the_daemon_stumble() {
    let place = Place::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let more = "[schedules.daily]\nclusters = [\"orders\"]\ndaily = \"02:00\"\n";
    let config = place.config(&format!("127.0.0.1:{port}"), more);
    let up = Up::new(&config);
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let socket = place.path("run").join("control.sock");
    let cases = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(cases, |(bytes in any_request())| {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let end = tcp.try_clone().unwrap();
        let answer = answered(tcp, || drop(end.shutdown(Shutdown::Write)), &bytes);
        let head = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
        prop_assert!(answer.is_empty() || head.starts_with("HTTP/1."), "{head}");
        prop_assert!(!head.starts_with("HTTP/1.1 500"), "a stranger's request fails the daemon: {:?}", String::from_utf8_lossy(&answer));
        let unix = UnixStream::connect(&socket).unwrap();
        unix.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let end = unix.try_clone().unwrap();
        let answer = answered(unix, || drop(end.shutdown(Shutdown::Write)), &bytes);
        prop_assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."));
    });
    let health = ends(command(&config, &["status", "--json"]));
    let health: serde_json::Value = serde_json::from_slice(&health.stdout).unwrap();
    assert!(health["checks"].is_array(), "{health}");
    up.stop();
}
