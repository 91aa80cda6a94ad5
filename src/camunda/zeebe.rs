//! The brokers: pause and resume of exporting, and the brokers' own backups.
//!
//! Owns the paths below `/actuator` of a broker or gateway. Must not know the order of a backup's steps.

pub(crate) mod condition;

use crate::camunda::call::{Caller, DELETE, EXPORTERS, READ, START, SWITCH};
use crate::camunda::error::{ClientError, ErrorKind};
use crate::camunda::part_state::{all_backups, one_backup};
use crate::camunda::reading::{int, text};
use crate::camunda::{Checkpoints, Exporters, Listed, Method, PartState, SharedTransport, authenticated};
use crate::domain::{Addresses, BackupId, PauseMode, RuntimeRoute};
use serde_json::json;

/// Number of brokers queried concurrently.
const AT_ONCE: usize = 8;

/// Client of a broker's or gateway's management API, or of the REST API if that is the route.
#[derive(Clone)]
pub struct Zeebe {
    gateway: Caller,
    brokers: Vec<Caller>,
    /// Whether the config lists no brokers. The address of `zeebe` may then be that of a gateway.
    unlisted: bool,
    route: RuntimeRoute,
}

/// Response of the brokers to the request for a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// Backup id, if the response contains it: 8.9 and later.
    pub id: Option<BackupId>,
}

/// Permission to resume exporting. Only the module `pause` implements it, so that no other module can resume by
/// mistake. The boundaries test checks that.
pub trait ResumeAuthority {}

impl Zeebe {
    /// Client for `addresses.zeebe`. Exporter phases are read from the configured brokers, or from that
    /// address if none is configured.
    pub fn new(addresses: &Addresses, transport: &SharedTransport) -> Self {
        let transport = authenticated(addresses, transport);
        let caller = |base: &String| Caller::new("zeebe", base, transport.clone());
        let gateway = caller(&addresses.zeebe);
        let brokers = match addresses.routes.runtime {
            // The REST API does not report phases.
            RuntimeRoute::Rest => addresses.brokers.iter().map(caller).collect(),
            _ if addresses.brokers.is_empty() => vec![gateway.clone()],
            _ => addresses.brokers.iter().map(caller).collect(),
        };
        let unlisted = addresses.brokers.is_empty();
        Self { gateway, brokers, unlisted, route: addresses.routes.runtime }
    }

    /// Pauses exporting on every partition. After an error some partitions may be paused.
    pub async fn pause(&self, mode: PauseMode) -> Result<(), ClientError> {
        // Only the query parameter makes the pause soft; the broker ignores a body and pauses completely.
        match mode {
            PauseMode::Soft => self.switch("pause?soft=true").await,
            PauseMode::Hard => self.switch("pause").await,
        }
    }

    /// Resumes exporting on every partition and thereby ends every pause, including foreign pauses.
    ///
    /// # Errors
    /// The response that did not confirm the resume.
    pub async fn resume(&self, _authority: &impl ResumeAuthority) -> Result<(), ClientError> {
        self.switch("resume").await
    }

    /// Exporter of every partition, as reported by its leader.
    pub async fn exporters(&self) -> Result<Exporters, ClientError> {
        let mut exporters = Exporters::default();
        for some in self.brokers.chunks(AT_ONCE) {
            let calls =
                some.iter().map(|broker| broker.call(Method::Get, "/actuator/partitions", None, EXPORTERS));
            for response in futures::future::join_all(calls).await {
                let response = response?;
                match response.status() {
                    200 => {
                        exporters.add(&response)?;
                        exporters.readable = true;
                    }
                    404 => {}
                    _ => return Err(response.failure()),
                }
            }
        }
        Ok(exporters)
    }

    /// Requests a backup under `id`, or under an id that the cluster chooses. `Ok` only means scheduled.
    pub async fn start(&self, id: Option<BackupId>) -> Result<Scheduled, ClientError> {
        // Without an id, body and content type must be absent; otherwise the request reaches another
        // operation.
        let body = id.map(|id| json!({ "backupId": id.get() }));
        let response = self.gateway.call(Method::Post, self.backups(), body, START).await?;
        match response.status() {
            200 | 202 => {
                let given = int(&response.object()?["backupId"]).and_then(BackupId::new);
                if id.is_none() && given.is_none() {
                    Err(response.unknown_shape())
                } else {
                    Ok(Scheduled { id: given })
                }
            }
            _ => Err(response.failure()),
        }
    }

    /// Fetches the state of one backup. Absent right after the start is not final.
    pub async fn see(&self, id: BackupId) -> Result<PartState, ClientError> {
        let response = self.gateway.call(Method::Get, &self.one(id), None, READ).await?;
        match response.status() {
            200 => one_backup(&response, id),
            404 if response.reports_no_such_backup(id.get()) => Ok(PartState::Absent),
            _ => Err(response.failure()),
        }
    }

    /// Lists every backup in the store.
    pub async fn list(&self) -> Result<Vec<Listed>, ClientError> {
        let response = self.gateway.call(Method::Get, self.backups(), None, READ).await?;
        if response.status() == 200 { all_backups(&response) } else { Err(response.failure()) }
    }

    /// Requests deletion. `Ok` does not mean that the backup is gone; a running backup continues.
    pub async fn delete(&self, id: BackupId) -> Result<(), ClientError> {
        let response = self.gateway.call(Method::Delete, &self.one(id), None, DELETE).await?;
        match response.status() {
            204 => Ok(()),
            404 if response.reports_no_such_backup(id.get()) => Ok(()),
            _ => Err(response.failure()),
        }
    }

    /// The brokers' checkpoints and ranges; 8.9 and later.
    pub async fn checkpoints(&self) -> Result<Checkpoints, ClientError> {
        let response =
            self.gateway.call(Method::Get, &format!("{}/state", self.backups()), None, READ).await?;
        if response.status() == 200 { Checkpoints::read(&response) } else { Err(response.failure()) }
    }

    fn backups(&self) -> &'static str {
        match self.route {
            RuntimeRoute::Backups => "/actuator/backups",
            RuntimeRoute::BackupRuntime => "/actuator/backupRuntime",
            RuntimeRoute::Rest => "/v2/backups/runtime",
        }
    }

    fn one(&self, id: BackupId) -> String {
        format!("{}/{id}", self.backups())
    }

    async fn switch(&self, to: &str) -> Result<(), ClientError> {
        let exporting = match self.route {
            RuntimeRoute::Rest => "/v2/exporting",
            _ => "/actuator/exporting",
        };
        let response = self.gateway.call(Method::Post, &format!("{exporting}/{to}"), None, SWITCH).await?;
        match response.status() {
            204 => return Ok(()),
            200 => {}
            _ => return Err(response.failure()),
        }
        // The HTTP status 200 is meaningless here: the true status is inside the body.
        let body = response.object()?;
        match int(&body["status"]) {
            Some(204) => Ok(()),
            Some(status) => {
                let call = response.call();
                let reason = text(&body["body"]["message"]).or_else(|| text(&body["body"]));
                let reason = reason.unwrap_or_else(|| "no reason given, see the broker's log".to_owned());
                let message = format!(
                    "zeebe responded to {call} with status {status} inside a 200, so some partitions may not follow: {reason}"
                );
                let mut error = response.error(ErrorKind::Server, message);
                error.status = u16::try_from(status).ok();
                Err(error)
            }
            None => Err(response.unknown_shape()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Test;
    impl ResumeAuthority for Test {}

    use crate::camunda::canned::Canned;
    use crate::camunda::{ExportingState, Phase, TransportError};
    use rstest::rstest;
    use std::sync::Arc;

    fn at(zeebe: &str) -> Addresses {
        Addresses { zeebe: zeebe.into(), ..Addresses::default() }
    }

    fn zeebe(canned: &Arc<Canned>) -> Zeebe {
        Zeebe::new(&at("http://zeebe:9600"), &canned.shared())
    }

    fn id(value: i64) -> BackupId {
        BackupId::new(value).unwrap()
    }

    #[tokio::test]
    async fn switch_uses_the_status_inside_the_body() {
        let canned = Canned::new();
        canned.of_type(200, "application/json", r#"{"body":null,"status":204,"contentType":null}"#);
        canned.of_type(204, "", "");
        canned.json(200, r#"{"body":null,"status":"204","contentType":null}"#);
        let zeebe = zeebe(&canned);
        zeebe.pause(PauseMode::Soft).await.unwrap();
        zeebe.pause(PauseMode::Hard).await.unwrap();
        zeebe.resume(&Test).await.unwrap();
        assert_eq!(
            canned.requested(),
            [
                "POST http://zeebe:9600/actuator/exporting/pause?soft=true",
                "POST http://zeebe:9600/actuator/exporting/pause",
                "POST http://zeebe:9600/actuator/exporting/resume",
            ]
        );
    }

    #[tokio::test]
    async fn status_500_inside_a_200_is_a_server_error_with_its_body_as_evidence() {
        let canned = Canned::new();
        let trace =
            r#"{"methodName":"post","fileName":"ExportingEndpoint.java","lineNumber":46},"#.repeat(100);
        canned.json(
            200,
            &format!(
                r#"{{"body":{{"cause":null,"stackTrace":[{trace}{{}}],"message":null}},"status":500,"contentType":null}}"#
            ),
        );
        let error = zeebe(&canned).resume(&Test).await.unwrap_err();
        assert_eq!((error.kind.clone(), error.status), (ErrorKind::Server, Some(500)));
        assert!(error.may_have_acted() && error.is_transient());
        assert_eq!(
            error.to_string(),
            "zeebe responded to POST /actuator/exporting/resume with status 500 inside a 200, so some partitions may not \
             follow: no reason given, see the broker's log"
        );
        assert!(
            error.evidence.starts_with("POST /actuator/exporting/resume -> 200, {\"body\":{\"cause\":null")
        );
        assert!(error.evidence.ends_with("\"status\":500,\"contentType\":null}"), "{}", error.evidence);
        assert!(error.evidence.len() < 1300);
    }

    #[rstest]
    #[case(200, "application/json", "null", ErrorKind::Unusable)]
    #[case(200, "application/json", "{}", ErrorKind::Unusable)]
    #[case(200, "application/json", "", ErrorKind::Unusable)]
    #[case(200, "text/html", "<html>Log in</html>", ErrorKind::Unusable)]
    #[case(202, "application/json", r#"{"status":204}"#, ErrorKind::Unusable)]
    #[case(301, "", "", ErrorKind::Unusable)]
    #[case(404, "application/json", r#"{"timestamp":"2026-11-23T06:02:04.878+00:00","status":404,"error":"Not Found","path":"/actuator/exporting"}"#, ErrorKind::Missing)]
    #[case(400, "application/problem+json", r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"Type mismatch.","instance":"/actuator/exporting/pause"}"#, ErrorKind::Refused)]
    #[case(503, "text/html", "<html><h1>503 Service Temporarily Unavailable</h1></html>", ErrorKind::Server)]
    #[tokio::test]
    async fn pause_fails_on_every_other_response(
        #[case] status: u16,
        #[case] content_type: &str,
        #[case] body: &str,
        #[case] kind: ErrorKind,
    ) {
        let canned = Canned::new();
        canned.of_type(status, content_type, body);
        let error = zeebe(&canned).pause(PauseMode::Soft).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
    }

    #[tokio::test]
    async fn unreached_component_did_not_act_and_silent_component_may_have_acted() {
        let canned = Canned::new();
        canned.fails(TransportError::NotSent("Connection refused".into()));
        canned.fails(TransportError::Lost("timeout after 10 s".into()));
        let zeebe = zeebe(&canned);
        let refused = zeebe.resume(&Test).await.unwrap_err();
        assert_eq!(refused.to_string(), "cannot connect to zeebe at http://zeebe:9600: Connection refused");
        assert!(!refused.may_have_acted() && refused.is_transient());
        let lost = zeebe.resume(&Test).await.unwrap_err();
        assert_eq!(
            lost.to_string(),
            "no complete response from zeebe to POST /actuator/exporting/resume: timeout after 10 s"
        );
        assert!(lost.may_have_acted() && lost.is_transient());
    }

    #[tokio::test]
    async fn errors_never_show_user_info_of_an_address() {
        let canned = Canned::new();
        canned.fails(TransportError::NotSent("http://bob:s3cret@zeebe:9600/x refused".into()));
        let zeebe = Zeebe::new(&at("http://bob:s3cret@zeebe:9600/ctx/"), &canned.shared());
        let error = zeebe.resume(&Test).await.unwrap_err();
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        assert!(
            error.evidence.starts_with("POST /ctx/actuator/exporting/resume -> no response"),
            "{}",
            error.evidence
        );
    }

    #[rstest]
    #[case("EXPORTING", "EXPORTING", ExportingState::Running)]
    #[case("SOFT_PAUSED", "SOFT_PAUSED", ExportingState::SoftPaused)]
    #[case("PAUSED", "PAUSED", ExportingState::Paused)]
    #[case("PAUSED", "SOFT_PAUSED", ExportingState::Mixed)]
    #[case("EXPORTING", "SOFT_PAUSED", ExportingState::Mixed)]
    #[case("EXPORTING", "CLOSED", ExportingState::Mixed)]
    #[case("CLOSED", "CLOSED", ExportingState::Mixed)]
    #[tokio::test]
    async fn phases_of_all_partitions_combine_into_one_state(
        #[case] one: &str,
        #[case] two: &str,
        #[case] state: ExportingState,
    ) {
        let canned = Canned::new();
        canned.json(
            200,
            &format!(
                r#"{{"1":{{"role":"LEADER","processedPosition":951,"snapshotId":null,"streamProcessorPhase":"PROCESSING","exporterPhase":"{one}","exportedPosition":967,"clock":{{"modificationType":"None"}}}},"2":{{"role":"LEADER","processedPosition":824,"exporterPhase":"{two}","exportedPosition":835}}}}"#
            ),
        );
        let exporters = zeebe(&canned).exporters().await.unwrap();
        assert_eq!(exporters.state(), state);
        assert_eq!(exporters.partitions[&1].exported_position, Some(967));
        assert_eq!(exporters.partitions[&1].processing.as_deref(), Some("PROCESSING"));
    }

    #[tokio::test]
    async fn leaders_of_all_brokers_are_merged_and_followers_are_ignored() {
        let canned = Canned::new();
        canned.json(
            200,
            r#"{"1":{"role":"LEADER","exporterPhase":"SOFT_PAUSED"},"2":{"role":"FOLLOWER","exporterPhase":null}}"#,
        );
        canned.json(
            200,
            r#"{"1":{"role":"FOLLOWER"},"2":{"role":"LEADER","exporterPhase":"SOFT_PAUSED","exportedPosition":"835"}}"#,
        );
        let brokers = ["http://b0:9600".to_owned(), "http://b1:9600".to_owned()];
        let exporters =
            Zeebe::new(&Addresses { brokers: brokers.into(), ..at("http://gateway:9600") }, &canned.shared())
                .exporters()
                .await
                .unwrap();
        assert_eq!(exporters.state(), ExportingState::SoftPaused);
        assert_eq!(exporters.partitions[&2].exported_position, Some(835));
        assert_eq!(
            canned.requested(),
            ["GET http://b0:9600/actuator/partitions", "GET http://b1:9600/actuator/partitions"]
        );
    }

    #[tokio::test]
    async fn partition_without_leader_is_named_and_not_paused() {
        let canned = Canned::new();
        canned.json(200, r#"{"1":{"role":"LEADER","exporterPhase":"PAUSED"},"2":{"role":"FOLLOWER"}}"#);
        let exporters = zeebe(&canned).exporters().await.unwrap();
        assert_eq!(exporters.partitions[&2].phase, Phase::Other("no leader visible".to_owned()));
        assert_eq!((exporters.state(), exporters.leaders_not_seen()), (ExportingState::Mixed, vec![2]));
    }

    #[tokio::test]
    async fn contradicting_leaders_result_in_mixed_state() {
        let canned = Canned::new();
        canned.json(200, r#"{"1":{"role":"LEADER","exporterPhase":"PAUSED"}}"#);
        canned.json(200, r#"{"1":{"role":"LEADER","exporterPhase":"EXPORTING"}}"#);
        let brokers = ["http://b0:9600".to_owned(), "http://b1:9600".to_owned()];
        let exporters =
            Zeebe::new(&Addresses { brokers: brokers.into(), ..at("http://b0:9600") }, &canned.shared())
                .exporters()
                .await
                .unwrap();
        assert_eq!(exporters.state(), ExportingState::Mixed);
    }

    #[tokio::test]
    async fn standalone_gateway_has_no_exporter_phases() {
        let canned = Canned::new();
        canned.of_type(
            404,
            "application/problem+json",
            r#"{"type":"about:blank","title":"Not Found","status":404,"instance":"/actuator/partitions"}"#,
        );
        let exporters = zeebe(&canned).exporters().await.unwrap();
        assert!(!exporters.readable);
        assert_eq!(exporters.state(), ExportingState::Unknown);
    }

    #[tokio::test]
    async fn backup_proceeds_from_404_to_completed() {
        let canned = Canned::new();
        canned.json(
            202,
            r#"{"message":"A backup with id 200 has been scheduled. Use GET actuator/backups/200 to monitor the status."}"#,
        );
        canned.json(404, r#"{"message":"Backup with id 200 does not exist"}"#);
        canned.json(
            200,
            r#"{"backupId":200,"state":"INCOMPLETE","details":[{"partitionId":1,"state":"IN_PROGRESS","createdAt":"2026-11-23T06:05:00.611203256Z","lastUpdatedAt":"2026-11-23T06:05:00.611203256Z","checkpointPosition":1071,"brokerVersion":"8.6.0"},{"partitionId":2,"state":"DOES_NOT_EXIST"}]}"#,
        );
        canned.json(
            200,
            r#"{"backupId":200,"state":"IN_PROGRESS","details":[{"partitionId":1,"state":"IN_PROGRESS","createdAt":"2026-11-23T06:05:00.611203256Z","lastUpdatedAt":"2026-11-23T06:05:00.811203256Z"},{"partitionId":2,"state":"IN_PROGRESS","createdAt":"2026-11-23T06:05:00.7Z"}]}"#,
        );
        canned.json(
            200,
            r#"{"backupId":"200","state":"COMPLETED","details":[{"partitionId":1,"state":"COMPLETED","createdAt":"2026-11-23T06:05:00.611203256Z","checkpointPosition":1071,"brokerVersion":"8.6.0"},{"partitionId":2,"state":"COMPLETED","createdAt":"2026-11-23T06:05:00.7Z"}]}"#,
        );
        let zeebe = zeebe(&canned);
        zeebe.start(Some(id(200))).await.unwrap();
        assert_eq!(canned.requested(), [r#"POST http://zeebe:9600/actuator/backups {"backupId":200}"#]);
        assert_eq!(zeebe.see(id(200)).await.unwrap(), PartState::Absent);
        let PartState::Incomplete(first) = zeebe.see(id(200)).await.unwrap() else {
            panic!("not incomplete")
        };
        let PartState::Running(second) = zeebe.see(id(200)).await.unwrap() else { panic!("not running") };
        let PartState::Completed(last) = zeebe.see(id(200)).await.unwrap() else { panic!("not completed") };
        assert_ne!(first.fingerprint(), second.fingerprint());
        assert_ne!(second.fingerprint(), last.fingerprint());
        assert_eq!((first.done(), last.done()), (0, 2));
        assert_eq!(last.parts[0].name, "partition-1");
        assert_eq!(last.parts[0].checkpoint_position, Some(1071));
        assert_eq!(last.parts[0].broker_version.as_deref(), Some("8.6.0"));
        assert_eq!(last.earliest_start(), Some("2026-11-23T06:05:00.611203256Z".parse().unwrap()));
    }

    #[tokio::test]
    async fn failed_backup_reports_its_reason() {
        let canned = Canned::new();
        canned.json(
            200,
            r#"{"backupId":212,"state":"FAILED","failureReason":"Backup on partition 1 failed due to Backup is cancelled due to leader change.. ","details":[{"partitionId":1,"state":"FAILED","failureReason":"Backup is cancelled due to leader change.","createdAt":"2026-11-23T06:06:38.01602476Z"}]}"#,
        );
        let PartState::Failed { reason, progress } = zeebe(&canned).see(id(212)).await.unwrap() else {
            panic!("not failed")
        };
        assert_eq!(reason, "Backup on partition 1 failed due to Backup is cancelled due to leader change..");
        assert_eq!(progress.parts[0].reason.as_deref(), Some("Backup is cancelled due to leader change."));
    }

    #[rstest]
    #[case(r#"{"backupId":5,"state":"HALF_DONE"}"#, "zeebe reports HALF_DONE, an unknown state")]
    #[case(
        r#"{"backupId":5,"state":"COMPLETED","details":null}"#,
        "zeebe reports COMPLETED, but lists no part"
    )]
    #[case(
        r#"{"backupId":5,"state":"COMPLETED","details":[{"partitionId":1,"state":"FAILED"}]}"#,
        "zeebe reports COMPLETED, but its part partition-1 is FAILED"
    )]
    #[tokio::test]
    async fn implausible_response_is_unclear(#[case] body: &str, #[case] expected: &str) {
        let canned = Canned::new();
        canned.json(200, body);
        assert_eq!(
            zeebe(&canned).see(id(5)).await.unwrap(),
            PartState::Unclear { reason: expected.to_owned() }
        );
    }

    #[rstest]
    #[case(200, r#"{"backupId":6,"state":"COMPLETED","details":[]}"#)]
    #[case(200, r#"{"backupId":5}"#)]
    #[case(200, r#"{"backupId":5,"state":"COMPLETED","details":{"1":"x"}}"#)]
    #[case(200, r#"{"backupId":5,"state":"COMPLETED","details":[{"state":"COMPLETED"}]}"#)]
    #[case(200, "[]")]
    #[case(200, "null")]
    #[case(204, "")]
    #[tokio::test]
    async fn unknown_shape_is_unusable(#[case] status: u16, #[case] body: &str) {
        let canned = Canned::new();
        canned.json(status, body);
        let error = zeebe(&canned).see(id(5)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unusable, "{error}");
        assert!(!error.is_transient());
    }

    #[rstest]
    #[case(
        "Requested backup has id 150. The latest backup has id 200. Id of new backups must be higher than the previous one. ",
        Some(200)
    )]
    #[case(
        "Requested backup has ID 20261123. The latest backup has ID 20261124. The backup ID must be greater",
        Some(20_261_124)
    )]
    #[case("The latest backup has id 99999999999999999999.", None)]
    #[tokio::test]
    async fn conflict_reports_the_highest_id(#[case] message: &str, #[case] highest: Option<i64>) {
        let canned = Canned::new();
        canned.json(409, &json!({ "message": message }).to_string());
        let error = zeebe(&canned).start(Some(id(150))).await.unwrap_err();
        assert_eq!((error.kind.clone(), error.status), (ErrorKind::Conflict { highest }, Some(409)));
        assert!(!error.may_have_acted() && !error.is_transient());
    }

    #[rstest]
    #[case(400, r#"{"message":"Cannot process backup requests. No backup store is configured. To use this feature, configure backup in broker configuration."}"#, ErrorKind::Refused,
        "zeebe returned 400 to POST /actuator/backups: Cannot process backup requests. No backup store is configured. To use this feature, configure backup in broker configuration")]
    #[case(415, r#"{"timestamp":"2026-11-23T06:00:28.989+00:00","status":415,"error":"Unsupported Media Type","path":"/actuator/backups"}"#, ErrorKind::Refused,
        "zeebe returned 415 to POST /actuator/backups: Unsupported Media Type")]
    #[case(504, r#"{"message":"Request from gateway to broker timed out. Request backup-api-1 to 127.0.0.1:26501 timed out in PT15S"}"#, ErrorKind::Server,
        "zeebe returned 504 to POST /actuator/backups: Request from gateway to broker timed out. Request backup-api-1 to 127.0.0.1:26501 timed out in PT15S")]
    #[case(
        409,
        r#"{"message":"Cannot take a backup while partition scaling is in progress"}"#,
        ErrorKind::Refused,
        "zeebe returned 409 to POST /actuator/backups: Cannot take a backup while partition scaling is in progress; wait until the partitions are scaled, then back up"
    )]
    #[case(
        401,
        "",
        ErrorKind::AuthRejected,
        "zeebe returned 401 to POST /actuator/backups: authentication rejected, configure access.zeebe"
    )]
    #[tokio::test]
    async fn rejection_is_explained_in_one_sentence(
        #[case] status: u16,
        #[case] body: &str,
        #[case] kind: ErrorKind,
        #[case] sentence: &str,
    ) {
        let canned = Canned::new();
        canned.json(status, body);
        let error = zeebe(&canned).start(Some(id(1))).await.unwrap_err();
        assert_eq!((error.kind.clone(), error.to_string().as_str()), (kind, sentence));
    }

    /// Responses of a wrong path, of Spring and of gateways: none of them is proof that the backup does not
    /// exist.
    #[rstest]
    #[case("", "")]
    #[case("text/html", "<html><body>404 Not Found</body></html>")]
    #[case("application/json", r#"{"timestamp":"2026-11-23T06:00:29.528+00:00","status":404,"error":"Not Found","path":"/actuator/backups/5"}"#)]
    #[case(
        "application/problem+json",
        r#"{"type":"about:blank","title":"Not Found","status":404,"instance":"/actuator/backups/5"}"#
    )]
    #[case("application/json", r#"{"message":"no Route matched with those values"}"#)]
    #[case("application/json", r#"{"message":"Backup with id 57 does not exist"}"#)]
    #[tokio::test]
    async fn status_404_without_the_backup_id_is_a_missing_endpoint(
        #[case] content_type: &str,
        #[case] body: &str,
    ) {
        let canned = Canned::new();
        canned.of_type(404, content_type, body).of_type(404, content_type, body).of_type(
            404,
            content_type,
            body,
        );
        let zeebe = zeebe(&canned);
        let errors = [
            zeebe.see(id(5)).await.unwrap_err(),
            zeebe.delete(id(5)).await.unwrap_err(),
            zeebe.list().await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind, ErrorKind::Missing, "{error}");
            assert!(error.to_string().ends_with("check the component's address"), "{error}");
        }
    }

    #[tokio::test]
    async fn delete_of_an_absent_backup_succeeds() {
        let canned = Canned::new();
        canned.of_type(204, "", "");
        canned.json(404, r#"{"message":"Backup with id 5 does not exist"}"#);
        canned.json(500, r#"{"message":"software.amazon.awssdk.core.exception.SdkClientException: Unable to execute HTTP request: Connection refused: /127.0.0.1:9000"}"#);
        let zeebe = zeebe(&canned);
        zeebe.delete(id(5)).await.unwrap();
        zeebe.delete(id(5)).await.unwrap();
        assert_eq!(zeebe.delete(id(5)).await.unwrap_err().kind, ErrorKind::Server);
    }

    #[tokio::test]
    async fn list_includes_failed_backups() {
        let canned = Canned::new();
        canned.json(
            200,
            r#"[{"backupId":212,"state":"FAILED","failureReason":"x","details":[{"partitionId":1,"state":"FAILED","createdAt":"2026-11-23T06:06:38.01602476Z","brokerVersion":"8.6.0"}]},{"backupId":100,"state":"COMPLETED","details":[{"partitionId":1,"state":"COMPLETED","createdAt":"2026-11-23T05:52:19.168218268Z"}]}]"#,
        );
        let list = zeebe(&canned).list().await.unwrap();
        let short: Vec<_> = list.iter().map(|l| (l.id, l.state.as_str(), l.started_at.is_some())).collect();
        assert_eq!(short, [(212, "FAILED", true), (100, "COMPLETED", true)]);
    }
}
