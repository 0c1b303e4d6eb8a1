//! JSON, as every program reads it.

use std::collections::HashSet;

use serde_json::Value;

use crate::authn::{InvalidJson, json_document};

/// Beyond this a number with a fraction, or too long for 64 bits, is no longer the one that was written.
const EXACT: f64 = 9_007_199_254_740_992.0;

pub(super) fn read(bytes: &[u8]) -> Result<Value, &'static str> {
    let value = json_document(bytes).map_err(|fault| match fault {
        InvalidJson::Syntax | InvalidJson::NotAnObject => "the body is not JSON",
        InvalidJson::DuplicateMember => "the body names a member twice",
        InvalidJson::TooDeep => "the body nests too deep",
    })?;
    check(&value)?;
    Ok(value)
}

/// Refuses what some program reads as something else. The depth is bounded already.
fn check(value: &Value) -> Result<(), &'static str> {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        Value::Number(number) => {
            let whole = number.is_i64() || number.is_u64();
            if whole || number.as_f64().is_some_and(|number| number.abs() < EXACT) {
                Ok(())
            } else {
                Err("the body holds a number that cannot be held exactly")
            }
        }
        Value::Array(items) => items.iter().try_for_each(check),
        Value::Object(members) => {
            // Go's decoder, for one, takes `Amount` for `amount`, and the last of both counts.
            let mut names = HashSet::with_capacity(members.len());
            for (name, value) in members {
                if !names.insert(name.to_uppercase().to_lowercase()) {
                    return Err("the body names two members that differ in case only");
                }
                check(value)?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_read_differently_is_unreadable() {
        for (text, fault) in [
            (&b"{\"a\":1,\"a\":2}"[..], "the body names a member twice"),
            (b"{\"a\":1,\"\\u0061\":2}", "the body names a member twice"),
            (
                b"[{\"amount\":1,\"Amount\":2}]",
                "the body names two members that differ in case only",
            ),
            // U+212A is the Kelvin sign, and a `k` to a decoder that folds case.
            (
                b"{\"key\":1,\"\xe2\x84\xaaey\":2}",
                "the body names two members that differ in case only",
            ),
            (b"{\"a\":1} {", "the body is not JSON"),
            (b"{\"a\":NaN}", "the body is not JSON"),
            (b"{\"a\":1e999}", "the body is not JSON"),
            (b"{\"a\":\"\\ud800\"}", "the body is not JSON"),
            (b"\xef\xbb\xbf{}", "the body is not JSON"),
            (b"{\"a\":\xff}", "the body is not JSON"),
            (
                b"{\"a\":18446744073709551616}",
                "the body holds a number that cannot be held exactly",
            ),
            (b"{\"a\":[1e300]}", "the body holds a number that cannot be held exactly"),
        ] {
            assert_eq!(read(text), Err(fault), "{}", String::from_utf8_lossy(text));
        }
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(deep.as_bytes()), Err("the body nests too deep"));
    }

    #[test]
    fn any_json_value_is_a_body() {
        for text in
            ["{}", "[]", "null", "\"a\"", "18446744073709551615", "-1.5", "{\"a\":[{\"b\":0}]}"]
        {
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(read(text.as_bytes()), Ok(expected), "{text}");
        }
    }
}
