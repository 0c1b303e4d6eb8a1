//! A moment by two clocks. A lease must be given up early and taken late, whatever one of them does: the machine's clock
//! may be set, and the steady one stands still while the machine sleeps.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::runtime::Clock;

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::control) struct Moment {
    pub(super) steady: Instant,
    pub(super) wall: SystemTime,
}

impl Moment {
    pub(in crate::control) fn now(clock: &Clock) -> Self {
        Self { steady: Instant::now(), wall: clock.now() }
    }

    /// How much time may have passed since `earlier`: what either clock says, the longer.
    pub(super) fn at_most_since(self, earlier: Self) -> Duration {
        let wall = self.wall.duration_since(earlier.wall).unwrap_or_default();
        self.at_least_since(earlier).max(wall)
    }

    /// How much time passed at least since `earlier`.
    pub(super) fn at_least_since(self, earlier: Self) -> Duration {
        self.steady.saturating_duration_since(earlier.steady)
    }
}
