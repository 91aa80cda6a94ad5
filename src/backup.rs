//! One backup from its preconditions to its last journal entry.

pub mod executor;
pub(crate) mod finish;
pub(crate) mod poll;
pub(crate) mod preconditions;
pub mod prepare;
pub(crate) mod probe;
pub mod recover;
pub(crate) mod steps;
