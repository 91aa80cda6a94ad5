//! The daemon's HTTP transport against servers that misbehave: it never hangs, never follows a redirect,
//! never guesses.

use camunda_backupd::camunda::{
    ErrorKind, HttpTransport, MAX_BODY, Method, Request, Response, Transport, TransportError, Zeebe,
};
use camunda_backupd::domain::{Addresses, PauseMode};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const PATIENT: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(300);

fn request(method: Method, url: String, deadline: Duration) -> Request {
    Request { method, url, json: None, access: None, deadline }
}

async fn send(request: Request) -> Result<Response, TransportError> {
    HttpTransport::new().unwrap().send(request).await
}

/// A server for one connection: reads the head of the request, then calls `then`. Returns the head.
async fn server<F, Fut>(then: F) -> (String, tokio::task::JoinHandle<String>)
where
    F: FnOnce(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    #[allow(clippy::disallowed_methods)] // a server of the test, which ends with it
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        then(stream).await;
        String::from_utf8(head).unwrap()
    });
    (url, task)
}

/// Writes `piece` until the other side closes the connection.
async fn pour(mut stream: TcpStream, head: &str, piece: &[u8]) {
    stream.write_all(head.as_bytes()).await.unwrap();
    while stream.write_all(piece).await.is_ok() {}
}

#[tokio::test]
async fn call_without_body_sends_content_length_but_no_content_type() {
    let (url, server) = server(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    })
    .await;
    let response =
        send(request(Method::Post, format!("{url}/actuator/exporting/resume"), PATIENT)).await.unwrap();
    assert_eq!((response.status, response.content_type.as_str(), response.body.len()), (204, "", 0));
    let head = server.await.unwrap().to_lowercase();
    assert!(head.starts_with("post /actuator/exporting/resume http/1.1\r\n"), "{head}");
    assert!(head.contains("content-length: 0"), "{head}");
    assert!(!head.contains("content-type"), "{head}");
}

#[tokio::test]
async fn body_is_sent_as_json_and_a_response_of_any_status_is_returned() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/actuator/backups"))
        .and(wiremock::matchers::header("content-type", "application/json"))
        .and(wiremock::matchers::body_json(json!({"backupId": 5})))
        .respond_with(
            ResponseTemplate::new(409).set_body_raw(r#"{"message":"no"}"#, "application/problem+json"),
        )
        .expect(1)
        .mount(&server)
        .await;
    let mut post = request(Method::Post, format!("{}/actuator/backups", server.uri()), PATIENT);
    post.json = Some(json!({"backupId": 5}));
    let response = send(post).await.unwrap();
    assert_eq!((response.status, response.content_type.as_str()), (409, "application/problem+json"));
    assert_eq!(response.body, br#"{"message":"no"}"#);
}

#[tokio::test]
async fn closed_port_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://bob:s3cret@{}/x?token=s3cret", listener.local_addr().unwrap());
    drop(listener);
    let error = send(request(Method::Post, url, PATIENT)).await.unwrap_err();
    let TransportError::NotSent(reason) = error else { panic!("{error:?}") };
    assert!(reason.contains("onnection refused"), "{reason}");
    assert!(!reason.contains("s3cret"), "{reason}");
}

#[tokio::test]
async fn invalid_address_is_not_sent() {
    let error = send(request(Method::Get, "zeebe:9600/actuator".into(), PATIENT)).await.unwrap_err();
    assert!(matches!(error, TransportError::NotSent(_)), "{error:?}");
    let error = send(request(Method::Get, "http://".into(), PATIENT)).await.unwrap_err();
    assert!(matches!(error, TransportError::NotSent(_)), "{error:?}");
}

#[tokio::test]
async fn hanging_server_times_out_at_the_deadline() {
    let (url, server) = server(|mut stream| async move {
        let _ = stream.read_u8().await;
    })
    .await;
    let error = send(request(Method::Post, url, SHORT)).await.unwrap_err();
    assert_eq!(error, TransportError::Lost("timeout after 0.3 s".to_owned()));
    server.await.unwrap();
}

#[tokio::test]
async fn deadline_covers_the_whole_response() {
    let (url, server) = server(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        let mut ticks = tokio::time::interval(SHORT / 10);
        while stream.write_all(b"1\r\n{\r\n").await.is_ok() {
            ticks.tick().await;
        }
    })
    .await;
    let error = send(request(Method::Get, url, SHORT)).await.unwrap_err();
    assert_eq!(error, TransportError::Lost("timeout after 0.3 s".to_owned()));
    server.await.unwrap();
}

#[tokio::test]
async fn connection_closed_without_response_is_lost() {
    let (url, server) = server(|stream| async move { drop(stream) }).await;
    let error = send(request(Method::Post, url, PATIENT)).await.unwrap_err();
    let TransportError::Lost(reason) = error else { panic!("{error:?}") };
    assert!(reason.starts_with("connection lost: "), "{reason}");
    server.await.unwrap();
}

#[tokio::test]
async fn truncated_response_is_lost() {
    let (url, server) = server(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"state\":").await.unwrap();
    })
    .await;
    let error = send(request(Method::Get, url, PATIENT)).await.unwrap_err();
    assert!(matches!(error, TransportError::Lost(_)), "{error:?}");
    server.await.unwrap();
}

#[tokio::test]
async fn response_that_is_not_http_is_lost() {
    let (url, server) = server(|mut stream| async move {
        stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await.unwrap();
    })
    .await;
    let error = send(request(Method::Post, url, PATIENT)).await.unwrap_err();
    assert!(matches!(error, TransportError::Lost(_)), "{error:?}");
    server.await.unwrap();
}

#[tokio::test]
async fn endless_body_is_read_up_to_the_limit() {
    let (url, server) = server(|stream| async move {
        let piece = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
        pour(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &piece).await;
    })
    .await;
    let error = send(request(Method::Get, url, PATIENT)).await.unwrap_err();
    assert_eq!(error, TransportError::Unusable("the body is longer than 16 MiB".to_owned()));
    server.await.unwrap();
}

#[tokio::test]
async fn body_with_too_large_content_length_is_not_read() {
    let (url, server) = server(|mut stream| async move {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MAX_BODY + 1);
        stream.write_all(head.as_bytes()).await.unwrap();
        let _ = stream.read_u8().await;
    })
    .await;
    let error = send(request(Method::Get, url, PATIENT)).await.unwrap_err();
    assert_eq!(error, TransportError::Unusable("the body is longer than 16 MiB".to_owned()));
    server.await.unwrap();
}

#[tokio::test]
async fn body_of_exactly_the_limit_is_read() {
    let (url, server) = server(|mut stream| async move {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {MAX_BODY}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; MAX_BODY]).await.unwrap();
    })
    .await;
    assert_eq!(send(request(Method::Get, url, PATIENT)).await.unwrap().body.len(), MAX_BODY);
    server.await.unwrap();
}

#[tokio::test]
async fn redirect_is_not_followed_and_its_secrets_are_not_shown() {
    let server = MockServer::start().await;
    Mock::given(path("/actuator/backups"))
        .respond_with(
            ResponseTemplate::new(302)
                .insert_header("location", format!("http://u:pw@{}/login?token=abc", server.address())),
        )
        .mount(&server)
        .await;
    Mock::given(path("/login")).respond_with(ResponseTemplate::new(200)).expect(0).mount(&server).await;
    let error =
        send(request(Method::Post, format!("{}/actuator/backups", server.uri()), PATIENT)).await.unwrap_err();
    let expected = format!("a redirect (302) to http://***@{}/login", server.address());
    assert_eq!(error, TransportError::Unusable(expected));
}

#[tokio::test]
async fn pause_over_http_returns_the_failure_inside_the_body() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/actuator/exporting/pause"))
        .and(query_param("soft", "true"))
        .respond_with(
            ResponseTemplate::new(200)
                .set_body_json(json!({"body": null, "status": 204, "contentType": null})),
        )
        .mount(&server)
        .await;
    Mock::given(path("/actuator/exporting/resume"))
        .respond_with(
            ResponseTemplate::new(200)
                .set_body_json(json!({"body": {"message": "no leader"}, "status": 500})),
        )
        .mount(&server)
        .await;
    let addresses = Addresses { zeebe: server.uri(), ..Addresses::default() };
    let zeebe = Zeebe::new(&addresses, &HttpTransport::shared().unwrap());
    zeebe.pause(PauseMode::Soft).await.unwrap();
    let error = zeebe.resume(&harness::TestResume).await.unwrap_err();
    assert_eq!((error.kind.clone(), error.status), (ErrorKind::Server, Some(500)));
    assert!(error.to_string().ends_with("so some partitions may not follow: no leader"), "{error}");
}
