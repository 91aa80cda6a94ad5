//! One pause of exporting: checks before it, its start, proof that it held, and its resume.
//!
//! Owns every resume that the program sends (rule I1). A pause is requested only after its pending resume is
//! durable.
//! A resume waits for no lock and no lease. It does not depend on a successful write, and is retried with
//! backoff until the server confirms it.
//!
//! The live run that paused exporting resumes it. After a crash or restart the sweeper of the daemon does.
//! Without a daemon the command `resume-exporting --pending` does.
//!
//! Must not touch a foreign pause, and must not depend on the other steps of a backup.
//!
//! | task | file |
//! |---|---|
//! | Check disk space and the cost of the last pauses before pausing | `disk_space`, `forecast` |
//! | Pause, and wait until every partition reads paused | `start` |
//! | Prove that the pause held until the resume | `verify` |
//! | Resume after every pause, until confirmed and read back | `resume`, `resume::confirm` |
//! | Resume after a crash: by the daemon, without the daemon | `sweep`, `offline` |
//! | Current address and credentials of a cluster with a pending resume | `resume::relocate`, `credentials` |
//! | Remind the operator while exporting stays paused | `reminders` |

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
