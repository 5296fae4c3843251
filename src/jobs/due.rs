//! Which time a job is due for. The engine knocks a moment later, each node's at its own moment; the due time is the same for all.

use chrono::{DateTime, SubsecRound, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};

/// The expression, read as the engine reads it.
pub(super) fn parse(cron: &str) -> Option<Cron> {
    CronParser::builder().seconds(Seconds::Required).build().parse(cron).ok()
}

/// The last due time that is not after `now`.
pub(super) fn due(cron: &Cron, zone: Tz, now: DateTime<Utc>) -> DateTime<Utc> {
    let now = now.trunc_subsecs(0).with_timezone(&zone);
    cron.find_previous_occurrence(&now, true).unwrap_or(now).to_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whenever_the_engine_knocks_the_due_time_is_the_same() {
        let cron = parse("0 7 * * * *").unwrap();
        let at = |time: &str| due(&cron, Tz::UTC, time.parse().unwrap()).to_rfc3339();
        for knock in
            ["2026-11-26T12:07:00Z", "2026-11-26T12:07:00.4Z", "2026-11-26T12:07:03Z", "2026-11-26T13:06:59.9Z"]
        {
            assert_eq!(at(knock), "2026-11-26T12:07:00+00:00", "{knock}");
        }
        let daily = parse("0 30 5 * * *").unwrap();
        let shanghai = due(&daily, chrono_tz::Asia::Shanghai, "2026-11-26T22:00:00Z".parse().unwrap());
        assert_eq!(shanghai.to_rfc3339(), "2026-11-26T21:30:00+00:00");
        assert!(parse("every day").is_none());
    }
}
