//! What changes, in groups: what was decided, what would be, how often, and one example of each.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::explain::Record;
use crate::policy::explain::Fact;

/// What the resources make of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Admitted { rule: String },
    Refused { code: String, rule: Option<String> },
    CannotTell { rule: String, fact: Fact },
}

/// Counts, and an example for each group.
#[derive(Debug, Default)]
pub(super) struct Report {
    same: u64,
    before_rules: u64,
    groups: BTreeMap<(Kind, Outcome, Outcome), Group>,
}

/// What kind of a change it is. The order is that of importance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    NowAdmitted,
    NowRefused,
    AnotherRule,
    CannotTell,
}

#[derive(Debug)]
struct Group {
    count: u64,
    example: String,
    request_id: Option<String>,
}

impl Report {
    /// A record that no rule decided: other rules change nothing about it.
    pub(super) fn add_before_rules(&mut self) {
        self.before_rules += 1;
    }

    pub(super) fn add(&mut self, record: &Record, now: Outcome) {
        let was = Outcome::of(record);
        let kind = match (&was, &now) {
            (_, Outcome::CannotTell { .. }) => Kind::CannotTell,
            (Outcome::Refused { .. }, Outcome::Admitted { .. }) => Kind::NowAdmitted,
            (Outcome::Admitted { .. }, Outcome::Refused { .. }) => Kind::NowRefused,
            (was, now) if was == now => {
                self.same += 1;
                return;
            }
            (_, _) => Kind::AnotherRule,
        };
        let group = self.groups.entry((kind, was, now)).or_insert_with(|| Group {
            count: 0,
            example: record.shown(),
            request_id: record.request_id.clone(),
        });
        group.count += 1;
    }

    /// 0 nothing changes, 1 something does, 2 it cannot be told for some.
    pub(super) fn exit_code(&self) -> ExitCode {
        let count = |kind| self.count(kind) > 0;
        if [Kind::NowAdmitted, Kind::NowRefused, Kind::AnotherRule].into_iter().any(count) {
            ExitCode::from(1)
        } else if count(Kind::CannotTell) {
            ExitCode::from(2)
        } else {
            ExitCode::SUCCESS
        }
    }

    fn count(&self, kind: Kind) -> u64 {
        self.groups.iter().filter(|((of, _, _), _)| *of == kind).map(|(_, group)| group.count).sum()
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let judged = self.same + self.groups.values().map(|group| group.count).sum::<u64>();
        line(&mut text, &format!("{judged} decisions judged again: {} the same", self.same));
        for kind in Kind::ALL {
            let count = self.count(kind);
            if count == 0 {
                continue;
            }
            line(&mut text, "");
            line(&mut text, &format!("{}: {count}", kind.words()));
            for ((_, was, now), group) in self.groups.iter().filter(|((of, _, _), _)| *of == kind) {
                line(&mut text, &format!("  {} x  {was}", group.count));
                line(&mut text, &format!("     now  {now}"));
                let id = group.request_id.as_deref().map(|id| format!(" (request {id})"));
                line(&mut text, &format!("     e.g. {}{}", group.example, id.unwrap_or_default()));
            }
        }
        if self.before_rules > 0 {
            line(&mut text, "");
            line(
                &mut text,
                &format!(
                    "{} were refused before any rule was looked at; rules change nothing about them",
                    self.before_rules
                ),
            );
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let groups: Vec<Value> = self
            .groups
            .iter()
            .map(|((kind, was, now), group)| {
                json!({
                    "kind": kind.code(),
                    "was": was.json(),
                    "now": now.json(),
                    "count": group.count,
                    "example": { "request": group.example, "requestId": group.request_id },
                })
            })
            .collect();
        json!({
            "same": self.same,
            "nowAdmitted": self.count(Kind::NowAdmitted),
            "nowRefused": self.count(Kind::NowRefused),
            "anotherRule": self.count(Kind::AnotherRule),
            "cannotTell": self.count(Kind::CannotTell),
            "beforeRules": self.before_rules,
            "groups": groups,
        })
    }
}

impl Kind {
    const ALL: [Self; 4] =
        [Self::NowAdmitted, Self::NowRefused, Self::AnotherRule, Self::CannotTell];

    fn words(self) -> &'static str {
        match self {
            Self::NowAdmitted => "would be admitted now",
            Self::NowRefused => "would be refused now",
            Self::AnotherRule => "the same outcome for another reason",
            Self::CannotTell => "cannot be told",
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::NowAdmitted => "now_admitted",
            Self::NowRefused => "now_refused",
            Self::AnotherRule => "another_rule",
            Self::CannotTell => "cannot_tell",
        }
    }
}

impl Outcome {
    fn of(record: &Record) -> Self {
        match record.decision.as_str() {
            "allow" => Self::Admitted { rule: record.rule.clone().unwrap_or_default() },
            _ => Self::Refused {
                code: record.code.clone().unwrap_or_default(),
                rule: record.rule.clone(),
            },
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Admitted { rule } => json!({ "decision": "allow", "rule": rule }),
            Self::Refused { code, rule } => {
                json!({ "decision": "deny", "code": code, "rule": rule })
            }
            Self::CannotTell { rule, fact } => {
                json!({ "decision": "cannot_tell", "rule": rule, "missing": fact.words() })
            }
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Admitted { rule } => write!(f, "admitted by {rule}"),
            Self::Refused { code, rule: None } => write!(f, "refused: {code}"),
            Self::Refused { code, rule: Some(rule) } => write!(f, "refused: {code}, by {rule}"),
            Self::CannotTell { rule, fact } => {
                write!(
                    f,
                    "not known: {rule} depends on {}, which the record does not hold",
                    fact.words()
                )
            }
        }
    }
}

/// Writing to a text cannot fail.
fn line(text: &mut String, line: &str) {
    let shown: String = line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let _infallible = writeln!(text, "{shown}");
}
