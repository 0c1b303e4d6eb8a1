//! Credentials in the query (RFC 6750, section 2.3).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::super::evidence::HttpEvidence;
use super::CredentialProblem;
use super::header::is_visible;

/// The value of the one parameter of this name; nothing without it.
pub(in crate::authn) fn read<'a>(
    name: &str,
    http: &HttpEvidence<'a>,
) -> Result<Option<Cow<'a, str>>, CredentialProblem> {
    let Some(query) = http.query else { return Ok(None) };
    let mut found = None;
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key != name {
            // Another spelling of the name would reach the application, which may know it.
            if key.contains('%') && percent_decode_str(key).eq(name.bytes()) {
                return Err(CredentialProblem::Characters);
            }
            continue;
        }
        if found.replace(value).is_some() {
            return Err(CredentialProblem::Ambiguous);
        }
    }
    let Some(value) = found else { return Ok(None) };
    if value.is_empty() {
        return Err(CredentialProblem::Empty);
    }
    let text =
        percent_decode_str(value).decode_utf8().map_err(|_| CredentialProblem::Characters)?;
    if text.bytes().all(is_visible) { Ok(Some(text)) } else { Err(CredentialProblem::Characters) }
}
