//! OAuth client credentials: number of token requests, and handling of rejected tokens.
#![allow(clippy::disallowed_methods)] // a test program on the real clock

use camunda_backupd::camunda::{ClientError, ErrorKind, Method, Request, TransportError, Zeebe};
use camunda_backupd::domain::Login;
use harness::keys::{Keys, SECRET, oauth, zeebe};
use rstest::rstest;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wiremock::matchers::{body_string, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn token(text: &str, seconds: u64) -> Value {
    json!({"access_token": text, "token_type": "Bearer", "expires_in": seconds})
}

/// A token endpoint that returns these responses in order, each once.
async fn endpoint(responses: impl IntoIterator<Item = ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    for (at, response) in responses.into_iter().enumerate() {
        Mock::given(method("POST"))
            .and(path("/token"))
            .and(header("content-type", "application/x-www-form-urlencoded"))
            .respond_with(response)
            .up_to_n_times(1)
            .with_priority(at as u8 + 1)
            .expect(1)
            .mount(&server)
            .await;
    }
    Mock::given(wiremock::matchers::any())
        .respond_with(ResponseTemplate::new(418))
        .with_priority(100)
        .expect(0)
        .mount(&server)
        .await;
    server
}

async fn issuing(tokens: &[&str]) -> MockServer {
    endpoint(tokens.iter().map(|text| ResponseTemplate::new(200).set_body_json(token(text, 3600)))).await
}

/// A broker: status per token, with the number of requests.
async fn broker(responses: &[(&str, u16, u64)]) -> MockServer {
    let server = MockServer::start().await;
    for (at, (token, status, times)) in responses.iter().enumerate() {
        Mock::given(method("POST"))
            .and(header("authorization", format!("Bearer {token}")))
            .respond_with(ResponseTemplate::new(*status))
            .up_to_n_times(*times)
            .with_priority(at as u8 + 1)
            .expect(*times)
            .mount(&server)
            .await;
    }
    server
}

fn url(server: &MockServer) -> String {
    format!("{}/token", server.uri())
}

/// A client of the broker with a token from the endpoint, and its credentials, which must live as long as the client.
fn client(endpoint: &MockServer, broker: &MockServer) -> (Keys, Zeebe) {
    let keys = Keys::new();
    let zeebe = keys.zeebe(&broker.uri(), &oauth(&url(endpoint)));
    (keys, zeebe)
}

fn no_secret_in(error: &ClientError) {
    let text = format!("{error} {error:?} {}", error.evidence);
    assert!(!text.contains(SECRET) && !text.contains("first-token"), "{text}");
}

#[tokio::test]
async fn token_is_requested_as_rfc_6749_and_reused() {
    let server = MockServer::start().await;
    let form = "grant_type=client_credentials&client_id=backup&client_secret=geheim-7f3a&audience=zeebe+api";
    Mock::given(body_string(form))
        .respond_with(ResponseTemplate::new(200).set_body_json(token("first-token", 300)))
        .expect(1)
        .mount(&server)
        .await;
    let broker = broker(&[("first-token", 204, 3)]).await;
    let (_keys, zeebe) = client(&server, &broker);
    for _ in 0..3 {
        zeebe.resume(&harness::TestResume).await.unwrap();
    }
}

#[tokio::test]
async fn concurrent_calls_share_one_token_request() {
    let slow = ResponseTemplate::new(200).set_body_json(token("first-token", 300));
    let server = endpoint([slow.set_delay(Duration::from_millis(200))]).await;
    let broker = broker(&[("first-token", 204, 8)]).await;
    let (_keys, zeebe) = client(&server, &broker);
    let all = futures::future::join_all((0..8).map(|_| zeebe.resume(&harness::TestResume))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
}

#[tokio::test]
async fn expired_token_is_renewed_and_the_call_repeated() {
    let server = issuing(&["first-token", "second-token"]).await;
    let broker = broker(&[("first-token", 204, 1), ("first-token", 401, 1), ("second-token", 204, 1)]).await;
    let (_keys, zeebe) = client(&server, &broker);
    zeebe.resume(&harness::TestResume).await.unwrap();
    zeebe.resume(&harness::TestResume).await.unwrap();
}

#[tokio::test]
async fn call_is_repeated_only_once() {
    let server = issuing(&["first-token", "second-token"]).await;
    let broker = broker(&[("first-token", 204, 1), ("first-token", 401, 1), ("second-token", 401, 1)]).await;
    let (_keys, zeebe) = client(&server, &broker);
    zeebe.resume(&harness::TestResume).await.unwrap();
    let error = zeebe.resume(&harness::TestResume).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "zeebe rejected the token that client `backup` got with the credential `key` with 401 to POST /actuator/exporting/resume: check `audience` and `scope`, and that it trusts this token endpoint"
    );
    assert_eq!(error.kind, ErrorKind::AuthRejected);
    no_secret_in(&error);
}

#[rstest]
#[case(401)] // fetched for this call: another would be refused as well
#[case(403)]
#[case(500)]
#[tokio::test]
async fn only_a_401_repeats_a_call(#[case] status: u16) {
    let server = issuing(&["first-token"]).await;
    let broker = broker(&[("first-token", status, 1)]).await;
    let (_keys, zeebe) = client(&server, &broker);
    zeebe.resume(&harness::TestResume).await.unwrap_err();
}

#[tokio::test]
async fn cached_token_is_renewed_only_after_401() {
    let server = issuing(&["first-token"]).await;
    let broker = broker(&[("first-token", 204, 1), ("first-token", 403, 1), ("first-token", 503, 1)]).await;
    let (_keys, zeebe) = client(&server, &broker);
    zeebe.resume(&harness::TestResume).await.unwrap();
    let error = zeebe.resume(&harness::TestResume).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "zeebe returned 403 to POST /actuator/exporting/resume: client `backup` lacks the permission for this call, grant it"
    );
    assert!(zeebe.resume(&harness::TestResume).await.unwrap_err().may_have_acted());
}

#[tokio::test]
async fn token_is_renewed_before_expiry() {
    let short = |text| ResponseTemplate::new(200).set_body_json(token(text, 0));
    let server = endpoint([short("first-token"), short("second-token")]).await;
    let broker = broker(&[("first-token", 204, 1), ("second-token", 204, 1)]).await;
    let (_keys, zeebe) = client(&server, &broker);
    zeebe.resume(&harness::TestResume).await.unwrap();
    zeebe.resume(&harness::TestResume).await.unwrap();
}

/// A resume is sent while the token endpoint is down if the last token may still be valid.
#[rstest]
#[case::down(ResponseTemplate::new(503))]
#[case::says_no(ResponseTemplate::new(401))]
#[case::hangs(ResponseTemplate::new(200).set_delay(Duration::from_secs(20)))]
#[tokio::test]
async fn token_near_expiry_is_used_if_renewal_fails(#[case] response: ResponseTemplate) {
    let first = ResponseTemplate::new(200).set_body_json(token("first-token", 0));
    let server = endpoint([first, response]).await;
    let broker = broker(&[("first-token", 204, 2)]).await;
    let (_keys, zeebe) = client(&server, &broker);
    zeebe.resume(&harness::TestResume).await.unwrap();
    zeebe.resume(&harness::TestResume).await.unwrap();
}

#[tokio::test]
async fn failed_renewal_of_expired_token_reports_the_cause() {
    let first = ResponseTemplate::new(200).set_body_json(token("first-token", 0));
    let server = endpoint([first, ResponseTemplate::new(503), ResponseTemplate::new(503)]).await;
    let broker = broker(&[("first-token", 204, 1), ("first-token", 401, 1)]).await;
    let (_keys, zeebe) = client(&server, &broker);
    zeebe.resume(&harness::TestResume).await.unwrap();
    let error = zeebe.resume(&harness::TestResume).await.unwrap_err();
    assert!(error.to_string().contains("returned 503: see its log"), "{error}");
    assert_eq!(error.kind, ErrorKind::NoAccess);
}

#[tokio::test]
async fn token_endpoint_gets_at_most_one_request_a_second() {
    let server = issuing(&["first-token", "second-token"]).await;
    let broker = broker(&[("first-token", 204, 1), ("second-token", 204, 1)]).await;
    let keys = Keys::new();
    let transport = keys.transport();
    let mut other = oauth(&url(&server));
    if let Login::Oauth(oauth) = &mut other.login {
        oauth.client_id = "another".into();
    }
    let began = Instant::now();
    zeebe(&broker.uri(), &oauth(&url(&server)), &transport).resume(&harness::TestResume).await.unwrap();
    zeebe(&broker.uri(), &other, &transport).resume(&harness::TestResume).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[rstest]
#[case(401, r#"{"error":"invalid_client","error_description":"Invalid client or Invalid client credentials: geheim-7f3a."}"#, ErrorKind::AuthRejected,
    "the token endpoint URL rejected client `backup` with 401 (invalid_client: Invalid client or Invalid client credentials: ***): check `client_id`, `audience`, `scope` and the credential `key`")]
#[case(
    400,
    r#"{"error":"invalid_scope"}"#,
    ErrorKind::AuthRejected,
    "the token endpoint URL rejected client `backup` with 400 (invalid_scope): check `client_id`, `audience`, `scope` and the credential `key`"
)]
#[case(
    403,
    "",
    ErrorKind::AuthRejected,
    "the token endpoint URL rejected client `backup` with 403: check `client_id`, `audience`, `scope` and the credential `key`"
)]
#[case(404, "", ErrorKind::AuthRejected, "no token endpoint at URL (404): correct `token_url`")]
#[case(
    200,
    "<html>Log in</html>",
    ErrorKind::AuthRejected,
    "the token endpoint URL returned 200 without a token: correct `token_url`"
)]
#[case(
    302,
    "",
    ErrorKind::AuthRejected,
    "the token endpoint URL returned a redirect (302): correct `token_url`"
)]
#[case(
    407,
    "",
    ErrorKind::AuthRejected,
    "the proxy before it requires a login (407) for the token endpoint URL: use a proxy without one"
)]
#[case(503, "", ErrorKind::NoAccess, "the token endpoint URL returned 503: see its log")]
#[case(
    429,
    "",
    ErrorKind::NoAccess,
    "the token endpoint URL returned 429 (too many requests): the request is sent again after 5 s"
)]
#[tokio::test]
async fn token_endpoint_error_is_one_sentence(
    #[case] status: u16,
    #[case] body: &str,
    #[case] kind: ErrorKind,
    #[case] sentence: &str,
) {
    let server = endpoint([ResponseTemplate::new(status).set_body_string(body)]).await;
    let broker = broker(&[]).await;
    let error = Keys::new()
        .zeebe(&broker.uri(), &oauth(&url(&server)))
        .resume(&harness::TestResume)
        .await
        .unwrap_err();
    let sentence = sentence.replace("URL", &url(&server));
    assert_eq!(
        error.to_string(),
        format!("POST /actuator/exporting/resume was not sent to zeebe: {sentence}")
    );
    assert_eq!(error.kind, kind);
    assert_eq!(error.is_transient(), kind == ErrorKind::NoAccess);
    assert!(!error.may_have_acted());
    no_secret_in(&error);
    assert!(broker.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn unreachable_token_endpoint_is_named() {
    let broker = broker(&[]).await;
    let error = Keys::new()
        .zeebe(&broker.uri(), &oauth("http://127.0.0.1:1/token"))
        .resume(&harness::TestResume)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("POST /actuator/exporting/resume was not sent to zeebe: cannot connect to the token endpoint http://127.0.0.1:1/token: "),
        "{text}"
    );
    assert_eq!(error.kind, ErrorKind::NoAccess);
}

#[tokio::test]
async fn retry_after_of_token_endpoint_is_kept() {
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "2");
    let server = endpoint([busy, ResponseTemplate::new(200).set_body_json(token("first-token", 300))]).await;
    let broker = broker(&[("first-token", 204, 1)]).await;
    let (_keys, zeebe) = client(&server, &broker);
    zeebe.resume(&harness::TestResume).await.unwrap_err();
    let began = Instant::now();
    zeebe.resume(&harness::TestResume).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(1500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn waiters_of_a_failed_token_request_do_not_repeat_it() {
    let slow = ResponseTemplate::new(500).set_delay(Duration::from_millis(200));
    let server = endpoint([slow]).await;
    let keys = Keys::new();
    let zeebe = keys.zeebe("http://127.0.0.1:1", &oauth(&url(&server)));
    let all = futures::future::join_all((0..4).map(|_| zeebe.resume(&harness::TestResume))).await;
    assert!(all.iter().all(|one| one.as_ref().unwrap_err().to_string().contains("returned 500")), "{all:?}");
}

#[rstest]
#[case("120".to_owned())]
#[case((chrono::Utc::now() + chrono::TimeDelta::seconds(119)).format("%a, %d %b %Y %H:%M:%S GMT").to_string())]
#[tokio::test]
async fn retry_after_beyond_the_deadline_fails_at_once(#[case] retry_after: String) {
    let server = endpoint([ResponseTemplate::new(429).insert_header("retry-after", retry_after)]).await;
    let keys = Keys::new();
    let zeebe = keys.zeebe("http://127.0.0.1:1", &oauth(&url(&server)));
    zeebe.resume(&harness::TestResume).await.unwrap_err();
    let began = Instant::now();
    let error = zeebe.resume(&harness::TestResume).await.unwrap_err();
    assert!(
        error.to_string().contains("returned 429 (too many requests): the request is sent again after 11"),
        "{error}"
    );
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn one_deadline_covers_token_and_call() {
    let slow = ResponseTemplate::new(200).set_body_json(token("first-token", 300));
    let server = endpoint([slow.set_delay(Duration::from_secs(20))]).await;
    let broker = broker(&[]).await;
    let request = Request {
        method: Method::Post,
        url: broker.uri(),
        json: None,
        access: Some(Arc::new(oauth(&url(&server)))),
        deadline: Duration::from_millis(300),
    };
    let keys = Keys::new();
    let began = Instant::now();
    let error = keys.transport().send(request).await.unwrap_err();
    assert!(matches!(&error, TransportError::NoAccess { transient: true, .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(broker.received_requests().await.unwrap().is_empty());
}
