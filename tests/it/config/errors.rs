//! Errors beside the cases of `tests/data/ui`: diagnostics as JSON, invalid paths, limits.

use crate::base_config::{diagnostics, environment, written};
use camunda_backupd::config::diagnostic::Diagnostic;
use camunda_backupd::config::{self, Environment};
use std::fs;
use std::path::Path;

#[test]
fn json_of_a_diagnostic_has_file_line_and_column() {
    let (dir, _) = written("@orders\n@daily\n[log]\nlevel = 'inof'\n");
    let path = dir.path().join("config.toml");
    let json: Vec<_> = diagnostics(&path).iter().map(Diagnostic::to_json).collect();
    assert_eq!(
        json,
        [serde_json::json!({
            "level": "error",
            "file": path.display().to_string(),
            "line": 8,
            "column": 9,
            "message": "invalid value `inof` for `log.level`",
            "help": "did you mean \"info\"?",
        })]
    );
}

#[test]
fn missing_special_or_binary_config_files_are_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let one = |path: &Path| diagnostics(path).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let none = dir.path().join("none.toml");
    let name = none.display();
    assert_eq!(
        one(&none),
        format!(
            "{name}: error: `{name}` cannot be read: No such file or directory; create it, or name another file with --config"
        )
    );
    let name = dir.path().display();
    assert_eq!(
        one(dir.path()),
        format!(
            "{name}: error: there is no *.toml file in `{name}`; put a config.toml there, or name a file with --config"
        )
    );
    assert_eq!(
        one(Path::new("/dev/zero")),
        "/dev/zero: error: `/dev/zero` is not a file; name a file or a directory with --config"
    );
    let latin = dir.path().join("latin.toml");
    fs::write(&latin, b"[log]\nlevel = 'in\xe9fo'\n").unwrap();
    let name = latin.display();
    assert_eq!(
        one(&latin),
        format!(
            "{name}:2:12: error: `{name}` is not UTF-8 text; save it as UTF-8, for example with `iconv -f latin1 -t utf-8`"
        )
    );
}

#[test]
fn too_many_pairs_of_schedule_and_cluster_are_rejected() {
    let entry = |at: usize| {
        format!(
            "[clusters.c{at}.self_managed]\nzeebe = 'http://h/{at}'\nsearch = {{ url = 'http://s', repository = 'r' }}\n\
             [schedules.s{at}]\nclusters = ['*']\ndaily = '02:00'\n"
        )
    };
    let (dir, _) = written(&(0..1_010).map(entry).collect::<Vec<_>>().concat());
    let found = diagnostics(&dir.path().join("config.toml"));
    let messages: Vec<_> = found.iter().map(|d| d.message.as_str()).collect();
    assert_eq!(messages, ["the schedules up to `s981` have more than 1000000 pairs of schedule and cluster"]);
}

#[test]
fn without_a_host_name_instance_is_required() {
    let (dir, _) = written("@orders\n@daily\n");
    let nameless = Environment { hostname: String::new(), ..environment() };
    let found = config::load(&dir.path().join("config.toml"), &nameless).unwrap_err();
    assert_eq!(
        found[0].message,
        "`daemon.instance` is missing, and this machine has no host name as its default"
    );
}
