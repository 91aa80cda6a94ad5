//! `restore CLUSTER ID`: restores a Camunda 8 SaaS cluster.
//!
//! Owns the confirmation and the wait for completion. Must not decide whether a restore is allowed (`daemon::restore`).

use super::backups::confirmed;
use super::client::Client;
use super::output::{cell, complain, json as print_json, print};
use super::{Failure, exit};
use crate::clock::SystemClock;
use crate::domain::BackupId;
use serde_json::{Value, json};
use std::time::Duration;

/// Poll interval with `--wait`; a restore takes minutes.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// Failed polls in a row before the command gives up.
const FAILED_POLLS_LIMIT: u32 = 18;
/// Duration of the request to the Administration API.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Confirms, starts the restore, and with `wait` polls until it has ended.
pub(super) async fn restore(
    client: &Client,
    cluster: &str,
    id: BackupId,
    yes: bool,
    wait: bool,
    as_json: bool,
) -> Result<u8, Failure> {
    let question = format!("Restore {cluster} to backup {id}? All later data of the cluster is lost.");
    if !yes && !confirmed(&question)? {
        return Err(Failure::new(exit::REFUSED, "nothing was restored"));
    }
    let path = format!("/v1/clusters/{cluster}/backups/{id}/restore");
    let mut now = client.post(&path, json!({}), START_TIMEOUT).await?;
    let clock = SystemClock::shared();
    let (mut reported, mut failed_polls) = (Value::Null, 0);
    while wait && !ended(&now) {
        if !as_json && now["state"] != reported {
            complain(&format!(
                "restore of {cluster} to backup {id}: Camunda reports {}",
                cell(&now["state"])
            ));
            reported = now["state"].clone();
        }
        clock.sleep(POLL_INTERVAL).await;
        // A failed poll does not affect the restore, so the command continues to poll.
        match client.get(&path).await {
            Ok(response) => (now, failed_polls) = (response, 0),
            Err(error) if failed_polls < FAILED_POLLS_LIMIT => {
                failed_polls += 1;
                complain(&format!("{cluster}: {}; polling again", error.message));
            }
            Err(error) => return Err(error),
        }
    }
    if as_json {
        print_json(&now);
    } else {
        let reason = now["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
        let more =
            if ended(&now) { "" } else { "; Console shows the progress, `--wait` waits for completion" };
        print(&format!(
            "restore of {cluster} to backup {id}: Camunda reports {}{reason}{more}",
            cell(&now["state"])
        ));
    }
    Ok(if ended(&now) && now["state"] != "COMPLETED" { exit::FAILED } else { exit::DONE })
}

fn ended(now: &Value) -> bool {
    matches!(now["state"].as_str(), Some("COMPLETED" | "FAILED" | "ABORTED"))
}
