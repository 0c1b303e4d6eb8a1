//! A token issuer with an ES256 key of its own.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::PublicKeyData as _;
use serde_json::{Value, json};

pub const ISSUER: &str = "https://sso.test";

pub struct Issuer {
    key: rcgen::KeyPair,
}

impl Issuer {
    pub fn new() -> Self {
        Self { key: rcgen::KeyPair::generate().unwrap() }
    }

    pub fn jwks(&self) -> Value {
        // An uncompressed point: 0x04, x, y.
        let point = self.key.der_bytes();
        let (x, y) = (&point[1..33], &point[33..65]);
        json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "kid": "test", "alg": "ES256", "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }] })
    }

    /// The provider as a resource file.
    pub fn provider(&self) -> String {
        provider(&format!("inline: {}", self.jwks()))
    }

    /// A token of the standard shape with some claims changed; `null` removes one.
    pub fn token(&self, changes: &Value) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": ISSUER, "aud": "orders", "sub": "alice", "iat": now, "exp": now + 600,
            "roles": ["customer"], "jti": "token-1",
        });
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.kid = Some("test".into());
        let key = jsonwebtoken::EncodingKey::from_ec_pem(self.key.serialize_pem().as_bytes());
        jsonwebtoken::encode(&header, &claims, &key.unwrap()).unwrap()
    }
}

/// A provider resource with keys of any kind (`jwksUri: ...` or `inline: ...`).
pub fn provider(keys: &str) -> String {
    format!(
        "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\n\
         metadata: {{ name: sso, namespace: shop }}\n\
         spec:\n  issuer: {ISSUER}\n  audiences: [orders]\n  algorithms: [ES256]\n  keys:\n    {keys}\n"
    )
}

/// A leaf with these SANs, as Envoy sends it: PEM, URL-encoded.
pub fn certificate(sans: Vec<rcgen::SanType>, not_after: SystemTime) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.subject_alt_names = sans;
    parameters.is_ca = rcgen::IsCa::ExplicitNoCa;
    parameters.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    parameters.not_before = (SystemTime::now() - Duration::from_secs(7200)).into();
    parameters.not_after = not_after.into();
    let pem = parameters.self_signed(&key).unwrap().pem().replace("\r\n", "\n");
    percent_encoding::utf8_percent_encode(&pem, percent_encoding::NON_ALPHANUMERIC).to_string()
}
