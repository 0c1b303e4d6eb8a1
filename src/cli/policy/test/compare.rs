//! What was expected against what came.

use super::rehearse::Got;
use crate::policy::RuleName;
use crate::policy::suite::{Expected, Outcome};

/// One thing that came out otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// Which thing.
    pub(super) what: String,
    pub(super) expected: String,
    pub(super) got: String,
}

/// Everything that came out otherwise; nothing for a case that passes.
pub(super) fn differences(expected: &Expected, got: &Got<'_>) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut differ = |what: &str, expected: String, got: String| {
        found.push(Difference { what: what.to_owned(), expected, got });
    };
    if expected.outcome != got.outcome {
        differ("outcome", word(expected.outcome).to_owned(), summary(got));
        // What follows belongs to the other outcome.
        return found;
    }
    if let Some(rule) = &expected.rule
        && !got.rule.is_some_and(|got| is_called(got, rule))
    {
        let got = got.rule.map_or_else(|| format!("no rule ({})", got.code), ToString::to_string);
        differ("rule", rule.clone(), got);
    }
    if let Some(code) = &expected.code
        && code != got.code
    {
        differ("code", code.clone(), got.code.to_owned());
    }
    let refusal = got.refusal.as_ref();
    if let Some(status) = expected.status
        && refusal.map(|refusal| refusal.status) != Some(status)
    {
        let got = refusal.map_or_else(|| "none".to_owned(), |refusal| refusal.status.to_string());
        differ("status", status.to_string(), got);
    }
    for (name, value) in &expected.headers {
        let values = got.received.get(name).map(Vec::as_slice).unwrap_or_default();
        if values != std::slice::from_ref(value) {
            differ(&format!("header {name} for the application"), value.clone(), shown(values));
        }
    }
    for name in &expected.without_headers {
        if let Some(values) = got.received.get(name) {
            differ(&format!("header {name} for the application"), shown(&[]), shown(values));
        }
    }
    let answered = refusal.map(|refusal| refusal.headers.as_slice()).unwrap_or_default();
    for (name, value) in &expected.answer_headers {
        let values: Vec<String> = answered
            .iter()
            .filter(|(there, _)| there.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.clone())
            .collect();
        if values != std::slice::from_ref(value) {
            differ(&format!("header {name} for the client"), value.clone(), shown(&values));
        }
    }
    found
}

pub(super) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allow => "allow",
        Outcome::Deny => "deny",
    }
}

/// The outcome, and by what.
fn summary(got: &Got<'_>) -> String {
    match (got.outcome, got.rule) {
        (Outcome::Allow, Some(rule)) => format!("allow by {rule}"),
        (Outcome::Allow, None) => "allow".to_owned(),
        (Outcome::Deny, Some(rule)) => format!("deny by {rule} ({})", got.code),
        (Outcome::Deny, None) => format!("deny ({})", got.code),
    }
}

/// A rule is named by its own name, with its policy, or with the namespace too.
fn is_called(rule: &RuleName, name: &str) -> bool {
    let without_namespace = rule.as_str().split_once('/').map(|(_, rest)| rest);
    name == rule.rule() || name == rule.as_str() || Some(name) == without_namespace
}

fn shown(values: &[String]) -> String {
    match values {
        [] => "no such header".to_owned(),
        several => several.join(" and "),
    }
}
