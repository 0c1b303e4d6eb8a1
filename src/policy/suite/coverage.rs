//! Which rules decided a case.

use std::collections::BTreeMap;

use crate::policy::access::AccessPolicy;
use crate::policy::compiled::RuleName;

/// Where a rule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleAt {
    /// Its whole name: `namespace/policy#rule`.
    pub name: String,
    /// The file.
    pub source: String,
    /// The line, counted from one, where it is known.
    pub line: Option<u64>,
}

/// The rules of everything that was tested, and which of them decided a case.
///
/// Two files may hold rules of one name (two sites that are tested in one run), so a rule is known by its file too.
#[derive(Debug, Default)]
pub struct Coverage {
    rules: BTreeMap<Key, Seen>,
}

/// File, then name.
type Key = (String, String);

#[derive(Debug)]
struct Seen {
    line: Option<u64>,
    decided: Decided,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decided {
    Never,
    Once,
}

impl Coverage {
    /// Counts the rules of these policies, each once however often it is added.
    pub fn add(&mut self, policies: &[AccessPolicy]) {
        for policy in policies {
            let source = policy.origin().source();
            for rule in &policy.spec.rules {
                let name = format!("{}#{}", policy.metadata, rule.name);
                self.rules
                    .entry((source.to_owned(), name))
                    .or_insert(Seen { line: rule.origin().line(), decided: Decided::Never });
            }
        }
    }

    /// This rule, of one of these policies, decided a case.
    pub fn decided(&mut self, rule: &RuleName, policies: &[AccessPolicy]) {
        let policy = policies.iter().find(|policy| policy.metadata.to_string() == rule.policy());
        let Some(source) = policy.map(|policy| policy.origin().source()) else { return };
        if let Some(seen) = self.rules.get_mut(&(source.to_owned(), rule.as_str().to_owned())) {
            seen.decided = Decided::Once;
        }
    }

    /// How many rules there are.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// How many of them decided a case.
    #[must_use]
    pub fn covered(&self) -> usize {
        self.rules.values().filter(|seen| seen.decided == Decided::Once).count()
    }

    /// Per cent, rounded down: 100 is all of them. No rules are covered wholly.
    #[must_use]
    pub fn percent(&self) -> usize {
        (self.covered() * 100).checked_div(self.rules()).unwrap_or(100)
    }

    /// Those that decided none, by file and name.
    pub fn uncovered(&self) -> impl Iterator<Item = RuleAt> {
        self.rules.iter().filter(|(_, seen)| seen.decided == Decided::Never).map(
            |((source, name), seen)| RuleAt {
                name: name.clone(),
                source: source.clone(),
                line: seen.line,
            },
        )
    }
}
