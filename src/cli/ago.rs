//! Formats how long ago something was. Pure: the caller passes the time.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::domain::counted::counted;

/// After this many days the date is shown instead.
const DAYS: i64 = 60;

/// Formats how long ago a host's timestamp was. Returns it unchanged if it cannot be parsed.
pub fn ago(then: &str, now: Timestamp) -> String {
    let Ok(time) = then.parse::<Timestamp>() else { return then.to_owned() };
    let seconds = now.as_second().saturating_sub(time.as_second());
    match seconds {
        0..60 => "just now".to_owned(),
        60..3600 => format!("{} ago", counted(seconds / 60, "minute")),
        3600..86_400 => format!("{} ago", counted(seconds / 3600, "hour")),
        86_400.. if seconds / 86_400 <= DAYS => format!("{} ago", counted(seconds / 86_400, "day")),
        // Also if the host's clock is ahead of ours.
        _ => time.to_zoned(TimeZone::UTC).date().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_as_people_say_it() {
        let now = "2026-11-28T12:00:00Z".parse().unwrap();
        for (then, said) in [
            ("2026-11-28T11:59:30Z", "just now"),
            ("2026-11-28T11:59:00Z", "1 minute ago"),
            ("2026-11-28T10:00:00Z", "2 hours ago"),
            ("2026-11-27T11:00:00Z", "1 day ago"),
            ("2026-09-01T11:00:00Z", "2026-09-01"),
            ("2026-11-28T12:10:00Z", "2026-11-28"),
            ("9999-12-30T22:00:00Z", "9999-12-30"),
            ("-009999-01-02T01:59:59Z", "-009999-01-02"),
            ("some day", "some day"),
        ] {
            assert_eq!(ago(then, now), said);
        }
    }
}
