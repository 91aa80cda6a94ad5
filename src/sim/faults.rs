//! placeholder
#[derive(Clone, Debug, Default)]
/// f
pub struct Faults;
