//! How long ago keys last came, shared between the task that fetches them and the tokens they vouch for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// No fetch has succeeded yet. Keys that were handed over by hand then have no age.
const NEVER: u64 = u64::MAX;

/// When the keys of one provider last came, and how long they may be used after that. Cloning shares it: a fetch that
/// brings the keys that are there already renews it without a new snapshot.
#[derive(Debug, Clone)]
pub(in crate::authn) struct Freshness {
    /// Seconds since 1970.
    fetched: Arc<AtomicU64>,
    max_stale: Duration,
}

impl Freshness {
    /// Nothing was fetched yet.
    pub(in crate::authn) fn never(max_stale: Duration) -> Self {
        Self { fetched: Arc::new(AtomicU64::new(NEVER)), max_stale }
    }

    /// The same fetches under another bound.
    pub(in crate::authn) fn under_bound_of(&self, other: &Self) -> Self {
        Self { fetched: Arc::clone(&self.fetched), max_stale: other.max_stale }
    }

    /// Keys came.
    pub(in crate::authn) fn renew(&self, at: SystemTime) {
        self.fetched.store(seconds(at), Ordering::Release);
    }

    /// The time since keys last came; nothing when they never did.
    ///
    /// A clock that goes back makes keys neither stale nor immortal: what it says now is then the latest moment at
    /// which they can have come, and their age counts from there.
    pub(in crate::authn) fn age(&self, now: SystemTime) -> Option<Duration> {
        let now = seconds(now);
        match self.fetched.load(Ordering::Acquire) {
            NEVER => None,
            fetched if fetched > now => {
                self.fetched.fetch_min(now, Ordering::AcqRel);
                Some(Duration::ZERO)
            }
            fetched => Some(Duration::from_secs(now - fetched)),
        }
    }

    /// True when the keys are older than they may be.
    pub(in crate::authn) fn stale(&self, now: SystemTime) -> bool {
        self.age(now).is_some_and(|age| age > self.max_stale)
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds)
    }

    #[test]
    fn keys_are_stale_past_the_bound_and_fresh_again_after_a_fetch() {
        let fresh = Freshness::never(Duration::from_secs(60));
        let shared = fresh.clone();
        assert_eq!((fresh.age(at(0)), fresh.stale(at(1_000_000))), (None, false));
        fresh.renew(at(0));
        assert!(!shared.stale(at(60)));
        assert!(shared.stale(at(61)));
        fresh.renew(at(61));
        assert!(!shared.stale(at(121)));
        let wider = shared.under_bound_of(&Freshness::never(Duration::from_secs(100)));
        assert!(shared.stale(at(122)) && !wider.stale(at(161)) && wider.stale(at(162)));
    }

    #[test]
    fn a_clock_that_goes_back_makes_keys_neither_stale_nor_immortal() {
        let fresh = Freshness::never(Duration::from_secs(60));
        fresh.renew(at(1_000_000));
        assert!(!fresh.stale(at(0)));
        assert_eq!(fresh.age(at(10)), Some(Duration::from_secs(10)));
        assert!(!fresh.stale(at(60)));
        assert!(fresh.stale(at(61)), "not only when the old time is reached again");
        let fresh = Freshness::never(Duration::from_secs(60));
        fresh.renew(at(0));
        assert!(!fresh.stale(SystemTime::UNIX_EPOCH));
    }
}
