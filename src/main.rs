//! Table of contents: arguments, then one command.
fn main() {}
