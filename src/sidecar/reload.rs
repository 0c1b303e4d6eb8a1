//! The one writer of the gate's snapshot: follows the resource files, what the control plane tells, and the providers'
//! keys.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{mpsc, watch};

use super::assigned::{Assigned, AssignedPage, Proposal};
use super::resources::{InvalidResources, Resources};
use super::sources::Sources;
use crate::authn::{KeyHandle, KeyStore, KeyUpdate};
use crate::authz::Gate;
use crate::identity::TrustDomain;
use crate::policy;
use crate::runtime::{Clock, Drain, FileWatch, ReadyFlag, with_causes};
use crate::telemetry::Metrics;

/// Follows files and keys, and replaces the gate's snapshot whole.
pub(super) struct Reload {
    origin: Origin,
    workload: policy::Workload,
    current: Resources,
    gate: Arc<Gate>,
    keys: KeyHandle,
    policy_ready: ReadyFlag,
    keys_ready: ReadyFlag,
    status: ReloadStatus,
    aliases: watch::Sender<Vec<TrustDomain>>,
    store: Option<KeyStore>,
    clock: Clock,
}

/// Where resources come from, and what was assigned.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) sources: Sources,
    pub(super) assigned: Assigned,
}

/// What changes, as it changes.
pub(super) struct Incoming {
    pub(super) files: FileWatch,
    pub(super) keys: mpsc::Receiver<KeyUpdate>,
    /// Of the control plane.
    pub(super) proposals: mpsc::Receiver<Proposal>,
}

/// A set of resources is not put into force.
#[derive(Debug, thiserror::Error)]
enum NotLoaded {
    #[error(transparent)]
    Invalid(#[from] InvalidResources),
    /// It is reported already.
    #[error("the resources could not be compiled")]
    Panicked,
}

impl NotLoaded {
    /// For the control plane: without places in texts that nobody wrote.
    fn to_control(&self) -> String {
        match self {
            Self::Invalid(InvalidResources::Rules(rules)) => {
                let rules = rules.iter().map(policy::InvalidRule::without_source);
                rules.collect::<Vec<_>>().join("; ")
            }
            Self::Invalid(_) | Self::Panicked => with_causes(self),
        }
    }
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
    assigned: Arc<Mutex<Option<AssignedPage>>>,
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

    /// What the control plane assigned and is in force; `None` when it is not asked.
    #[must_use]
    pub(super) fn assigned(&self) -> Option<AssignedPage> {
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, assigned: &Assigned) {
        *self.assigned.lock().unwrap_or_else(PoisonError::into_inner) = assigned.page();
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
        (origin, workload): (Origin, policy::Workload),
        current: Resources,
        (gate, keys): (Arc<Gate>, KeyHandle),
        (policy_ready, keys_ready, status): (ReadyFlag, ReadyFlag, ReloadStatus),
        (store, clock): (Option<KeyStore>, Clock),
    ) -> Self {
        let reload = Self {
            aliases: watch::Sender::new(current.mesh().aliases.clone()),
            origin,
            workload,
            current,
            gate,
            keys,
            policy_ready,
            keys_ready,
            status,
            store,
            clock,
        };
        reload.status.show(&reload.origin.assigned);
        reload.tell_readiness();
        reload
    }

    /// Other names of the mesh, as they are in force.
    pub(super) fn aliases(&self) -> watch::Receiver<Vec<TrustDomain>> {
        self.aliases.subscribe()
    }

    /// Runs until the drain begins.
    ///
    /// A change that is refused is told in log, metrics and `/config`, and is no error.
    ///
    /// # Errors
    /// When files can no longer be followed.
    pub(super) async fn run(
        mut self,
        mut incoming: Incoming,
        drain: Drain,
    ) -> Result<(), Unfollowed> {
        self.follow(&mut incoming.files);
        loop {
            tokio::select! {
                changed = incoming.files.changed() => {
                    changed.ok_or(Unfollowed)?;
                    if let Err(error) = self.load(self.origin.assigned.clone()).await {
                        self.refuse(with_causes(&error));
                    }
                    self.follow(&mut incoming.files);
                }
                Some(update) = incoming.keys.recv() => {
                    if let Some(new) = self.current.with_update(&update) {
                        self.apply(new);
                    }
                }
                Some(Proposal { assigned, answer }) = incoming.proposals.recv() => {
                    let outcome = self.load(Assigned::All(assigned)).await;
                    if outcome.is_ok() {
                        self.follow(&mut incoming.files);
                    }
                    // Nobody may wait for it any more; what is in force is in force.
                    drop(answer.send(outcome.map_err(|error| error.to_control())));
                }
                () = drain.begun() => return Ok(()),
            }
        }
    }

    /// Reads the files, compiles them with what was assigned, and puts all of it into force or nothing. On another thread:
    /// Checks go on meanwhile, under the rules in force.
    async fn load(&mut self, assigned: Assigned) -> Result<(), NotLoaded> {
        let (sources, workload) = (self.origin.sources.clone(), self.workload.clone());
        let (basis, store) = (self.current.basis().clone(), self.store.clone());
        let (old, now) = (self.current.clone(), self.clock.now());
        let tried = assigned.clone();
        let load = move || {
            let loaded = Resources::load_if_changed(&sources, &tried, (&workload, &basis))?;
            let new = loaded.map(|new| new.inherit_keys(&old));
            // Providers that are new may have been here before a restart.
            Ok(new.map(|new| match &store {
                Some(store) => new.restore(store, now),
                None => new,
            }))
        };
        let loaded: Result<Result<_, InvalidResources>, _> =
            tokio::task::spawn_blocking(load).await;
        let new = loaded.map_err(|_| NotLoaded::Panicked)??;
        self.status.show(&assigned);
        self.origin.assigned = assigned;
        self.status.set(None);
        match new {
            // What is assigned for the first time may say nothing new, and yet all that there is.
            None => self.tell_readiness(),
            Some(new) => {
                self.status.accepted.inc();
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
        }
        Ok(())
    }

    /// Follows the files that resources name, too. One that cannot be followed is read again with the next change of
    /// another, and said.
    fn follow(&self, files: &mut FileWatch) {
        for path in self.current.referenced() {
            if let Err(error) = files.also(path) {
                tracing::warn!(error = with_causes(&error), "changes of a file will not be seen");
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
        self.aliases.send_if_modified(|aliases| {
            let differs = *aliases != new.mesh().aliases;
            aliases.clone_from(&new.mesh().aliases);
            differs
        });
        self.current = new;
        self.tell_readiness();
    }

    fn tell_readiness(&self) {
        if matches!(self.origin.assigned, Assigned::NotYet) {
            self.policy_ready
                .unmet("the control plane has not told which resources are for this workload yet");
            return;
        }
        self.policy_ready.met();
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
