//! Wires all parts.

pub mod notify;
pub mod signals;
