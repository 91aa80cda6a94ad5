//! The real binary on a state that is not all there: a file that is gone, a write-ahead log that is gone, an older copy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::disallowed_methods)] // a test program on the real clock

#[path = "harness/process.rs"]
mod process;

use process::{Place, command};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

/// What a daemon says until it is up; it is stopped then.
fn says_at_its_start(config: &Path) -> Vec<Value> {
    let mut child = command(config, &["serve"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["event"] == "daemon.started" {
            process::signal(child.id(), "TERM");
        }
        said.push(event);
    }
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said:?}");
    said
}

fn told<'a>(said: &'a [Value], event: &str) -> Vec<&'a Value> {
    said.iter().filter(|said| said["event"] == event).collect()
}

#[test]
fn a_new_state_file_is_told_of_once() {
    let place = Place::new();
    let config = place.good();
    let said = says_at_its_start(&config);
    let made = told(&said, "store.created");
    assert_eq!(made.len(), 1, "{said:?}");
    assert_eq!(made[0]["level"], "warn", "{made:?}");
    assert_eq!(made[0]["path"], place.path("state").join("state.db").to_str().unwrap());
    assert_eq!(
        made[0]["reason"],
        "a new state file was made: if one was expected here, stop the daemon and restore the newest copy, or run \
         `adopt` for each cluster"
    );
    assert_eq!(told(&says_at_its_start(&config), "store.created"), [] as [&Value; 0]);

    std::fs::remove_dir_all(place.path("state")).unwrap();
    assert_eq!(told(&says_at_its_start(&config), "store.created").len(), 1);
}
