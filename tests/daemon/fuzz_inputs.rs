//! Random input from operators and clients: times of schedules, and requests. No input causes a panic.
//!
//! Config files are in `tests/it/config/fuzz.rs`, responses of components in `tests/it/camunda/junk.rs`, the order of
//! events in `tests/it/journal.rs`. Inputs that once failed are in `tests/data/corpus`.

use camunda_backupd::domain::Instant;
use camunda_backupd::schedule::cron::Timing;
use camunda_backupd::schedule::next::next_after;
use harness::corpus;
use harness::process::{Location, Up, command, ends};
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

/// Times are parsed, and then come due again and again, or are rejected in one sentence.
fn understood_or_refused(text: &str) {
    for read in [Timing::cron(text, now()), Timing::daily(text), Timing::weekly(text)] {
        match read {
            Ok(timing) => {
                let first = next_after(&timing, chrono_tz::Europe::Berlin, now());
                assert!(first.is_some(), "`{text}` is taken and never due");
                let second = next_after(&timing, chrono_tz::Europe::Berlin, first.unwrap());
                assert!(second.is_none_or(|second| second > first.unwrap()));
            }
            Err(refusal) => {
                let message = format!("{refusal:?}");
                assert!(message.len() < 2000, "{message}");
            }
        }
    }
}

#[test]
fn recorded_times_are_parsed_or_rejected() {
    let kept = corpus::lines("times.txt");
    for text in &kept {
        understood_or_refused(text);
    }
    let taken = kept.iter().filter(|text| Timing::cron(text, now()).is_ok()).count();
    assert!(taken > 5 && taken < kept.len() / 2, "{taken} of {} are cron", kept.len());
}

proptest! {
    #![proptest_config(corpus::cases(2000, "tests/data/corpus/regressions/times.txt"))]

    #[test]
    fn times_are_parsed_or_rejected_in_one_sentence(text in any_times()) {
        understood_or_refused(&text);
    }

    #[test]
    fn recorded_times_with_typos_do_not_panic(
        text in proptest::sample::select(corpus::lines("times.txt")),
        edits in corpus::edits(),
    ) {
        understood_or_refused(&String::from_utf8_lossy(&corpus::edited(text.into_bytes(), &edits)));
    }
}

/// Requests that are kept; each character is a byte.
fn kept_requests() -> Vec<Vec<u8>> {
    let bytes = |text: &str| text.chars().map(|c| u8::try_from(c).expect("a byte")).collect();
    corpus::json_lines("requests.jsonl").iter().map(|line| bytes(line["bytes"].as_str().unwrap())).collect()
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
            "/v1/pending-resumes/resume",
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
    let kept = (proptest::sample::select(kept_requests()), corpus::edits())
        .prop_map(|(bytes, edits)| corpus::edited(bytes, &edits));
    prop_oneof![6 => request, 6 => kept, 1 => proptest::collection::vec(any::<u8>(), 0..600)]
}

/// Sends, closes the sending side, and reads the response to its end.
fn responded(mut stream: impl Read + Write, end: impl FnOnce(), bytes: &[u8]) -> Vec<u8> {
    // The server may close the connection before all of it is written.
    let _ = stream.write_all(bytes);
    end();
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    response
}

#[test]
fn no_request_causes_a_panic_or_5xx() {
    let location = Location::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let more = "[schedules.daily]\nclusters = [\"orders\"]\ndaily = \"02:00\"\n";
    let config = location.config(&format!("127.0.0.1:{port}"), more);
    let up = Up::new(&config);
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let socket = location.path("run").join("control.sock");
    let request = |bytes: &[u8]| {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let end = tcp.try_clone().unwrap();
        let response = responded(tcp, || drop(end.shutdown(Shutdown::Write)), bytes);
        let head = String::from_utf8_lossy(&response[..response.len().min(12)]).into_owned();
        assert!(response.is_empty() || head.starts_with("HTTP/1."), "{head}");
        let requested = String::from_utf8_lossy(bytes);
        assert!(
            !head.starts_with("HTTP/1.1 500"),
            "a request of an unknown client fails the daemon: {requested:?}"
        );
        let unix = UnixStream::connect(&socket).unwrap();
        unix.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let end = unix.try_clone().unwrap();
        let response = responded(unix, || drop(end.shutdown(Shutdown::Write)), bytes);
        assert!(response.is_empty() || response.starts_with(b"HTTP/1."));
    };
    for bytes in kept_requests() {
        request(&bytes);
    }
    let cases = corpus::cases(300, "tests/data/corpus/regressions/requests.txt");
    proptest!(cases, |(bytes in any_request())| {
        request(&bytes);
    });
    let health = ends(command(&config, &["status", "--json"]));
    let health: serde_json::Value = serde_json::from_slice(&health.stdout).unwrap();
    assert!(health["checks"].is_array(), "{health}");
    up.stop();
}
