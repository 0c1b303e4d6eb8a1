//! The lifetime of a certificate as a bar.

use std::time::{Duration, SystemTime};

/// How far a certificate has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Life {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    pub(super) now: SystemTime,
}

impl Life {
    /// 0 at the first second, 1 at the last; less or more outside.
    pub(super) fn passed(&self) -> f64 {
        self.place(self.now)
    }

    /// The same of another moment.
    pub(super) fn place(&self, at: SystemTime) -> f64 {
        let whole = self.whole().as_secs_f64().max(1.0);
        match at.duration_since(self.not_before) {
            Ok(since) => since.as_secs_f64() / whole,
            Err(before) => -(before.duration().as_secs_f64() / whole),
        }
    }

    pub(super) fn whole(&self) -> Duration {
        self.not_after.duration_since(self.not_before).unwrap_or(Duration::ZERO)
    }

    /// What is left; nothing once it is over.
    pub(super) fn left(&self) -> Option<Duration> {
        self.not_after.duration_since(self.now).ok()
    }

    /// The moment in the middle: about when hopgate renews.
    pub(super) fn middle(&self) -> SystemTime {
        self.not_before.checked_add(self.whole() / 2).unwrap_or(self.not_before)
    }

    /// So many cells; the passed ones are full, and a line marks the renewal.
    pub(super) fn bar(&self, cells: usize, renewal: Option<SystemTime>) -> String {
        let cell = |place: f64| cell(place, cells);
        let full = cell(self.passed());
        let mark = renewal.map(|at| cell(self.place(at)).min(cells.saturating_sub(1)));
        (0..cells)
            .map(|place| match place {
                place if mark == Some(place) => '│',
                place if place < full => '█',
                _ => '░',
            })
            .collect()
    }
}

/// How many cells lie before a place of 0 to 1.
fn cell(place: f64, cells: usize) -> usize {
    ((place.clamp(0.0, 1.0) * cells as f64).floor() as usize).min(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(passed: u64) -> Life {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Life { not_before: at(1_000), not_after: at(2_000), now: at(1_000 + passed) }
    }

    #[test]
    fn a_bar_fills_and_marks_the_renewal() {
        let bar = |passed| life(passed).bar(10, Some(life(0).middle()));
        assert_eq!(bar(0), "░░░░░│░░░░");
        assert_eq!(bar(250), "██░░░│░░░░");
        assert_eq!(bar(700), "█████│█░░░");
        assert_eq!(bar(5_000), "█████│████");
        assert_eq!(life(500).bar(4, None), "██░░");
    }

    #[test]
    fn what_is_outside_is_cut_and_what_is_over_has_nothing_left() {
        let mut early = life(0);
        early.now -= Duration::from_secs(500);
        assert!(early.passed() < 0.0);
        assert_eq!(early.bar(3, None), "░░░");
        assert_eq!(life(1_001).left(), None);
        assert_eq!(life(400).left(), Some(Duration::from_secs(600)));
        let backwards =
            Life { not_after: life(0).not_before, not_before: life(0).not_after, now: life(0).now };
        assert_eq!(backwards.whole(), Duration::ZERO);
        assert!(backwards.bar(3, None).chars().count() == 3);
    }
}
