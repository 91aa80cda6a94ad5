//! `[clusters.*.saas]`: a cluster of Camunda's cloud, every mistake in it, and schedules that ask for more than it gives.

use super::refusals::{env, said, shown};
use camunda_backupd::config;
use camunda_backupd::domain::{Access, Login, Oauth, SaasAddress};
use rstest::rstest;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Four lines, so that line 5 is the first of a case.
const BEFORE: &str = "[daemon]
credentials_dir = 'DIR/credentials'
[clusters.trial.saas]
client_id = 'backup'
";
const WHOLE: &str = "cluster_id = '5CD2E4E1-6a0c-4d2a-9a5a-1f2f3c4d5e6f'
client_secret = 'good'
";
const DAILY: &str = "[schedules.d]
clusters = ['trial']
daily = '02:00'
";

fn written(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("credentials")).unwrap();
    let secret = dir.path().join("credentials/good");
    fs::write(&secret, "geheim").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!("{BEFORE}{text}").replace("DIR", &dir.path().display().to_string());
    fs::write(dir.path().join("config.toml"), text).unwrap();
    dir
}

fn check(text: &str, expected: &[&str]) {
    let dir = written(text);
    let (dir, location) = (dir.path(), dir.path().display().to_string());
    let lines: Vec<String> = said(&dir.join("config.toml"))
        .iter()
        .map(|d| d.to_string().replace(&format!("{location}/config.toml:"), "").replace(&location, "DIR"))
        .collect();
    assert_eq!(lines, expected);
    let shown = shown(dir);
    assert!(!shown.contains("geheim"), "{shown}");
}

fn load(text: &str) -> config::ClusterConfig {
    let dir = written(text);
    let loaded = config::load(&dir.path().join("config.toml"), &env()).unwrap();
    loaded.config.clusters["trial"].clone()
}

#[test]
fn three_keys_are_enough() {
    let cluster = load(&format!("{WHOLE}{DAILY}"));
    let saas = SaasAddress {
        api: "https://api.cloud.camunda.io".into(),
        cluster_id: "5cd2e4e1-6a0c-4d2a-9a5a-1f2f3c4d5e6f".into(),
        min_interval: Duration::from_mins(15),
        max_backups: 3,
    };
    assert_eq!(cluster.addresses.saas, Some(saas));
    let oauth = Oauth {
        token_url: "https://login.cloud.camunda.io/oauth/token".into(),
        client_id: "backup".into(),
        client_secret: "good".into(),
        audience: Some("api.cloud.camunda.io".into()),
        scope: None,
        json: true,
    };
    let access = Access { login: Login::Oauth(oauth), ..Access::default() };
    assert_eq!(cluster.addresses.access["saas"], access);
    // Whole components are all the progress there is, so that no stall comes before the end.
    assert_eq!(cluster.limits.stall_after, cluster.limits.run_deadline);
}

#[test]
fn other_figures_and_another_place_can_be_written() {
    let more =
        "api = 'https://api.example/'\nmin_interval = '5h'\nmax_backups = 5\nproxy = 'http://proxy:3128'\n";
    let cluster = load(&format!("{WHOLE}{more}[clusters.trial.limits]\nstall_after = '1h'\n{DAILY}"));
    let saas = cluster.addresses.saas.unwrap();
    assert_eq!(
        (saas.api.as_str(), saas.min_interval, saas.max_backups),
        ("https://api.example", Duration::from_hours(5), 5)
    );
    assert_eq!(cluster.addresses.access["saas"].proxy.as_deref(), Some("http://proxy:3128"));
    assert_eq!(cluster.limits.stall_after, Duration::from_hours(1));
}

#[rstest]
#[case(
    "",
    &[
        "3:1: error: `clusters.trial.saas.client_secret` is missing; write the name of the credential that holds it",
        "3:1: error: `clusters.trial.saas.cluster_id` is missing; write the cluster's UUID, as Console shows it",
    ]
)]
#[case(
    "cluster_id = 'trial'\nclient_secret = 'geheim'\napi = 'https://api.cloud.camunda.io/clusters'\ntoken_url = 'login'\naudience = ''\nmin_interval = '0s'\nmax_backups = 0\n",
    &[
        "5:14: error: `clusters.trial.saas.cluster_id` is `trial`, which is not the UUID of a cluster; write what Console shows as the cluster's id: 36 characters, as in 5cd2e4e1-6a0c-4d2a-9a5a-1f2f3c4d5e6f",
        "6:17: error: `clusters.trial.saas.client_secret` names a credential that does not exist; create a file of that name with mode 0600 in `DIR/credentials`; under systemd a new one needs a restart",
        "7:7: error: `clusters.trial.saas.api` ends in `/clusters`, and `/clusters` is added by us; write \"https://api.cloud.camunda.io\"",
        "8:13: error: `clusters.trial.saas.token_url` is `login`, which is not an http or https URL; write the scheme too, as in \"http://login\"",
        "9:12: error: `clusters.trial.saas.audience` is empty, or has control characters in it; write what Console shows",
        "10:16: error: `clusters.trial.saas.min_interval` is 0s, which is outside 1s to 366d; write a duration from 1s to 366d",
        "11:15: error: `clusters.trial.saas.max_backups` is 0, which is outside 1 to 1000; write a number from 1 to 1000",
    ]
)]
#[case(
    "cluster_id = '5cd2e4e1-6a0c-4d2a-9a5a-1f2f3c4d5e6f'\nclient_secret = 'geheim!!'\ntoken = 'geheim'\n",
    &[
        "6:17: error: `clusters.trial.saas.client_secret` is not the name of a credential; write a name of letters, digits, `.`, `_` and `-`, and put the secret into a file of that name; if this was the secret itself, change it",
        "7:1: error: `clusters.trial.saas.token` looks like a secret, and a secret must not stand in this file; remove it, and change that secret: whoever could read this file knows it",
    ]
)]
#[case(
    "cluster_id = '5cd2e4e1-6a0c-4d2a-9a5a-1f2f3c4d5e6f'\nclient_secret = 'good'\napi = 'http://elsewhere'\n[clusters.trial.limits]\npause_budget = '5m'\n",
    &[
        "7:7: warning: `clusters.trial.saas.api` sends credentials over http, where others may read them; write an https URL",
        "9:16: warning: `clusters.trial.limits.pause_budget` has no meaning here: the provider pauses what it must itself; remove it",
    ]
)]
fn every_mistake_is_named_with_its_remedy(#[case] text: &str, #[case] expected: &[&str]) {
    check(&format!("{text}{DAILY}"), expected);
}

#[test]
fn one_cluster_under_two_names_is_refused() {
    let again = "[clusters.again.saas]\nclient_id = 'backup'\ncluster_id = '5cd2e4e1-6a0c-4d2a-9a5a-1f2f3c4d5e6f'\nclient_secret = 'good'\n";
    check(
        &format!("{WHOLE}{again}{}", DAILY.replace("'trial'", "'*'")),
        &[
            "3:11: error: clusters `again` and `trial` have the same `cluster_id`, so they are one cluster; keep one of them, and name it in all schedules",
        ],
    );
}

#[rstest]
#[case(
    "[schedules.often]\nclusters = ['trial']\ncron = '*/10 * * * *'\n",
    &[
        "7:12: error: backups of `trial` are due 10m apart, as on 2026-11-23 at 12:10 (UTC), and the provider takes one in 15m; make them rarer or due at the same time, which one backup serves; where the provider takes more, say so by `min_interval`",
    ]
)]
#[case(
    "[schedules.a]\nclusters = ['trial']\ndaily = '02:00'\n[schedules.b]\nclusters = ['*']\ndaily = '02:12'\n",
    &[
        "7:12: error: backups of `trial` are due 12m apart, as on 2026-11-24 at 02:00 (UTC), and the provider takes one in 15m; make them rarer or due at the same time, which one backup serves; where the provider takes more, say so by `min_interval`",
    ]
)]
#[case("[schedules.a]\nclusters = ['trial']\ndaily = '02:00'\n[schedules.b]\nclusters = ['*']\ncron = '*/15 * * * *'\n", &[])]
#[case(
    "[schedules.a]\nclusters = ['trial']\ndaily = '02:00'\nkeep = { successful = 4 }\n",
    &[
        "7:12: warning: schedule `a` keeps 4 backups, and of `trial` the provider keeps 3; it prunes on its own, and nothing here can keep it from that; where it keeps more, say so by `max_backups`",
    ]
)]
fn schedules_fit_what_the_provider_gives(#[case] text: &str, #[case] expected: &[&str]) {
    check(&format!("{WHOLE}{text}"), expected);
}

/// The limits are the operator's to know: documents and contracts differ.
#[test]
fn a_faster_provider_is_believed() {
    let schedule = "[schedules.often]\nclusters = ['trial']\ncron = '*/10 * * * *'\n";
    check(&format!("{WHOLE}min_interval = '10m'\n{schedule}"), &[]);
}
