//! A key that signs JWT-SVIDs for a trust domain, and tokens of any content.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hopgate::identity::{JwtBundle, PrivateKey, TrustDomain};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

pub struct JwtKey {
    key: EncodingKey,
    public: Jwk,
    kid: String,
}

impl JwtKey {
    pub fn new(kid: &str) -> Self {
        let pem = PrivateKey::generate().unwrap().to_pem();
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
        let mut public = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        public.common.key_id = Some(kid.to_owned());
        Self { key, public, kid: kid.to_owned() }
    }

    pub fn bundle(&self, domain: &str) -> JwtBundle {
        let domain = TrustDomain::parse(domain).unwrap();
        JwtBundle::new(domain, vec![self.public.clone()]).unwrap()
    }

    pub fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    /// A good token for `audience` that lives five minutes.
    pub fn token(&self, id: &str, audience: &str) -> String {
        self.sign(&json!({ "sub": id, "aud": [audience], "iat": now(), "exp": now() + 300 }))
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
