//! `backup`, `cancel`, `list`, `show`, `delete`, `status`, `schedules` and `adopt`: requests to the daemon, and their output.
//!
//! Must not decide anything: the daemon does.

use super::client::Client;
use super::output::{cell, complain, json as print_json, print, rows, table};
use super::{Failure, exit};
use crate::clock::SystemClock;
use crate::domain::BackupId;
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal};
use std::time::Duration;

/// `backup CLUSTER [--wait]`.
pub(super) async fn backup(
    client: &Client,
    cluster: &str,
    wait: bool,
    note: Option<String>,
    as_json: bool,
) -> Result<u8, Failure> {
    let path = format!("/v1/clusters/{cluster}/backups");
    let started = client.post(&path, json!({ "note": note }), Duration::from_secs(60)).await?;
    let run_id = cell(&started["run_id"]);
    if !wait {
        if as_json {
            print_json(&started);
        } else {
            print(&format!(
                "backup {} of {cluster} started. Follow it with `show {run_id}`",
                started["backup_id"]
            ));
        }
        return Ok(exit::DONE);
    }
    let clock = SystemClock::shared();
    let mut shown = String::new();
    loop {
        let run = client.get(&format!("/v1/backups/{run_id}")).await?;
        let state = cell(&run["state"]);
        if !as_json {
            let running = run["steps"].as_array().into_iter().flatten().filter(|s| s["state"] == "running");
            let now = running.map(|s| cell(&s["step"])).collect::<Vec<_>>().join(", ");
            if !now.is_empty() && now != shown {
                complain(&format!("{}: {now}", run["backup_id"]));
                shown = now;
            }
        }
        if state != "running" && state != "queued" {
            if as_json {
                print_json(&run);
            } else if state == "completed" {
                print(&format!("backup {} of {cluster} is completed", run["backup_id"]));
            } else {
                print(&format!("backup {} of {cluster} {state}: {}", run["backup_id"], cell(&run["reason"])));
            }
            return Ok(if state == "completed" { exit::DONE } else { exit::FAILED });
        }
        clock.sleep(Duration::from_millis(300)).await;
    }
}

/// `cancel CLUSTER --why TEXT`.
pub(super) async fn cancel(
    client: &Client,
    cluster: &str,
    why: String,
    patience: Duration,
    as_json: bool,
) -> Result<u8, Failure> {
    let body = json!({ "why": why, "wait_seconds": patience.as_secs() });
    let response = client.post(&format!("/v1/clusters/{cluster}/cancel"), body, patience).await?;
    print_message(&response, as_json);
    Ok(if response["done"] == json!(false) { exit::FAILED } else { exit::DONE })
}

/// Prints the `message` of a response.
pub(super) fn print_message(response: &Value, as_json: bool) -> u8 {
    if as_json {
        print_json(response);
    } else {
        print(&cell(&response["message"]));
    }
    exit::DONE
}

/// `list [CLUSTER]`.
pub(super) async fn list(client: &Client, cluster: Option<String>, as_json: bool) -> Result<u8, Failure> {
    let path = match &cluster {
        Some(cluster) => format!("/v1/backups?cluster={cluster}"),
        None => "/v1/backups".into(),
    };
    let backups = client.get(&path).await?;
    if as_json {
        print_json(&backups);
        return Ok(exit::DONE);
    }
    let keys = ["cluster", "backup_id", "state", "trigger", "retention_groups", "finished_at", "reason"];
    let mut rows = rows(&backups, keys);
    // `show` prints the whole reason; a long one here would widen every row.
    rows.iter_mut().filter_map(|row| row.last_mut()).for_each(|reason| *reason = shortened(reason));
    if rows.is_empty() {
        if let Some(name) = cluster {
            let known = client.get("/clusters").await?;
            if !known.as_array().into_iter().flatten().any(|c| c["name"] == json!(name)) {
                return Err(Failure::new(
                    exit::FAILED,
                    format!(
                        "cluster {name} is not in the config and has no backups. `status` lists the configured clusters"
                    ),
                ));
            }
        }
        print("no backups");
    } else {
        table(&["cluster", "id", "state", "trigger", "retention groups", "finished", "reason"], rows);
    }
    Ok(exit::DONE)
}

fn shortened(text: &str) -> String {
    const WIDTH: usize = 80;
    match text.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

/// `show ID`.
pub(super) async fn show(client: &Client, id: &str, as_json: bool) -> Result<u8, Failure> {
    let found = client.get(&format!("/v1/backups/{id}")).await?;
    if as_json {
        print_json(&found);
        return Ok(exit::DONE);
    }
    let facts = [
        "cluster",
        "backup_id",
        "run_id",
        "state",
        "trigger",
        "schedules",
        "retention_groups",
        "version",
        "started_at",
        "finished_at",
        "reason",
    ];
    for key in facts {
        if !found[key].is_null() {
            print(&format!("{key:16} {}", cell(&found[key])));
        }
    }
    let pause = &found["pause"];
    if !pause["intended_at"].is_null() {
        print(&format!(
            "{:16} {} from {} to {}",
            "pause",
            cell(&pause["mode"]),
            cell(&pause["intended_at"]),
            cell(&pause["resumed_at"])
        ));
    }
    let components = found["components"].as_object().into_iter().flatten();
    let rows = components
        .map(|(name, c)| {
            vec![
                name.clone(),
                cell(&c["state"]),
                format!("{}/{}", c["parts_done"], c["parts_total"]),
                cell(&c["reason"]),
            ]
        })
        .collect();
    table(&["component", "state", "parts", "reason"], rows);
    let steps = found["steps"].as_array().into_iter().flatten();
    let rows = steps.map(|s| vec![cell(&s["step"]), cell(&s["state"]), cell(&s["duration_ms"])]).collect();
    table(&["step", "state", "ms"], rows);
    for unfinished in found["cleanup_unfinished"].as_array().into_iter().flatten() {
        print(&format!("cleanup unfinished: {}", cell(unfinished)));
    }
    Ok(exit::DONE)
}

/// `delete CLUSTER ID`. The last good backup has a confirmation of its own.
pub(super) async fn delete(
    client: &Client,
    cluster: &str,
    id: BackupId,
    yes: bool,
    as_json: bool,
) -> Result<u8, Failure> {
    let question = format!("Delete backup {id} of {cluster} from every component?");
    if !yes && !confirmed(&question)? {
        return Err(Failure::new(exit::REFUSED, "nothing was deleted"));
    }
    let path = format!("/v1/clusters/{cluster}/backups/{id}");
    let mut response = client.delete(&format!("{path}?confirmed={yes}")).await;
    if let Err(failure) = &response
        && failure.message.contains("the last good")
        && std::io::stdin().is_terminal()
        && confirmed(&format!("This is the last good backup of {cluster}. Delete it anyway?"))?
    {
        response = client.delete(&format!("{path}?confirmed=true")).await;
    }
    let response = response?;
    if as_json {
        print_json(&response);
    } else {
        print(&format!("deletion of backup {id} of {cluster} started. `list {cluster}` shows its progress"));
    }
    Ok(exit::DONE)
}

/// Prompts on the terminal, default No. Without a terminal the command is refused.
pub(super) fn confirmed(question: &str) -> Result<bool, Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Failure::new(exit::REFUSED, "confirmation required: add --yes if there is no terminal"));
    }
    complain(&format!("{question} [y/N]"));
    let mut line = String::new();
    let _ = input.lock().read_line(&mut line);
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// `status`.
pub(super) async fn status(client: &Client, as_json: bool) -> Result<u8, Failure> {
    let (http, health) = client.probe("/health").await?;
    if as_json {
        print_json(&health);
    } else {
        print(&format!("status: {}", cell(&health["status"])));
        for check in health["checks"].as_array().into_iter().flatten().filter(|c| c["status"] != "ok") {
            let cluster = check["cluster"].as_str().map(|c| format!(" {c}")).unwrap_or_default();
            print(&format!(
                "  {} {}{cluster}: {}",
                cell(&check["status"]),
                cell(&check["name"]),
                cell(&check["detail"])
            ));
        }
        let rows = health["clusters"].as_array().into_iter().flatten().map(|c| {
            vec![
                cell(&c["name"]),
                cell(&c["exporting"]),
                cell(&c["last_success"]["finished_at"]),
                cell(&c["consecutive_failures"]),
                cell(&c["next_due"]),
                cell(&c["running"]["step"]),
            ]
        });
        table(
            &["cluster", "exporting", "last success", "failures in a row", "next due", "running"],
            rows.collect(),
        );
    }
    Ok(if http == 200 { exit::DONE } else { exit::FAILED })
}

/// `schedules`.
pub(super) async fn schedules(client: &Client, as_json: bool) -> Result<u8, Failure> {
    let schedules = client.get("/v1/schedules").await?;
    if as_json {
        print_json(&schedules);
        return Ok(exit::DONE);
    }
    let rows = schedules.as_array().into_iter().flatten().flat_map(|s| {
        let clusters = s["clusters"].as_array().cloned().unwrap_or_default();
        clusters.into_iter().map(move |c| {
            let enabled = if s["enabled"] == true { "yes" } else { "no" };
            vec![
                cell(&s["name"]),
                cell(&c["cluster"]),
                enabled.into(),
                cell(&s["timing"]),
                cell(&s["timezone"]),
                cell(&c["next_due"]),
            ]
        })
    });
    table(&["schedule", "cluster", "enabled", "when", "zone", "next due (UTC)"], rows.collect());
    Ok(exit::DONE)
}

/// Text after `adopt`: an adopted backup has less evidence than a backup of our own run.
const ADOPTED: &str = "  every component reports these as complete or failed. Whether exporting stayed paused while they were taken is unknown: take a new backup, and test a restore before you rely on one of these";

/// `adopt CLUSTER`.
pub(super) async fn adopt(client: &Client, cluster: &str, as_json: bool) -> Result<u8, Failure> {
    let report =
        client.post(&format!("/v1/clusters/{cluster}/adopt"), json!({}), Duration::from_secs(300)).await?;
    if as_json {
        print_json(&report);
        return Ok(exit::DONE);
    }
    print(&format!("adopted: {}", cell(&report["adopted"])));
    if report["adopted"].as_array().is_some_and(|adopted| !adopted.is_empty()) {
        print(ADOPTED);
    }
    print(&format!("already known: {}", cell(&report["known"])));
    for pair in report["not_ours"].as_array().into_iter().flatten() {
        print(&format!("not ours: {} ({})", pair[0], cell(&pair[1])));
    }
    for other in report["other_instances"].as_array().into_iter().flatten() {
        print(&format!("another instance also backs up this cluster: {}", cell(other)));
    }
    Ok(exit::DONE)
}
