//! How the keys of each provider are doing.

use std::time::{Duration, SystemTime};

use crate::authn::keys::SkippedKey;

use super::fetch::FetchError;

/// How the keys of one provider are doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// The provider.
    pub provider: String,
    /// Where its keys are fetched from: the key set, or the metadata document that names it.
    pub uri: String,
    /// What they are worth.
    pub health: KeyHealth,
    /// When keys last came. [`KeyStatus::age`] is the time since.
    pub fetched_at: Option<SystemTime>,
    /// How many keys can be used.
    pub usable: usize,
    /// The keys that cannot.
    pub skipped: Vec<SkippedKey>,
    /// Fetches that ended, either way.
    pub fetches: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Why the last fetch failed; nothing when it did not.
    pub last_error: Option<FetchError>,
}

/// What the keys of a provider are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyHealth {
    /// The last fetch brought them.
    Fresh,
    /// The last fetch brought none, or none has ended since the start: those from before are in use.
    LastGood,
    /// They are older than `maxStale`: tokens are refused.
    Stale,
    /// None ever came: tokens are refused.
    Missing,
}

impl KeyHealth {
    /// A stable name, for metrics and `/config`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::LastGood => "last_good",
            Self::Stale => "stale",
            Self::Missing => "missing",
        }
    }
}

impl KeyStatus {
    /// The time since keys last came.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        self.fetched_at.map(|at| now.duration_since(at).unwrap_or(Duration::ZERO))
    }
}
