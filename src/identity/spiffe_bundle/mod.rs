//! The bundle of a trust domain as a document that other trust domains read (SPIFFE Trust Domain and Bundle, section 4).
//!
//! A JSON Web Key Set whose entries say for which kind of SVID they vouch. What the specification has its readers ignore
//! is ignored and told by [`SpiffeBundle::ignored`]; whatever else is wrong refuses the whole document, so that a
//! bundle is never half of what its publisher meant. Nothing that is left out can widen trust: there is only less of it.
//! The document does not name its trust domain (section 3): whoever reads it must know.

mod jwk;
mod read;

use std::time::Duration;

use serde_json::{Value, json};

use super::{InvalidBundle, InvalidJwtBundle, JwtBundle, TrustBundle, TrustDomain};

pub use read::{Ignored, KeyProblem, WhyIgnored};

/// What vouches for the SVIDs of one trust domain, with the number of its revision and how often to look for a newer one.
#[derive(Debug, Clone, PartialEq)]
pub struct SpiffeBundle {
    domain: TrustDomain,
    x509: Option<TrustBundle>,
    jwt: JwtBundle,
    sequence: Option<u64>,
    refresh_hint: Option<Duration>,
    ignored: Vec<Ignored>,
}

/// Why a document is no bundle, or a bundle cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSpiffeBundle {
    /// The text is no JSON.
    #[error("not JSON")]
    NotJson(#[source] serde_json::Error),
    /// JSON, but not an object with an array `keys` (section 4.1.3).
    #[error("not a JSON Web Key Set: an object with an array `keys` is expected")]
    NoKeys,
    /// `spiffe_sequence` or `spiffe_refresh_hint` is there and no whole number of 0 to 2^64-1 (sections 4.1.1, 4.1.2).
    #[error("`{0}` is not a whole number from 0 to 2^64-1")]
    Number(&'static str),
    /// One key breaks a rule.
    #[error("key {position} of the bundle: {problem}")]
    Key {
        /// Counted from 1, ignored ones too.
        position: usize,
        /// What is wrong with it.
        problem: KeyProblem,
    },
    /// The X.509 authorities make no bundle.
    #[error("the X.509 authorities")]
    X509(#[from] InvalidBundle),
    /// The keys of JWT-SVIDs make no bundle.
    #[error("the keys of JWT-SVIDs")]
    Jwt(#[from] InvalidJwtBundle),
    /// X.509 authorities of one domain and JWT keys of another.
    #[error("the X.509 authorities are of {x509}, the keys of JWT-SVIDs of {jwt}")]
    Domains {
        /// Of the X.509 authorities.
        x509: TrustDomain,
        /// Of the JWT keys.
        jwt: TrustDomain,
    },
    /// A root whose key has no form as a JSON Web Key that readers know.
    #[error(
        "X.509 authority {0} has a key that cannot be published: P-256, P-384, P-521, RSA and Ed25519 can"
    )]
    Unpublishable(usize),
}

impl SpiffeBundle {
    /// A bundle to publish.
    ///
    /// # Errors
    /// When both parts are not of one trust domain, or a root's key cannot stand in the document.
    pub fn new(x509: TrustBundle, jwt: &JwtBundle) -> Result<Self, InvalidSpiffeBundle> {
        if x509.domain() != jwt.domain() {
            let (x509, jwt) = (x509.domain().clone(), jwt.domain().clone());
            return Err(InvalidSpiffeBundle::Domains { x509, jwt });
        }
        for (index, root) in x509.roots().iter().enumerate() {
            jwk::of_certificate(root).ok_or(InvalidSpiffeBundle::Unpublishable(index + 1))?;
        }
        let jwt = JwtBundle::new(jwt.domain().clone(), jwt.keys().iter().map(jwk::bare).collect())?;
        Ok(Self {
            domain: x509.domain().clone(),
            x509: Some(x509),
            jwt,
            sequence: None,
            refresh_hint: None,
            ignored: Vec::new(),
        })
    }

    /// Reads the document that is known to be of `domain`.
    ///
    /// # Errors
    /// When it is no key set, or breaks a rule other than those that the specification has readers ignore.
    pub fn parse(domain: &TrustDomain, text: &str) -> Result<Self, InvalidSpiffeBundle> {
        read::document(domain, text)
    }

    /// With the number of its revision, which must grow with each change of the keys.
    #[must_use]
    pub fn with_sequence(mut self, sequence: u64) -> Self {
        self.sequence = Some(sequence);
        self
    }

    /// With the time after which readers should look again; whole seconds.
    #[must_use]
    pub fn with_refresh_hint(mut self, hint: Duration) -> Self {
        self.refresh_hint = Some(Duration::from_secs(hint.as_secs()));
        self
    }

    /// Whose SVIDs it vouches for.
    #[must_use]
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The X.509 authorities; nothing when the trust domain does not support X509-SVIDs.
    #[must_use]
    pub fn x509(&self) -> Option<&TrustBundle> {
        self.x509.as_ref()
    }

    /// The keys of JWT-SVIDs; empty when the trust domain does not support them.
    #[must_use]
    pub fn jwt(&self) -> &JwtBundle {
        &self.jwt
    }

    /// The number of the revision, if the publisher gives one.
    #[must_use]
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// How long to wait before looking for a newer one, if the publisher says so. May be any number of seconds, 0 too:
    /// whoever follows it must bound it.
    #[must_use]
    pub fn refresh_hint(&self) -> Option<Duration> {
        self.refresh_hint
    }

    /// The keys that were not taken, in their order.
    #[must_use]
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// True when both vouch by the same keys, in whatever order; numbers and hints may differ.
    #[must_use]
    pub fn same_keys(&self, other: &Self) -> bool {
        self.domain == other.domain && self.entries() == other.entries()
    }

    /// The document. Bundles of the same keys, number and hint are written in the same bytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut document = serde_json::Map::new();
        document.insert("keys".to_owned(), Value::Array(self.entries()));
        if let Some(sequence) = self.sequence {
            document.insert("spiffe_sequence".to_owned(), sequence.into());
        }
        if let Some(hint) = self.refresh_hint {
            document.insert("spiffe_refresh_hint".to_owned(), hint.as_secs().into());
        }
        format!("{:#}\n", Value::Object(document))
    }

    /// All keys, sorted.
    fn entries(&self) -> Vec<Value> {
        use base64::Engine as _;
        let mut roots: Vec<&[u8]> =
            self.x509.iter().flat_map(TrustBundle::roots).map(AsRef::as_ref).collect();
        roots.sort_unstable();
        let x509 = roots.into_iter().map(|root| {
            // `new` and `parse` took no root without members.
            let mut key = jwk::of_certificate(root).unwrap_or_default();
            key.insert("use".to_owned(), X509_SVID.into());
            let base64 = base64::engine::general_purpose::STANDARD.encode(root);
            key.insert("x5c".to_owned(), json!([base64]));
            Value::Object(key)
        });
        let mut keys: Vec<_> = self.jwt.keys().iter().collect();
        keys.sort_unstable_by(|a, b| a.common.key_id.cmp(&b.common.key_id));
        let jwt = keys.into_iter().map(|key| Value::Object(jwk::of_jwt_key(key)));
        x509.chain(jwt).collect()
    }
}

/// `use` of X.509 authorities (X509-SVID, section 6.1).
const X509_SVID: &str = "x509-svid";
/// `use` of the keys of JWT-SVIDs.
const JWT_SVID: &str = "jwt-svid";

#[cfg(test)]
mod tests;
