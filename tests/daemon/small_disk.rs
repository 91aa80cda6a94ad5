//! A disk for the state that can be filled, emptied and broken under a running daemon.
//!
//! With the privilege to mount it is an ext4 of its own, really full and really read-only. Otherwise the writes of the
//! daemon fail by a limit on the size of its files, which needs no privileges. The kind in use is printed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) enum Disk {
    Mounted { at: PathBuf, image: PathBuf },
    Limited { at: PathBuf },
}

fn does(program: &str, words: &[&str]) -> bool {
    let output = Command::new(program).args(words).output();
    output.is_ok_and(|output| output.status.success())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Disk {
    /// In a directory that outlives it.
    pub(crate) fn in_directory(directory: &Path) -> Self {
        let (at, image) = (directory.join("disk"), directory.join("image"));
        std::fs::create_dir(&at).unwrap();
        std::fs::File::create(&image).unwrap().set_len(24 << 20).unwrap();
        let made = does("mkfs.ext4", &["-q", "-m", "0", "-b", "4096", text(&image)]);
        if made && does("mount", &["-o", "loop", text(&image), text(&at)]) {
            println!("the state is on an ext4 of its own");
            return Self::Mounted { at, image };
        }
        println!("no file system can be mounted here: the daemon's files are limited in size instead");
        Self::Limited { at }
    }

    pub(crate) fn is_mounted(&self) -> bool {
        matches!(self, Self::Mounted { .. })
    }

    /// Directory for the state.
    pub(crate) fn state(&self) -> PathBuf {
        let (Self::Mounted { at, .. } | Self::Limited { at }) = self;
        at.join("state")
    }

    /// No byte more can be written, by the process at least.
    pub(crate) fn fill(&self, process: Option<u32>) {
        match self {
            Self::Mounted { at, .. } => {
                let mut ballast = std::fs::File::create(at.join("ballast")).unwrap();
                for size in [1 << 16, 1 << 12, 1] {
                    while ballast.write_all(&vec![0x5A; size]).and_then(|()| ballast.sync_data()).is_ok() {}
                }
            }
            Self::Limited { .. } => limit(process, "--fsize=0:unlimited"),
        }
    }

    /// There is disk space again.
    pub(crate) fn free_space(&self, process: Option<u32>) {
        match self {
            Self::Mounted { at, .. } => std::fs::remove_file(at.join("ballast")).unwrap(),
            Self::Limited { .. } => limit(process, "--fsize=unlimited:unlimited"),
        }
    }

    /// Unmounts, and mounts again with these options. No process may have a file open.
    pub(crate) fn mount_again(&self, options: &str) {
        let Self::Mounted { at, image } = self else { return };
        // A child forked by a concurrent test keeps our files open until its exec.
        let free = || {
            does("umount", &[text(at)]) || {
                std::thread::sleep(std::time::Duration::from_millis(50));
                false
            }
        };
        assert!((0..100).any(|_| free()), "{} is in use", at.display());
        assert!(does("mount", &["-o", &format!("loop,{options}"), text(image), text(at)]));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Self::Mounted { at, .. } = self
            && !does("umount", &[text(at)])
        {
            does("umount", &["-l", text(at)]);
        }
    }
}

fn limit(process: Option<u32>, how: &str) {
    if let Some(process) = process {
        assert!(does("prlimit", &["--pid", &process.to_string(), how]), "prlimit is part of util-linux");
    }
}
