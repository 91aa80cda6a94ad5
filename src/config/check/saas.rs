//! `[clusters.*.saas]`: Camunda 8 SaaS clusters, and their schedules compared with the limits of Camunda 8 SaaS.
//!
//! Owns the check of these limits. Must not print the value of a credential key unless it is a valid name.

use super::access::{CREDENTIAL, is_unencrypted};
use super::url::Kind;
use super::{Checker, YEAR, in_text, quoted, spans};
use crate::config::raw::{At, Cluster, Limits, Raw, Saas};
use crate::config::{ClusterConfig, Diagnostic, ScheduleConfig};
use crate::domain::Limits as RunLimits;
use crate::domain::{Access, Addresses, Component, Instant, Login, Oauth, SaasAddress};
use crate::schedule::next::next_after;
use chrono::TimeDelta;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

const API: &str = "https://api.cloud.camunda.io";
const TOKEN_URL: &str = "https://login.cloud.camunda.io/oauth/token";
const AUDIENCE: &str = "api.cloud.camunda.io";
/// From Camunda's documentation; earlier versions of it had five hours and one hour.
const MIN_INTERVAL: Duration = Duration::from_mins(15);
const MAX_BACKUPS: u32 = 3;
/// Maximum number of occurrences of one schedule that are compared.
const PROBED: usize = 400;
/// Maximum number of occurrences of all schedules of a cluster.
const PROBED_TOGETHER: usize = 20_000;
/// Period in which due times are compared.
const AHEAD: TimeDelta = TimeDelta::days(35);

/// The table has an error, which was reported.
pub(super) struct Invalid;

impl Checker<'_> {
    /// Addresses and limits of `[clusters.NAME.saas]`; `None` without that table.
    pub(super) fn saas_table(
        &mut self,
        name: &At<String>,
        raw: &Cluster,
        limits: RunLimits,
        path: &str,
    ) -> Option<Result<(Addresses, RunLimits), Invalid>> {
        let addresses = match &raw.saas {
            Some(at) => self.saas(at, &raw.limits, path),
            None if self.taken.contains(&format!("{path}.saas")) => None,
            None => return None,
        };
        if raw.self_managed.is_some() {
            let message = format!("cluster {} is both self_managed and saas", quoted(name.value()));
            self.error(name.span(), message, "keep one of the two tables");
        }
        // Camunda 8 SaaS reports the progress of whole components only, so `stall_after` defaults to the whole run.
        let stall_after =
            if raw.limits.stall_after.is_some() { limits.stall_after } else { limits.run_deadline };
        Some(addresses.map(|addresses| (addresses, RunLimits { stall_after, ..limits })).ok_or(Invalid))
    }

    /// The addresses of `[clusters.NAME.saas]`; `path`: path of the cluster.
    fn saas(&mut self, at: &At<Saas>, limits: &Limits, path: &str) -> Option<Addresses> {
        let raw = at.value();
        let before = self.errors();
        let (pauses, disks) =
            ("Camunda 8 SaaS pauses exporting itself", "Camunda 8 SaaS manages the disks of its brokers");
        self.without_pause(limits, path, pauses, disks);
        let path = format!("{path}.saas");
        for (key, written, help) in [
            ("cluster_id", &raw.cluster_id, "write the UUID of the cluster, as shown in Console"),
            (
                "client_id",
                &raw.client_id,
                "write the client ID of an Administration API client with the permission for backups",
            ),
            ("client_secret", &raw.client_secret, CREDENTIAL),
        ] {
            if written.is_none() {
                self.missing(&format!("{path}.{key}"), at.span(), "", help);
            }
        }
        let cluster_id = raw.cluster_id.as_ref().and_then(|at| self.cluster_id(at, &path));
        let shown = "the value shown in Console";
        let client_id =
            raw.client_id.as_ref().and_then(|at| self.text(at, &format!("{path}.client_id"), shown));
        let secret = self.credential(raw.client_secret.as_ref(), &format!("{path}.client_secret"));
        let audience = match &raw.audience {
            Some(at) => self.text(at, &format!("{path}.audience"), shown),
            None => Some(AUDIENCE.to_owned()),
        };
        let mut url = |at: Option<&At<String>>, key: &str, kind, default: &str| match at {
            None => Some(default.to_owned()),
            Some(at) => {
                let url = self.url(at, &format!("{path}.{key}"), kind)?;
                if is_unencrypted(&url) {
                    let message = format!("`{path}.{key}` sends credentials over unencrypted http");
                    self.warning(at.span(), message, "write an https URL");
                }
                Some(url)
            }
        };
        let api = url(raw.api.as_ref(), "api", Kind::Administration, API);
        let token_url = url(raw.token_url.as_ref(), "token_url", Kind::Token, TOKEN_URL);
        let min_interval = self.duration(
            raw.min_interval.as_ref(),
            &format!("{path}.min_interval"),
            MIN_INTERVAL,
            Duration::from_secs(1)..=YEAR,
        );
        let max_backups = self.number(
            raw.max_backups.as_ref(),
            &format!("{path}.max_backups"),
            MAX_BACKUPS.into(),
            1..=1000,
        );
        let ca = raw.ca.as_ref().and_then(|at| self.ca(at, &format!("{path}.ca")));
        let proxy = raw.proxy.as_ref().and_then(|at| self.proxy(at, &format!("{path}.proxy")));
        if self.errors() > before {
            return None;
        }
        let login = Login::Oauth(Oauth {
            token_url: token_url?,
            client_id: client_id?,
            client_secret: secret?.0,
            audience,
            scope: None,
            json: true,
        });
        let access = Access { login, ca, identity: None, proxy };
        let max_backups = u32::try_from(max_backups).unwrap_or(MAX_BACKUPS);
        Some(Addresses {
            saas: Some(SaasAddress { api: api?, cluster_id: cluster_id?, min_interval, max_backups }),
            access: BTreeMap::from([(Component::Saas.name().to_owned(), access)]),
            ..Addresses::default()
        })
    }

    fn cluster_id(&mut self, at: &At<String>, path: &str) -> Option<String> {
        let text = at.value().trim();
        let parsed = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
        if parsed.is_none() {
            let message = format!("`{path}.cluster_id` is {}, not the UUID of a cluster", quoted(text));
            let help = "write the cluster ID from Console: 36 characters, as in 5cd2e4e1-6a0c-4d2a-9a5a-1f2f3c4d5e6f";
            self.error(at.span(), message, help);
        }
        parsed.map(|uuid| uuid.to_string())
    }

    /// Error: schedules that require more backups than Camunda 8 SaaS accepts. Warning: more than it keeps.
    pub(super) fn saas_limits(
        &mut self,
        raw: &Raw,
        clusters: &BTreeMap<String, ClusterConfig>,
        schedules: &BTreeMap<String, ScheduleConfig>,
    ) {
        let spans = spans(&raw.schedules);
        for cluster in clusters.values() {
            let Some(saas) = &cluster.addresses.saas else { continue };
            let ours =
                |schedule: &&ScheduleConfig| schedule.enabled && schedule.clusters.contains(&cluster.name);
            let schedules: Vec<&ScheduleConfig> = schedules.values().filter(ours).collect();
            if let Some((at, gap, names)) = closest(&schedules, saas.min_interval, self.env.now) {
                let message = format!(
                    "backups of {} are due {} apart, for example on {} (UTC), but Camunda 8 SaaS accepts one backup in {}",
                    quoted(&cluster.name),
                    in_text(gap.to_std().unwrap_or_default()),
                    at.format("%Y-%m-%d at %H:%M"),
                    in_text(saas.min_interval),
                );
                let mut diagnostic = Diagnostic::error(message)
                    .help("make them less frequent, or due at the same time, so that they share one backup; if Camunda 8 SaaS accepts more backups of this cluster, set `min_interval`");
                for name in names {
                    let span = spans.get(name.as_str()).cloned().unwrap_or_default();
                    diagnostic = diagnostic.at_location(self.label(span, ""));
                }
                self.found.push(diagnostic);
            }
            for schedule in schedules.iter().filter(|schedule| schedule.keep.successful > saas.max_backups) {
                let message = format!(
                    "schedule {} keeps {} backups, but Camunda 8 SaaS keeps {} of {}",
                    quoted(&schedule.name),
                    schedule.keep.successful,
                    saas.max_backups,
                    quoted(&cluster.name),
                );
                let span = spans.get(schedule.name.as_str()).cloned().unwrap_or_default();
                let help = "Camunda 8 SaaS deletes older backups itself; if it keeps more backups of this cluster, set `max_backups`";
                self.warning(span, message, help);
            }
        }
    }
}

/// The two closest occurrences of a cluster with a gap below `allowed`, and their schedules. Occurrences at the same
/// instant share one backup.
fn closest(
    schedules: &[&ScheduleConfig],
    allowed: Duration,
    now: Instant,
) -> Option<(Instant, TimeDelta, Vec<String>)> {
    let allowed = TimeDelta::from_std(allowed).unwrap_or(TimeDelta::MAX);
    let mut due: BTreeMap<Instant, &str> = BTreeMap::new();
    for schedule in schedules {
        if due.len() >= PROBED_TOGETHER {
            break;
        }
        let next = |from| next_after(&schedule.timing, schedule.timezone, from);
        let all = std::iter::successors(next(now), |due| next(*due)).take(PROBED);
        all.take_while(|due| *due < now + AHEAD).for_each(|at| {
            due.entry(at).or_insert(&schedule.name);
        });
    }
    let pairs = due.iter().zip(due.iter().skip(1));
    let (first, second) = pairs.filter(|(a, b)| *b.0 - *a.0 < allowed).min_by_key(|(a, b)| *b.0 - *a.0)?;
    let mut names = vec![(*first.1).to_owned(), (*second.1).to_owned()];
    names.dedup();
    Some((*first.0, *second.0 - *first.0, names))
}
