//! Why a certificate proves no X.509 client.

use super::chain::ChainFault;

/// Why a certificate proves no X.509 client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefused {
    /// It, or one that came with it, is no DER certificate.
    #[error("the certificate or its chain is unreadable")]
    Unreadable,
    /// It is a CA, lacks the purpose clientAuth, or its key may not sign.
    #[error(
        "the certificate is not one of a TLS client (is clientAuth in its extended key usage?)"
    )]
    Purpose,
    /// It has expired.
    #[error("the certificate has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// It does not chain to a trusted root.
    #[error("the certificate cannot be trusted: {0}")]
    Chain(ChainFault),
    /// It has no name of the kind that the subject is taken from.
    #[error("the certificate has no name of the kind that the subject is taken from")]
    SubjectMissing,
    /// It has several, and which of them counts is not for us to guess.
    #[error("the certificate has several names of the kind that the subject is taken from")]
    SubjectAmbiguous,
    /// The name is empty, not printable, or stands for many.
    #[error("the name that the subject is taken from is empty, unprintable or a wildcard")]
    SubjectInvalid,
    /// The authorities of two providers prove it.
    #[error("the certificate belongs to more than one identity provider")]
    ProviderAmbiguous,
}

impl CertificateRefused {
    /// A stable name, for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable => "certificate_unreadable",
            Self::Purpose => "certificate_purpose",
            Self::Expired => "certificate_expired",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::Chain(fault) => fault.code(),
            Self::SubjectMissing => "certificate_subject_missing",
            Self::SubjectAmbiguous => "certificate_subject_ambiguous",
            Self::SubjectInvalid => "certificate_subject_invalid",
            Self::ProviderAmbiguous => "certificate_provider_ambiguous",
        }
    }
}
