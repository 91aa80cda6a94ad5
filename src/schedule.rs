//! Timetable.
pub mod cron;
pub mod next;
