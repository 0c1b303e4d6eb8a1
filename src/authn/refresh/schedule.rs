//! When the keys of one provider are fetched. Pure: the clock and the dice are arguments.

use std::time::{Duration, SystemTime};

/// No provider is asked more often than this for plain freshness, whatever is configured.
const FLOOR: Duration = Duration::from_secs(10);
/// Nor more seldom than this, or a key that was withdrawn would live on.
const CEILING: Duration = Duration::from_secs(24 * 60 * 60);
/// At most one extra fetch per provider in this time, however many unknown keys are seen.
pub(super) const COOL_DOWN: Duration = Duration::from_secs(30);
/// The first retry while there are no keys at all: a provider that starts beside us is soon there.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause between retries while there are no keys at all.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// A fetch is bounded to a few seconds; one that is out longer than this was lost and is made again.
const LOST: Duration = Duration::from_secs(60);

/// What is held when a fetch failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    LastGood,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Schedule {
    interval: Duration,
    next: SystemTime,
    failures: u32,
    out_since: Option<SystemTime>,
    nudged: Option<SystemTime>,
}

impl Schedule {
    /// Due at once.
    pub(super) fn new(interval: Duration, now: SystemTime) -> Self {
        let interval = interval.clamp(FLOOR, CEILING);
        Self { interval, next: now, failures: 0, out_since: None, nudged: None }
    }

    /// How long until a fetch is to be made; zero when it is.
    pub(super) fn wait(&self, now: SystemTime) -> Duration {
        let until = |at: SystemTime| at.duration_since(now).unwrap_or(Duration::ZERO);
        match self.out_since {
            // A clock that went back must not keep a lost fetch out for long.
            Some(out) if out > now => LOST,
            Some(out) => until(out + LOST),
            // Nor put the next one off beyond what was ever planned.
            None => match until(self.next) {
                far if far > self.interval * 2 => Duration::ZERO,
                near => near,
            },
        }
    }

    /// A fetch has begun.
    pub(super) fn begun(&mut self, now: SystemTime) {
        self.out_since = Some(now);
    }

    /// It brought keys. `dice` is between -1 and 1.
    pub(super) fn succeeded(&mut self, now: SystemTime, dice: f64) {
        self.failures = 0;
        self.out_since = None;
        self.next = now + jittered(self.interval, dice);
    }

    /// It brought none. Retries slow down, but never beyond the plain interval.
    pub(super) fn failed(&mut self, now: SystemTime, held: Held, dice: f64) {
        let (first, longest) = match held {
            Held::Nothing => (FIRST_RETRY, LONGEST_RETRY.min(self.interval)),
            Held::LastGood => (FLOOR, self.interval),
        };
        let pause = first.saturating_mul(1_u32 << self.failures.min(16)).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.out_since = None;
        self.next = now + jittered(pause, dice);
    }

    /// Someone showed a key that is not known. Makes the next fetch due, unless one is out or was asked for lately.
    pub(super) fn nudge(&mut self, now: SystemTime) -> bool {
        let cooling = self
            .nudged
            .is_some_and(|at| now.duration_since(at).is_ok_and(|passed| passed < COOL_DOWN));
        if cooling || self.out_since.is_some() {
            return false;
        }
        self.nudged = Some(now);
        self.next = now;
        true
    }

    /// Makes the next fetch due, whatever happened before.
    pub(super) fn restart(&mut self, now: SystemTime) {
        self.next = now;
        self.failures = 0;
    }
}

/// Ten percent up or down, so that a fleet that started together does not ask together.
fn jittered(pause: Duration, dice: f64) -> Duration {
    pause.mul_f64(1.0 + 0.1 * dice.clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn after(seconds: u64) -> SystemTime {
        START + Duration::from_secs(1_790_000_000 + seconds)
    }

    fn waits(schedule: &Schedule, now: SystemTime) -> f64 {
        schedule.wait(now).as_secs_f64()
    }

    #[test]
    fn the_interval_has_a_floor_and_jitter() {
        let mut schedule = Schedule::new(Duration::from_secs(1), after(0));
        assert_eq!(waits(&schedule, after(0)), 0.0);
        schedule.succeeded(after(0), 0.0);
        assert_eq!(waits(&schedule, after(0)), 10.0);
        schedule.succeeded(after(0), 1.0);
        assert_eq!(waits(&schedule, after(0)), 11.0);
        schedule.succeeded(after(0), -1.0);
        assert_eq!(waits(&schedule, after(3)), 6.0);
        let mut schedule = Schedule::new(Duration::from_secs(1_000_000), after(0));
        schedule.succeeded(after(0), 0.0);
        assert_eq!(waits(&schedule, after(0)), 86_400.0);
    }

    #[test]
    fn failures_back_off_to_the_interval() {
        let mut schedule = Schedule::new(Duration::from_secs(300), after(0));
        let pauses: Vec<f64> = (0..10)
            .map(|_| {
                schedule.failed(after(0), Held::LastGood, 0.0);
                waits(&schedule, after(0))
            })
            .collect();
        assert_eq!(pauses, [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0, 300.0, 300.0]);
        let mut schedule = Schedule::new(Duration::from_secs(300), after(0));
        let pauses: Vec<f64> = (0..8)
            .map(|_| {
                schedule.failed(after(0), Held::Nothing, 0.0);
                waits(&schedule, after(0))
            })
            .collect();
        assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        schedule.succeeded(after(0), 0.0);
        schedule.failed(after(0), Held::LastGood, 0.0);
        assert_eq!(waits(&schedule, after(0)), 10.0);
    }

    #[test]
    fn a_nudge_counts_once_per_cool_down() {
        let mut schedule = Schedule::new(Duration::from_secs(300), after(0));
        schedule.begun(after(0));
        assert!(!schedule.nudge(after(0)), "one is out already");
        schedule.succeeded(after(0), 0.0);
        assert!(schedule.nudge(after(1)));
        assert_eq!(waits(&schedule, after(1)), 0.0);
        schedule.begun(after(1));
        schedule.succeeded(after(1), 0.0);
        assert!(!schedule.nudge(after(30)));
        assert_eq!(waits(&schedule, after(30)), 271.0);
        assert!(schedule.nudge(after(31)));
    }

    #[test]
    fn a_clock_that_jumps_or_a_lost_fetch_never_stops_it() {
        let mut schedule = Schedule::new(Duration::from_secs(300), after(10_000));
        schedule.succeeded(after(10_000), 0.0);
        assert_eq!(waits(&schedule, after(0)), 0.0, "back by hours");
        assert_eq!(waits(&schedule, after(20_000)), 0.0, "forward by hours");
        schedule.begun(after(10_000));
        assert_eq!(waits(&schedule, after(10_001)), 59.0);
        assert_eq!(waits(&schedule, after(10_060)), 0.0);
        assert_eq!(waits(&schedule, after(0)), 60.0);
    }
}
