//! The keys of the config file, with their spans. The doc comments are the descriptions in the JSON schema.
//!
//! Owns names and types of the keys. Must not apply defaults or limits; `check` does. Every key is optional, so that
//! `check` reports every missing one. No tagged, untagged or flattened types: these lose spans.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

/// A value and its span in the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub(super) struct At<T>(toml::Spanned<T>);

impl<T> At<T> {
    pub(super) fn value(&self) -> &T {
        self.0.get_ref()
    }

    pub(super) fn span(&self) -> Range<usize> {
        self.0.span()
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

type Text = Option<At<String>>;
type Number = Option<At<i64>>;
type Named<T> = BTreeMap<At<String>, T>;

/// Configuration of camunda-backupd: clusters and backup schedules.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "camunda-backupd")]
pub(super) struct Raw {
    /// Settings of the daemon process.
    pub(super) daemon: Daemon,
    /// HTTP listener.
    pub(super) http: Http,
    /// Log level and format.
    pub(super) log: Log,
    /// Default values for clusters and schedules.
    pub(super) defaults: Defaults,
    /// Clusters by name.
    #[schemars(with = "BTreeMap<String, Cluster>")]
    pub(super) clusters: Named<Cluster>,
    /// Schedules by name.
    #[schemars(with = "BTreeMap<String, Schedule>")]
    pub(super) schedules: Named<Schedule>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Daemon {
    /// Directory of the state file. Default: $STATE_DIRECTORY, else "./state".
    pub(super) state_dir: Text,
    /// Directory of the control socket. Default: $RUNTIME_DIRECTORY, else /run/camunda-backupd if writable, else
    /// state_dir.
    pub(super) runtime_dir: Text,
    /// Directory of credential files if the daemon runs without systemd.
    pub(super) credentials_dir: Text,
    /// Maximum number of concurrent runs. Default: 64.
    #[schemars(extend("minimum" = 1, "maximum" = 10000))]
    pub(super) max_parallel_runs: Number,
    /// Maximum wait of a shutdown for a run to end its pause. Default: "90s".
    pub(super) shutdown_grace: Text,
    /// Name of this daemon in the ownership tags of its snapshots. Must differ between daemons that back up the same
    /// cluster. Default: the host name.
    pub(super) instance: Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    /// Listen address: a loopback address and port, or "unix:" and an absolute path. Default: "127.0.0.1:9610".
    pub(super) listen: Text,
    /// Accepted Host names of requests, in addition to the loopback names.
    pub(super) public_hosts: Option<Vec<At<String>>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    /// Log level. Default: "info".
    #[schemars(extend("enum" = ["off", "error", "warn", "info", "debug", "trace"]))]
    pub(super) level: Text,
    /// Log format. "auto" means journald under systemd, text on a terminal, json otherwise. Default: "auto".
    #[schemars(extend("enum" = ["auto", "json", "text", "journald"]))]
    pub(super) format: Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Defaults {
    /// IANA time zone of the schedules. Default: "UTC".
    pub(super) timezone: Text,
    /// Number of backups to keep per schedule and cluster. Default: 3 completed and 3 failed.
    pub(super) keep: Keep,
    /// Handling of backups missed while the daemon was down: "once" runs the latest one, "skip" none. Default: "once".
    #[schemars(extend("enum" = ["once", "skip"]))]
    pub(super) catch_up: Text,
    /// Maximum wait of a due backup for a busy or unavailable cluster. Default: "6h".
    pub(super) start_within: Text,
    /// Maximum delay that spreads the clusters of a schedule. Default: "0s".
    pub(super) spread: Text,
    /// Probe interval of clusters between runs. Default: "5m".
    pub(super) probe_interval: Text,
    /// Manual backups.
    pub(super) manual: Manual,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Keep {
    /// Number of completed backups to keep. Default: 3.
    #[schemars(extend("minimum" = 1, "maximum" = 1000))]
    pub(super) successful: Number,
    /// Number of failed backups to keep. Default: 3.
    #[schemars(extend("minimum" = 1, "maximum" = 1000))]
    pub(super) failed: Number,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Manual {
    /// Number of completed manual backups to keep. Default: 3.
    #[schemars(extend("minimum" = 1, "maximum" = 1000))]
    pub(super) keep: Number,
    /// Number of failed manual backups to keep. Default: 3.
    #[schemars(extend("minimum" = 1, "maximum" = 1000))]
    pub(super) failed: Number,
    /// Minimum time between two manual backups of a cluster. Default: "1h".
    pub(super) min_interval: Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cluster {
    /// A self-managed cluster. Exactly one of self_managed and saas.
    pub(super) self_managed: Option<SelfManaged>,
    /// A Camunda 8 SaaS cluster. Exactly one of self_managed and saas.
    pub(super) saas: Option<At<Saas>>,
    /// Limits that end a backup of this cluster.
    pub(super) limits: Limits,
    /// Manual backups.
    pub(super) manual: Manual,
    /// Probe interval between runs. Default: "5m".
    pub(super) probe_interval: Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SelfManaged {
    /// Management URL of a broker or gateway: everything before "/actuator". From 8.10 it can be omitted if `rest` is
    /// set: backups and exporting then use the REST API.
    pub(super) zeebe: Text,
    /// Management URL of Operate, for 8.7 and earlier, or a standalone Operate.
    pub(super) operate: Text,
    /// Management URL of Tasklist, for 8.7 and earlier, or a standalone Tasklist.
    pub(super) tasklist: Text,
    /// Management URL of Optimize.
    pub(super) optimize: Text,
    /// REST URL: everything before "/v1" or "/v2".
    pub(super) rest: Text,
    /// Camunda version, for example "8.6", or "auto" to read it from the cluster. Default: "auto".
    pub(super) version: Text,
    /// Management URLs of all brokers. Required to read exporter phases if `zeebe` is a gateway.
    pub(super) brokers: Option<Vec<At<String>>>,
    /// Secondary storage of Camunda: "search" (Elasticsearch or OpenSearch), or from 8.9 on "rdbms". Default: "search".
    pub(super) storage: Text,
    /// The search engine of exported records and snapshots. Not allowed with storage "rdbms".
    pub(super) search: Option<At<Search>>,
    /// Logins, certificates and proxies per component.
    pub(super) access: AccessTables,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Saas {
    /// UUID of the cluster, as shown in Console.
    pub(super) cluster_id: Text,
    /// Client ID of an Administration API client of the organization, with the permission for backups.
    pub(super) client_id: Text,
    /// Name of the credential that holds the client secret.
    pub(super) client_secret: Text,
    /// Base URL of the Administration API. Default: "https://api.cloud.camunda.io".
    pub(super) api: Text,
    /// URL of the token endpoint. Default: "https://login.cloud.camunda.io/oauth/token".
    pub(super) token_url: Text,
    /// Audience of the token. Default: "api.cloud.camunda.io".
    pub(super) audience: Text,
    /// Minimum time between two backups that Camunda 8 SaaS accepts. Default: "15m".
    pub(super) min_interval: Text,
    /// Number of completed backups that Camunda 8 SaaS keeps. Default: 3.
    #[schemars(extend("minimum" = 1, "maximum" = 1000))]
    pub(super) max_backups: Number,
    /// Path of a file of PEM certificates, trusted in addition to the system CAs.
    pub(super) ca: Text,
    /// URL of the HTTP proxy. Proxy environment variables are ignored.
    pub(super) proxy: Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AccessTables {
    /// Default for components without a table.
    pub(super) all: Option<At<Access>>,
    /// Brokers and gateways.
    pub(super) zeebe: Option<At<Access>>,
    /// Operate, if it has an address of its own.
    pub(super) operate: Option<At<Access>>,
    /// Tasklist, if it has an address of its own.
    pub(super) tasklist: Option<At<Access>>,
    /// Operate and Tasklist in one application, from 8.8.
    pub(super) history: Option<At<Access>>,
    /// Management port of Optimize.
    pub(super) optimize: Option<At<Access>>,
    /// REST API.
    pub(super) rest: Option<At<Access>>,
    /// Elasticsearch or OpenSearch.
    pub(super) search: Option<At<Access>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Access {
    /// Authentication method. Default: "none".
    #[schemars(extend("enum" = ["none", "basic", "bearer", "oauth", "api_key"]))]
    pub(super) kind: Text,
    /// User name, with "basic".
    pub(super) username: Text,
    /// Name of the credential that holds the password, with "basic".
    pub(super) password: Text,
    /// Name of the credential that holds the token, with "bearer". A changed file takes effect immediately.
    pub(super) token: Text,
    /// URL of the token endpoint, with "oauth". Requests to it use the same `ca`, client certificate and proxy.
    pub(super) token_url: Text,
    /// Client ID, with "oauth".
    pub(super) client_id: Text,
    /// Name of the credential that holds the client secret, with "oauth".
    pub(super) client_secret: Text,
    /// Audience of the token, with "oauth", if the endpoint requires it.
    pub(super) audience: Text,
    /// Scope of the token, with "oauth", if the endpoint requires it.
    pub(super) scope: Text,
    /// Name of the credential that holds an encoded API key of Elasticsearch, with "api_key".
    pub(super) api_key: Text,
    /// Path of a file of PEM certificates, trusted in addition to the system CAs.
    pub(super) ca: Text,
    /// Name of the credential that holds the client certificate as PEM.
    pub(super) client_cert: Text,
    /// Name of the credential that holds the key of the client certificate as PEM, without a passphrase.
    pub(super) client_key: Text,
    /// URL of the HTTP proxy. Proxy environment variables are ignored.
    pub(super) proxy: Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Search {
    /// URL of Elasticsearch or OpenSearch.
    pub(super) url: Text,
    /// Snapshot repository of the records.
    pub(super) repository: Text,
    /// Snapshot repository of the web apps. Default: `repository`.
    pub(super) webapps_repository: Text,
    /// Index pattern of the exported records. Default: "zeebe-record*".
    pub(super) records: Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    /// Maximum duration of a run. Default: "4h".
    pub(super) run_deadline: Text,
    /// Maximum duration of the exporting pause; a longer pause aborts the run. Default: "45m".
    pub(super) pause_budget: Text,
    /// Maximum time without progress of a component; then the run is aborted. Default: "15m".
    pub(super) stall_after: Text,
    /// Minimum free disk space of each broker, as in "10GiB" or "15%". With less, exporting is not paused, or a running
    /// pause is aborted. Default: no check.
    pub(super) min_free_disk: Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Schedule {
    /// Cluster names, or patterns with `*` and `?`; "*" matches all clusters.
    pub(super) clusters: Option<At<Vec<At<String>>>>,
    /// Time of day, as in "02:00". Exactly one of daily, weekly and cron.
    pub(super) daily: Text,
    /// Day and time, as in "sunday 03:30". Exactly one of daily, weekly and cron.
    pub(super) weekly: Text,
    /// Cron expression with five fields, or six with seconds; days of the week by name. Exactly one of daily, weekly and cron.
    pub(super) cron: Text,
    /// IANA time zone of the due times. Default: "UTC".
    pub(super) timezone: Text,
    /// Number of backups to keep per cluster. Default: 3 completed and 3 failed.
    pub(super) keep: Keep,
    /// Handling of backups missed while the daemon was down: "once" runs the latest one, "skip" none. Default: "once".
    #[schemars(extend("enum" = ["once", "skip"]))]
    pub(super) catch_up: Text,
    /// Maximum wait of a due backup for a busy or unavailable cluster. Default: "6h".
    pub(super) start_within: Text,
    /// Maximum delay that spreads its clusters. Default: "0s".
    pub(super) spread: Text,
    /// `false` disables the schedule. Default: true.
    pub(super) enabled: Option<At<bool>>,
}
