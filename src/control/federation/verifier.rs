//! Recognises one server by its X509-SVID, whatever its host name is (SPIFFE Federation, section 5.2.2.4).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{Error, RootCertStore};

use crate::identity::{Judge, Leaf, SpiffeId, TrustBundle};
use crate::runtime::Clock;

/// Accepts the server of exactly one SPIFFE ID, by the roots of that ID's trust domain.
#[derive(Debug)]
pub(super) struct SpiffeServer {
    id: SpiffeId,
    roots: Arc<RootCertStore>,
    clock: Clock,
}

impl SpiffeServer {
    /// `bundle` must be of the trust domain of `id`; of another it accepts nobody.
    pub(super) fn new(id: SpiffeId, bundle: &TrustBundle, clock: Clock) -> Self {
        let roots = match id.is_member_of(bundle.domain()) {
            true => bundle.to_root_store(),
            false => Arc::new(RootCertStore::empty()),
        };
        Self { id, roots, clock }
    }
}

impl Judge for SpiffeServer {
    fn judge(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<(), Error> {
        let shown = Leaf::parse(leaf)
            .map_err(|error| Error::General(format!("the server shows no X509-SVID: {error}")))?;
        if *shown.id() != self.id {
            let text = format!("the server is {}, not {}", shown.id(), self.id);
            return Err(Error::General(text));
        }
        let now = self.clock.now().duration_since(SystemTime::UNIX_EPOCH);
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.roots,
            rest,
            UnixTime::since_unix_epoch(now.unwrap_or(Duration::ZERO)),
            rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all,
        )
    }
}
