//! Moments as they are written in suites.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;

use super::raw::RawTime;
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::Checked;

/// The time of a case that names none: noon of Thursday, 1 January 2026, UTC. Fixed, so that a suite says the same today
/// and in a year.
const DEFAULT_SECONDS: u64 = 1_767_268_800;

pub(super) fn default() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(DEFAULT_SECONDS)
}

/// Seconds since 1970.
pub(super) fn seconds(raw: &RawTime, at: &FieldPath) -> Checked<u64> {
    match raw {
        RawTime::Seconds(seconds) => Ok(*seconds),
        RawTime::Text(text) => OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .and_then(|date| u64::try_from(date.unix_timestamp()).ok())
            .ok_or_else(|| {
                Problem::new(at.clone(), format!("`{text}` is no moment since 1970"))
                    .hint("write a date such as 2026-01-31T12:00:00Z, or seconds since 1970")
            }),
    }
}

pub(super) fn moment(raw: &RawTime, at: &FieldPath) -> Checked<SystemTime> {
    let seconds = seconds(raw, at)?;
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .ok_or_else(|| Problem::new(at.clone(), "is too far in the future"))
}
