//! What is wrong with a config, where, and what to write instead.
/// One.
#[derive(Clone, Debug)]
pub struct Diagnostic {}
