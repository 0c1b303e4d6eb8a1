//! Why keys are not used.

use super::MAX_KEYS;
use crate::authn::json::InvalidJson;

/// A key of a set that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedKey {
    /// Its `kid`, or its place such as `#2`, counted from 1.
    pub name: String,
    /// Why.
    pub reason: SkipReason,
}

/// Why a text is no usable key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySet {
    /// It is no JSON object.
    #[error("the key set {0}")]
    Json(InvalidJson),
    /// It has no array `keys`.
    #[error("the key set has no array \"keys\"")]
    NoKeys,
    /// It lists too many keys.
    #[error("the key set lists more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// Every key was skipped.
    #[error("the key set has no usable key{}", list(.skipped))]
    NothingUsable {
        /// Each with its reason; empty when the set is.
        skipped: Vec<SkippedKey>,
    },
    /// No PEM blocks, or one that is cut off or not base64.
    #[error("the keys are no PEM text")]
    Pem,
    /// A private key, which does not belong here.
    #[error(
        "the PEM text holds a private key; only its public key belongs here (openssl pkey -pubout)"
    )]
    PrivateKey,
    /// A block of another kind.
    #[error("PEM block {place} is neither a public key nor a certificate")]
    PemLabel {
        /// Which, counted from 1.
        place: usize,
    },
    /// A key that cannot be used.
    #[error("PEM block {place}: the key {reason}")]
    PemKey {
        /// Which, counted from 1.
        place: usize,
        /// Why.
        reason: SkipReason,
    },
    /// A secret shorter than the algorithm's digest (RFC 7518, section 3.2).
    #[error("the shared secret has {has} bytes, and {algorithm} needs at least {needs}")]
    ShortSecret {
        /// How long it is.
        has: usize,
        /// How long it has to be.
        needs: usize,
        /// For which algorithm.
        algorithm: &'static str,
    },
    /// None of the allowed algorithms, or not all of them, work with a secret.
    #[error("a shared secret is for HS256, HS384 and HS512 only")]
    SecretAlgorithm,
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
    /// A key of a SPIFFE bundle whose `use` is not `jwt-svid`.
    #[error("is not for JWT-SVIDs")]
    NotForJwtSvids,
    /// A symmetric key, which must never stand in a public set.
    #[error("is a symmetric key")]
    Symmetric,
    /// Its private part is published with it, so anyone could sign.
    #[error("holds its private part")]
    Private,
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
    /// Ed25519 of small order: signatures under it can be made without a private key.
    #[error("its point has a small order")]
    SmallOrder,
    /// Not a point of its curve, or not a key at all.
    #[error("is no valid public key")]
    Invalid,
}

fn list(skipped: &[SkippedKey]) -> String {
    skipped.iter().take(10).map(|key| format!("; {}: {}", key.name, key.reason)).collect()
}
