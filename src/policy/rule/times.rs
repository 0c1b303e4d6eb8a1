//! Hours, days and spans of time in a time zone.

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::raw::{RawDay, RawTimes};
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::{Checked, check_list};

/// A span that comes again, or one that ends. All that is written must hold.
#[derive(Debug, Clone)]
pub struct TimeWindow {
    weekly: Option<Weekly>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// Hours of days of the week, on the clocks of one zone.
#[derive(Debug, Clone)]
struct Weekly {
    zone: TimeZone,
    /// By day, Monday first.
    days: [Day; 7],
    /// Minutes since midnight, the first in, the second out. The second is smaller where the span goes over midnight.
    hours: Option<(u16, u16)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Day {
    In,
    Out,
}

impl TimeWindow {
    pub(super) fn check_all(raw: Vec<RawTimes>, at: &FieldPath) -> Checked<Vec<Self>> {
        if raw.is_empty() {
            return Err(Problem::new(at.clone(), "is empty")
                .hint("an empty list does not mean no restriction"));
        }
        raw.into_iter().enumerate().map(|(place, raw)| Self::check(raw, &at.item(place))).collect()
    }

    fn check(raw: RawTimes, at: &FieldPath) -> Checked<Self> {
        let RawTimes { zone, days, from, to, since, until } = raw;
        let instant = |text: Option<String>, field: &str| {
            text.map(|text| {
                text.parse::<Timestamp>().map_err(|_| {
                    Problem::new(at.field(field), format!("`{text}` is no point in time"))
                        .hint("for example 2026-12-24T18:00:00Z")
                })
            })
            .transpose()
        };
        let (since, until) = (instant(since, "since")?, instant(until, "until")?);
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            return Err(Problem::new(at.field("until"), "is not after `since`"));
        }
        let is_weekly = days.is_some() || from.is_some() || to.is_some();
        let weekly = match (zone, is_weekly) {
            (Some(zone), true) => Some(Weekly::check(&zone, days, (from, to), at)?),
            (None, true) => {
                return Err(Problem::new(at.clone(), "needs a `zone`").hint(
                    "hours and days are those of some clock, for example Europe/Berlin or UTC",
                ));
            }
            (Some(_), false) => {
                return Err(Problem::new(at.field("zone"), "has no `days` or hours to go with it"));
            }
            (None, false) => None,
        };
        if weekly.is_none() && since.is_none() && until.is_none() {
            return Err(Problem::new(at.clone(), "says nothing")
                .hint("write `days`, `from` and `to`, `since` or `until`"));
        }
        Ok(Self { weekly, since, until })
    }

    /// True when the moment is inside.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        self.since.is_none_or(|since| now >= since)
            && self.until.is_none_or(|until| now < until)
            && self.weekly.as_ref().is_none_or(|weekly| weekly.holds(now))
    }
}

impl Weekly {
    fn check(
        zone: &str,
        days: Option<Vec<RawDay>>,
        (from, to): (Option<String>, Option<String>),
        at: &FieldPath,
    ) -> Checked<Self> {
        let zone = TimeZoneDatabase::bundled().get(zone).map_err(|_| {
            Problem::new(at.field("zone"), format!("there is no time zone `{zone}`"))
                .hint("use a name of the IANA database, for example Europe/Berlin, America/New_York or UTC")
        })?;
        let days = match days {
            None => [Day::In; 7],
            Some(days) => {
                let mut week = [Day::Out; 7];
                for day in check_list(days, &at.field("days"))? {
                    if let Some(place) = week.get_mut(day.place()) {
                        *place = Day::In;
                    }
                }
                week
            }
        };
        let hours = match (from, to) {
            (None, None) => None,
            (Some(from), Some(to)) => {
                let (from, to) =
                    (minutes(&from, &at.field("from"))?, minutes(&to, &at.field("to"))?);
                if from == to {
                    return Err(Problem::new(at.field("to"), "is the same as `from`")
                        .hint("leave both out for the whole day"));
                }
                Some((from, to))
            }
            (Some(_), None) => return Err(Problem::new(at.clone(), "has `from` without `to`")),
            (None, Some(_)) => return Err(Problem::new(at.clone(), "has `to` without `from`")),
        };
        Ok(Self { zone, days, hours })
    }

    fn holds(&self, now: Timestamp) -> bool {
        let local = now.to_zoned_datetime(self.zone.clone());
        let today = usize::try_from(local.weekday().to_monday_zero_offset()).unwrap_or(0);
        let is_in = |day: usize| self.days.get(day % 7) == Some(&Day::In);
        let Some((from, to)) = self.hours else { return is_in(today) };
        let hour = u16::try_from(local.hour()).unwrap_or(0);
        let minute = u16::try_from(local.minute()).unwrap_or(0);
        let now = hour * 60 + minute;
        if from < to {
            return is_in(today) && (from..to).contains(&now);
        }
        // Over midnight: the hours after it belong to the day on which the span began.
        (is_in(today) && now >= from) || (is_in(today + 6) && now < to)
    }
}

impl RawDay {
    fn place(self) -> usize {
        match self {
            Self::Mon => 0,
            Self::Tue => 1,
            Self::Wed => 2,
            Self::Thu => 3,
            Self::Fri => 4,
            Self::Sat => 5,
            Self::Sun => 6,
        }
    }
}

/// `09:30` in minutes; `24:00` is the end of the day.
fn minutes(text: &str, at: &FieldPath) -> Checked<u16> {
    let parsed = text.split_once(':').filter(|(hour, minute)| {
        let two = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        two(hour) && two(minute)
    });
    let parsed = parsed.and_then(|(hour, minute)| {
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        let total = hour * 60 + minute;
        (minute < 60 && total <= 24 * 60).then_some(total)
    });
    parsed.ok_or_else(|| {
        Problem::new(at.clone(), format!("`{text}` is no time of day"))
            .hint("write it with two digits each, in quotes: \"09:30\"")
    })
}
