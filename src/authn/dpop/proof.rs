//! One proof, read strictly: a compact JWS whose header names its own key. Unverified until [`Proof::verify`].

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::authn::json;

use super::MAX_AGE;
use super::key::{self, ProofAlgorithm};
use super::refused::DpopRefused;

/// The longest proof that is read: one with an RSA key of 8192 bits is half as long.
const MAX_LENGTH: usize = 8 * 1024;
/// The longest `jti`.
const MAX_ID: usize = 256;
/// The end of the year 9999, far below where time arithmetic could overflow.
const LAST_SECOND: u64 = 253_402_300_799;
const NOT_A_JWS: DpopRefused = DpopRefused::Malformed("it is no compact JWS");

/// The parts of a proof, decoded.
pub(super) struct Proof<'p> {
    signed: &'p [u8],
    signature: Vec<u8>,
    algorithm: ProofAlgorithm,
    jwk: Map<String, Value>,
    claims: Map<String, Value>,
}

impl<'p> Proof<'p> {
    pub(super) fn read(text: &'p str) -> Result<Self, DpopRefused> {
        if text.len() > MAX_LENGTH {
            return Err(DpopRefused::Malformed("it is too long"));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(NOT_A_JWS)?;
        // A third dot would be a character that the decoder does not know.
        let (header, claims) = signed.split_once('.').ok_or(NOT_A_JWS)?;
        let mut header = object(header)?;
        if header.get("typ").and_then(Value::as_str) != Some("dpop+jwt") {
            return Err(DpopRefused::Malformed("its typ is not dpop+jwt"));
        }
        // No extension is understood, nor a payload that is encrypted, compressed or not encoded.
        if ["crit", "b64", "enc", "zip"].iter().any(|name| header.contains_key(*name)) {
            return Err(DpopRefused::Malformed("it demands an extension"));
        }
        let algorithm = header
            .get("alg")
            .and_then(Value::as_str)
            .and_then(ProofAlgorithm::named)
            .ok_or(DpopRefused::Algorithm)?;
        let Some(Value::Object(jwk)) = header.remove("jwk") else {
            return Err(DpopRefused::Key("there is none".to_owned()));
        };
        let claims = object(claims)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| NOT_A_JWS)?;
        Ok(Self { signed: signed.as_bytes(), signature, algorithm, jwk, claims })
    }

    /// Of the key, which must be a public one.
    pub(super) fn thumbprint(&self) -> Result<[u8; 32], DpopRefused> {
        key::thumbprint(&self.jwk)
    }

    /// A claim that must be there.
    pub(super) fn text(&self, name: &'static str) -> Result<&str, DpopRefused> {
        self.optional_text(name)?
            .ok_or(DpopRefused::Malformed("a claim that it must have is not there"))
    }

    pub(super) fn optional_text(&self, name: &'static str) -> Result<Option<&str>, DpopRefused> {
        match self.claims.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(DpopRefused::Malformed("a claim of it is no text")),
        }
    }

    /// The `jti`, by which a proof is told from others of its key.
    pub(super) fn id(&self) -> Result<&str, DpopRefused> {
        let id = self.text("jti")?;
        if id.is_empty() || id.len() > MAX_ID {
            return Err(DpopRefused::Malformed("its jti is empty or too long"));
        }
        Ok(id)
    }

    /// Gives `iat`, if it lies close enough to now. `exp` and `nbf` are not part of a proof; where they stand, they
    /// mean what they mean in any JWT.
    pub(super) fn judge_time(
        &self,
        leeway: Duration,
        now: SystemTime,
    ) -> Result<SystemTime, DpopRefused> {
        let issued = self.time("iat")?.ok_or(DpopRefused::Malformed("it has no iat"))?;
        let expires = self.time("exp")?.unwrap_or(issued + MAX_AGE).min(issued + MAX_AGE);
        if now >= expires + leeway {
            return Err(DpopRefused::Stale);
        }
        let starts = self.time("nbf")?.map_or(issued, |nbf| nbf.max(issued));
        if now + leeway < starts {
            return Err(DpopRefused::Future);
        }
        Ok(issued)
    }

    /// A `NumericDate`: seconds since 1970, whole or not.
    fn time(&self, name: &'static str) -> Result<Option<SystemTime>, DpopRefused> {
        let Some(value) = self.claims.get(name) else { return Ok(None) };
        let since = match value.as_u64() {
            Some(whole) => Some(Duration::from_secs(whole)),
            None => value.as_f64().and_then(|at| Duration::try_from_secs_f64(at).ok()),
        };
        match since {
            Some(since) if since.as_secs() <= LAST_SECOND => {
                Ok(Some(SystemTime::UNIX_EPOCH + since))
            }
            Some(_) | None => Err(DpopRefused::Malformed("a time in it cannot be read")),
        }
    }

    /// Proves that the key in the header made the signature.
    pub(super) fn verify(&self) -> Result<(), DpopRefused> {
        key::verify(&self.jwk, self.algorithm, self.signed, &self.signature)
    }
}

/// A part that is canonical base64url of a JSON object in which no name stands twice.
fn object(part: &str) -> Result<Map<String, Value>, DpopRefused> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| NOT_A_JWS)?;
    json::object(&bytes).map_err(|_| DpopRefused::Malformed("a part of it is no JSON object"))
}
