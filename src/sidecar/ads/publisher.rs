//! The one writer of the configuration: follows services, secrets, revocations and the MeshPolicy.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::leaving::Leaving;
use super::snapshot::{Known, Snapshots};
use super::status::AdsStatus;
use crate::authz::Gate;
use crate::identity::{Members, SpiffeId, TrustDomain};
use crate::mesh::captured::Service;
use crate::revocation::{Certificate, RevocationList};
use crate::runtime::{Clock, Drain};
use crate::sidecar::discovery::Services;
use crate::sidecar::standing::Orders;
use crate::xds::{Catalogue, Table};

/// How often it is looked what ended by the clock, and what the MeshPolicy says.
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Publisher {
    pub(super) snapshots: Snapshots,
    pub(super) own: SpiffeId,
    pub(super) secrets: watch::Receiver<Option<Arc<Table>>>,
    pub(super) services: Services,
    pub(super) leaving: Leaving,
    pub(super) gate: Arc<Gate>,
    pub(super) orders: watch::Receiver<Orders>,
    pub(super) clock: Clock,
    pub(super) catalogues: watch::Sender<Arc<Catalogue>>,
    pub(super) status: Arc<AdsStatus>,
}

impl Publisher {
    /// Runs until the drain begins.
    ///
    /// # Errors
    /// Never; the type is that of an essential task.
    pub(super) async fn run(mut self, drain: Drain) -> Result<(), Infallible> {
        let mut last: Option<Known> = None;
        loop {
            let known = self.known();
            if let Some(known) = known
                && last.as_ref().is_none_or(|last| !last.is(&known))
            {
                self.publish(&known);
                last = Some(known);
            }
            tokio::select! {
                () = drain.begun() => return Ok(()),
                () = changed(&mut self.secrets) => {}
                () = changed(&mut self.services) => {}
                () = changed(&mut self.orders) => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// All that is known; nothing while a part of it is missing.
    fn known(&mut self) -> Option<Known> {
        let services = self.services.borrow_and_update().clone();
        let secrets = self.secrets.borrow_and_update().clone();
        let own_revoked = self.orders.borrow_and_update().own_revoked;
        let (services, secrets) = (services?, secrets?);
        // Until it is told who is revoked, nobody may be called.
        let list = Arc::clone(self.gate.revoked().list()?);
        let snapshot = self.gate.snapshot();
        let (aliases, mtls) = (snapshot.mesh().aliases.clone(), snapshot.mesh().mtls.clone());
        let leaving = self.leaving.follow(&services, Instant::now());
        let mut revoked = self.revoked(&list, services.iter().chain(&*leaving), &aliases);
        if own_revoked {
            revoked.insert(self.own.clone());
        }
        Some(Known { services, leaving, secrets, aliases, mtls, revoked })
    }

    fn revoked<'a>(
        &self,
        list: &RevocationList,
        services: impl Iterator<Item = &'a Service>,
        aliases: &[TrustDomain],
    ) -> BTreeSet<SpiffeId> {
        if list.is_empty() {
            return BTreeSet::new();
        }
        let domain = self.own.trust_domain();
        let members = Members::of(&domain).with_aliases(aliases);
        let now = self.clock.now();
        let accounts = services.flat_map(|service| &service.accounts);
        let is_revoked =
            |id: &&SpiffeId| list.find(id.as_str(), Certificate::Unneeded, members, now).is_some();
        accounts.filter(is_revoked).cloned().collect()
    }

    fn publish(&mut self, known: &Known) {
        match self.snapshots.next(known) {
            Ok(snapshot) => {
                for (name, why) in &snapshot.withheld {
                    tracing::warn!(destination = %name, reason = %why, "connections are refused");
                }
                self.status.published(known.services.len(), snapshot.withheld);
                self.catalogues.send_replace(Arc::new(snapshot.catalogue));
            }
            Err(error) => {
                tracing::error!(%error, "no configuration can be made of this; Envoy keeps the one it has");
                self.status.refused(error.to_string());
            }
        }
    }
}

/// Resolves when there is another value; never where nobody tells one any more.
async fn changed<T>(values: &mut watch::Receiver<T>) {
    if values.changed().await.is_err() {
        std::future::pending().await
    }
}
