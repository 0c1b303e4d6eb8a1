//! Fetches the keys of every provider whose keys are not written down, in the background.
//!
//! A Check with a known key never waits for a fetch and never causes one. A token whose `kid` is unknown makes the next
//! one due earlier, at most once per provider and cool-down, and may wait for it together with all others. Whatever
//! fails, the last good keys stay in use, until they are older than `maxStale`; how often and how long is the
//! operator's to say, never a header's of an answer. Kept in a [`KeyStore`], they survive a restart.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinError, JoinSet};

use crate::runtime::{Clock, Drain, dice};

use super::http::HttpClient;
use super::provider::Providers;

mod discovery;
mod fetch;
mod flight;
mod freshness;
mod schedule;
mod source;
mod status;
mod store;
mod table;

pub use discovery::Endpoints;
pub use fetch::FetchError;
pub use flight::{KeyFetch, KeyWait};
pub(super) use freshness::Freshness;
pub(super) use source::{Fetched, Source};
pub use status::{KeyHealth, KeyStatus};
pub use store::{InvalidKeyStore, KeyStore};
pub use table::KeyUpdate;

use fetch::{Brought, fetch};
use store::Writer;
use table::{Ended, Job, Table};

/// The longest sleep: a clock that jumped is noticed within it.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The task that fetches keys. One per process.
pub struct KeyRefresh {
    shared: Arc<Shared>,
    client: HttpClient,
    store: Option<KeyStore>,
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

type Answer = (Job, Result<Brought, FetchError>);

impl KeyRefresh {
    /// A task that hands keys to `updates`, and its handle. Providers that say nothing else are reached by `client`;
    /// what came is kept in `store`, if there is one, for [`Providers::restore`] after the next start. Nothing is fetched before [`KeyHandle::update`] names
    /// providers and [`KeyRefresh::run`] runs.
    #[must_use]
    pub fn new(
        clock: Clock,
        client: HttpClient,
        store: Option<KeyStore>,
        updates: mpsc::Sender<KeyUpdate>,
    ) -> (Self, KeyHandle) {
        let table = Mutex::new(Table::default());
        let shared = Arc::new(Shared { table, wake: Notify::new(), clock });
        let handle = KeyHandle(Arc::clone(&shared));
        (Self { shared, client, store, updates }, handle)
    }

    /// Fetches until draining begins.
    ///
    /// # Errors
    /// When the receiver of the keys has gone.
    pub async fn run(self, drain: Drain) -> Result<(), NobodyListens> {
        // Dropped with this future, which aborts what is still out.
        let mut fetches: JoinSet<Answer> = JoinSet::new();
        let mut writer = Writer::new(self.store.clone());
        loop {
            for job in self.shared.due() {
                let client = job.client.clone().unwrap_or_else(|| self.client.clone());
                fetches.spawn(async move {
                    let outcome = fetch(&client, &job.source).await;
                    (job, outcome)
                });
            }
            let update = tokio::select! {
                () = drain.begun() => return Ok(()),
                () = self.shared.wake.notified() => None,
                () = tokio::time::sleep(self.shared.wait()) => None,
                () = writer.written() => None,
                Some(ended) = fetches.join_next() => {
                    let Ended { update, record } = self.ended(ended);
                    if let Some(record) = record {
                        writer.put(record);
                    }
                    update
                }
            };
            let Some(update) = update else { continue };
            tokio::select! {
                () = drain.begun() => return Ok(()),
                sent = self.updates.send(update) => sent.map_err(|_| NobodyListens)?,
            }
        }
    }

    fn ended(&self, ended: Result<Answer, JoinError>) -> Ended {
        match ended {
            Ok((job, outcome)) => {
                report(&job, &outcome);
                let now = self.shared.clock.now();
                self.shared.table().ended(job, outcome, now, 2.0 * dice() - 1.0)
            }
            Err(error) => {
                // The schedule misses it and fetches again.
                tracing::error!(error = %error, "a key fetch stopped");
                Ended::default()
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

    /// Says that a token of this provider named an unknown key, or that its keys are not there yet. Never blocks, and
    /// causes at most one fetch per cool-down of 30 seconds; who does not want to wait for it drops the answer.
    pub fn unknown_key(&self, provider: &str) -> KeyWait {
        let now = self.0.clock.now();
        let (wait, begin) = self.0.table().unknown_key(provider, now);
        if begin {
            self.0.wake.notify_one();
        }
        wait
    }

    /// Further endpoints that the provider named in its metadata document. Nothing before that was read.
    #[must_use]
    pub fn endpoints(&self, provider: &str) -> Option<Endpoints> {
        self.0.table().endpoints(provider)
    }

    /// How the keys of each provider are doing, by name.
    #[must_use]
    pub fn status(&self) -> Vec<KeyStatus> {
        let now = self.0.clock.now();
        self.0.table().status(now)
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

fn report(job: &Job, outcome: &Result<Brought, FetchError>) {
    let (provider, uri) = (&job.provider, job.source.uri());
    match outcome {
        Ok(Brought { keys, text: _, endpoints: _ }) => {
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

#[cfg(test)]
mod tests;
