//! A workload's certificate together with its key, verified as a whole.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;

use super::bundle::certificate_pem;
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
        let (first, intermediates) = chain.split_first().ok_or(InvalidSvid::Empty)?;
        let leaf = Leaf::parse(first)?;
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
