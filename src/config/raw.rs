//! The config file as it is written: every key there is, its place, and the words editors show for it.
//!
//! Owns the keys. Must not know defaults or what is allowed beside the types; `check` does. All keys are optional
//! here, so that `check` names every missing one. No tagged, untagged or flattened types: those lose places.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

/// A value and its place.
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

/// Configuration of camunda-backupd: clusters, and when backups of them are taken.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "camunda-backupd")]
pub(super) struct Raw {
    /// The daemon itself.
    pub(super) daemon: Daemon,
    /// Where HTTP answers.
    pub(super) http: Http,
    /// What is logged and how.
    pub(super) log: Log,
    /// What clusters and schedules use where they say nothing else.
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
    /// Directory of the control socket. Default: $RUNTIME_DIRECTORY, else /run/camunda-backupd where it can be
    /// written, else state_dir.
    pub(super) runtime_dir: Text,
    /// Directory of credential files outside systemd.
    pub(super) credentials_dir: Text,
    /// Runs that may go on at the same time. Default: 64.
    #[schemars(extend("minimum" = 1, "maximum" = 10000))]
    pub(super) max_parallel_runs: Number,
    /// How long shutdown waits for a run to leave its pause. Default: "90s".
    pub(super) shutdown_grace: Text,
    /// Marks what is ours in the clusters, and must differ between daemons on one cluster. Default: the host name.
    pub(super) instance: Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    /// A loopback address and port, or "unix:" and an absolute path. Default: "127.0.0.1:9610".
    pub(super) listen: Text,
    /// Host names that count as this machine beside the loopback names.
    pub(super) public_hosts: Option<Vec<At<String>>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    /// Default: "info".
    #[schemars(extend("enum" = ["off", "error", "warn", "info", "debug", "trace"]))]
    pub(super) level: Text,
    /// "auto" is journald under systemd, text on a terminal, else json. Default: "auto".
    #[schemars(extend("enum" = ["auto", "json", "text", "journald"]))]
    pub(super) format: Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Defaults {
    /// IANA zone in which schedules are meant. Default: "UTC".
    pub(super) timezone: Text,
    /// How many backups the pools of a schedule keep. Default: 3 and 3.
    pub(super) keep: Keep,
    /// What becomes of what was missed while the daemon was down. Default: "once".
    #[schemars(extend("enum" = ["once", "skip"]))]
    pub(super) catch_up: Text,
    /// How long an occurrence may wait for its cluster. Default: "6h".
    pub(super) start_within: Text,
    /// The widest delay by which clusters are spread. Default: "0s".
    pub(super) spread: Text,
    /// How often clusters are looked at between runs. Default: "5m".
    pub(super) probe_interval: Text,
    /// Backups by hand.
    pub(super) manual: Manual,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Keep {
    /// Newest completed backups that stay. Default: 3.
    #[schemars(extend("minimum" = 1, "maximum" = 1000))]
    pub(super) successful: Number,
    /// Newest failed ones that stay. Default: 3.
    #[schemars(extend("minimum" = 1, "maximum" = 1000))]
    pub(super) failed: Number,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Manual {
    /// Newest completed backups by hand that stay. Default: 3.
    #[schemars(extend("minimum" = 1, "maximum" = 1000))]
    pub(super) keep: Number,
    /// Newest failed ones that stay. Default: 3.
    #[schemars(extend("minimum" = 1, "maximum" = 1000))]
    pub(super) failed: Number,
    /// Shortest time between two. Default: "1h".
    pub(super) min_interval: Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cluster {
    /// A cluster run by yourself. Exactly one of self_managed and saas.
    pub(super) self_managed: Option<SelfManaged>,
    /// A cluster of Camunda's own cloud. Exactly one of self_managed and saas.
    pub(super) saas: Option<At<Saas>>,
    /// When a run of this cluster is given up.
    pub(super) limits: Limits,
    /// Backups by hand.
    pub(super) manual: Manual,
    /// How often it is looked at between runs. Default: "5m".
    pub(super) probe_interval: Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SelfManaged {
    /// Management URL of a broker or gateway: everything before "/actuator". From 8.10 it may be left out where `rest`
    /// is written: backups and exporting are then reached by the REST API.
    pub(super) zeebe: Text,
    /// Management URL of Operate, up to 8.7 and where it runs standalone.
    pub(super) operate: Text,
    /// Management URL of Tasklist, up to 8.7 and where it runs standalone.
    pub(super) tasklist: Text,
    /// Management URL of Optimize.
    pub(super) optimize: Text,
    /// REST URL: everything before "/v1" or "/v2".
    pub(super) rest: Text,
    /// "auto", or a version such as "8.6". Default: "auto".
    pub(super) version: Text,
    /// Management URL of each broker, so that exporter phases can be read where `zeebe` is a gateway.
    pub(super) brokers: Option<Vec<At<String>>>,
    /// Where Camunda keeps what Operate and Tasklist show: "search", or from 8.9 on "rdbms". Default: "search".
    pub(super) storage: Text,
    /// The search engine that holds exported records and snapshots; none where the storage is "rdbms".
    pub(super) search: Option<At<Search>>,
    /// What each component wants of those who reach it.
    pub(super) access: AccessTables,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Saas {
    /// UUID of the cluster, as Console shows it.
    pub(super) cluster_id: Text,
    /// Id of an Administration API client of the organization, with the permission for backups.
    pub(super) client_id: Text,
    /// Name of the credential that holds the client's secret.
    pub(super) client_secret: Text,
    /// Base URL of the Administration API. Default: "https://api.cloud.camunda.io".
    pub(super) api: Text,
    /// The token endpoint. Default: "https://login.cloud.camunda.io/oauth/token".
    pub(super) token_url: Text,
    /// For whom the token is. Default: "api.cloud.camunda.io".
    pub(super) audience: Text,
    /// The provider takes no two backups within this time. Default: "15m".
    pub(super) min_interval: Text,
    /// So many completed backups the provider keeps. Default: 3.
    #[schemars(extend("minimum" = 1, "maximum" = 1000))]
    pub(super) max_backups: Number,
    /// File of PEM certificates that are believed beside the machine's own.
    pub(super) ca: Text,
    /// URL of the proxy that all requests go through; none is taken from the environment.
    pub(super) proxy: Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AccessTables {
    /// For every component that has no table of its own here.
    pub(super) all: Option<At<Access>>,
    /// The brokers and gateways.
    pub(super) zeebe: Option<At<Access>>,
    /// Operate.
    pub(super) operate: Option<At<Access>>,
    /// Tasklist.
    pub(super) tasklist: Option<At<Access>>,
    /// Operate and Tasklist together, from 8.8.
    pub(super) history: Option<At<Access>>,
    /// Optimize.
    pub(super) optimize: Option<At<Access>>,
    /// The REST URL.
    pub(super) rest: Option<At<Access>>,
    /// The search engine.
    pub(super) search: Option<At<Access>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Access {
    /// Who we say we are. Default: "none".
    #[schemars(extend("enum" = ["none", "basic", "bearer", "oauth", "api_key"]))]
    pub(super) kind: Text,
    /// User name, with "basic".
    pub(super) username: Text,
    /// Name of the credential that holds the password, with "basic".
    pub(super) password: Text,
    /// Name of the credential that holds the token, with "bearer". A changed file counts at once.
    pub(super) token: Text,
    /// The token endpoint, with "oauth". It is reached with the same `ca`, client certificate and proxy.
    pub(super) token_url: Text,
    /// The client's id, with "oauth".
    pub(super) client_id: Text,
    /// Name of the credential that holds the client's secret, with "oauth".
    pub(super) client_secret: Text,
    /// For whom the token is, with "oauth", where the endpoint wants it said.
    pub(super) audience: Text,
    /// What the token is for, with "oauth", where the endpoint wants it said.
    pub(super) scope: Text,
    /// Name of the credential that holds an encoded API key of Elasticsearch, with "api_key".
    pub(super) api_key: Text,
    /// File of PEM certificates that are believed beside the machine's own.
    pub(super) ca: Text,
    /// Name of the credential that holds our certificate as PEM.
    pub(super) client_cert: Text,
    /// Name of the credential that holds its key as PEM, without a passphrase.
    pub(super) client_key: Text,
    /// URL of the proxy that all requests go through; none is taken from the environment.
    pub(super) proxy: Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Search {
    /// URL of Elasticsearch or OpenSearch.
    pub(super) url: Text,
    /// Snapshot repository of the records.
    pub(super) repository: Text,
    /// Snapshot repository of the web apps, where it differs.
    pub(super) webapps_repository: Text,
    /// Index pattern of the exported records. Default: "zeebe-record*".
    pub(super) records: Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    /// A run that takes longer is ended. Default: "4h".
    pub(super) run_deadline: Text,
    /// Exporting that is paused for longer ends the run. Default: "45m".
    pub(super) pause_budget: Text,
    /// A component without progress for so long ends the run. Default: "15m".
    pub(super) stall_after: Text,
    /// With less room on a broker's disk exporting is not paused, or not any longer, as in "10GiB" or "15%". Default: no
    /// disk is looked at.
    pub(super) min_free_disk: Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Schedule {
    /// Names of clusters, or patterns with `*` and `?`; "*" is all.
    pub(super) clusters: Option<At<Vec<At<String>>>>,
    /// A time of day, as in "02:00". Exactly one of daily, weekly and cron.
    pub(super) daily: Text,
    /// A day and a time, as in "sunday 03:30". Exactly one of daily, weekly and cron.
    pub(super) weekly: Text,
    /// Five fields, or six with seconds; days of the week by name. Exactly one of daily, weekly and cron.
    pub(super) cron: Text,
    /// IANA zone in which it is meant. Default: "UTC".
    pub(super) timezone: Text,
    /// How many backups its pools keep. Default: 3 and 3.
    pub(super) keep: Keep,
    /// What becomes of what was missed while the daemon was down. Default: "once".
    #[schemars(extend("enum" = ["once", "skip"]))]
    pub(super) catch_up: Text,
    /// How long an occurrence may wait for its cluster. Default: "6h".
    pub(super) start_within: Text,
    /// The widest delay by which its clusters are spread. Default: "0s".
    pub(super) spread: Text,
    /// False: never due. Default: true.
    pub(super) enabled: Option<At<bool>>,
}
