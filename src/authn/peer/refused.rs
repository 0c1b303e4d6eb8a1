//! Why nobody is proven on the wire.

use std::sync::Arc;

use crate::authn::certificate::{CertificateRefused, ChainFault};
use crate::identity::{InvalidLeaf, TrustDomain};

/// Why a client certificate does not prove a workload or a client.
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
    /// Its name is not the principal.
    #[error("the certificate's name is not the principal")]
    PrincipalMismatch,
    /// It is of another mesh, with which this one does not federate.
    #[error("the certificate is of trust domain {0}")]
    ForeignTrustDomain(TrustDomain),
    /// It has expired.
    #[error("the certificate has expired")]
    CertificateExpired,
    /// It is not valid yet.
    #[error("the certificate is not valid yet")]
    CertificateNotYetValid,
    /// It names a workload of the mesh. Authorities of providers are trusted on the same connections, and without the
    /// mesh's roots it cannot be told that none of them made it.
    #[error(
        "the certificate names a workload, and while a provider has `certificates` that needs the mesh's roots, \
         which are not known here (they come with the sidecar's own certificate)"
    )]
    WorkloadUnverifiable,
    /// It names a workload of the mesh and does not chain to the mesh's roots.
    #[error("the certificate names a workload of the mesh and is not one of the mesh: {0}")]
    WorkloadUntrusted(ChainFault),
    /// It names a workload of a trust domain that this mesh federates with, and does not chain to that one's roots.
    #[error(
        "the certificate names a workload of a federated trust domain, and is not one of it: {0} (Envoy tells the chain \
         with set_current_client_cert_details `chain: true`)"
    )]
    ForeignUntrusted(ChainFault),
    /// It names a workload of the mesh, and the authority of a provider made it.
    #[error(
        "the certificate names a workload of the mesh, and the authority of provider {0} made it"
    )]
    WorkloadOfProvider(Arc<str>),
    /// It is of no workload, and no provider's authority proves it.
    #[error(transparent)]
    Client(#[from] CertificateRefused),
    /// A named proxy forwards no certificate, and its rule demands one.
    #[error("the proxy forwards no client certificate, and its rule says `absent: Refuse`")]
    ForwardedAbsent,
    /// A named proxy forwards something that is not one certificate.
    #[error("what the proxy forwards proves nothing: {0}")]
    Forwarded(ForwardFault),
    /// The forwarded certificate is of a workload, and there are no roots to check it against.
    #[error(
        "the forwarded certificate is of a workload, and there are no roots to check it against \
         (`trust: Proxy` takes the proxy's word)"
    )]
    ForwardedUnverifiable,
    /// The forwarded certificate is of a workload and does not chain to the mesh's roots.
    #[error("the forwarded certificate is not one of the mesh: {0}")]
    ForwardedUntrusted(ChainFault),
}

/// Why a forwarding header does not hold one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForwardFault {
    /// Several elements or lines: several proxies spoke, and which of them counts is not for us to guess.
    #[error(
        "there is more than one element or header line (Envoy in front must not append: FORWARD_ONLY)"
    )]
    Ambiguous,
    /// Outside the grammar, or it could be read in two ways.
    #[error("the header is malformed: {0}")]
    Malformed(&'static str),
    /// There is no certificate in it; digests and names prove nothing.
    #[error(
        "there is no certificate in it (set_current_client_cert_details `cert: true` at the proxy, \
         FORWARD_ONLY in front of this service)"
    )]
    CertificateMissing,
    /// Its certificate or chain cannot be read.
    #[error("the certificate or chain in it is unreadable")]
    CertificateUnreadable,
    /// What it says of the certificate is not what stands in the certificate.
    #[error("its {0} is not that of its certificate")]
    Mismatch(&'static str),
    /// It is the certificate of the connection itself: Envoy in front overwrote what the proxy said.
    #[error("it is the proxy's own certificate (Envoy in front must not overwrite: FORWARD_ONLY)")]
    OwnCertificate,
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
            Self::WorkloadUnverifiable => "workload_unverifiable",
            Self::WorkloadUntrusted(_) | Self::WorkloadOfProvider(_) => "workload_untrusted",
            Self::ForeignUntrusted(_) => "foreign_untrusted",
            Self::Client(refused) => refused.code(),
            Self::ForwardedAbsent => "forwarded_absent",
            Self::Forwarded(fault) => fault.code(),
            Self::ForwardedUnverifiable => "forwarded_unverifiable",
            Self::ForwardedUntrusted(_) => "forwarded_untrusted",
        }
    }
}

impl ForwardFault {
    /// A stable name, for logs and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Ambiguous => "forwarded_ambiguous",
            Self::Malformed(_) => "forwarded_malformed",
            Self::CertificateMissing => "forwarded_certificate_missing",
            Self::CertificateUnreadable => "forwarded_certificate_unreadable",
            Self::Mismatch(_) => "forwarded_mismatch",
            Self::OwnCertificate => "forwarded_own_certificate",
        }
    }
}
