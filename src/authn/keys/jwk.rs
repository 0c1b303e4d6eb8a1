//! One public key of a JSON Web Key Set (RFC 7518, section 6; RFC 8037), checked before it is ever used.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use crate::policy::Algorithm;

const MIN_RSA_BITS: usize = 2048;
const MAX_RSA_BITS: usize = 8192;
/// Longer exponents make each check slow and no key stronger; aws-lc draws its line at 33 bits.
const MAX_EXPONENT_BYTES: usize = 4;

/// What a key can compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Rsa,
    P256,
    P384,
    Ed25519,
}

pub(super) struct PublicKey {
    pub(super) family: Family,
    pub(super) decoding: DecodingKey,
}

/// Why a key of a set is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// The entry is no JSON object.
    #[error("is no object")]
    NotAnObject,
    /// A member is missing, has the wrong type, or is not canonical base64url.
    #[error("its member {0:?} cannot be read")]
    Member(&'static str),
    /// `use` or `key_ops` says it is for something else.
    #[error("is not for signatures")]
    NotForSignatures,
    /// A symmetric key, which must never stand in a public set.
    #[error("is a symmetric key")]
    Symmetric,
    /// `kty` is unknown.
    #[error("its kty is unknown")]
    UnknownType,
    /// `crv` is unknown.
    #[error("its crv is unknown")]
    UnknownCurve,
    /// `alg` is unknown, or no signature algorithm that is supported.
    #[error("its alg is not supported")]
    UnknownAlgorithm,
    /// `alg` belongs to another kind of key.
    #[error("its alg is for another kind of key")]
    AlgorithmOfAnotherKind,
    /// The provider's rules allow none of its algorithms.
    #[error("the provider does not allow its algorithm")]
    AlgorithmNotAllowed,
    /// RSA with less than 2048 or more than 8192 bits.
    #[error("its size is not 2048 to 8192 bits")]
    Size,
    /// RSA with an even exponent, one below 3 or one above 32 bits.
    #[error("its exponent is unsafe")]
    Exponent,
    /// RSA as the flawed Infineon library made it: it can be factored (CVE-2017-15361).
    #[error("it has the ROCA weakness")]
    Roca,
    /// Not a point of its curve, or not a key at all.
    #[error("is no valid public key")]
    Invalid,
}

impl Family {
    /// The kind of key an algorithm needs.
    pub(super) fn of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => Self::Rsa,
            Algorithm::ES256 => Self::P256,
            Algorithm::ES384 => Self::P384,
            Algorithm::EdDSA => Self::Ed25519,
        }
    }
}

/// The name of an algorithm in the signature library.
pub(super) fn for_library(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::RS384 => jsonwebtoken::Algorithm::RS384,
        Algorithm::RS512 => jsonwebtoken::Algorithm::RS512,
        Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::PS384 => jsonwebtoken::Algorithm::PS384,
        Algorithm::PS512 => jsonwebtoken::Algorithm::PS512,
        Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::ES384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
    }
}

/// Reads the public key of an entry by its `kty` and `crv`.
pub(super) fn read(members: &Map<String, Value>) -> Result<PublicKey, SkipReason> {
    let curve = || text(members, "crv");
    match text(members, "kty")? {
        "RSA" => rsa(members),
        "EC" => match curve()? {
            "P-256" => point(members, Family::P256, &ECDSA_P256_SHA256_FIXED, 32),
            "P-384" => point(members, Family::P384, &ECDSA_P384_SHA384_FIXED, 48),
            _ => Err(SkipReason::UnknownCurve),
        },
        "OKP" => match curve()? {
            "Ed25519" => ed25519(members),
            _ => Err(SkipReason::UnknownCurve),
        },
        "oct" => Err(SkipReason::Symmetric),
        _ => Err(SkipReason::UnknownType),
    }
}

fn rsa(members: &Map<String, Value>) -> Result<PublicKey, SkipReason> {
    let modulus = bytes(members, "n")?;
    let exponent = bytes(members, "e")?;
    // Some issuers write the leading zero of the DER form.
    let modulus = without_leading_zeros(&modulus);
    let exponent = without_leading_zeros(&exponent);
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits(modulus)) {
        return Err(SkipReason::Size);
    }
    if !is_odd(exponent) || exponent == [1] || exponent.len() > MAX_EXPONENT_BYTES {
        return Err(SkipReason::Exponent);
    }
    // An even modulus has the factor two, and the library would say so only when it verifies.
    if !is_odd(modulus) {
        return Err(SkipReason::Invalid);
    }
    if has_roca_weakness(modulus) {
        return Err(SkipReason::Roca);
    }
    RsaPublicKeyComponents { n: modulus, e: exponent }
        .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        .map_err(|_| SkipReason::Invalid)?;
    let decoding = DecodingKey::from_rsa_raw_components(modulus, exponent);
    Ok(PublicKey { family: Family::Rsa, decoding })
}

/// An elliptic curve point; the library refuses one that is not on the curve.
fn point(
    members: &Map<String, Value>,
    family: Family,
    check: &'static dyn VerificationAlgorithm,
    size: usize,
) -> Result<PublicKey, SkipReason> {
    let mut uncompressed = vec![4];
    for name in ["x", "y"] {
        let coordinate = bytes(members, name)?;
        // Always full length (RFC 7518, section 6.2.1.2).
        if coordinate.len() != size {
            return Err(SkipReason::Member(name));
        }
        uncompressed.extend_from_slice(&coordinate);
    }
    ParsedPublicKey::new(check, &uncompressed).map_err(|_| SkipReason::Invalid)?;
    Ok(PublicKey { family, decoding: DecodingKey::from_ec_der(&uncompressed) })
}

fn ed25519(members: &Map<String, Value>) -> Result<PublicKey, SkipReason> {
    let key = bytes(members, "x")?;
    if key.len() != 32 {
        return Err(SkipReason::Member("x"));
    }
    ParsedPublicKey::new(&ED25519, &key).map_err(|_| SkipReason::Invalid)?;
    Ok(PublicKey { family: Family::Ed25519, decoding: DecodingKey::from_ed_der(&key) })
}

fn text<'m>(members: &'m Map<String, Value>, name: &'static str) -> Result<&'m str, SkipReason> {
    members.get(name).and_then(Value::as_str).ok_or(SkipReason::Member(name))
}

fn bytes(members: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, SkipReason> {
    URL_SAFE_NO_PAD.decode(text(members, name)?).map_err(|_| SkipReason::Member(name))
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last % 2 == 1)
}

/// Bits of a big-endian number without leading zeros.
fn bits(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |first| first.leading_zeros());
    (number.len() * 8).saturating_sub(usize::try_from(unused).unwrap_or(0))
}

/// The fingerprint of "The Return of Coppersmith's Attack": modulo each of these primes a weak modulus is a power of
/// 65537. An honest modulus passes all of them with a chance below 2^-27.
fn has_roca_weakness(modulus: &[u8]) -> bool {
    const PRIMES: [u32; 17] =
        [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
    PRIMES.iter().all(|prime| {
        let residue =
            modulus.iter().fold(0_u32, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let generator = 65537 % prime;
        let mut power = 1;
        // The powers come back to 1 after at most `prime` steps.
        for _ in 0..*prime {
            if power == residue {
                return true;
            }
            power = power * generator % prime;
        }
        false
    })
}
