//! Fetches the keys of every provider that has a `jwksUri`, in the background.
//!
//! A Check never waits for a fetch and never causes one, except that a token whose `kid` is unknown may make the next
//! one due earlier, at most once per provider and cool-down. Whatever fails, the last good keys stay.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinError, JoinSet};

use crate::runtime::{Clock, Drain};

use super::keys::KeySet;
use super::provider::Providers;

mod fetch;
mod schedule;
mod table;

pub(super) use fetch::check_uri;
pub use fetch::{FetchError, Roots};
pub use table::{KeyStatus, KeyUpdate};

use fetch::Fetcher;
use table::{Job, Table};

/// The longest sleep: a clock that jumped is noticed within it.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The task that fetches keys. One per process.
pub struct KeyRefresh {
    shared: Arc<Shared>,
    fetcher: Fetcher,
    updates: mpsc::Sender<KeyUpdate>,
}

/// Steers the task and reads its state. Cloning shares it.
#[derive(Clone)]
pub struct KeyHandle(Arc<Shared>);

/// Whoever takes the keys has gone.
#[derive(Debug, thiserror::Error)]
#[error("nobody takes the fetched keys")]
pub struct NobodyListens;

struct Shared {
    table: Mutex<Table>,
    wake: Notify,
    clock: Clock,
}

type Fetched = (Job, Result<Arc<KeySet>, FetchError>);

impl KeyRefresh {
    /// A task that hands keys to `updates`, and its handle. Nothing is fetched before [`KeyHandle::update`] names
    /// providers and [`KeyRefresh::run`] runs.
    ///
    /// # Errors
    /// When no HTTP client can be built.
    pub fn new(
        clock: Clock,
        roots: Roots,
        updates: mpsc::Sender<KeyUpdate>,
    ) -> Result<(Self, KeyHandle), FetchError> {
        let fetcher = Fetcher::new(roots)?;
        let table = Mutex::new(Table::default());
        let shared = Arc::new(Shared { table, wake: Notify::new(), clock });
        let handle = KeyHandle(Arc::clone(&shared));
        Ok((Self { shared, fetcher, updates }, handle))
    }

    /// Fetches until draining begins.
    ///
    /// # Errors
    /// When the receiver of the keys has gone.
    pub async fn run(self, drain: Drain) -> Result<(), NobodyListens> {
        // Dropped with this future, which aborts what is still out.
        let mut fetches: JoinSet<Fetched> = JoinSet::new();
        loop {
            for job in self.shared.due() {
                let fetcher = self.fetcher.clone();
                fetches.spawn(async move {
                    let outcome =
                        fetcher.fetch(&job.source.uri, job.source.algorithms.clone()).await;
                    (job, outcome)
                });
            }
            let update = tokio::select! {
                () = drain.begun() => return Ok(()),
                () = self.shared.wake.notified() => None,
                () = tokio::time::sleep(self.shared.wait()) => None,
                Some(ended) = fetches.join_next() => self.ended(ended),
            };
            let Some(update) = update else { continue };
            tokio::select! {
                () = drain.begun() => return Ok(()),
                sent = self.updates.send(update) => sent.map_err(|_| NobodyListens)?,
            }
        }
    }

    fn ended(&self, ended: Result<Fetched, JoinError>) -> Option<KeyUpdate> {
        match ended {
            Ok((job, outcome)) => {
                report(&job, &outcome);
                let now = self.shared.clock.now();
                self.shared.table().ended(&job, outcome, now, dice())
            }
            Err(error) => {
                // The schedule misses it and fetches again.
                tracing::error!(error = %error, "a key fetch stopped");
                None
            }
        }
    }
}

impl KeyHandle {
    /// Follows these providers from now on, those without keys at once.
    pub fn update(&self, providers: &Providers) {
        let now = self.0.clock.now();
        self.0.table().update(providers, now);
        self.0.wake.notify_one();
    }

    /// Says that a token of this provider named an unknown key. Never blocks on a fetch, and causes at most one per
    /// cool-down of 30 seconds.
    pub fn unknown_key(&self, provider: &str) {
        let now = self.0.clock.now();
        if self.0.table().nudge(provider, now) {
            self.0.wake.notify_one();
        }
    }

    /// How the keys of each provider are doing, by name.
    #[must_use]
    pub fn status(&self) -> Vec<KeyStatus> {
        self.0.table().status()
    }
}

impl Shared {
    fn due(&self) -> Vec<Job> {
        self.table().due(self.clock.now())
    }

    fn wait(&self) -> Duration {
        self.table().wait(self.clock.now()).unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }

    /// Held only for moments, never over an await. A panic elsewhere leaves the table whole enough to go on fetching.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn report(job: &Job, outcome: &Result<Arc<KeySet>, FetchError>) {
    let (provider, uri) = (&job.provider, &job.source.uri);
    match outcome {
        Ok(keys) => {
            tracing::debug!(provider, uri, keys = keys.usable(), "keys fetched");
            for key in keys.skipped() {
                tracing::debug!(provider, key = key.name, reason = %key.reason, "key skipped");
            }
        }
        Err(error) => {
            tracing::warn!(provider, uri, code = error.code(), error = %error, "keys not fetched");
        }
    }
}

/// A number between -1 and 1; zero if there is no randomness, which only costs the jitter.
fn dice() -> f64 {
    let mut bytes = [0; 2];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(i16::from_be_bytes(bytes)) / f64::from(i16::MAX),
        Err(_) => 0.0,
    }
}

#[cfg(test)]
mod tests;
