//! Configuration of a simulated cluster.
//!
//! Owns the version with its consequences, and the cluster's TOML table for a daemon's config.

use crate::sim::model::importer::App;
use crate::sim::model::timing::{Load, Timing};
use crate::sim::model::world::Exports;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Secondary storage of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// OpenSearch 2.19.1.
    OpenSearch,
    /// Elasticsearch 8.17.0.
    Elasticsearch,
    /// A relational database, from 8.9 on.
    Rdbms,
    /// Unknown: the cluster runs in Camunda 8 SaaS.
    Saas,
}

/// OAuth client id accepted by the simulated Camunda 8 SaaS.
pub const SAAS_CLIENT: &str = "sim-client";
/// Secret of that client.
pub const SAAS_SECRET: &str = "sim-secret";

impl FromStr for Storage {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "opensearch" => Ok(Self::OpenSearch),
            "elasticsearch" => Ok(Self::Elasticsearch),
            "rdbms" => Ok(Self::Rdbms),
            "saas" => Ok(Self::Saas),
            _ => Err(format!(
                "`{text}` is not a storage of the simulation: write elasticsearch, opensearch, rdbms or saas"
            )),
        }
    }
}

/// A Camunda version from 8.2.4 to 8.10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Minor version, 2 to 10.
    pub minor: u32,
    /// Patch version.
    pub patch: u32,
}

/// The first 8.2 with restorable backups.
const FIRST: Version = Version { minor: 2, patch: 4 };

impl FromStr for Version {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a version of the simulation: write 8.2.4 to 8.10, for example 8.6.0");
        let mut numbers = text.split('.').map(str::parse::<u32>);
        let (Some(Ok(8)), Some(Ok(minor @ 2..=10))) = (numbers.next(), numbers.next()) else {
            return Err(wrong());
        };
        let unsaid = if minor == FIRST.minor { FIRST.patch } else { 0 };
        let patch = numbers.next().unwrap_or(Ok(unsaid)).map_err(|_| wrong())?;
        let version = Self { minor, patch };
        if numbers.next().is_some() || version < FIRST { Err(wrong()) } else { Ok(version) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "8.{}.{}", self.minor, self.patch)
    }
}

impl Version {
    /// Whether `?soft=true` has an effect; earlier brokers ignore it and pause completely.
    pub fn has_soft_pause(self) -> bool {
        self >= Self { minor: 4, patch: 7 }
    }

    /// Whether one process serves everything, and its exporter writes the documents of Operate and Tasklist.
    pub fn is_unified(self) -> bool {
        self.minor >= 8
    }

    /// Path of the topology.
    pub fn topology_path(self) -> &'static str {
        if self.minor >= 6 { "/v2/topology" } else { "/v1/topology" }
    }

    /// Optimize's own version number: 3.10 to 3.13, then Camunda's.
    pub fn optimize(self) -> String {
        if self.minor >= 6 { self.to_string() } else { format!("3.{}.0", 8 + self.minor) }
    }
}

/// Configuration of one cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name; the host in memory is `sim-NAME`.
    pub name: String,
    /// Camunda version.
    pub version: Version,
    /// Secondary storage.
    pub storage: Storage,
    /// Number of partitions, at least one.
    pub partitions: usize,
    /// Whether the cluster has Optimize.
    pub optimize: bool,
    /// Whether the brokers keep their log until it is backed up (8.9 and later); they then generate the ids.
    pub continuous: bool,
    /// Interval of the brokers' own backups (8.9 and later); they then generate the ids.
    pub scheduler: Option<Duration>,
    /// Name of the only snapshot repository.
    pub repository: String,
    /// Seed of all random events.
    pub seed: u64,
    /// Durations of the cluster's operations.
    pub timing: Timing,
    /// Background load.
    pub load: Load,
}

impl Config {
    /// An 8.6.0 on OpenSearch with two partitions and without Optimize.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: Version { minor: 6, patch: 0 },
            storage: Storage::OpenSearch,
            partitions: 2,
            optimize: false,
            continuous: false,
            scheduler: None,
            repository: "camunda".into(),
            seed: 1,
            timing: Timing::default(),
            load: Load::default(),
        }
    }

    /// Returns an error if the combination of settings is invalid.
    pub fn check(&self) -> Result<(), String> {
        if self.storage == Storage::Rdbms && self.version.minor < 9 {
            return Err(format!(
                "Camunda {} has no rdbms storage (8.9 and later): write elasticsearch or opensearch",
                self.version
            ));
        }
        if self.version.minor < 9 && (self.continuous || self.scheduler.is_some()) {
            return Err(format!(
                "Camunda {} has no scheduled or continuous backups (8.9 and later): leave `continuous` and \
                 `scheduler` out",
                self.version
            ));
        }
        Ok(())
    }

    /// Whether brokers generate the ids of Zeebe backups.
    pub fn generates_ids(&self) -> bool {
        self.version.minor >= 9 && (self.continuous || self.scheduler.is_some())
    }

    /// The actuator endpoint of Zeebe backups.
    pub fn runtime_endpoint(&self) -> &'static str {
        if self.version.is_unified() { "backupRuntime" } else { "backups" }
    }

    /// The web apps with their own backups.
    pub fn apps(&self) -> Vec<App> {
        let mut apps = match (self.version.is_unified(), self.storage) {
            (_, Storage::Rdbms) => return Vec::new(),
            (true, _) => vec![App::History],
            (false, _) => vec![App::Operate, App::Tasklist],
        };
        apps.extend(self.optimize.then_some(App::Optimize));
        apps
    }

    /// Destination of the brokers' exporters.
    pub fn exports(&self) -> Exports {
        let direct = match (self.version.is_unified(), self.storage) {
            (_, Storage::Rdbms) => Some(App::Database),
            (true, _) => Some(App::History),
            (false, _) => None,
        };
        // Since 8.8 only Optimize reads records, so the old exporter runs only with Optimize.
        Exports { records: self.storage != Storage::Rdbms && (direct.is_none() || self.optimize), direct }
    }

    /// The cluster's TOML table for a daemon's config; its parts have path prefixes below `base`.
    pub fn daemon_table(&self, base: &str) -> String {
        let base = base.trim_end_matches('/');
        let name = &self.name;
        if self.storage == Storage::Saas {
            let (id, every) = (self.cluster_uuid(), self.timing.saas_interval.max(Duration::from_secs(1)));
            return format!(
                "[clusters.{name}.saas]\ncluster_id = \"{id}\"\nclient_id = \"{SAAS_CLIENT}\"\n\
                 client_secret = \"{SAAS_SECRET}\"\napi = \"{base}/saas\"\ntoken_url = \"{base}/saas/oauth/token\"\n\
                 min_interval = \"{}\"\n",
                humantime::format_duration(Duration::from_secs(every.as_secs()))
            );
        }
        let mut lines = vec![format!("[clusters.{name}.self_managed]")];
        let mut part = |name: &str| lines.push(format!("{name} = \"{base}/{name}\""));
        part("zeebe");
        for app in self.apps().into_iter().filter(|app| *app != App::History) {
            part(app.name());
        }
        part("rest");
        if self.storage == Storage::Rdbms {
            lines.push(format!("version = \"8.{}\"", self.version.minor));
            lines.push("storage = \"rdbms\"".to_owned());
        } else {
            let records = if self.exports().records { "zeebe-record*" } else { "none" };
            lines.push(format!(
                "search = {{ url = \"{base}/search\", repository = \"{}\", records = \"{records}\" }}",
                self.repository
            ));
        }
        lines.join("\n") + "\n"
    }

    /// Credential that a daemon needs for this cluster: its name, which is its text too.
    pub fn credential(&self) -> Option<&'static str> {
        (self.storage == Storage::Saas).then_some(SAAS_SECRET)
    }

    /// Generation name in Camunda 8 SaaS.
    pub fn generation(&self) -> String {
        format!("Camunda {}+gen1", self.version)
    }

    /// Cluster id in Camunda 8 SaaS.
    pub fn cluster_uuid(&self) -> String {
        uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, self.memory_url().as_bytes()).to_string()
    }

    /// Base URL in memory.
    pub fn memory_url(&self) -> String {
        format!("http://sim-{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_outside_8_2_4_to_8_10_are_rejected_by_name() {
        assert_eq!("8.6".parse(), Ok(Version { minor: 6, patch: 0 }));
        assert_eq!("8.2".parse(), Ok(Version { minor: 2, patch: 4 }));
        assert_eq!("8.10.1".parse(), Ok(Version { minor: 10, patch: 1 }));
        assert!("8.4.7".parse::<Version>().is_ok_and(Version::has_soft_pause));
        assert!("8.4.6".parse::<Version>().is_ok_and(|v| !v.has_soft_pause()));
        for wrong in ["8.2.3", "8.1", "8.11", "9.0", "8.6.0.1", "8"] {
            let error = format!(
                "`{wrong}` is not a version of the simulation: write 8.2.4 to 8.10, for example 8.6.0"
            );
            assert_eq!(wrong.parse::<Version>(), Err(error));
        }
    }

    #[test]
    fn relational_database_before_8_9_is_rejected() {
        let config = Config { storage: Storage::Rdbms, ..Config::named("orders") };
        assert_eq!(
            config.check(),
            Err("Camunda 8.6.0 has no rdbms storage (8.9 and later): write elasticsearch or opensearch"
                .into())
        );
        assert_eq!(Config { version: Version { minor: 9, patch: 0 }, ..config }.check(), Ok(()));
        assert_eq!(
            "oracle".parse::<Storage>(),
            Err(
                "`oracle` is not a storage of the simulation: write elasticsearch, opensearch, rdbms or saas"
                    .into()
            )
        );
    }

    fn parts(config: &Config) -> toml::Table {
        let table: toml::Table = toml::from_str(&config.daemon_table("http://127.0.0.1:9700/")).unwrap();
        table["clusters"]["orders"]["self_managed"].as_table().unwrap().clone()
    }

    #[test]
    fn daemon_table_contains_every_part() {
        let config = Config { optimize: true, ..Config::named("orders") };
        let parts = parts(&config);
        assert_eq!(parts["zeebe"].as_str(), Some("http://127.0.0.1:9700/zeebe"));
        assert_eq!(parts["optimize"].as_str(), Some("http://127.0.0.1:9700/optimize"));
        assert_eq!(parts["search"]["records"].as_str(), Some("zeebe-record*"));
    }

    #[test]
    fn daemon_table_omits_operate_and_tasklist_since_8_8() {
        let config = Config { version: Version { minor: 8, patch: 0 }, ..Config::named("orders") };
        let without = parts(&config);
        assert_eq!(without.keys().collect::<Vec<_>>(), ["rest", "search", "zeebe"]);
        assert_eq!(without["search"]["records"].as_str(), Some("none"));
        let with = parts(&Config { optimize: true, ..config.clone() });
        assert_eq!(with["search"]["records"].as_str(), Some("zeebe-record*"));
        let version = Version { minor: 10, patch: 0 };
        let database = parts(&Config { storage: Storage::Rdbms, version, ..config });
        assert_eq!(database.keys().collect::<Vec<_>>(), ["rest", "storage", "version", "zeebe"]);
        assert_eq!(database["storage"].as_str(), Some("rdbms"));
        assert_eq!(database["version"].as_str(), Some("8.10"));
    }
}
