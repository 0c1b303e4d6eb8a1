//! JSON objects read strictly: a member named twice, depth without bound and trailing bytes are refused.
//!
//! Two readers that disagree on which of two `"sub"` members counts are an authentication bypass, so such a text has
//! no meaning here.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

/// How deep objects and arrays may nest, the outermost object included.
const MAX_DEPTH: usize = 32;
/// Marks in the error text of serde; a text can only hold them through our own visitor.
const DUPLICATE: &str = "hopgate: duplicate member";
const TOO_DEEP: &str = "hopgate: too deep";

/// Why bytes are no JSON object that is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJson {
    /// Not JSON, not UTF-8, or something follows it.
    #[error("is not JSON")]
    Syntax,
    /// JSON, but no object.
    #[error("is no JSON object")]
    NotAnObject,
    /// An object names a member twice.
    #[error("names a member twice")]
    DuplicateMember,
    /// Objects and arrays nest too deep.
    #[error("nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// Reads one JSON value of any kind and nothing else.
///
/// # Errors
/// When two readers could disagree on what it says.
pub fn document(bytes: &[u8]) -> Result<Value, InvalidJson> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: MAX_DEPTH }.deserialize(&mut reader).map_err(|e| explain(&e))?;
    reader.end().map_err(|_| InvalidJson::Syntax)?;
    Ok(value)
}

/// Reads one JSON object and nothing else.
///
/// # Errors
/// When it is none, or two readers could disagree on what it says.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, InvalidJson> {
    match document(bytes)? {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(InvalidJson::NotAnObject)
        }
    }
}

/// serde carries our own errors as text only.
fn explain(error: &serde_json::Error) -> InvalidJson {
    let text = error.to_string();
    if text.starts_with(DUPLICATE) {
        InvalidJson::DuplicateMember
    } else if text.starts_with(TOO_DEEP) {
        InvalidJson::TooDeep
    } else {
        InvalidJson::Syntax
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom(TOO_DEEP))?;
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut found = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            found.push(item);
        }
        Ok(Value::Array(found))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut found = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            // Looked up before the value is read, so that a duplicate is told from a later mistake.
            match found.entry(name) {
                Entry::Occupied(_) => return Err(A::Error::custom(DUPLICATE)),
                Entry::Vacant(place) => {
                    place.insert(members.next_value_seed(inner)?);
                }
            }
        }
        Ok(Value::Object(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_whole() {
        let text = br#" {"a":[1,-2,1.5,"x",null,true,{"b":{}}]} "#;
        assert_eq!(
            Value::Object(object(text).unwrap()),
            serde_json::from_slice::<Value>(text).unwrap()
        );
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for (text, why) in [
            (&br#"{"a":1,"a":1}"#[..], InvalidJson::DuplicateMember),
            (br#"{"a":1,"\u0061":2}"#, InvalidJson::DuplicateMember),
            (br#"{"x":[{"a":1,"b":{"c":1,"c":2}}]}"#, InvalidJson::DuplicateMember),
            (br#"{"a":1}{"#, InvalidJson::Syntax),
            (br#"{"a":1} x"#, InvalidJson::Syntax),
            (b"{\"a\":1}\0", InvalidJson::Syntax),
            (b"{\"a\":\"\xff\"}", InvalidJson::Syntax),
            (b"\xef\xbb\xbf{}", InvalidJson::Syntax),
            (br#"{"a":1e999}"#, InvalidJson::Syntax),
            (br#"{"a":NaN}"#, InvalidJson::Syntax),
            (br#"{"a":"\ud800"}"#, InvalidJson::Syntax),
            (br#"{'a':1}"#, InvalidJson::Syntax),
            (b"", InvalidJson::Syntax),
            (b"[]", InvalidJson::NotAnObject),
            (b"null", InvalidJson::NotAnObject),
        ] {
            assert_eq!(object(text), Err(why), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: usize| {
            let inner = levels - 1;
            format!("{{\"a\":{}{}}}", "[".repeat(inner), "]".repeat(inner))
        };
        assert!(object(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(object(nested(MAX_DEPTH + 1).as_bytes()), Err(InvalidJson::TooDeep));
        assert!(object(nested(5000).as_bytes()).is_err());
    }
}
