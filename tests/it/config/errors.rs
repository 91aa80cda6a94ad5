//! Bad input: each mistake is one sentence with its place and what to write instead, and all come at once.

use super::refusals::{check, env, said, shown, written};
use camunda_backupd::config::diagnostic::Diagnostic;
use camunda_backupd::config::{self, Environment};
use rstest::rstest;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[rstest]
#[case(
    "@orders
[schedules.d]
clusters = ['ordesr']
daily = '02:00'",
    &[
        "6:13: error: there is no cluster `ordesr`; did you mean \"orders\"?",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders', 'x*']
daily = '02:00'",
    &[
        "6:23: warning: `x*` matches no cluster; the clusters are `orders`",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = []
daily = '02:00'",
    &[
        "6:12: error: schedule `d` serves no cluster; write clusters = [\"orders\"], or [\"*\"] for all",
    ]
)]
#[case(
    "@orders
[schedules.d]
daily = '02:00'",
    &[
        "5:12: error: `schedules.d.clusters` is missing; write clusters = [\"orders\"], or [\"*\"] for all",
    ]
)]
#[case(
    "@orders
@daily
keep = { successful = 0, failed = 1001 }",
    &[
        "8:23: error: `schedules.d.keep.successful` is 0, which is outside 1 to 1000; write a number from 1 to 1000",
        "8:35: error: `schedules.d.keep.failed` is 1001, which is outside 1 to 1000; write a number from 1 to 1000",
    ]
)]
#[case(
    "@orders
@daily
start_within = '6 parsecs'
spread = '2y'
catch_up = 'onse'",
    &[
        "8:16: error: `6 parsecs` is not a duration; write a number and a unit, as in \"90s\", \"45m\", \"6h\" or \"2d\"",
        "9:10: error: `schedules.d.spread` is 2years, which is outside 0s to 366d; write a duration from 0s to 366d",
        "10:12: error: `schedules.d.catch_up` is `onse`, which it cannot be; did you mean \"once\"?",
    ]
)]
#[case(
    "@orders
@daily
[schedules.e]
clusters = ['orders']
daily = '02:05'",
    &[
        "8:12: warning: schedules `d` and `e` of one cluster are due 5m apart, as on 2026-11-24 at 02:00, which is closer than a run may take; make them due at the same time, which one backup serves, or at least 10 minutes apart",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
cron = '* * * * * *'
[schedules.e]
clusters = ['orders']
cron = '55 1 * * *'
enabled = false",
    &[
        "5:12: warning: schedule `d` is due again after 1s, as on 2026-11-23 at 12:00:02, which is sooner than a run may take; leave at least 10 minutes between its times: what comes due while its cluster is busy waits, and is skipped when the next comes",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
cron = '4,58 1,2 * * *'",
    &[
        "5:12: warning: schedule `d` is due again after 6m, as on 2026-11-24 at 02:04:00, which is sooner than a run may take; leave at least 10 minutes between its times: what comes due while its cluster is busy waits, and is skipped when the next comes",
    ]
)]
fn schedules(#[case] text: &str, #[case] said: &[&str]) {
    check(text, said);
}

#[rstest]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
cron = '0 3 31 2 *'",
    &[
        "7:8: error: `0 3 31 2 *` never fires: no date after 2026-11-23 matches it; check that the day exists in that month and that the year is not over",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
cron = '0 0 3 1 1 * 2020'",
    &[
        "7:8: error: `0 0 3 1 1 * 2020` never fires: no date after 2026-11-23 matches it; check that the day exists in that month and that the year is not over",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
cron = '0 3 * * 1-5'",
    &[
        "7:17: error: `1-5` uses digits for days of the week, and 1 means Sunday in some tools and Monday in others; write names, as in MON-FRI or MON,WED,SUN",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
cron = '0 3 L * *'",
    &[
        "7:13: error: the day of month field `L` cannot be read; write `*`, a value, a range, a list or a step; `L`, `W` and `#` are not supported",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
cron = '0 3 * *'",
    &[
        "7:8: error: a cron expression has five fields, or six with seconds, or seven with years, and this one has 4; write minutes, hours, day of month, month, day of week, as in cron = \"0 2 * * MON-FRI\"",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
cron = '0 3 * FOO *'",
    &[
        "7:15: error: the month field `FOO` cannot be read; write `*`, a value such as 5, a range such as 1-5, a list such as 1,5 or a step such as */5",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
cron = '*/0 3 * * *'",
    &[
        "7:9: error: the minutes field `*/0` cannot be read; write `*`, a value such as 5, a range such as 1-5, a list such as 1,5 or a step such as */5",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
cron = '@reboot'",
    &[
        "7:8: error: `@reboot` is not a time of day or week; write the five fields, as in cron = \"0 2 * * *\"",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
cron = '@dayly'",
    &[
        "7:8: error: `@dayly` is not a known shorthand; write @hourly, @daily, @midnight, @weekly, @monthly, @yearly or @annually, or the five fields",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
cron = '0 3 13 * FRI'",
    &[
        "7:8: warning: `0 3 13 * FRI` is due only where day of month and day of week both match; some other tools take either; write two schedules if that is meant",
    ]
)]
#[case(
    "@orders
@daily
timezone = 'Europe/Berln'",
    &[
        "8:12: error: there is no time zone `Europe/Berln`; did you mean \"Europe/Berlin\"?",
    ]
)]
#[case(
    "@orders
@daily
timezone = 'Berlin'",
    &[
        "8:12: error: there is no time zone `Berlin`; did you mean \"Europe/Berlin\"?",
    ]
)]
#[case(
    "@orders
@daily
timezone = 'Nowhere'",
    &[
        "8:12: error: there is no time zone `Nowhere`; write a name of the IANA list, as in \"Europe/Berlin\" or \"UTC\"",
    ]
)]
#[case(
    "@orders
@daily
cron = '0 3 * * *'",
    &[
        "8:8: error: schedule `d` has both `daily` and `cron`; keep one of them, or make two schedules",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']",
    &[
        "5:12: error: schedule `d` does not say when it is due; write daily = \"02:00\", weekly = \"sunday 03:30\" or cron = \"0 2 * * *\"",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
daily = '25:00'",
    &[
        "7:9: error: `25:00` is not a time of day; write hours and minutes between 00:00 and 23:59, as in daily = \"02:00\"",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
weekly = 'someday 03:00'",
    &[
        "7:11: error: `someday` is not a day of the week; write a day and a time, as in weekly = \"sunday 03:30\"",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
weekly = 'sunday 3'",
    &[
        "7:18: error: `3` is not a time of day; write hours and minutes between 00:00 and 23:59, as in weekly = \"sunday 03:30\"",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
weekly = 'sunday'",
    &[
        "7:10: error: `sunday` is not a day of the week and a time; write a day and a time, as in weekly = \"sunday 03:30\"",
    ]
)]
fn times_and_zones(#[case] text: &str, #[case] said: &[&str]) {
    check(text, said);
}

#[rstest]
#[case(
    "@orders
@daily
[http]
listen = '0.0.0.0:9610'",
    &[
        "9:10: error: `http.listen` is 0.0.0.0:9610, which other machines reach, and tokens are not supported yet; listen on 127.0.0.1, [::1] or a Unix socket, and put a proxy with its own authentication in front",
    ]
)]
#[case(
    "@orders
@daily
[http]
listen = 'unix:http.sock'",
    &[
        "9:10: error: `http.sock` is not an absolute path of at most 107 bytes; write an address and a port, as in \"127.0.0.1:9610\", or a socket, as in \"unix:/run/camunda-backupd/http.sock\"",
    ]
)]
#[case(
    "@orders
@daily
[log]
level = 'inof'
format = 'xml'",
    &[
        "9:9: error: `log.level` is `inof`, which it cannot be; did you mean \"info\"?",
        "10:10: error: `log.format` is `xml`, which it cannot be; write one of \"auto\", \"json\", \"text\", \"journald\"",
    ]
)]
#[case(
    "@orders
@daily
[daemon]
max_parallel_runs = 0
shutdown_grace = '2h'
instance = 'a b'
state_dir = ''",
    &[
        "9:21: error: `daemon.max_parallel_runs` is 0, which is outside 1 to 10000; write a number from 1 to 10000",
        "10:18: error: `daemon.shutdown_grace` is 2h, which is outside 1s to 10m; write a duration from 1s to 10m",
        "11:12: error: `a b` cannot be the name of an instance; use letters, digits, `.`, `_` and `-`, begin with a letter or digit, at most 63 of them",
        "12:13: error: `daemon.state_dir` is not a path; write the path of a directory",
    ]
)]
fn the_daemon_itself(#[case] text: &str, #[case] said: &[&str]) {
    check(text, said);
}

#[rstest]
#[case(
    "@orders
@daily
[log
level = 1",
    &[
        "8:5: error: this is not TOML: unclosed table, expected `]`; see https://toml.io for how tables, keys and values are written",
    ]
)]
#[case(
    "@orders
@daily
log = { level = 'info' ",
    &[
        "8:23: error: this is not TOML: unclosed inline table, expected `}`; see https://toml.io for how tables, keys and values are written",
    ]
)]
#[case(
    "@orders
@daily
[schedules.d]
daily = '03:00'",
    &[
        "8:12: error: this key or table is written twice; keep one of the two",
        "9:1: error: this key or table is written twice; keep one of the two",
    ]
)]
fn what_is_not_toml(#[case] text: &str, #[case] said: &[&str]) {
    check(text, said);
}

#[test]
fn all_mistakes_are_shown_at_once_the_way_rustc_shows_them() {
    let (dir, _) = written(
        "@orders
@daily
[clusters.copy.self_managed]
zeebe = 'http://h:9600/actuator'
password = 'geheim'
search = { url = 'http://joe:geheim@h', repository = 'r' }
[schedules.e]
clusters = ['orders', 'cpoy']
cron = '0 3 * * 1-5'
[log]
level = 'inof'
",
    );
    insta::with_settings!({ snapshot_path => "../../data/snapshots", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(shown(dir.path()));
    });
}

#[test]
fn two_tables_of_one_name_in_two_files_are_refused_with_both_places() {
    let (dir, _) = written("@orders\n@daily\n[log]\nlevel = 'info'\n");
    fs::create_dir(dir.path().join("conf.d")).unwrap();
    let more = "[schedules.d]\nclusters = ['*']\ndaily = '03:00'\n[log]\nlevel = 'debug'\n";
    fs::write(dir.path().join("conf.d/10-more.toml"), more).unwrap();
    insta::with_settings!({ snapshot_path => "../../data/snapshots", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(shown(dir.path()));
    });
}

#[test]
fn the_json_of_a_mistake_names_file_line_and_column() {
    let (dir, _) = written("@orders\n@daily\n[log]\nlevel = 'inof'\n");
    let path = dir.path().join("config.toml");
    let json: Vec<_> = said(&path).iter().map(Diagnostic::to_json).collect();
    assert_eq!(
        json,
        [serde_json::json!({
            "level": "error",
            "file": path.display().to_string(),
            "line": 9,
            "column": 9,
            "message": "`log.level` is `inof`, which it cannot be",
            "help": "did you mean \"info\"?",
        })]
    );
}

#[test]
fn a_file_that_is_not_there_not_a_file_or_not_text_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let one = |path: &Path| said(path).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
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
fn a_config_that_would_need_more_memory_than_there_is_is_refused() {
    let entry = |at: usize| {
        format!(
            "[clusters.c{at}.self_managed]\nzeebe = 'http://h/{at}'\nsearch = {{ url = 'http://s', repository = 'r' }}\n\
             [schedules.s{at}]\nclusters = ['*']\ndaily = '02:00'\n"
        )
    };
    let (dir, _) = written(&(0..1_010).map(entry).collect::<Vec<_>>().concat());
    let found = said(&dir.path().join("config.toml"));
    let messages: Vec<_> = found.iter().map(|d| d.message.as_str()).collect();
    assert_eq!(messages, ["the schedules up to `s981` serve clusters more than 1000000 times in all"]);
}

#[test]
fn a_machine_without_a_name_needs_an_instance() {
    let (dir, _) = written("@orders\n@daily\n");
    let nameless = Environment { hostname: String::new(), ..env() };
    let found = config::load(&dir.path().join("config.toml"), &nameless).unwrap_err();
    assert_eq!(
        found[0].message,
        "`daemon.instance` is missing, and this machine has no host name to stand for it"
    );
}

#[test]
fn credentials_that_others_can_read_and_directories_that_are_missing_are_refused() {
    let (dir, _) = written("");
    let secrets = dir.path().join("secrets");
    let text = format!("[daemon]\ncredentials_dir = '{}'\n@orders\n@daily\n", secrets.display());
    let (file, _) = written(&text);
    let lines = || {
        let lines = said(&file.path().join("config.toml"));
        let prefix = format!("{}/config.toml:", file.path().display());
        let plain = |d: &Diagnostic| {
            d.to_string().replace(&prefix, "").replace(&secrets.display().to_string(), "DIR")
        };
        lines.iter().map(plain).collect::<Vec<_>>()
    };
    assert_eq!(
        lines(),
        [
            "2:19: error: the directory of credentials `DIR` cannot be listed: No such file or directory; create it with mode 0700, owned by the daemon's user"
        ]
    );
    fs::create_dir(&secrets).unwrap();
    for (name, mode) in [("good", 0o600), ("group", 0o640), ("world", 0o604)] {
        fs::write(secrets.join(name), "geheim").unwrap();
        fs::set_permissions(secrets.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    assert_eq!(
        lines(),
        [
            "2:19: error: the credential `DIR/group` can be read by its group of this machine; run `chmod 0600 DIR/group`, and change the secret if others had access",
            "2:19: error: the credential `DIR/world` can be read by every user of this machine; run `chmod 0600 DIR/world`, and change the secret if others had access",
        ]
    );
}
