//! What rules ask, in the words in which they are written.

use std::fmt::Display;

use crate::policy::access::{ClaimValue, Users};
use crate::policy::facts::Confirmation;
use crate::policy::rule::{HostPattern, PeerPattern, RpcPattern, StepUp};

/// `a`, `a or b`, `a, b or c`.
pub(super) fn list<T: Display>(members: &[T]) -> String {
    let texts: Vec<String> = members.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [before @ .., last] => format!("{} or {last}", before.join(", ")),
    }
}

pub(in crate::policy) fn peers(patterns: &[PeerPattern]) -> String {
    let texts: Vec<String> = patterns.iter().map(peer).collect();
    list(&texts)
}

fn peer(pattern: &PeerPattern) -> String {
    match pattern {
        PeerPattern::Any => "any workload".to_owned(),
        PeerPattern::Nobody => "no workload".to_owned(),
        PeerPattern::ServiceAccount { namespace, account } => {
            format!("ns/{namespace}/sa/{account}")
        }
        PeerPattern::Namespace(namespace) => format!("ns/{namespace}"),
        PeerPattern::TrustDomain(domain) => format!("spiffe://{}", domain.as_str()),
        PeerPattern::Id(id) => id.as_str().to_owned(),
    }
}

pub(super) fn hosts(patterns: &Option<Vec<HostPattern>>) -> String {
    let texts: Vec<String> = patterns
        .iter()
        .flatten()
        .map(|pattern| match pattern {
            HostPattern::Exactly(name) => name.clone(),
            HostPattern::Below(parent) => format!("*.{parent}"),
        })
        .collect();
    list(&texts)
}

pub(super) fn calls(patterns: &[RpcPattern]) -> String {
    let texts: Vec<String> = patterns
        .iter()
        .map(|RpcPattern { method, tool }| match (method, tool) {
            (Some(method), Some(tool)) => format!("{method} of {tool}"),
            (Some(method), None) => method.clone(),
            (None, Some(tool)) => format!("the tool {tool}"),
            (None, None) => "any call".to_owned(),
        })
        .collect();
    list(&texts)
}

/// Everything that is asked of a user, in one line.
pub(in crate::policy) fn users(users: &Users) -> String {
    let Users { providers, subjects, roles, groups, scopes, tenants, emails, claims, bound_by } =
        users;
    let mut parts = Vec::new();
    for (word, names) in [
        ("provider", providers),
        ("subject", subjects),
        ("role", roles),
        ("group", groups),
        ("scope", scopes),
        ("tenant", tenants),
        ("mail address", emails),
    ] {
        if let Some(names) = names {
            parts.push(format!("{word} {}", list(names)));
        }
    }
    for (name, values) in claims {
        let values: Vec<String> = values.iter().map(claim).collect();
        parts.push(format!("claim {name} {}", list(&values)));
    }
    if let Some(ways) = bound_by {
        let ways: Vec<&str> = ways.iter().map(|way| binding(*way)).collect();
        parts.push(format!("a credential bound by {}", list(&ways)));
    }
    if parts.is_empty() { "anybody who is signed in".to_owned() } else { parts.join(", ") }
}

fn claim(value: &ClaimValue) -> String {
    match value {
        ClaimValue::Text(text) => format!("{text:?}"),
        ClaimValue::Number(number) => number.to_string(),
        ClaimValue::Boolean(truth) => truth.to_string(),
    }
}

pub(super) fn binding(way: Confirmation) -> &'static str {
    match way {
        Confirmation::Dpop => "dpop",
        Confirmation::Certificate => "certificate",
    }
}

pub(super) fn step_up(step_up: &StepUp) -> String {
    let StepUp { amr, acr, max_age } = step_up;
    let mut parts = Vec::new();
    if let Some(methods) = amr {
        parts.push(format!("signed in by {}", list(methods)));
    }
    if let Some(classes) = acr {
        parts.push(format!("at level {}", list(classes)));
    }
    if let Some(age) = max_age {
        parts
            .push(format!("at most {} ago", humantime_serde::re::humantime::format_duration(*age)));
    }
    parts.join(", ")
}
