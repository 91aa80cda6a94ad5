//! One pause of exporting: checks before the pause, its start, the proof that it held, and its resume.
//!
//! Owns every resume that the program sends (rule I1). A pause is requested only after its pending resume is
//! stored on disk. A resume waits for no lock, no lease and no successful write. It is retried with backoff
//! until the server confirms it.
//!
//! The run that paused exporting also resumes it. After a crash or restart, the sweeper of the daemon resumes
//! exporting. Without a daemon, the command `resume-exporting --pending` does.
//!
//! This module must not touch a foreign pause, and must not depend on the other steps of a backup.
//!
//! | task | file |
//! |---|---|
//! | Check disk space and the cost of the last pauses before pausing | `disk_space`, `forecast` |
//! | Pause, and wait until every partition is paused | `start` |
//! | Prove that the pause held until the resume | `verify` |
//! | Resume after every pause, until the server and all partitions confirm | `resume`, `resume::confirm` |
//! | Resume after a crash: by the daemon, without the daemon | `sweep`, `offline` |
//! | Find the current address and credentials for a pending resume | `resume::relocate`, `credentials` |
//! | Remind the operator while exporting stays paused | `reminders` |
//! | Restrict the code that can send a resume | `permit` |

pub mod credentials;
pub(crate) mod disk_space;
pub mod forecast;
pub mod offline;
mod permit;
pub(crate) mod reminders;
pub(crate) mod resume;
pub(crate) mod start;
pub mod sweep;
pub(crate) mod verify;

pub use permit::OperatorResume;
