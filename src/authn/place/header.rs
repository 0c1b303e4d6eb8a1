//! Credentials in headers.

use super::super::evidence::HttpEvidence;
use super::table::{HeaderPlace, SchemeSlot};
use super::{CredentialProblem, Scheme};

/// The one credential in this header, with the slot of its scheme; nothing without the header.
pub(super) fn read<'a>(
    place: &HeaderPlace,
    http: &HttpEvidence<'a>,
) -> Result<Option<(usize, &'a str, Scheme)>, CredentialProblem> {
    let mut lines = http.lines(&place.name);
    let Some(value) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(CredentialProblem::Ambiguous);
    }
    if value.is_empty() {
        return Err(CredentialProblem::Empty);
    }
    // `Bearer a,Bearer b` and `Basic a,Bearer b` are two credentials that Envoy joined. Digest has commas of its own
    // and is refused all the same.
    if memchr::memchr(b',', value).is_some() {
        return Err(CredentialProblem::Ambiguous);
    }
    let text = std::str::from_utf8(value).map_err(|_| CredentialProblem::Characters)?;
    if let Some(slot) = place.whole {
        return if text.bytes().all(is_visible) {
            Ok(Some((slot, text, Scheme::None)))
        } else {
            Err(CredentialProblem::Characters)
        };
    }
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.is_empty() {
        return Err(CredentialProblem::Characters);
    }
    let (slot, scheme) = by_scheme(&place.schemes, scheme)?;
    if token.is_empty() {
        return Err(CredentialProblem::Empty);
    }
    if is_token68(token.as_bytes()) {
        return Ok(Some((slot, token, scheme)));
    }
    // Two words of token characters are two tokens; anything else is noise.
    let two = token.split(' ').filter(|word| is_token68(word.as_bytes())).count() > 1;
    Err(if two { CredentialProblem::Ambiguous } else { CredentialProblem::Characters })
}

/// A token that is bound to a key comes under the scheme `DPoP` where an unbound one comes under `Bearer`.
fn by_scheme(schemes: &[SchemeSlot], written: &str) -> Result<(usize, Scheme), CredentialProblem> {
    if let Some(found) = schemes.iter().find(|s| s.scheme.eq_ignore_ascii_case(written)) {
        return Ok((found.slot, Scheme::Bearer));
    }
    let bearer = || schemes.iter().find(|s| s.scheme.eq_ignore_ascii_case("Bearer"));
    match written.eq_ignore_ascii_case("DPoP").then(bearer).flatten() {
        Some(found) => Ok((found.slot, Scheme::Dpop)),
        None => Err(CredentialProblem::UnsupportedScheme),
    }
}

/// What a credential without a scheme is made of: no blanks, no control characters.
pub(super) fn is_visible(byte: u8) -> bool {
    (0x21..=0x7e).contains(&byte)
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 7235, section 2.1).
pub(super) fn is_token68(word: &[u8]) -> bool {
    let end = word.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let (body, _padding) = word.split_at(end);
    // Without an early end inside a chunk the compiler looks at many bytes at once; tokens are long.
    !body.is_empty()
        && body.chunks(64).all(|chunk| chunk.iter().fold(true, |all, byte| all & is_body(*byte)))
}

/// Written without branches, for the same reason.
fn is_body(byte: u8) -> bool {
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    let digit = byte.wrapping_sub(b'0') < 10;
    // `-`, `.` and `/` stand side by side.
    let middle = byte.wrapping_sub(b'-') < 3;
    letter | digit | middle | (byte == b'_') | (byte == b'~') | (byte == b'+')
}
