//! Camunda versions as operators write them and clusters report them.
//!
//! Owns reading a version and saying whether it can be backed up. Must not know how a backup is taken.

use crate::domain::Family;
use std::fmt;
use std::str::FromStr;

/// A Camunda version; the patch may be unknown where only `8.6` was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// `8` in 8.6.3.
    pub major: u32,
    /// `6` in 8.6.3.
    pub minor: u32,
    /// `3` in 8.6.3; `None` where it was not given.
    pub patch: Option<u32>,
}

impl Version {
    /// True when it is surely that version or a later one: an unknown patch counts as zero.
    pub fn at_least(self, major: u32, minor: u32, patch: u32) -> bool {
        (self.major, self.minor, self.patch.unwrap_or(0)) >= (major, minor, patch)
    }

    /// The procedure of this version, or why there is none.
    pub fn family(self) -> Result<Family, Unsupported> {
        let (message, help) = match (self.major, self.minor) {
            (8, 2) if self.patch.is_none() => (
                format!(
                    "Camunda before 8.2.4 cannot be backed up, and `{self}` does not say which patch it is"
                ),
                "write all three numbers, as in \"8.2.12\"",
            ),
            _ if !self.at_least(8, 2, 4) => (
                format!("Camunda before 8.2.4 cannot be backed up, and this is {self}"),
                "upgrade the cluster first",
            ),
            (8, 2..=7) => return Ok(Family::V82To87),
            _ => {
                (format!("Camunda {self} is not yet supported"), "only 8.2.4 to 8.7 can be backed up for now")
            }
        };
        Err(Unsupported { message, help })
    }
}

/// Why a version cannot be backed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: &'static str,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.help)
    }
}

impl std::error::Error for Unsupported {}

impl FromStr for Version {
    type Err = String;

    /// Reads `8.6`, `8.6.0` and what builds append, as in `8.7.0-alpha3` or `8.6.0-SNAPSHOT`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a Camunda version: write it as 8.6 or 8.6.3");
        let plain = text.trim().split(['-', '+']).next().unwrap_or_default();
        let mut numbers = plain.split('.').map(str::parse::<u32>);
        let major = numbers.next().and_then(Result::ok).ok_or_else(wrong)?;
        let minor = numbers.next().and_then(Result::ok).ok_or_else(wrong)?;
        let patch = numbers.next().transpose().map_err(|_| wrong())?;
        if numbers.next().is_some() {
            return Err(wrong());
        }
        Ok(Self { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        self.patch.map_or(Ok(()), |patch| write!(f, ".{patch}"))
    }
}
