//! The probe: version, partitions and components of a cluster.
//!
//! Owns the ways to find these facts. Must not change anything in the cluster.

use crate::camunda::call::{Caller, READ};
use crate::camunda::error::{ClientError, ErrorKind};
use crate::camunda::reading::{count, text, word};
use crate::camunda::zeebe::condition::Membership;
use crate::camunda::{Checkpoints, Method, SharedTransport, Zeebe, authenticated};
use crate::domain::{Addresses, Component, Family, HistoryRoute, PauseMode, Routes, RuntimeRoute, Version};
use serde_json::Value;
use std::collections::BTreeSet;

/// Facts about a cluster: version, procedure, APIs and health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Version from the config, else of the brokers, else of the gateway.
    pub version: Version,
    /// Procedure for a backup of this version.
    pub family: Family,
    /// APIs used by the procedure.
    pub routes: Routes,
    /// Mode of the exporting pause, if the procedure pauses exporting.
    pub pause: PauseMode,
    /// Number of partitions, if known.
    pub partitions: Option<u32>,
    /// Components to back up, in the order of reports.
    pub components: Vec<Component>,
    /// The brokers' checkpoints, from 8.9.
    pub checkpoints: Option<Checkpoints>,
    /// Version of each broker, if known.
    pub brokers: Vec<String>,
    /// Short description of a change of brokers or partitions that is in progress.
    pub change: Option<String>,
    /// Partitions without a healthy leader; `None` if unknown.
    pub leaderless: Option<Vec<u32>>,
    /// Facts that could not be read although an address is configured, one sentence each.
    pub notes: Vec<String>,
}

impl Capabilities {
    /// Whether every partition has a healthy leader; `None` if unknown.
    pub fn healthy(&self) -> Option<bool> {
        self.leaderless.as_ref().map(Vec::is_empty)
    }
}

/// Probes a cluster. `version_override` takes precedence over the reported version.
pub async fn probe(
    addresses: &Addresses,
    version_override: Option<&str>,
    transport: &SharedTransport,
) -> Result<Capabilities, ClientError> {
    let transport = &authenticated(addresses, transport);
    let zeebe = Caller::new("zeebe", &addresses.zeebe, transport.clone());
    let only_rest = addresses.routes.runtime == RuntimeRoute::Rest;
    let mut notes = Vec::new();
    let mut unread = None;
    let mut note = |error: ClientError| {
        notes.push(error.to_string());
        unread.get_or_insert(error);
    };

    let reported = if only_rest {
        None
    } else {
        info(&zeebe).await.unwrap_or_else(|error| {
            note(error);
            None
        })
    };
    let mut brokers = Vec::new();
    for base in addresses.brokers.iter().filter(|base| **base != addresses.zeebe) {
        let broker = Caller::new("zeebe", base, transport.clone());
        match info(&broker).await {
            Ok(version) => brokers.extend(version),
            Err(error) => note(error),
        }
    }
    let mut topology = None;
    if let Some(rest) = &addresses.rest {
        match self::topology(&Caller::new("rest", rest, transport.clone())).await {
            Ok(found) => topology = Some(found),
            Err(error) => note(error),
        }
    }
    let topology = topology.unwrap_or_default();
    if !topology.brokers.is_empty() {
        brokers.clone_from(&topology.brokers);
    }

    let distinct: BTreeSet<&str> = brokers.iter().map(String::as_str).collect();
    if distinct.len() > 1 {
        let versions = distinct.into_iter().collect::<Vec<_>>().join(" and ");
        let message = format!(
            "the brokers of {} run different versions, {versions}: wait for the upgrade to end, then back up",
            zeebe.base()
        );
        return Err(refused("zeebe", message));
    }

    let candidates = [brokers.first().cloned(), reported, topology.gateway.clone()];
    let version = match version_override {
        Some(text) => text.parse::<Version>().map_err(|error| refused("zeebe", error))?,
        None => match candidates.into_iter().flatten().find_map(|text| text.parse::<Version>().ok()) {
            Some(version) => version,
            None => return Err(unknown_version(&zeebe, unread)),
        },
    };
    let family =
        version.family(addresses.search.is_none()).map_err(|error| refused("zeebe", error.to_string()))?;
    let routes = match family {
        Family::V82To87 if only_rest => return Err(no_rest_backups(&version)),
        Family::V82To87 => Routes::default(),
        _ if only_rest && !version.has_rest_backups() => return Err(no_rest_backups(&version)),
        _ => routes(addresses, transport).await?,
    };
    let components = components(addresses, family, routes, &zeebe)?;
    let addresses = Addresses { routes, ..addresses.clone() };
    let checkpoints = if version.has_checkpoint_state() {
        Zeebe::new(&addresses, transport).checkpoints().await.map_err(note).ok()
    } else {
        None
    };
    let membership = if only_rest { Membership::default() } else { Membership::request(&zeebe).await };
    Ok(Capabilities {
        pause: version.pause(),
        family,
        version,
        routes,
        partitions: topology.partitions.or(membership.partitions),
        change: membership.change,
        components,
        checkpoints,
        brokers,
        leaderless: topology.leaderless,
        notes,
    })
}

/// APIs for backups that the cluster at these addresses offers now, independent of its version.
pub(crate) async fn routes(
    addresses: &Addresses,
    transport: &SharedTransport,
) -> Result<Routes, ClientError> {
    if addresses.routes.runtime == RuntimeRoute::Rest {
        let history = if addresses.search.is_some() { HistoryRoute::Rest } else { HistoryRoute::None };
        return Ok(Routes { runtime: RuntimeRoute::Rest, history });
    }
    let zeebe = Caller::new("zeebe", &addresses.zeebe, authenticated(addresses, transport));
    let index = zeebe.call(Method::Get, "/actuator", None, READ).await?;
    let links = index.object().ok().filter(|body| index.status() == 200 && body["_links"].is_object());
    let has = async |name: &str| match &links {
        Some(body) => Ok(body["_links"][name].is_object()),
        None => exists(&zeebe, name).await,
    };
    let runtime =
        if has("backupRuntime").await? { RuntimeRoute::BackupRuntime } else { RuntimeRoute::Backups };
    let history = if has("backupHistory").await? { HistoryRoute::Actuator } else { HistoryRoute::None };
    Ok(Routes { runtime, history })
}

/// Whether the endpoint lists backups. Used if the index of endpoints is not exposed.
async fn exists(zeebe: &Caller, endpoint: &str) -> Result<bool, ClientError> {
    let response = zeebe.call(Method::Get, &format!("/actuator/{endpoint}"), None, READ).await?;
    match response.status() {
        // 400: no store or no repository is configured. Only an existing endpoint reports this.
        200 | 400 => Ok(true),
        // An existing endpoint also responds 404 if the repository is missing.
        404 | 405 => Ok(response.complaint().is_some_and(|complaint| complaint.contains("epository"))),
        // A response that rejects authentication, or an outage, does not show whether the endpoint exists.
        _ => Err(response.failure()),
    }
}

fn no_rest_backups(version: &Version) -> ClientError {
    refused(
        "zeebe",
        format!(
            "Camunda {version} has no backup calls in its REST API: set the management URL of a broker or gateway as `zeebe`"
        ),
    )
}

/// Components to back up; an error if the addresses contradict the responses.
fn components(
    addresses: &Addresses,
    family: Family,
    routes: Routes,
    zeebe: &Caller,
) -> Result<Vec<Component>, ClientError> {
    let records = addresses.search.as_ref().and_then(|search| search.records.as_ref());
    let history = routes.history != HistoryRoute::None;
    let alone = family != Family::V89OnRdbms && !history;
    let standalone = |base: &Option<String>| alone && base.is_some();
    let present = [
        // A cluster with the common history has no backups of Operate and Tasklist. Their addresses come from before
        // the upgrade to 8.8.
        (Component::Operate, standalone(&addresses.operate)),
        (Component::Tasklist, standalone(&addresses.tasklist)),
        (Component::History, history),
        (Component::Optimize, addresses.optimize.is_some()),
        (Component::Records, records.is_some()),
        (Component::Zeebe, true),
    ];
    let base = zeebe.base();
    match family {
        Family::V89OnRdbms if history => Err(refused(
            "zeebe",
            format!(
                "storage is \"rdbms\" in the config, and {base} backs up web apps in a search engine (backupHistory): leave out `storage` and write `search`"
            ),
        )),
        Family::V88OnSearch if !history && addresses.operate.is_none() && addresses.tasklist.is_none() => {
            Err(refused(
                "zeebe",
                format!(
                    "nothing at {base} backs up Operate and Tasklist (it has no backupHistory): write the management URL that does as `zeebe`, those of standalone apps as `operate` and `tasklist`, or storage = \"rdbms\" where Camunda keeps its data in a database"
                ),
            ))
        }
        // The records snapshot may be missing only if no component needs it: otherwise the backup would be
        // incomplete.
        Family::V82To87 if records.is_none() => Err(refused(
            "search",
            "search.records is \"none\", and up to 8.7 the exported records are part of every backup: leave it out, or write the pattern".to_owned(),
        )),
        Family::V88OnSearch if records.is_none() && addresses.optimize.is_some() => Err(refused(
            "search",
            "search.records is \"none\", and Optimize imports from the exported records: leave it out, or write the pattern".to_owned(),
        )),
        _ => Ok(present.into_iter().filter(|(_, has)| *has).map(|(component, _)| component).collect()),
    }
}

/// `build.version` of `/actuator/info`; `None` if the endpoint is not exposed or has no version.
async fn info(caller: &Caller) -> Result<Option<String>, ClientError> {
    let response = caller.call(Method::Get, "/actuator/info", None, READ).await?;
    match response.status() {
        200 => Ok(text(&response.object()?["build"]["version"])),
        401 | 403 | 404 => Ok(None),
        _ => Err(response.failure()),
    }
}

#[derive(Default)]
struct Topology {
    gateway: Option<String>,
    brokers: Vec<String>,
    partitions: Option<u32>,
    leaderless: Option<Vec<u32>>,
}

/// The topology, from `/v2` or, up to 8.5, `/v1`.
async fn topology(rest: &Caller) -> Result<Topology, ClientError> {
    let mut response = rest.call(Method::Get, "/v2/topology", None, READ).await?;
    if response.status() == 404 {
        response = rest.call(Method::Get, "/v1/topology", None, READ).await?;
    }
    if response.status() != 200 {
        return Err(response.failure());
    }
    let body = response.object()?;
    let rows = body["brokers"].as_array().ok_or_else(|| response.unknown_shape())?;
    let partitions = Some(count(&body["partitionsCount"])).filter(|n| *n > 0);
    Ok(Topology {
        gateway: text(&body["gatewayVersion"]),
        brokers: rows.iter().filter_map(|row| text(&row["version"])).collect(),
        partitions,
        leaderless: partitions.map(|partitions| leaderless(rows, partitions)),
    })
}

/// Maximum plausible number of partitions; a larger figure is a wrong response.
const MOST_PARTITIONS: u32 = 8192;

fn leaderless(brokers: &[Value], partitions: u32) -> Vec<u32> {
    let rows = brokers.iter().filter_map(|broker| broker["partitions"].as_array()).flatten();
    let led: BTreeSet<u32> = rows
        .filter(|row| word(&row["role"]).as_deref() == Some("LEADER"))
        .filter(|row| word(&row["health"]).is_none_or(|health| health == "HEALTHY"))
        .map(|row| count(&row["partitionId"]))
        .collect();
    (1..=partitions.min(MOST_PARTITIONS)).filter(|partition| !led.contains(partition)).collect()
}

fn unknown_version(zeebe: &Caller, unread: Option<ClientError>) -> ClientError {
    let advice = "set `version` for this cluster in the config";
    match unread {
        // Report the unreachable address instead of the unknown version, because the operator must fix the address.
        Some(error) if error.kind != ErrorKind::Missing => error,
        _ => refused("zeebe", format!("the Camunda version at {} is unknown: {advice}", zeebe.base())),
    }
}

pub(crate) fn refused(component: &str, message: String) -> ClientError {
    ClientError {
        component: component.to_owned(),
        kind: ErrorKind::Refused,
        status: None,
        evidence: message.clone(),
        message,
        retry_after: None,
    }
}

/// Returns the addresses with the routes that the cluster offers now. The addresses of Camunda 8 SaaS have no routes
/// and stay unchanged.
pub(crate) async fn located(
    addresses: &Addresses,
    transport: &SharedTransport,
) -> Result<Addresses, ClientError> {
    if addresses.profile().management.is_none() {
        return Ok(addresses.clone());
    }
    let routes = routes(addresses, transport).await?;
    Ok(Addresses { routes, ..addresses.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camunda::TransportError;
    use crate::camunda::canned::Canned;
    use crate::domain::SearchAddress;
    use rstest::rstest;
    use std::sync::Arc;

    const INFO: &str = r#"{"build":{"artifact":"camunda-zeebe","java":{"version":"21.0.4"},"name":"Zeebe Distribution","description":"Zeebe Distribution","time":"2024-10-02T11:04:00.970Z","version":"8.6.0","group":"io.camunda"}}"#;
    const ABSENT: &str =
        r#"{"type":"about:blank","title":"Not Found","status":404,"instance":"/v2/topology"}"#;
    const CLUSTER: &str = r#"{"version":1,"brokers":[{"id":0,"state":"ACTIVE","version":0,"partitions":[{"id":1,"state":"ACTIVE"},{"id":2,"state":"ACTIVE"}]}]}"#;

    fn topology_of(versions: [&str; 2], second: &str) -> String {
        let [one, two] = versions;
        format!(
            r#"{{"brokers":[{{"nodeId":0,"host":"a","port":26501,"partitions":[{{"partitionId":1,"role":"leader","health":"healthy"}},{{"partitionId":2,"role":"follower","health":"healthy"}}],"version":"{one}"}},{{"nodeId":1,"host":"b","port":26501,"partitions":[{{"partitionId":2,{second}}}],"version":"{two}"}}],"clusterSize":2,"partitionsCount":2,"replicationFactor":2,"gatewayVersion":"8.6.0"}}"#
        )
    }

    fn addresses() -> Addresses {
        Addresses {
            zeebe: "http://zeebe:9600".into(),
            operate: Some("http://operate:9600".into()),
            tasklist: Some("http://tasklist:9600".into()),
            optimize: None,
            rest: Some("http://zeebe:8080".into()),
            brokers: Vec::new(),
            search: Some(SearchAddress {
                url: "http://es:9200".into(),
                repository: "camunda".into(),
                webapps_repository: "camunda".into(),
                records: Some("zeebe-record*".into()),
            }),
            ..Addresses::default()
        }
    }

    async fn request(
        canned: &Arc<Canned>,
        addresses: &Addresses,
        version: Option<&str>,
    ) -> Result<Capabilities, ClientError> {
        probe(addresses, version, &canned.shared()).await
    }

    #[tokio::test]
    async fn healthy_8_6_is_recognized_by_info_and_topology() {
        let canned = Canned::new();
        canned.json(200, INFO);
        canned.json(200, &topology_of(["8.6.0", "8.6.0"], r#""role":"leader","health":"healthy""#));
        canned.json(200, CLUSTER);
        let found = request(&canned, &addresses(), None).await.unwrap();
        assert_eq!(found.version.to_string(), "8.6.0");
        assert_eq!((found.family, found.pause), (Family::V82To87, PauseMode::Soft));
        assert_eq!((found.partitions, found.healthy()), (Some(2), Some(true)));
        assert_eq!(
            found.components,
            [Component::Operate, Component::Tasklist, Component::Records, Component::Zeebe]
        );
        assert_eq!(found.brokers, ["8.6.0", "8.6.0"]);
        assert!(found.notes.is_empty());
    }

    #[tokio::test]
    async fn topology_of_8_5_is_at_v1() {
        let canned = Canned::new();
        canned.of_type(404, "", "");
        canned.of_type(404, "application/problem+json", ABSENT);
        canned.json(200, &topology_of(["8.5.8", "8.5.8"], r#""role":"leader","health":"healthy""#));
        canned.json(200, CLUSTER);
        let found = request(&canned, &addresses(), None).await.unwrap();
        assert_eq!(found.version.to_string(), "8.5.8");
        assert_eq!(canned.requested()[2], "GET http://zeebe:8080/v1/topology");
    }

    #[tokio::test]
    async fn management_port_provides_the_partitions_without_a_rest_address() {
        let canned = Canned::new();
        canned.json(200, INFO).json(200, CLUSTER);
        let addresses = Addresses { rest: None, ..addresses() };
        let found = request(&canned, &addresses, None).await.unwrap();
        assert_eq!((found.partitions, found.healthy()), (Some(2), None));
    }

    #[rstest]
    #[case(r#""role":"follower","health":"healthy""#)]
    #[case(r#""role":"leader","health":"unhealthy""#)]
    #[tokio::test]
    async fn partition_without_healthy_leader_is_named(#[case] second: &str) {
        let canned = Canned::new();
        canned.json(200, INFO).json(200, &topology_of(["8.6.0", "8.6.0"], second)).json(200, CLUSTER);
        let found = request(&canned, &addresses(), None).await.unwrap();
        assert_eq!(found.leaderless, Some(vec![2]));
    }

    #[tokio::test]
    async fn brokers_of_two_versions_are_rejected() {
        let canned = Canned::new();
        canned.json(200, INFO).json(200, &topology_of(["8.6.0", "8.6.1"], r#""role":"leader""#));
        let error = request(&canned, &addresses(), None).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the brokers of http://zeebe:9600 run different versions, 8.6.0 and 8.6.1: wait for the upgrade to end, \
             then back up"
        );
        assert_eq!(error.kind, ErrorKind::Refused);
    }

    #[tokio::test]
    async fn broker_versions_are_compared_without_a_topology() {
        let canned = Canned::new();
        canned.json(200, INFO).json(200, INFO).json(200, &INFO.replace("8.6.0", "8.5.8"));
        let brokers = vec!["http://b0:9600".to_owned(), "http://b1:9600".to_owned()];
        let addresses = Addresses { rest: None, brokers, ..addresses() };
        let error = request(&canned, &addresses, None).await.unwrap_err();
        assert!(error.to_string().contains("8.5.8 and 8.6.0"), "{error}");
    }

    #[rstest]
    #[case("8.2.3", "Camunda 8.2.3 is too old: upgrade the cluster to 8.2.4 or later")]
    #[case(
        "8.11.0",
        "Camunda 8.11.0 is not yet supported: this release supports 8.2.4 to 8.10, use a newer camunda-backupd"
    )]
    #[tokio::test]
    async fn version_outside_the_family_is_rejected(#[case] version: &str, #[case] sentence: &str) {
        let canned = Canned::new();
        canned.json(200, &INFO.replace("8.6.0", version));
        let addresses = Addresses { rest: None, ..addresses() };
        assert_eq!(request(&canned, &addresses, None).await.unwrap_err().to_string(), sentence);
    }

    #[tokio::test]
    async fn unknown_version_must_be_set_in_the_config() {
        let canned = Canned::new();
        canned.json(200, "{}").json(404, ABSENT).json(404, ABSENT);
        let error = request(&canned, &addresses(), None).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the Camunda version at http://zeebe:9600 is unknown: set `version` for this cluster in the config"
        );
        let canned = Canned::new();
        canned.json(200, "{}").json(404, ABSENT).json(404, ABSENT).json(404, "");
        let found = request(&canned, &addresses(), Some("8.4.6")).await.unwrap();
        assert_eq!((found.version.to_string().as_str(), found.pause), ("8.4.6", PauseMode::Hard));
        assert_eq!(found.notes.len(), 1);
    }

    #[tokio::test]
    async fn unreachable_zeebe_is_reported_as_the_error() {
        let canned = Canned::new();
        canned.fails(TransportError::NotSent("Connection refused".into()));
        let addresses = Addresses { rest: None, ..addresses() };
        let error = request(&canned, &addresses, None).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot connect to zeebe at http://zeebe:9600: Connection refused");
    }

    #[tokio::test]
    async fn unreachable_rest_address_is_noted_without_blocking_a_backup() {
        let canned = Canned::new();
        canned.json(200, INFO).fails(TransportError::NotSent("Connection refused".into())).json(200, CLUSTER);
        let found = request(&canned, &addresses(), None).await.unwrap();
        assert_eq!(found.partitions, Some(2));
        assert_eq!(found.notes, ["cannot connect to rest at http://zeebe:8080: Connection refused"]);
    }

    const LATER: &str = r#"{"build":{"version":"8.9.1"}}"#;

    fn links(names: &[&str]) -> String {
        let each: Vec<String> = names.iter().map(|name| format!(r#""{name}":{{"href":"x"}}"#)).collect();
        format!(r#"{{"_links":{{{}}}}}"#, each.join(","))
    }

    fn later() -> Addresses {
        Addresses { rest: None, operate: None, tasklist: None, ..addresses() }
    }

    #[tokio::test]
    async fn endpoints_select_the_routes_since_8_8_and_old_addresses_are_ignored() {
        let canned = Canned::new();
        canned.json(200, LATER).json(200, &links(&["backupRuntime", "backupHistory", "info"]));
        canned.json(200, "{}").json(200, CLUSTER);
        let found = request(&canned, &Addresses { rest: None, ..addresses() }, None).await.unwrap();
        assert_eq!(found.family, Family::V88OnSearch);
        let routes = Routes { runtime: RuntimeRoute::BackupRuntime, history: HistoryRoute::Actuator };
        assert_eq!(found.routes, routes);
        assert_eq!(found.components, [Component::History, Component::Records, Component::Zeebe]);
        assert_eq!(canned.requested()[2], "GET http://zeebe:9600/actuator/backupRuntime/state");
    }

    #[tokio::test]
    async fn backup_lists_select_the_routes_if_the_index_is_hidden() {
        let canned = Canned::new();
        let absent =
            r#"{"timestamp":"2026-11-23T06:00:29.528+00:00","status":404,"error":"Not Found","path":"/x"}"#;
        canned.json(200, LATER).json(404, absent).json(200, "[]");
        canned.json(404, r#"{"message":"No repository with name [camunda] could be found."}"#);
        canned.json(200, "{}").json(200, CLUSTER);
        let found = request(&canned, &later(), None).await.unwrap();
        assert_eq!(found.routes.history, HistoryRoute::Actuator, "it is there and lacks its repository");
        let canned = Canned::new();
        canned.json(200, LATER).json(404, absent).json(401, "").json(200, "{}");
        let error = request(&canned, &later(), None).await.unwrap_err();
        assert_eq!(error.status, Some(401), "a rejected call shows nothing about the endpoint: {error}");
    }

    #[rstest]
    #[case(&["backupRuntime"], Addresses { search: None, ..later() }, Ok(Family::V89OnRdbms))]
    #[case(
        &["backupRuntime", "backupHistory"],
        Addresses { search: None, ..later() },
        Err("storage is \"rdbms\" in the config, and http://zeebe:9600 backs up web apps in a search engine (backupHistory): leave out `storage` and write `search`")
    )]
    #[case(
        &["backupRuntime"],
        later(),
        Err("nothing at http://zeebe:9600 backs up Operate and Tasklist (it has no backupHistory): write the management URL that does as `zeebe`, those of standalone apps as `operate` and `tasklist`, or storage = \"rdbms\" where Camunda keeps its data in a database")
    )]
    #[case(&["backups"], Addresses { rest: None, ..addresses() }, Ok(Family::V88OnSearch))]
    #[tokio::test]
    async fn config_and_cluster_must_agree(
        #[case] endpoints: &[&str],
        #[case] addresses: Addresses,
        #[case] family: Result<Family, &str>,
    ) {
        let canned = Canned::new();
        canned.json(200, LATER).json(200, &links(endpoints)).json(200, "{}").json(200, CLUSTER);
        let found = request(&canned, &addresses, None).await;
        assert_eq!(found.map(|f| f.family).map_err(|e| e.to_string()), family.map_err(str::to_owned));
    }

    #[tokio::test]
    async fn records_may_be_omitted_only_if_no_component_needs_them() {
        let mut without = addresses();
        without.rest = None;
        without.search.as_mut().unwrap().records = None;
        let canned = Canned::new();
        canned.json(200, INFO).json(200, CLUSTER);
        let error = request(&canned, &without, None).await.unwrap_err();
        assert!(error.to_string().starts_with("search.records is \"none\", and up to 8.7"), "{error}");
        let canned = Canned::new();
        without.optimize = Some("http://optimize:8092".into());
        canned.json(200, LATER).json(200, &links(&["backupRuntime", "backupHistory"]));
        let error = request(&canned, &without, None).await.unwrap_err();
        assert!(error.to_string().contains("Optimize imports from the exported records"), "{error}");
    }
}
