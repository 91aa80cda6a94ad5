//! `[clusters.*.saas]`: Camunda 8 SaaS clusters; the errors are cases of `tests/data/ui`.

use crate::base_config::environment;
use camunda_backupd::config;
use camunda_backupd::domain::{Access, Login, Oauth, SaasAddress};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

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

fn load(text: &str) -> config::ClusterConfig {
    let dir = written(text);
    let loaded = config::load(&dir.path().join("config.toml"), &environment()).unwrap();
    loaded.config.clusters["trial"].clone()
}

#[test]
fn saas_cluster_needs_three_keys() {
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
    // Progress is per component only, so stall_after equals run_deadline.
    assert_eq!(cluster.limits.stall_after, cluster.limits.run_deadline);
}

#[test]
fn saas_limits_and_urls_are_configurable() {
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
