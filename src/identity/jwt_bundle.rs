//! The public keys that sign one trust domain's JWT-SVIDs.

use jsonwebtoken::jwk::{Jwk, JwkSet};

use super::TrustDomain;

/// Keys of JWT-SVIDs of one trust domain (SPIFFE Trust Domain and Bundle, section 4). May be empty: a domain need not
/// sign any. Each key has a name of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct JwtBundle {
    domain: TrustDomain,
    keys: Vec<Jwk>,
}

/// Why keys make no bundle.
#[derive(Debug, thiserror::Error)]
pub enum InvalidJwtBundle {
    /// The text is no JSON Web Key Set.
    #[error("not a JSON Web Key Set")]
    Unreadable(#[source] serde_json::Error),
    /// A JWT-SVID names its key, so a key without a name is of no use.
    #[error("key {0} has no `kid`")]
    Unnamed(usize),
    /// Two keys of one name: which of them signed could not be told.
    #[error("two keys are named {0:?}")]
    Twice(String),
    /// A key that could sign, or that is a shared secret.
    #[error("key {0:?} is not an elliptic-curve or RSA public key")]
    Kind(String),
}

impl JwtBundle {
    /// Takes public keys in the order given.
    ///
    /// # Errors
    /// When a key has no name, the name of another, or is of a kind that JWT-SVIDs are not signed with.
    pub fn new(domain: TrustDomain, keys: Vec<Jwk>) -> Result<Self, InvalidJwtBundle> {
        use jsonwebtoken::jwk::AlgorithmParameters::{EllipticCurve, RSA};
        let mut names: Vec<&str> = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            let name = key.common.key_id.as_deref().filter(|name| !name.is_empty());
            let name = name.ok_or(InvalidJwtBundle::Unnamed(index + 1))?;
            if !matches!(key.algorithm, EllipticCurve(_) | RSA(_)) {
                return Err(InvalidJwtBundle::Kind(name.to_owned()));
            }
            if names.contains(&name) {
                return Err(InvalidJwtBundle::Twice(name.to_owned()));
            }
            names.push(name);
        }
        Ok(Self { domain, keys })
    }

    /// No keys: no JWT-SVID of this trust domain is valid.
    #[must_use]
    pub fn empty(domain: TrustDomain) -> Self {
        Self { domain, keys: Vec::new() }
    }

    /// Reads a JSON Web Key Set (RFC 7517 section 5).
    ///
    /// # Errors
    /// As [`JwtBundle::new`], or when the text is no key set.
    pub fn from_jwks(domain: TrustDomain, json: &str) -> Result<Self, InvalidJwtBundle> {
        let set: JwkSet = serde_json::from_str(json).map_err(InvalidJwtBundle::Unreadable)?;
        Self::new(domain, set.keys)
    }

    /// The keys as a JSON Web Key Set.
    ///
    /// # Errors
    /// Never for keys that were read; the writer's signature allows it.
    pub fn to_jwks(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&serde_json::json!({ "keys": self.keys }))
    }

    /// Whose JWT-SVIDs they sign.
    #[must_use]
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// All keys.
    #[must_use]
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// The key of that name.
    #[must_use]
    pub fn key(&self, kid: &str) -> Option<&Jwk> {
        self.keys.iter().find(|key| key.common.key_id.as_deref() == Some(kid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = r#"{"kty":"EC","crv":"P-256","kid":"one","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;

    fn read(keys: &str) -> Result<JwtBundle, InvalidJwtBundle> {
        let domain = TrustDomain::parse("demo.mesh").unwrap();
        JwtBundle::from_jwks(domain, &format!(r#"{{"keys":[{keys}]}}"#))
    }

    #[test]
    fn keys_are_found_by_name_and_written_as_they_were_read() {
        let bundle = read(KEY).unwrap();
        assert!(bundle.key("one").is_some() && bundle.key("two").is_none());
        let again = JwtBundle::from_jwks(bundle.domain().clone(), &bundle.to_jwks().unwrap());
        assert_eq!(again.unwrap(), bundle);
        assert!(read("").unwrap().keys().is_empty());
    }

    #[test]
    fn keys_that_cannot_be_told_apart_or_must_stay_secret_are_refused() {
        let unnamed = KEY.replace(r#""kid":"one","#, "");
        assert!(matches!(read(&unnamed), Err(InvalidJwtBundle::Unnamed(1))));
        assert!(matches!(read(&format!("{KEY},{KEY}")), Err(InvalidJwtBundle::Twice(_))));
        let shared = r#"{"kty":"oct","kid":"s","k":"AAAA"}"#;
        assert!(matches!(read(shared), Err(InvalidJwtBundle::Kind(_))));
        assert!(JwtBundle::from_jwks(TrustDomain::parse("demo.mesh").unwrap(), "[]").is_err());
    }
}
