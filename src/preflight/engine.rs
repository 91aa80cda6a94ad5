//! Search engine checks: health, repositories, indices, running snapshots, disks.

use crate::camunda::{Capabilities, Search};
use crate::context::Clients;
use crate::domain::{Addresses, Component, Family, SearchAddress};
use crate::preflight::Check;

/// Minimum free disk space of a node; below it the engine is about to reject writes.
const DISK_PERCENT: u64 = 5;

pub(crate) async fn checks(clients: &Clients, addresses: &Addresses, found: &Capabilities) -> Vec<Check> {
    let (Some(search), Some(address)) = (&clients.search, &addresses.search) else { return Vec::new() };
    let health = match search.red().await {
        Ok(false) => Check::good("search", "the search engine is not red"),
        Ok(true) => Check::bad(
            "search",
            "the search engine is red: some primary shard is not there, and a snapshot of it fails",
            "see `_cluster/allocation/explain`, and bring the shard back",
        ),
        // The other requests would fail with the same error.
        Err(error) => {
            return vec![Check::of_error("search", &error, "`search.url` of this cluster in the config")];
        }
    };
    let mut checks = vec![health];
    let mut repositories = vec![("repository", &address.repository)];
    if address.webapps_repository != address.repository {
        repositories.push(("webapps_repository", &address.webapps_repository));
    }
    for (key, repository) in repositories {
        checks.push(self::repository(search, key, repository).await);
    }
    checks.push(running(search).await);
    checks.extend(indices(search, address, found).await);
    checks.push(disk(search).await);
    checks
}

async fn repository(search: &Search, key: &str, repository: &str) -> Check {
    let name = "repository";
    match search.repository_exists(repository).await {
        Ok(true) => {}
        Ok(false) => {
            return Check::bad(
                name,
                format!("the snapshot repository {repository} is not registered in the search engine"),
                format!("register it under that name, or correct `search.{key}`"),
            );
        }
        Err(error) => return Check::of_error(name, &error, &format!("`search.{key}` names the repository")),
    }
    match search.verify_repository(repository).await {
        Ok(()) => {
            Check::good(name, format!("the snapshot repository {repository} can be written by every node"))
        }
        Err(error) => Check::of_error(
            name,
            &error,
            "see that every node of the search engine reaches the repository's place and may write there",
        ),
    }
}

async fn running(search: &Search) -> Check {
    match search.running_snapshots().await {
        Ok(names) => match names.iter().find(|name| name.starts_with("camunda_")).or(names.first()) {
            None => Check::good("snapshots", "no snapshot is being taken"),
            Some(name) if name.starts_with("camunda_") => Check::bad(
                "snapshots",
                format!("snapshot {name} is being taken"),
                "wait for its end: only one backup may be under way",
            ),
            Some(name) => Check::good(
                "snapshots",
                format!("snapshot {name} is being taken, which is no part of a backup"),
            ),
        },
        Err(error) => Check::of_error("snapshots", &error, "the credential needs the right to see snapshots"),
    }
}

/// Whether this engine holds the indices to back up: a wrong engine would give an empty backup.
async fn indices(search: &Search, address: &SearchAddress, found: &Capabilities) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(pattern) = &address.records {
        let needed = found.family == Family::V82To87 || found.components.contains(&Component::Optimize);
        checks.push(match search.indices(pattern).await {
            Ok(names) if names.is_empty() && needed => Check::bad(
                "records",
                format!("no index matches {pattern}: the records snapshot would be empty"),
                "correct `search.records`, or see whether the exporter writes to this search engine",
            ),
            Ok(names) if names.is_empty() => {
                Check::good("records", format!("no index matches {pattern}, and nothing needs one"))
            }
            Ok(names) => Check::good("records", format!("{} indices match {pattern}", names.len())),
            Err(error) => Check::of_error("records", &error, "`search.records` is the index pattern"),
        });
    }
    let apps = [
        (Component::Operate, "*operate-*"),
        (Component::Tasklist, "*tasklist-*"),
        (Component::History, "*operate-*"),
        (Component::History, "*tasklist-*"),
        (Component::Optimize, "*optimize-*"),
    ];
    for (component, pattern) in apps.into_iter().filter(|(component, _)| found.components.contains(component))
    {
        checks.push(match search.indices(pattern).await {
            Ok(names) if names.is_empty() => Check::bad(
                "indices",
                format!("no index of {component} ({pattern}) is in this search engine"),
                format!("correct `search.url`: it must be the search engine that {component} writes to"),
            ),
            Ok(names) => {
                Check::good("indices", format!("{} indices of {component} ({pattern})", names.len()))
            }
            Err(error) => {
                Check::of_error("indices", &error, "the credential needs the right to list indices")
            }
        });
    }
    checks
}

async fn disk(search: &Search) -> Check {
    match search.disk().await {
        Ok(Some(disk)) if disk.percent() < DISK_PERCENT => Check::bad(
            "disk",
            format!("the search engine's fullest node has {} % of its disk left", disk.percent()),
            "free disk space: near its watermark the engine rejects writes, and exporting stalls",
        ),
        Ok(Some(disk)) => Check::good(
            "disk",
            format!("the search engine's fullest node has {} % of its disk left", disk.percent()),
        ),
        // Informational: no part of a backup.
        Ok(None) => Check::good("disk", "the search engine does not report its disk usage"),
        Err(error) => Check::good("disk", format!("how full the disks are could not be read: {error}")),
    }
}
