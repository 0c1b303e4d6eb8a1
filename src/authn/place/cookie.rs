//! Credentials in cookies (RFC 6265).
//!
//! HTTP/2 may split cookies over several header lines, and a proxy may join them with `; `. Both are read the same.

use super::super::evidence::HttpEvidence;
use super::CredentialProblem;

/// The value of the one cookie of this name; nothing without it.
pub(in crate::authn) fn read<'a>(
    name: &str,
    http: &HttpEvidence<'a>,
) -> Result<Option<&'a str>, CredentialProblem> {
    let mut found = None;
    for line in http.lines("cookie") {
        let line = std::str::from_utf8(line).map_err(|_| CredentialProblem::Characters)?;
        for pair in line.split(';') {
            let pair = pair.trim_matches([' ', '\t']);
            let Some((key, value)) = pair.split_once('=') else { continue };
            if key.trim_end_matches([' ', '\t']) != name {
                continue;
            }
            if found.replace(value).is_some() {
                // Which of them the application would take depends on its library.
                return Err(CredentialProblem::Ambiguous);
            }
        }
    }
    match found {
        None => Ok(None),
        // How a cookie is deleted.
        Some("") => Err(CredentialProblem::Empty),
        Some(value) if value.bytes().all(is_octet) => Ok(Some(value)),
        Some(_) => Err(CredentialProblem::Characters),
    }
}

/// All cookies but those of these names, as one line; nothing when none is left.
pub(in crate::authn) fn without(names: &[String], http: &HttpEvidence<'_>) -> Option<String> {
    let mut kept = String::new();
    for line in http.lines("cookie").filter_map(|line| std::str::from_utf8(line).ok()) {
        for pair in line.split(';').map(|pair| pair.trim_matches([' ', '\t'])) {
            let key = pair.split_once('=').map_or(pair, |(key, _)| key);
            if pair.is_empty() || names.iter().any(|name| name == key.trim_end_matches([' ', '\t']))
            {
                continue;
            }
            if !kept.is_empty() {
                kept.push_str("; ");
            }
            kept.push_str(pair);
        }
    }
    (!kept.is_empty()).then_some(kept)
}

/// `cookie-octet` of RFC 6265, section 4.1.1.
fn is_octet(byte: u8) -> bool {
    (0x21..=0x7e).contains(&byte) && !matches!(byte, b'"' | b',' | b';' | b'\\')
}
