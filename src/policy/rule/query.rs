//! One parameter of a query, read so that no two applications could read it differently.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What a query says under one name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parameter<'a> {
    Absent,
    One(Cow<'a, str>),
    /// Several, or one that could be read in two ways.
    Ambiguous,
}

/// Looks a name up as applications do: split at `&`, `+` is a blank, then decoded.
pub(super) fn parameter<'a>(query: &'a str, name: &str) -> Parameter<'a> {
    let mut found = Parameter::Absent;
    for part in query.split('&') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let Some(key) = decode(key) else { return Parameter::Ambiguous };
        // Some applications split at a semicolon too, and would find the name there.
        if value.contains(';') || key.contains(';') {
            return Parameter::Ambiguous;
        }
        if key != name {
            continue;
        }
        match (&found, decode(value)) {
            (Parameter::Absent, Some(value)) => found = Parameter::One(value),
            _ => return Parameter::Ambiguous,
        }
    }
    found
}

/// Nothing where it is not UTF-8 or ends in half an escape.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    let is_hex = |b: Option<&u8>| b.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    for (place, byte) in bytes.iter().enumerate() {
        if *byte == b'%' && !(is_hex(bytes.get(place + 1)) && is_hex(bytes.get(place + 2))) {
            return None;
        }
    }
    let plain: Cow<'_, str> =
        if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    match plain {
        Cow::Borrowed(text) => percent_decode_str(text).decode_utf8().ok(),
        Cow::Owned(text) => {
            percent_decode_str(&text).decode_utf8().ok().map(|text| Cow::Owned(text.into_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_one_text_or_it_is_ambiguous() {
        let one = |text: &'static str| Parameter::One(text.into());
        for (query, expected) in [
            ("", Parameter::Absent),
            ("a=1", Parameter::Absent),
            ("id=1", one("1")),
            ("a=1&id=2", one("2")),
            ("%69d=2", one("2")),
            ("id", one("")),
            ("id=", one("")),
            ("id=a+b%2Bc", one("a b+c")),
            ("id=1&id=1", Parameter::Ambiguous),
            ("id=1&%69d=2", Parameter::Ambiguous),
            ("a=1;id=2", Parameter::Ambiguous),
            ("id=%ff", Parameter::Ambiguous),
            ("id=%4", Parameter::Ambiguous),
            ("%zz=1&id=2", Parameter::Ambiguous),
        ] {
            assert_eq!(parameter(query, "id"), expected, "{query}");
        }
    }
}
