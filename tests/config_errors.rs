//! Bad input: each mistake is one sentence with its place and what to write instead, and all come at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use camunda_backupd::config::diagnostic::{Diagnostic, render};
use camunda_backupd::config::{self, Environment};
use rstest::rstest;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What `@orders` stands for in a case.
const CLUSTER: &str = "[clusters.orders.self_managed]
zeebe = 'http://h:9600'
operate = 'http://h:9621'
search = { url = 'http://h:9200', repository = 'camunda' }
";
/// What `@daily` stands for.
const SCHEDULE: &str = "[schedules.d]
clusters = ['orders']
daily = '02:00'
";

fn env() -> Environment {
    Environment {
        state_directory: None,
        runtime_directory: Some("/run/elsewhere".into()),
        credentials_directory: None,
        hostname: "host-1".into(),
        now: "2026-11-23T12:00:00Z".parse().unwrap(),
    }
}

/// Everything said about a path, warnings of a config that loads included.
fn said(path: &Path) -> Vec<Diagnostic> {
    match config::load(path, &env()) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    }
}

fn written(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let text = text.replace("@orders\n", CLUSTER).replace("@daily\n", SCHEDULE);
    fs::write(dir.path().join("config.toml"), &text).unwrap();
    (dir, text)
}

/// As a terminal shows it, with the scratch directory taken out.
fn shown(dir: &Path) -> String {
    render(&said(&dir.join("config.toml")), false).replace(&format!("{}/", dir.display()), "")
}

/// Compares `line:column: level: sentence; remedy`, and holds every case to showing no secret.
fn check(text: &str, expected: &[&str]) {
    let (dir, _) = written(&format!("{text}\n"));
    let prefix = format!("{}/config.toml:", dir.path().display());
    let lines: Vec<String> =
        said(&dir.path().join("config.toml")).iter().map(|d| d.to_string().replace(&prefix, "")).collect();
    assert_eq!(lines, expected);
    let shown = shown(dir.path());
    assert!(!shown.contains("geheim"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
}

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
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://h:9600/actuator'
@daily",
    &[
        "3:9: error: `clusters.orders.self_managed.zeebe` ends in `/actuator`, and `/actuator` is added by us; write \"http://h:9600\"",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://h:9600/x/actuator/backups/'
@daily",
    &[
        "3:9: error: `clusters.orders.self_managed.zeebe` ends in `/actuator/backups`, and `/actuator` is added by us; write \"http://h:9600/x\"",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'ftp://h:9600'
@daily",
    &[
        "3:9: error: `clusters.orders.self_managed.zeebe` is `ftp://h:9600`, which is not an http or https URL; write http:// or https://, a host and a port",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'h:9600'
@daily",
    &[
        "3:9: error: `clusters.orders.self_managed.zeebe` is `h:9600`, which is not an http or https URL; write the scheme too, as in \"http://h:9600\"",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://h:9600#x'
@daily",
    &[
        "3:9: error: `clusters.orders.self_managed.zeebe` has a query or fragment in it; write it only up to the `?` or `#`",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://h'
rest = 'http://h:8080/v2/topology'
@daily",
    &[
        "4:8: error: `clusters.orders.self_managed.rest` ends in `/v2/topology`, and `/v1` or `/v2` is added by us; write \"http://h:8080\"",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }

@daily",
    &[
        "1:11: error: `clusters.orders.self_managed.zeebe` is missing; write the management URL of a broker or gateway, as in zeebe = \"http://127.0.0.1:9600\"",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://h'
version = '8.2.3'
@daily",
    &[
        "4:11: error: Camunda before 8.2.4 cannot be backed up, and this is 8.2.3; upgrade the cluster first",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://h'
version = '8.2'
@daily",
    &[
        "4:11: error: Camunda before 8.2.4 cannot be backed up, and `8.2` does not say which patch it is; write all three numbers, as in \"8.2.12\"",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://h'
version = '8.8'
@daily",
    &[
        "4:11: error: Camunda 8.8 is not yet supported; only 8.2.4 to 8.7 can be backed up for now",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://h'
version = 'latest'
@daily",
    &[
        "4:11: error: `latest` is not a Camunda version; write \"auto\", or a version such as \"8.6\" or \"8.6.3\"",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
zeebe = 'http://h'
@daily",
    &[
        "1:11: error: `clusters.orders.self_managed.search` is missing, and Camunda 8.2 to 8.7 exports its records to a search engine; write search = { url = \"http://127.0.0.1:9200\", repository = \"camunda\" }",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
zeebe = 'http://h'
search = { }
@daily",
    &[
        "3:10: error: `clusters.orders.self_managed.search.repository` is missing; write the snapshot repository that Camunda was given, as in repository = \"camunda\"",
        "3:10: error: `clusters.orders.self_managed.search.url` is missing; write url = \"http://127.0.0.1:9200\"",
    ]
)]
#[case(
    "[clusters.orders]
probe_interval = '1m'
@daily",
    &[
        "1:11: error: `clusters.orders.self_managed` is missing; write where its components are, as in [clusters.orders.self_managed]",
    ]
)]
#[case(
    "@orders
[clusters.orders.saas]
client_id = 'x'
@daily",
    &[
        "1:11: error: cluster `orders` is both self_managed and saas; keep one of the two tables",
        "5:18: error: `clusters.orders.saas` is not supported yet; remove this cluster: only self_managed clusters can be backed up for now",
    ]
)]
#[case(
    "@orders
@daily
[clusters.'a/b'.self_managed]
zeebe = 'http://i'
search = { url = 'http://h', repository = 'r' }",
    &[
        "8:11: error: `a/b` cannot be the name of a cluster; use letters, digits, `.`, `_` and `-`, begin with a letter or digit, at most 63 of them",
    ]
)]
#[case(
    "@orders
@daily
[clusters.copy.self_managed]
zeebe = 'http://h:9600/'
search = { url = 'http://h', repository = 'r' }",
    &[
        "1:11: error: clusters `copy` and `orders` have the same `zeebe` URL, so they are one cluster; keep one of them, and name it in all schedules",
    ]
)]
#[case(
    "@orders
@daily
[clusters.orders.limits]
run_deadline = '10m'
pause_budget = '45m'
stall_after = '0s'",
    &[
        "10:16: error: `clusters.orders.limits.pause_budget` is 45m, which is longer than the run_deadline of 10m; write at most \"10m\", or a longer run_deadline",
        "11:15: error: `clusters.orders.limits.stall_after` is 0s, which is outside 1s to 366d; write a duration from 1s to 366d",
    ]
)]
#[case(
    "",
    &[
        " error: no cluster is configured; write at least [clusters.NAME.self_managed] with `zeebe` and `search`",
    ]
)]
#[case(
    "@orders
@daily
[clusters.\"a\\u001b[31m\".self_managed]",
    &[
        "8:11: error: `a\\u{1b}[31m` cannot be the name of a cluster; use letters, digits, `.`, `_` and `-`, begin with a letter or digit, at most 63 of them",
        "8:11: error: `clusters.a\\u{1b}[31m.self_managed.search` is missing, and Camunda 8.2 to 8.7 exports its records to a search engine; write search = { url = \"http://127.0.0.1:9200\", repository = \"camunda\" }",
        "8:11: error: `clusters.a\\u{1b}[31m.self_managed.zeebe` is missing; write the management URL of a broker or gateway, as in zeebe = \"http://127.0.0.1:9600\"",
    ]
)]
#[case(
    "@orders",
    &[
        "1:11: warning: no enabled schedule takes backups of cluster `orders`; name it in a schedule, unless backups by hand are enough",
    ]
)]
fn clusters(#[case] text: &str, #[case] said: &[&str]) {
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
[schedules.d]
clusters = ['orders']
cron = '60 3 * * *'",
    &[
        "7:9: error: the minutes field `60` is out of range: it must be at most 59; write `*`, a value such as 5, a range such as 1-5, a list such as 1,5 or a step such as */5",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
cron = '0 3 0 * *'",
    &[
        "7:13: error: the day of month field `0` is out of range: it must be at least 1; write `*`, a value, a range, a list or a step; `L`, `W` and `#` are not supported",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
daily = 02:00",
    &[
        "7:9: error: `schedules.d.daily` must be text, and this is a date or time without quotes; put it in quotes, as in \"02:00\"",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
daily = 2",
    &[
        "7:9: error: `schedules.d.daily` must be text, and this is a number; put it in quotes, and give durations a unit, as in \"90s\"",
    ]
)]
#[case(
    "@orders
@daily
keep = { successful = '3' }",
    &[
        "8:23: error: `schedules.d.keep.successful` must be a whole number, and this is text; write it without quotes",
    ]
)]
#[case(
    "@orders
@daily
keep = 3",
    &[
        "8:8: error: `schedules.d.keep` must be a table, and this is a number; write it as a table, with one key for each setting",
    ]
)]
#[case(
    "@orders
@daily
keep = { successful = 99999999999999999999 }",
    &[
        "8:23: error: `schedules.d.keep.successful` must be a whole number, and this is a number that is too large; write a smaller number",
    ]
)]
#[case(
    "@orders
@daily
start_within = 90",
    &[
        "8:16: error: `schedules.d.start_within` must be text, and this is a number; put it in quotes, and give durations a unit, as in \"90s\"",
    ]
)]
#[case(
    "@orders
@daily
enabled = 'no'",
    &[
        "8:11: error: `schedules.d.enabled` must be true or false, and this is text; write true or false without quotes",
    ]
)]
#[case(
    "@orders
[schedules.d]
clusters = ['orders']
dayly = '02:00'",
    &[
        "7:1: error: `schedules.d.dayly` is not a known key; did you mean `daily`?",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeeb = 'http://h'
@daily",
    &[
        "3:1: error: `clusters.orders.self_managed.zeeb` is not a known key; did you mean `zeebe`?",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://h'
version = 8.6
@daily",
    &[
        "4:11: error: `clusters.orders.self_managed.version` must be text, and this is a number with a fraction; put it in quotes",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://h'
operate = { url = 'http://h', auth = 'x' }
@daily",
    &[
        "4:1: error: `clusters.orders.self_managed.operate` must be text, and this is a table; write the URL alone: authentication per component is not supported yet",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://h'
brokers = 'http://h'
@daily",
    &[
        "4:11: error: `clusters.orders.self_managed.brokers` must be a list, and this is text; put it in brackets, as in [\"a\", \"b\"]",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://h'
brokers = ['http://h', 7, 'http://i/actuator']
@daily",
    &[
        "4:24: error: `clusters.orders.self_managed.brokers` must be text, and this is a number; put it in quotes, and give durations a unit, as in \"90s\"",
    ]
)]
#[case(
    "@orders
@daily
[demon]
x = 1",
    &[
        "8:2: error: `demon` is not a known key; did you mean `daemon`?",
    ]
)]
#[case(
    "clusters = 3",
    &[
        "1:12: error: `clusters` must be a table, and this is a number; write it as a table, with one key for each setting",
    ]
)]
fn keys_and_types(#[case] text: &str, #[case] said: &[&str]) {
    check(text, said);
}

#[rstest]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://joe:geheim@h:9600'
@daily",
    &[
        "3:9: error: `clusters.orders.self_managed.zeebe` has a user name or password in it, and a secret must not stand in this file; write it without `user:password@`, and change that password: whoever could read this file knows it; authentication per component is not supported yet",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://h:9600?token=geheim'
@daily",
    &[
        "3:9: error: `clusters.orders.self_managed.zeebe` has a query or fragment in it; write it only up to the `?` or `#`",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://h'
password = 'geheim'
auth = { client_secret = 'geheim' }
ca = 'x.pem'
@daily",
    &[
        "4:1: error: `clusters.orders.self_managed.password` is not supported yet, and a secret must not stand in this file; remove it, and change that secret: whoever could read this file knows it",
        "5:1: error: `clusters.orders.self_managed.auth` is not supported yet; remove it: components are reached directly and without authentication for now",
        "6:1: error: `clusters.orders.self_managed.ca` is not supported yet; remove it: components are reached directly and without authentication for now",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
zeebe = 'http://h'
search = { url = 'http://h/_snapshot/camunda', repository = 'a/b', records = 'none', password = 'geheim' }
@daily",
    &[
        "3:18: error: `clusters.orders.self_managed.search.url` ends in `/_snapshot/camunda`, and the path of each request is added by us; write \"http://h\"",
        "3:61: error: `clusters.orders.self_managed.search.repository` is `a/b`, which is not the name of a snapshot repository; write its name alone: letters, digits, `.`, `_` and `-`",
        "3:78: error: `clusters.orders.self_managed.search.records` is \"none\", and Camunda 8.2 to 8.7 always exports records; leave it out, or write the pattern, as in \"zeebe-record*\"",
        "3:86: error: `clusters.orders.self_managed.search.password` is not supported yet, and a secret must not stand in this file; remove it, and change that secret: whoever could read this file knows it",
    ]
)]
#[case(
    "[clusters.orders.saas]
client_secret = 'geheim'
@daily",
    &[
        "1:18: error: `clusters.orders.saas` is not supported yet; remove this cluster: only self_managed clusters can be backed up for now",
    ]
)]
#[case(
    "@orders
@daily
[http]
listen = 'localhost'
public_hosts = ['https://x/']
[http.tokens.grafana]
secret = 'geheim'
[http.clients.ci]
secret = 'geheim'",
    &[
        "9:10: error: `localhost` is not an address to listen on; write an address and a port, as in \"127.0.0.1:9610\", or a socket, as in \"unix:/run/camunda-backupd/http.sock\"",
        "10:17: error: `https://x/` is not a host name; write the name as it stands in the URL, without scheme and path",
        "11:7: error: `http.tokens` is not supported yet; remove it: HTTP answers on loopback and Unix sockets only, where reading needs no token",
        "13:7: error: `http.clients` is not supported yet; remove it: HTTP answers on loopback and Unix sockets only, where reading needs no token",
    ]
)]
#[case(
    "@orders
@daily
api_key = 'geheim'",
    &[
        "8:1: error: `schedules.d.api_key` looks like a secret, and a secret must not stand in this file; remove it, and change that secret: whoever could read this file knows it",
    ]
)]
fn secrets_and_what_is_not_supported_yet(#[case] text: &str, #[case] said: &[&str]) {
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
    insta::assert_snapshot!(shown(dir.path()));
}

#[test]
fn two_tables_of_one_name_in_two_files_are_refused_with_both_places() {
    let (dir, _) = written("@orders\n@daily\n[log]\nlevel = 'info'\n");
    fs::create_dir(dir.path().join("conf.d")).unwrap();
    let more = "[schedules.d]\nclusters = ['*']\ndaily = '03:00'\n[log]\nlevel = 'debug'\n";
    fs::write(dir.path().join("conf.d/10-more.toml"), more).unwrap();
    insta::assert_snapshot!(shown(dir.path()));
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
    let one = |path: &Path| said(path).iter().map(|d| d.to_string()).collect::<Vec<_>>().join("\n");
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
