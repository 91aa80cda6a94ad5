//! Whether a backup of a cluster would work now: everything that can be looked at beforehand, one line each.
//!
//! Owns the list of checks and the remedy for each failure. Only looks: the one thing it has written is the small file
//! with which a search engine verifies a repository. Must not decide whether a run begins (`queue`).

mod brokers;
mod engine;

use super::{Clients, Spec};
use crate::clients::{Capabilities, ClientError, ErrorKind, SharedTransport, probe};
use crate::clock::Clock;
use crate::domain::{Addresses, Component, Family};
use crate::run::ending::DATABASE;
use serde::Serialize;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What, in a word.
    pub check: &'static str,
    /// False: a backup would fail for it.
    pub ok: bool,
    /// What was seen, one sentence.
    pub detail: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Check {
    pub(super) fn good(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, ok: true, detail: detail.into(), help: None }
    }

    pub(super) fn bad(check: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self { check, ok: false, detail: detail.into(), help: Some(help.into()) }
    }

    /// A component did not answer as it should. The sentence of some errors has its remedy already.
    pub(super) fn of_error(check: &'static str, error: &ClientError, help: &str) -> Self {
        let help = match error.kind {
            ErrorKind::NotSent => format!("start it, or correct its address: {help}"),
            ErrorKind::Missing if error.message.contains("repository") => {
                "the line of that repository below tells more".to_owned()
            }
            ErrorKind::Denied => {
                "what it wants stands under `access` of this cluster in the config".to_owned()
            }
            ErrorKind::Lost => "see whether it is overloaded, and try again".to_owned(),
            _ => help.to_owned(),
        };
        Self::bad(check, error.to_string(), help)
    }
}

/// Looks at everything. `owes`: whether we owe this cluster a resume, where that is known.
pub async fn preflight(
    transport: &SharedTransport,
    clock: &dyn Clock,
    spec: &Spec,
    owes: Option<bool>,
) -> Vec<Check> {
    let found = match probe(&spec.addresses, spec.version.as_deref(), transport).await {
        Ok(found) => found,
        // Without its version nobody knows what else to ask.
        Err(error) => {
            let help = "the management URL of a broker or gateway stands as `zeebe`";
            return vec![Check::of_error("zeebe", &error, help)];
        }
    };
    let addresses = Addresses { routes: found.routes, ..spec.addresses.clone() };
    let clients = Clients::new(&addresses, transport);
    let mut checks = vec![version(&found)];
    checks.extend(found.notes.iter().map(|note| Check::good("note", note)));
    checks.push(brokers::topology(&found));
    checks.extend(brokers::exporting(&clients, &found, owes, clock.now()).await);
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
            // Operate on OpenSearch cannot list while any part is taken.
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
        "wait for its end: only one backup may be under way, and who takes it may have paused exporting",
    )
}
