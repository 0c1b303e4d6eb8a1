//! `envoy.service.auth.v3.CheckResponse`, encoded straight into bytes.
//!
//! Envoy decides by `status.code` alone: an absent status, or code 0 beside a `denied_response`, *allows*.
//! So an [`Answer`] is made by [`allow`] or [`deny`] alone, neither can produce the other, and none is empty.

use std::borrow::Cow;

use bytes::Bytes;

use super::wire::{field_length, put_bytes, put_header, put_varint, varint_length};

/// A header value that is safe to send: no control characters, and nothing but printable ASCII where it was made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderText<'a>(Cow<'a, str>);

impl<'a> HeaderText<'a> {
    /// Takes any text. Bytes outside printable ASCII, and `%` itself, are percent-encoded, so that a claim with a
    /// line break cannot add a header and the original can be told apart from its encoding. So are blanks at both
    /// ends, which receivers trim: the user `alice ` must not become `alice`.
    #[must_use]
    pub fn encode(text: impl Into<Cow<'a, str>>) -> Self {
        match text.into() {
            Cow::Borrowed(text) => Self(encoded(text)),
            Cow::Owned(text) => Self(Cow::Owned(encoded(&text).into_owned())),
        }
    }

    /// Takes text that the client itself sent in a header, as it is. Nothing where it holds a control character other
    /// than the tab, which could end the header (RFC 9110, section 5.5).
    #[must_use]
    pub fn verbatim(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        let text = text.into();
        let is_control = |b: u8| (b < 0x20 && b != b'\t') || b == 0x7f;
        (!text.bytes().any(is_control)).then_some(Self(text))
    }

    /// Takes a request target as it is. Nothing where it holds anything but visible ASCII: no target does (RFC 3986),
    /// and a blank would end it.
    #[must_use]
    pub fn target(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        let text = text.into();
        text.bytes().all(|b| b.is_ascii_graphic()).then_some(Self(text))
    }

    /// Takes a URL, whose percent signs are escapes already: only what no URL holds is percent-encoded.
    #[must_use]
    pub fn encode_url(text: &'a str) -> Self {
        const URL: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b' ');
        Self(percent_encoding::utf8_percent_encode(text, URL).into())
    }

    /// The safe text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn encoded(text: &str) -> Cow<'_, str> {
    const PLAIN: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');
    let inner = text.trim_matches(' ');
    let encoded: Cow<'_, str> = percent_encoding::utf8_percent_encode(inner, PLAIN).into();
    if inner.len() == text.len() {
        return encoded;
    }
    let before = text.len() - text.trim_start_matches(' ').len();
    // A text of blanks alone has them all before and none behind.
    let behind = text.len() - before - inner.len();
    format!("{}{encoded}{}", "%20".repeat(before), "%20".repeat(behind)).into()
}

/// What a refusal says to the client. Only statuses that end a request can be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalStatus {
    /// 302: a browser is sent to sign in. Comes with a `location`.
    SignIn,
    /// 400: the request cannot be judged as it is.
    BadRequest,
    /// 401: a credential is missing or bad.
    Unauthorized,
    /// 403: known, and refused.
    Forbidden,
    /// 429: too many bad credentials came from there.
    TooManyRequests,
    /// 500: a fault of ours.
    Internal,
    /// 503: what is needed to judge is not there yet.
    Unavailable,
}

impl RefusalStatus {
    /// The HTTP status code.
    #[must_use]
    pub fn http(self) -> u16 {
        match self {
            Self::SignIn => 302,
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::TooManyRequests => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// The gRPC status code for gRPC callers, and the `google.rpc.Status` code of the answer. Never 0.
    #[must_use]
    pub fn grpc(self) -> u8 {
        match self {
            Self::BadRequest => 3,
            Self::SignIn | Self::Unauthorized => 16,
            Self::Forbidden => 7,
            Self::TooManyRequests => 8,
            Self::Internal => 13,
            Self::Unavailable => 14,
        }
    }
}

/// An encoded CheckResponse, which is never empty: an empty one would allow. Only [`allow`], [`deny`] and
/// [`Answer::fault`] make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer(Bytes);

impl Answer {
    /// The refusal of whatever could not be judged to its end: a constant, for where nothing else can be relied on.
    #[must_use]
    pub fn fault() -> Self {
        // status { code: 13 } denied_response { status { code: 500 } }
        Self(Bytes::from_static(b"\x0a\x02\x08\x0d\x12\x05\x0a\x03\x08\xf4\x03"))
    }

    /// The encoded message.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// One text field of the dynamic metadata.
pub type MetadataField<'a> = (&'a str, &'a str);

/// Changes to the request on its way to the application.
#[derive(Debug, Clone, Default)]
pub struct Mutations<'a> {
    /// Headers to set. Each overwrites every occurrence of its name.
    pub set: Vec<(&'a str, HeaderText<'a>)>,
    /// Headers to remove, pre-encoded by [`removals`]. Envoy removes *after* setting, so a name must not be in both.
    pub removed: &'a [u8],
    /// Further headers to remove.
    pub removed_too: Vec<&'a str>,
    /// Headers of the application's response, pre-encoded by [`response_headers`].
    pub response: &'a [u8],
    /// Further headers of the application's response.
    pub response_too: Vec<(&'a str, HeaderText<'a>, Present)>,
}

/// What happens to a header of the response that the application sets too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Present {
    /// It is replaced.
    Replace,
    /// It stays as the application set it.
    Keep,
}

/// Encodes headers for [`Mutations::response`].
#[must_use]
pub fn response_headers(headers: &[(&str, HeaderText<'_>, Present)]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (name, value, present) in headers {
        put_header_option(&mut encoded, ON_RESPONSE, (name, value.as_str()), present.action());
    }
    encoded
}

/// Encodes header names for [`Mutations::removed`].
#[must_use]
pub fn removals<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<u8> {
    let mut encoded = Vec::new();
    for name in names {
        put_bytes(&mut encoded, 5, name.as_bytes());
    }
    encoded
}

/// An answer that lets the request pass.
#[must_use]
pub fn allow(mutations: &Mutations<'_>, metadata: &[MetadataField<'_>]) -> Answer {
    let set: usize = mutations
        .set
        .iter()
        .map(|(name, value)| field_length(header_option_length((name, value.as_str()), OVERWRITE)))
        .sum();
    let response_too: usize = mutations
        .response_too
        .iter()
        .map(|(name, value, present)| {
            field_length(header_option_length((name, value.as_str()), present.action()))
        })
        .sum();
    let too: usize = mutations.removed_too.iter().map(|name| field_length(name.len())).sum();
    let ok = set + mutations.removed.len() + too + mutations.response.len() + response_too;
    let structure = struct_length(metadata);
    let mut out = Vec::with_capacity(2 + field_length(ok) + field_length(structure));
    // status { code: 0 }: present and empty.
    put_header(&mut out, 1, 0);
    put_header(&mut out, 3, ok);
    for (name, value) in &mutations.set {
        put_header_option(&mut out, ON_REQUEST, (name, value.as_str()), OVERWRITE);
    }
    out.extend_from_slice(mutations.removed);
    for name in &mutations.removed_too {
        put_bytes(&mut out, 5, name.as_bytes());
    }
    out.extend_from_slice(mutations.response);
    for (name, value, present) in &mutations.response_too {
        put_header_option(&mut out, ON_RESPONSE, (name, value.as_str()), present.action());
    }
    put_struct(&mut out, metadata, structure);
    Answer(out.into())
}

/// An answer that refuses the request, with status, headers and body for the client.
#[must_use]
pub fn deny(
    status: RefusalStatus,
    headers: &[(&str, HeaderText<'_>)],
    body: &str,
    metadata: &[MetadataField<'_>],
) -> Answer {
    let http = usize::from(status.http());
    let http_status = 1 + varint_length(http);
    let head: usize = headers
        .iter()
        .map(|(name, value)| field_length(header_option_length((name, value.as_str()), OVERWRITE)))
        .sum();
    let text = if body.is_empty() { 0 } else { field_length(body.len()) };
    let denied = field_length(http_status) + head + text;
    let structure = struct_length(metadata);
    let mut out = Vec::with_capacity(4 + field_length(denied) + field_length(structure));
    // status { code }: never 0, which would allow.
    put_bytes(&mut out, 1, &[0x08, status.grpc()]);
    put_header(&mut out, 2, denied);
    put_header(&mut out, 1, http_status);
    out.push(0x08);
    put_varint(&mut out, http);
    for (name, value) in headers {
        put_header_option(&mut out, ON_REQUEST, (name, value.as_str()), OVERWRITE);
    }
    if !body.is_empty() {
        put_bytes(&mut out, 3, body.as_bytes());
    }
    put_struct(&mut out, metadata, structure);
    Answer(out.into())
}

/// The encoded fields that say what happens to a header that is there.
type Action = &'static [u8];
/// `append { value: false }` (empty message) and `append_action: OVERWRITE_IF_EXISTS_OR_ADD`. Both are sent: which
/// one Envoy obeys depends on its version, and each alone would append in one of them.
const OVERWRITE: Action = &[0x12, 0x00, 0x18, 0x02];
/// `append_action: ADD_IF_ABSENT`, for responses. Beside an `append` Envoy does not obey it.
const ADD_IF_ABSENT: Action = &[0x18, 0x01];

/// `headers` of either response, and `response_headers_to_add`.
const ON_REQUEST: u8 = 2;
const ON_RESPONSE: u8 = 6;

impl Present {
    fn action(self) -> Action {
        match self {
            Self::Replace => OVERWRITE,
            Self::Keep => ADD_IF_ABSENT,
        }
    }
}

fn header_option_length((name, value): (&str, &str), action: Action) -> usize {
    field_length(field_length(name.len()) + field_length(value.len())) + action.len()
}

fn put_header_option(out: &mut Vec<u8>, field: u8, (name, value): (&str, &str), action: Action) {
    put_header(out, field, header_option_length((name, value), action));
    put_header(out, 1, field_length(name.len()) + field_length(value.len()));
    put_bytes(out, 1, name.as_bytes());
    put_bytes(out, 2, value.as_bytes());
    out.extend_from_slice(action);
}

fn struct_entry_length((name, value): &MetadataField<'_>) -> usize {
    field_length(name.len()) + field_length(field_length(value.len()))
}

fn struct_length(fields: &[MetadataField<'_>]) -> usize {
    fields.iter().map(|field| field_length(struct_entry_length(field))).sum()
}

/// `google.protobuf.Struct` of text values, as field 4.
fn put_struct(out: &mut Vec<u8>, fields: &[MetadataField<'_>], length: usize) {
    if fields.is_empty() {
        return;
    }
    put_header(out, 4, length);
    for field in fields {
        let (name, value) = field;
        put_header(out, 1, struct_entry_length(field));
        put_bytes(out, 1, name.as_bytes());
        put_header(out, 2, field_length(value.len()));
        put_bytes(out, 3, value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_text_cannot_split_a_response() {
        assert_eq!(HeaderText::encode("alice").as_str(), "alice");
        assert_eq!(HeaderText::encode("a\r\nx-admin: 1").as_str(), "a%0D%0Ax-admin: 1");
        assert_eq!(HeaderText::encode("100%\u{e9}\0").as_str(), "100%25%C3%A9%00");
    }

    #[test]
    fn what_the_client_sent_stays_as_it_is() {
        for text in ["a=%20b; c=\"d\"", "name=J\u{fc}rgen", "tab=a\tb", ""] {
            assert_eq!(HeaderText::verbatim(text).unwrap().as_str(), text);
        }
        for text in ["a=b\r\nx-admin: 1", "a=\0", "a=b\n", "a=\u{7f}", "a=\u{1b}[0m"] {
            assert_eq!(HeaderText::verbatim(text), None, "{text:?}");
            assert_eq!(HeaderText::target(text), None, "{text:?}");
        }
        assert_eq!(HeaderText::target("/a?b=%20c").unwrap().as_str(), "/a?b=%20c");
        for text in ["/a b", "/a?b\t", "/caf\u{e9}", "/a?b "] {
            assert_eq!(HeaderText::target(text), None, "{text:?}");
        }
    }

    #[test]
    fn header_text_is_not_trimmed_into_another_text() {
        for (text, encoded) in [
            ("alice ", "alice%20"),
            (" alice", "%20alice"),
            ("  a b  ", "%20%20a b%20%20"),
            (" ", "%20"),
            ("  ", "%20%20"),
            ("\talice", "%09alice"),
            ("", ""),
            ("\u{a0}alice", "%C2%A0alice"),
        ] {
            assert_eq!(HeaderText::encode(text).as_str(), encoded);
        }
    }

    #[test]
    fn no_refusal_has_the_code_that_allows() {
        for status in [
            RefusalStatus::SignIn,
            RefusalStatus::BadRequest,
            RefusalStatus::Unauthorized,
            RefusalStatus::Forbidden,
            RefusalStatus::TooManyRequests,
            RefusalStatus::Internal,
            RefusalStatus::Unavailable,
        ] {
            assert_ne!(status.grpc(), 0);
            assert!((300..600).contains(&status.http()));
        }
    }
}
