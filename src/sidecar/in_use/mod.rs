//! Whether the Envoy beside this sidecar uses the certificate that it was given.
//!
//! An acknowledgement is no proof of that: Envoy gives it before the first handshake, and for secrets that it cannot
//! use. So it is looked at what Envoy itself says or shows: its admin page `/certs`, which lists the certificate of
//! every TLS context in force, or a TLS handshake with its listeners.

mod judge;
mod look;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;

pub(super) use judge::InUse;
use judge::{Judge, Verdict};

use crate::identity::WorkloadIdentity;
use crate::mesh;
use crate::runtime::{Drain, ReadyFlag};
use crate::telemetry::Metrics;

/// How soon it is looked again while the certificate is not in use.
const SOON: Duration = Duration::from_millis(500);
/// How soon while it is.
const LATER: Duration = Duration::from_secs(5);

/// `sds.inUse`: where it is looked whether Envoy uses the certificate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct InUseConfig {
    /// Envoy's admin page. Default: that of the section `envoy`.
    #[serde(default)]
    pub admin: Option<mesh::Endpoint>,
    /// Listeners of Envoy with this workload's certificate; a handshake with each must show it.
    #[serde(default)]
    pub listeners: Vec<SocketAddr>,
}

impl InUseConfig {
    /// True when there is no place to look at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.admin.is_none() && self.listeners.is_empty()
    }

    /// Makes relative paths relative to `base`, the directory of the configuration file.
    pub fn resolve(&mut self, base: &Path) {
        self.admin = self.admin.take().map(|admin| admin.relative_to(base));
    }
}

/// Looks, and says what it saw.
pub(super) struct InUseTask {
    places: InUseConfig,
    identity: watch::Receiver<Option<Arc<WorkloadIdentity>>>,
    ready: ReadyFlag,
    shown: Shown,
    drain: Drain,
}

/// What was seen last; read by `/config` and the metrics. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Shown {
    last: Arc<Mutex<InUse>>,
    states: Family<StateLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

impl Shown {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let shown = Self::default();
        metrics.register(|registry| {
            registry.register(
                "sds_in_use",
                "1 for how the certificate that Envoy uses stands to the one it was given",
                shown.states.clone(),
            );
        });
        shown.set(InUse::default());
        shown
    }

    pub(super) fn last(&self) -> InUse {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, seen: InUse) {
        for state in InUse::STATES {
            let is = i64::from(state == seen.state());
            self.states.get_or_create(&StateLabels { state }).set(is);
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

impl InUseTask {
    pub(super) fn new(
        places: InUseConfig,
        identity: watch::Receiver<Option<Arc<WorkloadIdentity>>>,
        (ready, shown): (ReadyFlag, Shown),
        drain: Drain,
    ) -> Self {
        Self { places, identity, ready, shown, drain }
    }

    /// Runs until the drain begins.
    ///
    /// # Errors
    /// Never; the type is that of an essential task.
    pub(super) async fn run(mut self) -> Result<(), Infallible> {
        let mut judge = Judge::new();
        loop {
            let identity = self.identity.borrow_and_update().clone();
            let seen = match &identity {
                Some(identity) => look::look(&self.places, identity).await,
                None => InUse::NothingGiven,
            };
            let verdict = judge.judge(&seen, Instant::now());
            let wait = if seen == InUse::Current { LATER } else { SOON };
            match verdict {
                Verdict::Ready => self.ready.met(),
                Verdict::NotReady => self.ready.unmet(seen.to_string()),
            }
            self.shown.set(seen);
            tokio::select! {
                () = self.drain.begun() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
                changed = self.identity.changed() => if changed.is_err() {
                    self.drain.begun().await;
                    return Ok(());
                },
            }
        }
    }
}
