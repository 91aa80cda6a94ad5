//! `[clusters.*.self_managed.access.*]`: what each component wants of those who reach it, and every mistake in it.

use super::refusals::{self, env, said, shown};
use camunda_backupd::config;
use camunda_backupd::domain::{Access, Addresses, Identity, Login, Oauth};
use harness::tls;
use rstest::rstest;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Eight lines, so that line 9 is the first of a case.
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

/// A place with a credential of every kind, and the case as its config.
fn written(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("credentials")).unwrap();
    let (ca, issued) = (tls::Ca::new(), tls::Ca::new().issue("backup"));
    put(dir.path(), "good", "geheim", 0o600);
    put(dir.path(), "empty", "\n", 0o600);
    put(dir.path(), "cert", &issued.cert.pem(), 0o600);
    put(dir.path(), "cert-key", &issued.key.serialize_pem(), 0o600);
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIgeheim\n-----END ENCRYPTED PRIVATE KEY-----\n";
    put(dir.path(), "locked-key", locked, 0o600);
    fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
    fs::write(dir.path().join("no.pem"), "geheim").unwrap();
    let text = format!("{BEFORE}{text}\n").replace("DIR", &dir.path().display().to_string());
    fs::write(dir.path().join("config.toml"), text).unwrap();
    dir
}

fn check(text: &str, expected: &[&str]) {
    let dir = written(text);
    compare(&dir, expected);
}

fn compare(dir: &tempfile::TempDir, expected: &[&str]) {
    let dir = dir.path();
    let prefix = format!("{}/config.toml:", dir.display());
    let location = dir.display().to_string();
    let lines: Vec<String> = said(&dir.join("config.toml"))
        .iter()
        .map(|d| d.to_string().replace(&prefix, "").replace(&location, "DIR"))
        .collect();
    assert_eq!(lines, expected);
    let shown = shown(dir);
    assert!(!shown.contains("geheim"), "{shown}");
}

fn addresses(text: &str) -> Addresses {
    let dir = written(text);
    let loaded = config::load(&dir.path().join("config.toml"), &env()).unwrap();
    let location = dir.path().to_owned();
    let mut addresses = loaded.config.clusters["orders"].addresses.clone();
    for access in addresses.access.values_mut() {
        access.ca = access.ca.take().map(|ca| Path::new("DIR").join(ca.strip_prefix(&location).unwrap()));
    }
    addresses
}

#[test]
fn each_kind_is_read_and_only_names_of_credentials_are_kept() {
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
        // It is reached at the address of Zeebe.
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
    // As it is stored with runs and debts.
    let stored = serde_json::to_string(&addresses).unwrap();
    assert!(!stored.contains("geheim"), "{stored}");
    assert_eq!(serde_json::from_str::<Addresses>(&stored).unwrap(), addresses);
}

#[test]
fn all_stands_for_every_component_that_has_no_table_of_its_own() {
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
fn brokers_reached_over_the_rest_api_want_what_it_wants() {
    let dir = written(
        "[clusters.only-rest.self_managed]
version = '8.10'
rest = 'https://h:8080'
search = { url = 'http://127.0.0.1:9201', repository = 'camunda' }
[clusters.only-rest.self_managed.access.rest]
kind = 'bearer'
token = 'good'",
    );
    let loaded = config::load(&dir.path().join("config.toml"), &env()).unwrap();
    let access = &loaded.config.clusters["only-rest"].addresses.access;
    let names: Vec<&str> = access.keys().map(String::as_str).collect();
    assert_eq!(names, ["history", "rest", "zeebe"]);
}

#[test]
fn what_was_stored_before_there_was_any_access_is_read() {
    let old = r#"{"zeebe":"http://z","operate":null,"tasklist":null,"optimize":null,"rest":null,"brokers":[],"search":null}"#;
    let addresses: Addresses = serde_json::from_str(old).unwrap();
    assert!(addresses.access.is_empty());
    assert!(!serde_json::to_string(&addresses).unwrap().contains("access"));
}

#[rstest]
#[case(
    "[clusters.orders.self_managed.access.zeebe]
kind = 'basik'",
    &["10:8: error: `clusters.orders.self_managed.access.zeebe.kind` is `basik`, which it cannot be; did you mean \"basic\"?"]
)]
#[case(
    "[clusters.orders.self_managed.access.zebee]
kind = 'none'",
    &["9:38: error: `clusters.orders.self_managed.access.zebee` is not a known key; did you mean `zeebe`?"]
)]
#[case(
    "[clusters.orders.self_managed.access.zeebe]
kind = 'basic'
username = 'operator'
passwort = 'geheim'
pin = 'geheim'
[clusters.orders.self_managed.access.search]
kind = 'bearer'
token = 42
client_secrett = 'geheim'",
    &[
        "12:1: error: `clusters.orders.self_managed.access.zeebe.passwort` is not a known key; did you mean `password`?",
        "13:1: error: `clusters.orders.self_managed.access.zeebe.pin` is not a known key; known here: api_key, audience, ca, client_cert, client_id, client_key, client_secret, kind, password, proxy, scope, token, token_url, username",
        "16:9: error: `clusters.orders.self_managed.access.search.token` must be text, and this is a number; write one text in quotes",
        "17:1: error: `clusters.orders.self_managed.access.search.client_secrett` is not a known key; did you mean `client_secret`?",
    ]
)]
#[case(
    "[clusters.orders.self_managed.access.zeebe]
kind = 'basic'
[clusters.orders.self_managed.access.search]
kind = 'oauth'
[clusters.orders.self_managed.access.rest]
kind = 'bearer'
[clusters.orders.self_managed.access.operate]
kind = 'api_key'",
    &[
        "10:8: error: `clusters.orders.self_managed.access.zeebe.password` is missing, and \"basic\" needs it; write the name of the credential that holds it",
        "10:8: error: `clusters.orders.self_managed.access.zeebe.username` is missing, and \"basic\" needs it; write the user's name",
        "12:8: error: `clusters.orders.self_managed.access.search.client_id` is missing, and \"oauth\" needs it; write the client's id",
        "12:8: error: `clusters.orders.self_managed.access.search.client_secret` is missing, and \"oauth\" needs it; write the name of the credential that holds it",
        "12:8: error: `clusters.orders.self_managed.access.search.token_url` is missing, and \"oauth\" needs it; write the URL of the token endpoint",
        "14:8: error: `clusters.orders.self_managed.access.rest.token` is missing, and \"bearer\" needs it; write the name of the credential that holds it",
        "16:8: error: `clusters.orders.self_managed.access.operate.api_key` is missing, and \"api_key\" needs it; write the name of the credential that holds it",
    ]
)]
#[case(
    "[clusters.orders.self_managed.access.zeebe]
token = 'good'
[clusters.orders.self_managed.access.search]
kind = 'basic'
username = 'operator'
password = 'good'
token = 'good'",
    &[
        "10:9: error: `clusters.orders.self_managed.access.zeebe.kind` is missing; write kind = \"bearer\"",
        "15:9: error: `clusters.orders.self_managed.access.search.token` has no meaning where `kind` is \"basic\"; remove it, or write kind = \"bearer\"",
    ]
)]
#[case(
    "[clusters.orders.self_managed.access.zeebe]
kind = 'basic'
username = 'operator:geheim'
password = 'good'",
    &[
        "11:12: error: `clusters.orders.self_managed.access.zeebe.username` has a `:` in it, and what follows would be read as the password; write the user's name alone, and the password into a credential named by `password`",
    ]
)]
fn kinds_and_their_keys(#[case] text: &str, #[case] expected: &[&str]) {
    check(text, expected);
}

#[rstest]
#[case(
    "[clusters.orders.self_managed.access.zeebe]
kind = 'bearer'
token = 'eyJhbGciOi/geheim=='",
    &["11:9: error: `clusters.orders.self_managed.access.zeebe.token` is not the name of a credential; write a name of letters, digits, `.`, `_` and `-`, and put the secret into a file of that name; if this was the secret itself, change it"]
)]
#[case(
    "[clusters.orders.self_managed.access.zeebe]
kind = 'bearer'
token = 'geheim'",
    &["11:9: error: `clusters.orders.self_managed.access.zeebe.token` names a credential that does not exist; create a file of that name with mode 0600 in `DIR/credentials`; under systemd a new one needs a restart"]
)]
#[case(
    "[clusters.orders.self_managed.access.search]
kind = 'api_key'
api_key = 'empty'
client_cert = 'nothing'
client_key = 'geheim'",
    &[
        "11:11: error: the credential `DIR/credentials/empty` is empty; put the secret there",
        "12:15: error: `clusters.orders.self_managed.access.search.client_cert` names a credential that does not exist; create a file of that name with mode 0600 in `DIR/credentials`; under systemd a new one needs a restart",
        "13:14: error: `clusters.orders.self_managed.access.search.client_key` names a credential that does not exist; create a file of that name with mode 0600 in `DIR/credentials`; under systemd a new one needs a restart",
    ]
)]
fn credentials_that_cannot_be_read(#[case] text: &str, #[case] expected: &[&str]) {
    check(text, expected);
}

#[test]
fn a_credential_that_others_can_read_is_refused_once() {
    let dir = written("[clusters.orders.self_managed.access.zeebe]\nkind = 'bearer'\ntoken = 'open'");
    put(dir.path(), "open", "geheim", 0o644);
    compare(
        &dir,
        &[
            "2:19: error: the credential `DIR/credentials/open` can be read by every user of this machine; run `chmod 0600 DIR/credentials/open`, and change the secret if others had access",
        ],
    );
}

/// Whoever only talks to the daemon may not see its credentials.
#[test]
fn without_a_directory_credentials_are_not_checked() {
    let (dir, _) = refusals::written(
        "@orders\n@daily\n[clusters.orders.self_managed.access.zeebe]\nkind = 'bearer'\ntoken = 'good'\n",
    );
    let said: Vec<String> = said(&dir.path().join("config.toml")).iter().map(|d| d.message.clone()).collect();
    assert_eq!(
        said,
        [
            "`clusters.orders.self_managed.access.zeebe` sends its credential to zeebe over http, where others may read it",
            "credentials are not checked, because there is no directory of them here",
        ]
    );
}

#[rstest]
#[case(
    "[clusters.orders.self_managed.access.all]
ca = 'DIR/no.pem'
client_cert = 'good'
client_key = 'locked-key'
proxy = 'proxy:3128'",
    &[
        "10:6: error: `clusters.orders.self_managed.access.all.ca` is `DIR/no.pem`, which holds no PEM certificate; put the CA's certificate there as PEM, from `-----BEGIN CERTIFICATE-----` on; `openssl x509 -inform der` turns a binary one into it",
        "11:15: error: the credential of `clusters.orders.self_managed.access.all.client_cert` holds no PEM certificate; put the certificate there, from `-----BEGIN CERTIFICATE-----` on, and those that vouch for it",
        "12:14: error: the key in the credential of `clusters.orders.self_managed.access.all.client_key` has a passphrase; put it there without one, as `openssl pkey` writes it",
        "13:9: error: `clusters.orders.self_managed.access.all.proxy` is `proxy:3128`, which is not the URL of a proxy; write http:// or https://, a host and a port, and nothing else",
    ]
)]
#[case(
    "[clusters.orders.self_managed.access.all]
ca = 'ca.pem'
client_cert = 'cert'
proxy = 'http://user:geheim@proxy:3128'
[clusters.orders.self_managed.access.search]
ca = 'DIR/none.pem'
client_key = 'good'
proxy = 'http://proxy:3128/path'",
    &[
        "10:6: error: `clusters.orders.self_managed.access.all.ca` is `ca.pem`, which is not an absolute path; write the whole path of a file, from `/` on",
        "11:15: error: `clusters.orders.self_managed.access.all.client_key` is missing, and a certificate needs its key; write the name of the credential that holds the key, which may be the same one",
        "12:9: error: `clusters.orders.self_managed.access.all.proxy` has a user name or password in it, and a secret must not stand in this file; use a proxy that lets this machine through without a login, and change that password: whoever could read this file knows it",
        "14:6: error: `clusters.orders.self_managed.access.search.ca` is `DIR/none.pem`, which cannot be read: No such file or directory; put the CA's certificate there, readable for the daemon's user",
        "15:14: error: `clusters.orders.self_managed.access.search.client_cert` is missing, and a key needs its certificate; write the name of the credential that holds the certificate, which may be the same one",
        "15:14: error: the credential of `clusters.orders.self_managed.access.search.client_key` holds no PEM key; put the key there, from `-----BEGIN PRIVATE KEY-----` on",
        "16:9: error: `clusters.orders.self_managed.access.search.proxy` is `http://proxy:3128/path`, which is not the URL of a proxy; write http:// or https://, a host and a port, and nothing else",
    ]
)]
#[case(
    "[clusters.orders.self_managed.access.all]
kind = 'oauth'
token_url = 'login/token'
client_id = ''
client_secret = 'good'",
    &[
        "11:13: error: `clusters.orders.self_managed.access.all.token_url` is `login/token`, which is not an http or https URL; write the scheme too, as in \"http://login/token\"",
        "12:13: error: `clusters.orders.self_managed.access.all.client_id` is empty, or has control characters in it; write what the token endpoint expects",
    ]
)]
fn transport(#[case] text: &str, #[case] expected: &[&str]) {
    check(text, expected);
}

#[rstest]
#[case(
    "rest = 'http://h:8080'
brokers = ['http://b:9600']
[clusters.orders.self_managed.access.all]
kind = 'basic'
username = 'operator'
password = 'good'",
    &["12:8: warning: `clusters.orders.self_managed.access.all` sends its credential to zeebe, rest over http, where others may read it; reach them over https, or over loopback"]
)]
#[case(
    "rest = 'http://h:8080'
[clusters.orders.self_managed.access.rest]
kind = 'oauth'
token_url = 'http://login/token'
client_id = 'backup'
client_secret = 'good'",
    &[
        "11:8: warning: `clusters.orders.self_managed.access.rest` sends its token to rest over http, where others may read it; reach them over https, or over loopback",
        "12:13: warning: `clusters.orders.self_managed.access.rest` sends its secret to the token endpoint over http, where others may read it; write an https URL",
    ]
)]
#[case(
    "[clusters.orders.self_managed.access.optimize]
kind = 'none'",
    &["10:8: warning: `clusters.orders.self_managed.access.optimize` is of no use, because the cluster has no `optimize`; write the URL of `optimize` too, or remove this table"]
)]
#[case(
    "rest = 'http://h:8080'
[clusters.orders.self_managed.access.rest]
ca = 'DIR/ca.pem'",
    &[]
)]
fn what_is_said_of_an_access_that_works(#[case] text: &str, #[case] expected: &[&str]) {
    check(text, expected);
}
