//! A compact JWS read strictly (RFC 7515, RFC 7519, RFC 8725). Nothing here is verified yet.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::policy::Algorithm;

use super::json;
use super::refused::{Malformed, TokenFault};

/// The longest token that is read, in bytes.
pub const MAX_TOKEN_LENGTH: usize = 16 * 1024;

/// The parts of a token, decoded but unverified.
pub(super) struct Unverified<'t> {
    /// What the signature covers: header and payload as they were sent.
    pub(super) signed: &'t [u8],
    pub(super) signature: Vec<u8>,
    /// Nothing for `none` and what is not supported.
    algorithm: Option<Algorithm>,
    /// Its `alg`, `kid`, `typ` and `cty` are texts where they are there.
    header: Map<String, Value>,
    /// The decoded payload; JSON only if [`Unverified::claims`] says so.
    pub(super) payload: Vec<u8>,
}

impl<'t> Unverified<'t> {
    /// Splits and decodes a token, and refuses headers that no provider's rules could allow.
    pub(super) fn read(token: &'t str) -> Result<Self, TokenFault> {
        if token.len() > MAX_TOKEN_LENGTH {
            return Err(TokenFault::TooLong);
        }
        let (signed, header, payload, signature) = split(token)?;
        let header = json::object(&decode(header)?)
            .map_err(|why| TokenFault::Malformed(Malformed::Header(why)))?;
        refuse_other_formats(&header)?;
        for member in ["kid", "typ"] {
            text(&header, member)?;
        }
        let algorithm = algorithm(&header)?;
        let payload = decode(payload)?;
        let signature = decode(signature)?;
        Ok(Self { signed: signed.as_bytes(), signature, algorithm, header, payload })
    }

    /// What its header says it is signed with.
    pub(super) fn algorithm(&self) -> Result<Algorithm, TokenFault> {
        self.algorithm.ok_or(TokenFault::Algorithm)
    }

    /// The key ID its header names.
    pub(super) fn kid(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }

    /// What its header says it is.
    pub(super) fn typ(&self) -> Option<&str> {
        self.header.get("typ").and_then(Value::as_str)
    }

    /// True when its header has this member, whatever it says.
    pub(super) fn has(&self, member: &str) -> bool {
        self.header.contains_key(member)
    }

    /// True when its header has no member but these.
    pub(super) fn has_only(&self, members: &[&str]) -> bool {
        self.header.keys().all(|name| members.contains(&name.as_str()))
    }

    /// The payload as claims.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, TokenFault> {
        json::object(&self.payload).map_err(|why| TokenFault::Malformed(Malformed::Payload(why)))
    }
}

/// What is signed, header, payload, signature.
fn split(token: &str) -> Result<(&str, &str, &str, &str), TokenFault> {
    match token.bytes().filter(|byte| *byte == b'.').count() {
        0 => return Err(TokenFault::Opaque),
        2 => {}
        // The compact form of a JWE (RFC 7516, section 3.1).
        4 => return Err(TokenFault::Encrypted),
        _ => return Err(TokenFault::Malformed(Malformed::Parts)),
    }
    let parts = token.rsplit_once('.').and_then(|(signed, signature)| {
        let (header, payload) = signed.split_once('.')?;
        Some((signed, header, payload, signature))
    });
    parts.ok_or(TokenFault::Malformed(Malformed::Parts))
}

/// Canonical base64url: no padding, no white space, no stray bits in the last character.
fn decode(part: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Malformed(Malformed::Base64))
}

fn refuse_other_formats(header: &Map<String, Value>) -> Result<(), TokenFault> {
    if header.contains_key("enc") || header.contains_key("zip") {
        return Err(TokenFault::Encrypted);
    }
    // No extension is understood, so whatever `crit` lists must be refused (RFC 7515, section 4.1.11).
    if header.contains_key("crit") {
        return Err(TokenFault::CriticalExtension);
    }
    if header.contains_key("b64") {
        return Err(TokenFault::UnencodedPayload);
    }
    if let Some(content) = text(header, "cty")?
        && (content.eq_ignore_ascii_case("JWT") || content.eq_ignore_ascii_case("application/jwt"))
    {
        return Err(TokenFault::Nested);
    }
    Ok(())
}

/// `none` has no variant of [`Algorithm`], so no rule can allow it and no key is ever looked at.
fn algorithm(header: &Map<String, Value>) -> Result<Option<Algorithm>, TokenFault> {
    let name = text(header, "alg")?.ok_or(TokenFault::Malformed(Malformed::HeaderMember("alg")))?;
    Ok(named(name))
}

/// The algorithm of this name, in the exact spelling of RFC 7518 and RFC 8037.
pub(super) fn named(name: &str) -> Option<Algorithm> {
    match name {
        "RS256" => Some(Algorithm::RS256),
        "RS384" => Some(Algorithm::RS384),
        "RS512" => Some(Algorithm::RS512),
        "PS256" => Some(Algorithm::PS256),
        "PS384" => Some(Algorithm::PS384),
        "PS512" => Some(Algorithm::PS512),
        "ES256" => Some(Algorithm::ES256),
        "ES384" => Some(Algorithm::ES384),
        "ES512" => Some(Algorithm::ES512),
        "EdDSA" => Some(Algorithm::EdDSA),
        "HS256" => Some(Algorithm::HS256),
        "HS384" => Some(Algorithm::HS384),
        "HS512" => Some(Algorithm::HS512),
        _ => None,
    }
}

fn text<'h>(
    header: &'h Map<String, Value>,
    member: &'static str,
) -> Result<Option<&'h str>, TokenFault> {
    match header.get(member) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_),
        ) => Err(TokenFault::Malformed(Malformed::HeaderMember(member))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str) -> String {
        format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"))
    }

    fn fault(token: &str) -> &'static str {
        let read = Unverified::read(token).and_then(|token| token.algorithm());
        read.err().map_or("fine", |fault| fault.code())
    }

    #[test]
    fn headers_are_judged_before_any_key() {
        for (header, code) in [
            (r#"{"alg":"RS256"}"#, "fine"),
            (r#"{"alg":"RS256","typ":"JWT","kid":"a=/b"}"#, "fine"),
            (r#"{"alg":"ES384","typ":"AT+jwt"}"#, "fine"),
            (r#"{"alg":"EdDSA","typ":"application/at+JWT"}"#, "fine"),
            (r#"{"alg":"none"}"#, "algorithm_not_allowed"),
            (r#"{"alg":"None"}"#, "algorithm_not_allowed"),
            (r#"{"alg":"rs256"}"#, "algorithm_not_allowed"),
            (r#"{"alg":"HS257"}"#, "algorithm_not_allowed"),
            (r#"{"alg":"ES256K"}"#, "algorithm_not_allowed"),
            (r#"{"alg":""}"#, "algorithm_not_allowed"),
            (r#"{"typ":"JWT"}"#, "token_malformed"),
            (r#"{"alg":null}"#, "token_malformed"),
            (r#"{"alg":["RS256"]}"#, "token_malformed"),
            (r#"{"alg":"RS256","kid":7}"#, "token_malformed"),
            (r#"{"alg":"RS256","alg":"none"}"#, "token_malformed"),
            (r#"{"alg":"RS256","typ":7}"#, "token_malformed"),
            (r#"{"alg":"RS256","cty":7}"#, "token_malformed"),
            (r#"{"alg":"RS256","crit":[]}"#, "critical_extension"),
            (r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, "critical_extension"),
            (r#"{"alg":"RS256","b64":true}"#, "unencoded_payload"),
            (r#"{"alg":"RS256","cty":"jwt"}"#, "token_nested"),
            (r#"{"alg":"dir","enc":"A256GCM"}"#, "token_encrypted"),
            (r#"{"alg":"RS256","zip":"DEF"}"#, "token_encrypted"),
            ("[]", "token_malformed"),
            (r#"{"alg":"RS256"} "#, "fine"),
            (r#"{"alg":"RS256"}x"#, "token_malformed"),
        ] {
            assert_eq!(fault(&token(header)), code, "{header}");
        }
    }

    #[test]
    fn only_three_canonical_parts_make_a_token() {
        let good = token(r#"{"alg":"RS256"}"#);
        assert_eq!(fault(&good), "fine");
        for (text, code) in [
            (String::new(), "token_opaque"),
            ("ya29.".repeat(0) + "opaque", "token_opaque"),
            ("a.b".to_owned(), "token_malformed"),
            (format!("{good}."), "token_malformed"),
            (format!(".{good}"), "token_malformed"),
            (format!("{good}.a.b"), "token_encrypted"),
            (format!("{good}.a.b.c"), "token_malformed"),
            (format!("{good}="), "token_malformed"),
            (format!("{good}A==="), "token_malformed"),
            // One character more: six bits that no encoder writes.
            (format!("{good}A"), "token_malformed"),
            // "AB" carries four stray bits, "AA" does not.
            (format!("{good}AB"), "token_malformed"),
            (format!("{good}AA"), "fine"),
            (format!("{good}\n"), "token_malformed"),
            (format!(" {good}"), "token_malformed"),
            (format!("{good}+/AA"), "token_malformed"),
            (format!("{good}é"), "token_malformed"),
            (format!("{good}{}", "A".repeat(MAX_TOKEN_LENGTH)), "token_too_long"),
        ] {
            assert_eq!(fault(&text), code, "{text:.60}");
        }
    }
}
