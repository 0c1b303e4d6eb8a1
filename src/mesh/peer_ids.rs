//! Who may answer on an upstream.

use super::fault::Fault;
use crate::identity::{SpiffeId, TrustDomain};

/// The identities that may answer on an upstream, all of one trust domain, by whose roots they are verified. Never empty:
/// Envoy takes an empty list for "anybody of the CA".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIds {
    domain: TrustDomain,
    ids: Vec<SpiffeId>,
}

impl PeerIds {
    /// Takes at least one identity.
    ///
    /// # Errors
    /// When there is none, or they are of two trust domains.
    pub fn new(ids: Vec<SpiffeId>) -> Result<Self, Fault> {
        let domain = ids.first().ok_or(Fault::Empty)?.trust_domain();
        match ids.iter().find(|id| !id.is_member_of(&domain)) {
            Some(other) => {
                Err(Fault::TwoTrustDomains { first: domain, second: other.trust_domain() })
            }
            None => Ok(Self { domain, ids }),
        }
    }

    /// The identities; at least one.
    #[must_use]
    pub fn as_slice(&self) -> &[SpiffeId] {
        &self.ids
    }

    /// The trust domain of all of them.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.domain
    }
}
