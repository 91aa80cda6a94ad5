//! `[clusters.*]`: addresses, version and limits.
//!
//! Owns the checks of one cluster and of two clusters with one address. Must not contact a cluster.

use super::schedule::Defaults;
use super::url::Kind;
use super::{Checker, YEAR, in_text, path_of, quoted, spans};
use crate::config::raw::{At, Raw, Search, SelfManaged};
use crate::config::{ClusterConfig, raw};
use crate::domain::{Addresses, Family, Limits, Routes, RuntimeRoute, SearchAddress, Version};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const RECORDS: &str = "zeebe-record*";

impl Checker<'_> {
    pub(super) fn clusters(&mut self, raw: &Raw, defaults: &Defaults) -> BTreeMap<String, ClusterConfig> {
        if raw.clusters.is_empty() && !self.taken.iter().any(|path| path.starts_with("clusters")) {
            let help = "add at least [clusters.NAME.self_managed] with `zeebe` and `search`";
            self.found.push(
                super::Diagnostic::error("no cluster is configured")
                    .help(help)
                    .in_file(self.sources.paths().into_iter().next().unwrap_or_default()),
            );
        }
        let clusters: BTreeMap<String, ClusterConfig> =
            raw.clusters.iter().filter_map(|(name, cluster)| self.cluster(name, cluster, defaults)).collect();
        self.shared(raw, &clusters);
        clusters
    }

    fn cluster(
        &mut self,
        name: &At<String>,
        raw: &raw::Cluster,
        defaults: &Defaults,
    ) -> Option<(String, ClusterConfig)> {
        self.name(name, "cluster");
        let path = path_of("clusters", name);
        let limits = self.limits(&raw.limits, &format!("{path}.limits"));
        let manual = self.manual(&raw.manual, &format!("{path}.manual"), defaults.manual);
        let probe_interval = self.duration(
            raw.probe_interval.as_ref(),
            &format!("{path}.probe_interval"),
            defaults.probe_interval,
            SECOND..=YEAR,
        );
        let hosted = self.saas_table(name, raw, limits, &path);
        let path = format!("{path}.self_managed");
        let (addresses, version, limits) = match (&raw.self_managed, hosted) {
            (Some(ours), _) => {
                let (addresses, version) = self.self_managed(name, ours, &raw.limits, &path)?;
                (addresses, version, limits)
            }
            (None, Some(hosted)) => {
                let (addresses, limits) = hosted.ok()?;
                (addresses, None, limits)
            }
            (None, None) => {
                self.missing(
                    &path,
                    name.span(),
                    "",
                    "write [clusters.NAME.self_managed] with the addresses of its components, or [clusters.NAME.saas] for a Camunda 8 SaaS cluster",
                );
                return None;
            }
        };
        let name = name.value().clone();
        Some((name.clone(), ClusterConfig { name, addresses, version, limits, manual, probe_interval }))
    }

    /// Addresses and version of `[clusters.NAME.self_managed]`; `path`: path of that table.
    fn self_managed(
        &mut self,
        name: &At<String>,
        raw: &SelfManaged,
        limits: &raw::Limits,
        path: &str,
    ) -> Option<(Addresses, Option<Version>)> {
        let rdbms = self.rdbms(raw.storage.as_ref(), path);
        if rdbms {
            let nothing = "with a relational database, exporting is not paused";
            let path = path_of("clusters", name);
            self.without_pause(limits, &path, nothing, &format!("it limits a pause, and {nothing}"));
        }
        let version = self.version(raw.version.as_ref(), rdbms);
        let addresses = self.addresses(raw, path, name.span(), rdbms, version.as_ref())?;
        Some((addresses, version))
    }

    /// Warns about limits of a pause for a cluster that is never paused. `pauses`, `disks`: reason for each limit.
    pub(super) fn without_pause(&mut self, limits: &raw::Limits, path: &str, pauses: &str, disks: &str) {
        let written =
            [("pause_budget", &limits.pause_budget, pauses), ("min_free_disk", &limits.min_free_disk, disks)];
        for (key, raw, why) in written {
            if let Some(raw) = raw {
                let message = format!("`{path}.limits.{key}` has no effect: {why}");
                self.warning(raw.span(), message, "remove it");
            }
        }
    }

    /// Whether the storage is a relational database.
    fn rdbms(&mut self, raw: Option<&At<String>>, path: &str) -> bool {
        match raw.map(At::value).map(String::as_str) {
            None | Some("search") => false,
            Some("rdbms") => true,
            Some(other) => {
                let message = format!("`{path}.storage` is {}, an unknown storage", quoted(other));
                let help = "write \"search\" for Elasticsearch and OpenSearch, or \"rdbms\" for a relational database";
                self.error(raw.map(At::span).unwrap_or_default(), message, help);
                false
            }
        }
    }

    fn version(&mut self, raw: Option<&At<String>>, rdbms: bool) -> Option<Version> {
        let at = raw.filter(|at| at.value() != "auto")?;
        if let Ok(version) = at.value().parse::<Version>() {
            if let Err(why) = version.family(rdbms) {
                self.error(at.span(), why.message, why.help);
            }
            Some(version)
        } else {
            let message = format!("{} is not a Camunda version", quoted(at.value()));
            self.error(at.span(), message, "write \"auto\", or a version such as \"8.6\" or \"8.6.3\"");
            None
        }
    }

    fn addresses(
        &mut self,
        raw: &SelfManaged,
        path: &str,
        at: Range<usize>,
        rdbms: bool,
        version: Option<&Version>,
    ) -> Option<Addresses> {
        let mut url = |raw: Option<&At<String>>, key: &str, kind| {
            raw.and_then(|at| self.url(at, &format!("{path}.{key}"), kind))
        };
        let mut zeebe = url(raw.zeebe.as_ref(), "zeebe", Kind::Management);
        let operate = url(raw.operate.as_ref(), "operate", Kind::Management);
        let tasklist = url(raw.tasklist.as_ref(), "tasklist", Kind::Management);
        let optimize = url(raw.optimize.as_ref(), "optimize", Kind::Management);
        let rest = url(raw.rest.as_ref(), "rest", Kind::Rest);
        let brokers = raw.brokers.as_deref().unwrap_or_default();
        let brokers: Vec<String> =
            brokers.iter().filter_map(|at| url(Some(at), "brokers", Kind::Management)).collect();
        let mut routes = Routes::default();
        if raw.zeebe.is_none() && raw.rest.is_some() && version.is_some_and(Version::has_rest_backups) {
            routes.runtime = RuntimeRoute::Rest;
            zeebe.clone_from(&rest);
        } else if raw.zeebe.is_none() {
            let help =
                "write the management URL of a broker or gateway, as in zeebe = \"http://127.0.0.1:9600\"";
            self.missing(&format!("{path}.zeebe"), at.clone(), "", help);
        }
        let search = match &raw.search {
            Some(search) if rdbms => {
                let message = format!("`{path}.search` is set, but storage \"rdbms\" needs no search engine");
                self.error(search.span(), message, "remove one of the two");
                Some(None)
            }
            Some(search) => {
                let older = version.is_some_and(|v| v.family(false) == Ok(Family::V82To87));
                self.search(search, &format!("{path}.search"), older).map(Some)
            }
            None if rdbms => Some(None),
            None => {
                let reason = ", and Camunda stores exported data in a search engine";
                let help = "write search = { url = \"http://127.0.0.1:9200\", repository = \"camunda\" }, or from 8.9 on storage = \"rdbms\"";
                self.missing(&format!("{path}.search"), at, reason, help);
                None
            }
        };
        if let (Some(optimize), true) = (&raw.optimize, rdbms) {
            let message = format!(
                "`{path}.optimize` is set, but Optimize with a relational database is not supported yet"
            );
            self.error(
                optimize.span(),
                message,
                "remove it, and back up the search engine of Optimize separately",
            );
        }
        let reached = [
            ("zeebe", &zeebe),
            ("operate", &operate),
            ("tasklist", &tasklist),
            ("optimize", &optimize),
            ("rest", &rest),
            ("search", &search.as_ref().and_then(Option::as_ref).map(|search| search.url.clone())),
        ];
        let each = brokers.iter().map(|url| ("zeebe", Some(url.as_str())));
        let reached: Vec<_> =
            reached.into_iter().map(|(name, url)| (name, url.as_deref())).chain(each).collect();
        let access = self.access(
            &raw.access,
            &format!("{path}.access"),
            &reached,
            routes.runtime == RuntimeRoute::Rest,
        );
        let search = search?;
        Some(Addresses {
            zeebe: zeebe?,
            operate,
            tasklist,
            optimize,
            rest,
            brokers,
            search,
            routes,
            saas: None,
            access,
        })
    }

    /// Checks `search`. `older`: the configured version is 8.7 or earlier, whose web apps import from the records.
    fn search(&mut self, at: &At<Search>, path: &str, older: bool) -> Option<SearchAddress> {
        let raw = at.value();
        let url = if let Some(url) = &raw.url {
            self.url(url, &format!("{path}.url"), Kind::Search)
        } else {
            self.missing(&format!("{path}.url"), at.span(), "", "write url = \"http://127.0.0.1:9200\"");
            None
        };
        let repository = if let Some(name) = &raw.repository {
            self.repository(name, &format!("{path}.repository"))
        } else {
            let help = "write the snapshot repository configured in Camunda, as in repository = \"camunda\"";
            self.missing(&format!("{path}.repository"), at.span(), "", help);
            None
        };
        let webapps = raw.webapps_repository.as_ref();
        let webapps = webapps.map(|name| self.repository(name, &format!("{path}.webapps_repository")));
        let records = match &raw.records {
            None => Some(Some(RECORDS.to_owned())),
            // With `version = "auto"` the version is not known here. The probe before a run makes the same check.
            Some(at) if at.value() == "none" && !older => Some(None),
            Some(at) => self.records(at, path).map(Some),
        };
        let repository = repository?;
        Some(SearchAddress {
            url: url?,
            webapps_repository: webapps.unwrap_or_else(|| Some(repository.clone()))?,
            repository,
            records: records?,
        })
    }

    fn repository(&mut self, at: &At<String>, path: &str) -> Option<String> {
        let name = at.value();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.starts_with(['.', '_', '-']) || !name.chars().all(plain) {
            let message = format!("`{path}` is {}, not a valid name of a snapshot repository", quoted(name));
            self.error(at.span(), message, "write only its name: letters, digits, `.`, `_` and `-`");
            return None;
        }
        Some(name.clone())
    }

    fn records(&mut self, at: &At<String>, path: &str) -> Option<String> {
        let pattern = at.value();
        if pattern == "none" {
            let message =
                format!("`{path}.records` is \"none\", but Camunda 8.2 to 8.7 always exports records");
            self.error(at.span(), message, format!("remove it, or write the pattern, as in \"{RECORDS}\""));
            return None;
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-*".contains(c);
        if !pattern.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            || !pattern.chars().all(plain)
        {
            let message = format!("`{path}.records` is {}, not a valid index pattern", quoted(pattern));
            self.error(
                at.span(),
                message,
                format!("write lower-case letters, digits, `.`, `_`, `-` and `*`, as in \"{RECORDS}\""),
            );
            return None;
        }
        Some(pattern.clone())
    }

    fn limits(&mut self, raw: &raw::Limits, path: &str) -> Limits {
        let default = Limits::default();
        let run_deadline = self.duration(
            raw.run_deadline.as_ref(),
            &format!("{path}.run_deadline"),
            default.run_deadline,
            SECOND..=YEAR,
        );
        let mut within = |raw: Option<&At<String>>, key: &str, default: Duration| {
            let path = format!("{path}.{key}");
            let limit = self.duration(raw, &path, default.min(run_deadline), SECOND..=YEAR);
            if let (Some(at), true) = (raw, limit > run_deadline) {
                let (limit, deadline) = (in_text(limit), in_text(run_deadline));
                let message = format!("`{path}` is {limit}, longer than the run_deadline of {deadline}");
                self.error(
                    at.span(),
                    message,
                    format!("write at most \"{deadline}\", or increase run_deadline"),
                );
            }
            limit
        };
        Limits {
            run_deadline,
            pause_budget: within(raw.pause_budget.as_ref(), "pause_budget", default.pause_budget),
            stall_after: within(raw.stall_after.as_ref(), "stall_after", default.stall_after),
            min_free_disk: raw.min_free_disk.as_ref().and_then(|raw| {
                let minimum = crate::config::check::disk_space::parse(raw.value());
                if let Err(message) = &minimum {
                    self.error(
                        raw.span(),
                        format!("`{path}.min_free_disk` is {}, {message}", quoted(raw.value())),
                        "write a number and a unit, as in \"500MiB\", \"10GiB\" or \"15%\"",
                    );
                }
                minimum.ok()
            }),
        }
    }

    /// Two names for one cluster are an error: a run of one would end the pause of the other.
    fn shared(&mut self, raw: &Raw, clusters: &BTreeMap<String, ClusterConfig>) {
        let spans = spans(&raw.clusters);
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, cluster) in clusters {
            let profile = cluster.addresses.profile();
            let Some(first) = seen.insert(profile.id, name) else { continue };
            let message = format!(
                "clusters {} and {} have the same {}, so they are one cluster",
                quoted(first),
                quoted(name),
                profile.key
            );
            let span = |name: &str| spans.get(name).cloned().unwrap_or_default();
            let diagnostic = super::Diagnostic::error(message)
                .help("keep one of them, and use it in all schedules")
                .at_location(self.label(span(name), "this one"))
                .at_location(self.label(span(first), "and this one"));
            self.found.push(diagnostic);
        }
    }
}
