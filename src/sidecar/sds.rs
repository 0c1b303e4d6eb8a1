//! The workload's certificate and roots as Envoy secrets: which stand under which names says [`secrets`].
//!
//! Nothing is sent before a certificate is in hand. What was sent is never taken back: when the identity is lost, an
//! Envoy that has it keeps it, and one that comes anew waits. A validation context without roots cannot be made here;
//! Envoy would accept it and stop asking its clients for certificates.

pub(super) mod config;
mod contents;
mod crl;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryServiceServer;
use serde::Serialize;
use tokio::sync::watch;

use crate::identity::{Bundles, TrustDomain, WorkloadIdentity};
use crate::mesh::OWN_CERTIFICATE;
use crate::runtime::Drain;
use crate::xds::{Observer, SecretService, StreamId, Table};

use super::envoys::Envoys;

pub use contents::secrets;
pub(super) use crl::CrlTask;
pub use crl::{Crl, CrlStartError, InvalidCrl};

/// The parts of secret discovery: a service to add to a server, a task to run, and what to look at.
pub struct Sds {
    /// For tonic's router.
    pub server: SecretDiscoveryServiceServer<SecretService>,
    /// Turns identities into secrets; the service hears of a new identity only while this runs.
    pub publisher: Publisher,
    /// Streams, acknowledgements and refusals.
    pub status: Arc<SdsStatus>,
    /// The secrets themselves, for a stream that has more than them.
    pub tables: watch::Receiver<Option<Arc<Table>>>,
}

/// What secrets are made of.
pub struct Material {
    /// The workload's identity.
    pub identity: watch::Receiver<Option<Arc<WorkloadIdentity>>>,
    /// Other names of the mesh, for which its own roots vouch.
    pub aliases: watch::Receiver<Vec<TrustDomain>>,
    /// Revocation lists, if there are any.
    pub crl: watch::Receiver<Option<Crl>>,
}

/// Serves the secrets of `material`, until `drain` begins.
#[must_use]
pub fn service(mut material: Material, drain: &Drain) -> Sds {
    let status = Arc::new(SdsStatus::default());
    let (sender, tables) = watch::channel(status.offer(material.table()));
    let observer: Arc<dyn Observer> = Arc::clone(&status) as Arc<dyn Observer>;
    let server = SecretService::new(tables.clone(), observer, drain.clone()).into_server();
    let (shown, drain) = (Arc::clone(&status), drain.clone());
    let publisher = Publisher { material, tables: sender, status: shown, drain };
    Sds { server, publisher, status, tables }
}

/// Turns each change into a table of secrets.
pub struct Publisher {
    material: Material,
    tables: watch::Sender<Option<Arc<Table>>>,
    status: Arc<SdsStatus>,
    drain: Drain,
}

impl Material {
    /// An identity alone.
    #[must_use]
    pub fn new(identity: watch::Receiver<Option<Arc<WorkloadIdentity>>>) -> Self {
        Self { identity, aliases: watch::channel(Vec::new()).1, crl: watch::channel(None).1 }
    }

    /// The secrets of this moment. Without an identity there is no table: an expired certificate must not be given to
    /// whoever asks anew.
    fn table(&mut self) -> Option<(Table, Bundles)> {
        let crl = self.crl.borrow_and_update().clone();
        let aliases = self.aliases.borrow_and_update().clone();
        let identity = self.identity.borrow_and_update().clone()?;
        if let Some(uncovered) = crl.as_ref().map(|crl| crl.uncovered(&identity))
            && !uncovered.is_empty()
        {
            tracing::warn!(
                authorities = ?uncovered,
                "authorities without a list in sds.crl: Envoy refuses every peer whose chain has one of them"
            );
        }
        Some((secrets(&identity, &aliases, crl.as_ref()), identity.bundles.clone()))
    }
}

impl Publisher {
    /// Runs until the drain begins.
    ///
    /// # Errors
    /// Never; the type is that of an essential task.
    pub async fn run(mut self) -> Result<(), Infallible> {
        let (mut following, mut naming) = (true, true);
        loop {
            tokio::select! {
                () = self.drain.begun() => return Ok(()),
                changed = self.material.identity.changed() => if changed.is_err() {
                    // Nobody renews any more, which ends the process elsewhere. Until then Envoy keeps its secrets.
                    self.drain.begun().await;
                    return Ok(());
                },
                // Without a writer the lists stay as they are.
                changed = self.material.crl.changed(), if following => following = changed.is_ok(),
                changed = self.material.aliases.changed(), if naming => naming = changed.is_ok(),
            }
            let table = self.material.table();
            self.tables.send_replace(self.status.offer(table));
        }
    }
}

/// The secrets that say whom to trust, as they are offered to Envoys.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferedRoots {
    /// What they are made of.
    pub bundles: Bundles,
    /// The version of each, by name.
    pub versions: BTreeMap<String, String>,
}

/// Counts what the workload's Envoys said. An acknowledgement is no proof of use: Envoy gives it before the
/// first handshake.
#[derive(Debug, Default)]
pub struct SdsStatus {
    streams: AtomicU64,
    certificates: Counts,
    roots: Counts,
    unknown: Counts,
    names: Mutex<BTreeMap<String, NameStatus>>,
    envoys: Envoys,
    offered: Mutex<Option<OfferedRoots>>,
}

#[derive(Debug, Default)]
struct Counts {
    acks: AtomicU64,
    nacks: AtomicU64,
}

/// What a secret is, as a label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretKind {
    /// Chain and key.
    Certificate,
    /// Trusted roots.
    Roots,
    /// A refusal of an answer that was replaced meanwhile.
    Unknown,
}

/// Acknowledgements and refusals of one kind since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KindCount {
    /// Which secrets.
    pub kind: SecretKind,
    /// How often one was taken.
    pub acks: u64,
    /// How often one was refused.
    pub nacks: u64,
}

/// What was last said of one name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NameStatus {
    /// The version that was last taken.
    pub acked: Option<String>,
    /// Why the last refused one was refused; gone when a later one is taken.
    pub refused: Option<String>,
}

impl SdsStatus {
    /// Streams that are open now.
    #[must_use]
    pub fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// Totals by kind, in a fixed order.
    #[must_use]
    pub fn counts(&self) -> [KindCount; 3] {
        [SecretKind::Certificate, SecretKind::Roots, SecretKind::Unknown].map(|kind| {
            let counts = self.of(kind);
            KindCount {
                kind,
                acks: counts.acks.load(Ordering::Relaxed),
                nacks: counts.nacks.load(Ordering::Relaxed),
            }
        })
    }

    /// What was last said of each name. Only names that were sent can stand here.
    #[must_use]
    pub fn names(&self) -> BTreeMap<String, NameStatus> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What each open stream asks for and has.
    #[must_use]
    pub fn envoys(&self) -> &Envoys {
        &self.envoys
    }

    /// The roots that Envoys are offered now; `None` while there are none.
    #[must_use]
    pub fn offered(&self) -> Option<OfferedRoots> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what is offered from now on.
    fn offer(&self, table: Option<(Table, Bundles)>) -> Option<Arc<Table>> {
        let offered = table.as_ref().map(|(table, bundles)| {
            let roots = table.names().filter(|name| kind(name) == SecretKind::Roots);
            let version =
                |name: &str| Some((name.to_owned(), table.get(name)?.version().to_owned()));
            OfferedRoots { bundles: bundles.clone(), versions: roots.filter_map(version).collect() }
        });
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner) = offered;
        self.envoys.changed();
        table.map(|(table, _)| Arc::new(table))
    }

    fn of(&self, kind: SecretKind) -> &Counts {
        match kind {
            SecretKind::Certificate => &self.certificates,
            SecretKind::Roots => &self.roots,
            SecretKind::Unknown => &self.unknown,
        }
    }

    fn update(&self, name: &str, change: impl FnOnce(&mut NameStatus)) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        change(names.entry(name.to_owned()).or_default());
    }
}

/// A SPIFFE ID with a path is a workload, one without is a trust domain.
fn kind(name: &str) -> SecretKind {
    let is_workload = name.strip_prefix("spiffe://").is_some_and(|rest| rest.contains('/'));
    if name == OWN_CERTIFICATE || is_workload { SecretKind::Certificate } else { SecretKind::Roots }
}

impl Observer for SdsStatus {
    fn opened(&self) -> StreamId {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.envoys.opened()
    }

    fn closed(&self, stream: StreamId) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
        self.envoys.closed(stream);
    }

    fn asked(&self, stream: StreamId, names: Vec<String>) {
        self.envoys.asked(stream, names);
    }

    fn acked(&self, stream: StreamId, name: &str, version: &str) {
        self.envoys.acked(stream, name, version);
        self.of(kind(name)).acks.fetch_add(1, Ordering::Relaxed);
        self.update(name, |status| {
            *status = NameStatus { acked: Some(version.to_owned()), refused: None };
        });
    }

    fn nacked(&self, stream: StreamId, resource: Option<(&str, &str)>, reason: &str) {
        self.envoys.nacked(stream, resource, reason);
        let name = resource.map(|(name, _)| name);
        self.of(name.map_or(SecretKind::Unknown, kind)).nacks.fetch_add(1, Ordering::Relaxed);
        if let Some(name) = name {
            self.update(name, |status| status.refused = Some(reason.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_by_what_they_hold() {
        assert_eq!(kind("default"), SecretKind::Certificate);
        assert_eq!(kind("spiffe://demo.mesh/ns/shop/sa/orders"), SecretKind::Certificate);
        for roots in ["ROOTCA", "ALL", "spiffe://demo.mesh"] {
            assert_eq!(kind(roots), SecretKind::Roots);
        }
    }

    #[test]
    fn a_refusal_is_shown_until_a_later_version_is_taken() {
        let status = SdsStatus::default();
        let stream = status.opened();
        status.acked(stream, "default", "1");
        status.nacked(stream, Some(("default", "2")), "KEY_VALUES_MISMATCH");
        status.nacked(stream, None, "older");
        let refused = Some("KEY_VALUES_MISMATCH".to_owned());
        let expected = NameStatus { acked: Some("1".to_owned()), refused };
        assert_eq!(status.names()["default"], expected);
        status.acked(stream, "default", "2");
        assert_eq!(status.names()["default"].refused, None);
        let counted = status.counts().map(|count| (count.acks, count.nacks));
        assert_eq!(counted, [(2, 1), (0, 0), (0, 1)]);
    }
}
