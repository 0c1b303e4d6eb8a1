//! What one rule asks, each part compared by itself.

use serde_json::{Value, json};

use super::held;
use super::known::{Fact, Known};
use super::{requests, users, wording};
use crate::policy::decide::Difference;
use crate::policy::facts::{EngineAnswer, Facts};
use crate::policy::rule::{Effect, Except, Rule, Truth};
use crate::policy::set::Examined;
use crate::policy::template::{PathTemplate, Slash};

/// One thing that a rule asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub field: Field,
    /// Whether the request has it.
    pub state: State,
    /// What the rule asks, as it is written there.
    pub wanted: String,
    /// What the request has; empty where that says nothing.
    pub held: String,
}

/// What a part is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The workload on the wire.
    Peer,
    /// That it is an HTTP request.
    Request,
    /// The host.
    Host,
    /// The port.
    Port,
    /// The method.
    Method,
    /// The path.
    Path,
    /// A header.
    Header,
    /// A parameter of the query.
    Query,
    /// A JSON-RPC call.
    Rpc,
    /// The TLS server name.
    Sni,
    /// The user.
    User,
    /// The program that calls for the user.
    Client,
    /// The address on the wire.
    Source,
    /// The address in front of the proxies.
    Forwarded,
    /// The time.
    Time,
    /// What must not match.
    Except(&'static str),
    /// The policy engine.
    Engine,
    /// The condition.
    When,
    /// How the user signed in.
    StepUp,
}

/// Whether the request has what is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has.
    Met,
    /// It has not.
    Unmet,
    /// There is no answer, for this reason, so the rule cannot be decided.
    Unknown(String),
    /// Facts of this kind are not known here.
    NotRecorded(Fact),
    /// It depends on something that does not match.
    NotReached,
}

/// All parts of a rule. Of several ways to reach it the one that comes closest.
pub(super) fn of(examined: &Examined<'_>, facts: &Facts<'_>, known: &Known) -> Vec<Part> {
    let rule = examined.rule;
    let slash = match rule.effect {
        Effect::Allow => Slash::Exactly,
        Effect::Deny => Slash::Either,
    };
    let mut parts = Vec::new();
    if let Some(peers) = &rule.peers {
        let truth = Truth::of(examined.peers.has(facts.peer), Difference::Peer);
        parts.push(Part::new(Field::Peer, truth, wording::peers(peers), held::peer(facts)));
    }
    let (template, request) = requests::closest(rule.requests.as_deref(), facts, (slash, known));
    let lost = |part: &Part| {
        part.state == State::Unmet && matches!(part.field, Field::Path | Field::Request)
    };
    let reached = !request.iter().any(lost);
    parts.extend(request);
    parts.extend(users::parts(Field::User, rule.users.as_ref(), facts.user, known));
    parts.extend(users::parts(Field::Client, rule.clients.as_ref(), facts.client, known));
    surroundings(rule, facts, known, &mut parts);
    exceptions(examined, facts, (slash, known), &mut parts);
    if let Some(when) = &rule.when {
        parts.push(condition(examined, when, (template, reached), (facts, known)));
    }
    if let Some(engine) = &rule.engine {
        parts.push(ask(engine, rule.effect, facts, known));
    }
    if let Some(step_up) = &rule.step_up {
        let state = match step_up.is_met(facts.user, facts.now) {
            _ if known.is_missing(Fact::Claims) && facts.user.is_some() => {
                State::NotRecorded(Fact::Claims)
            }
            true => State::Met,
            false => State::Unmet,
        };
        let (wanted, held) = (wording::step_up(step_up), held::sign_in(step_up, facts));
        parts.push(Part { field: Field::StepUp, state, wanted, held });
    }
    parts
}

/// Addresses and time, each by a copy of the rule that asks for nothing else.
fn surroundings(rule: &Rule, facts: &Facts<'_>, known: &Known, parts: &mut Vec<Part>) {
    let nothing = || {
        let mut only = rule.clone();
        (only.sources, only.forwarded_for, only.times) = (None, None, None);
        only
    };
    if let Some(ranges) = &rule.sources {
        let only = Rule { sources: rule.sources.clone(), ..nothing() };
        let truth = only.matches_surroundings(facts);
        parts.push(Part::new(Field::Source, truth, wording::list(ranges), held::source(facts)));
    }
    if let Some(ranges) = &rule.forwarded_for {
        let only = Rule { forwarded_for: rule.forwarded_for.clone(), ..nothing() };
        let truth = only.matches_surroundings(facts);
        let part =
            Part::new(Field::Forwarded, truth, wording::list(ranges), held::forwarded(facts));
        parts.push(part.unless_missing(known, Fact::Forwarded));
    }
    if rule.times.is_some() {
        let only = Rule { times: rule.times.clone(), ..nothing() };
        let truth = only.matches_surroundings(facts);
        let wanted = "one of its times".to_owned();
        parts.push(Part::new(Field::Time, truth, wanted, held::now(facts)));
    }
}

fn exceptions(
    examined: &Examined<'_>,
    facts: &Facts<'_>,
    (slash, known): (Slash, &Known),
    parts: &mut Vec<Part>,
) {
    let Except { peers, users, clients, requests, sources, forwarded_for, times } =
        &examined.rule.except;
    if let (Some(written), Some(compiled)) = (peers, examined.not_peers) {
        let truth = Truth::of(!compiled.has(facts.peer), Difference::NotPeer);
        let wanted = format!("none of {}", wording::peers(written));
        parts.push(Part::new(Field::Except("notPeers"), truth, wanted, held::peer(facts)));
    }
    for (name, field, pattern, held) in [
        ("notUsers", Field::User, users, facts.user),
        ("notClients", Field::Client, clients, facts.client),
    ] {
        if pattern.is_some() {
            let asked = users::parts(field, pattern.as_ref(), held, known);
            parts.push(contrary(name, &asked));
        }
    }
    if let Some(patterns) = requests {
        // What is excepted is compared the other way, so that neither widens an allow nor narrows a deny.
        let slash = match slash {
            Slash::Exactly => Slash::Either,
            Slash::Either => Slash::Exactly,
        };
        let (_, asked) = requests::closest(Some(patterns), facts, (slash, known));
        parts.push(contrary("notRequests", &asked));
    }
    let surroundings = [
        ("notSources", sources.as_ref().map(|ranges| wording::list(ranges)), held::source(facts)),
        (
            "notForwardedFor",
            forwarded_for.as_ref().map(|ranges| wording::list(ranges)),
            held::forwarded(facts),
        ),
        ("notTimes", times.as_ref().map(|_| "its times".to_owned()), held::now(facts)),
    ];
    for (name, wanted, held) in surroundings {
        let Some(wanted) = wanted else { continue };
        let mut only = Except::default();
        match name {
            "notSources" => only.sources.clone_from(sources),
            "notForwardedFor" => only.forwarded_for.clone_from(forwarded_for),
            _ => only.times.clone_from(times),
        }
        let truth = only.matches_surroundings(facts);
        let part = Part::new(Field::Except(name), truth, format!("none of {wanted}"), held);
        parts.push(match name {
            "notForwardedFor" => part.unless_missing(known, Fact::Forwarded),
            _ => part,
        });
    }
}

/// A part that holds when not all of these do.
fn contrary(name: &'static str, asked: &[Part]) -> Part {
    let any = |wanted: fn(&State) -> bool| asked.iter().any(|part| wanted(&part.state));
    let unknown = asked.iter().find(|part| matches!(part.state, State::Unknown(_)));
    let missing = asked.iter().find(|part| matches!(part.state, State::NotRecorded(_)));
    let state = if any(|state| *state == State::Unmet) {
        State::Met
    } else if let Some(part) = missing {
        part.state.clone()
    } else {
        unknown.map_or(State::Unmet, |part| part.state.clone())
    };
    let wanted: Vec<&str> = asked.iter().map(|part| part.wanted.as_str()).collect();
    let held: Vec<&str> =
        asked.iter().map(|part| part.held.as_str()).filter(|held| !held.is_empty()).collect();
    Part {
        field: Field::Except(name),
        state,
        wanted: format!("not: {}", wanted.join(", ")),
        held: held.join(", "),
    }
}

fn condition(
    examined: &Examined<'_>,
    when: &crate::policy::Condition,
    (template, reached): (Option<&PathTemplate>, bool),
    (facts, known): (&Facts<'_>, &Known),
) -> Part {
    let text = when.as_str();
    let state = if let Some(fact) = known.leaves_open(text) {
        State::NotRecorded(fact)
    } else if !reached && text.contains("path.") {
        State::NotReached
    } else {
        match when.evaluate(facts, template, examined.environment) {
            Ok(true) => State::Met,
            Ok(false) => State::Unmet,
            Err(reason) => State::Unknown(reason.to_string()),
        }
    };
    let held = held::names(text, facts, template.filter(|_| reached));
    Part { field: Field::When, state, wanted: text.to_owned(), held }
}

fn ask(engine: &str, effect: Effect, facts: &Facts<'_>, known: &Known) -> Part {
    let state = match (facts.engines.answer(engine, facts), effect) {
        _ if known.is_missing(Fact::Engines) => State::NotRecorded(Fact::Engines),
        (EngineAnswer::Yes, _) => State::Met,
        (EngineAnswer::No, _) | (EngineAnswer::Undefined, Effect::Allow) => State::Unmet,
        (EngineAnswer::Undefined, Effect::Deny) => {
            State::Unknown("it says nothing about this request".to_owned())
        }
        (EngineAnswer::Failed(why), _) => State::Unknown(why.into_owned()),
        (EngineAnswer::NotAsked, _) => State::NotRecorded(Fact::Engines),
    };
    Part {
        field: Field::Engine,
        state,
        wanted: format!("the engine {engine} says yes"),
        held: String::new(),
    }
}

impl Part {
    pub(super) fn new(field: Field, truth: Truth, wanted: String, held: String) -> Self {
        let state = match truth {
            Truth::Holds => State::Met,
            Truth::Fails(_) => State::Unmet,
            Truth::Unknown(reason) => State::Unknown(reason.to_string()),
        };
        Self { field, state, wanted, held }
    }

    /// The same, or that it is not recorded, where this kind of fact is missing.
    pub(super) fn unless_missing(self, known: &Known, fact: Fact) -> Self {
        if known.is_missing(fact) {
            return Self { state: State::NotRecorded(fact), held: String::new(), ..self };
        }
        self
    }

    pub(super) fn distance(&self) -> u32 {
        let far = match self.field {
            Field::Path | Field::Request => 20,
            Field::Peer => 12,
            Field::Host | Field::Sni | Field::Except(_) => 6,
            Field::Method | Field::Port | Field::Rpc => 5,
            Field::Source | Field::Forwarded | Field::Header | Field::Query => 4,
            Field::User | Field::Client => 3,
            Field::Time | Field::When | Field::Engine => 2,
            Field::StepUp => 1,
        };
        match self.state {
            // What is not reached hangs on something that is counted already.
            State::Met | State::NotReached => 0,
            State::Unmet => far,
            State::Unknown(_) | State::NotRecorded(_) => 1,
        }
    }

    pub(super) fn json(&self) -> Value {
        let reason = match &self.state {
            State::Unknown(reason) => Some(reason),
            State::Met | State::Unmet | State::NotRecorded(_) | State::NotReached => None,
        };
        json!({
            "field": self.field.name(),
            "state": self.state.code(),
            "wanted": self.wanted,
            "held": self.held,
            "reason": reason,
        })
    }
}

impl State {
    /// A fixed word.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Unmet => "unmet",
            Self::Unknown(_) => "unknown",
            Self::NotRecorded(_) => "not_recorded",
            Self::NotReached => "not_reached",
        }
    }
}

impl Field {
    /// The name of the field as it is written in a rule, or close to it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Peer => "peers",
            Self::Request => "requests",
            Self::Host => "hosts",
            Self::Port => "ports",
            Self::Method => "methods",
            Self::Path => "paths",
            Self::Header => "headers",
            Self::Query => "query",
            Self::Rpc => "rpc",
            Self::Sni => "sni",
            Self::User => "users",
            Self::Client => "clients",
            Self::Source => "sources",
            Self::Forwarded => "forwardedFor",
            Self::Time => "times",
            Self::Except(name) => name,
            Self::Engine => "engine",
            Self::When => "when",
            Self::StepUp => "stepUp",
        }
    }
}
