//! What a cluster is: its version, partitions and components.
//!
//! Owns the ways to find that out. Must not change anything in the cluster.

use super::call::{Caller, READ};
use super::error::{ClientError, ErrorKind};
use super::reading::{count, text, word};
use super::{Method, SharedTransport, Version};
use crate::domain::{Addresses, Component, Family, PauseMode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// What a cluster is and can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Version from the config, else of the brokers, else of the gateway.
    pub version: Version,
    /// Which procedure it takes.
    pub family: Family,
    /// How exporting is paused.
    pub pause: PauseMode,
    /// How many partitions it has, where that can be read.
    pub partitions: Option<u32>,
    /// What is backed up, in the order in which reports name it.
    pub components: Vec<Component>,
    /// Every broker's version, where that can be read.
    pub brokers: Vec<String>,
    /// Partitions without a healthy leader; `None` where that cannot be read.
    pub leaderless: Option<Vec<u32>>,
    /// What could not be read although an address for it is configured, one sentence each.
    pub notes: Vec<String>,
}

impl Capabilities {
    /// Whether every partition has a healthy leader; `None` where that cannot be read.
    pub fn healthy(&self) -> Option<bool> {
        self.leaderless.as_ref().map(Vec::is_empty)
    }
}

/// Asks a cluster what it is; `version_override` wins over what it says.
pub async fn probe(
    addresses: &Addresses,
    version_override: Option<&str>,
    transport: &SharedTransport,
) -> Result<Capabilities, ClientError> {
    let zeebe = Caller::new("zeebe", &addresses.zeebe, transport.clone());
    let mut notes = Vec::new();
    let mut unread = None;
    let mut note = |error: ClientError| {
        notes.push(error.to_string());
        unread.get_or_insert(error);
    };

    let told = info(&zeebe).await.unwrap_or_else(|error| {
        note(error);
        None
    });
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

    let candidates = [brokers.first().cloned(), told, topology.gateway.clone()];
    let version = match version_override {
        Some(text) => text.parse::<Version>().map_err(|error| refused("zeebe", error))?,
        None => match candidates.into_iter().flatten().find_map(|text| text.parse::<Version>().ok()) {
            Some(version) => version,
            None => return Err(unknown_version(&zeebe, unread)),
        },
    };
    let family = version.family().map_err(|error| refused("zeebe", error))?;
    let partitions = match topology.partitions {
        Some(partitions) => Some(partitions),
        None => partitions_of_cluster(&zeebe).await,
    };
    Ok(Capabilities {
        pause: version.pause(),
        family,
        version,
        partitions,
        components: components(addresses),
        brokers,
        leaderless: topology.leaderless,
        notes,
    })
}

fn components(addresses: &Addresses) -> Vec<Component> {
    let records = addresses.search.as_ref().and_then(|search| search.records.as_ref());
    let has = |component: &Component| match component {
        Component::Zeebe => true,
        Component::Operate => addresses.operate.is_some(),
        Component::Tasklist => addresses.tasklist.is_some(),
        Component::Optimize => addresses.optimize.is_some(),
        Component::Records => records.is_some(),
        Component::History => false,
    };
    Component::ALL.into_iter().filter(has).collect()
}

/// `build.version` of `/actuator/info`; `None` where the endpoint is not exposed or says nothing of it.
async fn info(caller: &Caller) -> Result<Option<String>, ClientError> {
    let answer = caller.call(Method::Get, "/actuator/info", None, READ).await?;
    match answer.status() {
        200 => Ok(text(&answer.object()?["build"]["version"])),
        401 | 403 | 404 => Ok(None),
        _ => Err(answer.failure()),
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
    let mut answer = rest.call(Method::Get, "/v2/topology", None, READ).await?;
    if answer.status() == 404 {
        answer = rest.call(Method::Get, "/v1/topology", None, READ).await?;
    }
    if answer.status() != 200 {
        return Err(answer.failure());
    }
    let body = answer.object()?;
    let rows = body["brokers"].as_array().ok_or_else(|| answer.unknown_shape())?;
    let partitions = Some(count(&body["partitionsCount"])).filter(|n| *n > 0);
    Ok(Topology {
        gateway: text(&body["gatewayVersion"]),
        brokers: rows.iter().filter_map(|row| text(&row["version"])).collect(),
        partitions,
        leaderless: partitions.map(|partitions| leaderless(rows, partitions)),
    })
}

/// More partitions than this are a mistake, not a cluster.
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

/// How many partitions `/actuator/cluster` names; where there is no REST address, and not in every version.
async fn partitions_of_cluster(zeebe: &Caller) -> Option<u32> {
    let answer = zeebe.call(Method::Get, "/actuator/cluster", None, READ).await.ok()?;
    let body = answer.object().ok().filter(|_| answer.status() == 200)?;
    let rows =
        body["brokers"].as_array()?.iter().filter_map(|broker| broker["partitions"].as_array()).flatten();
    let ids: BTreeSet<u32> = rows.map(|row| count(&row["id"])).filter(|id| *id > 0).collect();
    u32::try_from(ids.len()).ok().filter(|n| *n > 0)
}

fn unknown_version(zeebe: &Caller, unread: Option<ClientError>) -> ClientError {
    let advice = "set `version` for this cluster in the config";
    match unread {
        // Whoever cannot be reached cannot tell: that is what has to be mended.
        Some(error) if error.kind != ErrorKind::Missing => error,
        _ => refused("zeebe", format!("nothing at {} tells the Camunda version: {advice}", zeebe.base())),
    }
}

fn refused(component: &str, message: String) -> ClientError {
    ClientError {
        component: component.to_owned(),
        kind: ErrorKind::Refused,
        status: None,
        evidence: message.clone(),
        message,
    }
}
