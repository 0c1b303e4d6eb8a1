//! The policies of one workload, compiled.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use super::access::{
    AccessPolicy, AccessPolicySpec, Effect, PeerPattern, RequestPattern, Rule, Users,
};
use super::condition::{Condition, environment};
use super::decide::{Decision, NoRecorder, Recorder, judge};
use super::facts::Facts;
use super::field::FieldPath;
use super::index::{Address, EntryId, Index, Peers};
use super::mesh::{MeshPolicySpec, WithoutPolicy};
use super::presentation::Presentation;
use super::problem::{InvalidRule, Origin, Problem, did_you_mean, quoted};
use super::resource::Metadata;
use super::template::PathTemplate;
use crate::identity::{SpiffeId, TrustDomain};

/// The workload that is guarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its trust domain: that of peers written without one.
    pub trust_domain: TrustDomain,
    /// Its namespace: only policies of the same one count.
    pub namespace: String,
    /// Its labels, which selectors are compared with.
    pub labels: BTreeMap<String, String>,
}

/// The name of a rule: `shop/orders#customers-read-their-own-orders`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuleName {
    text: String,
    /// Bytes of the policy's name.
    policy: usize,
}

/// The rules of one workload, ready to decide. Immutable: a change makes another set.
pub struct PolicySet {
    pub(super) rules: Vec<Compiled>,
    pub(super) entries: Vec<Entry>,
    pub(super) index: Index,
    pub(super) environment: Arc<cel::Env>,
    presentation: Presentation,
    without_policy: WithoutPolicy,
}

/// What is left of a rule to check once the index found it.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) name: RuleName,
    pub(super) effect: Effect,
    pub(super) users: Option<Users>,
    pub(super) clients: Option<Users>,
    pub(super) when: Option<Condition>,
}

/// One way to reach a rule: by one of its path templates, or by none.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) rule: usize,
    pub(super) template: Option<PathTemplate>,
}

/// A policy that selects the workload.
pub(super) struct SelectedPolicy<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) spec: &'a AccessPolicySpec,
    pub(super) origin: &'a Origin,
}

impl PolicySet {
    /// Compiles in a mesh without a MeshPolicy, as [`PolicySet::compile_in`].
    ///
    /// # Errors
    /// As [`PolicySet::compile_in`].
    pub fn compile(
        policies: &[AccessPolicy],
        provider_names: &[String],
        workload: &Workload,
    ) -> Result<Self, Vec<InvalidRule>> {
        Self::compile_in(&MeshPolicySpec::absent(), policies, provider_names, workload)
    }

    /// Compiles the policies that select this workload: those of its namespace whose labels it has. A policy
    /// without selector takes the whole namespace. The order of `policies` does not matter; they are read by name.
    ///
    /// # Errors
    /// Every mistake that only shows among policies: a name used twice, a provider that does not exist, two
    /// policies that disagree about headers.
    pub fn compile_in(
        mesh: &MeshPolicySpec,
        policies: &[AccessPolicy],
        provider_names: &[String],
        workload: &Workload,
    ) -> Result<Self, Vec<InvalidRule>> {
        let mut problems = repeated_names(policies);
        let mut selected: Vec<SelectedPolicy<'_>> = policies
            .iter()
            .filter(|policy| workload.is_selected_by(policy))
            .map(SelectedPolicy::new)
            .collect();
        selected.sort_by_key(|policy| policy.metadata);
        for policy in &selected {
            problems.extend(policy.unknown_providers(provider_names));
        }
        let presentation = match Presentation::join(&selected) {
            Ok(presentation) if problems.is_empty() => presentation,
            Ok(_) => return Err(problems),
            Err(more) => {
                problems.extend(more);
                return Err(problems);
            }
        };
        let mut set = Self {
            rules: Vec::new(),
            entries: Vec::new(),
            index: Index::new(),
            environment: Arc::new(environment()),
            presentation,
            without_policy: mesh.without_policy,
        };
        for policy in &selected {
            for rule in &policy.spec.rules {
                let peers = peers(rule, workload, &mesh.aliases)
                    .map_err(|problem| vec![policy.rule_problem(rule, problem)])?;
                set.add(policy.metadata, rule, &peers);
            }
        }
        set.seal();
        Ok(set)
    }

    /// Judges the facts of one request or connection. Rules that can be told by type cost no allocation.
    pub fn decide<'s>(&'s self, facts: &Facts<'_>) -> Decision<'s> {
        judge(self, facts, &mut NoRecorder)
    }

    /// The same decision, telling `recorder` of every rule that was looked at and what became of it.
    pub fn decide_recorded<'s>(
        &'s self,
        facts: &Facts<'_>,
        recorder: &mut impl Recorder,
    ) -> Decision<'s> {
        judge(self, facts, recorder)
    }

    /// How identity is presented to the application.
    #[must_use]
    pub fn presentation(&self) -> &Presentation {
        &self.presentation
    }

    /// What happens if no enforced policy selects the workload.
    #[must_use]
    pub fn without_policy(&self) -> WithoutPolicy {
        self.without_policy
    }

    /// How many rules there are.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    fn add(&mut self, metadata: &Metadata, rule: &Rule, peers: &Peers) {
        let place = self.rules.len();
        self.rules.push(Compiled {
            name: RuleName::new(metadata, &rule.name),
            effect: rule.effect,
            users: rule.users.clone(),
            clients: rule.clients.clone(),
            when: rule.when.clone(),
        });
        let Some(requests) = &rule.requests else {
            let address = Address { template: None, methods: None, peers, effect: rule.effect };
            self.file(place, &address);
            return;
        };
        for RequestPattern { methods, paths } in requests {
            let anywhere =
                Address { template: None, methods: methods.as_deref(), peers, effect: rule.effect };
            match paths {
                None => self.file(place, &anywhere),
                Some(paths) => {
                    for path in paths {
                        self.file(place, &Address { template: Some(path), ..anywhere });
                    }
                }
            }
        }
    }

    fn file(&mut self, rule: usize, address: &Address<'_>) {
        let entry: EntryId = self.entries.len();
        self.index.file(entry, address);
        self.entries.push(Entry { rule, template: address.template.cloned() });
    }

    fn seal(&mut self) {
        let Self { rules, entries, index, .. } = self;
        index.seal(&|entry| {
            let rule = entries.get(entry).and_then(|entry| rules.get(entry.rule));
            rule.and_then(|rule| Some((rule.users.as_ref()?, rule.effect)))
        });
    }
}

impl Workload {
    fn is_selected_by(&self, policy: &AccessPolicy) -> bool {
        policy.metadata.namespace == self.namespace
            && policy.spec.selector.as_ref().is_none_or(|labels| {
                labels.iter().all(|(name, value)| self.labels.get(name) == Some(value))
            })
    }
}

impl<'a> SelectedPolicy<'a> {
    fn new(policy: &'a AccessPolicy) -> Self {
        Self { metadata: &policy.metadata, spec: &policy.spec, origin: policy.origin() }
    }

    pub(super) fn problem(&self, problem: Problem) -> InvalidRule {
        InvalidRule::new(self.origin.clone(), self.metadata.to_string(), problem)
    }

    fn rule_problem(&self, rule: &Rule, problem: Problem) -> InvalidRule {
        let subject = RuleName::new(self.metadata, &rule.name).text;
        InvalidRule::new(rule.origin().clone(), subject, problem)
    }

    fn unknown_providers(&self, known: &[String]) -> Vec<InvalidRule> {
        let mut problems = Vec::new();
        for (place, rule) in self.spec.rules.iter().enumerate() {
            let named = [("users", &rule.users), ("clients", &rule.clients)].into_iter().flat_map(
                |(field, asked)| {
                    let providers = asked.as_ref().and_then(|asked| asked.providers.as_ref());
                    let names = providers.into_iter().flatten().enumerate();
                    names.map(move |(item, name)| (field, item, name))
                },
            );
            for (field, item, name) in named {
                if known.contains(name) {
                    continue;
                }
                let effect = match rule.effect {
                    Effect::Allow => "allow",
                    Effect::Deny => "deny",
                };
                let path = FieldPath::root().field("spec").field("rules").item(place);
                let path = path.field(effect).field(field).field("providers").item(item);
                let known = known.iter().map(String::as_str);
                let there_are = match known.len() {
                    0 => "there is none".to_owned(),
                    _ => format!("there are {}", quoted(known.clone())),
                };
                let message = format!("there is no identity provider `{name}`; {there_are}");
                let problem = Problem::new(path, message).maybe_hint(did_you_mean(name, known));
                problems.push(self.rule_problem(rule, problem));
            }
        }
        problems
    }
}

fn repeated_names(policies: &[AccessPolicy]) -> Vec<InvalidRule> {
    let mut seen: HashMap<&Metadata, &AccessPolicy> = HashMap::with_capacity(policies.len());
    let mut problems = Vec::new();
    for policy in policies {
        if let Some(first) = seen.insert(&policy.metadata, policy) {
            let message = format!("another policy has this name, in {}", first.origin());
            let path = FieldPath::root().field("metadata").field("name");
            problems.push(SelectedPolicy::new(policy).problem(Problem::new(path, message)));
        }
    }
    problems
}

/// A service account is that of our own trust domain, under each of its names.
fn peers(rule: &Rule, workload: &Workload, aliases: &[TrustDomain]) -> Result<Peers, Problem> {
    let Some(patterns) = &rule.peers else { return Ok(Peers::Unrestricted) };
    let mut ids = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        match pattern {
            PeerPattern::Any => return Ok(Peers::Any),
            PeerPattern::Id(id) => ids.push(id.as_str().to_owned()),
            PeerPattern::ServiceAccount { namespace, account } => {
                for domain in std::iter::once(&workload.trust_domain).chain(aliases) {
                    let id = SpiffeId::for_service_account(domain, namespace, account);
                    let id = id.map_err(|error| {
                        let message = format!("the peer {namespace}/{account} {error}");
                        Problem::new(FieldPath::root(), message)
                    })?;
                    ids.push(id.as_str().to_owned());
                }
            }
        }
    }
    ids.sort();
    ids.dedup();
    Ok(Peers::Exactly(ids))
}

impl RuleName {
    fn new(metadata: &Metadata, rule: &str) -> Self {
        let policy = metadata.to_string();
        Self { policy: policy.len(), text: format!("{policy}#{rule}") }
    }

    /// The policy: `shop/orders`.
    #[must_use]
    pub fn policy(&self) -> &str {
        self.text.get(..self.policy).unwrap_or_default()
    }

    /// The rule's own name.
    #[must_use]
    pub fn rule(&self) -> &str {
        self.text.get(self.policy + 1..).unwrap_or_default()
    }

    /// The whole name: `shop/orders#rule`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicySet").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
