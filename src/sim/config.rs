//! What a simulated cluster is asked to be.
//!
//! Owns the version and what it changes, and the TOML by which a daemon is pointed at the cluster.

use super::timing::{Load, Timing};
use std::fmt;
use std::str::FromStr;

/// The search engine beside the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// OpenSearch 2.19.1.
    OpenSearch,
    /// Elasticsearch 8.17.0.
    Elasticsearch,
}

impl FromStr for Engine {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "opensearch" => Ok(Self::OpenSearch),
            "elasticsearch" => Ok(Self::Elasticsearch),
            _ => Err(format!(
                "`{text}` is not a storage the simulation has: write opensearch or elasticsearch"
            )),
        }
    }
}

/// A Camunda version from 8.2 to 8.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 2 to 7.
    pub minor: u32,
    /// Patch.
    pub patch: u32,
}

impl FromStr for Version {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a version the simulation speaks: write 8.2 to 8.7, as in 8.6.0");
        let mut numbers = text.split('.').map(str::parse::<u32>);
        let (Some(Ok(8)), Some(Ok(minor @ 2..=7))) = (numbers.next(), numbers.next()) else {
            return Err(wrong());
        };
        let patch = numbers.next().unwrap_or(Ok(0)).map_err(|_| wrong())?;
        if numbers.next().is_some() { Err(wrong()) } else { Ok(Self { minor, patch }) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "8.{}.{}", self.minor, self.patch)
    }
}

impl Version {
    /// Whether `?soft=true` is understood; earlier brokers ignore it and pause hard.
    pub fn has_soft_pause(self) -> bool {
        self >= Self { minor: 4, patch: 7 }
    }

    /// Where the topology lies.
    pub fn topology_path(self) -> &'static str {
        if self.minor >= 6 { "/v2/topology" } else { "/v1/topology" }
    }

    /// Optimize's own version number: 3.10 to 3.13, then Camunda's.
    pub fn optimize(self) -> String {
        if self.minor >= 6 { self.to_string() } else { format!("3.{}.0", 8 + self.minor) }
    }
}

/// A simulated cluster to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name: the host `sim-NAME` in memory.
    pub name: String,
    /// The version it speaks.
    pub version: Version,
    /// Its search engine.
    pub engine: Engine,
    /// Partitions, at least one.
    pub partitions: usize,
    /// Whether there is an Optimize.
    pub optimize: bool,
    /// The snapshot repository there is.
    pub repository: String,
    /// Seed of everything that happens by chance.
    pub seed: u64,
    /// How long things take.
    pub timing: Timing,
    /// What users do meanwhile.
    pub load: Load,
}

impl Config {
    /// An 8.6.0 on OpenSearch with two partitions and without Optimize.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: Version { minor: 6, patch: 0 },
            engine: Engine::OpenSearch,
            partitions: 2,
            optimize: false,
            repository: "camunda".into(),
            seed: 1,
            timing: Timing::default(),
            load: Load::default(),
        }
    }

    /// The table that points a daemon at it, its parts lying under path prefixes of `base`.
    pub fn daemon_table(&self, base: &str) -> String {
        let base = base.trim_end_matches('/');
        let name = &self.name;
        let optimize =
            if self.optimize { format!("optimize = \"{base}/optimize\"\n") } else { String::new() };
        format!(
            "[clusters.{name}.self_managed]\n\
             zeebe = \"{base}/zeebe\"\n\
             operate = \"{base}/operate\"\n\
             tasklist = \"{base}/tasklist\"\n\
             {optimize}\
             rest = \"{base}/rest\"\n\
             search = {{ url = \"{base}/search\", repository = \"{repository}\", records = \"zeebe-record*\" }}\n",
            repository = self.repository,
        )
    }

    /// Where it answers in memory.
    pub fn memory_url(&self) -> String {
        format!("http://sim-{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_outside_8_2_to_8_7_are_refused_by_name() {
        assert_eq!("8.6".parse(), Ok(Version { minor: 6, patch: 0 }));
        assert!("8.4.7".parse::<Version>().is_ok_and(Version::has_soft_pause));
        assert!("8.4.6".parse::<Version>().is_ok_and(|v| !v.has_soft_pause()));
        assert_eq!(
            "8.10".parse::<Version>(),
            Err("`8.10` is not a version the simulation speaks: write 8.2 to 8.7, as in 8.6.0".into())
        );
    }

    #[test]
    fn the_daemon_table_names_every_part() {
        let config = Config { optimize: true, ..Config::named("orders") };
        let table: toml::Table = toml::from_str(&config.daemon_table("http://127.0.0.1:9700/")).unwrap();
        let parts = &table["clusters"]["orders"]["self_managed"];
        assert_eq!(parts["zeebe"].as_str(), Some("http://127.0.0.1:9700/zeebe"));
        assert_eq!(parts["optimize"].as_str(), Some("http://127.0.0.1:9700/optimize"));
        assert_eq!(parts["search"]["records"].as_str(), Some("zeebe-record*"));
    }
}
