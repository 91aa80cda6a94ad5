//! Credential files: directories, permissions and content.
//!
//! Owns every rule about secrets on disk (rule I11). Must not print or log a secret, or put one into an error.

pub use crate::domain::Secret;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Maximum size of a credential file in bytes.
const SIZE_LIMIT: u64 = 64 * 1024;
/// Maximum number of files of a directory whose permissions are checked.
const FILE_LIMIT: usize = 1_000;
const GROUP_OR_WORLD_READ: u32 = 0o044;
const WORLD_READ: u32 = 0o004;

/// Source of `$CREDENTIALS_DIRECTORY`, named in remedies because users cannot write to `$CREDENTIALS_DIRECTORY` itself.
const SYSTEMD: &str =
    "the directory that LoadCredential names, `/etc/camunda-backupd/credentials` as shipped";

/// Directories of credential files, in search order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// `$CREDENTIALS_DIRECTORY`, filled by systemd.
    pub systemd: Option<PathBuf>,
    /// `[daemon] credentials_dir`.
    pub configured: Option<PathBuf>,
}

impl Credentials {
    /// Names of the directories for a remedy; empty without any directory.
    pub(super) fn directories(&self) -> Vec<String> {
        let systemd = self.systemd.iter().map(|_| SYSTEMD.to_owned());
        systemd.chain(self.configured.iter().map(|dir| format!("`{}`", dir.display()))).collect()
    }

    /// Whether `name` is a valid name of a credential.
    pub fn is_name(name: &str) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !name.is_empty() && name.chars().all(plain) && !name.starts_with('.') && name.len() <= 255
    }

    /// Whether a directory entry of that name exists, of any kind.
    pub(super) fn has(&self, name: &str) -> bool {
        let at = |dir: &PathBuf, name: &str| dir.join(name).symlink_metadata().is_ok();
        self.systemd.iter().any(|dir| at(dir, name) || at(dir, &format!("secret_{name}")))
            || self.configured.iter().any(|dir| at(dir, name))
    }

    /// Reads a credential. An error contains file and remedy, never the content.
    pub fn read(&self, name: &str) -> Result<Secret, String> {
        if !Self::is_name(name) {
            let shown: String = name.escape_debug().take(80).collect();
            return Err(format!(
                "`{shown}` is not the name of a credential: use letters, digits, `.`, `_` and `-`"
            ));
        }
        let mut remedies = vec![];
        if let Some(dir) = &self.systemd {
            for name in [name.to_owned(), format!("secret_{name}")] {
                if let Some(secret) = read_in(dir, &name, WORLD_READ)? {
                    return Ok(secret);
                }
            }
            remedies.push(format!("put it with mode 0600 into {SYSTEMD}, and restart"));
        }
        if let Some(dir) = &self.configured {
            match read_in(dir, name, GROUP_OR_WORLD_READ)? {
                Some(secret) => return Ok(secret),
                None => {
                    remedies.push(format!("create `{}` with mode 0600", dir.join(name).display()));
                }
            }
        }
        if remedies.is_empty() {
            return Err(format!(
                "credential `{name}` cannot be read without a credentials directory: run under systemd with LoadCredential, or set credentials_dir under [daemon]"
            ));
        }
        Err(format!("credential `{name}` does not exist: {}", remedies.join(", or ")))
    }
}

/// Problems with the files of a configured directory, each with its remedy.
pub(super) fn refused_in(dir: &Path) -> Vec<(String, String)> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) => {
            let why = e.to_string();
            let why = why.split(" (os error").next().unwrap_or_default();
            let message = format!("the credentials directory `{}` cannot be listed: {why}", dir.display());
            return vec![(message, "create it with mode 0700, owned by the daemon's user".into())];
        }
    };
    let mut refused: Vec<(String, String)> = entries
        .take(FILE_LIMIT)
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let meta = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
            readable_by_others(&path, meta.mode(), GROUP_OR_WORLD_READ)
        })
        .collect();
    refused.sort();
    refused
}

fn readable_by_others(path: &Path, mode: u32, refused: u32) -> Option<(String, String)> {
    let readers = match mode & refused {
        0 => return None,
        bits if bits & WORLD_READ != 0 => "every user",
        _ => "its group",
    };
    let message = format!("the credential `{}` can be read by {readers} of this machine", path.display());
    Some((
        message,
        format!("run `chmod 0600 {}`, and change the secret if others had access", path.display()),
    ))
}

fn read_in(dir: &Path, name: &str, refused: u32) -> Result<Option<Secret>, String> {
    let path = dir.join(name);
    let shown = path.display();
    let failed = |e: std::io::Error| {
        let why = e.to_string();
        format!(
            "the credential `{shown}` cannot be read: {}",
            why.split(" (os error").next().unwrap_or_default()
        )
    };
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    if !real.starts_with(dir.canonicalize().map_err(failed)?) {
        return Err(format!(
            "the credential `{shown}` is a link to a file outside its directory: put the file itself there"
        ));
    }
    // Checked before opening: opening a pipe waits for a writer.
    if !fs::metadata(&real).map_err(failed)?.is_file() {
        return Err(format!(
            "the credential `{shown}` is not a file: put the secret into a file of that name"
        ));
    }
    let mut file = fs::File::open(&real).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode();
    if let Some((message, help)) = readable_by_others(&path, mode, refused) {
        return Err(format!("{message}: {help}"));
    }
    let mut bytes = vec![];
    file.by_ref().take(SIZE_LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    let text = match String::from_utf8(bytes) {
        Ok(text) if text.len() as u64 <= SIZE_LIMIT => text,
        _ => {
            return Err(format!(
                "the credential `{shown}` is not a text of at most 64 KiB: put only the secret there"
            ));
        }
    };
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(format!("the credential `{shown}` is empty: put the secret there"));
    }
    Ok(Some(Secret::new(secret)))
}
