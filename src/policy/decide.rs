//! One decision over the candidates that the index finds.

use std::borrow::Cow;

use super::compiled::{Certainty, Compiled, RuleName, Rules};
use super::facts::Facts;
use super::index::{EntryId, Visitor};
use super::rule::{Effect, StepUp};
use super::set::PolicySet;

/// The outcome for one request or connection. Only [`Decision::Allow`] admits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Decision<'s> {
    /// This rule admits it, and nothing refuses.
    Allow(&'s RuleName),
    /// This rule refuses it.
    Deny(&'s RuleName),
    /// This rule would admit it if the user signed in as the rule asks, and nothing else admits it.
    StepUp(&'s RuleName, &'s StepUp),
    /// These engines have to be asked before it can be decided, by the names of their resources. Not empty.
    AskFirst(Vec<&'s str>),
    /// No enforced policy selects the workload, and the mesh lets such workloads go unguarded.
    Unguarded,
    /// No rule admits it, and no user is known; a rule for this peer and request asks for one.
    NothingAllowsAnonymous,
    /// No rule admits it.
    NothingAllows,
    /// This rule would apply but cannot be evaluated, so it is refused.
    Undecidable(&'s RuleName, UndecidableReason),
}

/// Why a rule has no answer. Holds names, never the values of claims or headers.
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
    /// It asks for the port, and the proxy did not tell it.
    #[error("the rule asks for the port, and the proxy did not tell it")]
    NoPort,
    /// It asks for the address on the wire, and there is none.
    #[error("the rule asks for the address of the caller, and there is none")]
    NoSource,
    /// It asks for the address in front of the trusted proxies, and they did not tell it.
    #[error("the rule asks for the address of the client, and no trusted proxy told it")]
    NoForwarded,
    /// It asks for the time, and the clock stands where no calendar reaches.
    #[error("the rule asks for the time, and the clock does not tell one")]
    NoTime,
    /// It asks for a parameter of the query that is there several times or can be read in two ways.
    #[error("the rule asks for the query parameter {0:?}, which can be read in several ways")]
    QueryAmbiguous(String),
    /// It asks an engine that says nothing about such a request.
    #[error("the engine {0:?} says nothing about this request")]
    EngineUndefined(String),
    /// It asks an engine that could not say.
    #[error("the engine {engine:?} could not say: {why}")]
    EngineFailed {
        /// The name of its resource.
        engine: String,
        /// Why, for the operator.
        why: Cow<'static, str>,
    },
    /// It asks for a claim, field or header that is not there.
    #[error("the condition asks for {0:?}, which is not there")]
    Missing(String),
    /// It asks for a header that is there several times, in another spelling, or as a value that may be joined from
    /// several lines.
    #[error("the rule asks for the header {0:?}, which may be there several times")]
    HeaderRepeated(String),
    /// It asks for a header that is not UTF-8.
    #[error("the rule asks for the header {0:?}, which is no text")]
    HeaderNotText(String),
    /// It asks for the body, and there is none or the proxy did not hand it on.
    #[error("the rule asks for the body, and none was handed on")]
    NoBody,
    /// It asks for the body, of which only the beginning was handed on.
    #[error("the rule asks for the body, of which only the beginning was handed on")]
    BodyTruncated,
    /// It asks for the body, which cannot be read.
    #[error("the rule asks for the body, which cannot be read: {0}")]
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

/// What became of a rule whose host, path, method and peer matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It matches.
    Matched,
    /// This part does not match.
    Differs(Difference),
    /// It matches but for how the user signed in.
    StepUp,
    /// It matches but for what its engine says, which was not asked yet.
    NotAsked,
    /// It has no answer.
    Undecidable(UndecidableReason),
}

/// The part of a rule that does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Another workload.
    Peer,
    /// The user lacks this.
    User(Mismatch),
    /// The program that calls for the user lacks this.
    Client(Mismatch),
    /// It is a connection, and the rule is for requests.
    Connection,
    /// Another host.
    Host,
    /// Another port.
    Port,
    /// Another method.
    Method,
    /// Another path.
    Path,
    /// No such header, or another value.
    Header,
    /// No such parameter in the query, or another value.
    Query,
    /// Another JSON-RPC call.
    Rpc,
    /// Another TLS server name.
    Sni,
    /// Another address on the wire.
    Source,
    /// Another address in front of the trusted proxies.
    Forwarded,
    /// Not the time for it.
    Time,
    /// One of `notPeers`.
    NotPeer,
    /// One of `notUsers`.
    NotUser,
    /// One of `notClients`.
    NotClient,
    /// One of `notRequests`.
    NotRequest,
    /// One of `notSources`.
    NotSource,
    /// One of `notForwardedFor`.
    NotForwarded,
    /// In one of `notTimes`.
    NotTime,
    /// Its condition is false.
    Condition,
    /// Its engine says no, or nothing.
    Engine,
}

/// What a user or client lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// There is no verified user.
    NoUser,
    /// There is one, and the rule is for those who are not signed in.
    SignedIn,
    /// The token is another provider's.
    Provider,
    /// No such role.
    Role,
    /// No such scope.
    Scope,
    /// Another tenant.
    Tenant,
    /// Another mail address.
    Email,
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

    /// The rules were asked, with these facts. Told once, after every candidate.
    fn judged(&mut self, _set: &PolicySet, _facts: &Facts<'_>) {}
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
    rules: &'s Rules,
    facts: &Facts<'_>,
    recorder: &mut R,
) -> Decision<'s> {
    let mut found = Found::default();
    rules.index.visit(facts, &mut Judge { rules, facts, recorder, found: &mut found });
    let rule = |place: usize| rules.rules.get(place);
    let Found { deny, undecidable, allow, step_up, ask, wants_user } = found;
    if let Some(rule) = deny.and_then(rule) {
        return Decision::Deny(&rule.name);
    }
    // Refused already, whatever the engines say.
    if let Some((place, reason)) = undecidable
        && let Some(rule) = rule(place)
    {
        return Decision::Undecidable(&rule.name, reason);
    }
    let engines = engines(rules, ask);
    if !engines.is_empty() {
        return Decision::AskFirst(engines);
    }
    if let Some(rule) = allow.and_then(rule) {
        return Decision::Allow(&rule.name);
    }
    if let Some(rule) = step_up.and_then(rule)
        && let Some(step_up) = &rule.rule.step_up
    {
        return Decision::StepUp(&rule.name, step_up);
    }
    if wants_user { Decision::NothingAllowsAnonymous } else { Decision::NothingAllows }
}

fn engines(rules: &Rules, ask: Vec<usize>) -> Vec<&str> {
    let mut names: Vec<&str> = ask
        .into_iter()
        .filter_map(|place| rules.rules.get(place)?.rule.engine.as_deref())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The first rule of each outcome so far. Candidates come in no order; the lowest place wins.
#[derive(Default)]
struct Found {
    deny: Option<usize>,
    undecidable: Option<(usize, UndecidableReason)>,
    allow: Option<usize>,
    step_up: Option<usize>,
    /// Rules whose engine was not asked.
    ask: Vec<usize>,
    wants_user: bool,
}

/// Considers what the index finds.
struct Judge<'j, 'f, R> {
    rules: &'j Rules,
    facts: &'j Facts<'f>,
    recorder: &'j mut R,
    found: &'j mut Found,
}

impl<R: Recorder> Visitor for Judge<'_, '_, R> {
    fn entry(&mut self, entry: EntryId) {
        self.found.consider(self.rules, entry, self.facts, self.recorder);
    }

    fn wants_user(&mut self) {
        self.found.wants_user = true;
    }
}

impl Found {
    fn consider<R: Recorder>(
        &mut self,
        rules: &Rules,
        entry: EntryId,
        facts: &Facts<'_>,
        recorder: &mut R,
    ) {
        let Some(entry) = rules.entries.get(entry) else { return };
        let Some(rule) = rules.rules.get(entry.rule) else { return };
        if !R::EVERY && self.is_settled_without(entry.rule, rule) {
            return;
        }
        let fate = rule.fate(entry, facts, &rules.environment);
        recorder.candidate(&rule.name, rule.rule.effect, &fate);
        let place = entry.rule;
        match (fate, rule.rule.effect) {
            (Fate::Matched, Effect::Deny) => keep_first(&mut self.deny, place),
            (Fate::Matched, Effect::Allow) => keep_first(&mut self.allow, place),
            (Fate::StepUp, Effect::Allow | Effect::Deny) => keep_first(&mut self.step_up, place),
            (Fate::NotAsked, Effect::Allow | Effect::Deny) => self.ask.push(place),
            (Fate::Undecidable(reason), Effect::Allow | Effect::Deny) => {
                if self.undecidable.as_ref().is_none_or(|(first, _)| place < *first) {
                    self.undecidable = Some((place, reason));
                }
            }
            (Fate::Differs(_), Effect::Allow | Effect::Deny) => {}
        }
    }

    /// True when whatever this rule says cannot change the outcome.
    fn is_settled_without(&self, place: usize, rule: &Compiled) -> bool {
        if let Some(deny) = self.deny {
            return rule.rule.effect == Effect::Allow || place >= deny;
        }
        if rule.rule.effect == Effect::Deny {
            return false;
        }
        let after_undecidable = self.undecidable.as_ref().is_some_and(|(first, _)| place > *first);
        let after_allow =
            rule.certainty == Certainty::Always && self.allow.is_some_and(|first| place >= first);
        after_undecidable || after_allow
    }
}

fn keep_first(first: &mut Option<usize>, place: usize) {
    if first.is_none_or(|first| place < first) {
        *first = Some(place);
    }
}
