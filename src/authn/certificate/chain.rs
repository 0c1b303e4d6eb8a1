//! From a leaf to a trusted root, checked here and not by the proxy in front.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, Error, RootCertStore};

use super::reading;
use crate::authn::recent::Recent;

/// How many proofs one set of roots remembers.
const PROOFS: usize = 1024;

/// Roots that leaves are checked against, each with its own dates: a root is trusted within them only.
pub(in crate::authn) struct Anchors {
    roots: Vec<Anchor>,
    /// When a proof may stop to hold for what is configured: the ends of roots, intermediates and revocation lists.
    ends: Vec<SystemTime>,
}

struct Anchor {
    verifier: Arc<dyn ClientCertVerifier>,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// Why a certificate does not chain to a trusted root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// None of the roots is on its way, or a signature on it is wrong.
    #[error("it does not chain to a trusted root")]
    Untrusted,
    /// No root is within its own dates.
    #[error("every trusted root has expired or is not valid yet")]
    RootNotInForce,
    /// One on the way has expired.
    #[error("it or an intermediate has expired")]
    Expired,
    /// One on the way is not valid yet.
    #[error("it or an intermediate is not valid yet")]
    NotYetValid,
    /// One on the way is revoked.
    #[error("it or an intermediate is revoked")]
    Revoked,
    /// Whether one on the way is revoked cannot be known.
    #[error("an issuer on its way has no current revocation list of its own")]
    RevocationUnknown,
    /// One on the way is not for this use.
    #[error("it or an intermediate is not for TLS clients")]
    Purpose,
    /// A constraint is broken, or an algorithm is not supported.
    #[error("it breaks a rule: {0}")]
    Invalid(String),
}

/// Certificates and lists that nothing can be checked against.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAnchor {
    /// A root cannot be read.
    #[error("a root is no certificate that can be read")]
    Unreadable,
    /// A root cannot serve.
    #[error("a root cannot serve as a trust anchor")]
    Root(#[source] Error),
    /// A revocation list has a form that is not supported.
    #[error("a revocation list cannot be used")]
    Lists(#[source] VerifierBuilderError),
}

impl ChainFault {
    /// A stable name, for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Untrusted => "certificate_untrusted",
            Self::RootNotInForce => "certificate_authority_not_in_force",
            Self::Expired => "certificate_expired",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::Revoked => "certificate_revoked",
            Self::RevocationUnknown => "certificate_revocation_unknown",
            Self::Purpose => "certificate_purpose",
            Self::Invalid(_) => "certificate_chain_invalid",
        }
    }

    fn from_rustls(error: Error) -> Self {
        match error {
            Error::InvalidCertificate(problem) => Self::from_certificate(&problem),
            Error::InvalidCertRevocationList(_) => Self::RevocationUnknown,
            // rustls may add kinds; whatever it is, it is a refusal.
            other => Self::Invalid(other.to_string()),
        }
    }

    fn from_certificate(problem: &CertificateError) -> Self {
        match problem {
            // A wrong signature is that of a stranger with the issuer's name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Untrusted,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::Revoked => Self::Revoked,
            CertificateError::UnknownRevocationStatus
            | CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => Self::RevocationUnknown,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::Purpose
            }
            // rustls may add kinds; whatever it is, it is a refusal.
            other => Self::Invalid(other.to_string()),
        }
    }
}

impl Anchors {
    /// Roots in DER, and the revocation lists that every issuer must have; none means that nothing is ever revoked.
    pub(in crate::authn) fn new(
        roots: &[CertificateDer<'static>],
        lists: &[CertificateRevocationListDer<'static>],
    ) -> Result<Self, InvalidAnchor> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut anchors = Self { roots: Vec::with_capacity(roots.len()), ends: Vec::new() };
        for root in roots {
            let read = reading::Reading::of(root).ok_or(InvalidAnchor::Unreadable)?;
            let mut store = RootCertStore::empty();
            store.add(root.clone()).map_err(InvalidAnchor::Root)?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(store.into(), Arc::clone(&provider))
                    .with_crls(lists.iter().cloned())
                    .enforce_revocation_expiration()
                    .build()
                    .map_err(InvalidAnchor::Lists)?;
            anchors.ends.push(read.not_after);
            let (not_before, not_after) = (read.not_before, read.not_after);
            anchors.roots.push(Anchor { verifier, not_before, not_after });
        }
        Ok(anchors)
    }

    /// A time from which on proofs must be made again: the end of an intermediate or of a revocation list.
    pub(super) fn ends_at(&mut self, end: SystemTime) {
        self.ends.push(end);
    }

    /// Checks that a leaf chains to a root now, by way of the intermediates.
    ///
    /// # Errors
    /// What the root says that knows most of it.
    pub(in crate::authn) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<(), ChainFault> {
        let since = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(|_| ChainFault::NotYetValid)
            .map(UnixTime::since_unix_epoch)?;
        let mut worst = ChainFault::RootNotInForce;
        for root in &self.roots {
            if now < root.not_before || now > root.not_after {
                continue;
            }
            match root.verifier.verify_client_cert(leaf, intermediates, since) {
                Ok(_) => return Ok(()),
                Err(error) => {
                    let fault = ChainFault::from_rustls(error);
                    let says_less =
                        matches!(worst, ChainFault::RootNotInForce | ChainFault::Untrusted);
                    if says_less {
                        worst = fault;
                    }
                }
            }
        }
        Err(worst)
    }

    /// Until when a proof made now holds at least: the first end of anything that took part or might have.
    pub(in crate::authn) fn holds_until(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> SystemTime {
        let given = std::iter::once(leaf).chain(chain).filter_map(|der| reading::not_after(der));
        given.chain(self.ends.iter().copied()).filter(|end| *end >= now).min().unwrap_or(now)
    }
}

/// Proofs that were made a moment ago, each within its own time. They live and die with what they were proven against,
/// so no proof outlives its roots. Refusals are never remembered.
pub(in crate::authn) struct Proofs<V>(Recent<Proof<V>>);

#[derive(Clone)]
struct Proof<V> {
    value: V,
    from: SystemTime,
    until: SystemTime,
}

impl<V: Clone> Proofs<V> {
    pub(in crate::authn) fn new() -> Self {
        Self(Recent::new(PROOFS, 64))
    }

    pub(in crate::authn) fn find(&self, key: &[u8; 64], now: SystemTime) -> Option<V> {
        // Before its time only if the clock went back: then it is made again.
        let proof = self.0.find(key).filter(|proof| proof.from <= now && now < proof.until)?;
        Some(proof.value)
    }

    pub(in crate::authn) fn put(
        &self,
        key: &[u8; 64],
        value: V,
        (from, until): (SystemTime, SystemTime),
    ) {
        self.0.put(key, Proof { value, from, until });
    }
}

/// What a proof is remembered under: the digest of the leaf, and that of all that came with it.
pub(in crate::authn) fn key(leaf: &[u8; 32], chain: &[CertificateDer<'_>]) -> [u8; 64] {
    let mut all = Vec::new();
    for certificate in chain {
        // Digests of one length each, so that no two chains make the same text.
        all.extend_from_slice(&crate::authn::digest(certificate));
    }
    let rest = if chain.is_empty() { [0; 32] } else { crate::authn::digest(&all) };
    let mut key = [0; 64];
    for (into, from) in key.iter_mut().zip(leaf.iter().chain(&rest)) {
        *into = *from;
    }
    key
}
