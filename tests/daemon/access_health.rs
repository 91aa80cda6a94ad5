//! Rejected authentication in health: since when, and the remedy, for as long as it lasts.

use camunda_backupd::camunda::{Search, SharedTransport, authenticated};
use camunda_backupd::domain::{Access, Addresses, SearchAddress};
use harness::keys::{Keys, SECRET, basic, bearer};
use harness::process::{Location, Up, command, ends};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// A broker that accepts requests with the token only.
async fn broker() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(header("authorization", format!("Bearer {SECRET}")))
        .respond_with(ResponseTemplate::new(404))
        .mount(&server)
        .await;
    Mock::given(wiremock::matchers::any())
        .respond_with(ResponseTemplate::new(401))
        .with_priority(9)
        .mount(&server)
        .await;
    server
}

fn addresses(zeebe: &MockServer, access: Access) -> Addresses {
    Addresses { zeebe: zeebe.uri(), access: [("zeebe".to_owned(), access)].into(), ..Addresses::default() }
}

fn denied(transport: &SharedTransport, addresses: &Addresses) -> Vec<String> {
    transport.rejections(addresses).into_iter().map(|rejection| rejection.why).collect()
}

#[tokio::test]
async fn rejected_login_is_reported_until_accepted() {
    let (keys, broker) = (Keys::new(), broker().await);
    let (transport, addresses) = (keys.transport(), addresses(&broker, bearer()));
    let zeebe = camunda_backupd::camunda::Zeebe::new(&addresses, &transport);
    keys.put("key", "an old one");
    zeebe.list().await.unwrap_err();
    let first = transport.rejections(&addresses)[0].since;
    zeebe.resume(&harness::TestResume).await.unwrap_err();
    let standing = transport.rejections(&addresses);
    assert_eq!((standing.len(), standing[0].since), (1, first));
    assert!(
        standing[0].why.starts_with("zeebe rejected the credential `key` with 401 to POST "),
        "{standing:?}"
    );
    keys.put("key", SECRET);
    zeebe.list().await.unwrap_err();
    assert_eq!(denied(&transport, &addresses), [""; 0]);
}

/// `/actuator/info` is open to everybody, as a rule.
#[tokio::test]
async fn open_route_does_not_clear_a_rejected_login() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/_cluster/health"))
        .respond_with(ResponseTemplate::new(401))
        .mount(&server)
        .await;
    let keys = Keys::new();
    let address = SearchAddress {
        url: server.uri(),
        repository: "r".into(),
        webapps_repository: "r".into(),
        records: None,
    };
    let addresses = Addresses { search: Some(address.clone()), ..Addresses::default() };
    let transport = keys.transport();
    let search = Search::new(&address, authenticated(&addresses, &transport));
    search.red().await.unwrap_err();
    search.indices("*").await.unwrap_err();
    let expected =
        "search returned 401 to GET /_cluster/health: authentication rejected, configure access.search";
    assert_eq!(denied(&transport, &addresses), [expected]);
}

#[tokio::test]
async fn unreadable_credential_is_reported_before_a_run() {
    let keys = Keys::new();
    let broker = broker().await;
    let (transport, addresses) = (keys.transport(), addresses(&broker, basic()));
    let examine = || transport.examine("zeebe", Arc::new(basic()));
    examine().await;
    assert_eq!(denied(&transport, &addresses), [""; 0]);
    std::fs::remove_file(keys.file("key")).unwrap();
    examine().await;
    let expected = format!(
        "the credentials for zeebe are not available: credential `key` does not exist: create `{}` with mode 0600",
        keys.file("key").display()
    );
    assert_eq!(denied(&transport, &addresses), [expected]);
    keys.put("key", SECRET);
    examine().await;
    assert_eq!(denied(&transport, &addresses), [""; 0]);
    assert!(broker.received_requests().await.unwrap().is_empty());
}

/// The check of that name, as the operator sees it.
fn credentials(location: &Location) -> Value {
    let response = ends(command(&location.good_reader(), &["--json", "status"]));
    let health: Value = serde_json::from_slice(&response.stdout).unwrap();
    let checks = health["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == "credentials").unwrap().clone()
}

fn until(location: &Location, status: &str) -> Value {
    let began = Instant::now();
    loop {
        let check = credentials(location);
        if check["status"] == status {
            return check;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{check}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_reports_rejected_login_and_its_fix() {
    let (location, keys, broker) = (Location::new(), Keys::new(), broker().await);
    keys.put("key", "an old one");
    let config = location.good();
    let text = std::fs::read_to_string(&config).unwrap();
    let credentials_dir = keys.dir.path().join("credentials");
    let text = text
        .replace("[daemon]\n", &format!("[daemon]\ncredentials_dir = \"{}\"\n", credentials_dir.display()))
        .replace("zeebe = \"http://127.0.0.1:1\"", &format!("zeebe = \"{}\"", broker.uri()))
        .replace("[schedules.daily]", "[clusters.orders.self_managed.access.zeebe]\nkind = \"bearer\"\ntoken = \"key\"\n[defaults]\nprobe_interval = \"1s\"\n[schedules.daily]");
    std::fs::write(&config, text).unwrap();
    let daemon = Up::new(&config);
    let check = until(&location, "degraded");
    let detail = check["detail"].as_str().unwrap();
    assert_eq!(check["cluster"], "orders");
    assert!(
        detail.starts_with("since 20")
            && detail.contains("Z: zeebe rejected the credential `key` with 401 to GET "),
        "{detail}"
    );
    assert!(
        detail.ends_with(": store a valid one there; it takes effect at once, under systemd after a restart"),
        "{detail}"
    );
    keys.put("key", SECRET);
    until(&location, "ok");
    std::fs::remove_file(keys.file("key")).unwrap();
    let check = until(&location, "degraded");
    assert!(
        check["detail"].as_str().unwrap().contains("credential `key` does not exist: create `"),
        "{check}"
    );
    daemon.stop();
}
