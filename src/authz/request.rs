//! One CheckRequest, read once and strictly.

use std::borrow::Cow;

use super::headers::{ClientKind, HeaderLines, Interesting, plain_request_id, trace_id};
use super::path::{AmbiguousPath, Path};
use crate::authn::{Evidence, PeerEvidence};
use crate::proto::WireError;
use crate::proto::check::{Address, Check, Http};

/// What a record and a refusal say of a request, whether or not it can be judged. Nothing is decided by it.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// Method, authority and path without query, verbatim; `None` for a bare connection.
    pub http: Option<Target<'a>>,
    /// How the client wants to be answered.
    pub client: ClientKind,
    /// `x-request-id`, if it is short and plain.
    pub request_id: Option<&'a str>,
    /// The trace id of a valid `traceparent` (W3C Trace Context): 32 hexadecimal digits.
    pub trace_id: Option<&'a str>,
    /// Where the connection comes from, as text.
    pub source_address: Option<&'a str>,
}

/// What an HTTP request names, verbatim.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The method.
    pub method: &'a str,
    /// The authority.
    pub host: &'a str,
    /// The path, cut before the query: tokens travel there.
    pub path: &'a str,
}

/// What one Check asks about, read strictly. Everything in it is the client's word, but for the peer's certificate,
/// which Envoy has verified.
#[derive(Debug)]
pub struct Request<'a> {
    /// Principal and certificate of the connection.
    pub peer: PeerEvidence<'a>,
    /// The HTTP request; `None` for a bare connection (the network filter).
    pub http: Option<HttpRequest<'a>>,
}

/// The HTTP part of a [`Request`].
#[derive(Debug)]
pub struct HttpRequest<'a> {
    /// A token of RFC 9110, verbatim.
    pub method: &'a str,
    /// Host in lower case, without port and trailing dot.
    pub host: Cow<'a, str>,
    /// Path, query and segments.
    pub path: Path<'a>,
    /// The user's token, or what stands in its place.
    pub token: Evidence<'a>,
    /// All header lines, names in lower case.
    pub headers: HeaderLines<'a>,
}

impl Default for Envelope<'_> {
    /// Of a message that says nothing.
    fn default() -> Self {
        Self {
            http: None,
            client: ClientKind::Api,
            request_id: None,
            trace_id: None,
            source_address: None,
        }
    }
}

/// Why a CheckRequest cannot be judged. Each is a denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes are no CheckRequest.
    #[error("the CheckRequest cannot be decoded: {0}")]
    Wire(#[from] WireError),
    /// It holds no attributes.
    #[error("the CheckRequest holds no attributes")]
    NoAttributes,
    /// The method is empty or holds a character outside RFC 9110's token.
    #[error("the method is not a token")]
    Method,
    /// The authority is empty, has user info, a list, blanks or control characters, or a bad port.
    #[error("the authority is not a single host")]
    Authority,
    /// Two programs could read the path differently.
    #[error("{0}")]
    Path(#[from] AmbiguousPath),
    /// A header name is not lower-case, or there are too many lines.
    #[error("the headers are not as Envoy sends them")]
    Headers,
    /// A pseudo header says something else than the field it was made from.
    #[error("a pseudo header contradicts its field")]
    PseudoHeader,
}

impl Malformed {
    /// The stable code for logs and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Wire(_) => "request_undecodable",
            Self::NoAttributes => "request_empty",
            Self::Method => "request_method",
            Self::Authority => "request_authority",
            Self::Path(path) => path.code(),
            Self::Headers => "request_headers",
            Self::PseudoHeader => "request_pseudo_header",
        }
    }
}

impl<'a> Request<'a> {
    /// Reads one decoded CheckRequest: what can be said of it in any case, and what it asks, unless something in it
    /// could be read in two ways.
    pub fn read(check: Check<'a>) -> (Envelope<'a>, Result<Self, Malformed>) {
        let Check {
            source,
            destination: _,
            http,
            time: _,
            context_extensions: _,
            metadata_context: _,
            route_metadata_context: _,
            // Present on plaintext too, and the client's word: proves nothing.
            sni: _,
            has_attributes,
        } = check;
        let source = source.unwrap_or_default();
        let found = http.as_ref().map(|http| Interesting::among(&http.headers)).unwrap_or_default();
        let target = http.as_ref().map(|http| Target {
            method: http.method,
            host: http.host,
            path: http.path.split_once('?').map_or(http.path, |(path, _)| path),
        });
        let envelope = Envelope {
            http: target,
            client: found.client(target),
            request_id: found.request_id.and_then(plain_request_id),
            trace_id: found.traceparent.and_then(trace_id),
            source_address: source.address.map(|address| match address {
                Address::Socket { address, port: _ } => address,
                Address::Pipe(path) => path,
                Address::Internal(name) => name,
            }),
        };
        if !has_attributes {
            return (envelope, Err(Malformed::NoAttributes));
        }
        let peer = PeerEvidence { principal: source.principal, certificate: source.certificate };
        let http = http.map(|http| HttpRequest::parse(http, &found)).transpose();
        (envelope, http.map(|http| Self { peer, http }))
    }
}

impl<'a> HttpRequest<'a> {
    fn parse(http: Http<'a>, found: &Interesting<'a>) -> Result<Self, Malformed> {
        let Http {
            // A stream id of Envoy, not the request id.
            id: _,
            method,
            headers,
            path,
            host,
            scheme: _,
            query: _,
            fragment: _,
            // Bytes so far, not the size of the body.
            size: _,
            protocol: _,
            body: _,
            raw_body: _,
        } = http;
        if method.is_empty() || !method.bytes().all(is_token) {
            return Err(Malformed::Method);
        }
        if found.unreadable {
            return Err(Malformed::Headers);
        }
        for (pseudo, field) in [(found.method, method), (found.path, path), (found.authority, host)]
        {
            if pseudo.is_some_and(|value| value != field.as_bytes()) {
                return Err(Malformed::PseudoHeader);
            }
        }
        Ok(Self {
            method,
            host: normalise_host(host)?,
            path: Path::parse(path)?,
            token: found.token(),
            headers: HeaderLines(headers),
        })
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Host of an authority: lower case, without port and one trailing dot.
fn normalise_host(authority: &str) -> Result<Cow<'_, str>, Malformed> {
    let host = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(Malformed::Authority)?;
            let is_address =
                address.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
            if !is_address || !is_port(port) {
                return Err(Malformed::Authority);
            }
            address
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(end);
            if !is_port(port) {
                return Err(Malformed::Authority);
            }
            let host = host.strip_suffix('.').unwrap_or(host);
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
            if host.is_empty() || !host.bytes().all(plain) {
                return Err(Malformed::Authority);
            }
            host
        }
    };
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        return Ok(Cow::Owned(host.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(host))
}

/// Empty, or a colon and a decimal port.
fn is_port(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix(':').is_some_and(|port| {
            port.len() <= 5
                && port.bytes().all(|b| b.is_ascii_digit())
                && port.parse::<u16>().is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_normalised_or_refused() {
        for (authority, host) in [
            ("orders.shop", "orders.shop"),
            ("Orders.Shop.:8080", "orders.shop"),
            ("[::1]:80", "::1"),
            ("127.0.0.1:8080", "127.0.0.1"),
        ] {
            assert_eq!(normalise_host(authority).unwrap(), host);
        }
        for bad in [
            "", "a,b", "u@h", "h:", "h:x", "h:99999", "h h", "[::1", "h:80:80", "h/..", "h\u{e9}",
            ".",
        ] {
            assert_eq!(normalise_host(bad), Err(Malformed::Authority), "{bad}");
        }
    }
}
