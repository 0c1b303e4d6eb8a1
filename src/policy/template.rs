//! Path templates: `/orders/{id}`, `/files/*/meta`, `/internal/**`.
//!
//! A template is compared with the decoded segments of a request, byte for byte. `*` and `{name}` stand for exactly
//! one segment that is not empty; `**`, only at the end, for any number of segments, none included. Everything else
//! is literal: no regular expression hides in a dot, and text that looks like one is refused, because whoever wrote
//! it meant something that it does not do.

use std::borrow::Cow;

/// The longest template, in bytes and in segments.
const MAX_BYTES: usize = 1024;
const MAX_SEGMENTS: usize = 64;
/// Words of CEL that cannot follow `path.`.
const RESERVED: [&str; 4] = ["true", "false", "null", "in"];

/// A checked path template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    text: String,
    segments: Vec<Segment>,
    rest: Rest,
    variables: Vec<(String, usize)>,
}

/// One segment of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// Exactly this decoded text.
    Literal(String),
    /// Any one segment that is not empty.
    Any,
}

/// What may follow the segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing: the path ends.
    Nothing,
    /// Any number of segments (`**`).
    Anything,
}

/// Why a text is no path template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// It does not start with a slash.
    #[error("does not start with `/`")]
    NoSlash,
    /// It is longer than 1024 bytes or 64 segments.
    #[error("is longer than {MAX_BYTES} bytes or {MAX_SEGMENTS} segments")]
    TooLong,
    /// Two slashes follow each other.
    #[error("has an empty segment; a request with `//` in its path never matches a template")]
    EmptySegment,
    /// A segment is `.` or `..`.
    #[error("has a `.` or `..` segment; requests are matched after those are resolved")]
    DotSegment,
    /// It holds a percent sign.
    #[error("has `%`; write the character itself, requests are matched after decoding")]
    Percent,
    /// It holds `?` or `#`.
    #[error("has `{0}`; a template is a path, without query or fragment")]
    Query(char),
    /// It holds a character that only a regular expression would want.
    #[error(
        "looks like a regular expression (`{0}`); write `*` for one segment, `**` at the end for the rest"
    )]
    RegularExpression(String),
    /// It holds a control character.
    #[error("has a control character")]
    Control,
    /// `**` stands before the end.
    #[error("has `**` before its end; it can only be the last segment")]
    RestInside,
    /// A star stands beside other text in one segment.
    #[error("has `*` inside the segment `{0}`; it stands for a whole segment")]
    PartialStar(String),
    /// Braces do not enclose a whole segment or a plain name.
    #[error(
        "has `{0}`; a variable is a whole segment `{{name}}`, its name of letters, digits and `_`"
    )]
    Variable(String),
    /// A name is used twice.
    #[error("names the variable `{0}` twice")]
    Repeated(String),
}

/// Whether a slash at the end of a path makes a difference. Most applications take the two for one: an allow must not
/// widen by that, and a deny must not be dodged by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slash {
    /// It does.
    Exactly,
    /// It does not.
    Either,
}

impl PathTemplate {
    /// Parses and checks a template.
    ///
    /// # Errors
    /// When the text could mean something other than what a template does.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let path = text.strip_prefix('/').ok_or(InvalidTemplate::NoSlash)?;
        check_characters(text)?;
        let parts: Vec<&str> = path.split('/').collect();
        if text.len() > MAX_BYTES || parts.len() > MAX_SEGMENTS {
            return Err(InvalidTemplate::TooLong);
        }
        let mut template = Self {
            text: text.to_owned(),
            segments: Vec::with_capacity(parts.len()),
            rest: Rest::Nothing,
            variables: Vec::new(),
        };
        let last = parts.len() - 1;
        for (place, part) in parts.into_iter().enumerate() {
            template.add(part, place == last)?;
        }
        Ok(template)
    }

    /// The text it was parsed from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its variables.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(super) fn rest(&self) -> Rest {
        self.rest
    }

    /// The same path with the slash at its end put there or taken away. The root has no other spelling, and `**` takes
    /// in both.
    pub(super) fn slash_twin(&self) -> Option<Vec<Segment>> {
        let slash = Segment::Literal(String::new());
        match (self.rest, self.segments.as_slice()) {
            (Rest::Anything, _) | (Rest::Nothing, []) => None,
            (Rest::Nothing, [only]) if *only == slash => None,
            (Rest::Nothing, [before @ .., last]) if *last == slash => Some(before.to_vec()),
            (Rest::Nothing, segments) => Some([segments, &[slash]].concat()),
        }
    }

    /// Compares it with the decoded segments of a path.
    pub(super) fn matches(&self, path: &[Cow<'_, str>], slash: Slash) -> bool {
        if self.matches_exactly(path) {
            return true;
        }
        match (slash, path) {
            (Slash::Exactly, _) => false,
            (Slash::Either, [before @ .., last]) if last.is_empty() && !before.is_empty() => {
                self.matches_exactly(before)
            }
            // The path with a slash behind it.
            (Slash::Either, _) => match self.segments.split_last() {
                Some((Segment::Literal(last), before)) if last.is_empty() => {
                    !before.is_empty() && self.rest == Rest::Nothing && all_match(before, path)
                }
                Some(_) | None => false,
            },
        }
    }

    fn matches_exactly(&self, path: &[Cow<'_, str>]) -> bool {
        match self.rest {
            Rest::Nothing => all_match(&self.segments, path),
            Rest::Anything => path
                .get(..self.segments.len())
                .is_some_and(|start| all_match(&self.segments, start)),
        }
    }

    /// Which segment a variable stands for.
    pub(super) fn place_of(&self, variable: &str) -> Option<usize> {
        self.variables.iter().find(|(name, _)| name == variable).map(|(_, place)| *place)
    }

    fn add(&mut self, part: &str, is_last: bool) -> Result<(), InvalidTemplate> {
        match part {
            "" if !is_last => return Err(InvalidTemplate::EmptySegment),
            "." | ".." => return Err(InvalidTemplate::DotSegment),
            "**" if is_last => {
                self.rest = Rest::Anything;
                return Ok(());
            }
            "**" => return Err(InvalidTemplate::RestInside),
            "*" => {
                self.segments.push(Segment::Any);
                return Ok(());
            }
            _ => {}
        }
        if part.contains('*') {
            return Err(InvalidTemplate::PartialStar(part.to_owned()));
        }
        if !part.contains(['{', '}']) {
            self.segments.push(Segment::Literal(part.to_owned()));
            return Ok(());
        }
        let name = part
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .filter(|name| is_name(name))
            .ok_or_else(|| InvalidTemplate::Variable(part.to_owned()))?;
        if self.place_of(name).is_some() {
            return Err(InvalidTemplate::Repeated(name.to_owned()));
        }
        self.variables.push((name.to_owned(), self.segments.len()));
        self.segments.push(Segment::Any);
        Ok(())
    }
}

fn all_match(segments: &[Segment], path: &[Cow<'_, str>]) -> bool {
    segments.len() == path.len()
        && segments.iter().zip(path).all(|(segment, part)| match segment {
            Segment::Literal(text) => text == part,
            Segment::Any => !part.is_empty(),
        })
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !RESERVED.contains(&name)
}

fn check_characters(text: &str) -> Result<(), InvalidTemplate> {
    if text.contains(".*") {
        return Err(InvalidTemplate::RegularExpression(".*".to_owned()));
    }
    for c in text.chars() {
        match c {
            '%' => return Err(InvalidTemplate::Percent),
            '?' | '#' => return Err(InvalidTemplate::Query(c)),
            '[' | ']' | '(' | ')' | '^' | '$' | '\\' | '|' => {
                return Err(InvalidTemplate::RegularExpression(c.to_string()));
            }
            c if c.is_control() => return Err(InvalidTemplate::Control),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_names_its_variables_and_their_places() {
        let template = PathTemplate::parse("/customers/{customer}/orders/*/{item}/**").unwrap();
        assert_eq!(template.variables().collect::<Vec<_>>(), ["customer", "item"]);
        assert_eq!(template.place_of("customer"), Some(1));
        assert_eq!(template.place_of("item"), Some(4));
        assert_eq!(template.rest(), Rest::Anything);
        assert_eq!(template.segments().len(), 5);
    }

    #[test]
    fn what_could_mean_something_else_is_refused() {
        use InvalidTemplate as E;
        let regex = |text: &str| E::RegularExpression(text.to_owned());
        for (text, why) in [
            ("", E::NoSlash),
            ("orders", E::NoSlash),
            ("**", E::NoSlash),
            ("/a//b", E::EmptySegment),
            ("//", E::EmptySegment),
            ("/a/../b", E::DotSegment),
            ("/a/.", E::DotSegment),
            ("/a%20b", E::Percent),
            ("/a?b=c", E::Query('?')),
            ("/a#b", E::Query('#')),
            ("/a/.*", regex(".*")),
            ("/a/[0-9]+", regex("[")),
            ("/a/(b|c)", regex("(")),
            ("/^a", regex("^")),
            ("/a$", regex("$")),
            ("/a\\d", regex("\\")),
            ("/a\n", E::Control),
            ("/**/a", E::RestInside),
            ("/a*", E::PartialStar("a*".into())),
            ("/***", E::PartialStar("***".into())),
            ("/{a}b", E::Variable("{a}b".into())),
            ("/{}", E::Variable("{}".into())),
            ("/{a-b}", E::Variable("{a-b}".into())),
            ("/{1a}", E::Variable("{1a}".into())),
            ("/{in}", E::Variable("{in}".into())),
            ("/a}", E::Variable("a}".into())),
            ("/{a}/{a}", E::Repeated("a".into())),
        ] {
            assert_eq!(PathTemplate::parse(text), Err(why), "{text}");
        }
        let long = format!("/{}", "a/".repeat(64));
        assert_eq!(PathTemplate::parse(&long), Err(E::TooLong));
        assert_eq!(PathTemplate::parse(&format!("/{}", "a".repeat(1024))), Err(E::TooLong));
    }
}
