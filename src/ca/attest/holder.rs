//! Who may have tokens: whoever holds a certificate of this authority, and its key.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use crate::identity::SpiffeId;
use crate::revocation::Certificate;

use super::{AttestRefused, Attestor, Certified};

/// Proof that a caller holds a certificate of this authority that is good now, with its key: its TLS connection shows it.
/// Made by [`Attestor::holder`] only, so that no token is signed for anybody else.
#[derive(Debug)]
pub struct Holder {
    id: SpiffeId,
    not_after: SystemTime,
}

impl Holder {
    /// Whom the certificate names.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The certificate's last second.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }
}

impl Attestor {
    /// Says whose certificate the caller's connection proved. Nothing else counts here: no token, and no certificate of a
    /// foreign authority. Whoever is proven by those gets a certificate of ours first.
    ///
    /// # Errors
    /// When there is no certificate, or one that is not this authority's, not good now, revoked, or no workload's.
    pub fn holder(
        &self,
        certificates: Option<&[CertificateDer<'static>]>,
        now: SystemTime,
    ) -> Result<Holder, AttestRefused> {
        let chain = certificates.ok_or(AttestRefused::NoCertificate)?;
        let leaf = match self.certified(chain, now)? {
            Certified::Own(leaf) => leaf,
            Certified::Foreign(_) => return Err(AttestRefused::ForeignAuthority),
        };
        self.not_withheld(leaf.id(), Certificate::Serial(leaf.serial()), now)?;
        Ok(Holder { id: leaf.id().clone(), not_after: leaf.not_after() })
    }
}
