//! The second table of docs/support.md, generated from its tests: each authentication method, against a server that
//! rejects every other request.
//!
//! `SUPPORT_TABLE=write cargo test --test it support::access` updates it.

use camunda_backupd::domain::{Access, Identity};
use harness::keys::{Keys, SECRET, api_key, basic, bearer, oauth};
use harness::tls::{self, Ca};
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;
use wiremock::matchers::{header, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// Whether a resume to `url` succeeds with the access, and fails without it.
async fn lets_in(keys: &Keys, url: &str, access: &Access) -> bool {
    let without = keys.zeebe(url, &Access::default()).resume(&harness::TestResume).await;
    keys.zeebe(url, access).resume(&harness::TestResume).await.is_ok() && without.is_err()
}

async fn by_header(access: &Access, authorization: &str) -> bool {
    let server = MockServer::start().await;
    let wanted = Mock::given(header("authorization", authorization));
    wanted.respond_with(ResponseTemplate::new(204)).mount(&server).await;
    lets_in(&Keys::new(), &server.uri(), access).await
}

async fn by_token() -> bool {
    let endpoint = MockServer::start().await;
    let token = ResponseTemplate::new(200).set_body_json(json!({"access_token": "t", "expires_in": 300}));
    Mock::given(path("/token")).respond_with(token).mount(&endpoint).await;
    by_header(&oauth(&format!("{}/token", endpoint.uri())), "Bearer t").await
}

async fn by_certificate(of_ours: bool, through_proxy: bool) -> bool {
    let (keys, ca, ours) = (Keys::new(), Ca::new(), Ca::new());
    let url = tls::broker(&ca.issue("localhost"), of_ours.then_some(&ours)).await;
    keys.put("ca.pem", &ca.pem());
    let issued = ours.issue("backup");
    keys.put("cert", &issued.cert.pem());
    keys.put("cert-key", &issued.key.serialize_pem());
    let (proxy, requested) = tls::proxy(None).await;
    let access = Access {
        ca: Some(keys.file("ca.pem")),
        identity: of_ours.then(|| Identity { cert: "cert".into(), key: "cert-key".into() }),
        proxy: through_proxy.then_some(proxy),
        ..Access::default()
    };
    lets_in(&keys, &url, &access).await && requested.lock().unwrap().is_empty() != through_proxy
}

#[tokio::test]
async fn access_table_matches_tests() {
    let rows = [
        (
            "user name and password",
            "`kind = \"basic\"`",
            by_header(&basic(), "Basic b3BlcmF0b3I6Z2VoZWltLTdmM2E=").await,
        ),
        (
            "bearer token in a file",
            "`kind = \"bearer\"`",
            by_header(&bearer(), &format!("Bearer {SECRET}")).await,
        ),
        ("OAuth client credentials", "`kind = \"oauth\"`", by_token().await),
        (
            "Elasticsearch API key",
            "`kind = \"api_key\"`",
            by_header(&api_key(), &format!("ApiKey {SECRET}")).await,
        ),
        ("private CA", "`ca`", by_certificate(false, false).await),
        ("client certificate", "`client_cert`, `client_key`", by_certificate(true, false).await),
        ("HTTP proxy", "`proxy`", by_certificate(false, true).await),
    ];
    let mut table = String::from("| method | config | evidence |\n|---|---|---|\n");
    for (method, keys, works) in rows {
        let shown = if works { "tested with a server in the test" } else { "not supported" };
        writeln!(table, "| {method} | {keys} | {shown} |").unwrap();
    }
    assert!(!table.contains("not supported"), "{table}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/support.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let (head, rest) =
        text.split_once("<!-- access -->\n").expect("docs/support.md has no start of the table");
    let (old, tail) =
        rest.split_once("<!-- end of access -->").expect("docs/support.md has no end of the table");
    if std::env::var("SUPPORT_TABLE").as_deref() == Ok("write") {
        std::fs::write(&file, format!("{head}<!-- access -->\n{table}<!-- end of access -->{tail}")).unwrap();
        return;
    }
    assert_eq!(old, table, "run SUPPORT_TABLE=write cargo test --test it support::access");
}
