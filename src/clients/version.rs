//! Camunda versions: parsing, order, and which of them are supported how.
//!
//! Owns what a version number implies. Must not ask anybody.

use crate::domain::{Family, PauseMode};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;

/// A Camunda version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Version {
    /// `8`.
    pub major: u32,
    /// `6`.
    pub minor: u32,
    /// `0`, also where the text has none.
    pub patch: u32,
    /// `alpha2`, `SNAPSHOT`.
    pub pre: Option<String>,
}

impl Version {
    /// The family, or one sentence why this version cannot be backed up.
    pub fn family(&self) -> Result<Family, String> {
        let numbers = (self.major, self.minor, self.patch);
        if numbers < (8, 2, 4) {
            return Err(format!(
                "Camunda {self} is too old: backups need 8.2.4 or later, upgrade the cluster."
            ));
        }
        if numbers >= (8, 8, 0) {
            return Err(format!(
                "Camunda {self} is not yet supported: this version knows 8.2.4 to 8.7, wait for a newer camunda-backupd."
            ));
        }
        Ok(Family::V82To87)
    }

    /// How exporting is paused: the backports of soft pause to 8.2 and 8.3 are not documented, so hard there.
    pub fn pause(&self) -> PauseMode {
        if (self.major, self.minor, self.patch) >= (8, 4, 7) { PauseMode::Soft } else { PauseMode::Hard }
    }
}

impl std::str::FromStr for Version {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a Camunda version: write it like 8.6.0");
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
            [major, minor] => (number(major)?, number(minor)?, 0),
            [major, minor, patch] => (number(major)?, number(minor)?, number(patch)?),
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

impl TryFrom<String> for Version {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let numbers = |v: &Self| (v.major, v.minor, v.patch);
        numbers(self).cmp(&numbers(other)).then_with(|| match (&self.pre, &other.pre) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) => a.cmp(b),
        })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
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
    #[case("8.6", "8.6.0")]
    #[case(" 8.6.0 ", "8.6.0")]
    #[case("8.7.0-alpha2", "8.7.0-alpha2")]
    #[case("8.5.8-SNAPSHOT", "8.5.8-SNAPSHOT")]
    #[case("8.6.3+build7", "8.6.3")]
    fn is_read(#[case] text: &str, #[case] shown: &str) {
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
    fn is_refused(#[case] text: &str) {
        let error = text.parse::<Version>().unwrap_err();
        assert_eq!(error, format!("`{text}` is not a Camunda version: write it like 8.6.0"));
    }

    #[test]
    fn a_release_comes_after_its_alphas_and_numbers_count_as_numbers() {
        assert!(version("8.7.0-alpha2") < version("8.7.0"));
        assert!(version("8.6.9") < version("8.6.10"));
        assert!(version("8.6.99") < version("8.7.0-alpha1"));
    }

    #[rstest]
    #[case("8.2.3", "Camunda 8.2.3 is too old: backups need 8.2.4 or later, upgrade the cluster.")]
    #[case("7.22.0", "Camunda 7.22.0 is too old: backups need 8.2.4 or later, upgrade the cluster.")]
    #[case(
        "8.8.0",
        "Camunda 8.8.0 is not yet supported: this version knows 8.2.4 to 8.7, wait for a newer camunda-backupd."
    )]
    #[case(
        "8.8.0-alpha1",
        "Camunda 8.8.0-alpha1 is not yet supported: this version knows 8.2.4 to 8.7, wait for a newer camunda-backupd."
    )]
    fn outside_the_family_is_refused_with_what_to_do(#[case] text: &str, #[case] error: &str) {
        assert_eq!(version(text).family().unwrap_err(), error);
    }

    #[rstest]
    #[case("8.2.4", PauseMode::Hard)]
    #[case("8.3.19", PauseMode::Hard)]
    #[case("8.4.6", PauseMode::Hard)]
    #[case("8.4.7", PauseMode::Soft)]
    #[case("8.5.0", PauseMode::Soft)]
    #[case("8.7.12", PauseMode::Soft)]
    fn soft_pause_only_where_it_is_documented(#[case] text: &str, #[case] pause: PauseMode) {
        assert_eq!(version(text).family(), Ok(Family::V82To87));
        assert_eq!(version(text).pause(), pause);
    }
}
