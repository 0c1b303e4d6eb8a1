//! A check of resources: what a sidecar would refuse, and what it would take although it was probably not meant.
//!
//! Rules are compared as they are written. What a comparison does not understand it takes for different, so a finding
//! is never a guess about a field it has not met.

mod cover;
mod finding;
mod manifest;
mod pattern;
mod read;
mod rule;
mod shadow;

use std::collections::BTreeSet;

use serde_json::Value;

pub use finding::{Finding, Level, Lint};
pub use manifest::{ManifestWorkload, workloads};

use self::read::{Documents, Policy};
use super::field::FieldPath;

/// Whose findings of one kind are not told, in an annotation of the resource: names of lints, joined by commas.
const IGNORE: &str = "hopgate.dev/check-ignore";

/// What is checked, and what is known beside it.
#[derive(Debug, Default)]
pub struct Checked<'a> {
    /// The files: name and text.
    pub texts: &'a [(String, String)],
    /// Names of identity providers that exist elsewhere.
    pub providers: &'a [String],
    /// The workloads there are, where they are known.
    pub workloads: Option<&'a [ManifestWorkload]>,
}

/// Everything that is found, in order of files and lines.
#[must_use]
pub fn check(checked: &Checked<'_>) -> Vec<Finding> {
    let (documents, mut findings) = Documents::read(checked.texts);
    findings.extend(documents.among(checked.providers));
    // A policy that could not be read may be what is missed here.
    let is_whole = findings.is_empty();
    for policy in &documents.policies {
        findings.extend(policy.of_its_own(checked.workloads));
        findings.extend(shadow::shadowed(policy, &documents.policies));
    }
    if is_whole {
        findings.extend(unused_providers(&documents));
    }
    findings.retain(|finding| !documents.ignores(finding));
    let order = |finding: &Finding| {
        let file = checked.texts.iter().position(|(name, _)| *name == finding.source);
        (file, finding.place, finding.lint, finding.message.clone())
    };
    findings.sort_by_key(order);
    findings.dedup();
    findings
}

impl Policy {
    /// What can be told of a policy without the others.
    fn of_its_own(&self, workloads: Option<&[ManifestWorkload]>) -> Vec<Finding> {
        let mut found = Vec::new();
        let root = FieldPath::root();
        if self.is_audit() {
            let at = root.field("spec").field("mode");
            found.push(self.finding(Lint::Audit, &at, "is recorded and decides nothing"));
        }
        if let (Some(labels), Some(workloads)) = (&self.policy.spec.selector, workloads) {
            let namespace = &self.policy.metadata.namespace;
            if !workloads.iter().any(|workload| workload.is_selected(namespace, labels)) {
                let at = root.field("spec").field("selector");
                let message = format!(
                    "no workload of namespace {namespace} in the manifests has these labels"
                );
                found.push(self.finding(Lint::SelectsNothing, &at, message));
            }
        }
        for rule in self.rules() {
            found.extend(rule.findings());
            found.extend(pattern::findings(&rule));
        }
        found
    }
}

/// Providers of namespaces in which every rule that asks for users says whose, and none says theirs.
fn unused_providers(documents: &Documents) -> Vec<Finding> {
    let mut found = Vec::new();
    for provider in &documents.providers {
        let namespace = &provider.metadata.namespace;
        let rules: Vec<_> = documents
            .policies
            .iter()
            .filter(|policy| policy.policy.metadata.namespace == *namespace)
            .flat_map(Policy::rules)
            .collect();
        // Without policies this is a file of providers alone.
        if rules.is_empty() || rules.iter().any(rule::Rule::asks_for_any_provider) {
            continue;
        }
        let named: BTreeSet<&str> = rules.iter().flat_map(rule::Rule::providers).collect();
        if !named.contains(provider.metadata.name.as_str()) {
            found.push(Finding {
                lint: Lint::UnusedProvider,
                source: provider.source.clone(),
                place: provider.place,
                subject: provider.metadata.to_string(),
                message: "no rule of its namespace asks for users of this provider".to_owned(),
                hint: Some("name it in `providers` of a rule, or remove it".to_owned()),
            });
        }
    }
    found
}

/// The members of a list of texts; nothing for anything else.
fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
