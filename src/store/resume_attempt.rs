//! What the process that pays a debt knows of it beyond its row: a full disk keeps it from being written down.
//!
//! Pure; who pays keeps it (`run::tries`), and every surface tells it over the row.

use crate::domain::{Instant, RunId, instant_text};
use crate::store::{Debt, StoreError};
use std::collections::BTreeMap;

/// The resumes that were sent for one debt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// When the first was about to be sent.
    pub intended_at: Option<Instant>,
    /// How many, those of earlier processes included.
    pub attempts: u32,
    /// What the last one met, or what is waited for after it.
    pub last_error: Option<String>,
    /// The server has confirmed the resume, and nothing is left but to write it down.
    pub confirmed_at: Option<Instant>,
    /// Why that could not be written down.
    pub unwritten: Option<StoreError>,
}

/// Open debts with what is known beyond their rows.
pub fn told_over(tried: &BTreeMap<RunId, Tried>, mut debts: Vec<Debt>) -> Vec<Debt> {
    for debt in &mut debts {
        if let Some(tried) = tried.get(&debt.run_id) {
            tried.over(debt);
        }
    }
    debts
}

impl Tried {
    /// Tells it over a row. An open debt that has `paid_at` is one whose payment is not written down.
    fn over(&self, debt: &mut Debt) {
        debt.attempts = debt.attempts.max(self.attempts);
        debt.resume_intended_at = debt.resume_intended_at.or(self.intended_at);
        debt.paid_at = self.confirmed_at;
        let Some(at) = self.confirmed_at else {
            debt.last_error = self.last_error.clone().or(debt.last_error.take());
            return;
        };
        let why = self.unwritten.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let at = instant_text(at);
        debt.last_error =
            Some(format!("the resume was confirmed at {at}, and that is not written down yet{why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Addresses;
    use chrono::TimeDelta;

    fn at(seconds: i64) -> Instant {
        chrono::DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn row(attempts: u32, last_error: Option<&str>) -> Debt {
        Debt {
            run_id: RunId::nil(),
            cluster: "orders".into(),
            addresses: Addresses::default(),
            intended_at: at(0),
            intended_since_boot_ms: None,
            resume_intended_at: None,
            attempts,
            last_error: last_error.map(str::to_owned),
            paid_at: None,
            forgiven: None,
        }
    }

    fn told(tried: &Tried, debt: Debt) -> (u32, Option<String>, Option<Instant>, Option<Instant>) {
        let debt = told_over(&[(debt.run_id, tried.clone())].into(), vec![debt]).remove(0);
        (debt.attempts, debt.last_error, debt.resume_intended_at, debt.paid_at)
    }

    #[test]
    fn what_a_row_could_not_take_is_told_over_it() {
        let lost = Some("nobody listens".to_owned());
        let tried =
            Tried { intended_at: Some(at(5)), attempts: 3, last_error: lost.clone(), ..Tried::default() };
        assert_eq!(told(&tried, row(0, None)), (3, lost.clone(), Some(at(5)), None));
        assert_eq!(told(&tried, row(7, Some("older"))), (7, lost, Some(at(5)), None));
        let begun = Tried { attempts: 7, ..Tried::default() };
        assert_eq!(told(&begun, row(7, Some("older"))), (7, Some("older".to_owned()), None, None));
    }

    #[test]
    fn a_confirmed_resume_is_told_with_why_it_is_not_written_down() {
        let mut tried = Tried { attempts: 1, confirmed_at: Some(at(9)), ..Tried::default() };
        let said = "the resume was confirmed at 1970-01-01T00:00:09.000Z, and that is not written down yet";
        assert_eq!(told(&tried, row(0, Some("older"))), (1, Some(said.to_owned()), None, Some(at(9))));
        tried.unwritten = Some(StoreError::Closed);
        let said = format!("{said}: the store is closed: the daemon is stopping");
        assert_eq!(told(&tried, row(0, None)).1, Some(said));
    }
}
