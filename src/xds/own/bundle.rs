//! Whom to trust for one trust domain.

use prost::Message as _;
use rustls::pki_types::CertificateDer;

use crate::identity::{
    InvalidBundle, InvalidJwtBundle, InvalidSpiffeId, JwtBundle, TrustBundle, TrustDomain,
};
use crate::proto::discovery;

use super::Encoded;

/// All that is told of one trust domain. Roots or keys may be absent, but not both.
#[derive(Debug, Clone, PartialEq)]
pub struct DomainBundle {
    domain: TrustDomain,
    roots: Option<TrustBundle>,
    keys: Option<JwtBundle>,
    sequence: u64,
}

/// A message tells nothing that could be trusted.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDomainBundle {
    /// The name of the resource is no trust domain.
    #[error("the name {name:?} is no trust domain")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: InvalidSpiffeId,
    },
    /// The bytes are no such message.
    #[error("the bundle is no TrustBundle message")]
    Unreadable(#[from] prost::DecodeError),
    /// The roots are no trust anchors.
    #[error("the bundle is refused")]
    Roots(#[from] InvalidBundle),
    /// The keys are no keys of JWT-SVIDs.
    #[error("the JWT keys are refused")]
    Keys(#[from] InvalidJwtBundle),
    /// There is nothing in it.
    #[error("the bundle of {0} is empty")]
    Empty(TrustDomain),
}

impl DomainBundle {
    /// What is told of the trust domain of `roots`. Keys of another domain are not taken.
    #[must_use]
    pub fn new(roots: TrustBundle, keys: Option<JwtBundle>, sequence: u64) -> Self {
        let domain = roots.domain().clone();
        let keys = keys.filter(|keys| *keys.domain() == domain);
        Self { domain, roots: Some(roots), keys, sequence }
    }

    /// A trust domain that only signs JWT-SVIDs; `None` when there is no key.
    #[must_use]
    pub fn keys_only(keys: JwtBundle, sequence: u64) -> Option<Self> {
        let domain = keys.domain().clone();
        let some = !keys.keys().is_empty();
        some.then_some(Self { domain, roots: None, keys: Some(keys), sequence })
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// When the name is no trust domain, the message is damaged, or nothing in it could be trusted.
    pub fn decode(name: &str, content: &[u8]) -> Result<Self, InvalidDomainBundle> {
        let invalid = |source| InvalidDomainBundle::Name { name: name.to_owned(), source };
        let domain = TrustDomain::parse(name).map_err(invalid)?;
        let discovery::TrustBundle { x509_authorities, jwt_authorities, sequence } =
            discovery::TrustBundle::decode(content)?;
        let roots = if x509_authorities.is_empty() {
            None
        } else {
            let roots = x509_authorities.into_iter().map(CertificateDer::from).collect();
            Some(TrustBundle::new(domain.clone(), roots)?)
        };
        let keys = if jwt_authorities.is_empty() {
            None
        } else {
            Some(JwtBundle::from_jwks(domain.clone(), &jwt_authorities)?)
        };
        if roots.is_none() && keys.as_ref().is_none_or(|keys| keys.keys().is_empty()) {
            return Err(InvalidDomainBundle::Empty(domain));
        }
        Ok(Self { domain, roots, keys, sequence })
    }

    /// The resource that says this.
    ///
    /// # Errors
    /// Never for keys that were read; the writer's signature allows it.
    pub fn encode(&self) -> Result<Encoded, serde_json::Error> {
        let roots = self.roots.iter().flat_map(TrustBundle::roots);
        let message = discovery::TrustBundle {
            x509_authorities: roots.map(|root| root.to_vec()).collect(),
            jwt_authorities: match &self.keys {
                Some(keys) => keys.to_jwks()?,
                None => String::new(),
            },
            sequence: self.sequence,
        };
        Ok(Encoded { name: self.domain.to_string(), content: message.encode_to_vec() })
    }

    /// The trust domain.
    #[must_use]
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// Its roots.
    #[must_use]
    pub fn roots(&self) -> Option<&TrustBundle> {
        self.roots.as_ref()
    }

    /// The keys of its JWT-SVIDs.
    #[must_use]
    pub fn keys(&self) -> Option<&JwtBundle> {
        self.keys.as_ref()
    }

    /// Grows with each change.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}
