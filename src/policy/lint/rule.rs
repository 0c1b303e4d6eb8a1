//! One rule as it is written, and what can be told of it alone.

use serde_json::Value;

use super::cover::{Match, TURNED, field_covers};
use super::finding::{Finding, Lint};
use super::read::Policy;
use super::texts;
use crate::policy::field::FieldPath;
use crate::policy::rule::{self, Effect};

/// Who calls: a rule that asks for any of these is not open to everybody.
const WHO: [&str; 6] = ["peers", "users", "clients", "sources", "forwardedFor", "engine"];
/// The words of conditions for who calls.
const WHO_IN_CONDITIONS: [&str; 3] = ["peer", "user", "client"];
/// What narrows down that any peer may.
const NARROWING: [&str; 5] = ["users", "clients", "when", "engine", "stepUp"];
const READING: [&str; 4] = ["GET", "HEAD", "OPTIONS", "TRACE"];

/// One rule.
pub(super) struct Rule<'p> {
    pub(super) policy: &'p Policy,
    pub(super) effect: Effect,
    /// Below `allow` or `deny`.
    pub(super) part: &'p Match,
    /// Its place in the document.
    pub(super) at: FieldPath,
    name: &'p str,
}

impl<'p> Rule<'p> {
    pub(super) fn new(
        policy: &'p Policy,
        rule: &'p rule::Rule,
        written: &'p Value,
        at: FieldPath,
    ) -> Option<Self> {
        let part = written.get(word(rule.effect))?.as_object()?;
        Some(Self { policy, effect: rule.effect, part, at, name: &rule.name })
    }

    /// `namespace/policy#rule`.
    pub(super) fn full_name(&self) -> String {
        format!("{}#{}", self.policy.name(), self.name)
    }

    /// The place of a field below `allow` or `deny`.
    pub(super) fn at(&self, field: &str) -> FieldPath {
        self.at.field(word(self.effect)).field(field)
    }

    pub(super) fn finding(
        &self,
        lint: Lint,
        at: &FieldPath,
        message: impl Into<String>,
    ) -> Finding {
        Finding { subject: self.full_name(), ..self.policy.finding(lint, at, message) }
    }

    /// The names of providers that it asks for.
    pub(super) fn providers(&self) -> impl Iterator<Item = &'p str> + use<'p> {
        let part = self.part;
        let fields = ["users", "clients", "notUsers", "notClients"].into_iter();
        fields.flat_map(|field| texts(part.get(field).and_then(|asked| asked.get("providers"))))
    }

    /// True when it asks for users or clients without saying whose.
    pub(super) fn asks_for_any_provider(&self) -> bool {
        let without_names = |field| {
            self.part.get(field).is_some_and(|asked| {
                asked.get("providers").is_none() && asked.get("anonymous").is_none()
            })
        };
        let asked = ["users", "clients"].into_iter().any(without_names);
        let is_named = self.part.contains_key("users") || self.part.contains_key("clients");
        asked || (!is_named && (self.condition_names("user") || self.condition_names("client")))
    }

    /// What can be told of it alone.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut found = self.contradictions();
        if self.effect == Effect::Allow {
            found.extend(self.open());
            found.extend(self.any_peer_writes());
        }
        found
    }

    fn contradictions(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for (plain, turned) in TURNED {
            let (Some(wanted), Some(unwanted)) = (self.part.get(plain), self.part.get(turned))
            else {
                continue;
            };
            if field_covers(plain, unwanted, wanted, Effect::Allow) {
                let message = format!("matches nothing: `{turned}` takes away all of `{plain}`");
                found.push(self.finding(Lint::NeverMatches, &self.at(turned), message));
            }
        }
        let without_peer = texts(self.part.get("peers")).eq(["none"]);
        let anonymous = self.part.get("users").and_then(|users| users.get("anonymous"));
        for (is_absent, word, because) in [
            (without_peer, "peer", "`peers: [none]` leaves no peer"),
            (anonymous.is_some(), "user", "`anonymous` leaves no user"),
        ] {
            if is_absent && self.condition_names(word) {
                let message = format!("matches nothing: {because} for the condition to ask about");
                found.push(self.finding(Lint::NeverMatches, &self.at("when"), message));
            }
        }
        if self.condition().is_some_and(|when| when.trim() == "false") {
            let message = "matches nothing: the condition is never true";
            found.push(self.finding(Lint::NeverMatches, &self.at("when"), message));
        }
        found
    }

    fn open(&self) -> Option<Finding> {
        let asks = WHO.iter().any(|field| self.part.contains_key(*field))
            || WHO_IN_CONDITIONS.iter().any(|word| self.condition_names(word));
        (!asks).then(|| {
            let message = "asks neither for peers nor for users: anybody may, even anonymously";
            let mut finding = self.finding(Lint::Open, &self.at, message);
            finding.hint = Some(format!(
                "if that is meant, annotate the policy with {}: {}",
                super::IGNORE,
                Lint::Open.id()
            ));
            finding
        })
    }

    fn any_peer_writes(&self) -> Option<Finding> {
        let is_narrow = NARROWING.iter().any(|field| self.part.contains_key(*field));
        let any_peer = texts(self.part.get("peers")).any(|peer| peer == "*");
        if is_narrow || !any_peer {
            return None;
        }
        let writes = |request: &Value| match request.get("methods") {
            None => true,
            methods => texts(methods).any(|method| !READING.contains(&method)),
        };
        let all = match self.part.get("requests").and_then(Value::as_array) {
            None => true,
            Some(requests) => requests.iter().any(writes),
        };
        all.then(|| {
            let message = "any workload of the mesh may write, whoever it calls for";
            self.finding(Lint::AnyPeerWrites, &self.at("peers"), message)
        })
    }

    fn condition(&self) -> Option<&'p str> {
        self.part.get("when").and_then(Value::as_str)
    }

    /// True when the condition asks about `peer`, `user` or `client`.
    fn condition_names(&self, word: &str) -> bool {
        let Some(condition) = self.condition() else { return false };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        condition.match_indices(word).any(|(at, _)| {
            let before = condition.get(..at).and_then(|text| text.chars().next_back());
            let behind = condition.get(at + word.len()..).and_then(|text| text.chars().next());
            !before.is_some_and(is_name) && matches!(behind, Some('.' | '['))
        })
    }
}

pub(super) fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
    }
}
