//! The Administration API of Camunda 8 SaaS ("Camunda Management API" 1.3.3), as far as backups need it.
//!
//! Owns its paths, its states and the lenient parsing of its responses. Fields come and go there without
//! notice, so that only fields essential for a backup are required. Must not know tokens (`http`) or poll
//! intervals.

use crate::camunda::call::{Caller, DELETE, READ, START, segment};
use crate::camunda::error::{ClientError, ErrorKind};
use crate::camunda::probe::refused;
use crate::camunda::reading::{instant, text};
use crate::camunda::response::ParsedResponse;
use crate::camunda::{Method, Part, PartState, Progress, SharedTransport, authenticated};
use crate::domain::{Addresses, Component, Instant, SaasAddress, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One cluster in Camunda 8 SaaS.
#[derive(Clone)]
pub struct Saas {
    caller: Caller,
    path: String,
    address: SaasAddress,
}

/// Cluster details as reported by the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostedCluster {
    /// Name in Console.
    pub name: String,
    /// Generation, for example `Camunda 8.6+gen2`.
    pub generation: String,
    /// Version in the generation's name, if one is recognized.
    pub version: Option<Version>,
    /// `Healthy`, `Suspended`, `Updating`, ...: the list grows.
    pub status: Option<String>,
}

impl HostedCluster {
    /// Returns the cluster's status if the status prevents a backup now. An unknown status does not prevent a backup.
    pub fn not_ready(&self) -> Option<&str> {
        let waits = ["Creating", "Updating", "Resuming", "Suspended", "WaitingForInput", "Maintenance"];
        self.status.as_deref().filter(|status| waits.iter().any(|known| known.eq_ignore_ascii_case(status)))
    }
}

/// One backup in the API's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosting {
    /// Id used to delete and restore the backup.
    pub uuid: String,
    /// Name in Console.
    pub name: String,
    /// Time of creation.
    pub created: Option<Instant>,
    /// `In progress`, `Failed`, `Complete`, `-`, or a future value.
    pub status: String,
    /// Status of each component.
    parts: Vec<(Component, String)>,
}

/// Camunda's own backup schedule of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnSchedule {
    /// Name of the schedule.
    pub name: String,
    /// Five cron fields, in UTC.
    pub cron: String,
}

/// State of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restoring {
    /// `PENDING`, `VALIDATING`, `IN_PROGRESS`, `COMPLETED`, `FAILED`, `ABORTED`, or a future value.
    pub state: String,
    /// Reason of a failure, if reported.
    pub reason: Option<String>,
}

impl Restoring {
    /// Whether the restore certainly continues. An unknown state blocks nothing, because the API rejects
    /// conflicting requests itself.
    pub fn goes_on(&self) -> bool {
        matches!(self.state.as_str(), "PENDING" | "VALIDATING" | "IN_PROGRESS")
    }
}

impl Saas {
    /// Client for the cluster at that address.
    pub fn new(address: &SaasAddress, transport: SharedTransport) -> Self {
        let path = format!("/clusters/{}", segment(&address.cluster_id));
        let caller = Caller::new(Component::Saas.name(), &address.api, transport);
        Self { caller, path, address: address.clone() }
    }

    /// Client for the cluster at these addresses, if it is hosted.
    pub fn of(addresses: &Addresses, transport: &SharedTransport) -> Option<Self> {
        Some(Self::new(addresses.saas.as_ref()?, authenticated(addresses, transport)))
    }

    /// Address and limits of the cluster.
    pub fn address(&self) -> &SaasAddress {
        &self.address
    }

    /// Fetches the cluster details.
    pub async fn cluster(&self) -> Result<HostedCluster, ClientError> {
        let response = self.caller.call(Method::Get, &self.path, None, READ).await?;
        if response.status() == 404 {
            return Err(unknown_cluster(&response));
        }
        let body = expect(&response)?;
        let generation = text(&body["generation"]["name"]).unwrap_or_default();
        Ok(HostedCluster {
            name: text(&body["name"]).unwrap_or_default(),
            version: version_in(&generation),
            generation,
            status: text(&body["status"]["ready"]),
        })
    }

    /// Lists every backup of the cluster; the list does not identify the requester.
    pub async fn list(&self) -> Result<Vec<Hosting>, ClientError> {
        let response = self.caller.call(Method::Get, &self.below("backups"), None, READ).await?;
        if response.status() == 404 {
            return Err(unknown_cluster(&response));
        }
        if response.status() != 200 {
            return Err(response.failure());
        }
        response.array()?.iter().map(|row| hosting(&response, row)).collect()
    }

    /// Requests a backup. Every 4xx is a rejection: the response for a reached limit is undocumented.
    pub async fn start(&self) -> Result<Hosting, ClientError> {
        let response = self.caller.call(Method::Post, &self.below("backups"), None, START).await?;
        match response.status() {
            200..300 => hosting(&response, &response.object()?),
            404 => Err(unknown_cluster(&response)),
            409 => {
                Err(response
                    .error(ErrorKind::Refused, response.sentence(response.complaint().as_deref(), None)))
            }
            _ => Err(response.failure()),
        }
    }

    /// Fetches the state of one backup, from the list; the API has no call for a single backup.
    pub async fn see(&self, uuid: &str) -> Result<PartState, ClientError> {
        let listed = self.list().await?;
        Ok(listed.iter().find(|backup| backup.uuid == uuid).map_or(PartState::Absent, Hosting::seen))
    }

    /// Requests the deletion of a backup.
    pub async fn delete(&self, uuid: &str) -> Result<(), ClientError> {
        let response = self.caller.call(Method::Delete, &self.one(uuid), None, DELETE).await?;
        match response.status() {
            // A 404 is no error: the caller reads the list of backups to see whether the backup is gone.
            200..300 | 404 => Ok(()),
            _ => Err(response.failure()),
        }
    }

    /// Camunda's own backup schedule of the cluster, if there is one.
    pub async fn schedule(&self) -> Result<Option<OwnSchedule>, ClientError> {
        let response = self.caller.call(Method::Get, &self.below("backups/schedule"), None, READ).await?;
        if matches!(response.status(), 404 | 405) {
            return Ok(None);
        }
        let body = expect(&response)?;
        let name = text(&body["name"]).unwrap_or_default();
        Ok(text(&body["schedule"]).map(|cron| OwnSchedule { name, cron }))
    }

    /// Requests a restore of the cluster to that backup.
    pub async fn restore(&self, uuid: &str) -> Result<Restoring, ClientError> {
        let response = self.caller.call(Method::Post, &self.restore_of(uuid), None, START).await?;
        match response.status() {
            409 => {
                Err(response
                    .error(ErrorKind::Refused, response.sentence(response.complaint().as_deref(), None)))
            }
            // An accepted request may have a response without a body.
            200..300 if response.is_empty() => Ok(Restoring { state: "PENDING".to_owned(), reason: None }),
            _ => restoring(&response),
        }
    }

    /// Fetches the state of a restore.
    pub async fn restore_state(&self, uuid: &str) -> Result<Restoring, ClientError> {
        restoring(&self.caller.call(Method::Get, &self.restore_of(uuid), None, READ).await?)
    }

    fn below(&self, path: &str) -> String {
        format!("{}/{path}", self.path)
    }

    fn one(&self, uuid: &str) -> String {
        self.below(&format!("backups/{}", segment(uuid)))
    }

    fn restore_of(&self, uuid: &str) -> String {
        format!("{}/restore", self.one(uuid))
    }
}

impl Hosting {
    /// Whether the backup is still running.
    pub fn in_progress(&self) -> bool {
        self.status.eq_ignore_ascii_case("in progress")
    }

    /// State of the backup in our terms.
    pub fn seen(&self) -> PartState {
        let parts = self.parts.iter().filter(|(_, status)| status != "-").map(|(component, status)| Part {
            name: component.name().to_owned(),
            state: status.to_ascii_uppercase(),
            started_at: self.created,
            ..Part::default()
        });
        let progress = Progress { parts: parts.collect() };
        let unclear = |reason: String| PartState::Unclear { reason };
        match self.status.to_ascii_lowercase().as_str() {
            "in progress" => PartState::Running(progress),
            "complete" | "completed" => match progress.parts.iter().find(|part| !part.is_done()) {
                Some(part) => {
                    unclear(format!("saas reports Complete, but its {} is {}", part.name, part.state))
                }
                None => PartState::Completed(progress),
            },
            "failed" => {
                let failed = progress.parts.iter().filter(|part| part.state == "FAILED");
                let names: Vec<&str> = failed.map(|part| part.name.as_str()).collect();
                let of = if names.is_empty() { String::new() } else { format!(" of {}", names.join(", ")) };
                let reason = format!("Camunda reports that its backup{of} failed: see Console");
                PartState::Failed { reason, progress }
            }
            "-" | "" => unclear("saas reports `-`, which is neither progress nor an end".to_owned()),
            _ => unclear(format!("saas reports {}, an unknown state", self.status)),
        }
    }
}

fn unknown_cluster(response: &ParsedResponse) -> ClientError {
    let hint = "this client's organization has no such cluster: correct `cluster_id` or `api`, or create the client in the organization that has the cluster";
    response.error(ErrorKind::Missing, response.sentence(response.complaint().as_deref(), Some(hint)))
}

fn hosting(response: &ParsedResponse, row: &Value) -> Result<Hosting, ClientError> {
    let status = |key: &str| text(&row[key]).unwrap_or_else(|| "-".to_owned());
    let of = |(component, key)| (component, status(key));
    Ok(Hosting {
        uuid: text(&row["uuid"]).ok_or_else(|| response.unknown_shape())?,
        name: text(&row["name"]).unwrap_or_default(),
        created: instant(&row["created"]),
        status: status("status"),
        parts: [
            (Component::Zeebe, "zeebeStatus"),
            (Component::Operate, "operateStatus"),
            (Component::Tasklist, "tasklistStatus"),
            (Component::Optimize, "optimizeStatus"),
        ]
        .map(of)
        .into(),
    })
}

fn restoring(response: &ParsedResponse) -> Result<Restoring, ClientError> {
    match response.status() {
        // The API differs between organizations, and some do not have this call.
        404 | 405 | 501 => {
            let hint = "this backup cannot be restored by the API: see it in Console";
            Err(response
                .error(ErrorKind::Refused, response.sentence(response.complaint().as_deref(), Some(hint))))
        }
        200..300 => {
            let body = response.object()?;
            let state = text(&body["state"]).or_else(|| text(&body["status"]));
            let reason =
                text(&body["reason"]).or_else(|| text(&body["message"])).or_else(|| text(&body["error"]));
            Ok(Restoring { state: state.ok_or_else(|| response.unknown_shape())?, reason })
        }
        _ => Err(response.failure()),
    }
}

fn expect(response: &ParsedResponse) -> Result<Value, ClientError> {
    if response.status() == 200 { response.object() } else { Err(response.failure()) }
}

/// First `8.x` or `8.x.y` in a generation's name.
fn version_in(generation: &str) -> Option<Version> {
    let words = generation.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    words.map(|word| word.trim_matches('.')).find_map(|word| word.parse().ok())
}

/// Error for a generation without support for backups. A generation without a number is left to the API to
/// judge.
pub fn too_old(hosted: &HostedCluster) -> Option<ClientError> {
    let version = hosted.version.as_ref()?;
    let old = (version.major, version.minor, version.patch.unwrap_or(u32::MAX)) < (8, 2, 4);
    old.then(|| {
        let generation = &hosted.generation;
        refused("saas", format!("the cluster runs {generation}, and Camunda 8 SaaS supports backups from 8.2.4 on: update it in Console"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camunda::canned::Canned;
    use rstest::rstest;
    use std::sync::Arc;
    use std::time::Duration;

    const JSON: &str = "application/json";
    const ID: &str = "5cd2e4e1-6a0c-4d2a-9a5a-1f2f3c4d5e6f";

    fn saas(canned: &Arc<Canned>) -> Saas {
        let address = SaasAddress {
            api: "https://api.example".into(),
            cluster_id: ID.into(),
            min_interval: Duration::from_mins(15),
            max_backups: 3,
        };
        Saas::new(&address, canned.shared())
    }

    fn row(uuid: &str, status: &str, optimize: &str) -> String {
        format!(
            r#"{{"uuid":"{uuid}","name":"manual 1","created":"2026-01-15T10:00:00.000Z","completed":"","status":"{status}","zeebeStatus":"{status}","tasklistStatus":"{status}","operateStatus":"{status}","optimizeStatus":"{optimize}","generationName":"Camunda 8.6+gen2","somethingNew":{{"a":1}}}}"#
        )
    }

    #[tokio::test]
    async fn backup_is_requested_without_body_and_found_in_the_list() {
        let canned = Canned::new();
        canned.of_type(200, JSON, &row("u-1", "In progress", "-"));
        canned.of_type(
            200,
            JSON,
            &format!("[{},{}]", row("u-0", "Complete", "-"), row("u-1", "Complete", "-")),
        );
        canned.of_type(200, JSON, "[]");
        let saas = saas(&canned);
        let begun = saas.start().await.unwrap();
        assert_eq!((begun.uuid.as_str(), begun.in_progress()), ("u-1", true));
        let PartState::Completed(progress) = saas.see("u-1").await.unwrap() else { panic!("not complete") };
        let names: Vec<&str> = progress.parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["zeebe", "operate", "tasklist"], "a component with status `-` is no part of it");
        assert_eq!(progress.earliest_start(), Some("2026-01-15T10:00:00Z".parse().unwrap()));
        assert_eq!(saas.see("u-1").await.unwrap(), PartState::Absent);
        assert_eq!(
            canned.requested(),
            [
                format!("POST https://api.example/clusters/{ID}/backups"),
                format!("GET https://api.example/clusters/{ID}/backups"),
                format!("GET https://api.example/clusters/{ID}/backups"),
            ]
        );
    }

    #[tokio::test]
    async fn unknown_saas_states_are_accepted() {
        let canned = Canned::new();
        let rows = [
            row("a", "Failed", "-"),
            row("b", "Shelved", "-"),
            row("c", "-", "-"),
            row("d", "Complete", "In progress"),
        ];
        for _ in 0..4 {
            canned.of_type(200, JSON, &format!("[{}]", rows.join(",")));
        }
        let saas = saas(&canned);
        let PartState::Failed { reason, .. } = saas.see("a").await.unwrap() else { panic!("not failed") };
        assert_eq!(reason, "Camunda reports that its backup of zeebe, operate, tasklist failed: see Console");
        for (uuid, reason) in [
            ("b", "saas reports Shelved, an unknown state"),
            ("c", "saas reports `-`, which is neither progress nor an end"),
            ("d", "saas reports Complete, but its optimize is IN PROGRESS"),
        ] {
            assert_eq!(saas.see(uuid).await.unwrap(), PartState::Unclear { reason: reason.into() });
        }
    }

    #[tokio::test]
    async fn only_the_uuid_is_a_required_field() {
        let canned = Canned::new();
        canned.of_type(200, JSON, r#"[{"uuid":"u-1","status":"Complete"}]"#).of_type(
            200,
            JSON,
            r#"[{"status":"Complete"}]"#,
        );
        let saas = saas(&canned);
        assert_eq!(saas.see("u-1").await.unwrap(), PartState::Completed(Progress::default()));
        assert_eq!(
            saas.list().await.unwrap_err().to_string(),
            format!(
                "saas responded to GET /clusters/{ID}/backups with JSON of an unknown shape; check its address and version"
            )
        );
    }

    #[rstest]
    #[case("Camunda 8.6+gen2", Some("8.6"), false)]
    #[case("Zeebe 8.2.3", Some("8.2.3"), true)]
    #[case("Zeebe 8.2.4", Some("8.2.4"), false)]
    #[case("Zeebe 1.3.14", Some("1.3.14"), true)]
    #[case("Camunda 9.1+gen7", Some("9.1"), false)]
    #[case("Zeebe SNAPSHOT", None, false)]
    #[tokio::test]
    async fn generation_is_parsed_leniently_and_rejected_if_too_old(
        #[case] name: &str,
        #[case] version: Option<&str>,
        #[case] old: bool,
    ) {
        let canned = Canned::new();
        canned.of_type(200, JSON, &format!(r#"{{"uuid":"{ID}","name":"orders","generation":{{"name":"{name}","uuid":"g"}},"status":{{"ready":"Healthy"}}}}"#));
        let hosted = saas(&canned).cluster().await.unwrap();
        assert_eq!(hosted.version.as_ref().map(ToString::to_string).as_deref(), version);
        assert_eq!(hosted.not_ready(), None);
        let error = too_old(&hosted).map(|error| error.to_string());
        let expected = format!(
            "the cluster runs {name}, and Camunda 8 SaaS supports backups from 8.2.4 on: update it in Console"
        );
        assert_eq!(error, old.then_some(expected));
    }

    #[tokio::test]
    async fn rejections_name_the_remedy() {
        let canned = Canned::new();
        canned.of_type(404, JSON, r#"{"message":"Cluster not found"}"#);
        canned.of_type(409, JSON, r#"{"message":"A restore is in progress"}"#);
        canned.of_type(404, JSON, "");
        let saas = saas(&canned);
        let error = saas.start().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "saas returned 404 to POST /clusters/{ID}/backups: Cluster not found; this client's organization has no such cluster: correct `cluster_id` or `api`, or create the client in the organization that has the cluster"
            )
        );
        let error = saas.start().await.unwrap_err();
        assert_eq!(
            (error.kind.clone(), error.to_string()),
            (
                ErrorKind::Refused,
                format!("saas returned 409 to POST /clusters/{ID}/backups: A restore is in progress")
            )
        );
        assert_eq!(saas.schedule().await.unwrap(), None);
    }

    #[tokio::test]
    async fn restore_reports_its_state() {
        let canned = Canned::new();
        canned.of_type(200, JSON, r#"{"state":"VALIDATING"}"#).of_type(202, "", "").of_type(
            501,
            JSON,
            r#"{"message":"not available"}"#,
        );
        let saas = saas(&canned);
        assert_eq!(saas.restore_state("u 1").await.unwrap().state, "VALIDATING");
        assert_eq!(saas.restore("u-1").await.unwrap().state, "PENDING");
        assert_eq!(
            saas.restore("u-1").await.unwrap_err().to_string(),
            format!(
                "saas returned 501 to POST /clusters/{ID}/backups/u-1/restore: not available; this backup cannot be restored by the API: see it in Console"
            )
        );
        assert_eq!(
            canned.requested()[0],
            format!("GET https://api.example/clusters/{ID}/backups/u%201/restore")
        );
    }
}
