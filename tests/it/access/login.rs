//! Logins over the wire: headers that are sent, errors for a rejected login, and secrets that are never printed.

use camunda_backupd::camunda::{ClientError, ErrorKind, Search, authenticated};
use camunda_backupd::domain::{Access, Addresses, Login, SearchAddress};
use harness::keys::{Keys, SECRET, api_key, basic, bearer, login};
use rstest::rstest;
use serde_json::json;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const RESUME: &str = "/actuator/exporting/resume";

/// A broker that accepts requests with `authorization` only.
async fn guarded(authorization: &str) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path(RESUME))
        .and(header("authorization", authorization))
        .respond_with(ResponseTemplate::new(204))
        .mount(&server)
        .await;
    server
}

/// A broker with one response to everything, for the given number of requests.
async fn always(response: ResponseTemplate, times: u64) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any()).respond_with(response).expect(times).mount(&server).await;
    server
}

fn no_secret_in(error: &ClientError) {
    let text = format!("{error} {error:?} {}", error.evidence);
    for secret in [SECRET, "b3BlcmF0b3I6Z2VoZWltLTdmM2E="] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[rstest]
#[case(basic(), "Basic b3BlcmF0b3I6Z2VoZWltLTdmM2E=")]
#[case(bearer(), "Bearer geheim-7f3a")]
#[case(api_key(), "ApiKey geheim-7f3a")]
#[tokio::test]
async fn each_login_sends_its_header(#[case] access: Access, #[case] authorization: &str) {
    let server = guarded(authorization).await;
    Keys::new().zeebe(&server.uri(), &access).resume(&harness::TestResume).await.unwrap();
}

#[tokio::test]
async fn login_is_sent_only_to_its_component() {
    let keys = Keys::new();
    let server = always(ResponseTemplate::new(204), 1).await;
    keys.zeebe(&server.uri(), &login(Login::None)).resume(&harness::TestResume).await.unwrap();
    let requested = server.received_requests().await.unwrap();
    assert!(!requested[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn changed_credential_file_is_used_at_once() {
    let keys = Keys::new();
    let server = guarded("Bearer the-new-one").await;
    let zeebe = keys.zeebe(&server.uri(), &bearer());
    zeebe.resume(&harness::TestResume).await.unwrap_err();
    keys.put("key", "the-new-one\n");
    zeebe.resume(&harness::TestResume).await.unwrap();
}

#[rstest]
#[case(
    basic(),
    401,
    "zeebe rejected the credential `key` with 401 to POST /actuator/exporting/resume (Bad credentials): store the password of user `operator` there; it takes effect at once, under systemd after a restart"
)]
#[case(
    bearer(),
    401,
    "zeebe rejected the credential `key` with 401 to POST /actuator/exporting/resume (Bad credentials): store a valid one there; it takes effect at once, under systemd after a restart"
)]
#[case(
    api_key(),
    401,
    "zeebe rejected the credential `key` with 401 to POST /actuator/exporting/resume (Bad credentials): store a valid one there; it takes effect at once, under systemd after a restart"
)]
#[case(
    login(Login::None),
    401,
    "zeebe returned 401 to POST /actuator/exporting/resume (Bad credentials): authentication rejected, configure access.zeebe"
)]
#[case(
    basic(),
    403,
    "zeebe returned 403 to POST /actuator/exporting/resume (Bad credentials): user `operator` lacks the permission for this call, grant it"
)]
#[case(
    bearer(),
    403,
    "zeebe returned 403 to POST /actuator/exporting/resume (Bad credentials): the credential `key` lacks the permission for this call, grant it"
)]
#[tokio::test]
async fn rejected_login_is_one_sentence_and_not_retried(
    #[case] access: Access,
    #[case] status: u16,
    #[case] sentence: &str,
) {
    let response = ResponseTemplate::new(status).set_body_json(json!({"message": "Bad credentials."}));
    let server = always(response, 1).await;
    let error = Keys::new().zeebe(&server.uri(), &access).resume(&harness::TestResume).await.unwrap_err();
    assert_eq!(error.to_string(), sentence);
    assert_eq!((error.kind.clone(), error.status), (ErrorKind::AuthRejected, Some(status)));
    assert!(!error.may_have_acted() && !error.is_transient());
    no_secret_in(&error);
}

#[rstest]
#[case(basic())]
#[case(bearer())]
#[case(api_key())]
#[tokio::test]
async fn secret_echoed_by_a_server_is_masked(#[case] access: Access) {
    let server = MockServer::start().await;
    let echo = |request: &Request| {
        let shown = request.headers["authorization"].to_str().unwrap();
        let body = json!({"message": format!("no such thing as {shown} or {SECRET}")});
        ResponseTemplate::new(500).set_body_json(body)
    };
    Mock::given(wiremock::matchers::any()).respond_with(echo).mount(&server).await;
    let error = Keys::new().zeebe(&server.uri(), &access).resume(&harness::TestResume).await.unwrap_err();
    assert!(error.to_string().contains("no such thing as"), "{error}");
    no_secret_in(&error);
}

/// `camunda` is a common password, and repositories and snapshots are named so too.
#[rstest]
#[case(basic())]
#[case(bearer())]
#[case(api_key())]
#[tokio::test]
async fn common_word_as_password_does_not_mask_responses(#[case] access: Access) {
    let keys = Keys::new();
    keys.put("key", "camunda");
    let indices = json!([{"index": "camunda-operate-list-view", "status": "open"}]);
    let server = always(ResponseTemplate::new(200).set_body_json(indices), 1).await;
    let repository = "camunda".to_owned();
    let address = SearchAddress {
        url: server.uri(),
        repository: repository.clone(),
        webapps_repository: repository,
        records: None,
    };
    let access = [("search".to_owned(), access)].into();
    let addresses = Addresses { search: Some(address.clone()), access, ..Addresses::default() };
    let search = Search::new(&address, authenticated(&addresses, &keys.transport()));
    assert_eq!(search.indices("*").await.unwrap(), ["camunda-operate-list-view"]);
}

#[tokio::test]
async fn html_page_is_not_a_valid_response() {
    let page = "<html><body>Please log in</body></html>";
    let server = always(ResponseTemplate::new(200).set_body_raw(page, "text/html;charset=UTF-8"), 1).await;
    let error = Keys::new().zeebe(&server.uri(), &basic()).list().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "zeebe responded to GET /actuator/backups with 200, with an HTML page instead of JSON; check its address, or configure the login in front of it under access.zeebe"
    );
    assert_eq!(error.kind, ErrorKind::Unusable);
}

#[tokio::test]
async fn redirect_to_login_page_is_reported() {
    let to = ResponseTemplate::new(302).insert_header("location", "https://login.example.org/auth?state=1");
    let server = always(to, 1).await;
    let error = Keys::new().zeebe(&server.uri(), &basic()).list().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "zeebe responded to GET /actuator/backups with a response that no component sends: a redirect (302) to https://login.example.org/auth; check its address, or configure the login in front of it under access.zeebe"
    );
}

#[tokio::test]
async fn missing_credential_prevents_the_request() {
    let keys = Keys::new();
    let server = always(ResponseTemplate::new(204), 0).await;
    std::fs::remove_file(keys.file("key")).unwrap();
    let error = keys.zeebe(&server.uri(), &bearer()).resume(&harness::TestResume).await.unwrap_err();
    let expected = format!(
        "POST /actuator/exporting/resume was not sent to zeebe: credential `key` does not exist: create `{}` with mode 0600",
        keys.file("key").display()
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.kind, ErrorKind::AuthRejected);
    assert!(!error.may_have_acted());
}

#[tokio::test]
async fn secret_with_invalid_header_bytes_is_not_sent() {
    let keys = Keys::new();
    keys.put("key", "geheim-7f3a\nX-Other: 1");
    let server = always(ResponseTemplate::new(204), 0).await;
    let error = keys.zeebe(&server.uri(), &bearer()).resume(&harness::TestResume).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "POST /actuator/exporting/resume was not sent to zeebe: the credential `key` contains characters that are invalid in a header: store only the secret there, on one line"
    );
    no_secret_in(&error);
}
