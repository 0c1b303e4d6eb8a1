//! The one writer of the gate's snapshot: follows the resource files and the providers' keys.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::mpsc;

use super::resources::{InvalidResources, Resources};
use crate::authn::{KeyHandle, KeyStore, KeyUpdate};
use crate::authz::Gate;
use crate::policy;
use crate::runtime::{Clock, Drain, FileWatch, ReadyFlag};
use crate::telemetry::Metrics;

/// Follows files and keys, and replaces the gate's snapshot whole.
pub(super) struct Reload {
    paths: Vec<PathBuf>,
    workload: policy::Workload,
    current: Resources,
    gate: Arc<Gate>,
    keys: KeyHandle,
    keys_ready: ReadyFlag,
    status: ReloadStatus,
    store: Option<KeyStore>,
    clock: Clock,
}

/// The watch of the resource files ended.
#[derive(Debug, thiserror::Error)]
#[error("the resource files can no longer be followed")]
pub(super) struct Unfollowed;

/// What became of the last change. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(super) struct ReloadStatus {
    last_error: Arc<Mutex<Option<String>>>,
    accepted: Counter,
    refused: Counter,
    /// 1 while the files on disk are not what is in force.
    stale: Gauge,
}

impl ReloadStatus {
    /// Registers the counters.
    #[must_use]
    pub(super) fn new(metrics: &Metrics) -> Self {
        let status = Self::default();
        metrics.register(|registry| {
            registry.register(
                "sidecar_reloads_accepted",
                "Changes of resource files that took effect",
                status.accepted.clone(),
            );
            registry.register(
                "sidecar_reloads_refused",
                "Changes of resource files that were refused",
                status.refused.clone(),
            );
            registry.register(
                "sidecar_resources_stale",
                "1 while the resource files are refused and the last good ones are in force",
                status.stale.clone(),
            );
        });
        status
    }

    /// Why the files on disk are not in force, if they are not.
    #[must_use]
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, error: Option<String>) {
        self.stale.set(i64::from(error.is_some()));
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

impl Reload {
    /// Begins with resources that are in force already.
    #[must_use]
    pub(super) fn new(
        (paths, workload): (Vec<PathBuf>, policy::Workload),
        current: Resources,
        (gate, keys): (Arc<Gate>, KeyHandle),
        (keys_ready, status): (ReadyFlag, ReloadStatus),
        (store, clock): (Option<KeyStore>, Clock),
    ) -> Self {
        let reload =
            Self { paths, workload, current, gate, keys, keys_ready, status, store, clock };
        reload.tell_readiness();
        reload
    }

    /// Runs until the drain begins.
    ///
    /// A change that is refused is told in log, metrics and `/config`, and is no error.
    ///
    /// # Errors
    /// When files can no longer be followed.
    pub(super) async fn run(
        mut self,
        mut files: FileWatch,
        mut new_keys: mpsc::Receiver<KeyUpdate>,
        drain: Drain,
    ) -> Result<(), Unfollowed> {
        self.follow(&mut files);
        loop {
            tokio::select! {
                changed = files.changed() => {
                    changed.ok_or(Unfollowed)?;
                    self.read_files().await;
                    self.follow(&mut files);
                }
                Some(update) = new_keys.recv() => {
                    if let Some(new) = self.current.with_update(&update) {
                        self.apply(new);
                    }
                }
                () = drain.begun() => return Ok(()),
            }
        }
    }

    /// Reads and compiles on another thread: Checks go on meanwhile, under the rules in force.
    async fn read_files(&mut self) {
        let (paths, workload) = (self.paths.clone(), self.workload.clone());
        let (basis, store) = (self.current.basis().clone(), self.store.clone());
        let (old, now) = (self.current.clone(), self.clock.now());
        let load = move || {
            let loaded = Resources::load_if_changed(&paths, &workload, &basis)?;
            let new = loaded.map(|new| new.inherit_keys(&old));
            // Providers that are new may have been here before a restart.
            Ok(new.map(|new| match &store {
                Some(store) => new.restore(store, now),
                None => new,
            }))
        };
        let loaded: Result<Result<_, InvalidResources>, _> =
            tokio::task::spawn_blocking(load).await;
        let Ok(loaded) = loaded else {
            // A panic in there, which is reported already.
            return self.refuse("the resource files could not be compiled".to_owned());
        };
        match loaded {
            Ok(None) => self.status.set(None),
            Ok(Some(new)) => {
                self.status.accepted.inc();
                self.status.set(None);
                self.keys.update(new.providers());
                self.apply(new);
                let counts = self.current.counts();
                tracing::info!(
                    revision = self.current.revision(),
                    policies = counts.policies,
                    rules = counts.rules,
                    providers = counts.providers,
                    "resources changed"
                );
            }
            Err(error) => self.refuse(explain(&error)),
        }
    }

    /// Follows the files that resources name, too. One that cannot be followed is read again with the next change of
    /// another, and said.
    fn follow(&self, files: &mut FileWatch) {
        for path in self.current.referenced() {
            if let Err(error) = files.also(path) {
                tracing::warn!(error = explain(&error), "changes of a file will not be seen");
            }
        }
    }

    fn refuse(&self, text: String) {
        tracing::error!(error = text, "resource files refused, the last good ones stay in force");
        self.status.refused.inc();
        self.status.set(Some(text));
    }

    fn apply(&mut self, new: Resources) {
        self.gate.replace(new.snapshot());
        self.current = new;
        self.tell_readiness();
    }

    fn tell_readiness(&self) {
        if self.current.counts().rules == 0 {
            tracing::warn!("no rule applies to this workload, so every request is refused");
        }
        let missing = self.current.providers().missing_keys();
        if missing.is_empty() {
            self.keys_ready.met();
        } else {
            self.keys_ready.unmet(format!("no keys yet of {}", missing.join(", ")));
        }
    }
}

/// An error with its causes, in one line.
fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
