//! Verification keys of one provider, from a JSON Web Key Set (RFC 7517).
//!
//! A key that cannot be used is skipped and named, so that one odd key never takes the others away. Only public
//! signature keys are kept: a symmetric key in a set that anyone may fetch would let anyone sign.

use std::panic::{AssertUnwindSafe, catch_unwind};

use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use crate::policy::Algorithm;

use super::json::{self, InvalidJson};
use super::refused::TokenFault;
use super::token::{self, Unverified};

mod jwk;

use jwk::Family;
pub use jwk::SkipReason;

/// How many keys a set may list.
const MAX_KEYS: usize = 256;
/// How many keys are tried for one token: each try costs a signature check.
const MAX_TRIES: usize = 8;

/// The usable keys of a provider; at least one.
pub struct KeySet {
    keys: Vec<Key>,
    skipped: Vec<SkippedKey>,
    /// SHA-256 of the text the set was read from.
    digest: [u8; 32],
}

struct Key {
    kid: Option<String>,
    family: Family,
    /// The allowed algorithms of its family, or the one it is bound to by `alg`.
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

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
}

impl KeySet {
    /// Reads a key set and keeps the keys that can verify one of the `allowed` algorithms.
    ///
    /// # Errors
    /// When the text is no key set, or no key of it can be used.
    pub fn parse(jwks_json: &[u8], allowed: &[Algorithm]) -> Result<Self, InvalidKeySet> {
        let set = json::object(jwks_json).map_err(InvalidKeySet::Json)?;
        let Some(Value::Array(entries)) = set.get("keys") else {
            return Err(InvalidKeySet::NoKeys);
        };
        if entries.len() > MAX_KEYS {
            return Err(InvalidKeySet::TooManyKeys);
        }
        let mut keys = Vec::new();
        let mut skipped = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            match Key::read(entry, allowed) {
                Ok(key) => keys.push(key),
                Err(reason) => skipped.push(SkippedKey { name: name(entry, index), reason }),
            }
        }
        if keys.is_empty() {
            return Err(InvalidKeySet::NothingUsable { skipped });
        }
        Ok(Self { keys, skipped, digest: super::digest(jwks_json) })
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
        self.verify(&unverified)?;
        Ok(unverified.payload)
    }

    /// Proves that a key of this set signed the token.
    pub(super) fn verify(&self, token: &Unverified<'_>) -> Result<(), TokenFault> {
        let named = || self.keys.iter().filter(|key| token.kid.is_none() || key.kid == token.kid);
        if named().next().is_none() {
            return Err(TokenFault::UnknownKey);
        }
        let mut fitting = named().filter(|key| key.serves(token.algorithm)).peekable();
        if fitting.peek().is_none() {
            let unnamed = token.kid.is_none();
            return Err(if unnamed { TokenFault::UnknownKey } else { TokenFault::KeyMismatch });
        }
        let signed = fitting.take(MAX_TRIES).any(|key| key.signed(token));
        if signed { Ok(()) } else { Err(TokenFault::BadSignature) }
    }
}

impl Key {
    fn read(entry: &Value, allowed: &[Algorithm]) -> Result<Self, SkipReason> {
        let Value::Object(members) = entry else { return Err(SkipReason::NotAnObject) };
        let kid = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(SkipReason::Member("kid")),
        };
        refuse_other_uses(members)?;
        let public = jwk::read(members)?;
        let bound = match members.get("alg") {
            None => None,
            Some(Value::String(name)) => {
                Some(token::named(name).ok_or(SkipReason::UnknownAlgorithm)?)
            }
            Some(_) => return Err(SkipReason::Member("alg")),
        };
        if bound.is_some_and(|bound| Family::of(bound) != public.family) {
            return Err(SkipReason::AlgorithmOfAnotherKind);
        }
        let algorithms: Vec<Algorithm> = allowed
            .iter()
            .copied()
            .filter(|algorithm| Family::of(*algorithm) == public.family)
            .filter(|algorithm| bound.is_none_or(|bound| bound == *algorithm))
            .collect();
        if algorithms.is_empty() {
            return Err(SkipReason::AlgorithmNotAllowed);
        }
        Ok(Self { kid, family: public.family, algorithms, decoding: public.decoding })
    }

    fn serves(&self, algorithm: Algorithm) -> bool {
        // The family is part of `algorithms` already; said again because confusing the two is how forgeries pass.
        Family::of(algorithm) == self.family && self.algorithms.contains(&algorithm)
    }

    /// True when this key made the signature. Every failure, a panic included, means it did not.
    fn signed(&self, token: &Unverified<'_>) -> bool {
        let verified = catch_unwind(AssertUnwindSafe(|| {
            jsonwebtoken::crypto::verify(
                token.signature,
                token.signed,
                &self.decoding,
                jwk::for_library(token.algorithm),
            )
        }));
        matches!(verified, Ok(Ok(true)))
    }
}

/// `use` and `key_ops` must allow verifying. `jwt-svid` is how SPIFFE bundles mark token keys.
fn refuse_other_uses(members: &Map<String, Value>) -> Result<(), SkipReason> {
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

fn name(entry: &Value, index: usize) -> String {
    match entry.get("kid") {
        Some(Value::String(kid)) => kid.chars().take(100).collect(),
        _ => format!("#{}", index + 1),
    }
}

fn list(skipped: &[SkippedKey]) -> String {
    skipped.iter().take(10).map(|key| format!("; {}: {}", key.name, key.reason)).collect()
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.kid)).finish()
    }
}

#[cfg(test)]
mod tests;
