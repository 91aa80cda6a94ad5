//! The Administration API over HTTP: one token for a whole organization, requested as rarely as its endpoint allows.
#![allow(clippy::disallowed_methods)] // a test program on the real clock

use camunda_backupd::camunda::{ErrorKind, Saas, SharedTransport, authenticated};
use camunda_backupd::clock::SystemClock;
use camunda_backupd::domain::{Access, Addresses, Login, Oauth, SaasAddress};
use camunda_backupd::sim::model::config::{SAAS_CLIENT, SAAS_SECRET};
use camunda_backupd::sim::{self, SharedCluster, Storage, locked};
use futures::future::join_all;
use harness::keys::Keys;
use std::time::Duration;
use tokio::net::TcpListener;

struct Cloud {
    cluster: SharedCluster,
    base: String,
    id: String,
    keys: Keys,
}

impl Cloud {
    async fn begin() -> Self {
        let config = sim::Config { storage: Storage::Saas, ..sim::Config::named("orders") };
        let (clock, id) = (SystemClock::shared(), config.cluster_uuid());
        let cluster = sim::shared(sim::Cluster::new(config, clock.now()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/saas", listener.local_addr().unwrap());
        tokio::spawn(sim::server::serve(listener, cluster.clone(), clock, std::future::pending()));
        let keys = Keys::new();
        keys.put("trial", SAAS_SECRET);
        Self { cluster, base, id, keys }
    }

    fn client(&self, transport: &SharedTransport, more: impl FnOnce(&mut Oauth)) -> Saas {
        let mut oauth = Oauth {
            token_url: format!("{}/oauth/token", self.base),
            client_id: SAAS_CLIENT.into(),
            client_secret: "trial".into(),
            audience: Some("api.cloud.camunda.io".into()),
            scope: None,
            json: true,
        };
        more(&mut oauth);
        let access = Access { login: Login::Oauth(oauth), ..Access::default() };
        let saas = SaasAddress {
            api: self.base.clone(),
            cluster_id: self.id.clone(),
            min_interval: Duration::from_mins(15),
            max_backups: 3,
        };
        let access = [("saas".to_owned(), access)].into();
        let addresses = Addresses { saas: Some(saas.clone()), access, ..Addresses::default() };
        Saas::new(&saas, authenticated(&addresses, transport))
    }

    fn tokens(&self) -> u64 {
        locked(&self.cluster).saas.tokens_given
    }
}

#[tokio::test]
async fn all_clusters_of_a_client_share_one_token() {
    let cloud = Cloud::begin().await;
    let transport = cloud.keys.transport();
    let clients: Vec<Saas> = (0..20).map(|_| cloud.client(&transport, |_| {})).collect();
    for response in join_all(clients.iter().map(Saas::list)).await {
        assert_eq!(response.unwrap(), []);
    }
    assert_eq!(clients[0].start().await.unwrap().status, "In progress");
    assert_eq!(cloud.tokens(), 1);
}

/// A token may be revoked before it expires; a request rejected with it had no effect.
#[tokio::test]
async fn rejected_token_is_renewed_once() {
    let cloud = Cloud::begin().await;
    let transport = cloud.keys.transport();
    let saas = cloud.client(&transport, |_| {});
    saas.list().await.unwrap();
    locked(&cloud.cluster).arm("saas-post.unauthorized").unwrap();
    saas.start().await.unwrap();
    assert_eq!((cloud.tokens(), locked(&cloud.cluster).saas.backups.len()), (2, 1));
}

/// Two programs on one host share its address, and therefore the rate limit of one token per second.
#[tokio::test]
async fn token_request_waits_for_the_rate_limit() {
    let cloud = Cloud::begin().await;
    let (one, other) = (cloud.keys.transport(), cloud.keys.transport());
    cloud.client(&one, |_| {}).list().await.unwrap();
    cloud.client(&other, |_| {}).list().await.unwrap();
    assert_eq!(cloud.tokens(), 2);
    let requested = locked(&cloud.cluster).seen["saas-token"];
    // One request is rejected with a wait and repeated, unless a second passed meanwhile.
    assert!((2..=3).contains(&requested), "{requested}");
}

#[tokio::test]
async fn unknown_client_error_does_not_contain_the_secret() {
    let cloud = Cloud::begin().await;
    cloud.keys.put("wrong", "geheim-und-falsch");
    let saas = cloud.client(&cloud.keys.transport(), |oauth| oauth.client_secret = "wrong".into());
    let error = saas.start().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::AuthRejected);
    let expected = format!(
        "POST /saas/clusters/{}/backups was not sent to saas: the token endpoint {}/oauth/token rejected client `sim-client` with 401 (access_denied: Unauthorized): check `client_id`, `audience`, `scope` and the credential `wrong`",
        cloud.id, cloud.base
    );
    assert_eq!(error.to_string(), expected);
    assert!(!format!("{error:?}").contains("geheim"));
    assert_eq!(locked(&cloud.cluster).seen.get("saas-post"), None);
}

#[tokio::test]
async fn retry_after_reaches_the_caller() {
    let cloud = Cloud::begin().await;
    let saas = cloud.client(&cloud.keys.transport(), |_| {});
    saas.start().await.unwrap();
    let error = saas.start().await.unwrap_err();
    assert_eq!((error.kind.clone(), error.status), (ErrorKind::Refused, Some(429)));
    let quiet = error.retry_after.unwrap();
    assert!((890..=901).contains(&quiet), "{quiet}");
}
