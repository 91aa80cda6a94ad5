//! Camunda versions: parsing and support.
//!
//! Owns the features implied by a version number. Must not contact a cluster.

use super::{Family, PauseMode};
use std::fmt;
use std::str::FromStr;

/// A Camunda version, from the config or from a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// `8` in 8.6.3.
    pub major: u32,
    /// `6` in 8.6.3.
    pub minor: u32,
    /// `3` in 8.6.3; `None` in 8.6.
    pub patch: Option<u32>,
    /// `alpha2`, `SNAPSHOT`.
    pub pre: Option<String>,
}

/// A version without a supported backup procedure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {help}")]
pub struct Unsupported {
    /// The problem.
    pub message: String,
    /// The remedy.
    pub help: &'static str,
}

impl Version {
    /// Whether the version is certainly at least this one; an unknown patch counts as zero.
    fn at_least(&self, major: u32, minor: u32, patch: u32) -> bool {
        (self.major, self.minor, self.patch.unwrap_or(0)) >= (major, minor, patch)
    }

    /// The backup procedure of this version. `rdbms`: the secondary storage is a relational database.
    pub fn family(&self, rdbms: bool) -> Result<Family, Unsupported> {
        let (message, help) = if (self.major, self.minor, self.patch) == (8, 2, None) {
            (
                format!("Camunda before 8.2.4 is not supported, and `{self}` has no patch number"),
                "write all three numbers, as in \"8.2.12\"",
            )
        } else if !self.at_least(8, 2, 4) {
            (format!("Camunda {self} is too old"), "upgrade the cluster to 8.2.4 or later")
        } else if self.at_least(8, 11, 0) {
            (
                format!("Camunda {self} is not yet supported"),
                "this release supports 8.2.4 to 8.10, use a newer camunda-backupd",
            )
        } else if rdbms && !self.at_least(8, 9, 0) {
            (
                format!("Camunda {self} does not support a relational database"),
                "remove storage = \"rdbms\" and add `search`",
            )
        } else if rdbms {
            return Ok(Family::V89OnRdbms);
        } else if self.at_least(8, 8, 0) {
            return Ok(Family::V88OnSearch);
        } else {
            return Ok(Family::V82To87);
        };
        Err(Unsupported { message, help })
    }

    /// Pause mode. 8.2 and 8.3 use the hard pause, because backports of the soft pause to them are not documented.
    pub fn pause(&self) -> PauseMode {
        if self.at_least(8, 4, 7) { PauseMode::Soft } else { PauseMode::Hard }
    }

    /// Whether the brokers report checkpoints and may generate backup ids.
    pub fn has_checkpoint_state(&self) -> bool {
        self.at_least(8, 9, 0)
    }

    /// Whether the REST API also has backups and exporting.
    pub fn has_rest_backups(&self) -> bool {
        self.at_least(8, 10, 0)
    }
}

impl FromStr for Version {
    type Err = String;

    /// Parses `8.6`, `8.6.0` and suffixes of builds, as in `8.7.0-alpha3` or `8.6.0-SNAPSHOT`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a Camunda version: write a version such as 8.6 or 8.6.3");
        let trimmed = text.trim();
        let (plain, _build) = trimmed.split_once('+').unwrap_or((trimmed, ""));
        let (numbers, pre) = match plain.split_once('-') {
            Some((numbers, pre)) if !pre.is_empty() => (numbers, Some(pre.to_owned())),
            Some(_) => return Err(bad()),
            None => (plain, None),
        };
        let number = |part: &str| -> Result<u32, String> {
            if part.is_empty() || part.len() > 6 || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(bad());
            }
            part.parse().map_err(|_| bad())
        };
        let parts: Vec<&str> = numbers.split('.').collect();
        let (major, minor, patch) = match parts.as_slice() {
            [major, minor] => (number(major)?, number(minor)?, None),
            [major, minor, patch] => (number(major)?, number(minor)?, Some(number(patch)?)),
            _ => return Err(bad()),
        };
        let fits = |pre: &String| {
            pre.len() <= 40 && pre.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
        };
        if pre.as_ref().is_some_and(|pre| !fits(pre)) {
            return Err(bad());
        }
        Ok(Self { major, minor, patch, pre })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if let Some(patch) = self.patch {
            write!(f, ".{patch}")?;
        }
        match &self.pre {
            Some(pre) => write!(f, "-{pre}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[rstest]
    #[case("8.6", "8.6")]
    #[case(" 8.6.0 ", "8.6.0")]
    #[case("8.7.0-alpha2", "8.7.0-alpha2")]
    #[case("8.5.8-SNAPSHOT", "8.5.8-SNAPSHOT")]
    #[case("8.6.3+build7", "8.6.3")]
    fn valid_versions_are_parsed(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(version(text).to_string(), shown);
    }

    #[rstest]
    #[case("")]
    #[case("8")]
    #[case("8.6.0.1")]
    #[case("8.x")]
    #[case("8.6.-1")]
    #[case("8.6.0-")]
    #[case("+8.6")]
    #[case("8.99999999999")]
    #[case("8.6.0-a b")]
    fn invalid_versions_are_rejected(#[case] text: &str) {
        let error = text.parse::<Version>().unwrap_err();
        assert_eq!(error, format!("`{text}` is not a Camunda version: write a version such as 8.6 or 8.6.3"));
    }

    #[rstest]
    #[case("8.2.3", "Camunda 8.2.3 is too old: upgrade the cluster to 8.2.4 or later")]
    #[case(
        "8.2",
        "Camunda before 8.2.4 is not supported, and `8.2` has no patch number: write all three numbers, as in \"8.2.12\""
    )]
    #[case("7.22.0", "Camunda 7.22.0 is too old: upgrade the cluster to 8.2.4 or later")]
    #[case(
        "8.11.0",
        "Camunda 8.11.0 is not yet supported: this release supports 8.2.4 to 8.10, use a newer camunda-backupd"
    )]
    #[case(
        "9.0.0-alpha1",
        "Camunda 9.0.0-alpha1 is not yet supported: this release supports 8.2.4 to 8.10, use a newer camunda-backupd"
    )]
    fn unsupported_versions_are_rejected_with_remedy(#[case] text: &str, #[case] error: &str) {
        assert_eq!(version(text).family(false).unwrap_err().to_string(), error);
    }

    #[rstest]
    #[case("8.2.4", PauseMode::Hard)]
    #[case("8.3.19", PauseMode::Hard)]
    #[case("8.4.6", PauseMode::Hard)]
    #[case("8.4.7", PauseMode::Soft)]
    #[case("8.4", PauseMode::Hard)]
    #[case("8.5", PauseMode::Soft)]
    #[case("8.5.0", PauseMode::Soft)]
    #[case("8.7.12", PauseMode::Soft)]
    fn soft_pause_only_from_the_documented_version(#[case] text: &str, #[case] pause: PauseMode) {
        assert_eq!(version(text).family(false), Ok(Family::V82To87));
        assert_eq!(version(text).pause(), pause);
    }

    #[rstest]
    #[case("8.7.9", false, Ok(Family::V82To87))]
    #[case("8.8.0-alpha1", false, Ok(Family::V88OnSearch))]
    #[case("8.8", false, Ok(Family::V88OnSearch))]
    #[case("8.10.2", false, Ok(Family::V88OnSearch))]
    #[case("8.9.0", true, Ok(Family::V89OnRdbms))]
    #[case("8.10", true, Ok(Family::V89OnRdbms))]
    #[case(
        "8.8.4",
        true,
        Err(
            "Camunda 8.8.4 does not support a relational database: remove storage = \"rdbms\" and add `search`"
        )
    )]
    fn each_version_has_one_procedure(
        #[case] text: &str,
        #[case] rdbms: bool,
        #[case] family: Result<Family, &str>,
    ) {
        assert_eq!(version(text).family(rdbms).map_err(|e| e.to_string()), family.map_err(str::to_owned));
    }
}
