//! Forms: `application/x-www-form-urlencoded`, and what forms of both kinds have in common.

use serde_json::map::Entry;
use serde_json::{Map, Value};

/// More fields are not read.
const MAX_FIELDS: usize = 1000;

/// The fields of a form. One that comes again is a list, so that nothing that asks for one value takes the first or last.
#[derive(Default)]
pub(super) struct Fields {
    found: Map<String, Value>,
    count: usize,
}

impl Fields {
    pub(super) fn add(&mut self, name: String, value: Value) -> Result<(), &'static str> {
        self.count += 1;
        if self.count > MAX_FIELDS {
            return Err("the form has too many fields");
        }
        // The name by which a form names its own character set.
        if name == "_charset_" {
            return Err("the form names its own character set");
        }
        match self.found.entry(name) {
            Entry::Vacant(place) => {
                place.insert(value);
            }
            Entry::Occupied(mut place) => match place.get_mut() {
                Value::Array(values) => values.push(value),
                first => *first = Value::Array(vec![first.take(), value]),
            },
        }
        Ok(())
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.found)
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<Value, &'static str> {
    let broken = "the form has a broken percent escape";
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'%' => match bytes.get(at + 1..at + 3) {
                Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {}
                Some(_) | None => return Err(broken),
            },
            // Some programs still split there.
            b';' => return Err("the form has a semicolon that is not encoded"),
            0..=0x20 | 0x7f.. => return Err("the form has a character that is not encoded"),
            _ => {}
        }
    }
    let mut fields = Fields::default();
    for (name, value) in form_urlencoded::parse(bytes) {
        // What is not UTF-8 was replaced by this character; one that was sent as such is refused with it.
        if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
            return Err("the form is not UTF-8 once decoded");
        }
        fields.add(name.into_owned(), Value::String(value.into_owned()))?;
    }
    Ok(fields.into_value())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_decoded_and_repeated_ones_are_lists() {
        let body = b"a=1&b=x+y%26z&c&a=2&a=3&%C3%A9=";
        let expected = json!({ "a": ["1", "2", "3"], "b": "x y&z", "c": "", "\u{e9}": "" });
        assert_eq!(read(body), Ok(expected));
        assert_eq!(read(b""), Ok(json!({})));
    }

    #[test]
    fn what_programs_read_differently_is_unreadable() {
        for bad in [
            &b"a=%"[..],
            b"a=%4",
            b"a=%zz",
            b"a=1;b=2",
            b"a=%ff",
            b"a=\xc3\xa9",
            b"a=1\r\nb=2",
            b"a=1 2",
            b"_charset_=utf-7&a=1",
        ] {
            assert!(read(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        let many = "a&".repeat(MAX_FIELDS + 1);
        assert_eq!(read(many.as_bytes()), Err("the form has too many fields"));
    }
}
