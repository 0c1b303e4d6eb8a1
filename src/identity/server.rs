//! What a TLS client asks of a server, where that is something else than a host name and the web's authorities.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

/// Judges the chain that a server shows. That the server holds the key of its leaf is checked besides, whatever the
/// judge says: else anybody could show anybody's certificate.
pub trait Judge: fmt::Debug + Send + Sync {
    /// Looks at a leaf and what came with it.
    ///
    /// # Errors
    /// When the server is not to be spoken to.
    fn judge(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<(), Error>;
}

/// A judge that takes any chain.
///
/// Only for connections on which nothing secret is sent, and from which nothing is believed that the server could profit
/// from: the certificate that Envoy shows, the status that an application answers a probe with, a port that is tried.
#[derive(Debug)]
pub struct AnyServer;

/// The verifier of one judge, for a [`rustls::ClientConfig`].
#[derive(Debug)]
pub struct JudgedServer<J> {
    judge: J,
    provider: CryptoProvider,
}

impl<J: Judge> JudgedServer<J> {
    /// Signatures are verified by aws-lc.
    #[must_use]
    pub fn new(judge: J) -> Arc<Self> {
        Arc::new(Self { judge, provider: rustls::crypto::aws_lc_rs::default_provider() })
    }

    /// The judge, to be asked what it saw.
    #[must_use]
    pub fn judge(&self) -> &J {
        &self.judge
    }
}

impl Judge for AnyServer {
    fn judge(&self, _: &CertificateDer<'_>, _: &[CertificateDer<'_>]) -> Result<(), Error> {
        Ok(())
    }
}

impl<J: Judge> ServerCertVerifier for JudgedServer<J> {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge.judge(leaf, rest).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
