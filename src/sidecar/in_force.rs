//! What is revoked at this moment, for those parts of the sidecar that are not the gate.

use std::time::SystemTime;

use crate::identity::{Members, SpiffeId, TrustDomain};
use crate::revocation::{Certificate, Finding, Knowledge};

/// What the gate goes by, and the names of the mesh that it is read under.
#[derive(Debug, Clone)]
pub struct InForce {
    knowledge: Knowledge,
    domain: TrustDomain,
    aliases: Vec<TrustDomain>,
}

impl InForce {
    /// This is known, in a mesh of these names.
    #[must_use]
    pub fn new(knowledge: Knowledge, domain: TrustDomain, aliases: Vec<TrustDomain>) -> Self {
        Self { knowledge, domain, aliases }
    }

    /// Whether this workload is refused now.
    #[must_use]
    pub fn find(
        &self,
        id: &SpiffeId,
        certificate: Certificate<'_>,
        now: SystemTime,
    ) -> Finding<'_> {
        let members = Members::of(&self.domain).with_aliases(&self.aliases);
        self.knowledge.find(id.as_str(), certificate, members, now)
    }

    /// True if it says what is said already.
    pub(super) fn is(&self, knowledge: &Knowledge, aliases: &[TrustDomain]) -> bool {
        self.knowledge.is_same(knowledge) && self.aliases == aliases
    }
}
