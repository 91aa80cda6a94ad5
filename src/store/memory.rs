//! The store kept in memory, for tests.
