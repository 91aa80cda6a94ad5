//! Fixtures of more than one test program: a cluster in memory, the real binary, credentials, certificates, corpus.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::missing_panics_doc, clippy::new_without_default)] // a panic here fails the test
#![allow(clippy::disallowed_methods)] // servers and processes of tests, on the real clock

pub mod corpus;
pub mod keys;
pub mod lab;
pub mod process;
pub mod tls;

/// Permission of a test to resume exporting; the daemon's own is issued by `pause` alone.
#[derive(Clone, Copy)]
pub struct TestResume;

impl camunda_backupd::camunda::zeebe::ResumeAuthority for TestResume {}
