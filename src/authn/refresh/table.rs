//! What is fetched for whom: the state behind the task, as plain values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::authn::keys::{KeySet, SkippedKey};
use crate::authn::provider::Providers;
use crate::policy::{Algorithm, Keys};

use super::fetch::FetchError;
use super::schedule::{Held, Schedule};

/// Freshly fetched keys. Give it to [`Providers::with_update`].
#[derive(Debug, Clone)]
pub struct KeyUpdate {
    provider: String,
    source: Source,
    keys: Arc<KeySet>,
}

/// How the keys of one provider are doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyStatus {
    /// The provider.
    pub provider: String,
    /// Where its keys are fetched from.
    pub uri: String,
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

/// One fetch to be made.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) provider: String,
    pub(super) source: Source,
    /// Tells the answer to an earlier question of the same name from the present one.
    generation: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) uri: String,
    pub(super) algorithms: Vec<Algorithm>,
    interval: Duration,
}

#[derive(Default)]
pub(super) struct Table {
    entries: BTreeMap<String, Entry>,
    generation: u64,
}

struct Entry {
    job: Job,
    schedule: Schedule,
    /// What was handed on last.
    last_good: Option<Arc<KeySet>>,
    status: KeyStatus,
}

impl KeyUpdate {
    /// Whose keys they are.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &Arc<KeySet> {
        &self.keys
    }

    pub(in crate::authn) fn uri(&self) -> &str {
        &self.source.uri
    }

    pub(in crate::authn) fn algorithms(&self) -> &[Algorithm] {
        &self.source.algorithms
    }
}

impl KeyStatus {
    /// The time since keys last came.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        self.fetched_at.map(|at| now.duration_since(at).unwrap_or(Duration::ZERO))
    }
}

impl Table {
    /// Follows a new set of providers. Who is unchanged keeps its schedule, unless its keys are missing.
    pub(super) fn update(&mut self, providers: &Providers, now: SystemTime) {
        let mut before = std::mem::take(&mut self.entries);
        for provider in providers.all() {
            let spec = &provider.rules.spec;
            let Keys::JwksUri { uri, refresh_interval } = &spec.keys else { continue };
            let source = Source {
                uri: uri.clone(),
                algorithms: spec.algorithms.clone(),
                interval: *refresh_interval,
            };
            let name = provider.name.to_string();
            let kept = before.remove(&name).filter(|entry| entry.job.source == source);
            let mut entry = kept.unwrap_or_else(|| {
                self.generation += 1;
                Entry::new(name.clone(), source, self.generation, now)
            });
            if provider.keys.is_none() {
                entry.schedule.restart(now);
                entry.last_good = None;
            }
            self.entries.insert(name, entry);
        }
    }

    /// The fetches to begin now; they count as begun.
    pub(super) fn due(&mut self, now: SystemTime) -> Vec<Job> {
        let due = self.entries.values_mut().filter(|entry| entry.schedule.wait(now).is_zero());
        due.map(|entry| {
            entry.schedule.begun(now);
            entry.job.clone()
        })
        .collect()
    }

    /// How long until a fetch is due; nothing when there is nobody to fetch for.
    pub(super) fn wait(&self, now: SystemTime) -> Option<Duration> {
        self.entries.values().map(|entry| entry.schedule.wait(now)).min()
    }

    /// A fetch ended. Gives what is to be handed on: keys that differ from those before.
    pub(super) fn ended(
        &mut self,
        job: &Job,
        outcome: Result<Arc<KeySet>, FetchError>,
        now: SystemTime,
        dice: f64,
    ) -> Option<KeyUpdate> {
        let entry = self.entries.get_mut(&job.provider)?;
        if entry.job.generation != job.generation {
            return None;
        }
        entry.status.fetches += 1;
        let keys = match outcome {
            Ok(keys) => keys,
            Err(error) => {
                let held = if entry.last_good.is_some() { Held::LastGood } else { Held::Nothing };
                entry.schedule.failed(now, held, dice);
                entry.status.failures += 1;
                entry.status.last_error = Some(error);
                return None;
            }
        };
        entry.schedule.succeeded(now, dice);
        entry.status.fetched_at = Some(now);
        entry.status.usable = keys.usable();
        entry.status.skipped = keys.skipped().to_vec();
        entry.status.last_error = None;
        if entry.last_good.as_ref().is_some_and(|last| last.same_text(&keys)) {
            return None;
        }
        entry.last_good = Some(Arc::clone(&keys));
        let Job { provider, source, .. } = job.clone();
        Some(KeyUpdate { provider, source, keys })
    }

    /// True when an unknown key makes a fetch due.
    pub(super) fn nudge(&mut self, provider: &str, now: SystemTime) -> bool {
        self.entries.get_mut(provider).is_some_and(|entry| entry.schedule.nudge(now))
    }

    pub(super) fn status(&self) -> Vec<KeyStatus> {
        self.entries.values().map(|entry| entry.status.clone()).collect()
    }
}

impl Entry {
    fn new(provider: String, source: Source, generation: u64, now: SystemTime) -> Self {
        Self {
            schedule: Schedule::new(source.interval, now),
            last_good: None,
            status: KeyStatus {
                provider: provider.clone(),
                uri: source.uri.clone(),
                ..KeyStatus::default()
            },
            job: Job { provider, source, generation },
        }
    }
}
