//! Why a request is admitted or refused: every rule, part by part.
//!
//! Each part is compared by the function that decides in production, also for rules that the index never visits. A
//! [`Recorder`] makes the examination from the facts of the one decision, so that what is explained is what was
//! decided.

mod held;
mod known;
mod parts;
mod requests;
mod users;
pub(super) mod wording;

use serde_json::{Value, json};

pub use known::{Fact, Known};
pub use parts::{Field, Part, State};

use super::access::Mode;
use super::decide::{Fate, Recorder};
use super::facts::Facts;
use super::rule::Effect;
use super::{PolicySet, RuleName};

/// How far away a rule is that names no path and does not match.
const NAMES_NO_PATH: u32 = 10;

/// A rule, part by part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleReport {
    /// Its whole name.
    pub name: String,
    /// What it does.
    pub effect: Effect,
    /// The file and line where it is written.
    pub at: String,
    /// Whether it decides.
    pub mode: Mode,
    /// What it asks, in the order in which it is told.
    pub parts: Vec<Part>,
}

/// What a rule comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// All of its parts match.
    Matches,
    /// One does not.
    Differs,
    /// None is known not to match, and one has no answer.
    Undecidable,
    /// None is known not to match, and for one the facts are missing.
    CannotTell,
}

/// Examines every rule while a decision is made.
#[derive(Debug)]
pub struct Examiner {
    known: Known,
    reached: Reached,
    /// What became of each rule, in the order in which they are named.
    pub rules: Vec<RuleReport>,
}

/// Whether the rules were asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    Yes,
    No,
}

impl Examiner {
    /// An examiner that takes `known` for known, and nothing else.
    #[must_use]
    pub fn new(known: Known) -> Self {
        Self { known, reached: Reached::No, rules: Vec::new() }
    }

    /// True when the rules were asked at all.
    #[must_use]
    pub fn was_reached(&self) -> bool {
        self.reached == Reached::Yes
    }

    /// The report of the rule of this name.
    #[must_use]
    pub fn rule(&self, name: &str) -> Option<&RuleReport> {
        self.rules.iter().find(|rule| rule.name == name)
    }

    /// The allow rule that comes closest to matching, or that matches. Of two as close the first.
    #[must_use]
    pub fn nearest(&self) -> Option<&RuleReport> {
        self.rules
            .iter()
            .filter(|rule| rule.mode == Mode::Enforce && rule.effect == Effect::Allow)
            .min_by_key(|rule| rule.distance())
    }
}

impl Recorder for Examiner {
    const EVERY: bool = true;

    fn candidate(&mut self, _: &RuleName, _: Effect, _: &Fate) {}

    fn judged(&mut self, set: &PolicySet, facts: &Facts<'_>) {
        self.reached = Reached::Yes;
        self.rules = set
            .examine(facts)
            .iter()
            .map(|examined| RuleReport {
                name: examined.name.as_str().to_owned(),
                effect: examined.rule.effect,
                at: examined.rule.origin().to_string(),
                mode: examined.mode,
                parts: parts::of(examined, facts, &self.known),
            })
            .collect();
    }
}

impl RuleReport {
    /// What it comes to.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let is = |wanted: fn(&State) -> bool| self.parts.iter().any(|part| wanted(&part.state));
        if is(|state| matches!(state, State::Unmet)) {
            Standing::Differs
        } else if is(|state| matches!(state, State::NotRecorded(_) | State::NotReached)) {
            Standing::CannotTell
        } else if is(|state| matches!(state, State::Unknown(_))) {
            Standing::Undecidable
        } else {
            Standing::Matches
        }
    }

    /// How much would have to change for it to match: another path is further away than another role, and a rule that
    /// names no path says least of this request.
    fn distance(&self) -> u32 {
        let parts: u32 = self.parts.iter().map(Part::distance).sum();
        let names_path = self.parts.iter().any(|part| part.field == Field::Path);
        if parts == 0 || names_path { parts } else { parts + NAMES_NO_PATH }
    }

    /// As a JSON object.
    #[must_use]
    pub fn json(&self) -> Value {
        let effect = match self.effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        };
        let parts: Vec<Value> = self.parts.iter().map(Part::json).collect();
        json!({
            "rule": self.name,
            "effect": effect,
            "at": self.at,
            "mode": match self.mode {
                Mode::Enforce => "Enforce",
                Mode::Audit => "Audit",
            },
            "standing": self.standing().code(),
            "parts": parts,
        })
    }
}

impl Standing {
    /// A fixed word.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Matches => "matches",
            Self::Differs => "differs",
            Self::Undecidable => "undecidable",
            Self::CannotTell => "cannot_tell",
        }
    }
}
