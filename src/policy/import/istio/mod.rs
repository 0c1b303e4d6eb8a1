//! Istio: `AuthorizationPolicy`, `RequestAuthentication`, `PeerAuthentication`.
//!
//! There, a workload without an ALLOW policy admits whatever no DENY refuses; here nothing is admitted that no rule
//! allows. Tokens of a `RequestAuthentication` with a selector count for its workloads alone there; here a provider
//! counts in its namespace, so translated rules name the providers that surely count for the workloads of the rule.

mod address;
mod authentication;
mod condition;
mod draft;
mod mtls;
mod operation;
mod path;
mod peer;
mod policy;
mod principal;
mod provider;
mod raw;
mod source;
mod text;

use super::bound::Difference;
use super::document::Foreign;
use super::note::Notes;
use super::out::{Effect, Matcher, Pattern, Resource, Rule};
use super::{ImportError, Options};

/// Translates the documents of Istio's kinds; others are told of.
pub(super) fn translate(
    documents: &[Foreign],
    options: &Options,
    notes: &mut Notes,
) -> Result<Vec<Resource>, ImportError> {
    let mut resources = Vec::new();
    let mut known = Vec::new();
    for document in documents.iter().filter(|document| is(document, "RequestAuthentication")) {
        authentication::translate(document, options, notes, (&mut known, &mut resources))?;
    }
    let first_policy = resources.len();
    for document in documents {
        match document.kind.as_str() {
            "AuthorizationPolicy" if is(document, "AuthorizationPolicy") => {
                resources.extend(policy::translate(document, options, &known, notes)?);
            }
            "PeerAuthentication" if is(document, "PeerAuthentication") => {
                resources.extend(mtls::translate(document, options, notes)?);
            }
            "RequestAuthentication" if is(document, "RequestAuthentication") => {}
            _ => notes.add(
                &document.subject(),
                "",
                Difference::LeftOut,
                "this kind is not translated",
            ),
        }
    }
    let policies = resources.get_mut(first_policy..).unwrap_or_default();
    refuse_connections(policies);
    Ok(resources)
}

fn is(document: &Foreign, kind: &str) -> bool {
    document.kind == kind && document.group == "security.istio.io"
}

/// The namespaces that a document holds in, or nothing for all of them where none was given.
fn namespaces(document: &Foreign, options: &Options) -> Option<Vec<String>> {
    if document.namespace != options.root_namespace {
        return Some(vec![document.namespace.clone()]);
    }
    (!options.namespaces.is_empty()).then(|| options.namespaces.clone())
}

/// There, a deny that asks for something of HTTP refuses TCP connections that match the rest of it. Here it matches no
/// connection; where an allow might admit one, a second rule refuses it.
fn refuse_connections(resources: &mut [Resource]) {
    let policies = || resources.iter().filter_map(Resource::as_policy);
    let admitted = policies()
        .flat_map(|policy| &policy.spec.rules)
        .any(|rule| matches!(&rule.effect, Effect::Allow(matcher) if matcher.fits_connections()));
    if !admitted {
        return;
    }
    for policy in resources.iter_mut().filter_map(Resource::as_policy_mut) {
        let mut twins: Vec<Rule> = Vec::new();
        for twin in policy.spec.rules.iter().filter_map(twin) {
            if !twins.iter().any(|known| known.effect == twin.effect) {
                twins.push(twin);
            }
        }
        policy.spec.rules.extend(twins);
    }
}

fn twin(rule: &Rule) -> Option<Rule> {
    let Effect::Deny(matcher) = &rule.effect else { return None };
    let fits = |all: &Vec<Pattern>| all.iter().all(Pattern::fits_connections);
    if matcher.users.is_none() && matcher.requests.as_ref().is_none_or(fits) {
        return None;
    }
    let ports = |pattern: &Pattern| Pattern { ports: pattern.ports.clone(), ..Pattern::default() };
    let requests: Option<Vec<Pattern>> =
        matcher.requests.as_ref().map(|all| all.iter().map(ports).collect());
    let requests = requests.filter(|all| !all.iter().any(Pattern::is_empty));
    let excepted = matcher.not_requests.iter().filter(|pattern| pattern.fits_connections());
    let matcher = Matcher {
        requests,
        not_requests: std::iter::once(Pattern::http()).chain(excepted.cloned()).collect(),
        users: None,
        not_users: None,
        forwarded_for: None,
        not_forwarded_for: Vec::new(),
        when: matcher.when.iter().filter(|part| !Matcher::is_about_http(part)).cloned().collect(),
        ..matcher.clone()
    };
    Some(Rule { name: format!("{}-on-connections", rule.name), effect: Effect::Deny(matcher) })
}
