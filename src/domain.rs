//! Core types and their names, which are the same in config, code, API, logs and metrics.
//!
//! Owns the types used by every module. Must not do IO, read a clock or use any other module.

mod access;
mod exporting;
mod identity;
mod ownership_proof;
mod profile;
mod version;

pub use access::{Access, Identity, Login, Oauth, Secret};
use chrono::{DateTime, Utc};
pub use exporting::{Exporting, ExportingProbe};
pub use identity::{OwnershipTag, id_scope};
pub use ownership_proof::OwnershipProof;
pub use profile::Profile;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use uuid::Uuid;
pub use version::{Unsupported, Version};

/// A point in time, in UTC.
pub type Instant = DateTime<Utc>;

/// Text of an instant in API and log: RFC 3339 in UTC with `Z`, milliseconds.
pub fn instant_text(at: Instant) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Numeric backup id, equal in all components of a backup; greater than zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct BackupId(i64);

impl BackupId {
    /// `None` for zero and negative values: Camunda rejects these, except that some web apps accept `0` silently.
    pub fn new(value: i64) -> Option<Self> {
        (value > 0).then_some(Self(value))
    }

    /// The number for URLs and bodies.
    pub fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for BackupId {
    type Error = String;
    fn try_from(value: i64) -> Result<Self, String> {
        Self::new(value).ok_or_else(|| format!("backup id {value} is not a positive number"))
    }
}

impl From<BackupId> for i64 {
    fn from(id: BackupId) -> i64 {
        id.0
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl std::str::FromStr for BackupId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let value: i64 =
            text.parse().map_err(|_| format!("`{text}` is not a backup id: write a positive number"))?;
        Self::try_from(value)
    }
}

/// Id of a run, one attempt to take a backup. UUID v7, so run ids sort by creation time.
pub type RunId = Uuid;

/// A part of the cluster that is backed up through one API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Component {
    /// State and log of the brokers.
    Zeebe,
    /// Up to 8.7.
    Operate,
    /// Up to 8.7, beside Operate.
    Tasklist,
    /// Operate and Tasklist in one application, from 8.8.
    History,
    /// Any version.
    Optimize,
    /// The snapshot of the exported `zeebe-record*` indices.
    Records,
    /// The whole cluster, in Camunda 8 SaaS.
    Saas,
}

impl Component {
    /// Every component, in display order.
    pub const ALL: [Self; 7] = [
        Self::Operate,
        Self::Tasklist,
        Self::History,
        Self::Optimize,
        Self::Records,
        Self::Zeebe,
        Self::Saas,
    ];

    /// Name in config, API, logs and state file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zeebe => "zeebe",
            Self::Operate => "operate",
            Self::Tasklist => "tasklist",
            Self::History => "history",
            Self::Optimize => "optimize",
            Self::Records => "records",
            Self::Saas => "saas",
        }
    }

    /// Inverse of `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    /// Components in a backup that the provider takes, completes and prunes as a whole; `None` for a part that this daemon
    /// takes and deletes.
    pub fn taken_by_provider(self) -> Option<&'static [Self]> {
        match self {
            // The backup list of Camunda 8 SaaS does not show whether Optimize is included.
            Self::Saas => Some(&[Self::Zeebe, Self::Operate, Self::Tasklist]),
            _ => None,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Versions with one common backup procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// 8.2.4 to 8.7: web apps first, then records and Zeebe inside the pause.
    #[serde(rename = "8.2-8.7")]
    V82To87,
    /// 8.8 and later with Elasticsearch or OpenSearch: everything inside the pause.
    #[serde(rename = "8.8+")]
    V88OnSearch,
    /// 8.9 and later with a relational database: only Zeebe, without a pause.
    #[serde(rename = "8.9+ rdbms")]
    V89OnRdbms,
    /// Camunda 8 SaaS, from 8.2.4: one request to the Administration API.
    #[serde(rename = "saas")]
    Saas,
}

impl Family {
    /// Display name.
    pub fn name(self) -> &'static str {
        match self {
            Self::V82To87 => "8.2-8.7",
            Self::V88OnSearch => "8.8+",
            Self::V89OnRdbms => "8.9+ rdbms",
            Self::Saas => "saas",
        }
    }
}

/// Backup APIs of a cluster; detected by the probe, stored with the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Routes {
    /// API of Zeebe.
    pub runtime: RuntimeRoute,
    /// API of Operate and Tasklist in one application.
    pub history: HistoryRoute,
}

/// Backup API of Zeebe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeRoute {
    /// `/actuator/backups`: up to 8.7, and standalone brokers of later versions.
    #[default]
    Backups,
    /// `/actuator/backupRuntime`, from 8.8.
    BackupRuntime,
    /// `/v2/backups/runtime` and `/v2/exporting`, from 8.10, without a configured management port.
    Rest,
}

/// Backup API of Operate and Tasklist in one application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryRoute {
    /// Separate applications, or none.
    #[default]
    None,
    /// `/actuator/backupHistory`, from 8.8.
    Actuator,
    /// `/v2/backups/history`, from 8.10.
    Rest,
}

/// Soft: exporting continues, but positions are not acknowledged. Hard: no records are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PauseMode {
    /// `?soft=true`, from 8.4.7.
    Soft,
    /// Before 8.4.7.
    Hard,
}

impl PauseMode {
    /// Display name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Hard => "hard",
        }
    }
}

/// One due instant of one schedule for one cluster. Each occurrence starts at most one run (rule I5).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Occurrence {
    /// Due time, before spread.
    pub due_at: Instant,
    /// Key of the schedule.
    pub schedule: String,
    /// Key of the cluster.
    pub cluster: String,
}

/// Cause of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// One or more occurrences of schedules.
    Schedule,
    /// `backup CLUSTER`.
    Manual,
}

/// Group of backups of one cluster that one retention rule counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum RetentionGroup {
    /// Backups of the schedule of this name.
    Schedule(String),
    /// Manual backups.
    Manual,
    /// Backups registered by `adopt` after the state was lost.
    Adopted,
}

impl From<RetentionGroup> for String {
    fn from(group: RetentionGroup) -> String {
        match group {
            RetentionGroup::Schedule(name) => format!("schedule:{name}"),
            RetentionGroup::Manual => "manual".into(),
            RetentionGroup::Adopted => "adopted".into(),
        }
    }
}

impl From<String> for RetentionGroup {
    fn from(text: String) -> Self {
        match text.as_str() {
            "manual" => Self::Manual,
            "adopted" => Self::Adopted,
            other => Self::Schedule(other.strip_prefix("schedule:").unwrap_or(other).to_owned()),
        }
    }
}

impl fmt::Display for RetentionGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(self.clone()))
    }
}

/// State of a backup in CLI, API and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupState {
    /// Waiting for the cluster.
    Queued,
    /// The run is active.
    Running,
    /// The run ended with a whole backup: every component is complete and verified (rule I6).
    Completed,
    /// The run ended without a whole backup.
    Failed,
    /// Deletion requested, absence not yet verified.
    Deleting,
    /// Deleted by us, absence verified in every component.
    Deleted,
    /// Found absent, not deleted by us.
    Missing,
}

impl BackupState {
    /// Name in API and state file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
            Self::Missing => "missing",
        }
    }

    /// Inverse of `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        use BackupState::{Completed, Deleted, Deleting, Failed, Missing, Queued, Running};
        [Queued, Running, Completed, Failed, Deleting, Deleted, Missing]
            .into_iter()
            .find(|s| s.name() == name)
    }
}

/// Number of backups that a retention group keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// Completed backups to keep.
    pub successful: u32,
    /// Failed runs to keep.
    pub failed: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self { successful: 3, failed: 3 }
    }
}

/// Limits of a run; config `[clusters.NAME.limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Maximum duration of a run.
    pub run_deadline: Duration,
    /// Maximum duration of the pause, from its intent to the first resume request.
    pub pause_budget: Duration,
    /// Maximum time without progress of a component.
    pub stall_after: Duration,
    /// Minimum free disk space of each broker during a pause; `None`: no check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_free_disk: Option<MinDiskSpace>,
}

/// Minimum free disk space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MinDiskSpace {
    /// Absolute size.
    Bytes(u64),
    /// Percentage of the disk.
    Percent(u8),
}

impl MinDiskSpace {
    /// The minimum in bytes for a disk of `total` bytes.
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => total / 100 * u64::from(percent),
        }
    }
}

impl std::fmt::Display for MinDiskSpace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => f.write_str(&bytes_text(*bytes)),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// A size for display, for example `1.5 GiB`.
pub fn bytes_text(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..0x10_0000 => return format!("{bytes} bytes"),
        0x10_0000..0x4000_0000 => (0x10_0000, "MiB"),
        0x4000_0000..0x100_0000_0000 => (0x4000_0000, "GiB"),
        _ => (0x100_0000_0000_u64, "TiB"),
    };
    let tenths = bytes.saturating_mul(10) / unit;
    match tenths % 10 {
        0 => format!("{} {name}", tenths / 10),
        rest => format!("{}.{rest} {name}", tenths / 10),
    }
}

impl Default for Limits {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self {
            run_deadline: minutes(4 * 60),
            pause_budget: minutes(45),
            stall_after: minutes(15),
            min_free_disk: None,
        }
    }
}

/// Addresses of one cluster: everything that a pending resume needs without the config file. Base URLs are everything before `/actuator` (management) or `/v1` and `/v2` (rest), without a trailing slash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Management URL of a broker or gateway; the REST URL if only the REST API is used.
    pub zeebe: String,
    /// Management URL of Operate.
    pub operate: Option<String>,
    /// Management URL of Tasklist.
    pub tasklist: Option<String>,
    /// Management URL of Optimize.
    pub optimize: Option<String>,
    /// REST URL, for the topology.
    pub rest: Option<String>,
    /// Management URLs of all brokers; required to read exporter phases if `zeebe` is a gateway.
    pub brokers: Vec<String>,
    /// The search engine; `None` with a relational database.
    pub search: Option<SearchAddress>,
    /// Backup APIs; the default before the first probe.
    #[serde(default)]
    pub routes: Routes,
    /// Camunda 8 SaaS: the Administration API, and no other address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saas: Option<SaasAddress>,
    /// Access settings by component name, or `rest` or `search`. Components without login, certificate and proxy have
    /// no entry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub access: BTreeMap<String, Access>,
}

/// A Camunda 8 SaaS cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaasAddress {
    /// Base URL of the Administration API: everything before `/clusters`.
    pub api: String,
    /// UUID of the cluster, as shown in Console.
    pub cluster_id: String,
    /// Minimum time between two backups. Configurable, because the documented value has changed several times.
    pub min_interval: Duration,
    /// Number of completed backups that Camunda 8 SaaS keeps; it deletes older ones itself.
    pub max_backups: u32,
}

/// The search engine that holds exported records and snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchAddress {
    /// Base URL.
    pub url: String,
    /// Snapshot repository of the records snapshot.
    pub repository: String,
    /// Snapshot repository of the web apps, usually the same.
    pub webapps_repository: String,
    /// Index pattern of the exported records, `zeebe-record*` by default; `None`: no component needs them.
    pub records: Option<String>,
}
