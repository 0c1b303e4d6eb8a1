//! The policies of one workload, compiled.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use super::access::{AccessPolicy, AccessPolicySpec, Mode, Reach, UserPattern};
use super::compiled::{Compiled, RuleName, Rules};
use super::condition::environment;
use super::decide::{Decision, Fate, NoRecorder, Recorder, judge};
use super::facts::Facts;
use super::field::FieldPath;
use super::mesh::{MeshPolicySpec, WithoutPolicy};
use super::presentation::Presentation;
use super::problem::{InvalidRule, Origin, Problem, did_you_mean, quoted};
use super::resource::Metadata;
use super::rule::{Effect, Except, Peers, Rule};
use crate::identity::TrustDomain;

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

/// What the policies of a workload are compiled with.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The workload that is guarded.
    pub workload: &'a Workload,
    /// What holds for the whole mesh.
    pub mesh: &'a MeshPolicySpec,
    /// The names of the identity providers there are.
    pub providers: &'a [String],
    /// The names of the policy engines there are.
    pub engines: &'a [String],
}

/// The rules of one workload, ready to decide. Immutable: a change makes another set.
pub struct PolicySet {
    enforced: Rules,
    /// Those that are enforced and those that are not yet, where there are such.
    audited: Option<Rules>,
    without: WithoutPolicy,
    presentation: Presentation,
}

/// A policy that selects the workload.
#[derive(Clone, Copy)]
pub(super) struct SelectedPolicy<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) spec: &'a AccessPolicySpec,
    pub(super) origin: &'a Origin,
}

impl PolicySet {
    /// Compiles the policies that select this workload: those of its namespace whose labels it has, and those that it was
    /// chosen for ([`AccessPolicy::chosen`]). A policy without selector takes the whole namespace. The order of `policies` does not matter; they are read by name.
    ///
    /// # Errors
    /// Every mistake that only shows among policies: a name used twice, a provider or engine that does not exist, two
    /// policies that disagree about headers.
    pub fn compile(
        policies: &[AccessPolicy],
        around: &Surroundings<'_>,
    ) -> Result<Self, Vec<InvalidRule>> {
        let mut problems = repeated_names(policies);
        let mut selected: Vec<SelectedPolicy<'_>> = policies
            .iter()
            .filter(|policy| around.workload.is_selected_by(policy))
            .map(SelectedPolicy::new)
            .collect();
        selected.sort_by_key(|policy| policy.metadata);
        for policy in &selected {
            problems.extend(policy.unknown_names(around));
        }
        let enforced: Vec<SelectedPolicy<'_>> =
            selected.iter().copied().filter(|policy| policy.spec.mode == Mode::Enforce).collect();
        let presentation = match Presentation::join(&enforced) {
            Ok(presentation) if problems.is_empty() => presentation,
            Ok(_) => return Err(problems),
            Err(more) => {
                problems.extend(more);
                return Err(problems);
            }
        };
        let environment = Arc::new(environment());
        let rules = |policies: &[SelectedPolicy<'_>]| around.rules(policies, &environment);
        Ok(Self {
            audited: (enforced.len() < selected.len()).then(|| rules(&selected)).transpose()?,
            without: if enforced.is_empty() {
                around.mesh.without_policy
            } else {
                WithoutPolicy::Deny
            },
            enforced: rules(&enforced)?,
            presentation,
        })
    }

    /// Judges the facts of one request or connection. Rules that can be told by type cost no allocation.
    pub fn decide<'s>(&'s self, facts: &Facts<'_>) -> Decision<'s> {
        self.decide_recorded(facts, &mut NoRecorder)
    }

    /// The same decision, telling `recorder` of every rule that was looked at and what became of it.
    pub fn decide_recorded<'s>(
        &'s self,
        facts: &Facts<'_>,
        recorder: &mut impl Recorder,
    ) -> Decision<'s> {
        let decision = match self.without {
            WithoutPolicy::Deny => judge(&self.enforced, facts, recorder),
            WithoutPolicy::AllowUnguarded => Decision::Unguarded,
        };
        recorder.judged(self, facts);
        decision
    }

    /// What the decision would be if the policies in audit were enforced too; nothing where there are none.
    #[must_use]
    pub fn audit<'s>(&'s self, facts: &Facts<'_>) -> Option<Decision<'s>> {
        Some(judge(self.audited.as_ref()?, facts, &mut NoRecorder))
    }

    /// What becomes of every rule for these facts, those in audit too, in the order in which they are named: one walk
    /// over all of them, without the index. For explaining, not for deciding.
    #[must_use]
    pub fn examine<'s>(&'s self, facts: &Facts<'_>) -> Vec<Examined<'s>> {
        let rules = self.audited.as_ref().unwrap_or(&self.enforced);
        let enforced = |name: &RuleName| self.enforced.rules.iter().any(|rule| rule.name == *name);
        let examined = rules.rules.iter().map(|rule| Examined {
            name: &rule.name,
            rule: &rule.rule,
            mode: match self.audited {
                Some(_) if !enforced(&rule.name) => Mode::Audit,
                Some(_) | None => Mode::Enforce,
            },
            fate: rule.fate_alone(facts, &rules.environment),
            peers: &rule.peers,
            not_peers: rule.not_peers.as_ref(),
            environment: &rules.environment,
        });
        examined.collect()
    }

    /// How identity is presented to the application.
    #[must_use]
    pub fn presentation(&self) -> &Presentation {
        &self.presentation
    }

    /// How many rules decide.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.enforced.rules.len()
    }
}

/// A rule and what became of it.
#[derive(Clone)]
pub struct Examined<'s> {
    /// Its name.
    pub name: &'s RuleName,
    /// What it says, with the roles that imply those it asks for beside them.
    pub rule: &'s Rule,
    /// Whether it decides.
    pub mode: Mode,
    /// What became of it.
    pub fate: Fate,
    pub(super) peers: &'s Peers,
    pub(super) not_peers: Option<&'s Peers>,
    pub(super) environment: &'s Arc<cel::Env>,
}

impl Surroundings<'_> {
    fn rules(
        &self,
        policies: &[SelectedPolicy<'_>],
        environment: &Arc<cel::Env>,
    ) -> Result<Rules, Vec<InvalidRule>> {
        let mut own = vec![self.workload.trust_domain.clone()];
        own.extend(self.mesh.aliases.iter().cloned());
        let mut rules = Rules::new(Arc::clone(environment));
        for policy in policies {
            for rule in &policy.spec.rules {
                let compiled = Compiled::new(policy.metadata, rule, &policy.spec.roles, &own)
                    .map_err(|problem| vec![policy.rule_problem(rule, problem)])?;
                rules.add(compiled);
            }
        }
        rules.seal();
        Ok(rules)
    }
}

impl Workload {
    fn is_selected_by(&self, policy: &AccessPolicy) -> bool {
        match policy.reach() {
            Reach::Chosen => true,
            Reach::Selector => {
                policy.metadata.namespace == self.namespace
                    && policy.spec.selector.as_ref().is_none_or(|labels| {
                        labels.iter().all(|(name, value)| self.labels.get(name) == Some(value))
                    })
            }
        }
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
        let subject = format!("{}#{}", self.metadata, rule.name);
        InvalidRule::new(rule.origin().clone(), subject, problem)
    }

    /// Providers and engines that rules name and that do not exist.
    fn unknown_names(&self, around: &Surroundings<'_>) -> Vec<InvalidRule> {
        let mut problems = Vec::new();
        for (place, rule) in self.spec.rules.iter().enumerate() {
            let effect = match rule.effect {
                Effect::Allow => "allow",
                Effect::Deny => "deny",
            };
            let at = FieldPath::root().field("spec").field("rules").item(place).field(effect);
            let Except { users, clients, .. } = &rule.except;
            for (field, pattern) in [
                ("users", &rule.users),
                ("clients", &rule.clients),
                ("notUsers", users),
                ("notClients", clients),
            ] {
                let Some(UserPattern::Verified(users)) = pattern else { continue };
                for (item, name) in users.providers.iter().flatten().enumerate() {
                    let at = || at.field(field).field("providers").item(item);
                    let unknown = unknown("identity provider", name, around.providers, at);
                    problems.extend(unknown.map(|problem| self.rule_problem(rule, problem)));
                }
            }
            if let Some(engine) = &rule.engine {
                let unknown =
                    unknown("policy engine", engine, around.engines, || at.field("engine"));
                problems.extend(unknown.map(|problem| self.rule_problem(rule, problem)));
            }
        }
        problems
    }
}

fn unknown(
    what: &str,
    name: &str,
    known: &[String],
    at: impl FnOnce() -> FieldPath,
) -> Option<Problem> {
    if known.iter().any(|known| known == name) {
        return None;
    }
    let known = known.iter().map(String::as_str);
    let there_are = match known.len() {
        0 => format!("there is no {what} at all: put one among the resources"),
        _ => format!("there are {}", quoted(known.clone())),
    };
    let message = format!("there is no {what} `{name}`; {there_are}");
    Some(Problem::new(at(), message).maybe_hint(did_you_mean(name, known)))
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

impl fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicySet").field("rules", &self.rule_count()).finish_non_exhaustive()
    }
}
