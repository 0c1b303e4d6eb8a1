//! A workload's token, verified as a whole (SPIFFE JWT-SVID specification).
//!
//! [`UnverifiedJwtSvid`] says what a token claims and proves nothing. Only [`UnverifiedJwtSvid::verify`] makes a
//! [`JwtSvid`]: with the keys of the trust domain that the token names, and for one audience.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::json::{self, InvalidJson};
use super::{Bundles, InvalidSpiffeId, JwtBundle, SpiffeId, TrustDomain};

/// The longest token that is read, in bytes. Whole tokens of a mesh are below one kibibyte.
const MAX_LENGTH: usize = 16 * 1024;
/// How far a verifier's clock may be behind that of the signer, for `nbf` and `iat`. The end of a token has no such
/// grace.
const SKEW: Duration = Duration::from_secs(60);

/// A JWT-SVID whose signature, subject, audience and time were verified.
#[derive(PartialEq)]
pub struct JwtSvid {
    token: Zeroizing<String>,
    id: SpiffeId,
    audiences: Vec<String>,
    issued: Option<SystemTime>,
    expires: SystemTime,
    claims: Map<String, Value>,
}

/// A token that has the form of a JWT-SVID. It proves nothing yet.
pub struct UnverifiedJwtSvid<'a> {
    token: &'a str,
    signed: &'a str,
    signature: &'a str,
    algorithm: Algorithm,
    kid: String,
    id: SpiffeId,
    claims: Map<String, Value>,
}

/// Why a token is no valid JWT-SVID.
#[derive(Debug, thiserror::Error)]
pub enum InvalidJwtSvid {
    /// It is longer than any honest token.
    #[error("the token is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// It is not three parts in base64url (RFC 7515, section 3.1).
    #[error("the token is not a JWS in compact serialisation")]
    Form,
    /// The header is no JSON object, or one that can be read in two ways.
    #[error("the header {0}")]
    Header(#[source] InvalidJson),
    /// The header has a member that JWT-SVIDs must not have (section 2).
    #[error("the header holds {0:?}; allowed are alg, kid and typ")]
    HeaderMember(String),
    /// The algorithm is not one of section 2.1, or the token names none.
    #[error(
        "the algorithm {0} is not allowed; allowed are RS256, RS384, RS512, ES256, ES384, PS256, PS384 and PS512"
    )]
    Algorithm(String),
    /// `typ` is neither `JWT` nor `JOSE` (section 2.3).
    #[error("the type {0} is neither \"JWT\" nor \"JOSE\"")]
    Type(String),
    /// The token does not say which key signed it.
    #[error("the header has no key id")]
    NoKeyId,
    /// The claims are no JSON object, or one that can be read in two ways.
    #[error("the payload {0}")]
    Claims(#[source] InvalidJson),
    /// A claim that must be there is not, or is of another type.
    #[error("the claim {0} is missing or malformed")]
    Claim(&'static str),
    /// The subject is no SPIFFE ID of a workload (section 3.1).
    #[error("the subject {0}")]
    Subject(#[source] InvalidSpiffeId),
    /// The token is of a trust domain whose keys are not known.
    #[error("no keys are known of trust domain {0}")]
    UnknownDomain(TrustDomain),
    /// The token names a trust domain that the keys do not speak for.
    #[error("{id} is not in trust domain {expected}")]
    Foreign {
        /// Whom it names.
        id: SpiffeId,
        /// Whose keys were tried.
        expected: TrustDomain,
    },
    /// No key of that name.
    #[error("trust domain {domain} has no key {kid:?}")]
    UnknownKey {
        /// Whose keys.
        domain: TrustDomain,
        /// The name in the token.
        kid: String,
    },
    /// The key is of another kind than the algorithm, or is not for signatures.
    #[error("the key {0:?} is not for this algorithm or not for JWT-SVIDs")]
    KeyKind(String),
    /// The signature is not the key's.
    #[error("the signature does not verify")]
    Signature,
    /// The token is for somebody else (section 3.2).
    #[error("the token is not for the audience {0:?}")]
    Audience(String),
    /// The token is over (section 3.3).
    #[error("the token has expired")]
    Expired,
    /// The token is not valid yet, or was issued in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
}

impl JwtSvid {
    /// Verifies a token with the keys of whichever trust domain it names, own or foreign.
    ///
    /// # Errors
    /// When the token is no JWT-SVID, its trust domain is not known, or it does not verify at `now` for `audience`.
    pub fn verify(
        token: &str,
        bundles: &Bundles,
        audience: &str,
        now: SystemTime,
    ) -> Result<Self, InvalidJwtSvid> {
        let unverified = UnverifiedJwtSvid::parse(token)?;
        let domain = unverified.subject().trust_domain();
        let Some(bundle) = bundles.jwt_of(&domain) else {
            return Err(InvalidJwtSvid::UnknownDomain(domain));
        };
        unverified.verify(bundle, audience, now)
    }

    /// The token itself: whoever holds it can be taken for the workload by its audience.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Whom it names.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// For whom it is; at least one.
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// When it was issued, where it says so.
    #[must_use]
    pub fn issued(&self) -> Option<SystemTime> {
        self.issued
    }

    /// From when on it is refused.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    /// All its claims.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// Without the token.
impl fmt::Debug for JwtSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSvid")
            .field("id", &self.id.as_str())
            .field("audiences", &self.audiences)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl<'a> UnverifiedJwtSvid<'a> {
    /// Reads the form: three parts, an allowed header, a subject that is a SPIFFE ID.
    ///
    /// # Errors
    /// When the token cannot be a JWT-SVID, whoever signed it.
    pub fn parse(token: &'a str) -> Result<Self, InvalidJwtSvid> {
        if token.len() > MAX_LENGTH {
            return Err(InvalidJwtSvid::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(InvalidJwtSvid::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(InvalidJwtSvid::Form)?;
        // Anything but base64url without padding is refused here, a fourth part with it.
        decode(signature)?;
        let header = json::object(&decode(header)?).map_err(InvalidJwtSvid::Header)?;
        let claims = json::object(&decode(payload)?).map_err(InvalidJwtSvid::Claims)?;
        let (algorithm, kid) = read_header(header)?;
        let subject = claims.get("sub").and_then(Value::as_str);
        let subject = subject.ok_or(InvalidJwtSvid::Claim("sub"))?;
        let id = SpiffeId::parse(subject).map_err(InvalidJwtSvid::Subject)?;
        Ok(Self { token, signed, signature, algorithm, kid, id, claims })
    }

    /// Whom the token claims to name. Good for finding the keys to verify it with, and for nothing else.
    #[must_use]
    pub fn subject(&self) -> &SpiffeId {
        &self.id
    }

    /// Verifies signature, trust domain, audience and time.
    ///
    /// # Errors
    /// When one of them is not as it must be.
    pub fn verify(
        self,
        bundle: &JwtBundle,
        audience: &str,
        now: SystemTime,
    ) -> Result<JwtSvid, InvalidJwtSvid> {
        let Self { token, signed, signature, algorithm, kid, id, claims } = self;
        if !id.is_member_of(bundle.domain()) {
            return Err(InvalidJwtSvid::Foreign { id, expected: bundle.domain().clone() });
        }
        let Some(key) = bundle.key(&kid) else {
            return Err(InvalidJwtSvid::UnknownKey { domain: bundle.domain().clone(), kid });
        };
        if !fits(key, algorithm) {
            return Err(InvalidJwtSvid::KeyKind(kid));
        }
        let key = DecodingKey::from_jwk(key).map_err(|_| InvalidJwtSvid::KeyKind(kid))?;
        let verified = jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key, algorithm);
        if !verified.is_ok_and(|good| good) {
            return Err(InvalidJwtSvid::Signature);
        }
        let audiences = read_audiences(&claims)?;
        if !audiences.iter().any(|one| one == audience) {
            return Err(InvalidJwtSvid::Audience(audience.to_owned()));
        }
        let (issued, expires) = check_times(&claims, now)?;
        let token = Zeroizing::new(token.to_owned());
        Ok(JwtSvid { token, id, audiences, issued, expires, claims })
    }
}

fn decode(part: &str) -> Result<Vec<u8>, InvalidJwtSvid> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| InvalidJwtSvid::Form)
}

/// A closed set: the specification allows no other member, and one that is not understood must not be overlooked.
fn read_header(header: Map<String, Value>) -> Result<(Algorithm, String), InvalidJwtSvid> {
    let (mut algorithm, mut kid) = (None, None);
    for (name, value) in header {
        match name.as_str() {
            "alg" => algorithm = Some(read_algorithm(&value)?),
            "kid" => kid = value.as_str().filter(|kid| !kid.is_empty()).map(str::to_owned),
            "typ" if value.as_str().is_some_and(|typ| matches!(typ, "JWT" | "JOSE")) => {}
            "typ" => return Err(InvalidJwtSvid::Type(value.to_string())),
            _ => return Err(InvalidJwtSvid::HeaderMember(name)),
        }
    }
    let algorithm = algorithm.ok_or_else(|| InvalidJwtSvid::Algorithm("(none)".to_owned()))?;
    Ok((algorithm, kid.ok_or(InvalidJwtSvid::NoKeyId)?))
}

/// The algorithms of section 2.1, less ES512: the library has no P-521.
fn read_algorithm(value: &Value) -> Result<Algorithm, InvalidJwtSvid> {
    match value.as_str() {
        Some("RS256") => Ok(Algorithm::RS256),
        Some("RS384") => Ok(Algorithm::RS384),
        Some("RS512") => Ok(Algorithm::RS512),
        Some("ES256") => Ok(Algorithm::ES256),
        Some("ES384") => Ok(Algorithm::ES384),
        Some("PS256") => Ok(Algorithm::PS256),
        Some("PS384") => Ok(Algorithm::PS384),
        Some("PS512") => Ok(Algorithm::PS512),
        Some(_) | None => Err(InvalidJwtSvid::Algorithm(value.to_string())),
    }
}

/// The token chooses the algorithm, so the key must agree: kind, curve, and what it says it is for.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    use AlgorithmParameters::{EllipticCurve as Curve, RSA};
    let kind = match algorithm {
        Algorithm::ES256 => {
            matches!(&key.algorithm, Curve(key) if key.curve == EllipticCurve::P256)
        }
        Algorithm::ES384 => {
            matches!(&key.algorithm, Curve(key) if key.curve == EllipticCurve::P384)
        }
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => matches!(&key.algorithm, RSA(_)),
        // None of the list; `read_algorithm` lets no other in.
        _ => false,
    };
    let purpose = match &key.common.public_key_use {
        None | Some(PublicKeyUse::Signature) => true,
        Some(PublicKeyUse::Other(named)) => named == "jwt-svid",
        Some(PublicKeyUse::Encryption) => false,
    };
    let named = key.common.key_algorithm.is_none_or(|named| {
        serde_json::to_value(named).ok() == serde_json::to_value(algorithm).ok()
    });
    kind && purpose && named
}

/// One text or several (RFC 7519, section 4.1.3); at least one.
fn read_audiences(claims: &Map<String, Value>) -> Result<Vec<String>, InvalidJwtSvid> {
    let malformed = || InvalidJwtSvid::Claim("aud");
    let text = |value: &Value| {
        value.as_str().filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(malformed)
    };
    match claims.get("aud") {
        Some(one @ Value::String(_)) => Ok(vec![text(one)?]),
        Some(Value::Array(several)) if !several.is_empty() => several.iter().map(text).collect(),
        Some(_) | None => Err(malformed()),
    }
}

fn check_times(
    claims: &Map<String, Value>,
    now: SystemTime,
) -> Result<(Option<SystemTime>, SystemTime), InvalidJwtSvid> {
    let (issued, begins) = (read_date(claims, "iat")?, read_date(claims, "nbf")?);
    let expires = read_date(claims, "exp")?.ok_or(InvalidJwtSvid::Claim("exp"))?;
    if now >= expires {
        return Err(InvalidJwtSvid::Expired);
    }
    let latest = now.checked_add(SKEW).ok_or(InvalidJwtSvid::NotYetValid)?;
    if [issued, begins].into_iter().flatten().any(|from| from > latest) {
        return Err(InvalidJwtSvid::NotYetValid);
    }
    Ok((issued, expires))
}

/// Seconds since 1970, with a fraction or without (RFC 7519, section 2). A fraction is cut off: a token ends early
/// rather than late.
fn read_date(
    claims: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<SystemTime>, InvalidJwtSvid> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let malformed = || InvalidJwtSvid::Claim(name);
    let whole = value.as_u64().map(Duration::from_secs);
    let since = whole
        .or_else(|| value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
        .ok_or_else(malformed)?;
    let date = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(since.as_secs()));
    date.map(Some).ok_or_else(malformed)
}

#[cfg(test)]
mod tests;
