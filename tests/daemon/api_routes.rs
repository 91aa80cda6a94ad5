//! Routes of the real binary over TCP and over the control socket, byte by byte.

use harness::process::{Location, Up, record_pending_resume_since};
use rstest::rstest;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

/// A daemon with one unreachable cluster, its HTTP address and its control socket.
struct Bed {
    location: Location,
    up: Up,
    tcp: String,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    }
}

impl Bed {
    fn new() -> Self {
        let location = Location::new();
        let up = Up::new(&location.good());
        let tcp = up.event("http.listening")["address"].as_str().unwrap().to_owned();
        Self { location, up, tcp }
    }

    fn get(&self, path: &str) -> Answer {
        self.tcp("GET", path, "Host: localhost\r\n", "")
    }

    fn tcp(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        request(TcpStream::connect(&self.tcp).unwrap(), method, path, headers, body)
    }

    fn control(&self, method: &str, path: &str, body: &str) -> Answer {
        let socket = UnixStream::connect(self.location.path("run").join("control.sock")).unwrap();
        request(socket, method, path, "Host: localhost\r\nContent-Type: application/json\r\n", body)
    }
}

fn request(mut stream: impl Read + Write, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    // A server that refuses a long body may hang up before it has read all of it.
    let _ = write!(
        stream,
        "{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut bytes = vec![];
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

#[test]
fn health_routes_return_documented_json() {
    let bed = Bed::new();
    bed.up.event("cluster.unreachable");
    // The probe is stored right after its event.
    let began = std::time::Instant::now();
    let health = loop {
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "the probe is not shown within 10 s");
        let response = bed.get("/health");
        assert_eq!(response.status, 200, "a cluster that cannot be reached degrades, it does not fail");
        let health = response.json();
        if health["status"] == "degraded" {
            break health;
        }
    };
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    let checks: Vec<&str> =
        health["checks"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    let expected =
        "store dispatch config clock pending_resumes schedules exporting probes credentials retention";
    assert_eq!(checks.join(" "), expected);
    let mut cluster = health["clusters"][0].clone();
    assert!(cluster["next_due"].take().as_str().unwrap().ends_with("T02:00:00.000Z"));
    assert!(cluster["exporting_checked_at"].take().is_string());
    let expected = json!({
        "name": "orders", "exporting": "unknown", "exporting_checked_at": null, "last_success": null,
        "last_failure": null, "next_due": null, "overdue": false, "running": null, "consecutive_failures": 0,
    });
    assert_eq!(cluster, expected);

    let live = bed.get("/health/live");
    assert_eq!(live.status, 200);
    assert!(live.json()["since_tick_ms"].as_u64().unwrap() < 10_000);
    let ready = bed.get("/health/ready");
    assert_eq!((ready.status, ready.json()), (200, json!({ "status": "ready" })));
    let backups = bed.get("/health/backups");
    assert_eq!((backups.status, &backups.json()["backups"]), (200, &json!([])), "not due yet is not overdue");
    assert_eq!(
        bed.tcp("GET", "/health", "Host: any.example\r\n", "").status,
        200,
        "health answers everybody"
    );
    bed.up.stop();
}

#[test]
fn saas_shaped_routes_work_with_and_without_api_prefix() {
    let bed = Bed::new();
    for base in ["", "/api"] {
        let clusters = bed.get(&format!("{base}/clusters"));
        assert_eq!(clusters.status, 200);
        let cluster = clusters.json()[0].clone();
        assert_eq!(cluster["name"], "orders");
        for key in ["uuid", "created", "planType", "region", "generation", "channel", "status", "links"] {
            assert!(!cluster[key].is_null(), "{key} is missing: {cluster}");
        }
        let uuid = cluster["uuid"].as_str().unwrap();
        uuid.parse::<uuid::Uuid>().unwrap();
        let one = bed.get(&format!("{base}/clusters/{uuid}"));
        assert_eq!((one.status, one.json()["uuid"].as_str()), (200, Some(uuid)));
        let backups = bed.get(&format!("{base}/clusters/{uuid}/backups"));
        assert_eq!((backups.status, backups.json()), (200, json!([])));
        let nobody = uuid::Uuid::nil();
        for path in [format!("{base}/clusters/{nobody}"), format!("{base}/clusters/nonsense/backups")] {
            let response = bed.get(&path);
            assert_eq!(response.status, 404, "{path}");
            assert!(response.json()["message"].as_str().unwrap().starts_with("there is no cluster"));
        }
    }
    bed.up.stop();
}

#[test]
fn tcp_rejections_have_documented_status_and_body() {
    let bed = Bed::new();
    let wrong = bed.tcp("DELETE", "/health", "Host: localhost\r\n", "");
    assert_eq!((wrong.status, wrong.header("allow").as_deref()), (405, Some("GET,HEAD")));
    assert!(wrong.json()["message"] == "method not allowed for this path. `Allow` lists the methods");

    let unknown = bed.get("/v1/nothing");
    assert_eq!((unknown.status, unknown.json()), (404, json!({ "message": "unknown path" })));
    let missing = bed.get("/v1/backups/7");
    assert_eq!(missing.status, 404);
    assert!(missing.json()["message"].as_str().unwrap().starts_with("there is no backup or run 7"));

    for path in ["/v1/backups/nonsense", "/v1/backups?all=maybe", "/v1/backups?all=true&all=false"] {
        let bad = bed.get(path);
        assert_eq!(
            (bad.status, bad.header("content-type").as_deref()),
            (400, Some("application/problem+json"))
        );
        let problem = bad.json();
        assert_eq!((&problem["status"], &problem["title"]), (&json!(400), &json!("Bad Request")), "{path}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
    for path in ["/v1/backups?token=abc", "/v1/backups?all=true&access_token=abc", "/health?token=abc"] {
        let bad = bed.get(path);
        assert_eq!(bad.status, 400, "{path}");
        assert!(bad.json()["detail"].as_str().unwrap().starts_with(
            "a token in a query string is not accepted, because it ends up in logs. Send it as a header"
        ));
        assert!(!bad.body.contains("abc"));
    }
    bed.up.stop();
}

#[rstest]
#[case::forwarded_for("Host: localhost\r\nX-Forwarded-For: 10.0.0.1\r\n")]
#[case::forwarded_proto("Host: localhost\r\nX-Forwarded-Proto: https\r\n")]
#[case::forwarded("Host: localhost\r\nForwarded: for=10.0.0.1\r\n")]
#[case::rebound("Host: backups.example\r\n")]
#[case::similar_name("Host: localhost.example:9610\r\n")]
#[case::another_machine("Host: 10.0.0.1\r\n")]
fn requests_of_other_hosts_are_rejected(#[case] headers: &str) {
    let bed = Bed::new();
    for path in ["/v1/backups", "/v1/schedules", "/v1/pending-resumes", "/clusters", "/api/clusters"] {
        let response = bed.tcp("GET", path, headers, "");
        assert_eq!(response.status, 403, "{path}");
        assert!(!response.body.contains("orders"), "{path}: {}", response.body);
    }
    assert_eq!(bed.up.event("auth.failed")["level"], "warn");
    bed.up.stop();
}

#[test]
fn no_command_is_accepted_over_tcp() {
    let bed = Bed::new();
    let uuid = bed.get("/clusters").json()[0]["uuid"].as_str().unwrap().to_owned();
    let acts = [
        ("POST", "/v1/clusters/orders/backups".to_owned()),
        ("DELETE", "/v1/clusters/orders/backups/1?confirmed=true".to_owned()),
        ("POST", "/v1/clusters/orders/cancel".to_owned()),
        ("POST", "/v1/clusters/orders/resume-exporting".to_owned()),
        ("POST", "/v1/clusters/orders/adopt".to_owned()),
        ("POST", "/v1/pending-resumes/orders/abandon".to_owned()),
        ("POST", "/v1/pending-resumes/resume".to_owned()),
        ("POST", "/v1/backups".to_owned()),
        ("PUT", "/v1/schedules".to_owned()),
        ("POST", format!("/clusters/{uuid}/backups")),
        ("POST", format!("/api/clusters/{uuid}/backups")),
        ("DELETE", format!("/clusters/{uuid}/backups/{uuid}")),
    ];
    let body = r#"{"why":"x","note":"x"}"#;
    for (method, path) in acts {
        let headers = "Host: localhost\r\nContent-Type: application/json\r\n";
        let response = bed.tcp(method, &path, headers, body);
        assert!(
            matches!(response.status, 404 | 405),
            "{method} {path}: {} {}",
            response.status,
            response.body
        );
    }
    assert_eq!(bed.get("/v1/backups?all=true").json(), json!([]), "no run began");
    bed.up.stop();
}

#[test]
fn bad_input_on_control_socket_returns_problem_json() {
    let bed = Bed::new();
    for body in ["{bad", "{}", "[]", r#"{"why":7}"#, ""] {
        let bad = bed.control("POST", "/v1/clusters/orders/cancel", body);
        assert_eq!(
            (bad.status, bad.header("content-type").as_deref()),
            (400, Some("application/problem+json")),
            "{body}"
        );
    }
    let bad = bed.control("DELETE", "/v1/clusters/orders/backups/0", "");
    assert_eq!(bad.status, 400);
    let long = format!(r#"{{"why":"{}"}}"#, "x".repeat(64 * 1024));
    let refused = bed.control("POST", "/v1/clusters/orders/cancel", &long);
    assert_eq!(
        (refused.status, refused.header("content-type").as_deref()),
        (413, Some("application/problem+json"))
    );
    assert_eq!(refused.json()["detail"], "the body is longer than 64 KiB");
    let idle = bed.control("POST", "/v1/clusters/orders/cancel", r#"{"why":"x"}"#);
    assert_eq!((idle.status, &idle.json()["message"]), (409, &json!("cluster orders has no run to cancel")));
    let nobody = bed.control("POST", "/v1/clusters/nobody/cancel", r#"{"why":"x"}"#);
    assert_eq!(nobody.status, 404);
    bed.up.stop();
}

/// Failures of the daemon or of a cluster can be found in the log.
#[test]
fn request_id_of_5xx_is_in_the_log() {
    let bed = Bed::new();
    let response = bed.control("POST", "/v1/clusters/orders/resume-exporting", "{}");
    assert_eq!(response.status, 502, "{}", response.body);
    assert!(response.json()["message"].as_str().unwrap().contains("could not be resumed"));
    let id = response.json()["request_id"].as_str().unwrap().to_owned();
    assert_eq!(response.header("x-request-id"), Some(id.clone()));
    assert_eq!(bed.up.event("request.failed")["request_id"], id.as_str());
    bed.up.stop();
}

#[test]
fn every_response_has_a_unique_request_id() {
    let bed = Bed::new();
    let paths = [
        "/health",
        "/health/live",
        "/health/ready",
        "/health/backups",
        "/v1/pending-resumes",
        "/nothing",
        "/v1/backups/x",
    ];
    let mut responses: Vec<Answer> = paths.iter().map(|path| bed.get(path)).collect();
    responses.push(bed.get("/health"));
    responses.push(bed.control("GET", "/health", ""));
    let ids: std::collections::BTreeSet<uuid::Uuid> =
        responses.iter().map(|response| response.header("x-request-id").unwrap().parse().unwrap()).collect();
    assert_eq!(ids.len(), responses.len());
    bed.up.stop();
}

#[test]
fn request_id_of_failing_health_is_in_the_log() {
    let location = Location::new();
    record_pending_resume_since(
        &location.path("state"),
        "http://127.0.0.1:1",
        chrono::TimeDelta::minutes(10),
    );
    let up = Up::new(&location.good());
    let tcp = up.event("http.listening")["address"].as_str().unwrap().to_owned();
    let response = request(TcpStream::connect(&tcp).unwrap(), "GET", "/health", "Host: any.example\r\n", "");
    assert_eq!(response.status, 503, "{}", response.body);
    let failed = up.event("request.failed");
    assert_eq!(failed["request_id"], response.header("x-request-id").unwrap().as_str());
    assert_eq!((&failed["path"], &failed["status"]), (&json!("/health"), &json!(503)));
    up.stop_with_pending_resume();
}

/// Silent clients on all connections do not block health checks, and the log has one line about them.
#[test]
fn health_responds_while_silent_clients_hold_every_slot() {
    let bed = Bed::new();
    let silent: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(&bed.tcp).unwrap()).collect();
    for _ in 0..10 {
        assert_eq!(bed.get("/health/ready").status, 200);
    }
    let crowded = bed.up.event("http.crowded");
    assert_eq!((&crowded["listener"], &crowded["connections"]), (&json!("http"), &json!(256)));
    drop(silent);
    bed.up.signal("TERM");
    let log: Vec<String> = bed.up.log.iter().collect();
    assert!(!log.iter().any(|line| line.contains("http.crowded")), "{log:?}");
}

#[test]
fn http_on_unix_socket_accepts_no_command() {
    let location = Location::new();
    let socket = location.path("http.sock");
    let config = location.config(&format!("unix:{}", socket.display()), "");
    let up = Up::new(&config);
    let request = |method: &str, path: &str| {
        request(UnixStream::connect(&socket).unwrap(), method, path, "Host: localhost\r\n", "")
    };
    assert_eq!(request("GET", "/v1/backups").status, 200);
    assert_eq!(request("POST", "/v1/pending-resumes/resume").status, 404);
    up.stop();
}

#[test]
fn rejected_reload_degrades_health_until_a_good_one() {
    let bed = Bed::new();
    let check = || {
        let health = bed.get("/health").json();
        health["checks"].as_array().unwrap().iter().find(|c| c["name"] == "config").unwrap().clone()
    };
    assert_eq!(check(), json!({ "name": "config", "status": "ok" }));
    bed.location.config("127.0.0.1:0", "[schedules.d]\nclusters = [\"nobody\"]\ndaily = \"02:00\"\n");
    bed.up.signal("HUP");
    bed.up.event("config.rejected");
    let refused = check();
    assert_eq!(refused["status"], "degraded");
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("the last reload was refused and the old config is active: ")
            && detail.contains("nobody")
    );
    assert_eq!(bed.get("/v1/schedules").json()[0]["name"], "daily");
    bed.location.good();
    bed.up.signal("HUP");
    bed.up.event("config.loaded");
    assert_eq!(check(), json!({ "name": "config", "status": "ok" }));
    bed.up.stop();
}
