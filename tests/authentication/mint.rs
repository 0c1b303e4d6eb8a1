//! Keys, tokens, providers and certificates made for these tests only.

use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hopgate::authn::{Files, InvalidProvider, Providers};
use hopgate::policy::{
    Algorithm, ClaimPath, ClaimRules, IdentityProvider, IdentityProviderSpec, Keys, Metadata,
    TokenRules,
};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://sso.example/";
pub const LEEWAY: Duration = Duration::from_secs(30);
pub const NOW: u64 = 1_790_000_000;

pub fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
    /// A shared secret.
    Mac(hmac::Algorithm, Vec<u8>),
}

pub struct Signer {
    pub alg: &'static str,
    pub kid: &'static str,
    pair: Pair,
}

impl Signer {
    pub fn new(alg: &'static str, kid: &'static str) -> Self {
        let pair = match alg {
            "ES256" => Pair::Ec(
                EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ),
            "ES384" => Pair::Ec(
                EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
            ),
            "ES512" => Pair::Ec(
                EcdsaKeyPair::generate(&signature::ECDSA_P521_SHA512_FIXED_SIGNING).unwrap(),
            ),
            "HS256" => Pair::Mac(hmac::HMAC_SHA256, secret()),
            "HS384" => Pair::Mac(hmac::HMAC_SHA384, secret()),
            "HS512" => Pair::Mac(hmac::HMAC_SHA512, secret()),
            "EdDSA" => Pair::Ed(Ed25519KeyPair::generate().unwrap()),
            _ => Pair::Rsa(Box::new(RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap())),
        };
        Self { alg, kid, pair }
    }

    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = match x.len() {
                    32 => "P-256",
                    48 => "P-384",
                    _ => "P-521",
                };
                json!({"kty": "EC", "crv": curve, "x": base64(x), "y": base64(y)})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key())})
            }
            Pair::Rsa(pair) => {
                let n = pair.public_key().modulus().big_endian_without_leading_zero();
                json!({"kty": "RSA", "n": base64(n), "e": "AQAB"})
            }
            Pair::Mac(_, secret) => json!({"kty": "oct", "k": base64(secret)}),
        };
        jwk["kid"] = self.kid.into();
        jwk
    }

    pub fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let pair = match &self.pair {
            Pair::Ec(pair) => return pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => return pair.sign(message).as_ref().to_vec(),
            Pair::Mac(algorithm, secret) => {
                let key = hmac::Key::new(*algorithm, secret);
                return hmac::sign(&key, message).as_ref().to_vec();
            }
            Pair::Rsa(pair) => pair,
        };
        let padding: &'static dyn signature::RsaEncoding = match self.alg {
            "RS256" => &signature::RSA_PKCS1_SHA256,
            "RS384" => &signature::RSA_PKCS1_SHA384,
            "RS512" => &signature::RSA_PKCS1_SHA512,
            "PS256" => &signature::RSA_PSS_SHA256,
            "PS384" => &signature::RSA_PSS_SHA384,
            "PS512" => &signature::RSA_PSS_SHA512,
            other => panic!("{other}"),
        };
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(padding, &random, message, &mut signature).unwrap();
        signature
    }

    /// The shared secret of an HS signer.
    pub fn secret(&self) -> &[u8] {
        match &self.pair {
            Pair::Mac(_, secret) => secret,
            Pair::Ec(_) | Pair::Ed(_) | Pair::Rsa(_) => panic!("{} has no secret", self.alg),
        }
    }

    /// The public key in DER (RFC 5280, `SubjectPublicKeyInfo`).
    pub fn public_der(&self) -> Vec<u8> {
        use aws_lc_rs::encoding::AsDer as _;
        match &self.pair {
            Pair::Ec(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Pair::Rsa(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Pair::Mac(..) => panic!("{} has no public key", self.alg),
        }
    }

    /// A token with exactly this header and payload.
    pub fn raw(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", base64(header), base64(payload));
        let signature = base64(self.signature(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// A token with the usual header.
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": self.alg, "kid": self.kid, "typ": "JWT"});
        self.raw(&header.to_string(), &claims.to_string())
    }
}

/// As long as the longest digest.
fn secret() -> Vec<u8> {
    let mut secret = vec![0; 64];
    aws_lc_rs::rand::fill(&mut secret).unwrap();
    // A file of a secret may end in a line break, which is none of it.
    for byte in secret.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')) {
        *byte = b'x';
    }
    secret
}

/// Claims that are accepted at [`NOW`].
pub fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": "orders",
        "sub": "alice",
        "exp": NOW + 300,
        "iat": NOW,
        "nbf": NOW,
        "jti": "t-1",
        "roles": ["customer"],
        "scope": "orders:read orders:write",
    })
}

/// The claims with one of them set, or taken away by null.
pub fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().unwrap().shift_remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

pub fn provider(name: &str, algorithms: &[Algorithm], keys: Keys) -> IdentityProvider {
    let tokens = TokenRules::new(ISSUER, algorithms.to_vec(), keys);
    let mut rules = ClaimRules::for_audiences(vec!["orders".into(), "payments".into()]);
    rules.leeway = LEEWAY;
    let mut spec = IdentityProviderSpec::for_tokens(tokens, rules);
    spec.claims.roles = vec![ClaimPath::of(&["realm_access", "roles"]), ClaimPath::of(&["roles"])];
    IdentityProvider { metadata: Metadata { name: name.into(), namespace: "shop".into() }, spec }
}

/// Providers whose keys stand in no file.
pub fn compile(specs: &[IdentityProvider]) -> Result<Providers, InvalidProvider> {
    Providers::new(specs, &Files::none())
}

pub fn inline(signers: &[&Signer]) -> Keys {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    Keys::Inline(json!({"keys": keys}))
}
