//! The workload on the wire, from what Envoy saw of its certificate.
//!
//! `source.principal` alone proves nothing: Envoy fills it with the first URI SAN, else a DNS SAN, else the subject.
//! So the certificate itself is read: exactly one URI SAN, a SPIFFE ID, and the principal must be that very text.
//! That the certificate chains to a trusted root is proven by the TLS handshake before.

use std::time::SystemTime;

use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::identity::{InvalidLeaf, Leaf, SpiffeId, TrustDomain};

/// The longest URL-encoded certificate that is read.
const MAX_CERTIFICATE_LENGTH: usize = 32 * 1024;
const BEGIN: &str = "-----BEGIN ";

/// A proven workload. Only a [`super::Verifier`] makes one.
#[derive(Debug)]
pub struct Peer {
    leaf: Leaf,
}

/// Why a client certificate does not prove a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefused {
    /// Envoy names a principal but sends no certificate: `include_peer_certificate` is off.
    #[error("there is a principal but no certificate (is include_peer_certificate on?)")]
    CertificateMissing,
    /// There is a certificate but no principal.
    #[error("there is a certificate but no principal")]
    PrincipalMissing,
    /// Not one certificate as URL-encoded PEM.
    #[error("the certificate is not one URL-encoded PEM block")]
    CertificateUnreadable,
    /// A certificate, but none of a workload.
    #[error("the certificate is not one of a workload: {0}")]
    CertificateInvalid(InvalidLeaf),
    /// Its one URI SAN is not the principal.
    #[error("the certificate's SPIFFE ID is not the principal")]
    PrincipalMismatch,
    /// It is of another mesh.
    #[error("the certificate is of trust domain {0}")]
    ForeignTrustDomain(TrustDomain),
    /// It has expired.
    #[error("the certificate has expired")]
    CertificateExpired,
    /// It is not valid yet.
    #[error("the certificate is not valid yet")]
    CertificateNotYetValid,
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

    /// Reads a certificate; what it claims is not compared with anything yet.
    pub(super) fn read(certificate: &str) -> Result<Self, PeerRefused> {
        let der = decode(certificate).ok_or(PeerRefused::CertificateUnreadable)?;
        let leaf = Leaf::parse(&der).map_err(PeerRefused::CertificateInvalid)?;
        Ok(Self { leaf })
    }

    /// Everything that may differ from one request to the next.
    pub(super) fn judge(
        &self,
        principal: &str,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<(), PeerRefused> {
        if self.id().as_str() != principal {
            return Err(PeerRefused::PrincipalMismatch);
        }
        if !self.id().is_member_of(domain) {
            return Err(PeerRefused::ForeignTrustDomain(self.id().trust_domain()));
        }
        if now < self.leaf.not_before() {
            return Err(PeerRefused::CertificateNotYetValid);
        }
        if now > self.leaf.not_after() {
            return Err(PeerRefused::CertificateExpired);
        }
        Ok(())
    }
}

impl PeerRefused {
    /// A stable name, for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::CertificateMissing => "certificate_missing",
            Self::PrincipalMissing => "principal_missing",
            Self::CertificateUnreadable => "certificate_unreadable",
            Self::CertificateInvalid(_) => "certificate_invalid",
            Self::PrincipalMismatch => "principal_mismatch",
            Self::ForeignTrustDomain(_) => "foreign_trust_domain",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateNotYetValid => "certificate_not_yet_valid",
        }
    }
}

/// The DER bytes of exactly one URL-encoded PEM certificate.
fn decode(certificate: &str) -> Option<CertificateDer<'static>> {
    if certificate.len() > MAX_CERTIFICATE_LENGTH || !escapes_are_whole(certificate) {
        return None;
    }
    let pem = percent_decode_str(certificate).decode_utf8().ok()?;
    let one = pem.starts_with("-----BEGIN CERTIFICATE-----") && pem.matches(BEGIN).count() == 1;
    let nothing_after = pem.trim_end().ends_with("-----END CERTIFICATE-----");
    if !one || !nothing_after {
        return None;
    }
    CertificateDer::from_pem_slice(pem.as_bytes()).ok()
}

/// Each `%` begins an escape of two digits; the decoder would leave others as they are.
fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}
