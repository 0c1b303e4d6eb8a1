//! What `hopgate token inspect` says: the token, each check, the outcome. For people and for machines.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::show;

/// A token and what was found out about it. Its signature is not in here.
pub(super) struct Report {
    /// What the header says; nothing when it cannot be read.
    pub(super) header: Option<Map<String, Value>>,
    /// What the payload says; nothing when it cannot be read.
    pub(super) claims: Option<Map<String, Value>>,
    /// The provider whose rules were applied.
    pub(super) provider: Option<String>,
    /// In the order in which they are made.
    pub(super) checks: Vec<Check>,
    pub(super) outcome: Outcome,
    /// When it was judged.
    pub(super) now: SystemTime,
}

/// One check.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) result: CheckResult,
}

/// How a check went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CheckResult {
    Passed,
    /// With the operator's reason.
    Failed(String),
    /// An earlier one failed.
    NotReached,
}

/// What it comes to.
pub(super) enum Outcome {
    /// Verified, and whom it speaks for.
    Verified(Map<String, Value>),
    Refused(Reason),
    /// Keys that could not be fetched, an endpoint that was not asked.
    CouldNotTell(Reason),
}

/// Why not.
pub(super) struct Reason {
    pub(super) code: String,
    pub(super) reason: String,
    /// What to look at or to do.
    pub(super) hint: Option<String>,
}

impl Report {
    /// 0 verified, 1 refused, 2 could not tell.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self.outcome {
            Outcome::Verified(_) => ExitCode::SUCCESS,
            Outcome::Refused(_) => ExitCode::from(1),
            Outcome::CouldNotTell(_) => ExitCode::from(2),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (title, part) in
            [("header", &self.header), ("claims, as the token states them", &self.claims)]
        {
            if let Some(part) = part {
                text.push_str(title);
                text.push('\n');
                text.push_str(&show::members(part, self.now));
            }
        }
        match &self.provider {
            Some(provider) => line(&mut text, &format!("checks, by the provider {provider}")),
            None => line(&mut text, "checks"),
        }
        for check in &self.checks {
            let shown = match &check.result {
                CheckResult::Passed => format!("  passed       {}", check.name),
                CheckResult::Failed(why) => {
                    format!("  FAILED       {}: {}", check.name, show::plain(why))
                }
                CheckResult::NotReached => format!("  not reached  {}", check.name),
            };
            line(&mut text, &shown);
        }
        let (word, reason) = match &self.outcome {
            Outcome::Verified(identity) => {
                line(&mut text, "verified: this is what policies are asked about");
                text.push_str(&show::members(identity, self.now));
                return text;
            }
            Outcome::Refused(reason) => ("refused", reason),
            Outcome::CouldNotTell(reason) => ("could not tell", reason),
        };
        line(&mut text, &format!("{word}: {} ({})", show::plain(&reason.reason), reason.code));
        if let Some(hint) = &reason.hint {
            line(&mut text, &format!("hint: {}", show::plain(hint)));
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let part = |part: &Option<Map<String, Value>>| part.as_ref().map(show::redacted);
        let checks: Vec<Value> = self.checks.iter().map(Check::json).collect();
        let (outcome, identity, reason) = match &self.outcome {
            Outcome::Verified(identity) => ("verified", Some(identity), None),
            Outcome::Refused(reason) => ("refused", None, Some(reason)),
            Outcome::CouldNotTell(reason) => ("could_not_tell", None, Some(reason)),
        };
        json!({
            "outcome": outcome,
            "code": reason.map(|reason| &reason.code),
            "reason": reason.map(|reason| &reason.reason),
            "hint": reason.and_then(|reason| reason.hint.as_ref()),
            "provider": self.provider,
            "identity": identity,
            "header": part(&self.header),
            "claims": part(&self.claims),
            "checks": checks,
        })
    }
}

impl Check {
    fn json(&self) -> Value {
        match &self.result {
            CheckResult::Passed => json!({"check": self.name, "result": "passed"}),
            CheckResult::Failed(why) => {
                json!({"check": self.name, "result": "failed", "reason": why})
            }
            CheckResult::NotReached => json!({"check": self.name, "result": "not_reached"}),
        }
    }
}

/// Writing to a text cannot fail.
fn line(text: &mut String, line: &str) {
    let _infallible = writeln!(text, "{line}");
}
