//! Recognises one server by its X509-SVID, whatever its host name is (SPIFFE Federation, section 5.2.2.4).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::identity::{Leaf, SpiffeId, TrustBundle};
use crate::runtime::Clock;

/// Accepts the server of exactly one SPIFFE ID, by the roots of that ID's trust domain.
#[derive(Debug)]
pub(super) struct SpiffeServer {
    id: SpiffeId,
    roots: Arc<RootCertStore>,
    provider: CryptoProvider,
    clock: Clock,
}

impl SpiffeServer {
    /// `bundle` must be of the trust domain of `id`; of another it accepts nobody.
    pub(super) fn new(id: SpiffeId, bundle: &TrustBundle, clock: Clock) -> Self {
        let roots = match id.is_member_of(bundle.domain()) {
            true => bundle.to_root_store(),
            false => Arc::new(RootCertStore::empty()),
        };
        Self { id, roots, provider: rustls::crypto::aws_lc_rs::default_provider(), clock }
    }
}

impl ServerCertVerifier for SpiffeServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = Leaf::parse(end_entity)
            .map_err(|error| Error::General(format!("the server shows no X509-SVID: {error}")))?;
        if *leaf.id() != self.id {
            let text = format!("the server is {}, not {}", leaf.id(), self.id);
            return Err(Error::General(text));
        }
        let now = self.clock.now().duration_since(SystemTime::UNIX_EPOCH);
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            UnixTime::since_unix_epoch(now.unwrap_or(Duration::ZERO)),
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
