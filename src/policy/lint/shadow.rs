//! Rules that other rules make useless.

use serde_json::Value;

use super::cover::{Match, covers};
use super::finding::{Finding, Lint};
use super::read::Policy;
use super::rule::Rule;
use crate::policy::rule::Effect;

/// Lists whose members are looked at one by one where the rule as a whole still says something.
const PARTS: [&str; 2] = ["peers", "requests"];
/// Lists inside of `requests`, likewise.
const PARTS_OF_REQUESTS: [&str; 2] = ["paths", "methods"];

/// What is useless in this policy.
pub(super) fn shadowed(policy: &Policy, all: &[Policy]) -> Vec<Finding> {
    if policy.is_audit() {
        return Vec::new();
    }
    let others: Vec<Rule<'_>> = all
        .iter()
        .filter(|other| !other.is_audit() && other.takes_workloads_of(policy))
        .flat_map(Policy::rules)
        .collect();
    let mut found = Vec::new();
    for rule in policy.rules() {
        match others.iter().find_map(|other| rule.shadow(other, rule.part)) {
            Some(shadow) => found.push(rule.finding(Lint::Shadowed, &rule.at, shadow)),
            None => found.extend(refused_parts(&rule, &others)),
        }
    }
    found
}

/// Parts of an allow that a deny refuses, whoever calls.
fn refused_parts(rule: &Rule<'_>, others: &[Rule<'_>]) -> Vec<Finding> {
    let denies: Vec<&Rule<'_>> = match rule.effect {
        Effect::Allow => others.iter().filter(|other| other.effect == Effect::Deny).collect(),
        Effect::Deny => Vec::new(),
    };
    let mut found = Vec::new();
    for (part, path) in parts(rule) {
        if let Some(deny) = denies.iter().find(|deny| rule.is_taken_by(deny, &part)) {
            let message = format!(
                "never matters: the deny {} ({}) refuses all of it",
                deny.full_name(),
                deny.policy.place_of(&deny.at)
            );
            found.push(rule.finding(Lint::NeverMatches, &path, message));
        }
    }
    found
}

/// The rule with one of several members of a list, for each member, and the place of that member.
fn parts(rule: &Rule<'_>) -> Vec<(Match, crate::policy::field::FieldPath)> {
    let mut parts = Vec::new();
    for field in PARTS {
        let Some(Value::Array(members)) = rule.part.get(field) else { continue };
        for (place, member) in members.iter().enumerate() {
            let at = rule.at(field).item(place);
            let with = |member: &Value| {
                let mut part = rule.part.clone();
                part.insert(field.to_owned(), Value::Array(vec![member.clone()]));
                part
            };
            if members.len() > 1 {
                parts.push((with(member), at.clone()));
            }
            for inner in PARTS_OF_REQUESTS {
                let Some(Value::Array(several)) = member.get(inner) else { continue };
                if several.len() < 2 {
                    continue;
                }
                for (place, one) in several.iter().enumerate() {
                    let mut request = member.clone();
                    if let Some(list) = request.get_mut(inner) {
                        *list = Value::Array(vec![one.clone()]);
                    }
                    parts.push((with(&request), at.field(inner).item(place)));
                }
            }
        }
    }
    parts
}

impl Policy {
    /// True when every workload of the other policy is one of this too.
    fn takes_workloads_of(&self, other: &Self) -> bool {
        let (own, others) = (&self.policy, &other.policy);
        own.metadata.namespace == others.metadata.namespace
            && own.spec.selector.iter().flatten().all(|(name, value)| {
                others.spec.selector.as_ref().is_some_and(|labels| labels.get(name) == Some(value))
            })
    }
}

impl Rule<'_> {
    /// How the other rule makes this one useless, if it does.
    fn shadow(&self, other: &Rule<'_>, part: &Match) -> Option<String> {
        let place = || other.policy.place_of(&other.at);
        let name = other.full_name();
        let is_earlier = || other.order() < self.order();
        match (self.effect, other.effect) {
            (Effect::Allow, Effect::Deny) if self.is_taken_by(other, part) => {
                Some(format!("allows nothing: the deny {name} ({}) refuses all of it", place()))
            }
            (Effect::Allow, Effect::Allow) | (Effect::Deny, Effect::Deny)
                if is_earlier() && self.is_taken_by(other, part) =>
            {
                Some(format!("decides nothing: {name} ({}) takes all of it first", place()))
            }
            (Effect::Allow | Effect::Deny, _) => None,
        }
    }

    /// True when everything that `part` of this rule matches is matched by the other rule.
    fn is_taken_by(&self, other: &Rule<'_>, part: &Match) -> bool {
        // Roles are worth what the roles of their own policy say.
        let roles = |rule: &Rule<'_>| rule.policy.field("roles").cloned();
        let same_roles = || roles(self) == roles(other);
        let asks_roles = ["users", "clients", "notUsers", "notClients"]
            .iter()
            .any(|field| other.part.get(*field).is_some_and(|asked| asked.get("roles").is_some()));
        (!asks_roles || same_roles()) && covers(other.part, part, other.effect)
    }

    /// Rules of the same outcome are named in this order.
    fn order(&self) -> (String, Option<usize>) {
        use crate::policy::field::Step;
        let place = self.at.steps().iter().find_map(|step| match step {
            Step::Item(place) => Some(*place),
            Step::Key(_) => None,
        });
        (self.policy.name(), place)
    }
}
