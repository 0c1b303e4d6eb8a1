//! The body of a request, read when a rule first asks for it.
//!
//! A body that did not come whole, or that two programs could read differently, is a fact with a name. It is never an
//! empty body.

mod call;
mod form;
mod grpc;
mod json;
mod media;
mod multipart;

use std::cell::OnceCell;

use serde_json::Value;

pub use grpc::{Descriptors, InvalidDescriptors};
use media::Parameterised;

use super::headers::HeaderLines;
use super::request::HttpRequest;
use crate::policy::{Body, BodyFacts, HeaderValue, Headers as _, Limits, RpcFacts};

/// What Envoy says of a body that it buffered. It hides a client's own header of that name from the Check.
const PARTIAL: &str = "x-envoy-auth-partial-body";

const AS_TEXT: &str =
    "the proxy sent the body as text, which changes it; it must send bytes (pack_as_bytes)";
const NOT_TOLD: &str = "the proxy does not tell whether the body is whole";
const TOO_LARGE: &str = "the body is larger than limits.bodyBytes of the MeshPolicy";

/// The body of one request as Envoy handed it on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Buffered<'a> {
    /// The bytes.
    pub(super) raw: &'a [u8],
    /// The text, in which every byte that is not UTF-8 was replaced.
    pub(super) text: &'a str,
    /// The bytes that Envoy had received by then.
    pub(super) size: i64,
}

/// Reads a body at the first question about it, and once.
pub(super) struct LazyBody<'a> {
    http: &'a HttpRequest<'a>,
    descriptors: Option<&'a Descriptors>,
    limits: &'a Limits,
    value: OnceCell<Result<Value, &'static str>>,
}

/// How a body came.
#[derive(Debug, PartialEq, Eq)]
enum Handed<'a> {
    Nothing,
    Cut,
    Unusable(&'static str),
    Whole(&'a [u8]),
}

impl<'a> LazyBody<'a> {
    pub(super) fn new(
        http: &'a HttpRequest<'a>,
        descriptors: Option<&'a Descriptors>,
        limits: &'a Limits,
    ) -> Self {
        Self { http, descriptors, limits, value: OnceCell::new() }
    }

    fn read(&self, bytes: &[u8]) -> Result<Value, &'static str> {
        let headers = &self.http.headers;
        match headers.value("content-encoding") {
            HeaderValue::Absent | HeaderValue::One(b"identity") => {}
            HeaderValue::One(_) | HeaderValue::Many => return Err("the body is compressed"),
        }
        let media = media(headers)?;
        let kind = Kind::of(&media);
        if kind.is_text() && !media.is_utf8() {
            return Err("the body is in another character set than UTF-8");
        }
        match kind {
            Kind::Json => json::read(bytes),
            Kind::Form => form::read(bytes),
            Kind::Multipart => multipart::read(bytes, &media),
            Kind::Grpc => self.read_grpc(bytes),
            Kind::Other => Err("a body of this content-type is not read"),
        }
    }

    fn read_grpc(&self, bytes: &[u8]) -> Result<Value, &'static str> {
        let descriptors = self.descriptors.ok_or("there are no extAuthz.grpcDescriptors")?;
        match self.http.path.segments() {
            [service, method] => descriptors.read(service, method, bytes),
            _ => Err("the path is not that of a gRPC method"),
        }
    }
}

impl Body for LazyBody<'_> {
    fn value(&self) -> BodyFacts<'_> {
        match Handed::of(self.http, self.limits) {
            Handed::Nothing => BodyFacts::Absent,
            Handed::Cut => BodyFacts::Truncated,
            Handed::Unusable(why) => BodyFacts::Unreadable(why),
            Handed::Whole(bytes) => match self.value.get_or_init(|| self.read(bytes)) {
                Ok(value) => BodyFacts::Value(value),
                Err(why) => BodyFacts::Unreadable(why),
            },
        }
    }

    fn rpc(&self) -> RpcFacts<'_> {
        let value = match self.value() {
            BodyFacts::Absent => return RpcFacts::Unreadable("there is no body"),
            BodyFacts::Truncated => {
                return RpcFacts::Unreadable("the proxy handed on only the beginning of the body");
            }
            BodyFacts::Unreadable(why) => return RpcFacts::Unreadable(why),
            BodyFacts::Value(value) => value,
        };
        // A form or a message may have members of the same names, and is no call.
        let is_json = media(&self.http.headers).is_ok_and(|media| Kind::of(&media) == Kind::Json);
        match call::read(value) {
            Ok((method, tool)) if is_json => RpcFacts::Call { method, tool },
            Ok(_) => RpcFacts::Unreadable("the body is not JSON"),
            Err(why) => RpcFacts::Unreadable(why),
        }
    }
}

impl<'a> Handed<'a> {
    fn of(http: &HttpRequest<'a>, limits: &Limits) -> Self {
        let Buffered { raw, text, size } = http.body;
        if !text.is_empty() {
            return Self::Unusable(AS_TEXT);
        }
        match http.headers.value(PARTIAL) {
            HeaderValue::One(b"false") => {}
            HeaderValue::Absent if raw.is_empty() => return Self::unbuffered(http),
            HeaderValue::Absent => return Self::Unusable(NOT_TOLD),
            HeaderValue::One(_) | HeaderValue::Many => return Self::Cut,
        }
        let length = match http.headers.value("content-length") {
            HeaderValue::Absent => Some(raw.len()),
            HeaderValue::One(text) => number(text),
            HeaderValue::Many => None,
        };
        let received = match size {
            0 => Some(raw.len()),
            _ => usize::try_from(size).ok(),
        };
        if length != Some(raw.len()) || received != Some(raw.len()) {
            return Self::Cut;
        }
        if raw.is_empty() {
            Self::Nothing
        } else if raw.len() > limits.body_bytes {
            Self::Unusable(TOO_LARGE)
        } else {
            Self::Whole(raw)
        }
    }
}

impl Handed<'_> {
    /// A request without a body is not buffered, and neither is one whose proxy was not told to hand bodies on.
    fn unbuffered(http: &HttpRequest<'_>) -> Self {
        let is_chunked = http.headers.value("transfer-encoding") != HeaderValue::Absent;
        match http.headers.value("content-length") {
            HeaderValue::Absent if !is_chunked => Self::Nothing,
            HeaderValue::One(b"0") if !is_chunked => Self::Nothing,
            HeaderValue::Absent | HeaderValue::One(_) | HeaderValue::Many => Self::Cut,
        }
    }
}

/// Digits alone.
fn number(text: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn media<'a>(headers: &'a HeaderLines<'_>) -> Result<Parameterised<'a>, &'static str> {
    match headers.value("content-type") {
        HeaderValue::One(text) => {
            Parameterised::parse(text).ok_or("the content-type is unreadable")
        }
        HeaderValue::Absent => Err("the body has no content-type"),
        HeaderValue::Many => Err("the body has more than one content-type"),
    }
}

/// What kinds of body are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Form,
    Multipart,
    Grpc,
    Other,
}

impl Kind {
    fn of(media: &Parameterised<'_>) -> Self {
        match media.value.as_str() {
            "application/json" => Self::Json,
            "application/x-www-form-urlencoded" => Self::Form,
            "multipart/form-data" => Self::Multipart,
            "application/grpc" | "application/grpc+proto" => Self::Grpc,
            other if other.starts_with("application/") && other.ends_with("+json") => Self::Json,
            _ => Self::Other,
        }
    }

    fn is_text(self) -> bool {
        match self {
            Self::Json | Self::Form | Self::Multipart => true,
            Self::Grpc | Self::Other => false,
        }
    }
}

#[cfg(test)]
mod tests;
