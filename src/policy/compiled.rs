//! One rule, compiled, and what becomes of it for the facts of a request.

use std::fmt;
use std::sync::Arc;

use super::access::UserPattern;
use super::condition::ImpliedRoles;
use super::decide::{Difference, Fate, Mismatch, UndecidableReason};
use super::facts::{EngineAnswer, Facts};
use super::index::{Address, EntryId, Index};
use super::problem::Problem;
use super::resource::Metadata;
use super::rule::{Effect, Peers, Rule, Truth};
use super::template::{PathTemplate, Slash};
use crate::identity::TrustDomain;

/// The name of a rule: `shop/orders#customers-read-their-own-orders`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuleName {
    text: String,
    /// Bytes of the policy's name.
    policy: usize,
}

/// Rules that decide together.
pub(super) struct Rules {
    pub(super) rules: Vec<Compiled>,
    pub(super) entries: Vec<Entry>,
    pub(super) index: Index,
    pub(super) environment: Arc<cel::Env>,
}

/// A rule with the names of the mesh and the hierarchy of its policy filled in.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) name: RuleName,
    pub(super) rule: Rule,
    pub(super) peers: Peers,
    pub(super) not_peers: Option<Peers>,
    pub(super) certainty: Certainty,
}

/// Whether a rule always has an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    Always,
    NotAlways,
}

/// One way to reach a rule: by one of its path templates, or by none.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) rule: usize,
    /// Which of the rule's request patterns; nothing where it has none.
    request: Option<usize>,
    template: Option<PathTemplate>,
}

impl Rules {
    pub(super) fn new(environment: Arc<cel::Env>) -> Self {
        Self { rules: Vec::new(), entries: Vec::new(), index: Index::new(), environment }
    }

    pub(super) fn add(&mut self, rule: Compiled) {
        let place = self.rules.len();
        let anywhere = Address {
            host: None,
            template: None,
            methods: None,
            peers: &rule.peers,
            effect: rule.rule.effect,
        };
        let (index, entries) = (&mut self.index, &mut self.entries);
        let mut file = |request: Option<usize>, address: &Address<'_>| {
            let entry: EntryId = entries.len();
            index.file(entry, address);
            entries.push(Entry { rule: place, request, template: address.template.cloned() });
        };
        match &rule.rule.requests {
            None => file(None, &anywhere),
            Some(requests) => {
                for (number, request) in requests.iter().enumerate() {
                    let anywhere = Address { methods: request.methods.as_deref(), ..anywhere };
                    for host in request.each_host() {
                        for template in request.each_path() {
                            file(Some(number), &Address { host, template, ..anywhere });
                        }
                    }
                }
            }
        }
        self.rules.push(rule);
    }

    /// Files every entry by what it asks of users. To be called once, when all rules are there.
    pub(super) fn seal(&mut self) {
        let Self { rules, entries, index, environment: _ } = self;
        index.seal(&|entry| {
            let rule = entries.get(entry).and_then(|entry| rules.get(entry.rule));
            rule.and_then(|rule| Some((rule.rule.users.as_ref()?, rule.rule.effect)))
        });
    }
}

impl Compiled {
    /// Fills in what the rule leaves to its policy and the mesh.
    pub(super) fn new(
        metadata: &Metadata,
        rule: &Rule,
        roles: &Arc<ImpliedRoles>,
        own: &[TrustDomain],
    ) -> Result<Self, Problem> {
        let mut rule = rule.clone();
        for users in
            [&mut rule.users, &mut rule.clients, &mut rule.except.users, &mut rule.except.clients]
        {
            *users = users.as_ref().map(|users| users.with_roles(roles));
        }
        rule.when = rule.when.map(|when| when.with_roles(roles));
        let not_peers = rule.except.peers.as_deref();
        let certainty =
            if rule.may_be_unknown() { Certainty::NotAlways } else { Certainty::Always };
        Ok(Self {
            name: RuleName::new(metadata, &rule.name),
            peers: Peers::of(rule.peers.as_deref(), own)?,
            not_peers: not_peers.map(|peers| Peers::of(Some(peers), own)).transpose()?,
            certainty,
            rule,
        })
    }

    /// Host, path, method and peer matched by the way the index found the entry; the rest is checked in full here.
    pub(super) fn fate(
        &self,
        entry: &Entry,
        facts: &Facts<'_>,
        environment: &Arc<cel::Env>,
    ) -> Fate {
        let request = entry.request.and_then(|place| self.rule.requests.as_ref()?.get(place));
        let rest = || request.map_or(Truth::Holds, |request| request.matches_rest(facts));
        let truth = self.users(facts).and(rest).and(|| self.surroundings(facts));
        self.settle(truth, entry.template.as_ref(), facts, environment)
    }

    /// The rule as a whole, without the index: each way to reach it.
    pub(super) fn fate_alone(&self, facts: &Facts<'_>, environment: &Arc<cel::Env>) -> Fate {
        let peer = Truth::of(self.peers.has(facts.peer), Difference::Peer);
        let Some(requests) = &self.rule.requests else {
            let truth = peer.and(|| self.users(facts)).and(|| self.surroundings(facts));
            return self.settle(truth, None, facts, environment);
        };
        let mut best: Option<Fate> = None;
        for request in requests {
            for template in request.each_path() {
                let truth = peer
                    .clone()
                    .and(|| request.matches_by(template, facts, self.positive_slash()))
                    .and(|| self.users(facts))
                    .and(|| self.surroundings(facts));
                let fate = self.settle(truth, template, facts, environment);
                if best.as_ref().is_none_or(|best| self.rank(&fate) > self.rank(best)) {
                    best = Some(fate);
                }
            }
        }
        best.unwrap_or(Fate::Differs(Difference::Path))
    }

    /// Users and clients, which the index narrows down but does not settle.
    fn users(&self, facts: &Facts<'_>) -> Truth {
        let matches = |pattern: &Option<UserPattern>, held, differs: fn(Mismatch) -> Difference| {
            pattern.as_ref().map_or(Truth::Holds, |pattern| pattern.matches(held, differs))
        };
        matches(&self.rule.users, facts.user, Difference::User)
            .and(|| matches(&self.rule.clients, facts.client, Difference::Client))
    }

    /// Addresses, times, and what must not match.
    fn surroundings(&self, facts: &Facts<'_>) -> Truth {
        let truth = self.rule.matches_surroundings(facts);
        if self.rule.except.is_nothing() { truth } else { truth.and(|| self.exceptions(facts)) }
    }

    fn exceptions(&self, facts: &Facts<'_>) -> Truth {
        let except = &self.rule.except;
        let mut truth = except.matches_surroundings(facts);
        if let Some(peers) = &self.not_peers {
            truth = truth.and(|| Truth::of(!peers.has(facts.peer), Difference::NotPeer));
        }
        if let Some(users) = &except.users {
            let are = || users.matches(facts.user, Difference::User);
            truth = truth.and(|| are().not(Difference::NotUser));
        }
        if let Some(clients) = &except.clients {
            let are = || clients.matches(facts.client, Difference::Client);
            truth = truth.and(|| are().not(Difference::NotClient));
        }
        if let Some(requests) = &except.requests {
            let slash = match self.positive_slash() {
                Slash::Exactly => Slash::Either,
                Slash::Either => Slash::Exactly,
            };
            let are = || {
                Truth::any(
                    requests.iter().map(|request| request.matches(facts, slash)),
                    Difference::Path,
                )
            };
            truth = truth.and(|| are().not(Difference::NotRequest));
        }
        truth
    }

    /// How the paths that a rule names are compared. What it excepts is compared the other way, so that neither makes
    /// an allow wider or a deny narrower.
    fn positive_slash(&self) -> Slash {
        match self.rule.effect {
            Effect::Allow => Slash::Exactly,
            Effect::Deny => Slash::Either,
        }
    }

    /// Condition, engine and sign-in, which are looked at only where everything else matches.
    fn settle(
        &self,
        truth: Truth,
        template: Option<&PathTemplate>,
        facts: &Facts<'_>,
        environment: &Arc<cel::Env>,
    ) -> Fate {
        match truth {
            Truth::Holds => {}
            Truth::Fails(difference) => return Fate::Differs(difference),
            Truth::Unknown(reason) => return Fate::Undecidable(reason),
        }
        if let Some(when) = &self.rule.when {
            match when.evaluate(facts, template, environment) {
                Ok(true) => {}
                Ok(false) => return Fate::Differs(Difference::Condition),
                Err(reason) => return Fate::Undecidable(reason),
            }
        }
        if let Some(fate) = self.ask(facts) {
            return fate;
        }
        match &self.rule.step_up {
            Some(step_up) if !step_up.is_met(facts.user, facts.now) => Fate::StepUp,
            Some(_) | None => Fate::Matched,
        }
    }

    /// Of several ways to reach this rule, the one of the highest rank decides. An allow that cannot be decided by one
    /// way is not admitted by another.
    fn rank(&self, fate: &Fate) -> u8 {
        match (fate, self.rule.effect) {
            (Fate::Differs(Difference::Path | Difference::Method | Difference::Host), _) => 0,
            (Fate::Differs(_), _) => 1,
            (Fate::StepUp, _) => 2,
            (Fate::Matched, Effect::Allow) => 3,
            (Fate::NotAsked, _) => 4,
            (Fate::Undecidable(_), _) => 5,
            (Fate::Matched, Effect::Deny) => 6,
        }
    }

    /// Nothing where there is no engine or it says yes.
    fn ask(&self, facts: &Facts<'_>) -> Option<Fate> {
        let engine = self.rule.engine.as_deref()?;
        match (facts.engines.answer(engine, facts), self.rule.effect) {
            (EngineAnswer::Yes, _) => None,
            (EngineAnswer::No, _) | (EngineAnswer::Undefined, Effect::Allow) => {
                Some(Fate::Differs(Difference::Engine))
            }
            (EngineAnswer::Undefined, Effect::Deny) => {
                Some(Fate::Undecidable(UndecidableReason::EngineUndefined(engine.to_owned())))
            }
            (EngineAnswer::Failed(why), _) => {
                let engine = engine.to_owned();
                Some(Fate::Undecidable(UndecidableReason::EngineFailed { engine, why }))
            }
            (EngineAnswer::NotAsked, _) => Some(Fate::NotAsked),
        }
    }
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

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
