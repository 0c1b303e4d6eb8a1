//! The path of a request, read so that what is judged is what the application will see.
//!
//! Every spelling that two programs could read differently is refused as a class, with a code of its own.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Longer paths are refused: no route needs them, and every byte is looked at.
const MAX_LENGTH: usize = 8 * 1024;
/// More segments are refused, so that matching stays bounded.
const MAX_SEGMENTS: usize = 256;

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
    /// Longer than 8 KiB or more than 256 segments.
    #[error("the path is too long")]
    TooLong,
    /// A segment is `.` or `..`.
    #[error("the path has a dot segment")]
    DotSegment,
    /// Two slashes in a row.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// A backslash, which some servers read as a slash.
    #[error("the path has a backslash")]
    Backslash,
    /// A semicolon, which some servers cut off as a parameter.
    #[error("the path has a semicolon")]
    Semicolon,
    /// `%2F`, `%5C` or `%2E`: a separator or dot in disguise.
    #[error("the path has an encoded slash, backslash or dot")]
    EncodedSeparator,
    /// An escape is left once it is decoded (`%252f`): decoded twice it is something else.
    #[error("the path is encoded twice")]
    DoubleEncoded,
    /// `%` without two hexadecimal digits.
    #[error("the path has a broken percent escape")]
    BrokenEscape,
    /// A control character, a blank, a `#`, or a byte outside ASCII, raw or encoded NUL or line break.
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
            Self::Character => "path_character",
            Self::NotText => "path_not_utf8",
        }
    }
}

impl<'a> Path<'a> {
    /// Splits a request target of origin form into path and query, and decodes the segments.
    ///
    /// An empty target (CONNECT has none) has no segments, so only `/**` matches it.
    ///
    /// # Errors
    /// When two programs could read the path differently.
    pub fn parse(target: &'a str) -> Result<Self, AmbiguousPath> {
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
        if raw.len() > MAX_LENGTH {
            return Err(AmbiguousPath::TooLong);
        }
        let inner = raw.strip_prefix('/').ok_or(AmbiguousPath::NotAbsolute)?;
        let has_escapes = scan(raw.as_bytes())?;
        let mut segments = Vec::with_capacity(8);
        for segment in inner.split('/') {
            segments.push(if has_escapes { decode(segment)? } else { Cow::Borrowed(segment) });
        }
        if segments.len() > MAX_SEGMENTS {
            return Err(AmbiguousPath::TooLong);
        }
        let last = segments.len() - 1;
        for (index, segment) in segments.iter().enumerate() {
            match segment.as_ref() {
                // One empty segment at the end is a trailing slash (or the root).
                "" if index != last => return Err(AmbiguousPath::EmptySegment),
                "." | ".." => return Err(AmbiguousPath::DotSegment),
                _ => {}
            }
        }
        // No segment holds a slash, so the joined text is split again in one way only.
        let decoded = if has_escapes {
            segments.iter().flat_map(|segment| ["/", segment.as_ref()]).collect::<String>().into()
        } else {
            Cow::Borrowed(raw)
        };
        Ok(Self { raw, decoded, query, segments })
    }

    /// The decoded path, without query: what is judged.
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

/// Looks at every byte once. True when there are percent escapes.
fn scan(path: &[u8]) -> Result<bool, AmbiguousPath> {
    let mut has_escapes = false;
    for (at, byte) in path.iter().enumerate() {
        match byte {
            b'%' => {
                has_escapes = true;
                let escape = path.get(at + 1..).unwrap_or_default();
                check_escape(escape)?;
            }
            b'\\' => return Err(AmbiguousPath::Backslash),
            b';' => return Err(AmbiguousPath::Semicolon),
            b'#' | 0..=0x20 | 0x7f.. => return Err(AmbiguousPath::Character),
            _ => {}
        }
    }
    Ok(has_escapes)
}

/// `rest` is what follows a percent sign.
fn check_escape(rest: &[u8]) -> Result<(), AmbiguousPath> {
    let [high, low, ..] = rest else { return Err(AmbiguousPath::BrokenEscape) };
    if !high.is_ascii_hexdigit() || !low.is_ascii_hexdigit() {
        return Err(AmbiguousPath::BrokenEscape);
    }
    match (high, low.to_ascii_lowercase()) {
        (b'2', b'f' | b'e') | (b'5', b'c') => Err(AmbiguousPath::EncodedSeparator),
        (b'0' | b'1', _) | (b'7', b'f') => Err(AmbiguousPath::Character),
        (b'3', b'b') => Err(AmbiguousPath::Semicolon),
        _ => Ok(()),
    }
}

fn decode(segment: &str) -> Result<Cow<'_, str>, AmbiguousPath> {
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| AmbiguousPath::NotText)?;
    // Looked for in what was decoded, where it shows however the escape was put together (`%252f`, `%25%32%66`).
    let holds_escape = decoded.as_bytes().windows(3).any(
        |bytes| matches!(bytes, [b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()),
    );
    if holds_escape { Err(AmbiguousPath::DoubleEncoded) } else { Ok(decoded) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_and_decoded() {
        for (target, segments, query) in [
            ("/", vec![""], None),
            ("/a", vec!["a"], None),
            ("/a/b?x=1?y", vec!["a", "b"], Some("x=1?y")),
            ("/a/", vec!["a", ""], None),
            ("/caf%C3%A9/a%20b", vec!["caf\u{e9}", "a b"], None),
            ("/a...b/..c", vec!["a...b", "..c"], None),
            ("/100%25", vec!["100%"], None),
            ("/100%25%20/5%25g", vec!["100% ", "5%g"], None),
            ("", vec![], None),
        ] {
            let path = Path::parse(target).unwrap();
            assert_eq!(path.segments(), segments, "{target}");
            assert_eq!(path.query(), query);
            let joined: String = segments.iter().map(|segment| format!("/{segment}")).collect();
            assert_eq!(path.decoded(), joined, "{target}");
        }
    }

    #[test]
    fn each_ambiguous_class_has_its_code() {
        let long = format!("/{}", "a".repeat(MAX_LENGTH));
        let deep = "/a".repeat(MAX_SEGMENTS + 1);
        for (target, code) in [
            ("*", "path_not_absolute"),
            ("http://h/a", "path_not_absolute"),
            (long.as_str(), "path_too_long"),
            (deep.as_str(), "path_too_long"),
            ("/a/../b", "path_dot_segment"),
            ("/a/.", "path_dot_segment"),
            ("/..", "path_dot_segment"),
            ("//a", "path_empty_segment"),
            ("/a//b", "path_empty_segment"),
            ("/a/b//", "path_empty_segment"),
            ("/a\\b", "path_backslash"),
            ("/a;b=1/c", "path_semicolon"),
            ("/a%3bb", "path_semicolon"),
            ("/a%2fb", "path_encoded_separator"),
            ("/a%2Fb", "path_encoded_separator"),
            ("/a%5cb", "path_encoded_separator"),
            ("/%2e%2e/b", "path_encoded_separator"),
            ("/a%252fb", "path_double_encoded"),
            ("/a%25%32%66b", "path_double_encoded"),
            ("/a%252%66b", "path_double_encoded"),
            ("/a%25%32fb", "path_double_encoded"),
            ("/a%2541", "path_double_encoded"),
            ("/a%", "path_broken_escape"),
            ("/a%2", "path_broken_escape"),
            ("/a%zz", "path_broken_escape"),
            ("/a b", "path_character"),
            ("/a%00", "path_character"),
            ("/a%0d%0a", "path_character"),
            ("/a#b", "path_character"),
            ("/caf\u{e9}", "path_character"),
            ("/a%ff", "path_not_utf8"),
        ] {
            assert_eq!(Path::parse(target).map_err(AmbiguousPath::code), Err(code), "{target}");
        }
    }
}
