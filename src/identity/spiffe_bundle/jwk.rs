//! Public keys as members of JSON Web Keys (RFC 7518, section 6; RFC 8037).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, CommonParameters, Jwk, PublicKeyUse};
use serde_json::{Map, Value};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::JWT_SVID;

/// The members that say which key a certificate is about; nothing for kinds that have none here.
pub(super) fn of_certificate(der: &[u8]) -> Option<Map<String, Value>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let info = certificate.public_key();
    let algorithm = info.algorithm.algorithm.to_id_string();
    let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    match (algorithm.as_str(), info.parsed().ok()?) {
        // rsaEncryption (RFC 3279, section 2.3.1)
        ("1.2.840.113549.1.1.1", PublicKey::RSA(key)) => Some(members([
            ("kty", "RSA".to_owned()),
            ("n", number(key.modulus)),
            ("e", number(key.exponent)),
        ])),
        // id-ecPublicKey (RFC 5480, section 2.1.1)
        ("1.2.840.10045.2.1", PublicKey::EC(point)) => {
            let (name, size) = match curve?.to_id_string().as_str() {
                "1.2.840.10045.3.1.7" => ("P-256", 32),
                "1.3.132.0.34" => ("P-384", 48),
                "1.3.132.0.35" => ("P-521", 66),
                _ => return None,
            };
            let coordinates = point.data().strip_prefix(&[4])?;
            if coordinates.len() != 2 * size {
                return None;
            }
            let (x, y) = coordinates.split_at_checked(size)?;
            Some(members([
                ("kty", "EC".to_owned()),
                ("crv", name.to_owned()),
                ("x", URL_SAFE_NO_PAD.encode(x)),
                ("y", URL_SAFE_NO_PAD.encode(y)),
            ]))
        }
        // id-Ed25519 (RFC 8410, section 3)
        ("1.3.101.112", _) => Some(members([
            ("kty", "OKP".to_owned()),
            ("crv", "Ed25519".to_owned()),
            ("x", URL_SAFE_NO_PAD.encode(&info.subject_public_key.data)),
        ])),
        _ => None,
    }
}

/// The members of a key of JWT-SVIDs, and no others.
pub(super) fn of_jwt_key(key: &Jwk) -> Map<String, Value> {
    let mut written = match &key.algorithm {
        AlgorithmParameters::EllipticCurve(key) => members([
            ("kty", "EC".to_owned()),
            // Of a unit variant: its name.
            (
                "crv",
                serde_json::to_value(&key.curve)
                    .ok()
                    .and_then(|name| name.as_str().map(str::to_owned))
                    .unwrap_or_default(),
            ),
            ("x", key.x.clone()),
            ("y", key.y.clone()),
        ]),
        AlgorithmParameters::RSA(key) => {
            members([("kty", "RSA".to_owned()), ("n", key.n.clone()), ("e", key.e.clone())])
        }
        // A JwtBundle holds none of these.
        _ => Map::new(),
    };
    written.insert("use".to_owned(), JWT_SVID.into());
    written.insert("kid".to_owned(), key.common.key_id.clone().into());
    written
}

/// The same key with its name and use, and nothing else that its publisher wrote.
pub(super) fn bare(key: &Jwk) -> Jwk {
    Jwk {
        common: CommonParameters {
            public_key_use: Some(PublicKeyUse::Other(JWT_SVID.to_owned())),
            key_id: key.common.key_id.clone(),
            ..CommonParameters::default()
        },
        algorithm: key.algorithm.clone(),
    }
}

/// True when `said` has every one of these members with the same value. Numbers may have zeros in front.
pub(super) fn fits(said: &Map<String, Value>, actual: &Map<String, Value>) -> bool {
    actual.iter().all(|(name, value)| match (name.as_str(), said.get(name), value) {
        ("kty" | "crv", Some(said), value) => said == value,
        (_, Some(Value::String(said)), Value::String(value)) => {
            match (URL_SAFE_NO_PAD.decode(said), URL_SAFE_NO_PAD.decode(value)) {
                (Ok(said), Ok(value)) => without_zeros(&said) == without_zeros(&value),
                _ => false,
            }
        }
        _ => false,
    })
}

/// The bytes of a member in base64url.
pub(super) fn bytes(said: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(said.get(name)?.as_str()?).ok()?;
    (!bytes.is_empty()).then_some(bytes)
}

/// The size of a coordinate in bytes (RFC 7518, section 6.2.1.2).
pub(super) fn coordinate(curve: &str) -> Option<usize> {
    match curve {
        "P-256" => Some(32),
        "P-384" => Some(48),
        "P-521" => Some(66),
        _ => None,
    }
}

fn members<const N: usize>(pairs: [(&str, String); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
}

/// `Base64urlUInt` (RFC 7518, section 2): the fewest bytes.
fn number(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(without_zeros(bytes))
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}
