//! How often one workload may ask: so many times at once, and then so many times a minute. Time is an argument.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::identity::SpiffeId;

/// Workloads that are known before those that are back at rest are forgotten.
const SWEEP: usize = 10_000;

/// How often one workload gets a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rate {
    /// In the long run.
    pub per_minute: NonZeroU32,
    /// After a rest, at once.
    pub burst: NonZeroU32,
}

impl Default for Rate {
    /// A workload may have many replicas, which all start at the same time.
    fn default() -> Self {
        let one = NonZeroU32::MIN;
        Self { per_minute: one.saturating_add(599), burst: one.saturating_add(1999) }
    }
}

/// Who asked how often. Proven workloads only: what a stranger makes up takes no memory.
pub(super) struct Rates {
    rate: Rate,
    /// When a workload would be at rest again.
    rest: Mutex<HashMap<SpiffeId, SystemTime>>,
}

impl Rates {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, rest: Mutex::default() }
    }

    /// Counts one question.
    ///
    /// # Errors
    /// When it is one too many: how long to wait for the next.
    pub(super) fn take(&self, workload: &SpiffeId, now: SystemTime) -> Result<(), Duration> {
        let each = Duration::from_secs(60) / self.rate.per_minute.get();
        let burst = each.saturating_mul(self.rate.burst.get());
        let mut all = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SWEEP && !all.contains_key(workload) {
            all.retain(|_, rest| *rest > now);
        }
        let rest = all.get(workload).copied().unwrap_or(now).max(now);
        // After the clock was set back it would be far away for no reason.
        let ahead = rest.duration_since(now).unwrap_or_default().min(burst);
        let next = ahead.saturating_add(each);
        let (rest, answer) = match next.checked_sub(burst) {
            None | Some(Duration::ZERO) => (next, Ok(())),
            Some(wait) => (ahead, Err(wait)),
        };
        all.insert(workload.clone(), now.checked_add(rest).unwrap_or(now));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_000 + milliseconds)
    }

    fn rates(per_minute: u32, burst: u32) -> Rates {
        let number = |n| NonZeroU32::new(n).unwrap();
        Rates::new(Rate { per_minute: number(per_minute), burst: number(burst) })
    }

    fn id(name: &str) -> SpiffeId {
        SpiffeId::parse(&format!("spiffe://demo.mesh/ns/shop/sa/{name}")).unwrap()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let rates = rates(60, 3);
        for _ in 0..3 {
            assert_eq!(rates.take(&id("a"), at(0)), Ok(()));
        }
        assert_eq!(rates.take(&id("a"), at(0)), Err(Duration::from_secs(1)));
        assert_eq!(rates.take(&id("a"), at(400)), Err(Duration::from_millis(600)));
        assert_eq!(rates.take(&id("b"), at(400)), Ok(()), "others are not concerned");
        assert_eq!(rates.take(&id("a"), at(1000)), Ok(()));
        assert!(rates.take(&id("a"), at(1000)).is_err());
        for _ in 0..3 {
            assert_eq!(rates.take(&id("a"), at(60_000)), Ok(()));
        }
        assert!(rates.take(&id("a"), at(60_000)).is_err(), "a rest saves up one burst");
    }

    #[test]
    fn a_clock_that_was_set_back_locks_nobody_out() {
        let rates = rates(60, 3);
        for _ in 0..3 {
            rates.take(&id("a"), at(3_600_000)).unwrap();
        }
        assert_eq!(rates.take(&id("a"), at(0)), Err(Duration::from_secs(1)));
        assert_eq!(rates.take(&id("a"), at(1000)), Ok(()), "an hour's jump costs a moment");
    }

    #[test]
    fn workloads_at_rest_are_forgotten() {
        let rates = rates(60, 3);
        for n in 0..SWEEP {
            rates.take(&id(&format!("w{n}")), at(0)).unwrap();
        }
        rates.take(&id("late"), at(2000)).unwrap();
        assert_eq!(rates.rest.lock().unwrap().len(), 1);
    }
}
