//! `docs/state-file.md` describes the file as it is.

use crate::bed::{completed, scheduled};
use camunda_backupd::store::sqlite::{FILE, SqliteStore};
use rusqlite::Connection;

const DOCUMENT: &str = include_str!("../../docs/state-file.md");

fn names(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn every_table_and_column_is_described_and_every_query_works() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    let run = store.begin_run(scheduled("prod", "2025-03-01T02:00:00Z")).await.unwrap();
    store.append(run.run_id, completed("2025-03-01T02:00:00Z")).await.unwrap();
    let operator = Connection::open(dir.path().join(FILE)).unwrap();

    let tables =
        names(&operator, "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY name");
    assert_eq!(tables.len(), 14);
    for table in &tables {
        assert!(DOCUMENT.contains(&format!("`{table}`")), "{table} is not described");
    }
    for section in DOCUMENT.split("\n### `").skip(1) {
        let (table, text) = section.split_once('`').unwrap();
        let columns = names(&operator, &format!("SELECT name FROM pragma_table_info('{table}')"));
        assert!(!columns.is_empty(), "{table} is described and does not exist");
        for column in columns {
            assert!(text.contains(&format!("`{column}`")), "{table}.{column} is not described");
        }
    }

    let queries: Vec<&str> =
        DOCUMENT.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(queries.len() >= 6);
    for query in queries.iter().flat_map(|block| block.split(';')).filter(|query| !query.trim().is_empty()) {
        operator.prepare(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    }
}
