//! Tests without the real binary and without generated scenarios, one folder per subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod access {
    mod login;
    mod tls;
    mod tokens;
}
mod base_config;
mod boundaries;
mod camunda {
    mod http;
    mod junk;
    mod opensearch;
}
mod config {
    mod access;
    mod credentials;
    mod errors;
    mod fuzz;
    mod load;
    mod saas;
    mod ui;
}
mod file_list;
mod health;
mod journal;
mod logging;
mod pause {
    mod abandoned;
    mod cost;
    mod foreign;
    mod moved;
}
mod proof;
mod retention {
    mod adopt;
    mod cluster;
    mod deletion;
    mod ownership;
    mod passes;
    mod rules;
    mod scenario;
}
mod runs {
    mod backup;
    mod bad_input;
    mod families;
    mod preflight;
    mod queue;
    mod restarts;
    mod two_daemons;
}
mod saas {
    mod backup;
    mod limits;
    mod tokens;
}
mod schedule {
    mod dispatch;
    mod timetable;
}
mod sim {
    mod clients;
    mod copies;
    mod families;
    mod fidelity;
    mod history;
    mod openapi;
    mod restore;
    mod runtime;
    mod scenario;
    mod wire;
}
mod words;
mod support {
    mod access;
    mod versions;
}
