//! One public key of a JSON Web Key Set (RFC 7517; RFC 7518, section 6; RFC 8037).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::SkipReason;
use super::public::{Curve, PublicKey};

/// Reads the public key of an entry by its `kty` and `crv`.
pub(super) fn read(members: &Map<String, Value>) -> Result<PublicKey, SkipReason> {
    let curve = || text(members, "crv");
    let kind = text(members, "kty")?;
    if kind == "oct" {
        return Err(SkipReason::Symmetric);
    }
    // `d` is the private part of all kinds that have one.
    if members.contains_key("d") {
        return Err(SkipReason::Private);
    }
    match kind {
        "RSA" => PublicKey::rsa(&bytes(members, "n")?, &bytes(members, "e")?),
        "EC" => match curve()? {
            "P-256" => point(members, Curve::P256),
            "P-384" => point(members, Curve::P384),
            "P-521" => point(members, Curve::P521),
            _ => Err(SkipReason::UnknownCurve),
        },
        "OKP" => match curve()? {
            "Ed25519" => {
                let key = bytes(members, "x")?;
                if key.len() != 32 {
                    return Err(SkipReason::Member("x"));
                }
                PublicKey::ed25519(&key)
            }
            _ => Err(SkipReason::UnknownCurve),
        },
        _ => Err(SkipReason::UnknownType),
    }
}

fn point(members: &Map<String, Value>, curve: Curve) -> Result<PublicKey, SkipReason> {
    let mut uncompressed = vec![4];
    for name in ["x", "y"] {
        let coordinate = bytes(members, name)?;
        // Always full length (RFC 7518, section 6.2.1.2).
        if coordinate.len() != curve.size() {
            return Err(SkipReason::Member(name));
        }
        uncompressed.extend_from_slice(&coordinate);
    }
    PublicKey::point(curve, &uncompressed)
}

/// `use` and `key_ops` must allow verifying. `jwt-svid` is how SPIFFE bundles mark token keys.
pub(super) fn refuse_other_uses(members: &Map<String, Value>) -> Result<(), SkipReason> {
    match members.get("use") {
        None => {}
        Some(Value::String(usage)) if usage == "sig" || usage == "jwt-svid" => {}
        Some(_) => return Err(SkipReason::NotForSignatures),
    }
    match members.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|o| o == "verify") => Ok(()),
        Some(_) => Err(SkipReason::NotForSignatures),
    }
}

/// In a SPIFFE bundle a key says what it is for and has a name (SPIFFE Trust Domain and Bundle, section 4.2).
pub(super) fn refuse_unless_jwt_svid(members: &Map<String, Value>) -> Result<(), SkipReason> {
    if text(members, "use").is_ok_and(|usage| usage != "jwt-svid") {
        return Err(SkipReason::NotForJwtSvids);
    }
    text(members, "use")?;
    match text(members, "kid")? {
        "" => Err(SkipReason::Member("kid")),
        _ => Ok(()),
    }
}

fn text<'m>(members: &'m Map<String, Value>, name: &'static str) -> Result<&'m str, SkipReason> {
    members.get(name).and_then(Value::as_str).ok_or(SkipReason::Member(name))
}

fn bytes(members: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, SkipReason> {
    URL_SAFE_NO_PAD.decode(text(members, name)?).map_err(|_| SkipReason::Member(name))
}
