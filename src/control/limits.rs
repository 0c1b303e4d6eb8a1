//! Bounds of the signing service, and what a caller is told whom they turn away.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserialize;
use tonic::Status;
use tonic::metadata::MetadataValue;

use super::config::InvalidConfig;
use super::rate::Rate;
use super::turns::Bounds;

/// Seconds to wait before the next attempt; the name that HTTP has for it (RFC 9110, section 10.2.3).
pub(super) const RETRY_AFTER: &str = "retry-after";
/// Seconds over which callers should spread beyond that, so that they do not come back all at once.
pub(super) const RETRY_SPREAD: &str = "retry-after-jitter";
/// The longest that a caller is told to wait.
const LONGEST: u64 = 60;

/// How many certificates are signed how often, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Limits {
    /// Callers served at the same time. By default as many as there are processors.
    pub at_once: usize,
    /// Callers waiting for their turn, in all.
    pub waiting: usize,
    /// Of them, those of one namespace.
    pub waiting_per_namespace: usize,
    /// The longest that a caller waits for its turn.
    #[serde(with = "humantime_serde")]
    pub patience: Duration,
    /// How often one workload, all its replicas together, gets a certificate.
    pub per_workload: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            at_once: processors.max(2),
            waiting: 4096,
            waiting_per_namespace: 1024,
            patience: Duration::from_secs(5),
            per_workload: Rate::default(),
        }
    }
}

impl Limits {
    pub(super) fn validate(&self) -> Result<(), InvalidConfig> {
        for (field, value) in [
            ("atOnce", self.at_once),
            ("waiting", self.waiting),
            ("waitingPerNamespace", self.waiting_per_namespace),
        ] {
            if value == 0 {
                return Err(InvalidConfig::Limit(field));
            }
        }
        let bounds = Duration::from_millis(100)..=Duration::from_secs(60);
        if bounds.contains(&self.patience) { Ok(()) } else { Err(InvalidConfig::Patience) }
    }

    pub(super) fn bounds(&self) -> Bounds {
        let Self { at_once, waiting, waiting_per_namespace, patience, per_workload: _ } = *self;
        Bounds { at_once, lane: waiting_per_namespace, all: waiting, patience }
    }
}

/// Adds when to come again: after what is on hand is done, a second at least, and spread over as long again.
pub(super) fn come_again(mut status: Status, after: Duration) -> Status {
    let seconds = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0));
    let seconds = seconds.clamp(1, LONGEST);
    for name in [RETRY_AFTER, RETRY_SPREAD] {
        status.metadata_mut().insert(name, MetadataValue::from(seconds));
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_turned_away_is_told_when_to_come_again() {
        for (after, told) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (3_600_000, "60")] {
            let status =
                come_again(Status::resource_exhausted("later"), Duration::from_millis(after));
            assert_eq!(status.code(), tonic::Code::ResourceExhausted);
            for name in [RETRY_AFTER, RETRY_SPREAD] {
                assert_eq!(status.metadata().get(name).unwrap(), told, "{after} ms");
            }
        }
    }
}
