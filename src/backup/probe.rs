//! One probe of a run's backup in one component.
//!
//! Writes an identity that the probe found. Must not change anything in the cluster, and must not retry.

use crate::backup::run_part::part_run;
use crate::camunda::{ClientError, PartState};
use crate::context::execution::Execution;
use crate::parts::part::Part;

/// Probes one component for this run's backup.
pub(crate) async fn probe(execution: &Execution, part: &dyn Part) -> Result<PartState, ClientError> {
    let seen = part.probe(&part_run(execution)).await?;
    if let Some(event) = seen.found {
        // If it cannot be written now, the next probe finds it again.
        let _ = execution.append(vec![event]).await;
    }
    Ok(seen.state)
}
