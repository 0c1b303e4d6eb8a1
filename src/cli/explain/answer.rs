//! What is said of a request: the decision, the rule that made it, the rule that came closest.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Site;
use super::given::Given;
use super::record::Record;
use crate::authz::{CODES, Ending, Rehearsal, Rehearsed, Supposed, rehearse};
use crate::cli::policy::test::envoy_check;
use crate::policy::explain::{Examiner, RuleReport, Standing};
use crate::policy::suite::Target;
use crate::policy::{Effect, Mode, UserFacts, UserParts};

/// The answer to "why".
pub(super) struct Answer {
    /// What is asked for: `GET /orders`.
    pub(super) request: String,
    /// Who calls, each with its word.
    pub(super) callers: Vec<(&'static str, String)>,
    pub(super) decision: Decision,
    /// The rule that decided, by its whole name.
    pub(super) rule: Option<String>,
    /// Every rule, where there are resources.
    pub(super) examiner: Option<Examiner>,
    /// What is to be known about this answer.
    pub(super) remarks: Vec<String>,
}

/// What was decided.
pub(in crate::cli) enum Decision {
    Admitted,
    Refused {
        code: String,
        status: Option<u16>,
        reason: String,
        hint: Option<String>,
        stage: Stage,
    },
}

/// Where a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Stage {
    /// Before a rule was looked at: who calls is not proven, or what is asked could be read in two ways.
    BeforeRules,
    ByRules,
}

impl Answer {
    /// Judges what a person described.
    pub(super) fn to_given(mut given: Given, site: &Site) -> anyhow::Result<Self> {
        let names = site.resources.providers().names();
        for user in [&mut given.user, &mut given.client].into_iter().flatten() {
            name_provider(user, &names)?;
        }
        let (request, callers) = (shown(&given.target), callers(&given));
        let (decision, rule, examiner) = judge(given, site);
        Ok(Self { request, callers, decision, rule, examiner: Some(examiner), remarks: Vec::new() })
    }

    /// Tells what a record says, and examines the rules with what it knows of the request.
    pub(super) fn to_record(record: &Record, site: Option<&Site>) -> anyhow::Result<Self> {
        let given = record.given()?;
        let mut answer = Self {
            request: shown(&given.target),
            callers: callers(&given),
            decision: Decision::of(record),
            rule: record.rule.clone(),
            examiner: None,
            remarks: Vec::new(),
        };
        let Some(site) = site.filter(|_| record.is_by_rules()) else {
            if record.is_by_rules() {
                answer.remarks.push(
                    "say by which rules it was judged (--config SIDECAR.yaml) to see which came closest".to_owned(),
                );
            }
            return Ok(answer);
        };
        if record.revision.as_deref().is_some_and(|revision| !is_of(revision, site)) {
            answer.remarks.push(
                "the resources have changed since this decision: rules are examined as they are now".to_owned(),
            );
        }
        let (_, _, examiner) = judge(given, site);
        if let Some(rule) = answer.rule.as_deref().filter(|name| examiner.rule(name).is_none()) {
            answer.remarks.push(format!("the rule {rule} is not among the resources any more"));
        }
        answer.examiner = Some(examiner);
        Ok(answer)
    }

    /// The report of the rule that decided.
    pub(super) fn deciding(&self) -> Option<&RuleReport> {
        self.examiner.as_ref()?.rule(self.rule.as_deref()?)
    }

    /// The rule that came closest to admitting a request that is refused by the rules.
    pub(super) fn nearest(&self) -> Option<&RuleReport> {
        match &self.decision {
            Decision::Refused { stage: Stage::ByRules, .. } => self.examiner.as_ref()?.nearest(),
            Decision::Refused { .. } | Decision::Admitted => None,
        }
    }

    /// Deny rules that would still refuse it once an allow rule matched.
    pub(super) fn denies(&self) -> impl Iterator<Item = &RuleReport> {
        self.examiner.iter().flat_map(|examiner| &examiner.rules).filter(|rule| {
            rule.mode == Mode::Enforce
                && rule.effect == Effect::Deny
                && rule.standing() == Standing::Matches
        })
    }

    /// 0 admitted, 1 refused.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self.decision {
            Decision::Admitted => ExitCode::SUCCESS,
            Decision::Refused { .. } => ExitCode::from(1),
        }
    }

    pub(super) fn json(&self) -> Value {
        let callers: serde_json::Map<String, Value> =
            self.callers.iter().map(|(word, who)| ((*word).to_owned(), json!(who))).collect();
        let rules: Option<Vec<Value>> = self
            .examiner
            .as_ref()
            .map(|examiner| examiner.rules.iter().map(RuleReport::json).collect());
        let mut answer = json!({
            "decision": "allow",
            "request": self.request,
            "callers": callers,
            "rule": self.rule,
            "at": self.deciding().map(|rule| &rule.at),
            "nearest": self.nearest().map(RuleReport::json),
            "rules": rules,
            "remarks": self.remarks,
        });
        if let (Decision::Refused { code, status, reason, hint, stage }, Value::Object(fields)) =
            (&self.decision, &mut answer)
        {
            let more = [
                ("decision", json!("deny")),
                ("code", json!(code)),
                ("status", json!(status)),
                ("reason", json!(reason)),
                ("meaning", json!(meaning(code))),
                ("hint", json!(hint)),
                ("beforeRules", json!(*stage == Stage::BeforeRules)),
                (
                    "advice",
                    json!((*stage == Stage::BeforeRules).then(|| super::advice::about(code))),
                ),
            ];
            fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
        }
        answer
    }
}

impl Decision {
    fn of(record: &Record) -> Self {
        if record.decision == "allow" {
            return Self::Admitted;
        }
        let code = record.code.clone().unwrap_or_default();
        let stage = if record.is_by_rules() { Stage::ByRules } else { Stage::BeforeRules };
        Self::Refused {
            status: status(&code),
            reason: record.reason.clone().unwrap_or_default(),
            hint: record.hint.clone(),
            stage,
            code,
        }
    }
}

/// Whether a revision names these resources; the count of changed keys behind the dot says nothing of rules.
fn is_of(revision: &str, site: &Site) -> bool {
    let digest = revision.split_once('.').map_or(revision, |(digest, _)| digest);
    digest == site.resources.digest()
}

/// What a code means.
pub(super) fn meaning(code: &str) -> Option<&'static str> {
    CODES.iter().find(|known| known.name == code).map(|known| known.meaning)
}

/// The status that goes with a code.
fn status(code: &str) -> Option<u16> {
    let status = CODES.iter().find(|known| known.name == code)?.status;
    Some(status.http())
}

pub(in crate::cli) fn judge(given: Given, site: &Site) -> (Decision, Option<String>, Examiner) {
    let Given { target, peer, user, client, now, known } = given;
    let mut examiner = Examiner::new(known);
    let snapshot = site.resources.snapshot();
    let callers =
        Supposed { peer, user: user.map(UserFacts::new), client: client.map(UserFacts::new) };
    let rehearsed = envoy_check(&target, |check| {
        let rehearsal = Rehearsal { check, callers, now };
        let Rehearsed { ending, code, rule, reason } =
            rehearse(&snapshot, rehearsal, &mut examiner);
        (ending, code, rule.map(|rule| rule.as_str().to_owned()), reason)
    });
    let (ending, code, rule, reason) = rehearsed;
    let decision = match ending {
        Ending::Passes(_) => Decision::Admitted,
        Ending::Refused(refusal) => Decision::Refused {
            code: code.to_owned(),
            status: Some(refusal.status),
            reason: reason.unwrap_or_default(),
            hint: None,
            // Rules that were not examined were not reached.
            stage: if examiner.was_reached() { Stage::ByRules } else { Stage::BeforeRules },
        },
    };
    (decision, rule, examiner)
}

/// The provider of a user of whom it was not said: the only one there is.
fn name_provider(user: &mut UserParts, names: &[String]) -> anyhow::Result<()> {
    if user.provider.is_empty() {
        let only = match names {
            [only] => Some(only),
            _ => None,
        };
        user.provider.clone_from(only.with_context(|| {
            format!(
                "say with --provider which IdentityProvider vouches for {}: {}",
                user.subject,
                names.join(", ")
            )
        })?);
    }
    Ok(())
}

fn shown(target: &Target) -> String {
    match target {
        Target::Request(request) => format!("{} {}", request.method, request.path),
        Target::Connection(_) => "a TCP connection".to_owned(),
    }
}

fn callers(given: &Given) -> Vec<(&'static str, String)> {
    let user = |user: &Option<UserParts>| {
        user.as_ref().map(|user| match user.provider.as_str() {
            "" => user.subject.clone(),
            provider => format!("{}, vouched for by {provider}", user.subject),
        })
    };
    let peer = given.peer.as_ref().map(|peer| peer.as_str().to_owned());
    let mut callers = vec![
        ("peer", peer.unwrap_or_else(|| "none: no workload certificate".to_owned())),
        ("user", user(&given.user).unwrap_or_else(|| "none: nobody is signed in".to_owned())),
    ];
    if let Some(client) = user(&given.client) {
        callers.push(("client", client));
    }
    callers
}
