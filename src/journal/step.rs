//! Steps of a run, and their names in journal, log and routes.
//!
//! Owns which steps may be repeated. The plan owns the order of the steps.

use crate::domain::Component;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Step {
    /// Check that no component has the backup id already.
    Guard,
    /// Request a component to start its backup.
    Start(Component),
    /// Wait until a component has ended.
    Wait(Component),
    /// Pause exporting and confirm it.
    Pause,
    /// Check that the pause held.
    CheckPause,
    /// Resume exporting until confirmed.
    Resume,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guard => f.write_str("guard"),
            Self::Start(component) => write!(f, "{component}.start"),
            Self::Wait(component) => write!(f, "{component}.wait"),
            Self::Pause => f.write_str("pause"),
            Self::CheckPause => f.write_str("check_pause"),
            Self::Resume => f.write_str("resume"),
        }
    }
}

impl From<Step> for String {
    fn from(step: Step) -> String {
        step.to_string()
    }
}

impl TryFrom<String> for Step {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let unknown = || format!("`{text}` is not a step");
        match text.as_str() {
            "guard" => Ok(Self::Guard),
            "pause" => Ok(Self::Pause),
            "check_pause" => Ok(Self::CheckPause),
            "resume" => Ok(Self::Resume),
            other => {
                let (component, act) = other.split_once('.').ok_or_else(unknown)?;
                let component = Component::from_name(component).ok_or_else(unknown)?;
                match act {
                    "start" => Ok(Self::Start(component)),
                    "wait" => Ok(Self::Wait(component)),
                    _ => Err(unknown()),
                }
            }
        }
    }
}

impl Step {
    /// Whether the step is read-only or safe to repeat: it may be intended again after a restart.
    pub fn repeatable(self) -> bool {
        matches!(self, Self::Guard | Self::Wait(_) | Self::CheckPause | Self::Resume)
    }
}
