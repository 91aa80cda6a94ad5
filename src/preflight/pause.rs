//! Cost of a pause: duration of the last pauses, and disk space of the brokers, whose logs grow during a
//! pause.
//!
//! Read-only.

use crate::camunda::Zeebe;
use crate::domain::Limits;
use crate::pause::disk_space::{has, lacking, tightest, untold};
use crate::pause::forecast::Forecast;
use crate::preflight::Check;

pub(crate) async fn checks(zeebe: &Zeebe, limits: Limits, forecast: &Forecast, brokers: usize) -> Vec<Check> {
    let disk_space_of_brokers = zeebe.disk_space_of_brokers().await;
    let mut checks: Vec<Check> = pause(limits, forecast).into_iter().collect();
    let Some(least) = limits.min_free_disk else {
        // No limit is configured: show the reported disk space only.
        let told = disk_space_of_brokers.told.iter().min_by_key(|room| room.free);
        checks.extend(told.map(|room| Check::good("broker_disk", has(room))));
        return checks;
    };
    let room = tightest(&disk_space_of_brokers.told, least);
    checks.push(if let Some(what) = room.and_then(|room| lacking(room, least)) {
        Check::bad("broker_disk", what, "make room there, or write a smaller limits.min_free_disk")
    } else if let Some(error) = disk_space_of_brokers.errors.first() {
        Check::of_error("broker_disk", error, "`zeebe` and `brokers` are the brokers' management URLs")
    } else if let Some(what) = untold(&disk_space_of_brokers, brokers) {
        Check::bad("broker_disk", what, "without it `pause_budget` alone bounds the pause")
    } else {
        let told = room.map(has).unwrap_or_default();
        Check::good("broker_disk", format!("{told}, and limits.min_free_disk is {least}"))
    });
    checks
}

/// `None` if there were no pauses.
fn pause(limits: Limits, forecast: &Forecast) -> Option<Check> {
    if let Some(why) = forecast.over(limits.pause_budget) {
        return Some(Check::bad("pause", why, "write a longer pause_budget, or see what made them so long"));
    }
    let budget = humantime::format_duration(limits.pause_budget);
    Some(Check::good("pause", format!("{}; the pause_budget is {budget}", forecast.in_text()?)))
}
