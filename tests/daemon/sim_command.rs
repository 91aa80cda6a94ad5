//! The `sim` command: a cluster of every family with a valid config, or one sentence with the error.

use rstest::rstest;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_camunda-backupd"))
}

struct Sim {
    child: Child,
    table: String,
}

impl Sim {
    fn of(version: &str, storage: &str) -> Self {
        let mut child = program()
            .args(["sim", "--cluster-version", version, "--storage", storage, "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The process keeps serving, so the last line of the table marks the end of the output.
        let (mut table, end) = (String::new(), if storage == "rdbms" { "storage" } else { "search" });
        for line in lines {
            let line = line.unwrap();
            table += &line;
            table += "\n";
            if line.starts_with(end) {
                break;
            }
        }
        Self { child, table }
    }

    fn url(&self) -> String {
        let at = self.table.find("http://").unwrap();
        self.table[at..].split([';', ' ', '"']).next().unwrap().to_owned()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[rstest]
#[case("8.2.4", "opensearch", "backups")]
#[case("8.5.8", "elasticsearch", "backups")]
#[case("8.8", "opensearch", "backupRuntime")]
#[case("8.9", "rdbms", "backupRuntime")]
#[case("8.10", "elasticsearch", "backupRuntime")]
#[case("8.10", "rdbms", "backupRuntime")]
#[tokio::test]
async fn sim_serves_each_family_and_prints_a_valid_config(
    #[case] version: &str,
    #[case] storage: &str,
    #[case] endpoint: &str,
) {
    let sim = Sim::of(version, storage);
    let list = reqwest::get(format!("{}/zeebe/actuator/{endpoint}", sim.url())).await.unwrap();
    assert_eq!((list.status().as_u16(), list.text().await.unwrap().as_str()), (200, "[]"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, &sim.table).unwrap();
    let checked = program().arg("--config").arg(&file).arg("check").output().unwrap();
    assert!(checked.status.success(), "{}\n{}", sim.table, String::from_utf8_lossy(&checked.stderr));
}

#[rstest]
#[case(
    "8.8",
    "rdbms",
    "Camunda 8.8.0 has no rdbms storage (8.9 and later): write elasticsearch or opensearch"
)]
#[case(
    "8.11",
    "opensearch",
    "`8.11` is not a version of the simulation: write 8.2.4 to 8.10, for example 8.6.0"
)]
#[case(
    "8.2.3",
    "opensearch",
    "`8.2.3` is not a version of the simulation: write 8.2.4 to 8.10, for example 8.6.0"
)]
#[case(
    "8.9",
    "oracle",
    "`oracle` is not a storage of the simulation: write elasticsearch, opensearch, rdbms or saas"
)]
fn invalid_sim_arguments_are_rejected_in_one_sentence(
    #[case] version: &str,
    #[case] storage: &str,
    #[case] sentence: &str,
) {
    let refused =
        program().args(["sim", "--cluster-version", version, "--storage", storage]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(stderr.trim(), format!("error: {sentence}"));
}
