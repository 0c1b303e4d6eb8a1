//! The mesh's own roots, for certificates that our TLS never saw, or accepted by more authorities than the mesh's.

use std::fmt;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use crate::authn::certificate::{Anchors, ChainFault, InvalidAnchor, Proofs, key};
use crate::identity::{Members, TrustBundle, TrustDomain};

use super::Peer;

/// The roots of one trust domain, ready to check forwarded workload certificates. Make a new one when the bundle
/// changes: what the old one proved is forgotten with it.
pub struct WorkloadRoots {
    domain: TrustDomain,
    anchors: Anchors,
    intermediates: Vec<CertificateDer<'static>>,
    proofs: Proofs<()>,
}

impl WorkloadRoots {
    /// Takes the roots of a bundle.
    ///
    /// # Errors
    /// When one of them has dates that cannot be read.
    pub fn compile(bundle: &TrustBundle) -> Result<Self, InvalidAnchor> {
        Ok(Self {
            domain: bundle.domain().clone(),
            anchors: Anchors::new(bundle.roots(), &[])?,
            intermediates: Vec::new(),
            proofs: Proofs::new(),
        })
    }

    /// With authorities between roots and workloads that peers need not send along: those of this workload's own chain.
    #[must_use]
    pub fn with_intermediates(mut self, intermediates: &[CertificateDer<'static>]) -> Self {
        self.intermediates = intermediates.to_vec();
        self
    }

    /// Proves that the certificate of a member of this mesh chains to these roots. Its names and own dates are not judged
    /// here.
    pub(super) fn prove(
        &self,
        peer: &Peer,
        chain: &[CertificateDer<'static>],
        (members, now): (Members<'_>, SystemTime),
    ) -> Result<(), ChainFault> {
        // These roots vouch for their own mesh, under each of its names, and for no other.
        if *members.own() != self.domain || !members.include(peer.id()) {
            return Err(ChainFault::Untrusted);
        }
        let key = key(peer.thumbprint(), chain);
        if self.proofs.find(&key, now).is_some() {
            return Ok(());
        }
        let way: Vec<CertificateDer<'_>> =
            chain.iter().chain(&self.intermediates).cloned().collect();
        self.anchors.check(&peer.der, &way, now)?;
        let until = self.anchors.holds_until(&peer.der, &way, now);
        self.proofs.put(&key, (), (now, until));
        Ok(())
    }
}

impl fmt::Debug for WorkloadRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadRoots").field("domain", &self.domain).finish_non_exhaustive()
    }
}
