//! What a request brings to prove who is calling, before anything is believed.

/// What Envoy saw of the client certificate. Both are empty on a connection without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerEvidence<'a> {
    /// `source.principal`.
    pub principal: &'a str,
    /// `source.certificate`: the leaf as URL-encoded PEM.
    pub certificate: &'a str,
}

/// What stands in the `Authorization` header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Evidence<'a> {
    /// There is no such header.
    None,
    /// One bearer token, not looked into yet.
    Bearer(&'a str),
    /// There is something, and it cannot be read as one bearer token.
    Unreadable(BearerProblem),
}

/// Why an `Authorization` header is not one bearer token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BearerProblem {
    /// More than one header, value or token. Envoy joins two headers with a comma.
    #[error("there is more than one credential")]
    Ambiguous,
    /// A scheme other than `Bearer`.
    #[error("the scheme is not Bearer")]
    UnsupportedScheme,
    /// Nothing follows the scheme, or there is nothing at all.
    #[error("there is no token")]
    Empty,
    /// Characters or white space that no bearer token has (RFC 6750, section 2.1).
    #[error("the token has characters that no bearer token has")]
    Characters,
}

impl BearerProblem {
    /// A stable name, for logs and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Ambiguous => "credentials_ambiguous",
            Self::UnsupportedScheme => "unsupported_scheme",
            Self::Empty => "credentials_empty",
            Self::Characters => "credentials_unreadable",
        }
    }
}

/// Never shows the token.
impl std::fmt::Debug for Evidence<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bearer(_) => f.write_str("Bearer(..)"),
            Self::Unreadable(problem) => write!(f, "Unreadable({problem:?})"),
        }
    }
}

/// Reads the values of the `Authorization` header, all of them, exactly as they came.
#[must_use]
pub fn bearer<'a>(values: &[&'a [u8]]) -> Evidence<'a> {
    match values {
        [] => Evidence::None,
        [value] => match one(value) {
            Ok(token) => Evidence::Bearer(token),
            Err(problem) => Evidence::Unreadable(problem),
        },
        _ => Evidence::Unreadable(BearerProblem::Ambiguous),
    }
}

fn one(value: &[u8]) -> Result<&str, BearerProblem> {
    if value.is_empty() {
        return Err(BearerProblem::Empty);
    }
    let text = std::str::from_utf8(value).map_err(|_| BearerProblem::Characters)?;
    // `Bearer a,Bearer b` and `Basic a,Bearer b` are two credentials that Envoy joined. Digest has commas of its own
    // and is refused all the same.
    if memchr::memchr(b',', value).is_some() {
        return Err(BearerProblem::Ambiguous);
    }
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.is_empty() {
        return Err(BearerProblem::Characters);
    }
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(BearerProblem::UnsupportedScheme);
    }
    if token.is_empty() {
        return Err(BearerProblem::Empty);
    }
    if is_token68(token.as_bytes()) {
        return Ok(token);
    }
    // Two words of token characters are two tokens; anything else is noise.
    let two = token.split(' ').filter(|word| is_token68(word.as_bytes())).count() > 1;
    Err(if two { BearerProblem::Ambiguous } else { BearerProblem::Characters })
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 7235, section 2.1).
fn is_token68(word: &[u8]) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bearer_token_is_read() {
        assert_eq!(bearer(&[]), Evidence::None);
        for value in ["Bearer a.b-c_d~e+f/g==", "bearer a.b-c_d~e+f/g==", "BEARER a.b-c_d~e+f/g=="]
        {
            assert_eq!(bearer(&[value.as_bytes()]), Evidence::Bearer("a.b-c_d~e+f/g=="));
        }
    }

    #[test]
    fn whatever_is_not_exactly_one_token_is_unreadable() {
        for (value, problem) in [
            ("", BearerProblem::Empty),
            ("Bearer", BearerProblem::Empty),
            ("Bearer ", BearerProblem::Empty),
            ("Bearer a,Bearer b", BearerProblem::Ambiguous),
            ("Bearer a,", BearerProblem::Ambiguous),
            ("Bearer a, Bearer b", BearerProblem::Ambiguous),
            ("Basic YTpi,Bearer b", BearerProblem::Ambiguous),
            ("Bearer a b", BearerProblem::Ambiguous),
            ("Bearer a Bearer b", BearerProblem::Ambiguous),
            ("Basic YTpi", BearerProblem::UnsupportedScheme),
            ("DPoP a.b.c", BearerProblem::UnsupportedScheme),
            ("a.b.c", BearerProblem::UnsupportedScheme),
            ("Bearer\ta", BearerProblem::UnsupportedScheme),
            ("Bearer  a", BearerProblem::Characters),
            ("  Bearer a  ", BearerProblem::Characters),
            ("Bearer a ", BearerProblem::Characters),
            ("Bearer a=b", BearerProblem::Characters),
            ("Bearer =", BearerProblem::Characters),
            ("Bearer \"a\"", BearerProblem::Characters),
            ("Bearer a\u{e9}", BearerProblem::Characters),
            ("Bearer a\r\nx: y", BearerProblem::Characters),
        ] {
            assert_eq!(bearer(&[value.as_bytes()]), Evidence::Unreadable(problem), "{value:?}");
        }
        assert_eq!(bearer(&[b"Bearer \xff"]), Evidence::Unreadable(BearerProblem::Characters));
        let two = [&b"Bearer a"[..], b"Bearer a"];
        assert_eq!(bearer(&two), Evidence::Unreadable(BearerProblem::Ambiguous));
    }

    #[test]
    fn no_token_is_printed() {
        assert_eq!(format!("{:?}", bearer(&[b"Bearer secret"])), "Bearer(..)");
    }
}
