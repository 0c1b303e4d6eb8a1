//! The public key inside a proof: what may be one, its thumbprint, and whether it made the signature.

use std::panic::{AssertUnwindSafe, catch_unwind};

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::authn::keys::{InvalidKeySet, KeySet};
use crate::policy::Algorithm;

use super::refused::DpopRefused;

/// What proofs may be signed with, for the parameter `algs` of a challenge.
pub const DPOP_ALGORITHMS: &str = "ES256 ES384 ES512 EdDSA PS256 PS384 PS512 RS256 RS384 RS512";

/// Members that only a private or a symmetric key has (RFC 7518, section 6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A signature algorithm that proofs may use; no MAC is one.
#[derive(Clone, Copy)]
pub(super) struct ProofAlgorithm {
    name: Algorithm,
    check: Check,
}

#[derive(Clone, Copy)]
enum Check {
    Rsa(&'static RsaParameters),
    /// The key is the point of its curve, uncompressed.
    Point(&'static dyn VerificationAlgorithm),
    Ed25519,
}

impl ProofAlgorithm {
    /// In the exact spelling of RFC 7518 and RFC 8037.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (name, check) = match name {
            "RS256" => (Algorithm::RS256, Check::Rsa(&RSA_PKCS1_2048_8192_SHA256)),
            "RS384" => (Algorithm::RS384, Check::Rsa(&RSA_PKCS1_2048_8192_SHA384)),
            "RS512" => (Algorithm::RS512, Check::Rsa(&RSA_PKCS1_2048_8192_SHA512)),
            "PS256" => (Algorithm::PS256, Check::Rsa(&RSA_PSS_2048_8192_SHA256)),
            "PS384" => (Algorithm::PS384, Check::Rsa(&RSA_PSS_2048_8192_SHA384)),
            "PS512" => (Algorithm::PS512, Check::Rsa(&RSA_PSS_2048_8192_SHA512)),
            "ES256" => (Algorithm::ES256, Check::Point(&ECDSA_P256_SHA256_FIXED)),
            "ES384" => (Algorithm::ES384, Check::Point(&ECDSA_P384_SHA384_FIXED)),
            "ES512" => (Algorithm::ES512, Check::Point(&ECDSA_P521_SHA512_FIXED)),
            "EdDSA" => (Algorithm::EdDSA, Check::Ed25519),
            _ => return None,
        };
        Some(Self { name, check })
    }
}

/// The thumbprint of a public key (RFC 7638) by SHA-256.
pub(super) fn thumbprint(jwk: &Map<String, Value>) -> Result<[u8; 32], DpopRefused> {
    if PRIVATE.iter().any(|member| jwk.contains_key(*member)) {
        return Err(refused("it is not a public key"));
    }
    // The members that count, in the order of their names.
    let members: &[&'static str] = match jwk.get("kty").and_then(Value::as_str) {
        Some("RSA") => &["e", "kty", "n"],
        Some("EC") => &["crv", "kty", "x", "y"],
        Some("OKP") => &["crv", "kty", "x"],
        Some(_) | None => return Err(refused("its kty is unknown")),
    };
    let mut hash = Context::new(&SHA256);
    let mut before = "{\"";
    for name in members {
        let value = jwk.get(*name).and_then(Value::as_str).unwrap_or("");
        // So that nothing in a value has to be escaped, and no value can pretend to be a member.
        if value.is_empty() || !value.bytes().all(is_base64url) {
            return Err(refused("a member cannot be read"));
        }
        for part in [before, name, "\":\"", value, "\""] {
            hash.update(part.as_bytes());
        }
        before = ",\"";
    }
    hash.update(b"}");
    let mut thumbprint = [0; 32];
    for (into, from) in thumbprint.iter_mut().zip(hash.finish().as_ref()) {
        *into = *from;
    }
    Ok(thumbprint)
}

/// Proves that this key made the signature. The key passes every check that a provider's key does, and its `alg`, `use`
/// and `key_ops`, if it has any, must allow it.
pub(super) fn verify(
    jwk: &Map<String, Value>,
    algorithm: ProofAlgorithm,
    signed: &[u8],
    signature: &[u8],
) -> Result<(), DpopRefused> {
    judge(jwk, algorithm.name)?;
    // A panic of the library means that it did not.
    let verified = catch_unwind(AssertUnwindSafe(|| match algorithm.check {
        Check::Rsa(parameters) => {
            let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
            let key = RsaPublicKeyComponents { n: unpadded(&n), e: unpadded(&e) };
            key.verify(parameters, signed, signature).ok()
        }
        Check::Point(curve) => {
            let point = [&[4], bytes(jwk, "x")?.as_slice(), bytes(jwk, "y")?.as_slice()].concat();
            UnparsedPublicKey::new(curve, point).verify(signed, signature).ok()
        }
        Check::Ed25519 => {
            UnparsedPublicKey::new(&ED25519, bytes(jwk, "x")?).verify(signed, signature).ok()
        }
    }));
    match verified {
        Ok(Some(())) => Ok(()),
        Ok(None) | Err(_) => Err(DpopRefused::Signature),
    }
}

/// Read as a set of one key, which is the one way in which keys are judged.
fn judge(jwk: &Map<String, Value>, algorithm: Algorithm) -> Result<(), DpopRefused> {
    let set = serde_json::json!({ "keys": [jwk] }).to_string();
    match KeySet::parse(set.as_bytes(), &[algorithm]) {
        Ok(_) => Ok(()),
        Err(InvalidKeySet::NothingUsable { skipped }) => Err(match skipped.first() {
            Some(key) => DpopRefused::Key(key.reason.to_string()),
            None => refused("it cannot be used"),
        }),
        Err(_) => Err(refused("it cannot be read")),
    }
}

fn refused(why: &str) -> DpopRefused {
    DpopRefused::Key(why.to_owned())
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(jwk.get(name)?.as_str()?).ok()
}

/// Without the leading zero of the DER form, which some libraries write.
fn unpadded(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}
