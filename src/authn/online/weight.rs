//! What an answer takes in memory: how long it is, its server decides.

use serde_json::{Map, Value};

use super::Known;
use crate::runtime::Weight;

impl Weight for Known {
    fn weight(&self) -> usize {
        match self {
            Self::Active { claims, until: _ } => object(claims),
            Self::Inactive | Self::Unavailable(_) => 0,
        }
    }
}

/// About what a value takes in memory. It is as deep as the reader of JSON lets it be.
fn weight(value: &Value) -> usize {
    let inside = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(all) => all.iter().map(weight).sum(),
        Value::Object(members) => object(members),
    };
    size_of::<Value>() + inside
}

fn object(members: &Map<String, Value>) -> usize {
    // A member is its name, its hash and its place in the table.
    members.iter().map(|(name, value)| name.len() + 64 + weight(value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;
    use std::time::SystemTime;

    #[test]
    fn a_long_answer_weighs_what_it_holds() {
        let active = |note: usize| {
            let claims = json!({ "sub": "ann", "notes": ["x".repeat(note), { "deep": true }] });
            let claims = Arc::new(claims.as_object().unwrap().clone());
            Known::Active { claims, until: SystemTime::UNIX_EPOCH }.weight()
        };
        assert!(active(100_000) > 100_000);
        assert!(active(1) < 1000);
        assert_eq!(Known::Inactive.weight(), 0);
    }
}
