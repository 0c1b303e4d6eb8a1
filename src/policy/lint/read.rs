//! The resources of all files, each with its text as values and their places.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::IGNORE;
use super::finding::{Finding, Lint};
use super::rule::Rule;
use crate::identity::TrustDomain;
use crate::policy::access::AccessPolicy;
use crate::policy::field::FieldPath;
use crate::policy::mesh::{MeshPolicy, MeshPolicySpec};
use crate::policy::problem::{InvalidResource, InvalidRule, Problem};
use crate::policy::resource::{self, Metadata, Resource};
use crate::policy::set::{PolicySet, Surroundings, Workload};
use crate::policy::yaml::{self, Document, Places};

/// Peers of a policy are checked in some trust domain; which one makes no difference.
const TRUST_DOMAIN: &str = "example.mesh";

/// Everything that could be read.
pub(super) struct Documents {
    pub(super) policies: Vec<Policy>,
    pub(super) providers: Vec<Provider>,
    meshes: Vec<(MeshPolicy, Option<(u64, u64)>)>,
}

/// One policy: what it says, and as it is written.
pub(super) struct Policy {
    pub(super) policy: AccessPolicy,
    raw: Map<String, Value>,
    places: Places,
    source: String,
}

/// One identity provider.
pub(super) struct Provider {
    pub(super) metadata: Metadata,
    pub(super) source: String,
    pub(super) place: Option<(u64, u64)>,
    raw: Map<String, Value>,
}

impl Documents {
    /// Reads every document; one that is no resource is a finding, and the others are read all the same.
    pub(super) fn read(texts: &[(String, String)]) -> (Self, Vec<Finding>) {
        let mut all = Self { policies: Vec::new(), providers: Vec::new(), meshes: Vec::new() };
        let mut findings = Vec::new();
        for (source, text) in texts {
            let documents = match yaml::documents(source, text) {
                Ok(documents) => documents,
                Err(error) => {
                    findings.push(invalid(error.into()));
                    continue;
                }
            };
            if documents.is_empty() {
                findings.push(Finding {
                    lint: Lint::Invalid,
                    source: source.clone(),
                    place: None,
                    subject: String::new(),
                    message: "holds no resource".to_owned(),
                    hint: Some("remove the file if that is meant".to_owned()),
                });
            }
            for document in &documents {
                if let Err(error) = all.add(source, document) {
                    findings.push(invalid(error));
                }
            }
        }
        (all, findings)
    }

    fn add(&mut self, source: &str, document: &Document<'_>) -> Result<(), InvalidResource> {
        let resource = resource::resource(source, document)?;
        let raw: Map<String, Value> = document.read(source)?;
        let (places, source) = (document.places(), source.to_owned());
        match resource {
            Resource::AccessPolicy(policy) => {
                self.policies.push(Policy { policy, raw, places, source });
            }
            Resource::IdentityProvider(provider) => {
                let place = places.find(&FieldPath::root().field("metadata").field("name"));
                self.providers.push(Provider { metadata: provider.metadata, source, place, raw });
            }
            Resource::MeshPolicy(policy) => {
                let place = places.find(&FieldPath::root().field("metadata").field("name"));
                self.meshes.push((policy, place));
            }
            Resource::PolicyEngine(_) => {}
        }
        Ok(())
    }

    /// What is wrong only among the resources, for each workload that some policy selects.
    pub(super) fn among(&self, other_providers: &[String]) -> Vec<Finding> {
        let mut findings = self.repeated_providers();
        findings.extend(self.second_mesh());
        let Ok(trust_domain) = TrustDomain::parse(TRUST_DOMAIN) else { return findings };
        let policies: Vec<AccessPolicy> = self.policies.iter().map(|p| p.policy.clone()).collect();
        // Engines are looked for where the policies decide.
        let rules = policies.iter().flat_map(|policy| &policy.spec.rules);
        let engines: Vec<String> = rules.filter_map(|rule| rule.engine.clone()).collect();
        let mesh = self.meshes.first();
        let mesh = mesh.map_or_else(MeshPolicySpec::absent, |(mesh, _)| mesh.spec.clone());
        for policy in &policies {
            let workload = Workload {
                trust_domain: trust_domain.clone(),
                namespace: policy.metadata.namespace.clone(),
                labels: policy.spec.selector.clone().unwrap_or_default(),
            };
            let providers = self.providers_of(&workload.namespace, other_providers);
            let set = PolicySet::compile(
                &policies,
                &Surroundings {
                    workload: &workload,
                    mesh: &mesh,
                    providers: &providers,
                    engines: &engines,
                },
            );
            if let Err(problems) = set {
                findings.extend(problems.into_iter().map(|problem| self.invalid_rule(problem)));
            }
        }
        findings
    }

    /// Where none is known, the providers are elsewhere: any name may be one.
    fn providers_of(&self, namespace: &str, others: &[String]) -> Vec<String> {
        let own = self.providers.iter().filter(|p| p.metadata.namespace == *namespace);
        let known: Vec<String> = own
            .map(|provider| provider.metadata.name.clone())
            .chain(others.iter().cloned())
            .collect();
        if !known.is_empty() {
            return known;
        }
        let rules = self.policies.iter().flat_map(Policy::rules);
        let named: BTreeSet<String> = rules
            .flat_map(|rule| rule.providers().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        named.into_iter().collect()
    }

    fn repeated_providers(&self) -> Vec<Finding> {
        let mut seen: BTreeMap<&Metadata, &Provider> = BTreeMap::new();
        let mut findings = Vec::new();
        for provider in &self.providers {
            let Some(first) = seen.insert(&provider.metadata, provider) else { continue };
            findings.push(Finding {
                lint: Lint::Invalid,
                source: provider.source.clone(),
                place: provider.place,
                subject: provider.metadata.to_string(),
                message: format!("another identity provider has this name, in {}", first.source),
                hint: None,
            });
        }
        findings
    }

    fn second_mesh(&self) -> Option<Finding> {
        let [(first, _), (second, place), ..] = self.meshes.as_slice() else { return None };
        Some(Finding {
            lint: Lint::Invalid,
            source: second.origin().source().to_owned(),
            place: *place,
            subject: second.metadata.to_string(),
            message: format!("there is another MeshPolicy, in {}", first.origin()),
            hint: Some("a mesh has at most one".to_owned()),
        })
    }

    /// With the column that the problem itself does not know.
    fn invalid_rule(&self, invalid: InvalidRule) -> Finding {
        let InvalidRule { origin, subject, problem } = invalid;
        let Problem { path, message, hint } = problem;
        let name = subject.split('#').next().unwrap_or_default();
        let policy = self
            .policies
            .iter()
            .find(|policy| policy.source == origin.source() && policy.name() == name);
        let place = policy
            .and_then(|policy| policy.places.find(&path))
            .filter(|_| !path.steps().is_empty())
            .or(origin.line().map(|line| (line, 1)));
        let message = told(&path, &message);
        Finding {
            lint: Lint::Invalid,
            source: origin.source().to_owned(),
            place,
            subject,
            message,
            hint,
        }
    }

    /// True when an annotation of the resource says not to tell of it. What is wrong is always told.
    pub(super) fn ignores(&self, finding: &Finding) -> bool {
        let name = finding.subject.split('#').next().unwrap_or_default();
        let policy = self.policies.iter().filter(|policy| policy.source == finding.source);
        let provider = self.providers.iter().filter(|provider| provider.source == finding.source);
        let mut resources = policy
            .map(|policy| (policy.name(), &policy.raw))
            .chain(provider.map(|provider| (provider.metadata.to_string(), &provider.raw)));
        finding.lint != Lint::Invalid
            && resources
                .any(|(own, raw)| own == name && ignored(raw).any(|id| id == finding.lint.id()))
    }
}

fn ignored(raw: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let annotation = raw.get("metadata").and_then(|m| m.get("annotations")?.get(IGNORE)?.as_str());
    annotation.into_iter().flat_map(|ids| ids.split(',').map(str::trim))
}

fn invalid(error: InvalidResource) -> Finding {
    let InvalidResource { source_name, place, resource, problem } = error;
    let Problem { path, message, hint } = *problem;
    Finding {
        lint: Lint::Invalid,
        source: source_name,
        place,
        subject: resource,
        message: told(&path, &message),
        hint,
    }
}

fn told(path: &FieldPath, message: &str) -> String {
    if path.steps().is_empty() { message.to_owned() } else { format!("{path}: {message}") }
}

impl Policy {
    /// `namespace/name`.
    pub(super) fn name(&self) -> String {
        self.policy.metadata.to_string()
    }

    pub(super) fn is_audit(&self) -> bool {
        self.field("mode").and_then(Value::as_str) == Some("Audit")
    }

    /// A field of `spec`, as it is written.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        self.raw.get("spec")?.get(name)
    }

    /// The rules, as they are written.
    pub(super) fn rules(&self) -> impl Iterator<Item = Rule<'_>> {
        let written = self.field("rules").and_then(Value::as_array).into_iter().flatten();
        let at = FieldPath::root().field("spec").field("rules");
        let rules = self.policy.spec.rules.iter().zip(written).enumerate();
        rules.filter_map(move |(place, (rule, written))| {
            Rule::new(self, rule, written, at.item(place))
        })
    }

    /// A finding about a field of this policy.
    pub(super) fn finding(
        &self,
        lint: Lint,
        at: &FieldPath,
        message: impl Into<String>,
    ) -> Finding {
        Finding {
            lint,
            source: self.source.clone(),
            place: self.places.find(at),
            subject: self.name(),
            message: message.into(),
            hint: None,
        }
    }

    /// `file:line` of a field.
    pub(super) fn place_of(&self, at: &FieldPath) -> String {
        match self.places.find(at) {
            Some((line, _)) => format!("{}:{line}", self.source),
            None => self.source.clone(),
        }
    }
}
