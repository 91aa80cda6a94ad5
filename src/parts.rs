//! The kinds of part a backup consists of.

pub(crate) mod saas;
