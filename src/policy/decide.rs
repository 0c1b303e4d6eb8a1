//! One decision over the candidates that the index finds.

use super::access::Effect;
use super::facts::Facts;
use super::index::{EntryId, Visitor};
use super::set::{Compiled, Entry, PolicySet, RuleName};

/// The outcome for one request or connection. Only [`Decision::Allow`] admits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Decision<'s> {
    /// This rule admits it, and nothing refuses.
    Allow(&'s RuleName),
    /// This rule refuses it.
    Deny(&'s RuleName),
    /// No rule admits it, and no user is known; a rule for this peer and request asks for one.
    NothingAllowsAnonymous,
    /// No rule admits it.
    NothingAllows,
    /// This rule would apply but cannot be evaluated, so it is refused.
    Undecidable(&'s RuleName, UndecidableReason),
}

/// Why a condition has no answer. Holds names, never the values of claims or headers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UndecidableReason {
    /// It asks for the peer, and there is none.
    #[error("the condition asks for the peer, and there is none")]
    NoPeer,
    /// It asks for the user, and there is none.
    #[error("the condition asks for the user, and there is none")]
    NoUser,
    /// It asks for the client, and there is none.
    #[error("the condition asks for the client, and there is none")]
    NoClient,
    /// It asks for groups, and the provider does not say in which the user is.
    #[error("the rule asks for groups, and the provider does not say in which groups the user is")]
    GroupsUnknown,
    /// It asks for the request, and this is a connection.
    #[error("the condition asks for the request, and this is a connection")]
    NoRequest,
    /// It asks for a claim, field or header that is not there.
    #[error("the condition asks for {0:?}, which is not there")]
    Missing(String),
    /// It asks for a header that is there several times, in another spelling, or as a value that may be joined from
    /// several lines.
    #[error("the condition asks for the header {0:?}, which may be there several times")]
    HeaderRepeated(String),
    /// It asks for a header that is not UTF-8.
    #[error("the condition asks for the header {0:?}, which is no text")]
    HeaderNotText(String),
    /// It asks for the body, and there is none or the proxy did not hand it on.
    #[error("the condition asks for the body, and none was handed on")]
    NoBody,
    /// It asks for the body, of which only the beginning was handed on.
    #[error("the condition asks for the body, of which only the beginning was handed on")]
    BodyTruncated,
    /// It asks for the body, which cannot be read.
    #[error("the condition asks for the body, which cannot be read: {0}")]
    BodyUnreadable(&'static str),
    /// Evaluating it over these facts takes too many steps.
    #[error("the condition takes too many steps over what was sent")]
    TooCostly,
    /// It is neither true nor false.
    #[error("the condition is neither true nor false")]
    NotBoolean,
    /// It cannot be computed.
    #[error("the condition cannot be computed: {0}")]
    Failed(String),
    /// The interpreter failed in a way it should not.
    #[error("the interpreter of conditions panicked")]
    Panicked,
}

/// What became of a rule whose path, method and peer matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It matches.
    Matched,
    /// The user lacks what it asks for.
    OtherUser(Mismatch),
    /// Its condition is false.
    ConditionFalse,
    /// The program that calls for the user lacks what it asks for.
    OtherClient(Mismatch),
    /// It has no answer.
    Undecidable(UndecidableReason),
}

/// What a user or client lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// There is no verified user.
    NoUser,
    /// The token is another provider's.
    Provider,
    /// No such role.
    Role,
    /// No such scope.
    Scope,
    /// No such claim, or another value.
    Claim,
    /// Another subject.
    Subject,
    /// In no such group.
    Group,
    /// The credential is not bound to a key in such a way.
    NotBound,
}

/// Why a user or client does not count, or cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmet {
    /// It lacks something.
    Lacks(Mismatch),
    /// Its provider does not say in which groups it is.
    GroupsUnknown,
}

/// Watches one decision. It cannot change it.
pub trait Recorder {
    /// True to be told of every candidate, also of those that can no longer change the outcome.
    const EVERY: bool;

    /// A rule was looked at. It is told once for each way the request reaches it.
    fn candidate(&mut self, rule: &RuleName, effect: Effect, fate: &Fate);
}

/// The recorder of the hot path: does nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoRecorder;

impl Recorder for NoRecorder {
    const EVERY: bool = false;

    fn candidate(&mut self, _: &RuleName, _: Effect, _: &Fate) {}
}

/// Decides.
pub(super) fn judge<'s, R: Recorder>(
    set: &'s PolicySet,
    facts: &Facts<'_>,
    recorder: &mut R,
) -> Decision<'s> {
    let mut found = Found::default();
    set.index.visit(facts, &mut Judge { set, facts, recorder, found: &mut found });
    let name = |rule: usize| set.rules.get(rule).map(|rule| &rule.name);
    let Found { deny, undecidable, allow, wants_user } = found;
    if let Some(rule) = deny.and_then(name) {
        return Decision::Deny(rule);
    }
    if let Some((rule, reason)) = undecidable
        && let Some(rule) = name(rule)
    {
        return Decision::Undecidable(rule, reason);
    }
    match allow.and_then(name) {
        Some(rule) => Decision::Allow(rule),
        None if wants_user => Decision::NothingAllowsAnonymous,
        None => Decision::NothingAllows,
    }
}

/// The first rule of each outcome so far. Candidates come in no order; the lowest place wins.
#[derive(Default)]
struct Found {
    deny: Option<usize>,
    undecidable: Option<(usize, UndecidableReason)>,
    allow: Option<usize>,
    wants_user: bool,
}

/// Considers what the index finds.
struct Judge<'j, 'f, R> {
    set: &'j PolicySet,
    facts: &'j Facts<'f>,
    recorder: &'j mut R,
    found: &'j mut Found,
}

impl<R: Recorder> Visitor for Judge<'_, '_, R> {
    fn entry(&mut self, entry: EntryId) {
        self.found.consider(self.set, entry, self.facts, self.recorder);
    }

    fn wants_user(&mut self) {
        self.found.wants_user = true;
    }
}

impl Found {
    fn consider<R: Recorder>(
        &mut self,
        set: &PolicySet,
        entry: EntryId,
        facts: &Facts<'_>,
        recorder: &mut R,
    ) {
        let Some(entry) = set.entries.get(entry) else { return };
        let Some(rule) = set.rules.get(entry.rule) else { return };
        if !R::EVERY && self.is_settled_without(entry.rule, rule) {
            return;
        }
        let fate = fate(set, rule, entry, facts);
        recorder.candidate(&rule.name, rule.effect, &fate);
        let place = entry.rule;
        match (fate, rule.effect) {
            (Fate::Matched, Effect::Deny) => keep_first(&mut self.deny, place),
            (Fate::Matched, Effect::Allow) => keep_first(&mut self.allow, place),
            (Fate::Undecidable(reason), Effect::Allow | Effect::Deny) => {
                if self.undecidable.as_ref().is_none_or(|(first, _)| place < *first) {
                    self.undecidable = Some((place, reason));
                }
            }
            (
                Fate::OtherUser(_) | Fate::OtherClient(_) | Fate::ConditionFalse,
                Effect::Allow | Effect::Deny,
            ) => {}
        }
    }

    /// True when whatever this rule says cannot change the outcome.
    fn is_settled_without(&self, place: usize, rule: &Compiled) -> bool {
        if let Some(deny) = self.deny {
            return rule.effect == Effect::Allow || place >= deny;
        }
        if rule.effect == Effect::Deny {
            return false;
        }
        let after_undecidable = self.undecidable.as_ref().is_some_and(|(first, _)| place > *first);
        let after_allow = rule.when.is_none() && self.allow.is_some_and(|first| place >= first);
        after_undecidable || after_allow
    }
}

fn keep_first(first: &mut Option<usize>, place: usize) {
    if first.is_none_or(|first| place < first) {
        *first = Some(place);
    }
}

/// Path, method and peer matched by the way the index found the entry; the rest is checked in full here.
fn fate(set: &PolicySet, rule: &Compiled, entry: &Entry, facts: &Facts<'_>) -> Fate {
    let lacks: [fn(Mismatch) -> Fate; 2] = [Fate::OtherUser, Fate::OtherClient];
    let asked = [(&rule.users, facts.user), (&rule.clients, facts.client)];
    for ((asked, held), lacks) in asked.into_iter().zip(lacks) {
        let Some(asked) = asked else { continue };
        match held.map_or(Err(Unmet::Lacks(Mismatch::NoUser)), |held| asked.check_user(held)) {
            Ok(()) => {}
            Err(Unmet::Lacks(mismatch)) => return lacks(mismatch),
            Err(Unmet::GroupsUnknown) => {
                return Fate::Undecidable(UndecidableReason::GroupsUnknown);
            }
        }
    }
    let Some(when) = &rule.when else { return Fate::Matched };
    match when.evaluate(facts, entry.template.as_ref(), &set.environment) {
        Ok(true) => Fate::Matched,
        Ok(false) => Fate::ConditionFalse,
        Err(reason) => Fate::Undecidable(reason),
    }
}
