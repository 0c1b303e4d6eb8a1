//! What was signed: it is handed out only after the join token that paid for it is used up.

use rustls::pki_types::CertificateDer;

use crate::ca::attest::Attestation;
use crate::ca::signer::pem;
use crate::ca::token::{PendingToken, TokenRefused, TokenStore};
use crate::identity::Leaf;

/// A signed certificate that nobody has seen yet: its join token must be used up first.
pub struct Unreleased {
    issued: Issued,
    token: Option<PendingToken>,
}

/// A certificate that may be handed out.
#[derive(Debug)]
pub struct Issued {
    leaf: Leaf,
    attestation: Attestation,
    /// Leaf first, root last.
    chain: Vec<CertificateDer<'static>>,
}

impl Unreleased {
    pub(super) fn new(issued: Issued, token: Option<PendingToken>) -> Self {
        Self { issued, token }
    }

    /// Uses up the join token, if there was one, and only then gives the certificate.
    ///
    /// # Errors
    /// When another use of the token came first.
    pub fn release(self, tokens: &TokenStore) -> Result<Issued, TokenRefused> {
        if let Some(token) = &self.token {
            tokens.consume(token)?;
        }
        Ok(self.issued)
    }
}

impl Issued {
    pub(super) fn new(
        leaf: Leaf,
        attestation: Attestation,
        chain: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self { leaf, attestation, chain }
    }

    /// What stands in the leaf.
    #[must_use]
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// By what the workload proved itself.
    #[must_use]
    pub fn attestation(&self) -> Attestation {
        self.attestation
    }

    /// Leaf, issuing certificate, what stands between, and root, each as PEM.
    #[must_use]
    pub fn chain_pem(&self) -> Vec<String> {
        self.chain.iter().map(|der| pem(der)).collect()
    }
}
