//! What is told to every sidecar.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use crate::identity::{Bundles, SpiffeId, TrustDomain};
use crate::xds::own::{
    DomainBundle, Encoded, KINDS, REISSUE_ORDER_TYPE, REVOKED_WORKLOAD_TYPE, ReissueOrder,
    RevokedWorkload, TRUST_BUNDLE_TYPE,
};
use crate::xds::{Catalogue, SharedTable};

/// What is told to every sidecar. Replaced whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// Whom workloads trust: own roots, foreign roots, keys of JWT-SVIDs.
    pub bundles: Bundles,
    /// How often the bundle of each trust domain changed (SPIFFE Trust Domain and Bundle, section 4.1.1); 0 for one that
    /// is not listed.
    pub sequences: BTreeMap<TrustDomain, u64>,
    /// Who is trusted no more, by [`RevokedWorkload::name`].
    pub revoked: BTreeMap<String, RevokedWorkload>,
    /// The order to replace certificates.
    pub reissue: Option<ReissueOrder>,
}

/// The writers' end. Cloning shares it; each part of the control plane changes its own fields.
#[derive(Debug, Clone)]
pub struct Publisher(watch::Sender<Arc<Published>>);

impl Published {
    /// The bundles alone.
    #[must_use]
    pub fn new(bundles: Bundles) -> Self {
        Self { bundles, sequences: BTreeMap::new(), revoked: BTreeMap::new(), reissue: None }
    }

    /// What is told of one trust domain; `None` when nothing is.
    #[must_use]
    pub fn bundle(&self, domain: &TrustDomain) -> Option<DomainBundle> {
        let sequence = self.sequences.get(domain).copied().unwrap_or_default();
        let keys = self.bundles.jwt_of(domain).filter(|keys| !keys.keys().is_empty()).cloned();
        match self.bundles.of(domain) {
            Some(roots) => Some(DomainBundle::new(roots.clone(), keys, sequence)),
            None => keys.and_then(|keys| DomainBundle::keys_only(keys, sequence)),
        }
    }

    /// The version that sidecars acknowledge once they have what is published of `domain`; `None` when nothing is.
    #[must_use]
    pub fn bundle_version(&self, domain: &TrustDomain) -> Option<String> {
        self.bundle(domain)?.encode().ok().map(|encoded| encoded.version())
    }

    /// The revocation that covers this certificate at `now`, if any.
    #[must_use]
    pub fn revocation(
        &self,
        id: &SpiffeId,
        serial: &str,
        now: SystemTime,
    ) -> Option<&RevokedWorkload> {
        let whole = self.revoked.get(id.as_str());
        // A revoked serial number stands without leading zeros, which DER may have.
        let one = self
            .revoked
            .get(&format!("{id} {serial}"))
            .or_else(|| self.revoked.get(&format!("{id} {}", serial.trim_start_matches('0'))));
        let standing = |revoked: &&RevokedWorkload| revoked.until.is_none_or(|until| now < until);
        whole.filter(standing).or_else(|| one.filter(standing))
    }

    /// Every trust domain of which something is told.
    fn domains(&self) -> Vec<&TrustDomain> {
        let own = std::iter::once(self.bundles.own().domain());
        let foreign = self.bundles.foreign().map(crate::identity::TrustBundle::domain);
        let jwt = self.bundles.jwt().map(crate::identity::JwtBundle::domain);
        let mut domains: Vec<_> = own.chain(foreign).chain(jwt).collect();
        domains.sort_unstable();
        domains.dedup();
        domains
    }

    fn encoded(&self, type_url: &str) -> Result<Vec<Encoded>, serde_json::Error> {
        match type_url {
            TRUST_BUNDLE_TYPE => {
                let bundles = self.domains().into_iter().filter_map(|domain| self.bundle(domain));
                bundles.map(|bundle| bundle.encode()).collect()
            }
            REVOKED_WORKLOAD_TYPE => {
                Ok(self.revoked.values().map(RevokedWorkload::encode).collect())
            }
            REISSUE_ORDER_TYPE => Ok(self.reissue.iter().map(ReissueOrder::encode).collect()),
            _ => Ok(Vec::new()),
        }
    }
}

impl Publisher {
    /// Publishes this first.
    #[must_use]
    pub fn new(first: Published) -> Self {
        Self(watch::Sender::new(Arc::new(first)))
    }

    /// Changes what is published. Streams hear of it only if something became different.
    pub fn change(&self, change: impl FnOnce(&mut Published)) {
        self.0.send_if_modified(|published| {
            let mut next = Published::clone(published);
            change(&mut next);
            let differs = next != **published;
            if differs {
                *published = Arc::new(next);
            }
            differs
        });
    }

    /// The readers' end.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Published>> {
        self.0.subscribe()
    }

    /// What is published now.
    #[must_use]
    pub fn current(&self) -> Arc<Published> {
        Arc::clone(&self.0.borrow())
    }
}

/// The resources that say what is published. What cannot be said (a bundle larger than any message may be) is told in
/// the log, and the sidecars keep what they had of that type.
pub(super) fn catalogue(published: &Published, before: Option<&Catalogue>) -> Catalogue {
    let tables = KINDS.into_iter().map(|kind| {
        let held = before.and_then(|before| before.table(kind.type_url)).cloned();
        let held = held.unwrap_or_else(SharedTable::empty);
        let table = match published.encoded(kind.type_url) {
            Err(error) => Err(error.to_string()),
            Ok(encoded) => {
                let contents = encoded.into_iter().map(|one| (one.name, one.content)).collect();
                held.followed_by(&kind, contents).map_err(|error| error.to_string())
            }
        };
        let table = table.unwrap_or_else(|error| {
            tracing::error!(type_url = kind.type_url, error, "a change cannot be told to sidecars");
            held
        });
        (kind, table)
    });
    Catalogue::new(tables.collect())
}
