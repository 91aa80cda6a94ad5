//! Bad input: unknown keys, wrong types, secrets in the file, and keys that are not supported yet.

use super::refusals::check;
use rstest::rstest;

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
        "4:1: error: `clusters.orders.self_managed.operate` must be text, and this is a table; write the URL alone, and what it wants under [clusters.NAME.self_managed.access.COMPONENT]",
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
        "3:9: error: `clusters.orders.self_managed.zeebe` has a user name or password in it, and a secret must not stand in this file; write it without `user:password@`, and change that password: whoever could read this file knows it; name a credential under [clusters.NAME.self_managed.access.COMPONENT]",
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
        "4:1: error: `clusters.orders.self_managed.password` does not stand here, and a secret must not stand in this file; write it under [clusters.NAME.self_managed.access.COMPONENT] with the name of a credential; if this was the secret itself, change it: whoever could read this file knows it",
        "5:1: error: `clusters.orders.self_managed.auth` does not stand here; write it under [clusters.NAME.self_managed.access.COMPONENT]",
        "6:1: error: `clusters.orders.self_managed.ca` does not stand here; write it under [clusters.NAME.self_managed.access.COMPONENT]",
    ]
)]
#[case(
    "[clusters.orders.self_managed]
zeebe = 'http://h'
version = '8.7'
search = { url = 'http://h/_snapshot/camunda', repository = 'a/b', records = 'none', password = 'geheim' }
@daily",
    &[
        "4:18: error: `clusters.orders.self_managed.search.url` ends in `/_snapshot/camunda`, and the path of each request is added by us; write \"http://h\"",
        "4:61: error: `clusters.orders.self_managed.search.repository` is `a/b`, which is not the name of a snapshot repository; write its name alone: letters, digits, `.`, `_` and `-`",
        "4:78: error: `clusters.orders.self_managed.search.records` is \"none\", and Camunda 8.2 to 8.7 always exports records; leave it out, or write the pattern, as in \"zeebe-record*\"",
        "4:86: error: `clusters.orders.self_managed.search.password` does not stand here, and a secret must not stand in this file; write it under [clusters.NAME.self_managed.access.COMPONENT] with the name of a credential; if this was the secret itself, change it: whoever could read this file knows it",
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
