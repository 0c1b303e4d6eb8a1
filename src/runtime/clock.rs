//! Time as an input: the real clock in a process, a hand-set one in tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

/// A wall clock. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Clock(Kind);

#[derive(Debug, Clone, Default)]
enum Kind {
    #[default]
    System,
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    at: AtomicU64,
    moved: watch::Sender<()>,
}

/// Tells that a manual clock was moved, so that a task that waits for a time looks again. The machine's clock never
/// tells: it is looked at on ticks.
#[derive(Debug)]
pub struct Moves(Option<watch::Receiver<()>>);

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that stands still until [`Clock::advance`] or [`Clock::set`] is called. For tests and replays.
    #[must_use]
    pub fn manual(start: SystemTime) -> Self {
        let at = AtomicU64::new(nanoseconds(start));
        Self(Kind::Manual(Arc::new(Manual { at, moved: watch::Sender::new(()) })))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
            Kind::System => SystemTime::now(),
            Kind::Manual(manual) => {
                SystemTime::UNIX_EPOCH + Duration::from_nanos(manual.at.load(Ordering::Acquire))
            }
        }
    }

    /// Moves a manual clock forward; the machine's clock is left alone.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual(manual) = &self.0 {
            let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
            manual.at.fetch_add(by, Ordering::AcqRel);
            manual.moved.send_replace(());
        }
    }

    /// Sets a manual clock, also backwards; the machine's clock is left alone.
    pub fn set(&self, to: SystemTime) {
        if let Kind::Manual(manual) = &self.0 {
            manual.at.store(nanoseconds(to), Ordering::Release);
            manual.moved.send_replace(());
        }
    }

    /// Tells of every move from now on.
    #[must_use]
    pub fn moves(&self) -> Moves {
        match &self.0 {
            Kind::System => Moves(None),
            Kind::Manual(manual) => Moves(Some(manual.moved.subscribe())),
        }
    }
}

impl Moves {
    /// Waits until the clock was moved since the last call; for ever with the machine's clock. Nothing is lost when
    /// the wait is given up.
    pub async fn next(&mut self) {
        if let Some(moved) = &mut self.0
            && moved.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
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
        clock.set(start - Duration::from_secs(5));
        assert_eq!(other.now(), start - Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_move_is_told_also_when_it_came_before_the_question() {
        use futures_util::FutureExt as _;
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let mut moves = clock.moves();
        assert!(moves.next().now_or_never().is_none());
        clock.advance(Duration::from_secs(1));
        clock.set(SystemTime::UNIX_EPOCH);
        assert!(moves.next().now_or_never().is_some());
        assert!(moves.next().now_or_never().is_none());
        assert!(Clock::system().moves().next().now_or_never().is_none());
    }
}
