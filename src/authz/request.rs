//! One CheckRequest, read once and strictly.

mod malformed;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::body::Buffered;
use super::forwarded;
use super::headers::{ClientKind, HeaderLines, Interesting, Single, plain_request_id, trace_id};
use super::path::Path;
use crate::authn::{Evidence, HttpEvidence, PeerEvidence};
use crate::policy::{
    Connection, DuplicateHeaders, LowerCaseMethods, MeshPolicySpec, MixedAuthority,
    OverrideHeaders, UnderscoreHeaders,
};
use crate::proto::check::{Address, Check, Http};

pub use malformed::Malformed;

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
    /// Where the connection comes from and where it was accepted.
    pub connection: Connection<'a>,
    /// The HTTP request; `None` for a bare connection (the network filter).
    pub http: Option<HttpRequest<'a>>,
}

/// The HTTP part of a [`Request`].
#[derive(Debug)]
pub struct HttpRequest<'a> {
    /// The method that is judged: a token of RFC 9110 whose letters are upper-case, unless the mesh says otherwise.
    pub method: Cow<'a, str>,
    /// The method as it was sent.
    pub sent_method: &'a str,
    /// Host in lower case, without port and trailing dot.
    pub host: Cow<'a, str>,
    /// Path, query and segments.
    pub path: Path<'a>,
    /// The authority as it was sent.
    pub authority: &'a str,
    /// All header lines, names in lower case.
    pub headers: HeaderLines<'a>,
    /// What Envoy handed on of the body.
    pub body: Buffered<'a>,
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

impl<'a> Request<'a> {
    /// Reads one decoded CheckRequest: what can be said of it in any case, and what it asks, unless something in it
    /// could be read in two ways.
    pub fn read(
        check: Check<'a>,
        mesh: &MeshPolicySpec,
    ) -> (Envelope<'a>, Result<Self, Malformed>) {
        let Check {
            source,
            destination,
            http,
            time: _,
            context_extensions: _,
            metadata_context: _,
            route_metadata_context: _,
            sni,
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
        let address = envelope.source_address.and_then(|text| text.parse::<IpAddr>().ok());
        let lines = http.as_ref().map(|http| http.headers.as_slice()).unwrap_or_default();
        let connection = Connection {
            // An address of IPv4 inside IPv6 is what a listener for both makes of it.
            source: address.map(|address| address.to_canonical()),
            forwarded: forwarded::client(lines, mesh.trusted_hops),
            port: destination.and_then(|destination| port(destination.address?)),
            // Present on plaintext too, where it is empty.
            sni: sni.filter(|sni| !sni.is_empty()),
        };
        let http = http.map(|http| HttpRequest::parse(http, &found, mesh)).transpose();
        (envelope, http.map(|http| Self { peer, connection, http }))
    }
}

/// The one host that a request names, normalised. Nothing else of it is looked at.
///
/// # Errors
/// When it names none, or more than one.
pub fn named_host<'a>(check: &Check<'a>) -> Result<Cow<'a, str>, Malformed> {
    let http = check.http.as_ref().ok_or(Malformed::NoAttributes)?;
    let found = Interesting::among(&http.headers);
    if found.authority.is_some_and(|value| value != http.host.as_bytes()) {
        return Err(Malformed::PseudoHeader);
    }
    normalise_host(http.host)
}

impl Request<'_> {
    /// What it brings to prove who is calling.
    #[must_use]
    pub fn evidence(&self) -> Evidence<'_> {
        Evidence {
            peer: self.peer,
            source: self.connection.source,
            http: self.http.as_ref().map(HttpRequest::evidence),
        }
    }
}

impl<'a> HttpRequest<'a> {
    /// What it brings to prove who is calling.
    #[must_use]
    pub fn evidence(&self) -> HttpEvidence<'_> {
        HttpEvidence {
            method: self.sent_method,
            authority: self.authority,
            path: self.path.as_str(),
            query: self.path.query(),
            headers: self.headers.lines(),
        }
    }

    pub(super) fn parse(
        http: Http<'a>,
        found: &Interesting<'a>,
        mesh: &MeshPolicySpec,
    ) -> Result<Self, Malformed> {
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
            size,
            protocol: _,
            body: text,
            raw_body: raw,
        } = http;
        let switches = &mesh.normalisation;
        let judged = normalise_method(method, switches.lower_case_methods)?;
        if headers.len() > mesh.limits.header_lines {
            return Err(Malformed::HeaderLines);
        }
        check_lines(found, mesh)?;
        for (pseudo, field) in [(found.method, method), (found.path, path), (found.authority, host)]
        {
            if pseudo.is_some_and(|value| value != field.as_bytes()) {
                return Err(Malformed::PseudoHeader);
            }
        }
        let mixed = found.host.is_some_and(|line| line != host.as_bytes()) || is_absolute(path);
        match switches.mixed_authority {
            MixedAuthority::Refuse if mixed => return Err(Malformed::MixedAuthority),
            MixedAuthority::Refuse => {}
        }
        let target = Target { method, host, path };
        let agrees = found.overrides.iter().all(|(what, value)| what.agrees(value, target, path));
        match switches.override_headers {
            OverrideHeaders::Refuse if !agrees => return Err(Malformed::Override),
            OverrideHeaders::Refuse | OverrideHeaders::AcceptIgnored => {}
        }
        Ok(Self {
            method: judged,
            sent_method: method,
            host: normalise_host(host)?,
            path: Path::parse(path, switches, &mesh.limits)?,
            authority: host,
            headers: HeaderLines::new(headers, header_form),
            body: Buffered { raw, text, size },
        })
    }
}

/// What can be said of header lines without looking at anything else.
fn check_lines(found: &Interesting<'_>, mesh: &MeshPolicySpec) -> Result<(), Malformed> {
    if found.unreadable {
        return Err(Malformed::Headers);
    }
    match (found.duplicate, mesh.normalisation.duplicate_headers) {
        (Some(_), DuplicateHeaders::Refuse)
        | (Some(Single::Framing), DuplicateHeaders::AcceptUndecidable) => {
            return Err(Malformed::DuplicateHeader);
        }
        (None | Some(Single::Plain | Single::Text), _) => {}
    }
    match (found.underscore, mesh.normalisation.underscore_headers) {
        (Some(_), UnderscoreHeaders::Refuse) => Err(Malformed::UnderscoreHeader),
        (None, _) | (Some(_), UnderscoreHeaders::AcceptAsTwins) => Ok(()),
    }
}

/// The method that is judged.
fn normalise_method(method: &str, switch: LowerCaseMethods) -> Result<Cow<'_, str>, Malformed> {
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(Malformed::Method);
    }
    if !method.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Ok(Cow::Borrowed(method));
    }
    match switch {
        LowerCaseMethods::Refuse => Err(Malformed::LowerCaseMethod),
        LowerCaseMethods::AcceptAsWritten => Ok(Cow::Borrowed(method)),
        LowerCaseMethods::AcceptAsUpperCase => Ok(Cow::Owned(method.to_ascii_uppercase())),
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A target that names an authority itself (`http://host/path`), which Envoy takes apart before it asks.
fn is_absolute(target: &str) -> bool {
    target.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    })
}

fn port(address: Address<'_>) -> Option<u16> {
    match address {
        Address::Socket { address: _, port } => port.and_then(|port| u16::try_from(port).ok()),
        Address::Pipe(_) | Address::Internal(_) => None,
    }
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
mod tests;
