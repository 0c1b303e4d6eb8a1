//! `AuthorizationPolicy`.

use super::super::bound::{Bound, Difference};
use super::super::document::Foreign;
use super::super::note::Notes;
use super::super::out::{Effect, Matcher, Pattern, Resource, Rule, Selector};
use super::super::{ImportError, Options, wrong};
use super::condition::{self, Beside};
use super::draft::Draft;
use super::operation::{self, Requests};
use super::provider::{Known, Providers};
use super::raw::{RawAction, RawPolicy, RawRule, selector};
use super::{namespaces, source};
use crate::policy::Condition;

pub(super) fn translate(
    document: &Foreign,
    options: &Options,
    known: &[Known],
    notes: &mut Notes,
) -> Result<Vec<Resource>, ImportError> {
    let raw: RawPolicy = document.spec()?;
    let RawPolicy { selector: select, target_ref, target_refs, action, provider, rules } = raw;
    let subject = document.subject();
    let bound = match action {
        RawAction::Allow => Bound::Inside,
        RawAction::Deny | RawAction::Custom => Bound::Around,
        RawAction::Audit => {
            let message = "it decides nothing; every decision is recorded here";
            notes.add(&subject, "spec.action", Difference::Elsewhere, message);
            return Ok(Vec::new());
        }
    };
    if action == RawAction::Custom {
        let provider = provider
            .as_ref()
            .and_then(|provider| provider.get("name"))
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        let message = format!(
            "what the extension provider `{provider}` would say is not known here, so all that it would be asked about is refused; \
             allow it by rules, or by a PolicyEngine and `engine`, and remove this policy"
        );
        notes.add(&subject, "spec.provider", Difference::RefusesMore, message);
    }
    let select = selector(select);
    if target_ref.is_some() || !target_refs.is_empty() {
        if bound == Bound::Inside {
            let message = "it is attached to a gateway or service, which has no translation: select workloads by their labels";
            notes.add(&subject, "spec.targetRefs", Difference::LeftOut, message);
            return Ok(Vec::new());
        }
        let message = "what it is attached to has no translation: it holds for every workload of the namespace";
        notes.add(&subject, "spec.targetRefs", Difference::RefusesMore, message);
    }
    let Some(namespaces) = namespaces(document, options) else {
        return everywhere(&subject, bound, notes);
    };
    let mut resources = Vec::new();
    for namespace in namespaces {
        let providers = Providers {
            known,
            namespace: &namespace,
            labels: select.as_ref().map(|select| &select.match_labels),
        };
        let mut target = Target { document, options, providers, bound, notes };
        let rules = target.rules(&rules)?;
        resources.extend(target.resource(&namespace, select.clone(), rules));
    }
    Ok(resources)
}

/// A policy of the root namespace holds in all namespaces, of which none was named.
fn everywhere(
    subject: &str,
    bound: Bound,
    notes: &mut Notes,
) -> Result<Vec<Resource>, ImportError> {
    let problem = "it holds in every namespace of the mesh; say with --namespace into which namespaces to copy it";
    match bound {
        Bound::Inside => {
            notes.add(subject, "metadata.namespace", Difference::LeftOut, problem);
            Ok(Vec::new())
        }
        Bound::Around => {
            Err(ImportError::Deny { subject: subject.to_owned(), problem: problem.to_owned() })
        }
    }
}

/// One policy in one namespace.
struct Target<'a> {
    document: &'a Foreign,
    options: &'a Options,
    providers: Providers<'a>,
    bound: Bound,
    notes: &'a mut Notes,
}

impl Target<'_> {
    fn rules(&mut self, raw: &[RawRule]) -> Result<Vec<Rule>, ImportError> {
        let mut rules = Vec::new();
        for (place, raw) in raw.iter().enumerate() {
            let mut draft = Draft {
                document: self.document,
                options: self.options,
                providers: self.providers,
                bound: self.bound,
                notes: self.notes,
                at: format!("spec.rules[{place}]"),
            };
            let matchers = rule(&mut draft, raw)?;
            let several = matchers.len() > 1;
            for (part, matcher) in matchers.into_iter().enumerate() {
                let name = match several {
                    true => format!("rule-{}-{}", place + 1, part + 1),
                    false => format!("rule-{}", place + 1),
                };
                rules.push(Rule { name, effect: self.effect(matcher) });
            }
        }
        Ok(rules)
    }

    fn effect(&self, matcher: Matcher) -> Effect {
        match self.bound {
            Bound::Around => Effect::Deny(matcher),
            Bound::Inside if matcher.is_empty() => Effect::Allow(Matcher::everything()),
            Bound::Inside => Effect::Allow(matcher.without_connections().of_somebody()),
        }
    }

    fn resource(
        &mut self,
        namespace: &str,
        select: Option<Selector>,
        rules: Vec<Rule>,
    ) -> Option<Resource> {
        let subject = self.document.subject();
        if rules.is_empty() {
            let message = match self.bound {
                Bound::Inside => {
                    "no rule is left of it; here nothing is admitted that no rule allows"
                }
                Bound::Around => "it has no rules and refuses nothing",
            };
            self.notes.add(&subject, "spec.rules", Difference::Elsewhere, message);
            return None;
        }
        if self.bound == Bound::Around {
            let message = "there, workloads that no ALLOW policy selects admit whatever no DENY refuses; here they need an allow rule";
            self.notes.add(&subject, "spec.action", Difference::RefusesMore, message);
        }
        Some(Resource::policy((self.document.name.clone(), namespace), select, rules))
    }
}

/// The alternatives that together stand for one rule.
fn rule(draft: &mut Draft<'_>, raw: &RawRule) -> Result<Vec<Matcher>, ImportError> {
    let RawRule { from, to, when } = raw;
    let mut callers = Vec::new();
    for from in from {
        callers.extend(source::translate(draft, &from.source)?);
    }
    if from.is_empty() {
        callers.push(Matcher::default());
    }
    let mut beside = Beside::default();
    for raw in when {
        condition::add(draft, raw, (&mut callers, &mut beside))?;
    }
    let mut operations = Vec::new();
    for to in to {
        operations.extend(operation::translate(draft, &to.operation)?);
    }
    if to.is_empty() {
        operations.push(Requests::default());
    }
    if !beside.is_empty() {
        operations.retain_mut(|requests| requests.narrow(&beside));
    }
    let matchers = operation::join(callers, operations);
    matchers.into_iter().filter_map(|matcher| short_enough(draft, matcher).transpose()).collect()
}

/// A condition that is too long, or that asks too deep, is none that is accepted here.
fn short_enough(
    draft: &mut Draft<'_>,
    mut matcher: Matcher,
) -> Result<Option<Matcher>, ImportError> {
    if matcher.when.is_empty() {
        return Ok(Some(matcher));
    }
    let Err(error) = Condition::compile(&matcher.when.join(" && ")) else {
        return Ok(Some(matcher));
    };
    match draft.bound {
        Bound::Inside => {
            draft.unsayable("when", &format!("the condition it needs is not accepted: {error}"));
            Ok(None)
        }
        Bound::Around
            if matcher == (Matcher { when: matcher.when.clone(), ..Matcher::default() }) =>
        {
            Err(wrong(
                draft.document,
                draft.at.clone(),
                format!("needs a condition that is not accepted: {error}"),
            ))
        }
        Bound::Around => {
            draft.unsayable("when", &format!("the condition it needs is not accepted: {error}"));
            matcher.when.clear();
            Ok(Some(matcher))
        }
    }
}

impl Requests {
    /// Asks for this too. False where no request can be both.
    fn narrow(&mut self, beside: &Beside) -> bool {
        let (more, not) = beside.parts();
        let Pattern { hosts: _, ports, methods: _, paths: _, headers, query: _, sni } = more;
        match (&mut self.pattern.ports, ports) {
            (_, None) => {}
            (held @ None, Some(ports)) => *held = Some(ports.clone()),
            (Some(held), Some(ports)) => held.retain(|port| ports.contains(port)),
        }
        if self.pattern.ports.as_ref().is_some_and(Vec::is_empty) {
            return false;
        }
        self.pattern.headers.extend(headers.clone());
        if let Some(names) = sni {
            self.pattern.sni = Some(names.clone());
        }
        self.except(not);
        true
    }
}
