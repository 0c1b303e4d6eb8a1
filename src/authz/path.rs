//! The path of a request, read so that what is judged is what the application will see.
//!
//! Every spelling that two programs could read differently is refused as a class, with a code of its own, unless the mesh
//! says what its applications make of it: then exactly that is judged.

mod segment;

use std::borrow::Cow;

use super::ambiguity::Ambiguity;
use crate::policy::{Backslashes, DotSegments, EmptySegments, Limits, Normalisation};
use segment::Spelling;

/// A path without query, split and decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path<'a> {
    raw: &'a str,
    decoded: Cow<'a, str>,
    query: Option<&'a str>,
    segments: Vec<Cow<'a, str>>,
}

/// Why a path is not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmbiguousPath {
    /// It does not begin with a slash.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// Longer, or of more segments, than the limits of the mesh.
    #[error("the path is longer or has more segments than the mesh allows")]
    TooLong,
    /// A segment is `.` or `..`, or a dot is encoded.
    #[error("the path has a dot segment or an encoded dot")]
    DotSegment,
    /// Two slashes in a row.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// A backslash, which some servers read as a slash.
    #[error("the path has a backslash")]
    Backslash,
    /// A semicolon, plain or encoded, which some servers cut off as a parameter.
    #[error("the path has a semicolon")]
    Semicolon,
    /// `%2F` or `%5C`: a separator in disguise.
    #[error("the path has an encoded slash or backslash")]
    EncodedSeparator,
    /// An escape is left once it is decoded (`%252f`): decoded twice it is something else.
    #[error("the path is encoded twice")]
    DoubleEncoded,
    /// `%` without two hexadecimal digits.
    #[error("the path has a broken percent escape")]
    BrokenEscape,
    /// A control character, plain or encoded.
    #[error("the path has a control character")]
    ControlCharacter,
    /// A blank, a `#`, or a byte outside ASCII that is not encoded.
    #[error("the path has a character that may not stand there")]
    Character,
    /// It decodes to something that is not UTF-8.
    #[error("the path is not UTF-8 once decoded")]
    NotText,
}

impl AmbiguousPath {
    /// The stable code for logs and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotAbsolute => "path_not_absolute",
            Self::TooLong => "path_too_long",
            Self::DotSegment => "path_dot_segment",
            Self::EmptySegment => "path_empty_segment",
            Self::Backslash => "path_backslash",
            Self::Semicolon => "path_semicolon",
            Self::EncodedSeparator => "path_encoded_separator",
            Self::DoubleEncoded => "path_double_encoded",
            Self::BrokenEscape => "path_broken_escape",
            Self::ControlCharacter => "path_control_character",
            Self::Character => "path_character",
            Self::NotText => "path_not_utf8",
        }
    }

    /// The class of ambiguous requests that it belongs to; nothing for what is plainly broken or too long.
    #[must_use]
    pub fn ambiguity(self) -> Option<Ambiguity> {
        match self {
            Self::DotSegment => Some(Ambiguity::DotSegment),
            Self::EmptySegment => Some(Ambiguity::EmptySegment),
            Self::Backslash => Some(Ambiguity::Backslash),
            Self::Semicolon => Some(Ambiguity::Semicolon),
            Self::EncodedSeparator => Some(Ambiguity::EncodedSlash),
            Self::DoubleEncoded => Some(Ambiguity::DoubleEncoding),
            Self::ControlCharacter => Some(Ambiguity::ControlCharacter),
            Self::NotText => Some(Ambiguity::NonUtf8),
            Self::NotAbsolute | Self::TooLong | Self::BrokenEscape | Self::Character => None,
        }
    }
}

impl<'a> Path<'a> {
    /// Splits a request target of origin form into path and query, and decodes the segments.
    ///
    /// An empty target (CONNECT has none) has no segments, so only `/**` matches it.
    ///
    /// # Errors
    /// When two programs could read the path differently, and the mesh does not say how its applications do.
    pub fn parse(
        target: &'a str,
        switches: &Normalisation,
        limits: &Limits,
    ) -> Result<Self, AmbiguousPath> {
        if target.is_empty() {
            return Ok(Self {
                raw: "",
                decoded: Cow::Borrowed(""),
                query: None,
                segments: Vec::new(),
            });
        }
        let (raw, query) = match target.split_once('?') {
            Some((raw, query)) => (raw, Some(query)),
            None => (target, None),
        };
        if raw.len() > limits.path_bytes {
            return Err(AmbiguousPath::TooLong);
        }
        let inner = raw.strip_prefix('/').ok_or(AmbiguousPath::NotAbsolute)?;
        let spelling = Spelling::of(raw, switches)?;
        let mut segments = Vec::with_capacity(8);
        for segment in split(inner, switches.backslashes) {
            segments.push(spelling.read(segment, switches)?);
        }
        let straightened = straighten(&mut segments, switches)?;
        if segments.len() > limits.path_segments {
            return Err(AmbiguousPath::TooLong);
        }
        let decoded = match (spelling, straightened) {
            (Spelling::Plain, Straightened::AsItWas) => Cow::Borrowed(raw),
            (Spelling::Plain | Spelling::Special, _) => Cow::Owned(join(&segments)),
        };
        Ok(Self { raw, decoded, query, segments })
    }

    /// The decoded path, without query: what is judged. Split at its slashes it gives the segments again; a slash inside
    /// a segment shows as `%2F`.
    #[must_use]
    pub fn decoded(&self) -> &str {
        &self.decoded
    }

    /// The path as it was sent, without query.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.raw
    }

    /// The query as it was sent, without the question mark.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// The decoded segments: `/a/b` is `["a", "b"]`, `/a/` is `["a", ""]`, `/` is `[""]`.
    #[must_use]
    pub fn segments(&self) -> &[Cow<'a, str>] {
        &self.segments
    }
}

fn split(inner: &str, backslashes: Backslashes) -> impl Iterator<Item = &str> {
    let backslash_too = match backslashes {
        Backslashes::AcceptAsSlashes => '\\',
        Backslashes::Refuse | Backslashes::AcceptAsText => '/',
    };
    inner.split(['/', backslash_too])
}

fn join(segments: &[Cow<'_, str>]) -> String {
    let mut joined = String::with_capacity(64);
    for segment in segments {
        joined.push('/');
        for (place, part) in segment.split('/').enumerate() {
            if place > 0 {
                joined.push_str("%2F");
            }
            joined.push_str(part);
        }
    }
    joined
}

/// Whether segments were taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Straightened {
    AsItWas,
    Changed,
}

/// Refuses, or takes out, empty segments and dot segments.
fn straighten(
    segments: &mut Vec<Cow<'_, str>>,
    switches: &Normalisation,
) -> Result<Straightened, AmbiguousPath> {
    let last = segments.len().saturating_sub(1);
    // One empty segment at the end is a trailing slash (or the root).
    let has_empty = segments.iter().take(last).any(|segment| segment.is_empty());
    let is_dot = |segment: &Cow<'_, str>| matches!(segment.as_ref(), "." | "..");
    let has_dot = segments.iter().any(is_dot);
    match (has_empty, switches.empty_segments, has_dot, switches.dot_segments) {
        (false, _, false, _) => return Ok(Straightened::AsItWas),
        (true, EmptySegments::Refuse, _, _) => return Err(AmbiguousPath::EmptySegment),
        (_, _, true, DotSegments::Refuse) => return Err(AmbiguousPath::DotSegment),
        // `/a//../b` is `/b` to those who merge first, and `/a/b` to those who resolve first.
        (true, EmptySegments::AcceptMerged, true, DotSegments::AcceptResolved) => {
            return Err(AmbiguousPath::DotSegment);
        }
        (true, EmptySegments::AcceptMerged, false, _) => {
            let mut place = 0;
            segments.retain(|segment| {
                place += 1;
                !segment.is_empty() || place == last + 1
            });
        }
        (false, _, true, DotSegments::AcceptResolved) => resolve(segments)?,
    }
    Ok(Straightened::Changed)
}

/// RFC 3986, section 5.2.4, but nothing climbs above the root.
fn resolve(segments: &mut Vec<Cow<'_, str>>) -> Result<(), AmbiguousPath> {
    let mut resolved = Vec::with_capacity(segments.len());
    let last = segments.len().saturating_sub(1);
    for (place, segment) in segments.drain(..).enumerate() {
        match segment.as_ref() {
            "." => {}
            ".." => {
                resolved.pop().ok_or(AmbiguousPath::DotSegment)?;
            }
            _ => {
                resolved.push(segment);
                continue;
            }
        }
        // What a dot segment at the end stands for is a directory.
        if place == last {
            resolved.push(Cow::Borrowed(""));
        }
    }
    *segments = resolved;
    Ok(())
}

#[cfg(test)]
mod tests;
