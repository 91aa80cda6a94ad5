//! One backup from its preconditions to its last journal entry.

pub(crate) mod clean_up;
pub(crate) mod executor;
pub(crate) mod finish;
pub(crate) mod poll;
pub(crate) mod preconditions;
pub mod prepare;
pub(crate) mod probe;
pub(crate) mod recover;
pub(crate) mod run_part;
pub(crate) mod steps;
