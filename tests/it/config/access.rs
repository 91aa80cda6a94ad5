//! `[clusters.*.self_managed.access.*]`: valid settings; the errors are cases of `tests/data/ui`.

use crate::base_config::environment;
use camunda_backupd::config;
use camunda_backupd::domain::{Access, Addresses, Identity, Login, Oauth};
use harness::tls;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const BEFORE: &str = "[daemon]
credentials_dir = 'DIR/credentials'
[schedules.d]
clusters = ['orders']
daily = '02:00'
[clusters.orders.self_managed]
zeebe = 'https://h:9600'
search = { url = 'http://127.0.0.1:9200', repository = 'camunda' }
";

fn put(dir: &Path, name: &str, text: &str, mode: u32) {
    let path = dir.join("credentials").join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with credentials of every kind and the config `text`.
fn written(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("credentials")).unwrap();
    let (ca, issued) = (tls::Ca::new(), tls::Ca::new().issue("backup"));
    put(dir.path(), "good", "geheim", 0o600);
    put(dir.path(), "cert", &issued.cert.pem(), 0o600);
    put(dir.path(), "cert-key", &issued.key.serialize_pem(), 0o600);
    fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
    let text = format!("{BEFORE}{text}\n").replace("DIR", &dir.path().display().to_string());
    fs::write(dir.path().join("config.toml"), text).unwrap();
    dir
}

fn addresses(text: &str) -> Addresses {
    let dir = written(text);
    let loaded = config::load(&dir.path().join("config.toml"), &environment()).unwrap();
    let location = dir.path().to_owned();
    let mut addresses = loaded.config.clusters["orders"].addresses.clone();
    for access in addresses.access.values_mut() {
        access.ca = access.ca.take().map(|ca| Path::new("DIR").join(ca.strip_prefix(&location).unwrap()));
    }
    addresses
}

#[test]
fn access_of_each_kind_is_parsed_and_has_only_credential_names() {
    let addresses = addresses(
        "operate = 'https://h:9621'
tasklist = 'https://h:9641'
rest = 'https://h:8080'
[clusters.orders.self_managed.access.zeebe]
kind = 'basic'
username = 'operator'
password = 'good'
[clusters.orders.self_managed.access.operate]
kind = 'oauth'
token_url = 'https://login/token/'
client_id = 'backup'
client_secret = 'good'
audience = 'operate'
scope = 'all'
[clusters.orders.self_managed.access.tasklist]
kind = 'bearer'
token = 'good'
[clusters.orders.self_managed.access.search]
kind = 'api_key'
api_key = 'good'
[clusters.orders.self_managed.access.rest]
ca = 'DIR/ca.pem'
client_cert = 'cert'
client_key = 'cert-key'
proxy = 'http://proxy:3128/'",
    );
    let of = |login| Access { login, ..Access::default() };
    let name = || "good".to_owned();
    let expected = [
        ("zeebe", of(Login::Basic { username: "operator".into(), password: name() })),
        // It has the address of Zeebe.
        ("history", of(Login::Basic { username: "operator".into(), password: name() })),
        (
            "operate",
            of(Login::Oauth(Oauth {
                token_url: "https://login/token/".into(),
                client_id: "backup".into(),
                client_secret: name(),
                audience: Some("operate".into()),
                scope: Some("all".into()),
                json: false,
            })),
        ),
        ("tasklist", of(Login::Bearer { token: name() })),
        ("search", of(Login::ApiKey { key: name() })),
        (
            "rest",
            Access {
                ca: Some("DIR/ca.pem".into()),
                identity: Some(Identity { cert: "cert".into(), key: "cert-key".into() }),
                proxy: Some("http://proxy:3128".into()),
                ..Access::default()
            },
        ),
    ];
    let expected = expected.map(|(name, access)| (name.to_owned(), access)).into();
    assert_eq!(addresses.access, expected);
    // The stored form in runs and pending resumes.
    let stored = serde_json::to_string(&addresses).unwrap();
    assert!(!stored.contains("geheim"), "{stored}");
    assert_eq!(serde_json::from_str::<Addresses>(&stored).unwrap(), addresses);
}

#[test]
fn access_all_applies_to_components_without_a_table() {
    let addresses = addresses(
        "optimize = 'https://h:8092'
[clusters.orders.self_managed.access.all]
kind = 'bearer'
token = 'good'
[clusters.orders.self_managed.access.optimize]
kind = 'none'",
    );
    let names: Vec<&str> = addresses.access.keys().map(String::as_str).collect();
    assert_eq!(names, ["history", "search", "zeebe"]);
}

#[test]
fn brokers_without_management_url_use_access_of_the_rest_api() {
    let dir = written(
        "[clusters.only-rest.self_managed]
version = '8.10'
rest = 'https://h:8080'
search = { url = 'http://127.0.0.1:9201', repository = 'camunda' }
[clusters.only-rest.self_managed.access.rest]
kind = 'bearer'
token = 'good'",
    );
    let loaded = config::load(&dir.path().join("config.toml"), &environment()).unwrap();
    let access = &loaded.config.clusters["only-rest"].addresses.access;
    let names: Vec<&str> = access.keys().map(String::as_str).collect();
    assert_eq!(names, ["history", "rest", "zeebe"]);
}

#[test]
fn addresses_stored_without_access_are_readable() {
    let old = r#"{"zeebe":"http://z","operate":null,"tasklist":null,"optimize":null,"rest":null,"brokers":[],"search":null}"#;
    let addresses: Addresses = serde_json::from_str(old).unwrap();
    assert!(addresses.access.is_empty());
    assert!(!serde_json::to_string(&addresses).unwrap().contains("access"));
}
