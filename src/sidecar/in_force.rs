//! What is revoked at this moment, for those parts of the sidecar that are not the gate.

use std::sync::Arc;
use std::time::SystemTime;

use crate::identity::{Members, SpiffeId, TrustDomain};
use crate::revocation::{Certificate, Revocation, RevocationList};

/// The list that the gate goes by, and the names of the mesh that it is read under.
#[derive(Debug, Clone)]
pub struct InForce {
    list: Arc<RevocationList>,
    domain: TrustDomain,
    aliases: Vec<TrustDomain>,
}

impl InForce {
    /// This list, in a mesh of these names.
    #[must_use]
    pub fn new(list: Arc<RevocationList>, domain: TrustDomain, aliases: Vec<TrustDomain>) -> Self {
        Self { list, domain, aliases }
    }

    /// Why this workload is refused now, if it is.
    #[must_use]
    pub fn revocation(
        &self,
        id: &SpiffeId,
        certificate: Certificate<'_>,
        now: SystemTime,
    ) -> Option<&Arc<Revocation>> {
        let members = Members::of(&self.domain).with_aliases(&self.aliases);
        self.list.find(id.as_str(), certificate, members, now)
    }

    /// True if it says what is said already.
    pub(super) fn is(&self, list: &Arc<RevocationList>, aliases: &[TrustDomain]) -> bool {
        Arc::ptr_eq(&self.list, list) && self.aliases == aliases
    }
}
