//! Verifies client certificates against the roots that are trusted at that moment, not at the start of the process.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tokio::sync::watch;

use crate::identity::TrustBundle;

use super::authority::Trust;

/// A verifier of client certificates that follows the bundle of an authority. A client need not show a certificate; one
/// that is shown must verify.
pub struct FollowingVerifier {
    trust: watch::Receiver<Arc<Trust>>,
    held: ArcSwap<Held>,
}

struct Held {
    sequence: u64,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl FollowingVerifier {
    /// Follows `trust`.
    ///
    /// # Errors
    /// When the roots of now make no verifier.
    pub fn new(trust: watch::Receiver<Arc<Trust>>) -> Result<Self, VerifierBuilderError> {
        let now = Arc::clone(&trust.borrow());
        let held = Held { sequence: now.sequence, verifier: verifier(now.bundles.own())? };
        Ok(Self { trust, held: ArcSwap::from_pointee(held) })
    }

    /// The verifier of now. One that cannot be built leaves nobody trusted.
    fn current(&self) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        let now = Arc::clone(&self.trust.borrow());
        let held = self.held.load();
        if held.sequence == now.sequence {
            return Ok(Arc::clone(&held.verifier));
        }
        let verifier = verifier(now.bundles.own())
            .map_err(|_| rustls::Error::General("the roots make no verifier".to_owned()))?;
        let held = Held { sequence: now.sequence, verifier: Arc::clone(&verifier) };
        self.held.store(Arc::new(held));
        Ok(verifier)
    }
}

fn verifier(bundle: &TrustBundle) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(bundle.to_root_store(), provider)
        .allow_unauthenticated()
        .build()
}

impl ClientCertVerifier for FollowingVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: the roots may change while a client reads them.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.current()?.verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current()?.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current()?.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.held.load().verifier.supported_verify_schemes()
    }
}

impl fmt::Debug for FollowingVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowingVerifier").finish_non_exhaustive()
    }
}
