//! `sim`: one simulated cluster on a TCP address, until Ctrl-C.

use super::arguments::SimOptions;
use super::{Failure, exit, output};
use crate::clock::SystemClock;
use crate::daemon::signals::{self, Signal};
use crate::sim::{self, Cluster, Config, Storage, Timing, locked};
use futures::StreamExt;
use tokio::net::TcpListener;

/// Serves the cluster and prints a config for it.
pub(super) async fn sim(options: SimOptions) -> Result<u8, Failure> {
    let usage = |message: String| Failure::new(exit::USAGE, message);
    let storage = options.storage.parse().map_err(usage)?;
    let config = Config {
        version: options.cluster_version.parse().map_err(usage)?,
        storage,
        // Camunda's documentation requires continuous backups with a relational database.
        continuous: storage == Storage::Rdbms,
        timing: Timing::default().faster(options.speed),
        ..Config::named("orders")
    };
    config.check().map_err(usage)?;
    let clock = SystemClock::shared();
    let cluster = sim::shared(Cluster::new(config.clone(), clock.now()));
    if let Some(faults) = &options.faults {
        locked(&cluster).arm(faults).map_err(usage)?;
    }
    let listener = TcpListener::bind(options.listen).await.map_err(|error| {
        Failure::new(
            exit::USAGE,
            format!("cannot listen on {}: {error}. Give another address with --listen", options.listen),
        )
    })?;
    let address = listener.local_addr().unwrap_or(options.listen);
    let base = format!("http://{address}");
    output::print(&format!(
        "# Simulated Camunda {} at {base} (GET /sim/state shows its state, POST /sim/faults injects faults)\n{}",
        config.version,
        config.daemon_table(&base)
    ));
    if let Some(secret) = config.credential() {
        output::print(&format!(
            "# Store the secret of this client as a credential: printf {secret} > CREDENTIALS_DIR/{secret}"
        ));
    }
    let mut signals = signals::register().map_err(|error| Failure::new(exit::FAILED, error))?;
    let stop = async move { while !matches!(signals.next().await, Some(Signal::Terminate) | None) {} };
    sim::server::serve(listener, cluster, clock, stop)
        .await
        .map_err(|error| Failure::new(exit::FAILED, format!("the simulated cluster stopped: {error}")))?;
    Ok(exit::DONE)
}
