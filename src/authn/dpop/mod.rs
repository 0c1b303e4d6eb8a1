//! Tokens that only their owner can use: proof of possession by DPoP (RFC 9449) and by client certificate (RFC 8705).
//!
//! A token whose `cnf.jkt` names a key is worth nothing without a proof: a small JWS in the header `DPoP`, made by that
//! key for this method, this address, this token and this moment. [`DpopGuard::check`] refuses a proof unless all of it
//! holds. What it promises:
//!
//! - The only key that is used is the `jwk` of the proof, which must be a public one and pass every check that the keys
//!   of a provider pass, and whose thumbprint must be the token's `cnf.jkt`.
//! - No proof passes twice in this process, whatever the clock does. A proof is remembered only when everything else
//!   about it was right, so nobody can fill the table with noise, and it is never forgotten early: when the table is
//!   full, proofs are refused (`dpop_overloaded`).
//! - What is cheap is judged first, the signature last, so a stranger's proof costs no signature check.
//!
//! What it does not promise: several processes do not know each other's proofs. Where one workload has replicas, a proof
//! can be replayed to each of them once, within 60 seconds.

use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::policy::{ConfirmationRules, Nonce};

mod certificate;
mod key;
mod nonce;
mod proof;
mod refused;
mod replay;
mod target;

pub use certificate::{certificate_thumbprint, x5t_matches};
pub use key::DPOP_ALGORITHMS;
pub use nonce::NoRandomness;
pub use refused::DpopRefused;
pub use target::{InvalidOrigin, Origin, Scheme};

use certificate::base64_of_digest;
use nonce::Nonces;
use proof::Proof;
use replay::{Remembered, Replays};

/// How long a proof may be used after its `iat`.
const MAX_AGE: Duration = Duration::from_secs(60);
const MIN_LEEWAY: Duration = Duration::from_secs(5);
const MAX_LEEWAY: Duration = Duration::from_secs(30);
/// The longest time between the first use of a proof and the last moment at which it would still be young enough: its
/// `iat` may lie the leeway ahead, and it is too old the leeway late.
const LONGEST_LIFE: Duration = Duration::from_secs(MAX_AGE.as_secs() + 2 * MAX_LEEWAY.as_secs());

/// Judges proofs and remembers those that were used. One per process.
pub struct DpopGuard {
    replays: Replays,
    nonces: Nonces,
}

/// One request, as its client saw it, and the token that it brought. Nothing here is believed yet, except that the
/// token is verified.
#[derive(Clone, Copy)]
pub struct ProofInput<'a> {
    /// The values of the header `DPoP`, all of them, as they came.
    pub values: &'a [&'a [u8]],
    /// The method, as it came.
    pub method: &'a str,
    /// The schemes that the client may have used. Both, where a proxy before us ended TLS and says nothing about it.
    pub schemes: &'a [Scheme],
    /// The authority, with its port if it had one.
    pub host: &'a str,
    /// The raw path, without query.
    pub path: &'a str,
    /// The access token, exactly as it was sent.
    pub access_token: &'a str,
    /// The token's `cnf.jkt`.
    pub jkt: &'a str,
}

/// What a provider's rules ask of proofs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DpopRules {
    nonce: Nonce,
    origins: Vec<Origin>,
    leeway: Duration,
}

impl DpopRules {
    /// With no `origins`, the proof must be for the authority of the request; with some, for one of them, whatever the
    /// request's authority is: for gates behind a proxy that changes it. The leeway is kept within 5 and 30 seconds.
    #[must_use]
    pub fn new(nonce: Nonce, origins: Vec<Origin>, leeway: Duration) -> Self {
        Self { nonce, origins, leeway: leeway.clamp(MIN_LEEWAY, MAX_LEEWAY) }
    }

    /// The rules that a provider's resource states, with the leeway that its tokens have.
    ///
    /// # Errors
    /// When an origin of them is none.
    pub fn compile(rules: &ConfirmationRules, leeway: Duration) -> Result<Self, InvalidOrigin> {
        let origins: Result<_, _> = rules.origins.iter().map(|text| Origin::parse(text)).collect();
        Ok(Self::new(rules.nonce, origins?, leeway))
    }
}

impl DpopGuard {
    /// Remembers up to `capacity` proofs at a time, 17 bytes each and up to twice that while the table grows. A proof
    /// is remembered for two to four minutes, so this bounds the rate of proofs that is served.
    ///
    /// # Errors
    /// When the system has no randomness for the key of the nonces.
    pub fn new(capacity: usize) -> Result<Self, NoRandomness> {
        Ok(Self { replays: Replays::new(capacity, LONGEST_LIFE), nonces: Nonces::random()? })
    }

    /// The same, with nonces that every holder of this secret makes and accepts: without it, a client whose requests
    /// reach several replicas in turn would be sent back for a new nonce each time.
    #[must_use]
    pub fn with_nonce_secret(capacity: usize, secret: &[u8; 32]) -> Self {
        Self { replays: Replays::new(capacity, LONGEST_LIFE), nonces: Nonces::shared(secret) }
    }

    /// A nonce for the header `DPoP-Nonce`.
    #[must_use]
    pub fn fresh_nonce(&self, now: SystemTime) -> String {
        self.nonces.fresh(now)
    }

    /// Accepts the proof of one request, once.
    ///
    /// # Errors
    /// When the request has not exactly one proof, or anything about it is not as it must be.
    pub fn check(
        &self,
        input: &ProofInput<'_>,
        rules: &DpopRules,
        now: SystemTime,
    ) -> Result<(), DpopRefused> {
        let proof = Proof::read(only(input.values)?)?;
        let thumbprint = proof.thumbprint()?;
        let bound = base64_of_digest(&thumbprint);
        if verify_slices_are_equal(&bound, input.jkt.as_bytes()).is_err() {
            return Err(DpopRefused::KeyMismatch);
        }
        if proof.text("htm")? != input.method {
            return Err(DpopRefused::Method);
        }
        if !target::matches(proof.text("htu")?, input, &rules.origins) {
            return Err(DpopRefused::Uri);
        }
        let issued = proof.judge_time(rules.leeway, now)?;
        let hash = base64_of_digest(&super::digest(input.access_token.as_bytes()));
        if verify_slices_are_equal(&hash, proof.text("ath")?.as_bytes()).is_err() {
            return Err(DpopRefused::TokenMismatch);
        }
        self.check_nonce(&proof, rules.nonce, now)?;
        let id = proof.id()?;
        proof.verify()?;
        // Last, so that only proofs of those who hold a key and a token take a place in the table.
        match self.replays.remember(&thumbprint, id, issued, now) {
            Remembered::New => Ok(()),
            Remembered::Replayed => Err(DpopRefused::Replayed),
            Remembered::Overloaded => Err(DpopRefused::Overloaded),
        }
    }

    fn check_nonce(
        &self,
        proof: &Proof<'_>,
        rule: Nonce,
        now: SystemTime,
    ) -> Result<(), DpopRefused> {
        match rule {
            Nonce::Off => Ok(()),
            Nonce::Required => match proof.optional_text("nonce")? {
                None => Err(DpopRefused::NonceMissing { fresh: self.nonces.fresh(now) }),
                Some(nonce) if self.nonces.accept(nonce, now) => Ok(()),
                Some(_) => Err(DpopRefused::NonceStale { fresh: self.nonces.fresh(now) }),
            },
        }
    }
}

/// The one value of the header. Envoy may have joined two with a comma, which stands in no proof.
fn only<'a>(values: &[&'a [u8]]) -> Result<&'a str, DpopRefused> {
    match values {
        [] => Err(DpopRefused::Missing),
        [value] if memchr::memchr(b',', value).is_some() => Err(DpopRefused::Ambiguous),
        [value] => std::str::from_utf8(value)
            .map_err(|_| DpopRefused::Malformed("it has characters that no proof has")),
        _ => Err(DpopRefused::Ambiguous),
    }
}

#[cfg(test)]
mod tests;
