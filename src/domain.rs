//! Vocabulary: one word per thing, the same in config, code, API, logs and metrics.
//!
//! Owns the plain types every module may know. Must not do IO, read a clock or know any other module.

mod access;
mod exporting;
mod version;

pub use access::{Access, Identity, Login, Oauth, Secret};
use chrono::{DateTime, Utc};
pub use exporting::Exporting;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use uuid::Uuid;
pub use version::{Unsupported, Version};

/// An instant on the wall clock, always UTC.
pub type Instant = DateTime<Utc>;

/// An instant as routes and log say it: RFC 3339 in UTC with `Z`, milliseconds.
pub fn instant_text(at: Instant) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Numeric backup id: one per backup, the same in every component; `i64`, more than zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct BackupId(i64);

impl BackupId {
    /// The id, unless it is zero or negative: Camunda refuses those, and some web apps take `0` silently.
    pub fn new(value: i64) -> Option<Self> {
        (value > 0).then_some(Self(value))
    }

    /// The number as it goes into URLs and bodies.
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

/// One attempt to take a backup. UUID v7, so that run ids sort by the time they were made.
pub type RunId = Uuid;

/// What is backed up through one API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Component {
    /// The brokers' own state and log.
    Zeebe,
    /// Operate, up to 8.7.
    Operate,
    /// Tasklist, up to 8.7.
    Tasklist,
    /// Operate and Tasklist together, from 8.8.
    History,
    /// Optimize.
    Optimize,
    /// The snapshot of the exported `zeebe-record*` indices.
    Records,
    /// Everything together, where the provider runs the cluster and takes the backup.
    Saas,
}

impl Component {
    /// Every component, in the order in which reports name them.
    pub const ALL: [Self; 7] = [
        Self::Operate,
        Self::Tasklist,
        Self::History,
        Self::Optimize,
        Self::Records,
        Self::Zeebe,
        Self::Saas,
    ];

    /// The name used in config, API, logs and the state file.
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

    /// The component of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Versions that share one procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// 8.2.4 to 8.7: web apps first, then the pause around records and Zeebe.
    #[serde(rename = "8.2-8.7")]
    V82To87,
    /// 8.8 and later on Elasticsearch or OpenSearch: the pause first, around everything.
    #[serde(rename = "8.8+")]
    V88OnSearch,
    /// 8.9 and later on a relational database: Zeebe alone, and no pause.
    #[serde(rename = "8.9+ rdbms")]
    V89OnRdbms,
    /// Camunda's own cloud, from 8.2.4: asked by the Administration API, and the provider does the rest.
    #[serde(rename = "saas")]
    Saas,
}

impl Family {
    /// The name that reports use.
    pub fn name(self) -> &'static str {
        match self {
            Self::V82To87 => "8.2-8.7",
            Self::V88OnSearch => "8.8+",
            Self::V89OnRdbms => "8.9+ rdbms",
            Self::Saas => "saas",
        }
    }
}

/// By which of its APIs a cluster's own backups are asked for; found by the probe, kept with the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Routes {
    /// Of Zeebe.
    pub runtime: RuntimeRoute,
    /// Of Operate and Tasklist together.
    pub history: HistoryRoute,
}

/// Where Zeebe's own backups are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeRoute {
    /// `/actuator/backups`: up to 8.7, and standalone brokers of later versions.
    #[default]
    Backups,
    /// `/actuator/backupRuntime`, from 8.8.
    BackupRuntime,
    /// `/v2/backups/runtime` and `/v2/exporting`, from 8.10, where no management port is configured.
    Rest,
}

/// Where the backups of Operate and Tasklist together are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryRoute {
    /// Nowhere: each has its own, or there are none.
    #[default]
    None,
    /// `/actuator/backupHistory`, from 8.8.
    Actuator,
    /// `/v2/backups/history`, from 8.10.
    Rest,
}

/// How exporting is held still: soft keeps exporting and only stops acknowledging, hard stops the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PauseMode {
    /// `?soft=true`; 8.4.7 and later.
    Soft,
    /// Older versions.
    Hard,
}

impl PauseMode {
    /// `soft` or `hard`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Hard => "hard",
        }
    }
}

/// The unit of "exactly once": one due instant of one schedule for one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Occurrence {
    /// When it was due; before spread.
    pub due_at: Instant,
    /// Schedule name.
    pub schedule: String,
    /// Cluster name.
    pub cluster: String,
}

/// Why a run exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// One or more occurrences.
    Schedule,
    /// `backup CLUSTER`.
    Manual,
}

/// Backups that one retention rule counts together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum RetentionGroup {
    /// The backups of one schedule (of one cluster; pools never span clusters).
    Schedule(String),
    /// Backups asked for by hand.
    Manual,
    /// Backups taken over by `adopt` after the state was lost.
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

/// What has become of a backup, as every surface shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupState {
    /// Waiting for its turn.
    Queued,
    /// Being taken.
    Running,
    /// Meets rule I6.
    Completed,
    /// Anything else that ended.
    Failed,
    /// Deletion asked for, not yet verified gone.
    Deleting,
    /// Verified gone from every place, by us.
    Deleted,
    /// Found gone, by whom unknown.
    Missing,
}

impl BackupState {
    /// The name used in API and state file.
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

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        use BackupState::{Completed, Deleted, Deleting, Failed, Missing, Queued, Running};
        [Queued, Running, Completed, Failed, Deleting, Deleted, Missing]
            .into_iter()
            .find(|s| s.name() == name)
    }
}

/// How many backups a pool keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// Newest completed backups that stay.
    pub successful: u32,
    /// Newest failed runs that stay.
    pub failed: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self { successful: 3, failed: 3 }
    }
}

/// How long things may take; config `[clusters.NAME.limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// A run that takes longer is ended.
    pub run_deadline: Duration,
    /// Exporting that is paused for longer, from the pause's intent to our first resume, ends the run.
    pub pause_budget: Duration,
    /// A component without progress for so long ends the run.
    pub stall_after: Duration,
    /// With less room on a broker's disk exporting is not paused, or not any longer; `None` looks at no disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_free_disk: Option<MinDiskSpace>,
}

/// Room that must be left on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MinDiskSpace {
    /// So many bytes.
    Bytes(u64),
    /// So many percent of the disk.
    Percent(u8),
}

impl MinDiskSpace {
    /// The same in bytes, of a disk of that size.
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

/// `1.5 GiB`, for a sentence.
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

/// Where one cluster's components are reached; everything a debt needs to be paid without the config file.
/// Base URLs are everything before `/actuator` (management) or `/v1` and `/v2` (rest), without a trailing slash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Management URL of a broker or gateway; where the REST API alone is used, that.
    pub zeebe: String,
    /// Management URL of Operate.
    pub operate: Option<String>,
    /// Management URL of Tasklist.
    pub tasklist: Option<String>,
    /// Management URL of Optimize.
    pub optimize: Option<String>,
    /// REST URL, for the topology.
    pub rest: Option<String>,
    /// Every broker's management URL, so that exporter phases can be read where `zeebe` is a gateway.
    pub brokers: Vec<String>,
    /// The search engine; `None` where Camunda keeps its data in a relational database.
    pub search: Option<SearchAddress>,
    /// By which APIs backups are asked for; the default until the cluster was asked.
    #[serde(default)]
    pub routes: Routes,
    /// The Administration API, where the provider runs the cluster: then there is no other address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saas: Option<SaasAddress>,
    /// What a component wants of those who reach it: by the component's name, or `rest` or `search`; those that want
    /// nothing are not named.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub access: BTreeMap<String, Access>,
}

/// A cluster of Camunda's own cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaasAddress {
    /// Base URL of the Administration API: everything before `/clusters`.
    pub api: String,
    /// UUID of the cluster, as Console shows it.
    pub cluster_id: String,
    /// The provider takes no two backups within this time. Its documents name other figures every year.
    pub min_interval: Duration,
    /// So many completed backups the provider keeps; older ones it deletes itself.
    pub max_backups: u32,
}

/// The search engine that holds exported records and snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchAddress {
    /// Base URL.
    pub url: String,
    /// Snapshot repository of the records snapshot.
    pub repository: String,
    /// Snapshot repository of the web apps; differs rarely.
    pub webapps_repository: String,
    /// Index pattern of the exported records, `zeebe-record*` by default; `None` where nothing needs them.
    pub records: Option<String>,
}
