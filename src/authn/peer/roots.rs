//! The roots of trust domains, for certificates that our TLS never saw, or accepted by more authorities than the mesh's.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use crate::authn::certificate::{Anchors, ChainFault, InvalidAnchor, Proofs, key};
use crate::identity::{Members, SpiffeId, TrustBundle, TrustDomain};

use super::Peer;

/// The roots of this mesh, and of each trust domain that it federates with, ready to check workload certificates. Each
/// set of roots vouches for its own trust domain and for no other. Make a new one when a bundle changes: what the old one
/// proved is forgotten with it.
pub struct WorkloadRoots {
    domain: TrustDomain,
    own: Vouching,
    foreign: BTreeMap<TrustDomain, Vouching>,
}

/// The roots of one trust domain.
struct Vouching {
    anchors: Anchors,
    intermediates: Vec<CertificateDer<'static>>,
    proofs: Proofs<()>,
}

impl WorkloadRoots {
    /// Takes the roots of this mesh.
    ///
    /// # Errors
    /// When one of them has dates that cannot be read.
    pub fn compile(bundle: &TrustBundle) -> Result<Self, InvalidAnchor> {
        Ok(Self {
            domain: bundle.domain().clone(),
            own: Vouching::compile(bundle)?,
            foreign: BTreeMap::new(),
        })
    }

    /// With authorities between roots and workloads that peers need not send along: those of this workload's own chain.
    #[must_use]
    pub fn with_intermediates(mut self, intermediates: &[CertificateDer<'static>]) -> Self {
        self.own.intermediates = intermediates.to_vec();
        self
    }

    /// Takes the roots of a trust domain that this mesh federates with, too. They vouch for its workloads alone; for this mesh
    /// they are not taken.
    ///
    /// # Errors
    /// When one of them has dates that cannot be read.
    pub fn add_foreign(&mut self, bundle: &TrustBundle) -> Result<(), InvalidAnchor> {
        if *bundle.domain() != self.domain {
            self.foreign.insert(bundle.domain().clone(), Vouching::compile(bundle)?);
        }
        Ok(())
    }

    /// True when some foreign trust domain is believed, so that connections may have been opened by other roots than ours.
    pub(super) fn are_federated(&self) -> bool {
        !self.foreign.is_empty()
    }

    /// True for a workload of a foreign trust domain whose roots are known.
    pub(super) fn know(&self, id: &SpiffeId, members: Members<'_>) -> bool {
        !members.include(id) && self.foreign.contains_key(&id.trust_domain())
    }

    /// Proves that a certificate chains to the roots of the trust domain that it names. Its names and own dates are not
    /// judged here. `hints` may bring authorities in between, from anywhere: they prove nothing by themselves, and they
    /// are asked for only if it does not go without.
    pub(super) fn prove(
        &self,
        peer: &Peer,
        (chain, hints): (&[CertificateDer<'static>], &dyn Fn() -> Vec<CertificateDer<'static>>),
        (members, now): (Members<'_>, SystemTime),
    ) -> Result<(), ChainFault> {
        // These roots vouch for their own mesh, under each of its names, and for no other.
        let vouching = if members.include(peer.id()) {
            (*members.own() == self.domain).then_some(&self.own)
        } else {
            self.foreign.get(&peer.id().trust_domain())
        };
        let vouching = vouching.ok_or(ChainFault::Untrusted)?;
        match vouching.prove(peer, (chain, &[]), now) {
            Ok(()) => Ok(()),
            Err(fault) => match hints() {
                hints if hints.is_empty() => Err(fault),
                hints => vouching.prove(peer, (chain, &hints), now),
            },
        }
    }
}

impl Vouching {
    fn compile(bundle: &TrustBundle) -> Result<Self, InvalidAnchor> {
        Ok(Self {
            anchors: Anchors::new(bundle.roots(), &[])?,
            intermediates: Vec::new(),
            proofs: Proofs::new(),
        })
    }

    /// What was proven once, by whatever authorities in between, holds as long as all of them do.
    fn prove(
        &self,
        peer: &Peer,
        (chain, hints): (&[CertificateDer<'static>], &[CertificateDer<'static>]),
        now: SystemTime,
    ) -> Result<(), ChainFault> {
        let key = key(peer.thumbprint(), chain);
        if self.proofs.find(&key, now).is_some() {
            return Ok(());
        }
        let way: Vec<CertificateDer<'_>> =
            chain.iter().chain(hints).chain(&self.intermediates).cloned().collect();
        self.anchors.check(&peer.der, &way, now)?;
        let until = self.anchors.holds_until(&peer.der, &way, now);
        self.proofs.put(&key, (), (now, until));
        Ok(())
    }
}

impl fmt::Debug for WorkloadRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadRoots")
            .field("domain", &self.domain)
            .field("foreign", &self.foreign.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
