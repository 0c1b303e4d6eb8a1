//! Federation: this mesh's bundle for others, and the bundles of others for this mesh (SPIFFE Federation).
//!
//! A relationship goes one way: what stands under `with` is whom *we* believe. A foreign bundle vouches for the
//! workloads of its own trust domain and for nobody else's: it is never joined with another (section 4.2), and no
//! relationship can be with the mesh's own trust domain. A bundle is replaced only by a newer one that was read whole
//! from the endpoint that the relationship names; the last good one is kept, also over a restart, and whoever is removed
//! from the configuration is removed from what sidecars are told at once.

mod accept;
mod compose;
mod config;
mod endpoint;
mod fetch;
mod own;
mod relations;
mod shelf;
mod status;
mod store;
mod told;
mod verifier;
mod web_certificate;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::identity::{Bundles, SpiffeBundle, TrustDomain};

pub use accept::NotNewer;
pub use compose::{Federation, FederationError};
pub use config::{
    EndpointConfig, EndpointProfile, FederationConfig, InvalidFederation, Profile, RawProfile,
    RawRelationship, Relationship,
};
pub(super) use endpoint::readers_lag;
pub use endpoint::{BundleEndpoint, EndpointError};
pub use fetch::FetchError;
pub use own::OwnBundleError;
pub(super) use own::{DIRECTORY, published};
pub use relations::{FederationHandle, Relations};
pub(super) use shelf::{DirectoryShelf, MapShelf, Shelf};
pub use status::{Health, RelationStatus};
pub use store::StoreError;
pub(super) use told::{tell, tell_all};
pub use web_certificate::WebCertificateError;

/// The bundles of the trust domains that this mesh believes, each under its own name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Foreign(BTreeMap<TrustDomain, Arc<SpiffeBundle>>);

impl Foreign {
    /// Each trust domain's bundle, by name.
    pub fn iter(&self) -> impl Iterator<Item = &SpiffeBundle> {
        self.0.values().map(AsRef::as_ref)
    }

    /// The bundle of `domain`.
    #[must_use]
    pub fn of(&self, domain: &TrustDomain) -> Option<&SpiffeBundle> {
        self.0.get(domain).map(AsRef::as_ref)
    }

    /// `bundles` with these beside their own.
    #[must_use]
    pub fn join(&self, bundles: Bundles) -> Bundles {
        self.iter().fold(bundles, |bundles, foreign| {
            if foreign.domain() == bundles.own().domain() {
                return bundles;
            }
            let bundles = match foreign.x509() {
                Some(x509) => bundles.with_foreign(x509.clone()),
                None => bundles,
            };
            match foreign.jwt().keys() {
                [] => bundles,
                _ => bundles.with_jwt(foreign.jwt().clone()),
            }
        })
    }
}

#[cfg(test)]
mod tests;
