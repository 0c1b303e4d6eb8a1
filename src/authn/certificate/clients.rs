//! The authorities of all identity providers that know X.509 clients.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::chain::ChainFault;
use super::{CertificateAuthority, CertificateRefused, Client};

/// The authorities of all identity providers that know X.509 clients, by the name of the provider.
pub struct ClientAuthorities(Vec<(Arc<str>, Arc<CertificateAuthority>)>);

/// An X.509 client and the provider that knows it.
#[derive(Debug, Clone)]
pub struct ProvenClient {
    /// The identity provider whose authority proved it.
    pub provider: Arc<str>,
    /// Who it is.
    pub client: Arc<Client>,
}

impl ClientAuthorities {
    /// Each with the name of its provider.
    #[must_use]
    pub fn new(authorities: Vec<(Arc<str>, Arc<CertificateAuthority>)>) -> Self {
        Self(authorities)
    }

    /// No provider knows X.509 clients.
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// True when no provider knows X.509 clients.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The provider whose authority made a certificate, whatever it names and whether or not it still counts.
    pub(in crate::authn) fn maker(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Option<&Arc<str>> {
        let made = self.0.iter().find(|(_, authority)| authority.made(leaf, chain, now));
        made.map(|(provider, _)| provider)
    }

    /// Proves a client by the one authority that knows it.
    ///
    /// # Errors
    /// When none proves it (then it is the reason of one that knows its issuer, where there is one), or more than one.
    pub fn prove(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<ProvenClient, CertificateRefused> {
        let untrusted = CertificateRefused::Chain(ChainFault::Untrusted);
        let mut refused = untrusted.clone();
        let mut proven: Option<ProvenClient> = None;
        for (provider, authority) in &self.0 {
            match authority.prove(leaf, chain, now) {
                Ok(_) if proven.is_some() => return Err(CertificateRefused::ProviderAmbiguous),
                Ok(client) => {
                    proven = Some(ProvenClient { provider: Arc::clone(provider), client });
                }
                Err(reason) if refused == untrusted => refused = reason,
                Err(_) => {}
            }
        }
        proven.ok_or(refused)
    }
}
