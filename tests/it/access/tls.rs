//! TLS and proxies: trusted certificates, client certificates, and the error text of each rejection.

use camunda_backupd::camunda::{ClientError, ErrorKind};
use camunda_backupd::domain::{Access, Identity};
use harness::keys::{self, Keys};
use harness::tls::{self, Ca, broker, proxy};
use rstest::rstest;

/// Credentials, and the access of a cluster whose CA is in a file.
fn with_ca(ca: &Ca) -> (Keys, Access) {
    let keys = Keys::new();
    keys.put("ca.pem", &ca.pem());
    let file = keys.file("ca.pem");
    (keys, Access { ca: Some(file), ..Access::default() })
}

fn with_identity(access: &Access) -> Access {
    let identity = Some(Identity { cert: "cert".into(), key: "cert-key".into() });
    Access { identity, ..access.clone() }
}

#[tokio::test]
async fn ca_certificate_and_plain_http_are_rejected_as_server() {
    let ca = Ca::new();
    let (keys, access) = with_ca(&ca);
    let url = broker(&ca.issue_authority("localhost"), None).await;
    let error = keys.zeebe(&url, &access).resume(&harness::TestResume).await.unwrap_err();
    assert_eq!(
        sentence(&error, &url),
        "POST /actuator/exporting/resume was not sent to zeebe: its certificate is a CA certificate, as created by `openssl req -x509`, not a server certificate (invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))): issue one with basicConstraints CA:FALSE, and configure its CA as `ca` under access"
    );
    let plain = wiremock::MockServer::start().await;
    let url = plain.uri().replace("http://", "https://");
    let error = keys.zeebe(&url, &access).resume(&harness::TestResume).await.unwrap_err();
    assert_eq!(
        sentence(&error, &url),
        "cannot connect to zeebe at URL: it does not speak TLS (received corrupt message of type InvalidContentType): write http:// in its address"
    );
}

/// The sentence with the port taken out.
fn sentence(error: &ClientError, url: &str) -> String {
    error.to_string().replace(url, "URL")
}

#[tokio::test]
async fn private_ca_is_trusted() {
    let ca = Ca::new();
    let url = broker(&ca.issue("localhost"), None).await;
    let (keys, access) = with_ca(&ca);
    keys.zeebe(&url, &access).resume(&harness::TestResume).await.unwrap();
}

#[tokio::test]
async fn certificate_of_unknown_ca_is_rejected() {
    let url = broker(&Ca::new().issue("localhost"), None).await;
    let (keys, access) = with_ca(&Ca::new());
    for access in [access, Access::default()] {
        let error = keys.zeebe(&url, &access).resume(&harness::TestResume).await.unwrap_err();
        assert_eq!(
            sentence(&error, &url),
            "POST /actuator/exporting/resume was not sent to zeebe: its certificate is not signed by a CA that this machine trusts (invalid peer certificate: UnknownIssuer): configure the file of its CA as `ca` under access"
        );
        assert_eq!(error.kind, ErrorKind::AuthRejected);
        assert!(!error.may_have_acted());
    }
}

#[tokio::test]
async fn certificate_of_another_name_is_rejected() {
    let ca = Ca::new();
    let url = broker(&ca.issue("zeebe.example.org"), None).await;
    let (keys, access) = with_ca(&ca);
    let error = keys.zeebe(&url, &access).resume(&harness::TestResume).await.unwrap_err();
    assert_eq!(
        sentence(&error, &url),
        "POST /actuator/exporting/resume was not sent to zeebe: its certificate is for another host name (invalid peer certificate: certificate not valid for name \"localhost\"; certificate is only valid for DnsName(\"zeebe.example.org\")): write the name that the certificate is for in the address, or have one issued for this name"
    );
}

#[tokio::test]
async fn expired_certificate_is_rejected() {
    let ca = Ca::new();
    let url = broker(&ca.issue_expired("localhost"), None).await;
    let (keys, access) = with_ca(&ca);
    let error = keys.zeebe(&url, &access).resume(&harness::TestResume).await.unwrap_err();
    let text = sentence(&error, &url);
    assert!(text.contains(": its certificate has expired (invalid peer certificate: "), "{text}");
    assert!(text.ends_with("): renew it, and check that the clocks agree"), "{text}");
}

#[tokio::test]
async fn client_certificate_is_sent() {
    let (ca, ours) = (Ca::new(), Ca::new());
    let url = broker(&ca.issue("localhost"), Some(&ours)).await;
    let (keys, access) = with_ca(&ca);
    let issued = ours.issue("backup");
    keys.put("cert", &issued.cert.pem());
    keys.put("cert-key", &issued.key.serialize_pem());
    keys.zeebe(&url, &with_identity(&access)).resume(&harness::TestResume).await.unwrap();
    // One file with both will do.
    keys.put("both", &format!("{}{}", issued.key.serialize_pem(), issued.cert.pem()));
    let identity = Some(Identity { cert: "both".into(), key: "both".into() });
    keys.zeebe(&url, &Access { identity, ..access }).resume(&harness::TestResume).await.unwrap();
}

#[tokio::test]
async fn missing_or_rejected_client_certificate_is_reported() {
    let (ca, ours) = (Ca::new(), Ca::new());
    let url = broker(&ca.issue("localhost"), Some(&ours)).await;
    let (keys, access) = with_ca(&ca);
    let error = keys.zeebe(&url, &access).resume(&harness::TestResume).await.unwrap_err();
    assert_eq!(
        sentence(&error, &url),
        "POST /actuator/exporting/resume was not sent to zeebe: it requires a client certificate (received fatal alert: CertificateRequired): configure `client_cert` and `client_key` under access"
    );
    let unknown_ca = Ca::new().issue("backup");
    keys.put("cert", &unknown_ca.cert.pem());
    keys.put("cert-key", &unknown_ca.key.serialize_pem());
    let error = keys.zeebe(&url, &with_identity(&access)).resume(&harness::TestResume).await.unwrap_err();
    let text = sentence(&error, &url);
    assert!(text.contains(": it rejects the client certificate (received fatal alert: "), "{text}");
    assert!(
        text.ends_with("): store one that it trusts in the credentials of `client_cert` and `client_key`"),
        "{text}"
    );
    assert_eq!(error.kind, ErrorKind::AuthRejected);
}

#[tokio::test]
async fn renewed_ca_is_used_at_once_and_removed_ca_stays() {
    let (old, new) = (Ca::new(), Ca::new());
    let (before, after) =
        (broker(&old.issue("localhost"), None).await, broker(&new.issue("localhost"), None).await);
    let (keys, access) = with_ca(&old);
    let transport = keys.transport();
    keys::zeebe(&before, &access, &transport).resume(&harness::TestResume).await.unwrap();
    keys::zeebe(&after, &access, &transport).resume(&harness::TestResume).await.unwrap_err();
    keys.put("ca.pem", &format!("{}{}", old.pem(), new.pem()));
    keys::zeebe(&after, &access, &transport).resume(&harness::TestResume).await.unwrap();
    std::fs::remove_file(keys.file("ca.pem")).unwrap();
    keys::zeebe(&after, &access, &transport).resume(&harness::TestResume).await.unwrap();
}

/// Two files are renewed one after the other, and a resume may come between.
#[rstest]
#[case("cert", "cert-key")]
#[case("cert-key", "cert")]
#[tokio::test]
async fn half_renewed_client_certificate_keeps_the_old_one(#[case] first: &str, #[case] then: &str) {
    let (ca, ours) = (Ca::new(), Ca::new());
    let url = broker(&ca.issue("localhost"), Some(&ours)).await;
    let (keys, access) = with_ca(&ca);
    let access = with_identity(&access);
    let put = |name: &str, issued: &tls::Issued| {
        let pem = if name == "cert" { issued.cert.pem() } else { issued.key.serialize_pem() };
        keys.put(name, &pem);
    };
    let (old, new) = (ours.issue("backup"), ours.issue("backup"));
    put(first, &old);
    put(then, &old);
    let transport = keys.transport();
    keys::zeebe(&url, &access, &transport).resume(&harness::TestResume).await.unwrap();
    put(first, &new);
    keys::zeebe(&url, &access, &transport).resume(&harness::TestResume).await.unwrap();
    keys.put("ca.pem", "not yet written");
    keys::zeebe(&url, &access, &transport).resume(&harness::TestResume).await.unwrap();
    // It connects as before, and health reports that it cannot after a restart.
    let addresses = camunda_backupd::domain::Addresses {
        access: [("zeebe".to_owned(), access.clone())].into(),
        ..Default::default()
    };
    transport.examine("zeebe", std::sync::Arc::new(access.clone())).await;
    let rejections = transport.rejections(&addresses);
    assert!(
        rejections[0].why.starts_with("the credentials for zeebe are not available: `"),
        "{rejections:?}"
    );
    assert!(
        rejections[0]
            .why
            .ends_with("/ca.pem` contains no certificate: store the CA certificate there as PEM"),
        "{rejections:?}"
    );
    keys.put("ca.pem", &ca.pem());
    put(then, &new);
    keys::zeebe(&url, &access, &transport).resume(&harness::TestResume).await.unwrap();
    transport.examine("zeebe", std::sync::Arc::new(access.clone())).await;
    assert_eq!(transport.rejections(&addresses), []);
}

#[rstest]
#[case("ca.pem", "`FILE` contains no certificate: store the CA certificate there as PEM")]
#[case(
    "cert",
    "the credentials `cert` and `cert-key` are not a certificate with its key: store both as PEM, the key without a passphrase"
)]
#[tokio::test]
async fn files_without_certificates_are_named(#[case] broken: &str, #[case] reason: &str) {
    let (keys, access) = with_ca(&Ca::new());
    let issued = Ca::new().issue("backup");
    keys.put("cert", &issued.cert.pem());
    keys.put("cert-key", &issued.key.serialize_pem());
    keys.put(broken, keys::SECRET);
    let error = keys
        .zeebe("https://localhost:1", &with_identity(&access))
        .resume(&harness::TestResume)
        .await
        .unwrap_err();
    let reason = reason.replace("FILE", &keys.file("ca.pem").display().to_string());
    assert_eq!(error.to_string(), format!("POST /actuator/exporting/resume was not sent to zeebe: {reason}"));
}

#[tokio::test]
async fn configured_proxy_is_used() {
    let ca = Ca::new();
    let url = broker(&ca.issue("localhost"), None).await;
    let (proxy, requested) = proxy(None).await;
    let (keys, access) = with_ca(&ca);
    let access = Access { proxy: Some(proxy), ..access };
    keys.zeebe(&url, &access).resume(&harness::TestResume).await.unwrap();
    let expected = format!("CONNECT {} HTTP/1.1", url.strip_prefix("https://").unwrap());
    assert_eq!(*requested.lock().unwrap(), [expected]);
}

#[rstest]
#[case(
    "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
    ErrorKind::NoAccess,
    "POST /actuator/exporting/resume was not sent to zeebe: the proxy PROXY refused to connect to it: let the proxy allow this address, or correct `proxy`"
)]
#[case(
    "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
    ErrorKind::AuthRejected,
    "POST /actuator/exporting/resume was not sent to zeebe: the proxy PROXY requires a login (407): use a proxy without one"
)]
#[tokio::test]
async fn rejecting_proxy_is_reported(
    #[case] response: &'static str,
    #[case] kind: ErrorKind,
    #[case] expected: &str,
) {
    let (proxy, _) = proxy(Some(response)).await;
    let access = Access { proxy: Some(proxy.clone()), ..Access::default() };
    let error =
        Keys::new().zeebe("https://localhost:1", &access).resume(&harness::TestResume).await.unwrap_err();
    assert_eq!(error.to_string().replace(&proxy, "PROXY"), expected);
    assert_eq!(error.kind, kind);
    assert!(!error.may_have_acted());
}

#[rstest]
#[case(
    "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
    "zeebe, or the proxy PROXY before it, returned 403 to POST /actuator/exporting/resume: access denied, configure access.zeebe"
)]
#[case(
    "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
    "the proxy PROXY rejected POST /actuator/exporting/resume to zeebe with 407: it requires a login, use a proxy without one"
)]
#[tokio::test]
async fn proxy_before_plain_http_is_named_in_errors(#[case] response: &'static str, #[case] expected: &str) {
    let (proxy, requested) = proxy(Some(response)).await;
    let access = Access { proxy: Some(proxy.clone()), ..Access::default() };
    let error = Keys::new()
        .zeebe("http://zeebe.invalid:9600", &access)
        .resume(&harness::TestResume)
        .await
        .unwrap_err();
    assert_eq!(error.to_string().replace(&proxy, "PROXY"), expected);
    assert_eq!(
        *requested.lock().unwrap(),
        ["POST http://zeebe.invalid:9600/actuator/exporting/resume HTTP/1.1"]
    );
}

#[rstest]
#[case(
    "https://login.example.org/token",
    "the token endpoint https://login.example.org/token cannot be used, the proxy PROXY requires a login (407): use a proxy without one"
)]
#[case(
    "http://login.example.org/token",
    "the proxy PROXY requires a login (407) for the token endpoint http://login.example.org/token: use a proxy without one"
)]
#[tokio::test]
async fn proxy_before_token_endpoint_is_named_in_errors(#[case] token_url: &str, #[case] expected: &str) {
    let response = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
    let (proxy, _) = proxy(Some(response)).await;
    let access = Access { proxy: Some(proxy.clone()), ..keys::oauth(token_url) };
    let error =
        Keys::new().zeebe("https://localhost:1", &access).resume(&harness::TestResume).await.unwrap_err();
    let expected = format!("POST /actuator/exporting/resume was not sent to zeebe: {expected}");
    assert_eq!(error.to_string().replace(&proxy, "PROXY"), expected);
    assert_eq!(error.kind, ErrorKind::AuthRejected);
}

#[tokio::test]
async fn unreachable_proxy_is_named() {
    let access = Access { proxy: Some("http://127.0.0.1:1".into()), ..Access::default() };
    let error =
        Keys::new().zeebe("https://localhost:2", &access).resume(&harness::TestResume).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(
            "cannot connect to zeebe at https://localhost:2: through the proxy http://127.0.0.1:1: "
        ),
        "{text}"
    );
    assert_eq!(error.kind, ErrorKind::NotSent);
}
