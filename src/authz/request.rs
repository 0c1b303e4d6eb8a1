//! One CheckRequest, read once and strictly.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::door::DoorFault;
use super::headers::{ClientKind, HeaderLines, Interesting, plain_request_id, trace_id};
use super::path::{AmbiguousPath, Path};
use crate::authn::{Evidence, HttpEvidence, PeerEvidence};
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
    /// Where the connection comes from; `None` for a unix socket.
    pub source: Option<IpAddr>,
    /// The HTTP request; `None` for a bare connection (the network filter).
    pub http: Option<HttpRequest<'a>>,
}

/// The HTTP part of a [`Request`].
#[derive(Debug)]
pub struct HttpRequest<'a> {
    /// A token of RFC 9110 whose letters are upper-case, verbatim.
    pub method: &'a str,
    /// Host in lower case, without port and trailing dot.
    pub host: Cow<'a, str>,
    /// Path, query and segments.
    pub path: Path<'a>,
    /// The authority as it was sent.
    pub authority: &'a str,
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
    /// It is compressed, which was not agreed on.
    #[error("the CheckRequest is compressed")]
    Compressed,
    /// It is larger than it may be.
    #[error("the CheckRequest is larger than extAuthz.maxRequestBytes")]
    TooLarge,
    /// The call holds no message, more than one, or half of one.
    #[error("the call does not hold exactly one message")]
    Framing,
    /// It holds no attributes.
    #[error("the CheckRequest holds no attributes")]
    NoAttributes,
    /// The method is empty or holds a lower-case letter or a character outside RFC 9110's token. Methods are
    /// case-sensitive, but some applications fold them: `delete` would get past a rule for `DELETE`.
    #[error("the method is not a token in upper case")]
    Method,
    /// The authority is empty, has user info, a list, blanks, control characters, an empty label, a bad port or an IP
    /// address in an odd spelling.
    #[error("the authority is not a single host")]
    Authority,
    /// Two programs could read the path differently.
    #[error("{0}")]
    Path(#[from] AmbiguousPath),
    /// A header name is not lower-case, or there are too many lines.
    #[error("the headers are not as Envoy sends them")]
    Headers,
    /// A header names another method or path than the request, and some frameworks would obey it.
    #[error("a header overrides the method or the path")]
    Override,
    /// A pseudo header says something else than the field it was made from.
    #[error("a pseudo header contradicts its field")]
    PseudoHeader,
    /// It came through an HTTP door, and not as that door's proxy asks.
    #[error("{0}")]
    Door(#[from] DoorFault),
}

impl Malformed {
    /// The stable code for logs and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Wire(_) => "request_undecodable",
            Self::Compressed => "request_compressed",
            Self::TooLarge => "request_too_large",
            Self::Framing => "request_framing",
            Self::NoAttributes => "request_empty",
            Self::Method => "request_method",
            Self::Authority => "request_authority",
            Self::Path(path) => path.code(),
            Self::Headers => "request_headers",
            Self::Override => "request_override",
            Self::PseudoHeader => "request_pseudo_header",
            Self::Door(fault) => fault.code(),
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
        let address = envelope.source_address.and_then(|text| text.parse().ok());
        let http = http.map(|http| HttpRequest::parse(http, &found)).transpose();
        (envelope, http.map(|http| Self { peer, source: address, http }))
    }
}

impl Request<'_> {
    /// What it brings to prove who is calling.
    #[must_use]
    pub fn evidence(&self) -> Evidence<'_> {
        Evidence {
            peer: self.peer,
            source: self.source,
            http: self.http.as_ref().map(HttpRequest::evidence),
        }
    }
}

impl<'a> HttpRequest<'a> {
    /// What it brings to prove who is calling.
    #[must_use]
    pub fn evidence(&self) -> HttpEvidence<'_> {
        HttpEvidence {
            method: self.method,
            authority: self.authority,
            path: self.path.as_str(),
            query: self.path.query(),
            headers: self.headers.lines(),
        }
    }

    fn parse(http: Http<'a>, found: &Interesting<'a>) -> Result<Self, Malformed> {
        let Http {
            // A stream id of Envoy, not the request id.
            id: _,
            method,
            headers,
            header_form,
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
        if method.is_empty() || !method.bytes().all(is_method) {
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
        if !found.overrides.iter().all(|(what, value)| what.agrees(value, method, path)) {
            return Err(Malformed::Override);
        }
        Ok(Self {
            method,
            host: normalise_host(host)?,
            path: Path::parse(path)?,
            authority: host,
            headers: HeaderLines::new(headers, header_form),
        })
    }
}

/// RFC 9110, section 5.6.2, without lower-case letters.
fn is_method(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Host of an authority: lower case, without port and one trailing dot; an IPv6 address in its one short spelling.
fn normalise_host(authority: &str) -> Result<Cow<'_, str>, Malformed> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(Malformed::Authority)?;
        let address: Ipv6Addr = address.parse().map_err(|_| Malformed::Authority)?;
        return if is_port(port) {
            Ok(Cow::Owned(address.to_string()))
        } else {
            Err(Malformed::Authority)
        };
    }
    let end = authority.find(':').unwrap_or(authority.len());
    let (host, port) = authority.split_at(end);
    let host = host.strip_suffix('.').unwrap_or(host);
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'~');
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(plain);
    if !is_port(port) || !host.split('.').all(is_label) || is_odd_address(host) {
        return Err(Malformed::Authority);
    }
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        return Ok(Cow::Owned(host.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(host))
}

/// True for `127.1`, `0x7f.1`, `2130706433` and their like, which some programs read as an IPv4 address: the last label
/// is a number, but the whole is not four decimal numbers.
fn is_odd_address(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_number = last.bytes().all(|b| b.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    is_number && host.parse::<Ipv4Addr>().is_err()
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
            ("[2001:DB8:0:0::1]", "2001:db8::1"),
            ("127.0.0.1:8080", "127.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("1.2.3.example", "1.2.3.example"),
            ("my_service.ns-2", "my_service.ns-2"),
        ] {
            assert_eq!(normalise_host(authority).unwrap(), host);
        }
        for bad in [
            "",
            "a,b",
            "u@h",
            "h:",
            "h:x",
            "h:99999",
            "h h",
            "[::1",
            "h:80:80",
            "h/..",
            "h\u{e9}",
            ".",
            "h..",
            "a..b",
            ".h",
            "..",
            "[]",
            "[]:80",
            "[1]",
            "[.]",
            "[1.2.3.4]",
            "[::1%25eth0]",
            "[::1].",
            "127.1",
            "0x7f.1",
            "0x7F000001",
            "1.2.3.4.5",
            "2130706433",
            "0177.0.0.1",
            "127.0.0.01",
            "256.1.1.1",
            "a.0x",
            "a.1",
        ] {
            assert_eq!(normalise_host(bad), Err(Malformed::Authority), "{bad}");
        }
    }

    #[test]
    fn a_method_is_written_in_upper_case() {
        let read = |method| {
            let http = Http { method, host: "h", path: "/", ..Http::default() };
            HttpRequest::parse(http, &Interesting::default()).map(|request| request.method)
        };
        for method in ["GET", "DELETE", "M-SEARCH", "VERSION-CONTROL", "X_1"] {
            assert_eq!(read(method).unwrap(), method);
        }
        for method in
            ["", "get", "Get", "gET", "deLETE", "M-search", "GET ", "GET,POST", "G\u{c9}T"]
        {
            assert_eq!(read(method).unwrap_err(), Malformed::Method, "{method}");
        }
    }
}
