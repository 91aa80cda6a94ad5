//! Credentials: found by name, never outside their directory, never readable by others, never printed.

use camunda_backupd::config::secret::Credentials;
use rstest::rstest;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn put(dir: &Path, name: &str, text: &str, mode: u32) {
    fs::write(dir.join(name), text).unwrap();
    fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
}

/// The secret or the error, without the path of the directory.
fn read(credentials: &Credentials, name: &str) -> String {
    let text = match credentials.read(name) {
        Ok(secret) => {
            assert_eq!(format!("{secret:?}"), "Secret(…)");
            secret.expose().to_owned()
        }
        Err(why) => why,
    };
    let dirs = [credentials.systemd.as_deref(), credentials.configured.as_deref()];
    dirs.into_iter().flatten().fold(text, |text, dir| text.replace(&dir.display().to_string(), "DIR"))
}

#[rstest]
#[case(0o600, "geheim")]
#[case(0o400, "geheim")]
#[case(
    0o640,
    "the credential `DIR/a` can be read by its group of this machine: run `chmod 0600 DIR/a`, and change the secret if others had access"
)]
#[case(
    0o604,
    "the credential `DIR/a` can be read by every user of this machine: run `chmod 0600 DIR/a`, and change the secret if others had access"
)]
fn outside_systemd_credentials_must_be_readable_by_the_owner_only(#[case] mode: u32, #[case] expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "a", "geheim\n", mode);
    let credentials = Credentials { systemd: None, configured: Some(dir.path().into()) };
    assert_eq!(read(&credentials, "a"), expected);
}

#[rstest]
#[case("a", 0o440, "geheim")]
#[case("secret_a", 0o440, "geheim")]
#[case(
    "secret_a",
    0o444,
    "the credential `DIR/secret_a` can be read by every user of this machine: run `chmod 0600 DIR/secret_a`, and change the secret if others had access"
)]
#[case(
    "b",
    0o400,
    "credential `a` does not exist: put it with mode 0600 into the directory that LoadCredential names, `/etc/camunda-backupd/credentials` as shipped, and restart"
)]
fn under_systemd_group_read_and_prefixed_names_are_accepted(
    #[case] file: &str,
    #[case] mode: u32,
    #[case] expected: &str,
) {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), file, "geheim", mode);
    let credentials = Credentials { systemd: Some(dir.path().into()), configured: None };
    assert_eq!(read(&credentials, "a"), expected);
}

#[test]
fn links_out_of_the_credentials_directory_are_rejected() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    put(outside.path(), "x", "geheim", 0o600);
    put(dir.path(), "y", "geheim", 0o600);
    symlink(outside.path().join("x"), dir.path().join("out")).unwrap();
    symlink("y", dir.path().join("in")).unwrap();
    let credentials = Credentials { systemd: None, configured: Some(dir.path().into()) };
    assert_eq!(read(&credentials, "in"), "geheim");
    assert_eq!(
        read(&credentials, "out"),
        "the credential `DIR/out` is a link to a file outside its directory: put the file itself there"
    );
}

#[rstest]
#[case("../passwd")]
#[case("")]
#[case("a/b")]
#[case("..")]
#[case("a b")]
fn invalid_credential_names_are_rejected(#[case] name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let credentials = Credentials { systemd: None, configured: Some(dir.path().into()) };
    assert_eq!(
        read(&credentials, name),
        format!("`{name}` is not the name of a credential: use letters, digits, `.`, `_` and `-`")
    );
}

#[test]
fn unreadable_credentials_are_reported_with_remedy() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "empty", "\n", 0o600);
    fs::create_dir(dir.path().join("dir")).unwrap();
    // Opening a pipe would block forever.
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").args(["-m", "0600"]).arg(pipe).status().unwrap().success());
    let credentials = Credentials { systemd: None, configured: Some(dir.path().into()) };
    assert_eq!(read(&credentials, "empty"), "the credential `DIR/empty` is empty: put the secret there");
    for name in ["dir", "pipe"] {
        let expected =
            format!("the credential `DIR/{name}` is not a file: put the secret into a file of that name");
        assert_eq!(read(&credentials, name), expected);
    }
    assert_eq!(
        read(&Credentials::default(), "a"),
        "credential `a` cannot be read without a credentials directory: run under systemd with LoadCredential, or set credentials_dir under [daemon]"
    );
}
