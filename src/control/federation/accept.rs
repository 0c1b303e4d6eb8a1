//! Whether a bundle that came replaces the one that is held, and when to look again. Pure: time and dice are arguments.

use std::time::{Duration, SystemTime};

use crate::identity::SpiffeBundle;

/// Where the publisher gives no hint (Trust Domain and Bundle, section 6.2).
const USUAL: Duration = Duration::from_secs(300);
/// However small the hint: a foreign document must not make us ask without pause.
const SHORTEST: Duration = Duration::from_secs(10);
/// However large the hint: a key that is withdrawn there must not be believed here for days.
const LONGEST: Duration = Duration::from_secs(3600);
/// While nothing is held at all: an endpoint that starts beside us is soon there.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Why a bundle does not replace the one that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotNewer {
    /// An older revision: somebody plays back what was published once, or restored a backup.
    #[error("its sequence {came} is lower than {held}, which was seen already")]
    Older {
        /// The number that is held.
        held: u64,
        /// The number that came.
        came: u64,
    },
    /// The number must change with the keys (section 4.1.1).
    #[error("its keys are others than before, and its sequence {0} is the same")]
    SameNumber(u64),
    /// The order can no longer be told.
    #[error("it has no sequence, and the one before had {0}")]
    NumberGone(u64),
}

impl NotNewer {
    /// A stable name, for metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Older { .. } => "sequence_lower",
            Self::SameNumber(_) => "sequence_same",
            Self::NumberGone(_) => "sequence_missing",
        }
    }
}

/// Lets `came` take the place of `held`, which never goes back.
pub(super) fn accept(held: Option<&SpiffeBundle>, came: &SpiffeBundle) -> Result<(), NotNewer> {
    let Some(held) = held else { return Ok(()) };
    match (held.sequence(), came.sequence()) {
        (Some(held), Some(came)) if came < held => Err(NotNewer::Older { held, came }),
        (Some(number), Some(same)) if number == same && !held.same_keys(came) => {
            Err(NotNewer::SameNumber(number))
        }
        (Some(held), None) => Err(NotNewer::NumberGone(held)),
        (Some(_), Some(_)) | (None, _) => Ok(()),
    }
}

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    planned: SystemTime,
    pause: Duration,
    failures: u32,
}

impl Plan {
    /// At once.
    pub(super) fn new(now: SystemTime) -> Self {
        Self { planned: now, pause: Duration::ZERO, failures: 0 }
    }

    /// After an answer, right or refused, or none. `dice` is between 0 and 1.
    pub(super) fn next(
        self,
        (held, failed): (Option<&SpiffeBundle>, bool),
        dice: f64,
        now: SystemTime,
    ) -> Self {
        let failures = if failed { self.failures.saturating_add(1) } else { 0 };
        let usual = match held.map(SpiffeBundle::refresh_hint) {
            Some(Some(hint)) => hint.clamp(SHORTEST, LONGEST),
            Some(None) | None => USUAL,
        };
        let pause = match held {
            // A failed look is made again at the next usual time (SPIFFE Federation, section 6.2).
            Some(_) => usual,
            None => {
                let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
                FIRST_RETRY.saturating_mul(doubled).min(usual)
            }
        };
        let pause = pause.mul_f64(0.9 + 0.2 * dice.clamp(0.0, 1.0));
        Self { planned: now, pause, failures }
    }

    /// True when it is time, and when the clock went back to before this was planned.
    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        match now.duration_since(self.planned) {
            Ok(passed) => passed >= self.pause,
            Err(_) => true,
        }
    }

    /// When the next look is planned.
    pub(super) fn at(&self) -> Option<SystemTime> {
        self.planned.checked_add(self.pause)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bundle, start};
    use super::*;

    #[test]
    fn a_bundle_never_goes_back() {
        let (first, second) = (bundle("a"), bundle("b"));
        let numbered = |bundle: &SpiffeBundle, n| bundle.clone().with_sequence(n);
        for (held, came, expected) in [
            (None, first.clone(), Ok(())),
            (None, numbered(&first, 0), Ok(())),
            (Some(first.clone()), second.clone(), Ok(())),
            (Some(first.clone()), numbered(&second, 3), Ok(())),
            (Some(numbered(&first, 3)), numbered(&second, 4), Ok(())),
            (Some(numbered(&first, 3)), numbered(&first, 3), Ok(())),
            (Some(numbered(&first, 3)), numbered(&second, 3), Err(NotNewer::SameNumber(3))),
            (
                Some(numbered(&first, 3)),
                numbered(&first, 2),
                Err(NotNewer::Older { held: 3, came: 2 }),
            ),
            (Some(numbered(&first, 3)), second.clone(), Err(NotNewer::NumberGone(3))),
            (Some(numbered(&first, 3)), first.clone(), Err(NotNewer::NumberGone(3))),
        ] {
            assert_eq!(accept(held.as_ref(), &came), expected, "{held:?} then {came:?}");
        }
    }

    #[test]
    fn hints_are_followed_within_bounds() {
        let pause = |hint: Option<u64>, failed, dice| {
            let bundle = bundle("a");
            let bundle = match hint {
                Some(hint) => bundle.with_refresh_hint(Duration::from_secs(hint)),
                None => bundle,
            };
            Plan::new(start()).next((Some(&bundle), failed), dice, start()).pause.as_secs()
        };
        assert_eq!(pause(Some(60), false, 0.5), 60);
        assert_eq!(pause(Some(60), false, 0.0), 54);
        assert_eq!(pause(Some(60), false, 1.0), 66);
        assert_eq!(pause(Some(60), true, 0.5), 60, "not sooner after a failure");
        assert_eq!(pause(Some(0), false, 0.5), 10);
        assert_eq!(pause(Some(u64::MAX), false, 0.5), 3600);
        assert_eq!(pause(None, false, 0.5), 300);
    }

    #[test]
    fn while_nothing_is_held_retries_slow_down() {
        let mut plan = Plan::new(start());
        assert!(plan.is_due(start()));
        let mut pauses = Vec::new();
        for _ in 0..11 {
            plan = plan.next((None, true), 0.5, start());
            pauses.push(plan.pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn a_clock_that_went_back_puts_nothing_off() {
        let plan = Plan::new(start()).next((None, false), 0.5, start());
        assert!(!plan.is_due(start()));
        assert!(plan.is_due(start() + plan.pause));
        assert!(plan.is_due(start() - Duration::from_secs(1)));
        assert_eq!(plan.at(), Some(start() + plan.pause));
    }
}
