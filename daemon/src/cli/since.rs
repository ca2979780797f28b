//! Where a tail starts.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use refwatch_proto::client::is_cursor;
use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::{Earliest, Now};

/// Reads `earliest`, `now`, a time, a span before now, or a cursor.
///
/// # Errors
/// For anything else, in words.
pub(super) fn parse(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => return Ok(Start::Earliest(Earliest {})),
        "now" => return Ok(Start::Now(Now {})),
        _ => {}
    }
    if let Some(time) = time(text) {
        return Ok(Start::SinceUs(time.as_microsecond().max(0)));
    }
    if is_cursor(text) {
        return Ok(Start::Cursor(text.to_owned()));
    }
    Err("expected earliest, now, a cursor, a time such as 2026-01-31T08:00:00Z, or a span such as 2h"
        .to_owned())
}

fn time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(span) = text.parse::<Span>() {
        // Days and months are those of the local calendar.
        let now = Timestamp::now().to_zoned_datetime(TimeZone::system());
        return now.checked_sub(span.abs()).ok().map(|then| then.timestamp());
    }
    // Without an offset it is local time.
    let local = text.parse::<DateTime>().ok()?;
    local.to_zoned_datetime(TimeZone::system()).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_start_is_told_apart() {
        let cursor = "AQ".repeat(20);
        assert_eq!(parse("earliest"), Ok(Start::Earliest(Earliest {})));
        assert_eq!(parse("now"), Ok(Start::Now(Now {})));
        assert_eq!(parse(&cursor), Ok(Start::Cursor(cursor)));
        assert_eq!(parse("1970-01-01T00:00:01.5Z"), Ok(Start::SinceUs(1_500_000)));
        assert_eq!(parse("1970-01-01T02:00:00+02:00"), Ok(Start::SinceUs(0)));
        for text in ["2h", "1d 2h", "PT15M", "2026-01-31", "2026-01-31 08:00"] {
            assert!(matches!(parse(text), Ok(Start::SinceUs(time)) if time > 0), "{text}");
        }
        for text in ["", "yesterday", "erliest", "2026-13-01", "AQ=="] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
