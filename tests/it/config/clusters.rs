//! Bad input: clusters without what they need, addresses that are none, versions that cannot be backed up.

use super::refusals::check;
use rstest::rstest;

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
        "4:11: error: Camunda 8.2.3 is too old; backups need 8.2.4 or later, upgrade the cluster",
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
zeebe = 'http://h'
storage = 'postgres'
version = '8.9'
@daily",
    &[
        "1:11: error: `clusters.orders.self_managed.search` is missing, and Camunda keeps its exported data in a search engine; write search = { url = \"http://127.0.0.1:9200\", repository = \"camunda\" }, or from 8.9 on storage = \"rdbms\"",
        "3:11: error: `clusters.orders.self_managed.storage` is `postgres`, which is no storage; write \"search\" for Elasticsearch and OpenSearch, or \"rdbms\" for a relational database",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
zeebe = 'http://h'
optimize = 'http://o'
storage = 'rdbms'
version = '8.8'
search = { url = 'http://h:9200', repository = 'camunda' }
@daily",
    &[
        "3:12: error: `clusters.orders.self_managed.optimize` is written, and Optimize beside a relational database is not supported yet; leave it out, and back up Optimize's search engine by itself",
        "5:11: error: Camunda 8.8 keeps no data in a relational database; leave out storage = \"rdbms\" and write `search`",
        "6:10: error: `clusters.orders.self_managed.search` is written, and storage is \"rdbms\", which needs no search engine; leave out one of the two",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
rest = 'http://h:8080'
storage = 'rdbms'
version = '8.9'
@daily",
    &[
        "1:11: error: `clusters.orders.self_managed.zeebe` is missing; write the management URL of a broker or gateway, as in zeebe = \"http://127.0.0.1:9600\"",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://h'
version = '8.11'
@daily",
    &[
        "4:11: error: Camunda 8.11 is not yet supported; this version knows 8.2.4 to 8.10, wait for a newer camunda-backupd",
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
        "1:11: error: `clusters.orders.self_managed.search` is missing, and Camunda keeps its exported data in a search engine; write search = { url = \"http://127.0.0.1:9200\", repository = \"camunda\" }, or from 8.9 on storage = \"rdbms\"",
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
        "1:11: error: `clusters.orders.self_managed` is missing; write where its components are, as in [clusters.orders.self_managed], or which cluster of Camunda's cloud it is, as in [clusters.orders.saas]",
    ]
)]
#[case(
    "@orders
[clusters.orders.saas]
client_id = 'x'
@daily",
    &[
        "1:11: error: cluster `orders` is both self_managed and saas; keep one of the two tables",
        "5:1: error: `clusters.orders.saas.client_secret` is missing; write the name of the credential that holds it",
        "5:1: error: `clusters.orders.saas.cluster_id` is missing; write the cluster's UUID, as Console shows it",
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
    "[clusters.orders.self_managed]
search = { url = 'http://h:9200', repository = 'camunda' }
zeebe = 'http://h'
version = '8.6'
[clusters.orders.limits]
min_free_disk = '10'
@daily",
    &[
        "6:17: error: `clusters.orders.limits.min_free_disk` is `10`, which has no unit of room on a disk; write a number and a unit, as in \"500MiB\", \"10GiB\" or \"15%\"",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
zeebe = 'http://h'
storage = 'rdbms'
[clusters.orders.limits]
pause_budget = '5m'
min_free_disk = '10GiB'
@daily",
    &[
        "5:16: warning: `clusters.orders.limits.pause_budget` has no meaning here: beside a relational database nothing is paused; remove it",
        "6:17: warning: `clusters.orders.limits.min_free_disk` has no meaning here: it guards a pause, and beside a relational database nothing is paused; remove it",
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
        "8:11: error: `clusters.a\\u{1b}[31m.self_managed.search` is missing, and Camunda keeps its exported data in a search engine; write search = { url = \"http://127.0.0.1:9200\", repository = \"camunda\" }, or from 8.9 on storage = \"rdbms\"",
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
