//! Everything about one pause of exporting: starting it, showing that it held, and resuming.
//!
//! Owns every resume that the program sends (rule I1). A pause is requested only after its pending resume is durable.
//! A resume waits for no lock, no lease and no write that succeeds, and is retried until the server confirms it. Must
//! not touch a pause of somebody else, and must not know the other steps of a backup.
//!
//! | question | file |
//! |---|---|
//! | May exporting be paused now? | `disk_space`, `forecast` |
//! | How is it paused, and when is the pause confirmed? | `start` |
//! | Did the pause hold? | `verify` |
//! | Who resumes exporting, and until when? | `resume`, `resume::confirm` |
//! | Who resumes after a crash? | `sweep`, `offline` |
//! | Where is the cluster now, and which credentials does it accept? | `resume::relocate`, `credentials` |
//! | What does the operator see meanwhile? | `reminders` |

pub mod credentials;
pub mod disk_space;
pub mod forecast;
pub mod offline;
mod permit;
pub mod reminders;
pub mod resume;
pub mod start;
pub mod sweep;
pub mod verify;

pub use permit::OperatorResume;
