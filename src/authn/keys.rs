//! Verification keys of one provider: a JSON Web Key Set (RFC 7517), a SPIFFE bundle, PEM text, or a shared secret.
//!
//! A key of a fetched set that cannot be used is skipped and named, so that one odd key never takes the others away.
//! Only public signature keys are kept: a symmetric key in a set that anyone may fetch would let anyone sign. A shared
//! secret comes alone, through [`KeySet::secret`], and verifies MACs and nothing else.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::ParsedPublicKey;
use serde_json::{Map, Value};

use crate::policy::Algorithm;

use super::json;
use super::refused::TokenFault;
use super::token::{self, Unverified};

mod jwk;
mod pem;
mod problem;
mod public;

pub use problem::{InvalidKeySet, SkipReason, SkippedKey};
use public::{Family, PublicKey};

/// How many keys a set may list.
const MAX_KEYS: usize = 256;
/// How many keys are tried for one token: each try costs a signature check.
const MAX_TRIES: usize = 8;

/// The usable keys of a provider; at least one.
pub struct KeySet {
    keys: Vec<Key>,
    names: Names,
    skipped: Vec<SkippedKey>,
    /// SHA-256 of the text the set was read from.
    digest: [u8; 32],
}

/// Whether a token's `kid` chooses the key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// It does.
    Choose,
    /// The keys came without names: it says nothing.
    None,
}

struct Key {
    kid: Option<String>,
    /// The allowed algorithms of its family, or the one it is bound to by `alg`; each with the key as it reads it.
    algorithms: Vec<(Algorithm, Check)>,
}

/// What checks a signature.
enum Check {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

/// The keys of a set that a token may be signed by; at least one.
pub(super) struct Fitting<'k> {
    first: &'k Check,
    /// Nearly always empty, and then without an allocation.
    others: Vec<&'k Check>,
}

impl KeySet {
    /// Reads a key set and keeps the keys that can verify one of the `allowed` algorithms.
    ///
    /// # Errors
    /// When the text is no key set, or no key of it can be used.
    pub fn parse(jwks_json: &[u8], allowed: &[Algorithm]) -> Result<Self, InvalidKeySet> {
        Self::read(jwks_json, allowed, jwk::refuse_other_uses)
    }

    /// Reads a SPIFFE bundle: only keys that are marked as for JWT-SVIDs and have a name are kept.
    ///
    /// # Errors
    /// When the text is no bundle, or no key of it can be used.
    pub fn bundle(bundle_json: &[u8], allowed: &[Algorithm]) -> Result<Self, InvalidKeySet> {
        Self::read(bundle_json, allowed, |members| {
            jwk::refuse_unless_jwt_svid(members)?;
            jwk::refuse_other_uses(members)
        })
    }

    /// Reads `PUBLIC KEY`, `RSA PUBLIC KEY` and `CERTIFICATE` blocks. They have no names, so a token's `kid` is not
    /// looked at. Of a certificate only the key counts.
    ///
    /// # Errors
    /// When there is no block, one cannot be used under the `allowed` algorithms, or one holds a private key.
    pub fn pem(text: &str, allowed: &[Algorithm]) -> Result<Self, InvalidKeySet> {
        let mut keys = Vec::new();
        for (index, public) in pem::read(text)?.iter().enumerate() {
            let key = Key::new(None, public, None, allowed)
                .map_err(|reason| InvalidKeySet::PemKey { place: index + 1, reason })?;
            keys.push(key);
        }
        Ok(Self {
            keys,
            names: Names::None,
            skipped: Vec::new(),
            digest: super::digest(text.as_bytes()),
        })
    }

    /// PEM blocks as a file holds them.
    ///
    /// # Errors
    /// As [`KeySet::pem`].
    pub fn pem_file(bytes: &[u8], allowed: &[Algorithm]) -> Result<Self, InvalidKeySet> {
        Self::pem(std::str::from_utf8(bytes).map_err(|_| InvalidKeySet::Pem)?, allowed)
    }

    /// A secret that is shared with the provider, exactly these bytes, for HS algorithms. Whoever has it can sign.
    ///
    /// # Errors
    /// When it is shorter than 32 bytes, or than the digest of one of the algorithms, or one of them is no HS.
    pub fn secret(bytes: &[u8], allowed: &[Algorithm]) -> Result<Self, InvalidKeySet> {
        let mut algorithms = Vec::with_capacity(allowed.len());
        for algorithm in allowed {
            let (mac, needs, name) = mac(*algorithm).ok_or(InvalidKeySet::SecretAlgorithm)?;
            if bytes.len() < needs {
                let has = bytes.len();
                return Err(InvalidKeySet::ShortSecret { has, needs, algorithm: name });
            }
            algorithms.push((*algorithm, Check::Secret(Box::new(hmac::Key::new(mac, bytes)))));
        }
        if algorithms.is_empty() {
            return Err(InvalidKeySet::SecretAlgorithm);
        }
        Ok(Self {
            keys: vec![Key { kid: None, algorithms }],
            names: Names::None,
            skipped: Vec::new(),
            digest: super::digest(bytes),
        })
    }

    /// A shared secret as a file holds it: one line end behind it is not part of it.
    ///
    /// # Errors
    /// As [`KeySet::secret`].
    pub fn secret_file(bytes: &[u8], allowed: &[Algorithm]) -> Result<Self, InvalidKeySet> {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        Self::secret(bytes.strip_suffix(b"\r").unwrap_or(bytes), allowed)
    }

    fn read(
        text: &[u8],
        allowed: &[Algorithm],
        judge: fn(&Map<String, Value>) -> Result<(), SkipReason>,
    ) -> Result<Self, InvalidKeySet> {
        let set = json::object(text).map_err(InvalidKeySet::Json)?;
        let Some(Value::Array(entries)) = set.get("keys") else {
            return Err(InvalidKeySet::NoKeys);
        };
        if entries.len() > MAX_KEYS {
            return Err(InvalidKeySet::TooManyKeys);
        }
        let mut keys = Vec::new();
        let mut skipped = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            match Key::read(entry, allowed, judge) {
                Ok(key) => keys.push(key),
                Err(reason) => skipped.push(SkippedKey { name: name(entry, index), reason }),
            }
        }
        if keys.is_empty() {
            return Err(InvalidKeySet::NothingUsable { skipped });
        }
        Ok(Self { keys, names: Names::Choose, skipped, digest: super::digest(text) })
    }

    /// The keys that are not used, each with its reason.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// How many keys can be used.
    #[must_use]
    pub fn usable(&self) -> usize {
        self.keys.len()
    }

    /// True when both were read from the same text.
    #[must_use]
    pub fn same_text(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Verifies the signature of a compact JWS and gives its payload. Claims, if there are any, are not looked at:
    /// for tokens use [`super::Verifier::user`].
    ///
    /// # Errors
    /// When the text is no JWS that is read here, or no key of the set made its signature.
    pub fn verify_compact(&self, jws: &str) -> Result<Vec<u8>, TokenFault> {
        let unverified = Unverified::read(jws)?;
        self.fitting(&unverified)?.verify(&unverified)?;
        Ok(unverified.payload)
    }

    /// The keys that may have signed the token, by its `kid` and algorithm.
    pub(super) fn fitting(&self, token: &Unverified<'_>) -> Result<Fitting<'_>, TokenFault> {
        let kid = token.kid().filter(|_| self.names == Names::Choose);
        let mut named =
            self.keys.iter().filter(|key| kid.is_none() || key.kid.as_deref() == kid).peekable();
        if named.peek().is_none() {
            return Err(TokenFault::UnknownKey);
        }
        let algorithm = token.algorithm()?;
        let mut checks = named.filter_map(|key| key.check(algorithm)).take(MAX_TRIES);
        match (checks.next(), kid) {
            (Some(first), _) => Ok(Fitting { first, others: checks.collect() }),
            (None, Some(_)) => Err(TokenFault::KeyMismatch),
            (None, None) => Err(TokenFault::UnknownKey),
        }
    }
}

impl Fitting<'_> {
    /// Proves that one of these keys signed the token.
    pub(super) fn verify(&self, token: &Unverified<'_>) -> Result<(), TokenFault> {
        let mut checks = std::iter::once(&self.first).chain(&self.others);
        let signed = checks.any(|check| check.signed(token.signed, &token.signature));
        if signed { Ok(()) } else { Err(TokenFault::BadSignature) }
    }
}

impl Key {
    fn read(
        entry: &Value,
        allowed: &[Algorithm],
        judge: fn(&Map<String, Value>) -> Result<(), SkipReason>,
    ) -> Result<Self, SkipReason> {
        let Value::Object(members) = entry else { return Err(SkipReason::NotAnObject) };
        let kid = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(SkipReason::Member("kid")),
        };
        judge(members)?;
        let public = jwk::read(members)?;
        let bound = match members.get("alg") {
            None => None,
            Some(Value::String(name)) => {
                Some(token::named(name).ok_or(SkipReason::UnknownAlgorithm)?)
            }
            Some(_) => return Err(SkipReason::Member("alg")),
        };
        Self::new(kid, &public, bound, allowed)
    }

    fn new(
        kid: Option<String>,
        public: &PublicKey,
        bound: Option<Algorithm>,
        allowed: &[Algorithm],
    ) -> Result<Self, SkipReason> {
        if bound.is_some_and(|bound| Family::of(bound) != public.family()) {
            return Err(SkipReason::AlgorithmOfAnotherKind);
        }
        let algorithms = allowed
            .iter()
            .copied()
            .filter(|algorithm| Family::of(*algorithm) == public.family())
            .filter(|algorithm| bound.is_none_or(|bound| bound == *algorithm))
            .map(|algorithm| Ok((algorithm, Check::Public(public.parsed(algorithm)?))))
            .collect::<Result<Vec<_>, SkipReason>>()?;
        if algorithms.is_empty() {
            return Err(SkipReason::AlgorithmNotAllowed);
        }
        Ok(Self { kid, algorithms })
    }

    /// What checks signatures of exactly this algorithm.
    fn check(&self, algorithm: Algorithm) -> Option<&Check> {
        let (_, check) = self.algorithms.iter().find(|(serves, _)| *serves == algorithm)?;
        Some(check)
    }
}

impl Check {
    /// True when this key made the signature; a MAC is compared in constant time.
    fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Public(key) => key.verify_sig(message, signature).is_ok(),
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

/// The MAC of an algorithm, the shortest secret for it, and its name.
fn mac(algorithm: Algorithm) -> Option<(hmac::Algorithm, usize, &'static str)> {
    match algorithm {
        Algorithm::HS256 => Some((hmac::HMAC_SHA256, 32, "HS256")),
        Algorithm::HS384 => Some((hmac::HMAC_SHA384, 48, "HS384")),
        Algorithm::HS512 => Some((hmac::HMAC_SHA512, 64, "HS512")),
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512
        | Algorithm::ES256
        | Algorithm::ES384
        | Algorithm::ES512
        | Algorithm::EdDSA => None,
    }
}

fn name(entry: &Value, index: usize) -> String {
    match entry.get("kid") {
        Some(Value::String(kid)) => kid.chars().take(100).collect(),
        _ => format!("#{}", index + 1),
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.kid)).finish()
    }
}

#[cfg(test)]
mod tests;
