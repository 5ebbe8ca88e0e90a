//! Times and durations as people write them.

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

/// A positive duration such as `90d`, `24h` or `1h 30m`. Days have 24 hours.
pub(super) fn duration(text: &str) -> Result<SignedDuration, String> {
    let example = "give a duration such as 90d, 24h or 1h 30m";
    let span: Span = text.parse().map_err(|_| example.to_owned())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| example.to_owned())?;
    if duration.is_positive() { Ok(duration) } else { Err(example.to_owned()) }
}

/// A moment such as `2026-12-31` or `2026-12-31T23:59:59Z`.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let date = || text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    text.parse::<Timestamp>()
        .ok()
        .or_else(|| date().map(|zoned| zoned.timestamp()))
        .ok_or_else(|| "give a time such as 2026-12-31T23:59:59Z, or a date".to_owned())
}

/// A moment, or `never` for none.
pub(super) fn moment_or_never(text: &str) -> Result<Option<Timestamp>, String> {
    if text == "never" { Ok(None) } else { moment(text).map(Some) }
}

/// So long from now.
#[expect(clippy::disallowed_methods, reason = "people's durations count from the clock of the machine they are at")]
pub(super) fn from_now(duration: SignedDuration) -> Result<Timestamp, String> {
    Timestamp::now().checked_add(duration).map_err(|_| "that is beyond the calendar".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_times_in_several_ways() {
        assert_eq!(duration("90d").unwrap().as_hours(), 90 * 24);
        assert_eq!(duration("1h 30m").unwrap().as_mins(), 90);
        assert!(duration("-1h").is_err() && duration("1").is_err() && duration("0s").is_err());
        assert_eq!(moment("2026-12-31").unwrap().to_string(), "2026-12-31T00:00:00Z");
        assert_eq!(moment("2026-12-31T01:00:00+01:00").unwrap().to_string(), "2026-12-31T00:00:00Z");
        assert!(moment("tomorrow").is_err());
        assert_eq!(moment_or_never("never").unwrap(), None);
    }
}
