//! Timetable.
