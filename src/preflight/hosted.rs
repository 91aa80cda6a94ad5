//! Checks of a Camunda 8 SaaS cluster through the Administration API.

use crate::camunda::saas::too_old;
use crate::camunda::{ClientError, ErrorKind, Saas};
use crate::domain::{Instant, SaasAddress, instant_text};
use crate::preflight::Check;
use chrono::TimeDelta;

const HELP: &str = "`api`, `cluster_id` and the client stand under `saas` of this cluster in the config";

pub(crate) async fn checks(saas: &Saas, now: Instant) -> Vec<Check> {
    let hosted = match saas.cluster().await {
        Ok(hosted) => hosted,
        // The other requests would fail with the same error.
        Err(error) => return vec![without_response("saas", &error)],
    };
    let running = format!("cluster {} runs {}", hosted.name, hosted.generation);
    let mut checks = vec![match (too_old(&hosted), hosted.not_ready()) {
        (Some(error), _) => Check::bad("saas", error.to_string(), "update the cluster in Console"),
        (None, Some(status)) => Check::bad(
            "saas",
            format!("{running}, and Camunda 8 SaaS reports the state {status}"),
            "see Console: a backup is taken when it is Healthy",
        ),
        (None, None) => {
            let status = hosted.status.as_deref().unwrap_or("of unknown health");
            Check::good("saas", format!("{running} and is {status}"))
        }
    }];
    checks.push(backups(saas, saas.address(), now).await);
    checks.push(match saas.schedule().await {
        Ok(None) => Check::good("provider_schedule", "Camunda 8 SaaS takes no backups by its own schedule"),
        Ok(Some(own)) => Check::good(
            "provider_schedule",
            format!(
                "Camunda 8 SaaS takes backups by its own schedule {} as well: `{}` in UTC; keep ours apart from it",
                own.name, own.cron
            ),
        ),
        Err(error) => {
            Check::good("provider_schedule", format!("the backup schedule of Camunda 8 SaaS could not be read: {error}"))
        }
    });
    checks
}

fn without_response(check: &'static str, error: &ClientError) -> Check {
    match error.kind {
        ErrorKind::Lost => Check::of_error(check, error, HELP),
        // Camunda operates this service, so the remedy is about the network of this machine.
        ErrorKind::NotSent | ErrorKind::NoAccess => {
            Check::bad(check, error.to_string(), format!("let this machine connect to it: {HELP}"))
        }
        // The config has no `access` settings for Camunda 8 SaaS, so the remedy names other keys.
        _ => Check::bad(check, error.to_string(), HELP),
    }
}

/// Whether the list is readable, no backup is running, and when the rate limit permits the next one.
async fn backups(saas: &Saas, address: &SaasAddress, now: Instant) -> Check {
    let listed = match saas.list().await {
        Ok(listed) => listed,
        Err(error) => return without_response("backups", &error),
    };
    if let Some(running) = listed.iter().find(|backup| backup.in_progress()) {
        return Check::bad(
            "backups",
            format!("Camunda 8 SaaS is taking backup {} ({})", running.name, running.uuid),
            "wait for its end: only one backup may be under way",
        );
    }
    let interval = humantime::format_duration(address.min_interval);
    let kept = format!(
        "{} backups are listed; Camunda 8 SaaS keeps {} and takes one in {interval}",
        listed.len(),
        address.max_backups
    );
    let newest = listed.iter().filter_map(|backup| backup.created).max();
    let next = newest.map(|at| at + TimeDelta::from_std(address.min_interval).unwrap_or_default());
    match next.filter(|next| *next > now) {
        Some(next) => {
            Check::good("backups", format!("{kept}: the next can start from {}", instant_text(next)))
        }
        None => Check::good("backups", kept),
    }
}
