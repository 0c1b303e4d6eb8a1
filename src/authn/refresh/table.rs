//! What is fetched for whom: the state behind the task, as plain values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::authn::http::HttpClient;
use crate::authn::keys::KeySet;
use crate::authn::provider::Providers;

use super::discovery::Endpoints;
use super::fetch::{Brought, FetchError};
use super::flight::{Flight, KeyWait, Ticket};
use super::freshness::Freshness;
use super::schedule::{Held, Schedule};
use super::source::{Fetched, Source};
use super::status::{KeyHealth, KeyStatus};
use super::store::Record;

/// Freshly fetched keys. Give it to [`Providers::with_update`], and drop it once the result is in force: whoever waits
/// for these keys goes on then.
#[derive(Debug, Clone)]
pub struct KeyUpdate {
    provider: String,
    source: Source,
    keys: Arc<KeySet>,
    fetched_at: SystemTime,
    _ticket: Option<Ticket>,
}

/// One fetch to be made.
pub(super) struct Job {
    pub(super) provider: String,
    pub(super) source: Source,
    /// How to reach the provider; nothing for how everybody is.
    pub(super) client: Option<HttpClient>,
    /// Tells the answer to an earlier question of the same name from the present one.
    generation: u64,
    ticket: Option<Ticket>,
}

/// What is to be done after a fetch.
#[derive(Default)]
pub(super) struct Ended {
    /// Keys that differ from those before, to be handed on.
    pub(super) update: Option<KeyUpdate>,
    /// To be kept for the next start.
    pub(super) record: Option<Record>,
}

#[derive(Default)]
pub(super) struct Table {
    entries: BTreeMap<String, Entry>,
    generation: u64,
}

struct Entry {
    fetched: Fetched,
    generation: u64,
    schedule: Schedule,
    flight: Option<Flight>,
    /// What was handed on last, or was there from the start.
    last_good: Option<Arc<KeySet>>,
    endpoints: Option<Endpoints>,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    fetched_at: Option<SystemTime>,
    fetches: u64,
    failures: u64,
    last_error: Option<FetchError>,
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

    pub(in crate::authn) fn fetched_at(&self) -> SystemTime {
        self.fetched_at
    }

    pub(in crate::authn) fn source(&self) -> &Source {
        &self.source
    }
}

impl Table {
    /// Follows a new set of providers. Who is unchanged keeps its schedule, unless its keys are missing.
    pub(super) fn update(&mut self, providers: &Providers, now: SystemTime) {
        let mut before = std::mem::take(&mut self.entries);
        for provider in providers.all() {
            let Some(fetched) = &provider.fetched else { continue };
            let name = provider.name.to_string();
            let kept = before.remove(&name).filter(|it| it.fetched.source == fetched.source);
            let mut entry = kept.unwrap_or_else(|| {
                self.generation += 1;
                Entry::new(fetched, provider.keys.clone(), self.generation, now)
            });
            entry.fetched = fetched.clone();
            if provider.keys.is_none() {
                entry.schedule.restart(now);
                entry.last_good = None;
            }
            self.entries.insert(name, entry);
        }
    }

    /// The fetches to begin now; they count as begun.
    pub(super) fn due(&mut self, now: SystemTime) -> Vec<Job> {
        let due = self.entries.iter_mut().filter(|(_, entry)| entry.schedule.wait(now).is_zero());
        due.map(|(provider, entry)| {
            entry.schedule.begun(now);
            Job {
                provider: provider.clone(),
                source: entry.fetched.source.clone(),
                client: entry.fetched.client.clone(),
                generation: entry.generation,
                ticket: entry.begin(),
            }
        })
        .collect()
    }

    /// How long until a fetch is due; nothing when there is nobody to fetch for.
    pub(super) fn wait(&self, now: SystemTime) -> Option<std::time::Duration> {
        self.entries.values().map(|entry| entry.schedule.wait(now)).min()
    }

    /// A fetch ended.
    pub(super) fn ended(
        &mut self,
        job: Job,
        outcome: Result<Brought, FetchError>,
        now: SystemTime,
        dice: f64,
    ) -> Ended {
        let Job { provider, source, client: _, generation, ticket } = job;
        let Some(entry) = self.entries.get_mut(&provider) else { return Ended::default() };
        if entry.generation != generation {
            return Ended::default();
        }
        entry.tally.fetches += 1;
        let Brought { keys, text, endpoints } = match outcome {
            Ok(brought) => brought,
            Err(error) => {
                let held = if entry.last_good.is_some() { Held::LastGood } else { Held::Nothing };
                entry.schedule.failed(now, held, dice);
                entry.tally.failures += 1;
                entry.tally.last_error = Some(error);
                return Ended::default();
            }
        };
        entry.schedule.succeeded(now, dice);
        entry.endpoints = endpoints;
        entry.tally.fetched_at = Some(now);
        entry.tally.last_error = None;
        let record = Record::new(&provider, &source, text, now);
        if entry.last_good.as_ref().is_some_and(|last| last.same_text(&keys)) {
            entry.fetched.freshness.renew(now);
            return Ended { update: None, record };
        }
        entry.last_good = Some(Arc::clone(&keys));
        let update = KeyUpdate { provider, source, keys, fetched_at: now, _ticket: ticket };
        Ended { update: Some(update), record }
    }

    /// Someone showed an unknown key. The fetch to wait for, and whether it has yet to be begun.
    pub(super) fn unknown_key(&mut self, provider: &str, now: SystemTime) -> (KeyWait, bool) {
        let Some(entry) = self.entries.get_mut(provider) else { return (KeyWait::Cooling, false) };
        if let Some(fetch) = entry.flight.as_ref().and_then(Flight::join) {
            return (KeyWait::Fetching(fetch), false);
        }
        if !entry.schedule.wait(now).is_zero() && !entry.schedule.nudge(now) {
            return (KeyWait::Cooling, false);
        }
        let flight = entry.flight.insert(Flight::new());
        (flight.join().map_or(KeyWait::Cooling, KeyWait::Fetching), true)
    }

    pub(super) fn endpoints(&self, provider: &str) -> Option<Endpoints> {
        self.entries.get(provider)?.endpoints.clone()
    }

    pub(super) fn status(&self, now: SystemTime) -> Vec<KeyStatus> {
        self.entries.iter().map(|(provider, entry)| entry.status(provider, now)).collect()
    }
}

impl Entry {
    /// Due at once, also when keys are there already: they may be from before a restart.
    fn new(fetched: &Fetched, keys: Option<Arc<KeySet>>, generation: u64, now: SystemTime) -> Self {
        let age = fetched.freshness.age(now).filter(|_| keys.is_some());
        let fetched_at = age.and_then(|age| now.checked_sub(age));
        Self {
            schedule: Schedule::new(fetched.source.interval, now),
            fetched: fetched.clone(),
            generation,
            flight: None,
            last_good: keys,
            endpoints: None,
            tally: Tally { fetched_at, ..Tally::default() },
        }
    }

    /// The ticket of the flight that somebody waits for already, or of a new one.
    fn begin(&mut self) -> Option<Ticket> {
        if let Some(ticket) = self.flight.as_mut().and_then(Flight::begin) {
            return Some(ticket);
        }
        self.flight.insert(Flight::new()).begin()
    }

    fn status(&self, provider: &str, now: SystemTime) -> KeyStatus {
        let Tally { fetched_at, fetches, failures, last_error } = &self.tally;
        KeyStatus {
            provider: provider.to_owned(),
            uri: self.fetched.source.uri().to_owned(),
            health: self.health(now),
            fetched_at: *fetched_at,
            usable: self.last_good.as_ref().map_or(0, |keys| keys.usable()),
            skipped: self.last_good.as_ref().map_or(Vec::new(), |keys| keys.skipped().to_vec()),
            fetches: *fetches,
            failures: *failures,
            last_error: last_error.clone(),
        }
    }

    fn health(&self, now: SystemTime) -> KeyHealth {
        let freshness: &Freshness = &self.fetched.freshness;
        if self.last_good.is_none() {
            KeyHealth::Missing
        } else if freshness.stale(now) {
            KeyHealth::Stale
        } else if self.tally.last_error.is_some() || self.tally.fetches == 0 {
            KeyHealth::LastGood
        } else {
            KeyHealth::Fresh
        }
    }
}
