//! Checks whether a backup of a cluster would work now; one result line each.
//!
//! Owns the list of checks and the remedy for each failure. Read-only, except for the small file with which a
//! search engine verifies a repository. Must not decide whether a run begins (`queue`).

mod brokers;
mod engine;
mod hosted;
mod pause;

use crate::camunda::{Capabilities, ClientError, ErrorKind, Saas, SharedTransport, probe};
use crate::clock::Clock;
use crate::context::{Clients, Spec};
use crate::domain::{Addresses, Component, Family};
use crate::pause::forecast::Forecast;
use crate::plan::DATABASE;
use serde::Serialize;

/// Result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Name of the check.
    pub check: &'static str,
    /// `false`: a backup would fail.
    pub ok: bool,
    /// Observation, one sentence.
    pub detail: String,
    /// Remedy.
    pub help: Option<String>,
}

impl Check {
    pub(crate) fn good(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, ok: true, detail: detail.into(), help: None }
    }

    pub(crate) fn bad(check: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self { check, ok: false, detail: detail.into(), help: Some(help.into()) }
    }

    /// A failed request to a component. `help` is the remedy for errors of the component itself. For other
    /// errors the remedy names the config key at fault.
    pub(crate) fn of_error(check: &'static str, error: &ClientError, help: &str) -> Self {
        let key = match error.component.as_str() {
            "search" => "`search.url`".to_owned(),
            // If only the REST API is configured, requests to the brokers use the address `rest`.
            "zeebe" | "history" => "`zeebe` (or `brokers`, or `rest`)".to_owned(),
            other => format!("`{other}`"),
        };
        let address = format!("its address, {key} of this cluster in the config");
        let under_access = "set its login in `access` of this cluster in the config".to_owned();
        let help = match error.kind {
            ErrorKind::NotSent | ErrorKind::NoAccess if error.message.contains("through the proxy") => {
                "start that proxy, or correct `proxy` under `access` of this cluster in the config".to_owned()
            }
            // A token that is not available, a proxy that refuses: the error text has its remedy.
            ErrorKind::AuthRejected | ErrorKind::NoAccess => under_access,
            ErrorKind::NotSent => format!("start it, or correct {address}"),
            ErrorKind::Missing if error.message.contains("repository") => {
                "see the check of that repository below".to_owned()
            }
            ErrorKind::Missing | ErrorKind::Unusable => {
                format!("correct {address}, or check what else listens there")
            }
            ErrorKind::Lost => "see whether it is overloaded, and try again".to_owned(),
            _ => help.to_owned(),
        };
        Self::bad(check, error.to_string(), help)
    }
}

/// Runs all checks. `is_pending`: whether a resume is pending, if known; `forecast`: computed from the last runs.
pub async fn preflight(
    transport: &SharedTransport,
    clock: &dyn Clock,
    spec: &Spec,
    is_pending: Option<bool>,
    forecast: &Forecast,
) -> Vec<Check> {
    if let Some(saas) = Saas::of(&spec.addresses, transport) {
        return hosted::checks(&saas, clock.now()).await;
    }
    let found = match probe(&spec.addresses, spec.version.as_deref(), transport).await {
        Ok(found) => found,
        // The other requests depend on the version.
        Err(error) => {
            let help = "set `zeebe` to the management URL of a broker or gateway";
            return vec![Check::of_error("zeebe", &error, help)];
        }
    };
    let addresses = Addresses { routes: found.routes, ..spec.addresses.clone() };
    let clients = Clients::new(&addresses, transport);
    let mut checks = vec![version(&found)];
    checks.extend(found.notes.iter().map(|note| Check::good("note", note)));
    checks.push(brokers::topology(&found));
    checks.extend(brokers::change(&found));
    checks.extend(brokers::exporting(&clients, &found, is_pending, clock.now()).await);
    if found.family != Family::V89OnRdbms {
        checks.extend(pause::checks(&clients.zeebe, spec.limits, forecast, found.brokers.len()).await);
    }
    let (listed, largest) = brokers::backups(&clients).await;
    checks.push(listed);
    checks.extend(brokers::checkpoints(&found, clock.now()));
    let mut largest = largest;
    for (component, app) in &clients.apps {
        match app.list().await {
            Ok(listed) => {
                largest = listed.iter().map(|l| l.id).fold(largest, i64::max);
                let running = listed.iter().find(|l| l.state == "IN_PROGRESS");
                checks.push(match running {
                    Some(running) => taking(*component, running.id),
                    None => Check::good(component.name(), format!("{} backups are listed", listed.len())),
                });
            }
            // Operate on OpenSearch cannot list while a part is running.
            Err(error) if error.is_transient() && error.status == Some(400) => checks.push(Check::bad(
                component.name(),
                error.to_string(),
                "somebody takes a backup: wait for its end, and see the search engine's health",
            )),
            Err(error) => {
                let help = format!("`{component}` of this cluster in the config, and the app's own log");
                checks.push(Check::of_error(component.name(), &error, &help));
            }
        }
    }
    checks.extend(engine::checks(&clients, &addresses, &found).await);
    checks.push(brokers::ids(largest, clock.now()));
    if found.family == Family::V89OnRdbms {
        checks.push(Check::good("database", DATABASE));
    }
    checks
}

fn version(found: &Capabilities) -> Check {
    let components: Vec<&str> = found.components.iter().map(|component| component.name()).collect();
    Check::good(
        "zeebe",
        format!("Camunda {}, {} procedure, of {}", found.version, found.family.name(), components.join(", ")),
    )
}

fn taking(component: Component, id: i64) -> Check {
    Check::bad(
        component.name(),
        format!("{component} is taking backup {id}"),
        "wait for its end: only one backup may be under way, and its owner may have paused exporting",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const OWN: &str = "see the brokers' log, and whether they reach their backup store";

    /// Every error kind has a remedy that matches its cause.
    #[rstest]
    #[case(
        "zeebe",
        ErrorKind::Missing,
        "zeebe returned 404 to GET /wrong/actuator/backups without a reason; no API at that path, check the component's address",
        "correct its address, `zeebe` (or `brokers`, or `rest`) of this cluster in the config, or check what else listens there"
    )]
    #[case(
        "operate",
        ErrorKind::Unusable,
        "operate responded to GET /actuator/backups with 200, with an HTML page instead of JSON; check its address",
        "correct its address, `operate` of this cluster in the config, or check what else listens there"
    )]
    #[case(
        "search",
        ErrorKind::NotSent,
        "cannot connect to search at http://h:9200: Connection refused",
        "start it, or correct its address, `search.url` of this cluster in the config"
    )]
    #[case(
        "zeebe",
        ErrorKind::NoAccess,
        "GET /actuator/backups was not sent to zeebe: the token endpoint http://h/token returned 503: see its log",
        "set its login in `access` of this cluster in the config"
    )]
    #[case(
        "zeebe",
        ErrorKind::NotSent,
        "cannot connect to zeebe at http://h: through the proxy http://p:3128: Connection refused",
        "start that proxy, or correct `proxy` under `access` of this cluster in the config"
    )]
    #[case("zeebe", ErrorKind::Server, "zeebe returned 500 to GET /actuator/backups without a reason", OWN)]
    fn each_error_kind_has_its_remedy(
        #[case] component: &str,
        #[case] kind: ErrorKind,
        #[case] message: &str,
        #[case] help: &str,
    ) {
        let (component, message) = (component.to_owned(), message.to_owned());
        let evidence = message.clone();
        let error = ClientError { component, kind, status: None, message, evidence, retry_after: None };
        assert_eq!(Check::of_error("backup_store", &error, OWN).help.as_deref(), Some(help));
    }
}
