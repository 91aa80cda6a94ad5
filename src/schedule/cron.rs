//! Syntax and meaning of `daily`, `weekly` and `cron`.
//!
//! Owns parsing and the restrictions of the cron dialect. Must not read a clock or a config file, or use a time zone
//! (`next` does).

use crate::domain::Instant;
use ::cron::{Schedule, TimeUnitSpec};
use chrono::{NaiveTime, Timelike};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

/// Due times of a schedule on a wall clock; the caller supplies the time zone.
#[derive(Clone)]
pub struct Timing {
    /// Shared by config and timetable: ten thousand schedules take several MiB.
    schedule: Arc<Schedule>,
    canonical: Arc<str>,
    text: Arc<str>,
    interval: bool,
}

/// A text that is not a timing: the problem, the remedy and the position in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The problem.
    pub message: String,
    /// The remedy.
    pub help: String,
    /// Byte range of the problem; `None` for the whole text.
    pub at: Option<Range<usize>>,
}

/// Maximum length of a message in characters; longer ones lose their middle.
const LONGEST: usize = 240;
const FIELDS: [&str; 7] = ["seconds", "minutes", "hours", "day of month", "month", "day of week", "year"];
const DAYS: [(&str, &str); 7] = [
    ("monday", "MON"),
    ("tuesday", "TUE"),
    ("wednesday", "WED"),
    ("thursday", "THU"),
    ("friday", "FRI"),
    ("saturday", "SAT"),
    ("sunday", "SUN"),
];
const SHORTHANDS: [(&str, &str); 8] = [
    ("@yearly", "0 0 0 1 1 *"),
    ("@annually", "0 0 0 1 1 *"),
    ("@monthly", "0 0 0 1 * *"),
    ("@weekly", "0 0 0 * * SUN"),
    ("@daily", "0 0 0 * * *"),
    ("@midnight", "0 0 0 * * *"),
    ("@hourly", "0 0 * * * *"),
    ("@reboot", ""),
];

impl Timing {
    /// Parses `"02:00"` or `"02:00:30"`.
    pub fn daily(text: &str) -> Result<Self, Refusal> {
        let time = time_of_day(text).ok_or_else(|| {
            refuse(
                format!("`{text}` is not a time of day"),
                "write hours and minutes between 00:00 and 23:59, as in daily = \"02:00\"",
            )
        })?;
        let canonical = format!("{} {} {} * * *", time.second(), time.minute(), time.hour());
        Self::compile(canonical, format!("daily {}", clock_text(time)))
    }

    /// Parses `"sunday 03:30"`; the day may be shortened to three letters.
    pub fn weekly(text: &str) -> Result<Self, Refusal> {
        const HELP: &str = "write a day and a time, as in weekly = \"sunday 03:30\"";
        let mut words = text.split_whitespace();
        let (Some(day), Some(time), None) = (words.next(), words.next(), words.next()) else {
            return Err(refuse(format!("`{text}` is not a day of the week and a time"), HELP));
        };
        let lower = day.to_ascii_lowercase();
        let known = DAYS.iter().find(|(long, short)| *long == lower || short.eq_ignore_ascii_case(day));
        let Some((long, short)) = known else {
            return Err(refuse(format!("`{day}` is not a day of the week"), HELP).within(text, day));
        };
        let Some(at) = time_of_day(time) else {
            let help = "write hours and minutes between 00:00 and 23:59, as in weekly = \"sunday 03:30\"";
            return Err(refuse(format!("`{time}` is not a time of day"), help).within(text, time));
        };
        let canonical = format!("{} {} {} * * {short}", at.second(), at.minute(), at.hour());
        Self::compile(canonical, format!("weekly {long} {}", clock_text(at)))
    }

    /// Parses a cron expression of five fields, six with seconds, or seven with years. It must be due after `now`.
    pub fn cron(text: &str, now: Instant) -> Result<Self, Refusal> {
        let trimmed = text.trim();
        let timing = if trimmed.starts_with('@') {
            Self::compile(expand(trimmed)?.to_owned(), format!("cron {trimmed}"))?
        } else {
            Self::compile(normalise(text)?, format!("cron {trimmed}"))?
        };
        if timing.schedule.after(&now).next().is_none() {
            let message =
                format!("`{trimmed}` never fires: no date after {} matches it", now.format("%Y-%m-%d"));
            return Err(refuse(
                message,
                "check that the day exists in that month and that the year is not over",
            ));
        }
        Ok(timing)
    }

    fn compile(canonical: String, text: String) -> Result<Self, Refusal> {
        let schedule = Schedule::from_str(&canonical).map_err(|e| {
            refuse(
                format!("`{canonical}` cannot be read: {}", last_line(&e.to_string())),
                "check the fields one by one",
            )
        })?;
        let interval = schedule.hours().is_all();
        Ok(Self { schedule: Arc::new(schedule), canonical: canonical.into(), text: text.into(), interval })
    }

    /// Normalised text: equal for equal due times, different after an edit of the times.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// Whether the timing matches every hour, so that it follows real time: it skips hours that the time zone skips, and
    /// repeats hours that the time zone repeats.
    pub fn is_interval(&self) -> bool {
        self.interval
    }

    /// Whether day of month and day of week are both restricted. Both must match then, unlike in other cron dialects.
    pub fn restricts_both_days(&self) -> bool {
        !self.schedule.days_of_month().is_all() && !self.schedule.days_of_week().is_all()
    }

    pub(super) fn schedule(&self) -> &Schedule {
        &self.schedule
    }
}

impl PartialEq for Timing {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical && self.text == other.text
    }
}

impl Eq for Timing {}

impl fmt::Debug for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timing({})", self.text)
    }
}

/// Readable form: `daily 02:00`, `weekly sunday 03:30`, `cron 15 1 1 */3 *`.
impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Refusal {
    /// Sets the position to `part`, which must be a slice of `whole`.
    fn within(mut self, whole: &str, part: &str) -> Self {
        let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize);
        self.at = start.map(|start| start..start + part.len()).filter(|range| range.end <= whole.len());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.help)
    }
}

impl std::error::Error for Refusal {}

fn refuse(message: String, help: &str) -> Refusal {
    // The message quotes arbitrary text first and has the problem at its end, so the middle is cut.
    let shown = message.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'");
    let letters: Vec<char> = shown.chars().collect();
    let message = if letters.len() <= LONGEST {
        shown
    } else {
        let (head, tail) = (&letters[..LONGEST / 2], &letters[letters.len() - LONGEST / 2..]);
        head.iter().chain(['…'].iter()).chain(tail).collect()
    };
    Refusal { message, help: help.to_owned(), at: None }
}

fn time_of_day(text: &str) -> Option<NaiveTime> {
    let plain = |part: &str| {
        (part.len() == 2).then(|| part.parse::<u32>().ok().filter(|_| !part.starts_with('+')))?
    };
    let mut parts = text.split(':');
    let (hour, minute) = (plain(parts.next()?)?, plain(parts.next()?)?);
    let second = parts.next().map_or(Some(0), plain)?;
    parts.next().is_none().then(|| NaiveTime::from_hms_opt(hour, minute, second))?
}

fn clock_text(time: NaiveTime) -> String {
    if time.second() == 0 { time.format("%H:%M").to_string() } else { time.format("%H:%M:%S").to_string() }
}

fn expand(text: &str) -> Result<&'static str, Refusal> {
    let lower = text.to_ascii_lowercase();
    match SHORTHANDS.iter().find(|(name, _)| *name == lower) {
        Some((_, "")) => Err(refuse(
            "`@reboot` is not a time of day or week".into(),
            "write the five fields, as in cron = \"0 2 * * *\"",
        )),
        Some((_, fields)) => Ok(fields),
        None => Err(refuse(
            format!("`{text}` is not a known shorthand"),
            "write @hourly, @daily, @midnight, @weekly, @monthly, @yearly or @annually, or the five fields",
        )),
    }
}

/// Six or seven fields in upper case, separated by single spaces. The error names the first invalid field.
fn normalise(text: &str) -> Result<String, Refusal> {
    let mut fields: Vec<&str> = text.split_whitespace().collect();
    let seconds_given = match fields.len() {
        5 => false,
        6 | 7 => true,
        found => {
            return Err(refuse(
                format!(
                    "a cron expression has five fields, six with seconds, or seven with years, but this one has {found}"
                ),
                "write minutes, hours, day of month, month, day of week, as in cron = \"0 2 * * MON-FRI\"",
            ));
        }
    };
    if !seconds_given {
        fields.insert(0, "0");
    }
    for (at, (field, name)) in fields.iter().zip(FIELDS).enumerate() {
        let refusal = check_field(at, name, field);
        if let Some(refusal) = refusal {
            // The inserted seconds field is valid, so an invalid `field` is a slice of `text`.
            return Err(refusal.within(text, field));
        }
    }
    Ok(fields.join(" ").to_ascii_uppercase())
}

fn check_field(at: usize, name: &str, field: &str) -> Option<Refusal> {
    if at == 5 && field.bytes().any(|b| b.is_ascii_digit()) {
        return Some(refuse(
            format!(
                "`{field}` uses digits for days of the week, but 1 means Sunday in some tools and Monday in others"
            ),
            "write names, as in MON-FRI or MON,WED,SUN",
        ));
    }
    let mut probe = ["0", "0", "0", "*", "*", "*", "*"];
    let location = probe.get_mut(at)?;
    *location = field;
    let error = Schedule::from_str(&probe.join(" ").to_ascii_uppercase()).err()?;
    let detail = last_line(&error.to_string());
    let message = match bounds(&detail) {
        Some(limit) => format!("the {name} field `{field}` is out of range: {limit}"),
        None => format!("the {name} field `{field}` cannot be read"),
    };
    let help = match at {
        3 | 5 => "write `*`, a value, a range, a list or a step; `L`, `W` and `#` are not supported",
        _ => "write `*`, a value such as 5, a range such as 1-5, a list such as 1,5 or a step such as */5",
    };
    Some(refuse(message, help))
}

/// Limits from an error of the parser, reworded: its text has "less than 59" although 59 is allowed.
fn bounds(detail: &str) -> Option<String> {
    let number = |after: &str| {
        let rest = detail.split_once(after)?.1;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty()).then_some(digits)
    };
    if let Some(most) = number("must be less than ") {
        return Some(format!("it must be at most {most}"));
    }
    number("must be greater than or equal to ").map(|least| format!("it must be at least {least}"))
}

fn last_line(text: &str) -> String {
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}
