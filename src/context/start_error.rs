//! Distinguishes two kinds of failed start requests: certainly rejected, and unknown whether the backup started (rule
//! I9).
//!
//! Must not send the request again.

use crate::camunda::{ClientError, ErrorKind};
use crate::context::error::StepError;
use crate::context::execution::Execution;
use crate::domain::{Component, id_scope};
use crate::journal::{Event, FailureClass};

/// Returns the error of a certainly rejected start. A start with an unknown result is recorded as uncertain, and the
/// wait step probes for its backup (rule I9).
pub(crate) async fn refused_or_unknown(
    execution: &Execution,
    component: Component,
    error: &ClientError,
) -> Result<(), StepError> {
    execution.remember(error);
    if let ErrorKind::Conflict { highest } = error.kind {
        if let Some(highest) = highest {
            let scope = id_scope(&execution.run.cluster, &execution.spec.addresses);
            execution.context.store.raise_highest_id(scope, highest).await?;
        }
        return Err(StepError::new(
            FailureClass::Conflict,
            format!("{component} refused the backup: {error}"),
        ));
    }
    if error.may_have_acted() {
        execution.evidence.uncertain(component, error);
        return execution.write(vec![Event::StartUncertain { component }]).await;
    }
    let class = match error.kind {
        ErrorKind::NotSent | ErrorKind::NoAccess => FailureClass::Unreachable,
        ErrorKind::AuthRejected => FailureClass::Access,
        _ => FailureClass::Component,
    };
    Err(StepError::new(class, format!("{component} did not start the backup: {error}")))
}
