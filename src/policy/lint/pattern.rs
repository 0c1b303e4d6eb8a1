//! Text that looks like a pattern where every character is meant as it stands.

use serde_json::Value;

use super::finding::{Finding, Lint};
use super::rule::Rule;
use crate::policy::field::{FieldPath, Step};

/// Fields whose texts are no literals, or that the parser itself looks at.
const OTHERS: [&str; 8] =
    ["when", "engine", "paths", "peers", "notPeers", "times", "notTimes", "stepUp"];
/// Fields in which a star at the right place is a pattern, or often part of a value.
const WITH_STARS: [&str; 5] = ["hosts", "grpc", "headers", "query", "claims"];
/// Fields in which identity providers put a bar: `auth0|5f7c`.
const WITH_BARS: [&str; 5] = ["subjects", "claims", "headers", "query", "emails"];

/// Each literal of a rule that looks like a pattern.
pub(super) fn findings(rule: &Rule<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (field, value) in rule.part {
        if !OTHERS.contains(&field.as_str()) {
            walk(rule, value, &rule.at(field), &mut found);
        }
    }
    found
}

fn walk(rule: &Rule<'_>, value: &Value, at: &FieldPath, found: &mut Vec<Finding>) {
    match value {
        Value::String(text) => {
            if let Some(sign) = sign(text, at) {
                let message = format!(
                    "`{text}` looks like a pattern (`{sign}`), and is compared letter by letter"
                );
                let mut finding = rule.finding(Lint::LooksLikePattern, at, message);
                finding.hint =
                    Some("list the values, or compare in a condition: `when: ..`".to_owned());
                found.push(finding);
            }
        }
        Value::Array(members) => {
            for (place, member) in members.iter().enumerate() {
                walk(rule, member, &at.item(place), found);
            }
        }
        Value::Object(fields) => {
            for (name, inner) in fields {
                if !OTHERS.contains(&name.as_str()) {
                    walk(rule, inner, &at.field(name), found);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What gives a pattern away.
fn sign(text: &str, at: &FieldPath) -> Option<&'static str> {
    let inside = |fields: &[&str]| {
        at.steps().iter().any(|step| match step {
            Step::Key(key) => fields.contains(&key.as_str()),
            Step::Item(_) => false,
        })
    };
    for sign in [".*", ".+", "(?", "[^", "\\d", "\\w"] {
        if text.contains(sign) {
            return Some(sign);
        }
    }
    if text.starts_with('^') {
        return Some("^");
    }
    if text.ends_with('$') {
        return Some("$");
    }
    if text.contains('|') && !inside(&WITH_BARS) {
        return Some("|");
    }
    (text.contains('*') && !inside(&WITH_STARS)).then_some("*")
}
