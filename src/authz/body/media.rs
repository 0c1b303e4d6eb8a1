//! Values with parameters: `application/json; charset=utf-8`, `form-data; name="a"`.

/// A value and its parameters. What two programs could read differently does not parse.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameterised<'a> {
    /// In lower case.
    pub(super) value: String,
    /// Names in lower case, each once.
    parameters: Vec<(String, &'a str)>,
}

impl<'a> Parameterised<'a> {
    /// Nothing where the text is not exactly of that form.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let end = text.find(';').unwrap_or(text.len());
        let (value, mut rest) = text.split_at(end);
        let value = value.trim_matches([' ', '\t']);
        if value.is_empty() || !value.split('/').all(is_token) {
            return None;
        }
        let mut parsed = Self { value: value.to_ascii_lowercase(), parameters: Vec::new() };
        while let Some(after) = rest.strip_prefix(';') {
            let (name, after) = after.split_once('=')?;
            let name = name.trim_start_matches([' ', '\t']);
            if !is_token(name) {
                return None;
            }
            let name = name.to_ascii_lowercase();
            let (value, after) = parameter(after)?;
            if parsed.parameter(&name).is_some() {
                return None;
            }
            parsed.parameters.push((name, value));
            rest = after.trim_start_matches([' ', '\t']);
        }
        rest.is_empty().then_some(parsed)
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|(name, _)| name.as_str())
    }

    /// True where no other character set than UTF-8 is named.
    pub(super) fn is_utf8(&self) -> bool {
        self.parameter("charset").is_none_or(|charset| charset.eq_ignore_ascii_case("utf-8"))
    }
}

/// A token, or a quoted text without backslash: programs differ on what it stands for.
fn parameter(text: &str) -> Option<(&str, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (value, rest) = quoted.split_once('"')?;
        return (!value.contains('\\') && !value.contains(char::is_control))
            .then_some((value, rest));
    }
    let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    is_token(value).then_some((value, rest))
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_parameters_are_read_strictly() {
        let read = Parameterised::parse(b"Multipart/Form-Data; Boundary=\"a b\" ;x=1").unwrap();
        assert_eq!(read.value, "multipart/form-data");
        assert_eq!(read.parameter("boundary"), Some("a b"));
        assert_eq!(read.parameter("x"), Some("1"));
        assert!(Parameterised::parse(b"application/json;charset=UTF-8").unwrap().is_utf8());
        assert!(!Parameterised::parse(b"application/json; charset=utf-7").unwrap().is_utf8());
        for bad in [
            &b""[..],
            b"a b",
            b"a/",
            b"a;",
            b"a; x",
            b"a; x =1",
            b"a; x=",
            b"a; x=1; X=2",
            b"a; x=\"1",
            b"a; x=\"\\\"\"",
            b"a; x=\"1\"2",
            b"a, b",
            b"a; x=1,b",
            b"a; x=\xff",
            b"a; x=\"\r\n\"",
        ] {
            assert_eq!(Parameterised::parse(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }
}
