//! Clusters, the probe, closing.

use crate::bed::{Bed, Kind, addresses, at, scheduled};
use camunda_backupd::domain::Addresses;
use camunda_backupd::store::{ClusterRow, StoreError};
use rstest::rstest;
use uuid::Uuid;

fn cluster(name: &str) -> ClusterRow {
    ClusterRow {
        name: name.into(),
        uuid: Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes()),
        addresses: addresses(),
        configured: true,
        state_behind: None,
    }
}

#[rstest]
#[tokio::test]
async fn removed_cluster_stays_in_the_store(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    bed.set_clusters(vec![cluster("test"), cluster("prod")]).await.unwrap();
    assert_eq!(bed.clusters().await.unwrap(), [cluster("prod"), cluster("test")]);

    let moved = ClusterRow {
        addresses: Addresses { zeebe: "http://new:9600".into(), ..addresses() },
        ..cluster("prod")
    };
    bed.set_clusters(vec![moved.clone()]).await.unwrap();
    assert_eq!(bed.clusters().await.unwrap(), [moved, ClusterRow { configured: false, ..cluster("test") }]);
}

#[rstest]
#[tokio::test]
async fn state_behind_outlives_a_reload(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    bed.set_clusters(vec![cluster("prod")]).await.unwrap();
    bed.set_state_behind("prod".into(), Some("id 9 is above our highest id".into())).await.unwrap();
    bed.set_clusters(vec![cluster("prod")]).await.unwrap();
    assert_eq!(
        bed.clusters().await.unwrap()[0].state_behind.as_deref(),
        Some("id 9 is above our highest id")
    );
    bed.set_state_behind("prod".into(), None).await.unwrap();
    assert_eq!(bed.clusters().await.unwrap(), [cluster("prod")]);

    let unknown = bed.set_state_behind("nowhere".into(), None).await.unwrap_err();
    assert_eq!(unknown.to_string(), "the state has no cluster nowhere");
}

#[rstest]
#[tokio::test]
async fn closed_store_rejects_every_call(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    bed.probe(at("2025-03-01T02:00:00Z")).await.unwrap();
    bed.probe(at("2025-03-01T02:00:01Z")).await.unwrap();
    bed.close().await.unwrap();
    bed.close().await.unwrap();
    let error = bed.begin_run(scheduled("prod", "2025-03-01T02:00:00Z")).await.unwrap_err();
    assert_eq!(error, StoreError::Closed);
    assert_eq!(bed.clusters().await.unwrap_err().to_string(), "the store is closed: the daemon is stopping");
}

#[rstest]
#[tokio::test]
async fn foreign_pause_begins_at_the_first_probe_that_found_it(
    #[values(Kind::Memory, Kind::Sqlite)] kind: Kind,
) {
    let bed = Bed::new(kind);
    let (eight, nine, ten) =
        (at("2025-03-01T08:00:00Z"), at("2025-03-01T09:00:00Z"), at("2025-03-01T10:00:00Z"));
    bed.set_clusters(vec![cluster("prod"), cluster("test")]).await.unwrap();
    let seen = async |cluster: &str, at| bed.foreign_pause(cluster.into(), at).await.unwrap();
    assert_eq!(seen("prod", nine).await, nine);
    assert_eq!(seen("prod", ten).await, nine);
    assert_eq!(seen("test", ten).await, ten, "the clusters are independent");
    assert_eq!(seen("prod", eight).await, eight, "a clock set back lowers the start");
    assert_eq!(seen("prod", ten).await, nine, "the stored start is kept");

    bed.foreign_pause_over("prod".into()).await.unwrap();
    bed.foreign_pause_over("prod".into()).await.unwrap();
    assert_eq!(seen("prod", ten).await, ten);

    // Clusters outside the config are not probed.
    bed.set_clusters(vec![cluster("test")]).await.unwrap();
    bed.set_clusters(vec![cluster("prod"), cluster("test")]).await.unwrap();
    let eleven = at("2025-03-01T11:00:00Z");
    assert_eq!((seen("prod", eleven).await, seen("test", eleven).await), (eleven, ten));
    // Somewhere else is another cluster.
    let moved = Addresses { zeebe: "http://new:9600".into(), ..addresses() };
    bed.set_clusters(vec![cluster("prod"), ClusterRow { addresses: moved, ..cluster("test") }])
        .await
        .unwrap();
    let noon = at("2025-03-01T12:00:00Z");
    assert_eq!((seen("prod", noon).await, seen("test", noon).await), (eleven, noon));
}
