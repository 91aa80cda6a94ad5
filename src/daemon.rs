//! Wires all parts.
