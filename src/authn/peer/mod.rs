//! The workload on the wire, from what Envoy saw of its certificate, and whom it speaks for if it is a named proxy.
//!
//! `source.principal` alone proves nothing: Envoy fills it with the first URI SAN, else a DNS SAN, else the subject.
//! So the certificate itself is read: exactly one URI SAN, a SPIFFE ID, and the principal must be that very text.
//! That the certificate chains to a trusted root is proven by the TLS handshake before.
//!
//! Where this mesh federates with others, more roots than its own open connections, so each certificate is proven here
//! again, by the roots of the trust domain that it names and by no others: a foreign root never vouches for this mesh or
//! for a third. The authorities between leaf and root come from this workload's own chain or from the chain that Envoy
//! writes into `x-forwarded-client-cert`.
//!
//! A proxy that ends its clients' TLS may say in a header whose certificate it saw. Such a header is believed only
//! when the workload on the wire, proven as above, is a proxy that [`ForwardRules`] name, and only in the one form
//! that the rule names. From anybody else it is ignored, whatever it says; it is not removed here, so an application
//! that reads it believes its callers. What the header holds was not checked by our TLS, so it is checked here:
//! a workload's certificate against the mesh's roots ([`WorkloadRoots`]), any other against the authorities of the
//! identity providers ([`super::ClientAuthorities`]). That its owner held the key is the proxy's word alone.
//!
//! Envoy in front must let the header through: `forward_client_cert_details: FORWARD_ONLY` for
//! `x-forwarded-client-cert`. Under `SANITIZE_SET` Envoy replaces it with an element about the proxy itself, and under
//! `APPEND_FORWARD` adds one; both are refused here, because neither says whom the proxy speaks for.
//! `client-cert` (RFC 9440) passes Envoy as it is.

mod client_cert;
mod forward;
mod pem;
mod refused;
mod roots;
mod wire;
mod xfcc;

use std::sync::OnceLock;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use crate::identity::{InvalidLeaf, Leaf, Members, SpiffeId};

pub use forward::{
    Absent, ForwardHeader, ForwardRules, ForwardTrust, InvalidForwardRules, ProxyRule,
};
pub use refused::{ForwardFault, PeerRefused};
pub use roots::WorkloadRoots;
pub(super) use wire::Peers;
pub use wire::{Caller, OnTheWire, WireEvidence, WireRules};

/// A proven workload. Only a [`super::Verifier`] makes one.
#[derive(Debug)]
pub struct Peer {
    leaf: Leaf,
    der: CertificateDer<'static>,
    thumbprint: OnceLock<[u8; 32]>,
}

impl Peer {
    /// Who it is.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        self.leaf.id()
    }

    /// The serial number of its certificate, in lower-case hexadecimal.
    #[must_use]
    pub fn serial(&self) -> &str {
        self.leaf.serial()
    }

    /// The last second of its certificate.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.leaf.not_after()
    }

    /// SHA-256 of its certificate in DER (`x5t#S256` of RFC 8705), computed when it is first asked for.
    #[must_use]
    pub fn thumbprint(&self) -> &[u8; 32] {
        self.thumbprint.get_or_init(|| super::digest(&self.der))
    }

    /// Reads a certificate; what it claims is not compared with anything yet.
    fn read(certificate: &str) -> Result<Self, PeerRefused> {
        let der = pem::one(certificate).ok_or(PeerRefused::CertificateUnreadable)?;
        Self::from_der(der).map_err(PeerRefused::CertificateInvalid)
    }

    fn from_der(der: CertificateDer<'static>) -> Result<Self, InvalidLeaf> {
        Ok(Self { leaf: Leaf::parse(&der)?, der, thumbprint: OnceLock::new() })
    }

    /// Everything that may differ from one request to the next.
    fn judge(
        &self,
        principal: &str,
        members: Members<'_>,
        now: SystemTime,
    ) -> Result<(), PeerRefused> {
        if self.id().as_str() != principal {
            return Err(PeerRefused::PrincipalMismatch);
        }
        self.judge_in(members, now)
    }

    /// The same without a principal, for a certificate that Envoy never saw.
    fn judge_in(&self, members: Members<'_>, now: SystemTime) -> Result<(), PeerRefused> {
        if !members.include(self.id()) {
            return Err(PeerRefused::ForeignTrustDomain(self.id().trust_domain()));
        }
        self.judge_dates(now)
    }

    /// The same of a workload whose trust domain was looked at already.
    fn judge_foreign(&self, principal: &str, now: SystemTime) -> Result<(), PeerRefused> {
        if self.id().as_str() != principal {
            return Err(PeerRefused::PrincipalMismatch);
        }
        self.judge_dates(now)
    }

    fn judge_dates(&self, now: SystemTime) -> Result<(), PeerRefused> {
        if now < self.leaf.not_before() {
            return Err(PeerRefused::CertificateNotYetValid);
        }
        if now > self.leaf.not_after() {
            return Err(PeerRefused::CertificateExpired);
        }
        Ok(())
    }
}
