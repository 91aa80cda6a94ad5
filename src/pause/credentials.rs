//! Credentials of the daemon: read from the configured directories, and copied while a resume is pending.
//!
//! A copy stays readable if the directory of the credentials is gone or the config no longer loads. A resume
//! can then still be sent (rule I1). Must not print or log a secret, or put a secret into an error.

use crate::camunda::Secrets;
use crate::config::Environment;
use crate::config::secret::Credentials;
use crate::domain::{Access, RunId, Secret};
use crate::lock::lock;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Subdirectory of a runtime directory. It contains one directory for each run with a pending resume.
const PENDING: &str = "pending";
/// Prefix of a copied CA file, which lies beside the copied credentials. Names of credentials never begin
/// with a dot.
const CA: &str = ".ca.pem";
/// Largest file accepted as a credential or CA file, in bytes.
const SIZE_LIMIT: u64 = 4 * 1024 * 1024;
/// Maximum number of runs whose copies are read from one directory.
const RUNS: usize = 10_000;

/// Directories of the credentials and of their copies.
pub struct Keyring {
    credentials: Mutex<Credentials>,
    /// Directories of copies. New copies are written to the first directory, and copies are read from all.
    locations: Vec<PathBuf>,
}

impl Keyring {
    /// Reads credentials from the directories in `credentials`. Keeps copies below the first of
    /// `runtime_dirs`, and reads copies from all of them.
    pub fn new(credentials: Credentials, runtime_dirs: Vec<PathBuf>) -> Arc<Self> {
        let locations = runtime_dirs.into_iter().map(|dir| dir.join(PENDING)).collect();
        Arc::new(Self { credentials: Mutex::new(credentials), locations })
    }

    /// Creates the keyring from `[daemon] credentials_dir` and the environment of the process.
    pub fn of(
        environment: &Environment,
        credentials_dir: Option<PathBuf>,
        runtime_dirs: Vec<PathBuf>,
    ) -> Arc<Self> {
        let systemd = environment.credentials_directory.clone();
        Self::new(Credentials { systemd, configured: credentials_dir }, runtime_dirs)
    }

    /// Replaces `[daemon] credentials_dir` after a reload.
    pub fn move_to(&self, credentials_dir: Option<PathBuf>) {
        lock(&self.credentials).configured = credentials_dir;
    }

    /// Contents of all copies of the credential `name`, newest run first. Run ids sort by creation time.
    fn copies(&self, name: &str) -> impl Iterator<Item = Vec<u8>> {
        let mut runs: Vec<PathBuf> =
            self.locations.iter().flat_map(|location| runs_in(location)).map(|(_, dir)| dir).collect();
        runs.sort_by(|a, b| b.file_name().cmp(&a.file_name()));
        let name = name.to_owned();
        runs.into_iter().filter_map(move |run| ours(&run.join(&name)))
    }
}

impl Secrets for Keyring {
    fn read(&self, name: &str) -> Result<Secret, String> {
        let credentials = lock(&self.credentials).clone();
        credentials.read(name).or_else(|why| {
            if !Credentials::is_name(name) {
                return Err(why);
            }
            let copy = self.copies(name).find_map(|bytes| String::from_utf8(bytes).ok());
            copy.map(Secret::new).ok_or(why)
        })
    }

    fn certificates(&self, path: &Path) -> Result<Vec<u8>, String> {
        read_at_most(path).or_else(|error| {
            let why = error.to_string();
            let why = why.split(" (os error").next().unwrap_or_default();
            let why =
                format!("the certificates `{}` cannot be read: {why}: put the CA's there", path.display());
            self.copies(&ca_copy(path)).next().ok_or(why)
        })
    }

    fn keep(&self, run: RunId, access: &Access) -> Result<(), String> {
        let Some(location) = self.locations.first() else { return Ok(()) };
        let names: BTreeSet<&str> = access.credentials().collect();
        let dir = location.join(run.to_string());
        for name in names {
            let secret = self.read(name)?;
            write(&dir, name, secret.expose().as_bytes())?;
        }
        if let Some(path) = &access.ca {
            write(&dir, &ca_copy(path), &self.certificates(path)?)?;
        }
        Ok(())
    }

    fn keep_only(&self, runs: &BTreeSet<RunId>) {
        for (run, dir) in self.locations.iter().flat_map(|location| runs_in(location)) {
            if !runs.contains(&run) {
                let _ = fs::remove_dir_all(dir);
            }
        }
    }

    fn release(&self, run: RunId) {
        for location in &self.locations {
            // Keep the parent directory: another run may be creating its own directory there.
            let _ = fs::remove_dir_all(location.join(run.to_string()));
        }
    }
}

/// File name of a copied CA file. A hash of the path distinguishes several CA files of one run.
fn ca_copy(path: &Path) -> String {
    let hash = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, path.as_os_str().as_encoded_bytes());
    format!("{CA}.{hash}")
}

fn runs_in(location: &Path) -> Vec<(RunId, PathBuf)> {
    let entries = fs::read_dir(location).into_iter().flatten().flatten().take(RUNS);
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))).collect()
}

/// Content of a copied file. `None` if its mode allows access by the group or by other users, or if it is a
/// link.
fn ours(path: &Path) -> Option<Vec<u8>> {
    let found = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    matches!(found.mode() & 0o077, 0).then(|| read_at_most(path).ok()).flatten()
}

fn read_at_most(path: &Path) -> std::io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(SIZE_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), String> {
    let written = (|| {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // Write to a new file and rename it, because another process may be reading the old file.
        let new = dir.join(format!(".{}.new", uuid::Uuid::now_v7()));
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?.write_all(bytes)?;
        fs::rename(new, dir.join(name))
    })();
    written.map_err(|error: std::io::Error| {
        let why = error.to_string();
        let why = why.split(" (os error").next().unwrap_or_default();
        format!(
            "what the resume needs cannot be copied to `{}`: {why}: free disk space there, and make it accessible to the daemon's user",
            dir.display()
        )
    })
}
