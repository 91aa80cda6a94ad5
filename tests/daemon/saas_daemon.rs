//! The real binary and a Camunda 8 SaaS cluster: from the printed config to a backup, a restore and a deletion.

use crate::served::Served;
use camunda_backupd::clock::SystemClock;
use camunda_backupd::sim::model::config::SAAS_SECRET;
use camunda_backupd::sim::{self, Storage, Timing, locked};
use harness::process::{Location, Up, command, ends};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

struct Cloud {
    served: Served,
    location: Location,
}

fn cloud() -> Cloud {
    let sim = sim::Config {
        storage: Storage::Saas,
        timing: Timing::default().faster(60.0),
        ..sim::Config::named("orders")
    };
    let location = Location::new();
    let credentials = location.path("credentials");
    std::fs::create_dir(&credentials).unwrap();
    let secret = credentials.join(SAAS_SECRET);
    std::fs::write(&secret, SAAS_SECRET).unwrap();
    std::fs::set_permissions(secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = format!("credentials_dir = '{}'\n", credentials.display());
    let daily = "[schedules.daily]\nclusters = ['orders']\ndaily = '02:00'\n";
    let served = Served::new(location.directory.path(), &location.path("state"), sim, &daemon, daily);
    Cloud { served, location }
}

/// Exit code, standard output, standard error.
fn reports(config: &Path, words: &[&str]) -> (i32, String, String) {
    let output = ends(command(config, words));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn saas_backup_restore_and_delete_by_command() {
    let cloud = cloud();
    let (code, text, _) = reports(&cloud.served.config, &["check", "--online"]);
    assert_eq!((code, text.lines().next()), (0, Some("orders: a backup would work now")), "{text}");
    let up = Up::new(&cloud.served.config);
    let (code, text, error) = reports(&cloud.served.config, &["backup", "orders", "--wait", "--json"]);
    assert_eq!(code, 0, "{text} {error}");
    let backup: Value = serde_json::from_str(&text).unwrap();
    let id = backup["backup_id"].to_string();
    assert_eq!(
        (backup["state"].as_str(), &backup["components"]["saas"]["parts_done"]),
        (Some("completed"), &3.into())
    );

    let (code, _, error) = reports(&cloud.served.config, &["backup", "orders"]);
    assert_eq!(code, 4);
    assert!(error.starts_with("error: cluster orders cannot be backed up now: Camunda 8 SaaS takes one backup in 15s and the last was requested at "), "{error}");
    for (words, code, sentence) in [
        (
            &["resume-exporting", "orders", "--yes"][..],
            4,
            "error: Camunda 8 SaaS pauses and resumes exporting of orders itself: there is nothing to resume",
        ),
        (
            &["adopt", "orders"],
            4,
            "error: orders is a Camunda 8 SaaS cluster, whose backups have no ownership tags: there is nothing to adopt. Console shows all its backups",
        ),
        (&["restore", "orders", &id], 4, "error: confirmation required: add --yes if there is no terminal"),
        (
            &["restore", "orders", "7", "--yes"],
            1,
            "error: cluster orders has no backup 7. `list orders` shows its backups",
        ),
    ] {
        assert_eq!(
            reports(&cloud.served.config, words),
            (code, String::new(), sentence.to_owned()),
            "{words:?}"
        );
    }

    let (code, text, _) = reports(&cloud.served.config, &["restore", "orders", &id, "--yes"]);
    assert_eq!(code, 0);
    assert_eq!(
        text,
        format!(
            "restore of orders to backup {id}: Camunda reports PENDING; Console shows the progress, `--wait` waits for completion"
        )
    );
    up.event("restore.started");
    let (code, _, error) = reports(&cloud.served.config, &["restore", "orders", &id, "--yes"]);
    assert_eq!(code, 4);
    assert!(error.ends_with("A restore is in progress for this cluster"), "{error}");

    // During the restore no backup is deleted.
    let restoring =
        || locked(&cloud.served.cluster).saas.restores.values().any(|state| *state != "COMPLETED");
    while restoring() {
        std::thread::sleep(std::time::Duration::from_millis(20));
        locked(&cloud.served.cluster).advance(SystemClock::shared().now());
    }
    assert_eq!(reports(&cloud.served.config, &["delete", "orders", &id, "--yes"]).0, 0);
    up.event("backup.deleted");
    assert!(locked(&cloud.served.cluster).saas.backups.is_empty());
    assert_eq!(locked(&cloud.served.cluster).saas.tokens_given, 2, "one for the check, one for the daemon");
    up.stop();
    let state = std::fs::read(cloud.location.path("state").join("state.db")).unwrap();
    assert!(!String::from_utf8_lossy(&state).contains("Bearer"), "no token is kept");
}

#[test]
fn restore_of_self_managed_cluster_is_rejected() {
    let location = Location::new();
    let config = location.good();
    let up = Up::new(&config);
    let (code, _, error) = reports(&config, &["restore", "orders", "7", "--yes"]);
    assert_eq!(code, 4);
    assert_eq!(
        error,
        "error: cluster orders is self-managed and is restored manually. Follow docs/restore.md; `--json show 7` lists the snapshots"
    );
    up.stop();
}

#[test]
fn cancel_before_the_pause_reports_no_resume() {
    let cloud = cloud();
    let up = Up::new(&cloud.served.config);
    assert_eq!(reports(&cloud.served.config, &["backup", "orders"]).0, 0);
    while locked(&cloud.served.cluster).saas.backups.is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let output_of_cancel = reports(&cloud.served.config, &["cancel", "orders", "--why", "not now"]);
    let sentence =
        "the run of orders is cancelled. Camunda completes the backup that it has started, see Console";
    assert_eq!(output_of_cancel, (0, sentence.to_owned(), String::new()));
    up.stop();
}
