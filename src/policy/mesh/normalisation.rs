//! What becomes of requests that two programs could read differently: one switch for each class.
//!
//! A class is refused unless the mesh says what its upstreams make of it, and then exactly that is judged. A switch with
//! `Refuse` alone stands for a class that nobody can accept safely: writing it down only says so.

use serde::{Deserialize, Serialize};

use crate::policy::yaml::present;

/// The switch of every class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Normalisation {
    /// `%2F` and `%5C`.
    pub encoded_slashes: EncodedSlashes,
    /// `.` and `..` as segments, and a dot written `%2E` anywhere.
    pub dot_segments: DotSegments,
    /// `//`.
    pub empty_segments: EmptySegments,
    /// A plain `\\`. (`%5C` is an encoded slash.)
    pub backslashes: Backslashes,
    /// `;` and `%3B`.
    pub semicolons: Semicolons,
    /// A percent escape that is still there once the path is decoded: `%2541`.
    pub double_encoding: DoubleEncoding,
    /// A control character in the path, plain or encoded.
    pub control_characters: ControlCharacters,
    /// A path that is not UTF-8 once it is decoded.
    #[serde(rename = "nonUtf8")]
    pub non_utf8: NonUtf8,
    /// Two lines of a header of which there may be one.
    pub duplicate_headers: DuplicateHeaders,
    /// A `host` line, or a target in absolute form, beside another authority.
    pub mixed_authority: MixedAuthority,
    /// A method with lower-case letters.
    pub lower_case_methods: LowerCaseMethods,
    /// A header by which some frameworks read another method, host or path than the request's own.
    pub override_headers: OverrideHeaders,
    /// A header name with an underscore, which many applications cannot tell from a dash.
    pub underscore_headers: UnderscoreHeaders,
}

/// `%2F` and `%5C`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncodedSlashes {
    /// The request is refused.
    Refuse,
    /// For upstreams that split the path before they decode it: the slash is one more character of its segment. In the
    /// text of the whole path it stays `%2F`. A dot segment around it is refused all the same.
    AcceptInsideSegment,
}

/// `.` and `..` as segments, and a dot written `%2E` anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DotSegments {
    /// The request is refused.
    Refuse,
    /// For upstreams that resolve dot segments, plain or encoded, before they look at the path: the resolved path is
    /// judged. One that climbs above the root is refused all the same, and so is one that has `//` too.
    AcceptResolved,
}

/// `//`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EmptySegments {
    /// The request is refused.
    Refuse,
    /// For upstreams that take several slashes for one: the merged path is judged.
    AcceptMerged,
}

/// A plain `\\`. (`%5C` is an encoded slash.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backslashes {
    /// The request is refused.
    Refuse,
    /// For upstreams that take a backslash for a slash: so is it judged.
    AcceptAsSlashes,
    /// For upstreams to which it is a character like any other. A dot segment beside it is refused all the same.
    AcceptAsText,
}

/// `;` and `%3B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Semicolons {
    /// The request is refused.
    Refuse,
    /// For upstreams to which it is a character like any other.
    AcceptAsText,
    /// For upstreams that cut off each segment at its first `;` before they look at the path: so is it judged. `%3B`
    /// is refused all the same: they differ on it.
    AcceptCutOff,
}

/// A percent escape that is still there once the path is decoded: `%2541`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DoubleEncoding {
    /// The request is refused.
    Refuse,
    /// For upstreams that decode exactly once: what is left is text. A slash, backslash, dot, semicolon, percent sign
    /// or control character that hides so is refused all the same.
    AcceptDecodedOnce,
}

/// A control character in the path, plain or encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlCharacters {
    /// The request is refused.
    Refuse,
    /// For upstreams to which an encoded one is a character like any other. NUL, and every plain one, is refused all
    /// the same.
    AcceptEncoded,
}

/// A path that is not UTF-8 once it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NonUtf8 {
    /// The request is refused.
    Refuse,
}

/// Two lines of a header of which there may be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DuplicateHeaders {
    /// The request is refused.
    Refuse,
    /// For upstreams that refuse such requests themselves: they are judged, and no rule that asks for the header can be
    /// decided. `host`, `content-length` and `transfer-encoding` are refused all the same.
    AcceptUndecidable,
}

/// A `host` line, or a target in absolute form, beside another authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MixedAuthority {
    /// The request is refused.
    Refuse,
}

/// A method with lower-case letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LowerCaseMethods {
    /// The request is refused.
    Refuse,
    /// For upstreams to which `delete` is not `DELETE`: it is judged as it was written.
    AcceptAsWritten,
    /// For upstreams that fold methods: it is judged in upper case.
    AcceptAsUpperCase,
}

/// A header by which some frameworks read another method, host or path than the request's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OverrideHeaders {
    /// The request is refused.
    Refuse,
    /// For upstreams that obey none of them. They are passed on and mean nothing.
    AcceptIgnored,
}

/// A header name with an underscore, which many applications cannot tell from a dash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnderscoreHeaders {
    /// The request is refused.
    Refuse,
    /// For upstreams that may take `x_a` for `x-a`: a header that came under both names, or only with the underscore,
    /// came twice, so no rule that asks for it can be decided.
    AcceptAsTwins,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawNormalisation {
    #[serde(default, deserialize_with = "present")]
    encoded_slashes: Option<EncodedSlashes>,
    #[serde(default, deserialize_with = "present")]
    dot_segments: Option<DotSegments>,
    #[serde(default, deserialize_with = "present")]
    empty_segments: Option<EmptySegments>,
    #[serde(default, deserialize_with = "present")]
    backslashes: Option<Backslashes>,
    #[serde(default, deserialize_with = "present")]
    semicolons: Option<Semicolons>,
    #[serde(default, deserialize_with = "present")]
    double_encoding: Option<DoubleEncoding>,
    #[serde(default, deserialize_with = "present")]
    control_characters: Option<ControlCharacters>,
    #[serde(default, rename = "nonUtf8", deserialize_with = "present")]
    non_utf8: Option<NonUtf8>,
    #[serde(default, deserialize_with = "present")]
    duplicate_headers: Option<DuplicateHeaders>,
    #[serde(default, deserialize_with = "present")]
    mixed_authority: Option<MixedAuthority>,
    #[serde(default, deserialize_with = "present")]
    lower_case_methods: Option<LowerCaseMethods>,
    #[serde(default, deserialize_with = "present")]
    override_headers: Option<OverrideHeaders>,
    #[serde(default, deserialize_with = "present")]
    underscore_headers: Option<UnderscoreHeaders>,
}

impl RawNormalisation {
    /// What is not written refuses.
    pub(super) fn or_strict(self) -> Normalisation {
        let Self {
            encoded_slashes,
            dot_segments,
            empty_segments,
            backslashes,
            semicolons,
            double_encoding,
            control_characters,
            non_utf8,
            duplicate_headers,
            mixed_authority,
            lower_case_methods,
            override_headers,
            underscore_headers,
        } = self;
        Normalisation {
            encoded_slashes: encoded_slashes.unwrap_or(EncodedSlashes::Refuse),
            dot_segments: dot_segments.unwrap_or(DotSegments::Refuse),
            empty_segments: empty_segments.unwrap_or(EmptySegments::Refuse),
            backslashes: backslashes.unwrap_or(Backslashes::Refuse),
            semicolons: semicolons.unwrap_or(Semicolons::Refuse),
            double_encoding: double_encoding.unwrap_or(DoubleEncoding::Refuse),
            control_characters: control_characters.unwrap_or(ControlCharacters::Refuse),
            non_utf8: non_utf8.unwrap_or(NonUtf8::Refuse),
            duplicate_headers: duplicate_headers.unwrap_or(DuplicateHeaders::Refuse),
            mixed_authority: mixed_authority.unwrap_or(MixedAuthority::Refuse),
            lower_case_methods: lower_case_methods.unwrap_or(LowerCaseMethods::Refuse),
            override_headers: override_headers.unwrap_or(OverrideHeaders::Refuse),
            underscore_headers: underscore_headers.unwrap_or(UnderscoreHeaders::Refuse),
        }
    }
}
