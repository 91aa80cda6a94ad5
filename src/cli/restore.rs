//! `restore CLUSTER BACKUP_ID`: the provider brings a cluster of Camunda's cloud back.
//!
//! Owns the question before it and the wait for its end. Must not decide whether it may (`daemon::restore`).

use super::backups::confirmed;
use super::client::Client;
use super::output::{cell, complain, json as print_json, print};
use super::{Failure, exit};
use crate::clock::SystemClock;
use crate::domain::BackupId;
use serde_json::{Value, json};
use std::time::Duration;

/// Between two looks; a restore takes minutes.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// So many looks in a row may be lost.
const UNSEEN: u32 = 18;
/// The provider's answer may take as long as a start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks, begins, and with `wait` looks until it has ended.
pub async fn restore(
    client: &Client,
    cluster: &str,
    id: BackupId,
    yes: bool,
    wait: bool,
    as_json: bool,
) -> Result<u8, Failure> {
    let question = format!("Bring {cluster} back to backup {id}? What happened there since is lost.");
    if !yes && !confirmed(&question)? {
        return Err(Failure::new(exit::REFUSED, "nothing was restored"));
    }
    let path = format!("/v1/clusters/{cluster}/backups/{id}/restore");
    let mut now = client.post(&path, json!({}), PATIENCE).await?;
    let clock = SystemClock::shared();
    let (mut said, mut unseen) = (Value::Null, 0);
    while wait && !ended(&now) {
        if !as_json && now["state"] != said {
            complain(&format!("{cluster}: the provider says {}", cell(&now["state"])));
            said = now["state"].clone();
        }
        clock.sleep(PROBE_LIMIT).await;
        // The restore goes on whether anybody looks or not.
        match client.get(&path).await {
            Ok(response) => (now, unseen) = (response, 0),
            Err(error) if unseen < UNSEEN => {
                unseen += 1;
                complain(&format!("{cluster}: {}; looking again", error.message));
            }
            Err(error) => return Err(error),
        }
    }
    if as_json {
        print_json(&now);
    } else {
        let reason = now["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
        let more = if ended(&now) { "" } else { "; Console shows how far it is, `--wait` waits for its end" };
        print(&format!("{cluster} to backup {id}: the provider says {}{reason}{more}", cell(&now["state"])));
    }
    Ok(if ended(&now) && now["state"] != "COMPLETED" { exit::FAILED } else { exit::DONE })
}

fn ended(now: &Value) -> bool {
    matches!(now["state"].as_str(), Some("COMPLETED" | "FAILED" | "ABORTED"))
}
