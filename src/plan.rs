//! The plan of a run: pure data.
