//! One run: from the probe of its cluster to its last journal entry.
//!
//! | task | file |
//! |---|---|
//! | Read the facts that a run needs | `prepare` |
//! | Reject a cluster that is not ready | `preconditions` |
//! | Walk the plan: intent, act, outcome | `executor` |
//! | Carry out one step | `steps` |
//! | Wait until a part is complete, and verify the part | `poll` |
//! | Find the part of a component, probe the part once, and record its results | `run_part` |
//! | End a run: resume, clean up, last journal entry | `finish` |
//! | Delete or search for parts after an abort | `clean_up` |
//! | Decide how a run continues after a restart | `recovery_decision` |

pub(crate) mod clean_up;
pub(crate) mod executor;
pub(crate) mod finish;
pub(crate) mod poll;
pub(crate) mod preconditions;
pub mod prepare;
pub(crate) mod recovery_decision;
pub(crate) mod run_part;
pub(crate) mod steps;
