//! Operate, Tasklist and Optimize: their backups in the search engine.
//!
//! Owns `/actuator/backups` of a web app and the differences between the three. Must not know the search
//! engine.

use crate::camunda::call::{Caller, DELETE, READ, START};
use crate::camunda::error::ClientError;
use crate::camunda::part_state::{all_backups, one_backup};
use crate::camunda::reading::text;
use crate::camunda::response::ParsedResponse;
use crate::camunda::{Listed, Method, PartState, SharedTransport, authenticated, id_in_name};
use crate::domain::{Addresses, BackupId, Component, HistoryRoute};
use serde_json::{Value, json};

/// Client of a web app's management API, or of the common API since 8.8.
#[derive(Clone)]
pub struct WebApp {
    component: Component,
    caller: Caller,
    backups: &'static str,
}

impl WebApp {
    /// Client for `component` at `base`.
    pub fn new(component: Component, base: &str, transport: SharedTransport) -> Self {
        Self {
            component,
            caller: Caller::new(component.name(), base, transport),
            backups: "/actuator/backups",
        }
    }

    /// Client for the common API of Operate and Tasklist (8.8 and later), if the cluster has it.
    pub fn history(addresses: &Addresses, transport: &SharedTransport) -> Option<Self> {
        // If only the REST route exists, the address of Zeebe is that of the REST API.
        let (base, backups) = match addresses.routes.history {
            HistoryRoute::None => return None,
            HistoryRoute::Actuator => (&addresses.zeebe, "/actuator/backupHistory"),
            HistoryRoute::Rest => (addresses.rest.as_ref()?, "/v2/backups/history"),
        };
        let component = Component::History;
        let caller = Caller::new(component.name(), base, authenticated(addresses, transport));
        Some(Self { component, caller, backups })
    }

    /// Requests a backup. Returns the names of its snapshots; none if the app does not report them.
    pub async fn start(&self, id: BackupId) -> Result<Vec<String>, ClientError> {
        let body = json!({ "backupId": id.get() });
        let response = self.caller.call(Method::Post, self.backups, Some(body), START).await?;
        match response.status() {
            200 | 202 => self.scheduled(&response, id),
            _ => Err(response.failure()),
        }
    }

    /// Fetches the state of one backup. Absent right after the start is not final; incomplete may be
    /// permanent.
    pub async fn see(&self, id: BackupId) -> Result<PartState, ClientError> {
        let response = self.caller.call(Method::Get, &self.one(id), None, READ).await?;
        match response.status() {
            200 => one_backup(&response, id),
            404 => self.missing(&response, id).await.map(|()| PartState::Absent),
            400 => {
                let error = response.failure();
                // Operate on OpenSearch cannot parse IN_PROGRESS and responds 400.
                if error.is_transient() {
                    Ok(PartState::Unclear { reason: error.message })
                } else {
                    Err(error)
                }
            }
            _ => Err(response.failure()),
        }
    }

    /// Lists every backup of this app in its repository. Operate on OpenSearch cannot list during a backup.
    pub async fn list(&self) -> Result<Vec<Listed>, ClientError> {
        let response = self.caller.call(Method::Get, self.backups, None, READ).await?;
        if response.status() == 200 { all_backups(&response) } else { Err(response.failure()) }
    }

    /// Requests deletion. The deletion happens later, and covers only the parts that exist now.
    pub async fn delete(&self, id: BackupId) -> Result<(), ClientError> {
        let response = self.caller.call(Method::Delete, &self.one(id), None, DELETE).await?;
        match response.status() {
            204 => Ok(()),
            404 => self.missing(&response, id).await,
            _ => Err(response.failure()),
        }
    }

    /// `Ok` if this 404 means that there is no such backup. Early 8.2 leaves the 404 to Spring, and Spring's
    /// page is the same for a wrong path. A successful list call shows that the path is right.
    async fn missing(&self, response: &ParsedResponse, id: BackupId) -> Result<(), ClientError> {
        if response.reports_no_such_backup(id.get()) {
            return Ok(());
        }
        if response.is_spring_error_page() {
            let list = self.caller.call(Method::Get, self.backups, None, READ).await?;
            if list.status() == 200 && all_backups(&list)?.iter().all(|listed| listed.id != id.get()) {
                return Ok(());
            }
        }
        Err(response.failure())
    }

    fn one(&self, id: BackupId) -> String {
        format!("{}/{id}", self.backups)
    }

    fn scheduled(&self, response: &ParsedResponse, id: BackupId) -> Result<Vec<String>, ClientError> {
        let body = response.object()?;
        match &body["scheduledSnapshots"] {
            Value::Array(names) => {
                let names: Option<Vec<String>> = names.iter().map(text).collect();
                let names = names.ok_or_else(|| response.unknown_shape())?;
                // The snapshot names are needed for the later deletion.
                match names.iter().find(|name| id_in_name(name).is_some_and(|other| other != id.get())) {
                    Some(other) => Err(response.another_backup_error(other)),
                    None => Ok(names),
                }
            }
            // Optimize reports only that the backup was scheduled, and the REST API may do the same.
            Value::Null if self.component == Component::Optimize || self.backups.starts_with("/v2") => {
                Ok(Vec::new())
            }
            _ => Err(response.unknown_shape()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camunda::ErrorKind;
    use crate::camunda::canned::Canned;
    use rstest::rstest;
    use std::sync::Arc;

    const PROBLEM: &str = "application/problem+json";

    fn app(component: Component, canned: &Arc<Canned>) -> WebApp {
        WebApp::new(component, "http://app:8080", canned.shared())
    }

    fn id(value: i64) -> BackupId {
        BackupId::new(value).unwrap()
    }

    /// A cache or gateway may mix responses up: the requested backup may have started nevertheless.
    #[tokio::test]
    async fn response_about_another_backup_is_rejected() {
        let canned = Canned::new();
        canned.json(200, r#"{"scheduledSnapshots":["camunda_operate_6_8.6.0_part_1_of_6"]}"#);
        canned.json(200, r#"{"backupId":7,"state":"COMPLETED","failureReason":null,"details":[{"snapshotName":"camunda_operate_6_8.6.0_part_1_of_6","state":"SUCCESS","startTime":"2026-11-23T05:59:36.475+0000","failures":[]}]}"#);
        let operate = app(Component::Operate, &canned);
        let error = operate.start(id(7)).await.unwrap_err();
        assert!(error.may_have_acted(), "{error:?}");
        assert_eq!(
            error.to_string(),
            "operate responded to POST /actuator/backups with a part of another backup, camunda_operate_6_8.6.0_part_1_of_6: check for a cache or a gateway between"
        );
        let error = operate.see(id(7)).await.unwrap_err();
        assert!(error.to_string().contains("with a part of another backup"), "{error}");
    }

    #[tokio::test]
    async fn start_returns_the_snapshot_names() {
        let canned = Canned::new();
        canned.json(
            200,
            "{\n  \"scheduledSnapshots\" : [ \"camunda_tasklist_200_8.6.0_part_1_of_6\", \"camunda_tasklist_200_8.6.0_part_2_of_6\" ]\n}",
        );
        let names = app(Component::Tasklist, &canned).start(id(200)).await.unwrap();
        assert_eq!(
            names,
            ["camunda_tasklist_200_8.6.0_part_1_of_6", "camunda_tasklist_200_8.6.0_part_2_of_6"]
        );
        assert_eq!(canned.requested(), [r#"POST http://app:8080/actuator/backups {"backupId":200}"#]);
    }

    #[tokio::test]
    async fn only_optimize_may_omit_the_snapshot_names() {
        let canned = Canned::new();
        let body = r#"{"message":"Backup creation for ID 200 has been scheduled."}"#;
        canned.json(202, body).json(202, body);
        assert!(app(Component::Optimize, &canned).start(id(200)).await.unwrap().is_empty());
        let error = app(Component::Operate, &canned).start(id(200)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "operate responded to POST /actuator/backups with JSON of an unknown shape; check its address and version"
        );
        assert!(error.may_have_acted());
    }

    /// Operate 8.6.0 on OpenSearch, from the start of a backup to its end.
    #[tokio::test]
    async fn operate_proceeds_from_404_400_and_incomplete_to_completed() {
        let canned = Canned::new();
        canned.of_type(404, PROBLEM, r#"{"status":404,"message":"No backup with id [200] found.","instance":"d4b7abbc-7385-4a74-a445-892730a63308","type":"Requested resource not found"}"#);
        canned.of_type(400, PROBLEM, r#"{"status":400,"message":"Exception occurred when searching for backup with ID [200].","instance":"0dfb8a12-bdf0-4b66-9bf0-d118759f4518","type":"Invalid request"}"#);
        canned.json(200, r#"{"backupId":200,"state":"INCOMPLETE","failureReason":null,"details":[{"snapshotName":"camunda_operate_200_8.6.0_part_1_of_6","state":"SUCCESS","startTime":"2026-11-23T05:59:36.678+0000","failures":null}]}"#);
        canned.json(200, r#"{"backupId":200,"state":"COMPLETED","failureReason":null,"details":[{"snapshotName":"camunda_operate_200_8.6.0_part_1_of_6","state":"SUCCESS","startTime":"2026-11-23T05:59:36.678+0000","failures":null},{"snapshotName":"camunda_operate_200_8.6.0_part_2_of_6","state":"SUCCESS","startTime":"2026-11-23T05:59:38.547+0000","failures":null}]}"#);
        let operate = app(Component::Operate, &canned);
        assert_eq!(operate.see(id(200)).await.unwrap(), PartState::Absent);
        let reason = "operate returned 400 to GET /actuator/backups/200: Exception occurred when searching for \
                      backup with ID [200]";
        assert_eq!(operate.see(id(200)).await.unwrap(), PartState::Unclear { reason: reason.to_owned() });
        let PartState::Incomplete(part) = operate.see(id(200)).await.unwrap() else {
            panic!("not incomplete")
        };
        assert_eq!(part.earliest_start(), Some("2026-11-23T05:59:36.678Z".parse().unwrap()));
        let PartState::Completed(whole) = operate.see(id(200)).await.unwrap() else {
            panic!("not completed")
        };
        assert_eq!(whole.done(), 2);
        assert_ne!(part.fingerprint(), whole.fingerprint());
    }

    #[tokio::test]
    async fn tasklist_alternates_between_running_and_incomplete() {
        let canned = Canned::new();
        let part = |state: &str, part: &str| {
            format!(
                "{{\n  \"backupId\" : 200,\n  \"state\" : \"{state}\",\n  \"failureReason\" : null,\n  \"details\" : [ {{\n    \"snapshotName\" : \"camunda_tasklist_200_8.6.0_part_1_of_6\",\n    \"state\" : \"{part}\",\n    \"startTime\" : \"2026-11-23T05:59:36.475+0000\",\n    \"failures\" : [ ]\n  }} ]\n}}"
            )
        };
        canned.json(200, &part("IN_PROGRESS", "IN_PROGRESS"));
        canned.json(200, &part("INCOMPLETE", "SUCCESS"));
        let tasklist = app(Component::Tasklist, &canned);
        let PartState::Running(first) = tasklist.see(id(200)).await.unwrap() else { panic!("not running") };
        let PartState::Incomplete(second) = tasklist.see(id(200)).await.unwrap() else {
            panic!("not incomplete")
        };
        assert_ne!(first.fingerprint(), second.fingerprint());
        assert_eq!(second.parts[0].reason, None);
    }

    #[rstest]
    #[case("COMPLETE")]
    #[case("COMPLETED")]
    #[case("completed")]
    #[tokio::test]
    async fn optimize_complete_and_completed_are_the_same(#[case] state: &str) {
        let canned = Canned::new();
        canned.json(200, &format!(r#"{{"backupId":7,"state":"{state}","failureReason":"","details":[{{"snapshotName":"camunda_optimize_7_8.6.0_part_1_of_2","state":"SUCCESS","startTime":"2026-11-23T05:59:36.475+0000","failures":[]}}]}}"#));
        let seen = app(Component::Optimize, &canned).see(id(7)).await.unwrap();
        assert!(matches!(seen, PartState::Completed(_)), "{seen:?}");
    }

    #[tokio::test]
    async fn failed_part_reports_its_reason() {
        let canned = Canned::new();
        canned.json(200, r#"{"backupId":7,"state":"FAILED","failureReason":null,"details":[{"snapshotName":"camunda_operate_7_8.6.0_part_1_of_6","state":"PARTIAL","startTime":"2026-11-23T05:59:36.475+0000","failures":["operate-variable-8.3.0_ primary shard is not allocated"]}]}"#);
        canned.json(200, r#"{"backupId":7,"state":"INCOMPATIBLE","failureReason":null,"details":[]}"#);
        let operate = app(Component::Operate, &canned);
        let PartState::Failed { reason, .. } = operate.see(id(7)).await.unwrap() else {
            panic!("not failed")
        };
        assert_eq!(reason, "operate-variable-8.3.0_ primary shard is not allocated");
        let PartState::Failed { reason, .. } = operate.see(id(7)).await.unwrap() else {
            panic!("not failed")
        };
        assert_eq!(reason, "operate reports INCOMPATIBLE and gives no reason");
    }

    #[rstest]
    #[case(Component::Operate, 400, r#"{"status":400,"message":"No repository with name [camunda] could be found.","instance":"343da1de-740a-414e-8a7c-e120c8cb82f9","type":"Invalid request"}"#)]
    #[case(
        Component::Tasklist,
        500,
        "{\n  \"status\" : 500,\n  \"message\" : \"No repository with name [camunda] could be found.\",\n  \"instance\" : null\n}"
    )]
    #[case(Component::Optimize, 404, r#"{"errorCode":"notFoundError","errorMessage":"The server could not find the requested resource.","detailedMessage":"No repository with name [camunda] could be found.","reportDefinition":null}"#)]
    #[tokio::test]
    async fn missing_repository_is_recognized_for_every_status(
        #[case] component: Component,
        #[case] status: u16,
        #[case] body: &str,
    ) {
        let canned = Canned::new();
        canned.of_type(status, PROBLEM, body).of_type(status, PROBLEM, body).of_type(status, PROBLEM, body);
        let app = app(component, &canned);
        let errors = [
            app.start(id(219)).await.unwrap_err(),
            app.see(id(219)).await.unwrap_err(),
            app.delete(id(219)).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!((error.kind.clone(), error.status), (ErrorKind::Missing, Some(status)));
            assert!(
                error.to_string().ends_with(
                    ": No repository with name [camunda] could be found; register it in the search engine, or \
                     correct the repository name"
                ),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn absent_backup_of_optimize_is_recognized_by_its_own_text() {
        let canned = Canned::new();
        let body = r#"{"errorCode":"notFoundError","errorMessage":"The server could not find the requested resource.","detailedMessage":"No Optimize backup with ID [1679426843] could be found.","reportDefinition":null}"#;
        canned.json(404, body).json(404, body);
        let optimize = app(Component::Optimize, &canned);
        assert_eq!(optimize.see(id(1_679_426_843)).await.unwrap(), PartState::Absent);
        optimize.delete(id(1_679_426_843)).await.unwrap();
    }

    /// Spring's page for a bare 404 of a controller equals the page for a wrong path; the list call
    /// distinguishes the two.
    #[tokio::test]
    async fn list_decides_about_a_404_from_spring() {
        let canned = Canned::new();
        let page = r#"{"timestamp":"2023-03-21T20:50:28.707+00:00","status":404,"error":"Not Found","message":"No message available","path":"/actuator/backups/5"}"#;
        canned.json(404, page).json(200, "[]");
        canned.json(404, page).json(404, page);
        canned.json(404, page).json(200, r#"[{"backupId":5,"state":"COMPLETED"}]"#);
        let operate = app(Component::Operate, &canned);
        assert_eq!(operate.see(id(5)).await.unwrap(), PartState::Absent);
        let error = operate.see(id(5)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "operate returned 404 to GET /actuator/backups/5: Not Found; no API at that path, check the \
             component's address"
        );
        assert_eq!(operate.see(id(5)).await.unwrap_err().kind, ErrorKind::Missing);
    }

    #[rstest]
    #[case("Another backup is running at the moment", ErrorKind::Conflict { highest: None }, false)]
    #[case(
        "Exception occurred when validating whether backup with ID [206] already exists.",
        ErrorKind::Conflict { highest: None },
        false
    )]
    #[case(
        "Exception occurred when validating existence of repository with name [camunda].",
        ErrorKind::Refused,
        true
    )]
    #[case("A backup with ID [200] already exists. Found snapshots: [jxqevvX-QXmr45zF1PP-bg]", ErrorKind::Conflict { highest: None }, false)]
    #[case("BackupId must be a non-negative Integer. Received value: -1", ErrorKind::Refused, false)]
    #[tokio::test]
    async fn status_400_is_classified_by_its_text(
        #[case] message: &str,
        #[case] kind: ErrorKind,
        #[case] transient: bool,
    ) {
        let canned = Canned::new();
        canned.of_type(
            400,
            PROBLEM,
            &json!({"status": 400, "message": message, "type": "Invalid request"}).to_string(),
        );
        let error = app(Component::Operate, &canned).start(id(206)).await.unwrap_err();
        assert_eq!((error.kind.clone(), error.is_transient()), (kind, transient));
        assert!(!error.may_have_acted());
    }

    #[tokio::test]
    async fn operate_cannot_list_during_a_backup() {
        let canned = Canned::new();
        canned.of_type(400, PROBLEM, r#"{"status":400,"message":"Exception occurred when searching for backups: No enum constant io.camunda.operate.store.opensearch.response.SnapshotState.IN_PROGRESS","instance":"b8ef43fb-0abd-4fd2-b30b-11a331e0df42","type":"Invalid request"}"#);
        canned.json(200, r#"[{"backupId":0,"state":"COMPLETED","failureReason":null,"details":[{"snapshotName":"camunda_operate_0_8.6.0_part_6_of_6","state":"SUCCESS","startTime":"2026-11-23T05:52:17.432+0000","failures":null}]}]"#);
        let operate = app(Component::Operate, &canned);
        let error = operate.list().await.unwrap_err();
        assert!(error.kind == ErrorKind::Refused && error.is_transient());
        let list = operate.list().await.unwrap();
        assert_eq!((list[0].id, list[0].started_at), (0, Some("2026-11-23T05:52:17.432Z".parse().unwrap())));
    }
}
