//! All whom a workload trusts: its own trust domain and those it federates with.

use std::collections::BTreeMap;

use super::{JwtBundle, TrustBundle, TrustDomain};

/// The bundles of a workload's own trust domain and of foreign ones. A foreign root vouches for its own domain only:
/// it must never stand in one pool with another's.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundles {
    own: TrustBundle,
    foreign: BTreeMap<TrustDomain, TrustBundle>,
    jwt: BTreeMap<TrustDomain, JwtBundle>,
}

impl Bundles {
    /// The bundle of the workload's own trust domain alone.
    #[must_use]
    pub fn new(own: TrustBundle) -> Self {
        Self { own, foreign: BTreeMap::new(), jwt: BTreeMap::new() }
    }

    /// With the roots of another trust domain, in place of those it had. One for the own domain is not taken: whoever
    /// speaks for a foreign domain must not speak for this one.
    #[must_use]
    pub fn with_foreign(mut self, bundle: TrustBundle) -> Self {
        if bundle.domain() != self.own.domain() {
            self.foreign.insert(bundle.domain().clone(), bundle);
        }
        self
    }

    /// With the JWT-SVID keys of a trust domain, own or foreign, in place of those it had.
    #[must_use]
    pub fn with_jwt(mut self, bundle: JwtBundle) -> Self {
        self.jwt.insert(bundle.domain().clone(), bundle);
        self
    }

    /// With these roots of the own trust domain instead; all else stays. A bundle of another domain is not taken.
    #[must_use]
    pub fn with_own(mut self, own: TrustBundle) -> Self {
        if own.domain() == self.own.domain() {
            self.own = own;
        }
        self
    }

    /// The roots of the own trust domain.
    #[must_use]
    pub fn own(&self) -> &TrustBundle {
        &self.own
    }

    /// The roots of foreign trust domains, by name.
    pub fn foreign(&self) -> impl Iterator<Item = &TrustBundle> {
        self.foreign.values()
    }

    /// The roots of `domain`, own or foreign.
    #[must_use]
    pub fn of(&self, domain: &TrustDomain) -> Option<&TrustBundle> {
        if domain == self.own.domain() { Some(&self.own) } else { self.foreign.get(domain) }
    }

    /// The JWT-SVID keys of every trust domain that signs any, by name.
    pub fn jwt(&self) -> impl Iterator<Item = &JwtBundle> {
        self.jwt.values()
    }

    /// The JWT-SVID keys of `domain`.
    #[must_use]
    pub fn jwt_of(&self, domain: &TrustDomain) -> Option<&JwtBundle> {
        self.jwt.get(domain)
    }
}
