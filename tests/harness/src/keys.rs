//! Credentials in a directory, and clients of a cluster that needs them.

use camunda_backupd::camunda::{HttpTransport, SharedTransport, Zeebe};
use camunda_backupd::clock::SystemClock;
use camunda_backupd::config::secret::Credentials;
use camunda_backupd::domain::{Access, Addresses, Login, Oauth};
use camunda_backupd::pause::credentials::Keyring;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

/// No error and no log may hold it.
pub const SECRET: &str = "geheim-7f3a";

pub struct Keys {
    pub dir: tempfile::TempDir,
}

impl Keys {
    /// One credential, `key`.
    pub fn new() -> Self {
        let keys = Self { dir: tempfile::tempdir().unwrap() };
        keys.put("key", SECRET);
        keys
    }

    pub fn put(&self, name: &str, text: &str) {
        let path = self.file(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn file(&self, name: &str) -> PathBuf {
        std::fs::create_dir_all(self.dir.path().join("credentials")).unwrap();
        self.dir.path().join("credentials").join(name)
    }

    pub fn keyring(&self) -> Arc<Keyring> {
        let configured = Some(self.dir.path().join("credentials"));
        Keyring::new(Credentials { systemd: None, configured }, vec![self.dir.path().join("run")])
    }

    pub fn transport(&self) -> SharedTransport {
        Arc::new(HttpTransport::with(self.keyring(), SystemClock::shared()).unwrap())
    }

    pub fn zeebe(&self, base: &str, access: &Access) -> Zeebe {
        zeebe(base, access, &self.transport())
    }
}

pub fn zeebe(base: &str, access: &Access, transport: &SharedTransport) -> Zeebe {
    let access = [("zeebe".to_owned(), access.clone())].into();
    Zeebe::new(&Addresses { zeebe: base.into(), access, ..Addresses::default() }, transport)
}

pub fn login(login: Login) -> Access {
    Access { login, ..Access::default() }
}

pub fn basic() -> Access {
    login(Login::Basic { username: "operator".into(), password: "key".into() })
}

pub fn bearer() -> Access {
    login(Login::Bearer { token: "key".into() })
}

pub fn api_key() -> Access {
    login(Login::ApiKey { key: "key".into() })
}

pub fn oauth(token_url: &str) -> Access {
    login(Login::Oauth(Oauth {
        token_url: token_url.into(),
        client_id: "backup".into(),
        client_secret: "key".into(),
        audience: Some("zeebe api".into()),
        scope: None,
        json: false,
    }))
}
