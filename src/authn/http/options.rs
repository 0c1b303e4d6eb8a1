//! What a client may do.

use ipnet::IpNet;

use super::{ClientIdentity, Roots};
use crate::authn::files::{FileMissing, Files};
use crate::policy::Http;

/// What a client may do. There is no default: each field is a decision.
#[derive(Clone)]
pub struct HttpOptions {
    /// Whom to trust over https.
    pub roots: Roots,
    /// PEM certificates to trust instead; then these and no others.
    pub ca_pem: Option<Vec<u8>>,
    /// An http or https proxy for everything but loopback.
    pub proxy: Option<String>,
    /// Addresses that may be dialled though they are link-local or the like.
    pub allow: Vec<IpNet>,
    /// Hosts that may be asked over plain http, beside loopback.
    pub plaintext_hosts: Vec<String>,
    /// The certificate to present.
    pub identity: Option<ClientIdentity>,
}

impl HttpOptions {
    /// The strictest: the roots of the system, no proxy, nothing listed.
    #[must_use]
    pub fn system() -> Self {
        Self {
            roots: Roots::System,
            ca_pem: None,
            proxy: None,
            allow: Vec::new(),
            plaintext_hosts: Vec::new(),
            identity: None,
        }
    }

    /// What a resource says about reaching its provider's servers; nothing when it says nothing, and they are reached
    /// as everybody's are.
    ///
    /// # Errors
    /// When the file with the roots was not handed over.
    pub fn of(http: &Http, files: &Files) -> Result<Option<Self>, FileMissing> {
        if *http == Http::default() {
            return Ok(None);
        }
        let Http { ca, proxy, allow_addresses, plaintext_hosts } = http;
        let ca_pem = ca.as_ref().map(|file| files.content(file)).transpose()?;
        Ok(Some(Self {
            ca_pem: ca_pem.map(<[u8]>::to_vec),
            proxy: proxy.clone(),
            allow: allow_addresses.clone(),
            plaintext_hosts: plaintext_hosts.clone(),
            ..Self::system()
        }))
    }
}
