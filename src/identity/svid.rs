//! A workload's certificate together with its key, verified as a whole.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::bundle::certificate_pem;
use super::signing::{InvalidAuthority, check_authority};
use super::{Bundles, InvalidKey, InvalidLeaf, Leaf, PrivateKey, SpiffeId, TrustBundle};

/// An X509-SVID with its private key. Exists only if the leaf is a workload's leaf, the key fits it and
/// the chain ends in the bundle.
pub struct X509Svid {
    leaf: Leaf,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKey,
}

/// Why a chain and a key make no SVID.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSvid {
    /// The chain is empty.
    #[error("the chain holds no certificate")]
    Empty,
    /// The leaf breaks a rule.
    #[error("the leaf certificate is refused")]
    Leaf(#[from] InvalidLeaf),
    /// The leaf's extended key usage does not allow it to be a server and a client.
    #[error("the leaf's extended key usage lacks serverAuth or clientAuth")]
    ExtendedKeyUsage,
    /// A certificate after the leaf is not one of an authority.
    #[error("certificate {position} of the chain is not one of an authority")]
    Authority {
        /// Counted from 1, the leaf.
        position: usize,
        /// What is wrong with it.
        #[source]
        source: InvalidAuthority,
    },
    /// The leaf names a trust domain that the bundle does not speak for.
    #[error("{id} is not in trust domain {expected}")]
    Foreign {
        /// Whom the leaf names.
        id: SpiffeId,
        /// The bundle's trust domain.
        expected: String,
    },
    /// The key is unusable.
    #[error("the private key is refused")]
    Key(#[from] InvalidKey),
    /// Certificate and key belong to different pairs.
    #[error("the certificate does not belong to the private key")]
    KeyMismatch,
    /// The chain does not end in the bundle, is expired, or not yet valid.
    #[error("the chain is not trusted")]
    Untrusted(#[source] rustls::Error),
    /// The verifier could not be built.
    #[error("the trust bundle cannot be used")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

impl X509Svid {
    /// Verifies and takes a chain, leaf first, without the root.
    ///
    /// # Errors
    /// When the chain, the key or the bundle do not fit each other at `now`.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKey,
        bundle: &TrustBundle,
        now: SystemTime,
    ) -> Result<Self, InvalidSvid> {
        let leaf = check_profile(&chain)?;
        let (first, intermediates) = chain.split_first().ok_or(InvalidSvid::Empty)?;
        if !leaf.id().is_member_of(bundle.domain()) {
            return Err(InvalidSvid::Foreign {
                id: leaf.id().clone(),
                expected: bundle.domain().to_string(),
            });
        }
        if key.public_key()? != leaf.public_key() {
            return Err(InvalidSvid::KeyMismatch);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        verify_chain(first, intermediates, bundle, (provider, now))?;
        Ok(Self { leaf, chain, key })
    }

    /// Who the certificate names.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        self.leaf.id()
    }

    /// The facts of the leaf.
    #[must_use]
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// The chain in DER, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The chain as PEM text, leaf first.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|certificate| certificate_pem(certificate)).collect()
    }

    /// The private key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }
}

/// Checks what the X509-SVID specification says of the certificates of a chain, leaf first (sections 2 to 4), without
/// trust in any root and without a time.
///
/// # Errors
/// When the leaf or a certificate above it breaks a rule.
pub fn check_profile(chain: &[CertificateDer<'_>]) -> Result<Leaf, InvalidSvid> {
    let (first, authorities) = chain.split_first().ok_or(InvalidSvid::Empty)?;
    let leaf = Leaf::parse(first)?;
    check_extended_usage(first)?;
    for (index, authority) in authorities.iter().enumerate() {
        check_authority(authority)
            .map_err(|source| InvalidSvid::Authority { position: index + 2, source })?;
    }
    Ok(leaf)
}

/// An SVID serves on both sides of a session (section 4.4).
fn check_extended_usage(leaf: &[u8]) -> Result<(), InvalidSvid> {
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| InvalidLeaf::Unreadable)?;
    match leaf.extended_key_usage().map_err(|_| InvalidLeaf::Unreadable)? {
        Some(usage) if !(usage.value.server_auth && usage.value.client_auth) => {
            Err(InvalidSvid::ExtendedKeyUsage)
        }
        Some(_) | None => Ok(()),
    }
}

fn verify_chain(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    (provider, now): (Arc<CryptoProvider>, SystemTime),
) -> Result<(), InvalidSvid> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let verifier = WebPkiClientVerifier::builder_with_provider(bundle.to_root_store(), provider)
        .build()
        .map_err(InvalidSvid::Verifier)?;
    verifier
        .verify_client_cert(leaf, intermediates, UnixTime::since_unix_epoch(since))
        .map_err(InvalidSvid::Untrusted)?;
    Ok(())
}

/// Everything a workload's proxy needs to speak mTLS: its SVID and whom it trusts.
pub struct WorkloadIdentity {
    /// The certificate with its key.
    pub svid: X509Svid,
    /// Whom it trusts: peers are verified against the bundle of the trust domain they name.
    pub bundles: Bundles,
}
