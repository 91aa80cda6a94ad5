//! Probes one component once for the backup of a run.
//!
//! If the probe finds the id that the component gave the backup, this module writes the id to the journal.
//! Must not change anything in the cluster, and must not retry.

use crate::backup::run_part::part_run;
use crate::camunda::{ClientError, PartState};
use crate::context::execution::Execution;
use crate::parts::part::Part;

/// Returns the state of this run's backup in one component.
pub(crate) async fn probe(execution: &Execution, part: &dyn Part) -> Result<PartState, ClientError> {
    let seen = part.probe(&part_run(execution)).await?;
    if let Some(event) = seen.found {
        // A failed write of the id is ignored, because the next probe finds the id again.
        let _ = execution.append(vec![event]).await;
    }
    Ok(seen.state)
}
