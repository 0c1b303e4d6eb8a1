//! The header lines of a request, and what the gate itself reads among them.

use super::request::Target;
use crate::policy;
use crate::proto::check::HeaderForm;

/// The header lines of one request.
#[derive(Debug)]
pub struct HeaderLines<'a> {
    lines: Vec<(&'a str, &'a [u8])>,
    form: HeaderForm,
}

/// Names whose value has commas by definition, or that Envoy itself keeps as one line, so that the application reads
/// what is judged. Under any other name a comma in a joined value may stand between two lines.
const WITH_COMMAS: [&str; 26] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "access-control-request-headers",
    "allow",
    "baggage",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "expect",
    "forwarded",
    "if-match",
    "if-none-match",
    "pragma",
    "prefer",
    "range",
    "te",
    "tracestate",
    "trailer",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "x-forwarded-for",
];

/// Who reads a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// A gRPC client: reads trailers.
    Grpc,
    /// A person's browser: reads a page.
    Browser,
    /// Anything else: reads JSON.
    Api,
}

impl<'a> HeaderLines<'a> {
    pub(super) fn new(lines: Vec<(&'a str, &'a [u8])>, form: HeaderForm) -> Self {
        Self { lines, form }
    }

    /// The lines as they came.
    pub(super) fn lines(&self) -> &[(&'a str, &'a [u8])] {
        &self.lines
    }

    /// True when the value may be that of several lines.
    fn may_be_joined(&self, name: &str, value: &[u8]) -> bool {
        match self.form {
            HeaderForm::Lines => false,
            HeaderForm::Joined => {
                memchr::memchr(b',', value).is_some() && !WITH_COMMAS.contains(&name)
            }
        }
    }
}

impl policy::Headers for HeaderLines<'_> {
    /// Blanks around a value are no part of it (RFC 9110, section 5.5), but HTTP/2 brings them here.
    ///
    /// `x_tenant` is another header to Envoy and the same as `x-tenant` to many applications, so it counts as one more.
    fn value(&self, name: &str) -> policy::HeaderValue<'_> {
        let mut found = policy::HeaderValue::Absent;
        for (line, value) in self.lines.iter().filter(|(line, _)| is_spelling(line, name)) {
            found = match found {
                policy::HeaderValue::Absent
                    if *line == name && !self.may_be_joined(name, value) =>
                {
                    policy::HeaderValue::One(value.trim_ascii())
                }
                policy::HeaderValue::Absent
                | policy::HeaderValue::One(_)
                | policy::HeaderValue::Many => return policy::HeaderValue::Many,
            };
        }
        found
    }
}

/// True for the same name, dash and underscore being one.
pub(super) fn is_spelling(line: &str, name: &str) -> bool {
    let folded = |byte: u8| if byte == b'_' { b'-' } else { byte };
    line.len() == name.len() && line.bytes().map(folded).eq(name.bytes().map(folded))
}

/// What a header overrides in some frameworks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Override {
    Method,
    /// The path with its query, or a whole URL.
    Target,
    /// The authority.
    Host,
}

const OVERRIDES: [(&str, Override); 6] = [
    ("x-http-method-override", Override::Method),
    ("x-http-method", Override::Method),
    ("x-method-override", Override::Method),
    ("x-original-url", Override::Target),
    ("x-rewrite-url", Override::Target),
    ("x-http-host-override", Override::Host),
];

/// A header of which a request has one line at most, and what is known of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Single {
    /// Where a request goes, or where it ends, hangs on it.
    Framing,
    /// Its value never has a comma: with one it is two lines that Envoy joined.
    Plain,
    /// Its value may have commas.
    Text,
}

impl Single {
    /// A place in a bit set, and the kind.
    fn of(name: &str) -> Option<(u32, Self)> {
        Some(match name {
            "host" => (0, Self::Framing),
            "content-length" => (1, Self::Framing),
            "transfer-encoding" => (2, Self::Framing),
            "content-type" => (3, Self::Plain),
            "content-range" => (4, Self::Plain),
            "origin" => (5, Self::Plain),
            "access-control-request-method" => (6, Self::Plain),
            "max-forwards" => (7, Self::Plain),
            "sec-fetch-site" => (8, Self::Plain),
            "sec-websocket-key" => (9, Self::Plain),
            "x-envoy-auth-partial-body" => (10, Self::Plain),
            "cookie" => (11, Self::Text),
            "date" => (12, Self::Text),
            "from" => (13, Self::Text),
            "if-modified-since" => (14, Self::Text),
            "if-unmodified-since" => (15, Self::Text),
            "if-range" => (16, Self::Text),
            "referer" => (17, Self::Text),
            "content-disposition" => (18, Self::Text),
            "content-location" => (19, Self::Text),
            _ => return None,
        })
    }
}

impl Override {
    fn of(line: &str) -> Option<Self> {
        // Most names are done with at their first letter.
        if !line.starts_with('x') {
            return None;
        }
        OVERRIDES.iter().find(|(name, _)| is_spelling(line, name)).map(|(_, what)| *what)
    }

    /// True when the value says what the request itself says.
    pub(super) fn agrees(self, value: &[u8], request: Target<'_>, target: &str) -> bool {
        match self {
            Self::Method => value == request.method.as_bytes(),
            Self::Host => value.eq_ignore_ascii_case(request.host.as_bytes()),
            Self::Target => {
                let Ok(text) = std::str::from_utf8(value) else { return false };
                let path = match text.split_once("://") {
                    Some((scheme, rest)) if !scheme.contains('/') => {
                        rest.find('/').and_then(|at| rest.get(at..))
                    }
                    Some(_) | None => Some(text),
                };
                path == Some(target)
            }
        }
    }
}

/// The headers that the gate itself reads, found in one pass.
#[derive(Default)]
pub(super) struct Interesting<'a> {
    pub(super) method: Option<&'a [u8]>,
    pub(super) path: Option<&'a [u8]>,
    pub(super) authority: Option<&'a [u8]>,
    pub(super) request_id: Option<&'a [u8]>,
    pub(super) traceparent: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    accept: Option<&'a [u8]>,
    /// Lines by which some frameworks read another method or path than the one that is judged.
    pub(super) overrides: Vec<(Override, &'a [u8])>,
    /// The line that `:authority` stands for.
    pub(super) host: Option<&'a [u8]>,
    /// The first header of which there may be one line, and there are more.
    pub(super) duplicate: Option<Single>,
    /// The first name with an underscore.
    pub(super) underscore: Option<&'a str>,
    /// A name is empty or not in lower case.
    pub(super) unreadable: bool,
}

impl<'a> Interesting<'a> {
    pub(super) fn among(headers: &[(&'a str, &'a [u8])]) -> Self {
        let (mut found, mut singles) = (Self::default(), 0);
        for (name, value) in headers {
            found.note_single(&mut singles, name, value);
            match *name {
                ":method" => found.method = Some(value),
                ":path" => found.path = Some(value),
                ":authority" => found.authority = Some(value),
                "x-request-id" => found.request_id = Some(value),
                "traceparent" => found.traceparent = Some(value),
                "content-type" => found.content_type = Some(value),
                "accept" => found.accept = Some(value),
                "host" => found.host = Some(value),
                // Envoy lower-cases every name. One that is not would slip past every comparison here.
                name if name.is_empty() || name.bytes().any(|b| b.is_ascii_uppercase()) => {
                    found.unreadable = true;
                }
                name => {
                    if memchr::memchr(b'_', name.as_bytes()).is_some() {
                        found.underscore = found.underscore.or(Some(name));
                    }
                    found.overrides.extend(Override::of(name).map(|what| (what, *value)));
                }
            }
        }
        found
    }

    fn note_single(&mut self, seen: &mut u32, name: &str, value: &[u8]) {
        let Some((place, single)) = Single::of(name) else { return };
        let before = *seen & (1 << place) != 0;
        *seen |= 1 << place;
        let joined = match single {
            Single::Framing | Single::Plain => memchr::memchr(b',', value).is_some(),
            Single::Text => false,
        };
        // What is refused under every switch is remembered before what is not.
        if (before || joined) && self.duplicate != Some(Single::Framing) {
            self.duplicate = Some(single);
        }
    }

    pub(super) fn client(&self, target: Option<Target<'_>>) -> ClientKind {
        let starts = |value: Option<&[u8]>, prefix: &[u8]| {
            value.is_some_and(|v| {
                v.len() >= prefix.len()
                    && v.iter().zip(prefix).all(|(a, b)| a.eq_ignore_ascii_case(b))
            })
        };
        if starts(self.content_type, b"application/grpc") {
            ClientKind::Grpc
        } else if target.is_some_and(|target| target.method == "GET")
            && starts(self.accept, b"text/html")
        {
            ClientKind::Browser
        } else {
            ClientKind::Api
        }
    }
}

/// A request id is echoed to the client and written to logs, so only short and plain ones are taken over.
pub(super) fn plain_request_id(value: &[u8]) -> Option<&str> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if value.is_empty() || value.len() > 128 || !value.iter().all(plain) {
        return None;
    }
    std::str::from_utf8(value).ok()
}

/// The trace id of a `traceparent` of version 00: `00-<32 hex>-<16 hex>-<2 hex>`, not all zeros.
pub(super) fn trace_id(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let nonzero = |part: &str| part.bytes().any(|b| b != b'0');
    let valid = version == "00"
        && hex(trace, 32)
        && hex(span, 16)
        && hex(flags, 2)
        && nonzero(trace)
        && nonzero(span)
        && parts.next().is_none();
    valid.then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_request_ids_are_echoed() {
        assert_eq!(plain_request_id(b"f6160f36-6a6d"), Some("f6160f36-6a6d"));
        for bad in [&b""[..], b"a b", b"a\r\nb", b"<script>", &[b'a'; 129]] {
            assert_eq!(plain_request_id(bad), None);
        }
    }

    #[test]
    fn a_trace_is_joined_only_by_a_valid_parent() {
        let good = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(trace_id(good), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        for bad in [
            &b"00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"[..],
            b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            b"junk",
        ] {
            assert_eq!(trace_id(bad), None);
        }
    }
}
