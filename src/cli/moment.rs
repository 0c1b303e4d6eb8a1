//! Points in time as people read them: RFC 3339, and how far that is from now.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Reads an RFC 3339 time, or whole seconds since 1970.
pub(super) fn parse(text: &str) -> Result<SystemTime, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .ok_or_else(|| "is too far away".to_owned());
    }
    OffsetDateTime::parse(text, &Rfc3339)
        .map(SystemTime::from)
        .map_err(|_| "write 2026-11-23T04:00:00Z, or seconds since 1970".to_owned())
}

/// Seconds since 1970; nothing for what lies before.
pub(super) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// `2026-11-23T04:00:00Z (in 4 min)`.
pub(super) fn show(at: SystemTime, now: SystemTime) -> String {
    let text = OffsetDateTime::from(at)
        .replace_nanosecond(0)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| "a time past the year 9999".to_owned());
    format!("{text} ({})", distance(at, now))
}

fn distance(at: SystemTime, now: SystemTime) -> String {
    match at.duration_since(now) {
        Ok(ahead) if ahead.as_secs() == 0 => "now".to_owned(),
        Ok(ahead) => format!("in {}", rough(ahead)),
        Err(past) if past.duration().as_secs() == 0 => "now".to_owned(),
        Err(past) => format!("{} ago", rough(past.duration())),
    }
}

/// One unit is enough to see what is wrong.
pub(super) fn rough(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        172_800..=63_071_999 => format!("{} days", seconds / 86_400),
        _ => format!("{} years", seconds / 31_536_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_both_forms_and_nothing_else() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        assert_eq!(parse("1790000000"), Ok(at));
        assert_eq!(parse("2026-09-21T14:13:20Z"), Ok(at));
        assert_eq!(parse("2026-09-21T16:13:20+02:00"), Ok(at));
        for wrong in ["", "yesterday", "-5", "2026-09-21", "18446744073709551616"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn distances_are_short() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let shown = |offset: i64| {
            let span = Duration::from_secs(offset.unsigned_abs());
            let at = if offset < 0 { now - span } else { now + span };
            show(at, now)
        };
        assert_eq!(shown(0), "2026-09-21T14:13:20Z (now)");
        assert_eq!(shown(240), "2026-09-21T14:17:20Z (in 4 min)");
        assert_eq!(shown(-7_200), "2026-09-21T12:13:20Z (2 h ago)");
        assert!(shown(-86_400 * 5).ends_with("(5 days ago)"));
        assert!(shown(86_400 * 365 * 3).ends_with("(in 3 years)"));
        assert!(shown(90).ends_with("(in 90 s)"));
    }
}
