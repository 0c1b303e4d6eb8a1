//! The trusted roots of one trust domain.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::TrustDomain;
use super::signing::{InvalidAuthority, check_authority};

/// Trusted roots of one trust domain. Never empty: an empty bundle pushed to a proxy switches client
/// authentication off, so the type cannot hold one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    domain: TrustDomain,
    roots: Vec<CertificateDer<'static>>,
}

/// Why certificates make no bundle.
#[derive(Debug, thiserror::Error)]
pub enum InvalidBundle {
    /// No root at all.
    #[error("the bundle holds no certificate")]
    Empty,
    /// The text is not PEM.
    #[error("the bundle is not PEM")]
    NotPem,
    /// A root cannot serve as a trust anchor.
    #[error("certificate {position} of the bundle cannot be a trust anchor")]
    Anchor {
        /// Counted from 1.
        position: usize,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// A certificate is not one of an authority.
    #[error("certificate {position} of the bundle is not one of an authority")]
    Authority {
        /// Counted from 1.
        position: usize,
        /// What is wrong with it.
        #[source]
        source: InvalidAuthority,
    },
}

impl TrustBundle {
    /// Takes DER roots, drops duplicates and keeps their order.
    ///
    /// # Errors
    /// When there is none, or one of them cannot be a trust anchor or is no authority.
    pub fn new(
        domain: TrustDomain,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Result<Self, InvalidBundle> {
        let mut roots: Vec<CertificateDer<'static>> = Vec::with_capacity(certificates.len());
        for (index, certificate) in certificates.into_iter().enumerate() {
            RootCertStore::empty()
                .add(certificate.clone())
                .map_err(|source| InvalidBundle::Anchor { position: index + 1, source })?;
            check_authority(&certificate)
                .map_err(|source| InvalidBundle::Authority { position: index + 1, source })?;
            if !roots.contains(&certificate) {
                roots.push(certificate);
            }
        }
        if roots.is_empty() {
            return Err(InvalidBundle::Empty);
        }
        Ok(Self { domain, roots })
    }

    /// Reads PEM certificates.
    ///
    /// # Errors
    /// When the text holds none, or one is no trust anchor.
    pub fn from_pem(domain: TrustDomain, pem: &str) -> Result<Self, InvalidBundle> {
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| InvalidBundle::NotPem)?;
        Self::new(domain, certificates)
    }

    /// The trust domain these roots speak for.
    #[must_use]
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The roots in DER; at least one.
    #[must_use]
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// These roots, and after them those of `other` that are not among them. The domain stays.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.roots.extend(other.roots.iter().filter(|root| !self.holds(root)).cloned());
        both
    }

    /// Whether every root of `other` is among these.
    #[must_use]
    pub fn holds_all(&self, other: &Self) -> bool {
        other.roots.iter().all(|root| self.holds(root))
    }

    fn holds(&self, root: &CertificateDer<'_>) -> bool {
        self.roots.iter().any(|own| own == root)
    }

    /// The roots as PEM text.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.roots.iter().map(|root| certificate_pem(root)).collect()
    }

    /// The roots for a TLS configuration of this process.
    #[must_use]
    pub fn to_root_store(&self) -> Arc<RootCertStore> {
        let mut store = RootCertStore::empty();
        // Each was accepted by `new`, so none is left out here.
        store.add_parsable_certificates(self.roots.iter().cloned());
        Arc::new(store)
    }
}

/// One certificate as a PEM block.
pub(super) fn certificate_pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::with_capacity(body.len() + 64);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
