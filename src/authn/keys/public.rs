//! One public key, checked before it is ever used, whatever it was written as.
//!
//! What a forger could use is refused here: RSA that is short, even, has an unsafe exponent or the ROCA weakness, points
//! that are not on their curve, and Ed25519 points of small order, under which one signature fits many messages.

use aws_lc_rs::signature::{
    self, EcdsaVerificationAlgorithm, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents,
};

use crate::policy::Algorithm;

use super::SkipReason;

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
    P521,
    Ed25519,
    /// A shared secret, never a member of a public set.
    Secret,
}

/// A curve of ECDSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

/// A public key that passed every check.
pub(super) struct PublicKey {
    family: Family,
    material: Material,
}

enum Material {
    /// Modulus and exponent without leading zeros.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// The key as its one algorithm reads it.
    Parsed(ParsedPublicKey),
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
            Algorithm::ES512 => Self::P521,
            Algorithm::EdDSA => Self::Ed25519,
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Self::Secret,
        }
    }
}

impl Curve {
    /// Bytes of one coordinate (RFC 7518, section 6.2.1.2).
    pub(super) fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn family(self) -> Family {
        match self {
            Self::P256 => Family::P256,
            Self::P384 => Family::P384,
            Self::P521 => Family::P521,
        }
    }

    /// Signatures of JOSE are two numbers of fixed length, never DER.
    fn signature(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::P521 => &signature::ECDSA_P521_SHA512_FIXED,
        }
    }
}

impl PublicKey {
    /// An RSA key from big-endian numbers. Some issuers write the leading zero of the DER form.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, SkipReason> {
        let modulus = without_leading_zeros(modulus);
        let exponent = without_leading_zeros(exponent);
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
        let material = Material::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() };
        Ok(Self { family: Family::Rsa, material })
    }

    /// An uncompressed point; the library refuses one that is not on the curve.
    pub(super) fn point(curve: Curve, uncompressed: &[u8]) -> Result<Self, SkipReason> {
        if uncompressed.first() != Some(&4) || uncompressed.len() != 1 + 2 * curve.size() {
            return Err(SkipReason::Invalid);
        }
        let parsed = ParsedPublicKey::new(curve.signature(), uncompressed)
            .map_err(|_| SkipReason::Invalid)?;
        Ok(Self { family: curve.family(), material: Material::Parsed(parsed) })
    }

    /// An Ed25519 key of 32 bytes.
    pub(super) fn ed25519(key: &[u8]) -> Result<Self, SkipReason> {
        let bytes: [u8; 32] = key.try_into().map_err(|_| SkipReason::Invalid)?;
        if has_small_order(bytes) {
            return Err(SkipReason::SmallOrder);
        }
        let parsed =
            ParsedPublicKey::new(&signature::ED25519, bytes).map_err(|_| SkipReason::Invalid)?;
        Ok(Self { family: Family::Ed25519, material: Material::Parsed(parsed) })
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// The key as one algorithm reads it: parsed once, not at every token.
    pub(super) fn parsed(&self, algorithm: Algorithm) -> Result<ParsedPublicKey, SkipReason> {
        match &self.material {
            Material::Parsed(_) if Family::of(algorithm) != self.family => {
                Err(SkipReason::AlgorithmOfAnotherKind)
            }
            Material::Parsed(parsed) => Ok(parsed.clone()),
            Material::Rsa { modulus, exponent } => {
                let padding = rsa_padding(algorithm).ok_or(SkipReason::AlgorithmOfAnotherKind)?;
                RsaPublicKeyComponents { n: modulus, e: exponent }
                    .to_parsed_public_key(padding)
                    .map_err(|_| SkipReason::Invalid)
            }
        }
    }
}

fn rsa_padding(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256
        | Algorithm::ES384
        | Algorithm::ES512
        | Algorithm::EdDSA
        | Algorithm::HS256
        | Algorithm::HS384
        | Algorithm::HS512 => None,
    }
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

/// The y coordinates of the points whose order divides 8, little-endian as keys are written: with either sign they are
/// the eight points, and the last two are 0 and 1 written a second way (the prime and the prime plus one).
pub(super) const SMALL_ORDER: [[u8; 32]; 7] = {
    let zero = [0; 32];
    let mut one = [0; 32];
    one[0] = 1;
    let eighth = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ];
    let other_eighth = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ];
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    minus_one[31] = 0x7f;
    let mut prime = minus_one;
    prime[0] = 0xed;
    let mut prime_and_one = minus_one;
    prime_and_one[0] = 0xee;
    [zero, one, eighth, other_eighth, minus_one, prime, prime_and_one]
};

/// The top bit is the sign of x and makes no difference to the order.
fn has_small_order(mut key: [u8; 32]) -> bool {
    let [.., last] = &mut key;
    *last &= 0x7f;
    SMALL_ORDER.contains(&key)
}
