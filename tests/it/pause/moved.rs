//! A cluster moves to another address before its resume is confirmed: the resume goes to the new address.

use camunda_backupd::camunda::{Request, Response, Transport, TransportError};
use camunda_backupd::clock::Clock;
use camunda_backupd::domain::Limits;
use camunda_backupd::journal::FailureClass;
use camunda_backupd::pause::sweep::Sweeper;
use camunda_backupd::queue::{ClusterSettings, Queue};
use camunda_backupd::sim::{self, SharedCluster, SimTransport, locked};
use futures::future::BoxFuture;
use harness::keys::bearer;
use harness::lab::Lab;
use rstest::rstest;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Names by which hosts of the simulation are reached, as a DNS would have them.
struct Names {
    to: SimTransport,
    /// Name of the credential that the cluster requires.
    required: Arc<Mutex<Option<&'static str>>>,
    known: Arc<Mutex<BTreeMap<&'static str, &'static str>>>,
}

impl Transport for Names {
    fn send(&self, mut request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        let shown = request.access.as_ref().and_then(|access| access.login.credential().map(str::to_owned));
        if self.required.lock().unwrap().is_some_and(|wanted| shown.as_deref() != Some(wanted)) {
            return Box::pin(async { Ok(Response { status: 401, ..Response::default() }) });
        }
        let known = self.known.lock().unwrap().clone();
        for (name, host) in known {
            if request.url.contains(&format!("//{name}/")) {
                request.url = request.url.replace(&format!("//{name}/"), &format!("//{host}/"));
                return self.to.send(request);
            }
        }
        Box::pin(async { Err(TransportError::NotSent("no such host".into())) })
    }
}

struct Town {
    lab: Lab,
    other: SharedCluster,
    required: Arc<Mutex<Option<&'static str>>>,
    known: Arc<Mutex<BTreeMap<&'static str, &'static str>>>,
}

/// The same settings with every address at `host`.
fn at(settings: &ClusterSettings, host: &str) -> ClusterSettings {
    let text = serde_json::to_string(&settings.spec).unwrap().replace("sim-orders", host);
    ClusterSettings { spec: serde_json::from_str(&text).unwrap(), ..settings.clone() }
}

impl Town {
    /// The cluster is at `old`, and its daemon has paused it.
    async fn paused() -> Self {
        let config = sim::Config { partitions: 3, ..sim::Config::named("orders") };
        let mut lab = Lab::with(config, Limits::default()).fault("zeebe.stall");
        let other = sim::shared(sim::Cluster::new(sim::Config::named("pay"), lab.clock.now()));
        let (required, known) = (
            Arc::<Mutex<Option<&'static str>>>::default(),
            Arc::new(Mutex::new(BTreeMap::from([("old", "sim-orders")]))),
        );
        let to = SimTransport::to([lab.cluster.clone(), other.clone()], lab.clock.clone());
        lab.context.transport = Arc::new(Names { to, required: required.clone(), known: known.clone() });
        lab.queue = Queue::new(lab.context.clone(), Sweeper::new(lab.context.clone()), 8);
        lab.queue.configure(BTreeMap::from([("orders".to_owned(), at(&lab.settings, "old"))]));
        let town = Self { lab, other, required, known };
        town.lab.queue.manual("orders", None).await.unwrap();
        town.lab.clock.sleep(Duration::from_secs(30)).await;
        assert!(town.is_paused(), "the scenario begins inside the pause");
        town
    }

    /// The old name is removed, and the config has a new name for `host`.
    async fn moves(&self, host: &'static str, to: impl Fn(&ClusterSettings) -> ClusterSettings) {
        *self.known.lock().unwrap() = BTreeMap::from([("new", host)]);
        self.lab.queue.configure(BTreeMap::from([("orders".to_owned(), to(&self.lab.settings))]));
        self.ends().await;
    }

    async fn ends(&self) {
        assert!(self.lab.queue.stop("orders", FailureClass::Cancelled, "the cluster has moved"));
        self.lab.clock.sleep(Duration::from_mins(3)).await;
    }

    async fn all_is_well(&self) {
        assert!(!self.is_paused(), "exporting is left paused");
        assert!(self.lab.store.pending_resumes().await.unwrap().is_empty(), "a pending resume is left");
    }

    fn is_paused(&self) -> bool {
        locked(&self.lab.cluster).pauses.since.is_some()
    }
}

/// The first resumes may reach some partitions only, or lose their response: afterwards the evidence of the
/// move is gone.
#[rstest]
#[case::whole("now.heal")]
#[case::reaches_some("resume.partial@4")]
#[case::loses_its_answer("resume.drop-response@2")]
#[tokio::test(start_paused = true)]
async fn moved_cluster_is_resumed_at_its_new_address(#[case] fault: &str) {
    let town = Town::paused().await;
    locked(&town.lab.cluster).arm(fault).unwrap();
    town.moves("sim-orders", |settings| at(settings, "new")).await;
    town.all_is_well().await;
}

/// The other components keep their addresses.
#[tokio::test(start_paused = true)]
async fn moved_management_port_is_found() {
    let town = Town::paused().await;
    town.moves("sim-orders", |settings| {
        let mut spec = at(settings, "old").spec;
        spec.addresses.zeebe = at(settings, "new").spec.addresses.zeebe;
        ClusterSettings { spec, ..settings.clone() }
    })
    .await;
    town.all_is_well().await;
}

/// The address in the pending resume counts for the next process, with the proven move.
#[tokio::test(start_paused = true)]
async fn next_process_uses_the_proven_address() {
    let town = Town::paused().await;
    locked(&town.lab.cluster).arm("resume.refuse@*").unwrap();
    town.moves("sim-orders", |settings| at(settings, "new")).await;
    let pending_resumes = town.lab.store.pending_resumes().await.unwrap();
    assert!(
        pending_resumes[0].addresses.zeebe.starts_with("http://new/"),
        "{:?}",
        pending_resumes[0].addresses
    );
    assert!(town.is_paused());
}

/// The credential used for the pause is gone and the config names another: both are tried.
#[tokio::test(start_paused = true)]
async fn renamed_credential_is_used_for_a_pending_resume() {
    let town = Town::paused().await;
    *town.required.lock().unwrap() = Some("key");
    *town.known.lock().unwrap() = BTreeMap::from([("old", "sim-orders")]);
    let mut settings = at(&town.lab.settings, "old");
    settings.spec.addresses.access.insert("zeebe".into(), bearer());
    town.lab.queue.configure(BTreeMap::from([("orders".to_owned(), settings)]));
    town.ends().await;
    town.all_is_well().await;
}

/// Positions prove that it is another cluster: its pause is foreign.
#[tokio::test(start_paused = true)]
async fn foreign_cluster_at_new_address_is_not_resumed() {
    let town = Town::paused().await;
    locked(&town.other).pause(true);
    town.moves("sim-pay", |settings| at(settings, "new")).await;
    assert!(locked(&town.other).pauses.since.is_some(), "the foreign pause was ended");
    assert_eq!(town.lab.store.pending_resumes().await.unwrap().len(), 1);
    // The old address responds again.
    *town.known.lock().unwrap() = BTreeMap::from([("old", "sim-orders")]);
    town.lab.clock.sleep(Duration::from_mins(2)).await;
    assert!(!town.is_paused() && town.lab.store.pending_resumes().await.unwrap().is_empty());
}
