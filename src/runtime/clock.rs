//! Time as an input: the real clock in a process, a hand-set one in tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A wall clock. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Clock(Kind);

#[derive(Debug, Clone, Default)]
enum Kind {
    #[default]
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that stands still until [`Clock::advance`] is called. For tests and replays.
    #[must_use]
    pub fn manual(start: SystemTime) -> Self {
        Self(Kind::Manual(Arc::new(AtomicU64::new(nanoseconds(start)))))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
            Kind::System => SystemTime::now(),
            Kind::Manual(at) => {
                SystemTime::UNIX_EPOCH + Duration::from_nanos(at.load(Ordering::Acquire))
            }
        }
    }

    /// Moves a manual clock forward; the machine's clock is left alone.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual(at) = &self.0 {
            let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
            at.fetch_add(by, Ordering::AcqRel);
        }
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let clock = Clock::manual(start);
        let other = clock.clone();
        assert_eq!(clock.now(), start);
        clock.advance(Duration::from_secs(60));
        assert_eq!(other.now(), start + Duration::from_secs(60));
    }
}
