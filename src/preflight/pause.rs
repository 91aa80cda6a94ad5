//! Cost of a pause: duration of the last pauses, and disk space of the brokers, whose logs grow during a
//! pause.
//!
//! Read-only.

use crate::camunda::Zeebe;
use crate::domain::Limits;
use crate::pause::disk_space::{has, lacking, not_reported, tightest};
use crate::pause::forecast::Forecast;
use crate::preflight::Check;

pub(crate) async fn checks(zeebe: &Zeebe, limits: Limits, forecast: &Forecast, brokers: usize) -> Vec<Check> {
    let brokers_disk_space = zeebe.brokers_disk_space().await;
    let mut checks: Vec<Check> = pause(limits, forecast).into_iter().collect();
    let Some(least) = limits.min_free_disk else {
        // No limit is configured: show the reported disk space only.
        let reported = brokers_disk_space.reported.iter().min_by_key(|disk_space| disk_space.free);
        checks.extend(reported.map(|disk_space| Check::good("broker_disk", has(disk_space))));
        return checks;
    };
    let disk_space = tightest(&brokers_disk_space.reported, least);
    checks.push(if let Some(what) = disk_space.and_then(|disk_space| lacking(disk_space, least)) {
        Check::bad("broker_disk", what, "free disk space there, or set a smaller limits.min_free_disk")
    } else if let Some(error) = brokers_disk_space.errors.first() {
        Check::of_error("broker_disk", error, "`zeebe` and `brokers` are the brokers' management URLs")
    } else if let Some(what) = not_reported(&brokers_disk_space, brokers) {
        Check::bad("broker_disk", what, "without it `pause_budget` alone bounds the pause")
    } else {
        let reported = disk_space.map(has).unwrap_or_default();
        Check::good("broker_disk", format!("{reported}, and limits.min_free_disk is {least}"))
    });
    checks
}

/// `None` if there were no pauses.
fn pause(limits: Limits, forecast: &Forecast) -> Option<Check> {
    if let Some(why) = forecast.over(limits.pause_budget) {
        return Some(Check::bad(
            "pause",
            why,
            "set a longer pause_budget, or find the cause of the long pauses",
        ));
    }
    let budget = humantime::format_duration(limits.pause_budget);
    Some(Check::good("pause", format!("{}; the pause_budget is {budget}", forecast.in_text()?)))
}
