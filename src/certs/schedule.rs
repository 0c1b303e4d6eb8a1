//! When to renew. Pure: the time and every random draw are arguments.
//!
//! All deadlines stand on the wall clock and are looked at again on every tick, so that a laptop that slept
//! or a clock that was set leads to the right step at once.

use std::time::{Duration, SystemTime};

const SHORTEST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// A draw between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter(f64);

/// The deadlines of one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    obtained: SystemTime,
    not_before: SystemTime,
    renew_at: SystemTime,
    not_after: SystemTime,
    ordered: Option<Ordered>,
}

/// The control plane's order to replace certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reissue {
    /// A certificate issued before then must be replaced.
    pub issued_before: SystemTime,
    /// Over how long everybody's renewals are spread, from when the order is heard.
    pub within: Duration,
}

/// An order that covers the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ordered {
    heard: SystemTime,
    due: SystemTime,
}

/// How a certificate stands at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The clock stands before its first second: the clock moved back.
    NotYetValid,
    /// Good, and not due.
    Fresh,
    /// Good, and due for renewal.
    Due,
    /// Over. It must not be served.
    Expired,
}

/// What is known of the attempts since the last success.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    failures: u32,
    last: SystemTime,
    jitter: Jitter,
    floor: Duration,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try to get a certificate.
    Attempt,
    /// Nothing for this long; look again earlier if you like.
    Wait(Duration),
}

impl Jitter {
    /// Takes a draw; what lies outside 0 to 1 is cut, what is no number counts as the middle.
    #[must_use]
    pub fn new(draw: f64) -> Self {
        Self(if draw.is_nan() { 0.5 } else { draw.clamp(0.0, 1.0) })
    }

    /// That part of a time.
    pub(super) fn part_of(self, time: Duration) -> Duration {
        time.mul_f64(self.0)
    }
}

impl Schedule {
    /// Plans the renewal of a certificate that was obtained at `obtained`: after 45 % to 55 % of what it
    /// had to live then. The backdated part of its validity does not count.
    #[must_use]
    pub fn new(
        (not_before, not_after): (SystemTime, SystemTime),
        obtained: SystemTime,
        jitter: Jitter,
    ) -> Self {
        let start = obtained.max(not_before).min(not_after);
        let life = not_after.duration_since(start).unwrap_or(Duration::ZERO);
        let renew_at = start.checked_add(life.mul_f64(0.45 + 0.1 * jitter.0)).unwrap_or(start);
        Self { obtained, not_before, renew_at, not_after, ordered: None }
    }

    /// The same under an order that was heard at `heard`: due at a moment of its window that `jitter` draws, if the
    /// certificate was issued before the order's moment. A certificate says when its validity begins, which is at most
    /// a little before it was issued: one issued right after the order's moment may be replaced once more. `None` takes
    /// an order back.
    #[must_use]
    pub fn under(self, order: Option<&Reissue>, heard: SystemTime, jitter: Jitter) -> Self {
        let covers = |order: &&Reissue| self.not_before < order.issued_before;
        let ordered = order.filter(covers).map(|order| {
            let due = heard.checked_add(order.within.mul_f64(jitter.0)).unwrap_or(heard);
            Ordered { heard, due }
        });
        Self { ordered, ..self }
    }

    /// When renewal is due.
    #[must_use]
    pub fn renew_at(&self) -> SystemTime {
        self.ordered.map_or(self.renew_at, |ordered| ordered.due.min(self.renew_at))
    }

    /// How the certificate stands at `now`.
    #[must_use]
    pub fn standing(&self, now: SystemTime) -> Standing {
        if now < self.not_before {
            Standing::NotYetValid
        } else if now > self.not_after {
            Standing::Expired
        } else if now >= self.renew_at() || self.ordered.is_some_and(|order| now < order.heard) {
            // A clock that moved back says nothing about how much of an order's window is left.
            Standing::Due
        } else {
            Standing::Fresh
        }
    }
}

impl Retry {
    /// Counts one more failure at `now`.
    #[must_use]
    pub fn after(previous: Option<&Self>, now: SystemTime, jitter: Jitter) -> Self {
        let failures = previous.map_or(0, |retry| retry.failures).saturating_add(1);
        Self { failures, last: now, jitter, floor: Duration::ZERO }
    }

    /// The same, but the next attempt comes `floor` after the last at the earliest: a control plane that has too much to
    /// do said so.
    #[must_use]
    pub fn not_before(self, floor: Duration) -> Self {
        Self { floor, ..self }
    }

    /// How many attempts failed in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// 1 s, 2 s, 4 s ... 60 s; never more than a tenth of what is `left`; then half to all of it. What a control plane asks
    /// for beyond that is granted up to a third of what is left: whoever is busy must not cost a certificate.
    fn delay(&self, left: Option<Duration>) -> Duration {
        let doubled = 1_u32.checked_shl(self.failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let mut delay = SHORTEST_RETRY.saturating_mul(doubled).min(LONGEST_RETRY);
        let mut floor = self.floor;
        if let Some(left) = left {
            delay = delay.min(left / 10);
            floor = floor.min(left / 3);
        }
        delay.mul_f64(0.5 + 0.5 * self.jitter.0).max(SHORTEST_RETRY).max(floor)
    }
}

/// What to do at `now`, holding a certificate or none, after failures or none.
///
/// Never tells to attempt twice within a second, as long as the clock is not set back by more than a minute: not even
/// when every certificate that comes is over before it is used.
#[must_use]
pub fn next(held: Option<&Schedule>, retry: Option<&Retry>, now: SystemTime) -> Next {
    let left = match held.map(|schedule| (schedule, schedule.standing(now))) {
        Some((schedule, Standing::Fresh)) => {
            return Next::Wait(schedule.renew_at.duration_since(now).unwrap_or(Duration::ZERO));
        }
        Some((schedule, Standing::Due)) => schedule.not_after.duration_since(now).ok(),
        Some((_, Standing::Expired | Standing::NotYetValid)) | None => None,
    };
    let (last, delay) = match (retry, held) {
        (Some(retry), _) => (retry.last, retry.delay(left)),
        (None, Some(schedule)) => (schedule.obtained, SHORTEST_RETRY),
        (None, None) => return Next::Attempt,
    };
    let Some(passed) = passed(last, now) else { return Next::Attempt };
    match delay.checked_sub(passed) {
        None | Some(Duration::ZERO) => Next::Attempt,
        Some(rest) => Next::Wait(rest),
    }
}

/// How long ago `last` was. A clock that was put right by a little went on meanwhile; one that was set back says
/// nothing.
fn passed(last: SystemTime, now: SystemTime) -> Option<Duration> {
    match now.duration_since(last) {
        Ok(passed) => Some(passed),
        Err(back) => (back.duration() <= LONGEST_RETRY).then_some(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 1_790_000_000;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(BASE + seconds)
    }

    /// An hour from 1000, backdated by two minutes.
    fn hour(jitter: f64) -> Schedule {
        Schedule::new((at(880), at(4600)), at(1000), Jitter::new(jitter))
    }

    fn failed(times: u32, last: SystemTime, jitter: f64) -> Retry {
        Retry { failures: times, last, jitter: Jitter::new(jitter), floor: Duration::ZERO }
    }

    #[test]
    fn renewal_is_due_at_about_half() {
        for (jitter, due) in [(0.0, 2620), (0.5, 2800), (1.0, 2980), (7.0, 2980), (f64::NAN, 2800)]
        {
            assert_eq!(hour(jitter).renew_at(), at(due), "jitter {jitter}");
        }
    }

    #[test]
    fn the_backdated_part_does_not_count() {
        let minute = Schedule::new((at(880), at(1060)), at(1000), Jitter::new(0.5));
        assert_eq!(minute.renew_at(), at(1030));
        let odd_clock = Schedule::new((at(880), at(1060)), at(9000), Jitter::new(0.5));
        assert_eq!(odd_clock.renew_at(), at(1060), "never after the end");
        let early_clock = Schedule::new((at(880), at(1060)), at(0), Jitter::new(0.5));
        assert_eq!(early_clock.renew_at(), at(970));
    }

    #[test]
    fn a_certificate_stands_by_the_wall_clock() {
        for (now, standing) in [
            (0, Standing::NotYetValid),
            (879, Standing::NotYetValid),
            (880, Standing::Fresh),
            (2799, Standing::Fresh),
            (2800, Standing::Due),
            (4600, Standing::Due),
            (4601, Standing::Expired),
            (99_999, Standing::Expired),
        ] {
            assert_eq!(hour(0.5).standing(at(now)), standing, "at {now}");
        }
    }

    #[test]
    fn the_next_step_in_every_case() {
        let held = hour(0.5);
        let short = Schedule::new((at(880), at(999)), at(1000), Jitter::new(0.5));
        let wait = |seconds| Next::Wait(Duration::from_secs(seconds));
        for (name, held, retry, now, expected) in [
            ("nothing yet", None, None, 1000, Next::Attempt),
            ("fresh", Some(&held), None, 1000, wait(1800)),
            ("due", Some(&held), None, 2800, Next::Attempt),
            ("slept through it", Some(&held), None, 4000, Next::Attempt),
            ("expired", Some(&held), None, 5000, Next::Attempt),
            ("clock moved back", Some(&held), None, 100, Next::Attempt),
            ("first failure", None, Some(failed(1, at(1000), 1.0)), 1000, wait(1)),
            (
                "first failure, a second later",
                None,
                Some(failed(1, at(1000), 1.0)),
                1001,
                Next::Attempt,
            ),
            ("fourth failure", None, Some(failed(4, at(1000), 1.0)), 1002, wait(6)),
            ("jitter halves", None, Some(failed(4, at(1000), 0.0)), 1002, wait(2)),
            ("many failures", None, Some(failed(40, at(1000), 1.0)), 1000, wait(60)),
            ("slept in back-off", None, Some(failed(40, at(1000), 1.0)), 9000, Next::Attempt),
            ("clock back in back-off", None, Some(failed(40, at(9000), 1.0)), 1000, Next::Attempt),
            ("clock put right in back-off", None, Some(failed(1, at(1001), 1.0)), 1000, wait(1)),
            ("obtained this second, over already", Some(&short), None, 1000, wait(1)),
            ("a second later", Some(&short), None, 1001, Next::Attempt),
            ("little left", Some(&held), Some(failed(40, at(4500), 1.0)), 4500, wait(10)),
            ("hardly anything left", Some(&held), Some(failed(40, at(4598), 1.0)), 4598, wait(1)),
            (
                "expired, still failing",
                Some(&held),
                Some(failed(40, at(5000), 1.0)),
                5000,
                wait(60),
            ),
            (
                "renewed by hand in vain, still fresh",
                Some(&held),
                Some(failed(1, at(1000), 1.0)),
                1500,
                wait(1300),
            ),
        ] {
            assert_eq!(next(held, retry.as_ref(), at(now)), expected, "{name}");
        }
    }

    #[test]
    fn a_busy_control_plane_is_given_its_time_but_not_the_certificate() {
        let held = hour(0.5);
        let told =
            |seconds: u64, last| failed(1, last, 1.0).not_before(Duration::from_secs(seconds));
        let wait = |seconds| Next::Wait(Duration::from_secs(seconds));
        for (name, held, retry, now, expected) in [
            ("nothing held", None, told(30, at(1000)), 1000, wait(30)),
            ("a part of it passed", None, told(30, at(1000)), 1029, wait(1)),
            ("all of it passed", None, told(30, at(1000)), 1030, Next::Attempt),
            ("less than the back-off", None, told(0, at(1000)), 1000, wait(1)),
            ("due, half an hour left", Some(&held), told(300, at(2800)), 2800, wait(300)),
            ("due, a minute left", Some(&held), told(300, at(4540)), 4540, wait(20)),
            ("due, six seconds left", Some(&held), told(300, at(4594)), 4594, wait(2)),
            ("over", Some(&held), told(300, at(5000)), 5000, wait(300)),
            ("the clock was set back", None, told(300, at(9000)), 1000, Next::Attempt),
        ] {
            assert_eq!(next(held, Some(&retry), at(now)), expected, "{name}");
        }
        let again = Retry::after(Some(&told(300, at(0))), at(1), Jitter::new(1.0));
        assert_eq!(next(None, Some(&again), at(3)), Next::Attempt, "the next failure has its own");
    }

    #[test]
    fn an_order_makes_a_certificate_due_within_its_window() {
        let order = |issued_before, within| Reissue {
            issued_before: at(issued_before),
            within: Duration::from_secs(within),
        };
        let due = |order: &Reissue, jitter| {
            hour(0.5).under(Some(order), at(1100), Jitter::new(jitter)).renew_at()
        };
        let within = order(1100, 60);
        for (jitter, expected) in [(0.0, 1100), (0.5, 1130), (1.0, 1160)] {
            assert_eq!(due(&within, jitter), at(expected), "jitter {jitter}");
        }
        assert_eq!(due(&order(1100, 99_999), 1.0), at(2800), "never later than without it");
        assert_eq!(due(&order(880, 60), 0.0), at(2800), "issued after the order's moment");
        assert_eq!(due(&order(1100, 0), 1.0), at(1100), "at once");
        let taken_back = hour(0.5).under(Some(&within), at(1100), Jitter::new(0.0));
        let taken_back = taken_back.under(None, at(1101), Jitter::new(0.0));
        assert_eq!(taken_back, hour(0.5));
    }

    #[test]
    fn an_order_stands_by_the_wall_clock() {
        let order = Reissue { issued_before: at(1100), within: Duration::from_secs(60) };
        let held = hour(0.5).under(Some(&order), at(1100), Jitter::new(0.5));
        for (name, now, standing) in [
            ("just heard", 1100, Standing::Fresh),
            ("in the window", 1129, Standing::Fresh),
            ("its moment", 1130, Standing::Due),
            ("slept through it", 4000, Standing::Due),
            ("the clock moved back", 1099, Standing::Due),
            ("the clock moved back by far", 100, Standing::NotYetValid),
            ("expired meanwhile", 5000, Standing::Expired),
        ] {
            assert_eq!(held.standing(at(now)), standing, "{name}");
        }
        let failed = failed(1, at(1130), 1.0);
        assert_eq!(
            next(Some(&held), Some(&failed), at(1130)),
            Next::Wait(Duration::from_secs(1)),
            "a failure under an order backs off as any other"
        );
    }

    #[test]
    fn failures_are_counted() {
        let one = Retry::after(None, at(0), Jitter::new(0.5));
        let two = Retry::after(Some(&one), at(1), Jitter::new(0.5));
        assert_eq!((one.failures(), two.failures()), (1, 2));
    }
}
