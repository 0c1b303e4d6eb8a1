//! The key that signs JWT-SVIDs (JWT-SVID specification, section 2): ES256, named by its thumbprint.

use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;

use crate::identity::{PrivateKey, TrustDomain};

use super::authority::AuthorityError;

/// The active generation's key for JWT-SVIDs. It signs whatever it is given: who may have which token is decided before.
pub struct JwtSigner {
    domain: TrustDomain,
    kid: String,
    public: Jwk,
    key: EncodingKey,
}

/// How long a JWT-SVID lives: one minute to one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JwtLifetime(Duration);

/// A lifetime is outside the bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a JWT-SVID lifetime of {0:?} is outside 1m to 1h")]
pub struct InvalidJwtLifetime(Duration);

/// Claims cannot be signed.
#[derive(Debug, thiserror::Error)]
#[error("the token cannot be signed")]
pub struct JwtSignError(#[from] jsonwebtoken::errors::Error);

impl JwtLifetime {
    /// The default: five minutes.
    pub const DEFAULT: Self = Self(Duration::from_secs(300));

    /// Takes a duration of one minute to one hour. Nobody can take a token back from whom it was shown, so it is short.
    ///
    /// # Errors
    /// When it is outside.
    pub fn new(duration: Duration) -> Result<Self, InvalidJwtLifetime> {
        let bounds = Duration::from_secs(60)..=Duration::from_secs(3600);
        if bounds.contains(&duration) {
            Ok(Self(duration))
        } else {
            Err(InvalidJwtLifetime(duration))
        }
    }

    /// As a duration.
    #[must_use]
    pub fn as_duration(self) -> Duration {
        self.0
    }
}

impl JwtSigner {
    pub(super) fn new(
        file: &str,
        text: &str,
        domain: &TrustDomain,
    ) -> Result<Self, AuthorityError> {
        let damaged = |problem| AuthorityError::Damaged { file: file.to_owned(), problem };
        let key = PrivateKey::from_pem(text)
            .map_err(|source| AuthorityError::Key { file: file.to_owned(), source })?;
        let pem = key.to_pem();
        let der = rustls::pki_types::PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| damaged("is no private key"))?;
        let key = EncodingKey::from_ec_der(der.secret_pkcs8_der());
        let mut public = Jwk::from_encoding_key(&key, Algorithm::ES256)
            .map_err(|_| damaged("is no P-256 key"))?;
        let kid =
            public.thumbprint(ThumbprintHash::SHA256).map_err(|_| damaged("is no P-256 key"))?;
        public.common.key_id = Some(kid.clone());
        // SPIFFE Trust Domain and Bundle, section 4.2.2. Its `use` is a word of SPIFFE's own, which the type has no
        // variant for.
        public.common.public_key_use = Some(PublicKeyUse::Other("jwt-svid".to_owned()));
        Ok(Self { domain: domain.clone(), kid, public, key })
    }

    /// The name of the key: its SHA-256 thumbprint (RFC 7638).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The trust domain whose JWT-SVIDs it signs.
    #[must_use]
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The public half, with `kid`, `alg` and `use`.
    #[must_use]
    pub fn public(&self) -> &Jwk {
        &self.public
    }

    /// A compact JWS of the claims, with `alg`, `kid` and `typ` in its header and nothing else.
    ///
    /// # Errors
    /// When the claims are no JSON object.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, JwtSignError> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.clone());
        Ok(jsonwebtoken::encode(&header, claims, &self.key)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_signs_verifies_with_its_public_half_only() {
        let domain = TrustDomain::parse("demo.mesh").unwrap();
        let signer = |key: &PrivateKey| JwtSigner::new("jwt.key", &key.to_pem(), &domain).unwrap();
        let (key, other) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
        let (one, two) = (signer(&key), signer(&other));
        assert_eq!(one.kid(), signer(&key).kid());
        assert_ne!(one.kid(), two.kid());
        let token = one.sign(&serde_json::json!({ "sub": "x", "exp": 4_000_000_000_u64 })).unwrap();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!((header.kid.as_deref(), header.alg), (Some(one.kid()), Algorithm::ES256));
        let verify = |by: &Jwk| {
            let key = jsonwebtoken::DecodingKey::from_jwk(by).unwrap();
            let rules = jsonwebtoken::Validation::new(Algorithm::ES256);
            jsonwebtoken::decode::<serde_json::Value>(&token, &key, &rules).is_ok()
        };
        assert!(verify(one.public()));
        assert!(!verify(two.public()));
        let shown = serde_json::to_value(one.public()).unwrap();
        assert_eq!((&shown["use"], &shown["alg"]), (&"jwt-svid".into(), &"ES256".into()));
        assert!(shown.get("d").is_none(), "a public key");
    }

    #[test]
    fn a_token_lives_a_minute_to_an_hour() {
        let taken = |seconds| JwtLifetime::new(Duration::from_secs(seconds)).is_ok();
        assert!(taken(60) && taken(3600) && !taken(59) && !taken(3601));
        assert_eq!(JwtLifetime::new(JwtLifetime::DEFAULT.as_duration()), Ok(JwtLifetime::DEFAULT));
    }

    #[test]
    fn another_kind_of_key_is_refused() {
        let domain = TrustDomain::parse("demo.mesh").unwrap();
        let ed = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        for bad in ["", "x", &ed.serialize_pem()] {
            assert!(JwtSigner::new("jwt.key", bad, &domain).is_err());
        }
    }
}
