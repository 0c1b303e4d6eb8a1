//! One segment of a path: which spellings it may have, and what it says.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::AmbiguousPath;
use crate::policy::{
    Backslashes, ControlCharacters, DotSegments, DoubleEncoding, EncodedSlashes, Normalisation,
    Semicolons,
};

/// Whether a path can be taken as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// No escape, semicolon or backslash: a segment says what is written.
    Plain,
    /// Segments have to be read.
    Special,
}

impl Spelling {
    /// Looks at every byte once.
    pub(super) fn of(path: &str, switches: &Normalisation) -> Result<Self, AmbiguousPath> {
        let path = path.as_bytes();
        let mut spelling = Self::Plain;
        for (at, byte) in path.iter().enumerate() {
            match byte {
                b'%' => check_escape(path.get(at + 1..).unwrap_or_default(), switches)?,
                b'\\' if switches.backslashes == Backslashes::Refuse => {
                    return Err(AmbiguousPath::Backslash);
                }
                b';' if switches.semicolons == Semicolons::Refuse => {
                    return Err(AmbiguousPath::Semicolon);
                }
                b'\\' | b';' => {}
                0..=0x1f | 0x7f => return Err(AmbiguousPath::ControlCharacter),
                b'#' | b' ' | 0x80.. => return Err(AmbiguousPath::Character),
                _ => continue,
            }
            spelling = Self::Special;
        }
        Ok(spelling)
    }

    /// What a segment says.
    pub(super) fn read<'a>(
        self,
        segment: &'a str,
        switches: &Normalisation,
    ) -> Result<Cow<'a, str>, AmbiguousPath> {
        if self == Self::Plain {
            return Ok(Cow::Borrowed(segment));
        }
        let whole = match switches.semicolons {
            Semicolons::AcceptCutOff => segment.split(';').next().unwrap_or_default(),
            Semicolons::AcceptAsText | Semicolons::Refuse => segment,
        };
        let said = decode(whole, switches)?;
        check_parts(&said)?;
        Ok(said)
    }
}

/// `rest` is what follows a percent sign.
fn check_escape(rest: &[u8], switches: &Normalisation) -> Result<(), AmbiguousPath> {
    let [high, low, ..] = rest else { return Err(AmbiguousPath::BrokenEscape) };
    if !high.is_ascii_hexdigit() || !low.is_ascii_hexdigit() {
        return Err(AmbiguousPath::BrokenEscape);
    }
    match (high, low.to_ascii_lowercase()) {
        (b'2', b'f') | (b'5', b'c') if switches.encoded_slashes == EncodedSlashes::Refuse => {
            Err(AmbiguousPath::EncodedSeparator)
        }
        (b'2', b'e') if switches.dot_segments == DotSegments::Refuse => {
            Err(AmbiguousPath::DotSegment)
        }
        (b'0', b'0') => Err(AmbiguousPath::ControlCharacter),
        (b'0' | b'1', _) | (b'7', b'f')
            if switches.control_characters == ControlCharacters::Refuse =>
        {
            Err(AmbiguousPath::ControlCharacter)
        }
        (b'3', b'b') => match switches.semicolons {
            Semicolons::Refuse | Semicolons::AcceptCutOff => Err(AmbiguousPath::Semicolon),
            Semicolons::AcceptAsText => Ok(()),
        },
        _ => Ok(()),
    }
}

fn decode<'a>(segment: &'a str, switches: &Normalisation) -> Result<Cow<'a, str>, AmbiguousPath> {
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| AmbiguousPath::NotText)?;
    // Looked for in what was decoded, where it shows however the escape was put together (`%252f`, `%25%32%66`).
    let holds_escape = decoded.as_bytes().windows(3).any(
        |bytes| matches!(bytes, [b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()),
    );
    if holds_escape {
        check_second_decoding(&decoded, switches)?;
    }
    // Those of ASCII were seen when they were encoded; these are further up (U+0080 to U+009F).
    if switches.control_characters == ControlCharacters::Refuse
        && decoded.chars().any(char::is_control)
    {
        return Err(AmbiguousPath::ControlCharacter);
    }
    Ok(decoded)
}

/// What an application would see that decodes once more than the mesh says must still be harmless text.
fn check_second_decoding(decoded: &str, switches: &Normalisation) -> Result<(), AmbiguousPath> {
    let separates = |b: &u8| matches!(b, b'/' | b'\\' | b'.' | b';' | b'%') || b.is_ascii_control();
    let count = |bytes: &[u8]| bytes.iter().filter(|byte| separates(byte)).count();
    let again: Vec<u8> = percent_decode_str(decoded).collect();
    // Each escape that was decoded took one percent sign away; what else there is was there before.
    let escapes = (decoded.len() - again.len()) / 2;
    let hidden = count(&again) + escapes > count(decoded.as_bytes());
    match switches.double_encoding {
        DoubleEncoding::AcceptDecodedOnce if !hidden => Ok(()),
        DoubleEncoding::AcceptDecodedOnce | DoubleEncoding::Refuse => {
            Err(AmbiguousPath::DoubleEncoded)
        }
    }
}

/// Refuses dot segments that show only to whoever splits a segment at a slash, a backslash or a semicolon that is text in
/// it: harmless to a program that keeps it whole, and the way out of a directory to any other.
fn check_parts(said: &str) -> Result<(), AmbiguousPath> {
    let is_dot = |part: &str| matches!(part, "." | "..");
    let whole = is_dot(said);
    let hidden = said.split(['/', '\\']).filter_map(|part| part.split(';').next()).any(is_dot);
    if hidden && !whole { Err(AmbiguousPath::DotSegment) } else { Ok(()) }
}
