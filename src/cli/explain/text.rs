//! The answer for a person, understood at first reading: what came of it, who called, the closest rule, what to change.

use std::fmt::Write as _;

use super::advice;
use super::answer::{Answer, Decision, Stage, meaning};
use crate::policy::explain::{Field, Part, RuleReport, Standing, State};
use crate::policy::{Effect, Mode};

/// Writes it.
pub(super) fn write(answer: &Answer, all: bool) -> String {
    let mut text = String::new();
    heading(&mut text, answer);
    match &answer.decision {
        Decision::Admitted => decided(&mut text, answer, "admitted by"),
        Decision::Refused { stage: Stage::BeforeRules, code, hint, .. } => {
            line(&mut text, "");
            line(&mut text, "It was refused before any rule was looked at.");
            if let Some(meaning) = meaning(code) {
                line(&mut text, &format!("  means   {}", plain(meaning)));
            }
            if let Some(hint) = hint {
                line(&mut text, &format!("  hint    {}", plain(hint)));
            }
            line(&mut text, &format!("  to do   {}", advice::about(code)));
        }
        Decision::Refused { stage: Stage::ByRules, .. } => refused(&mut text, answer),
    }
    if all {
        every(&mut text, answer);
    }
    for remark in &answer.remarks {
        line(&mut text, "");
        line(&mut text, &format!("note: {}", plain(remark)));
    }
    text
}

fn heading(text: &mut String, answer: &Answer) {
    match &answer.decision {
        Decision::Admitted => line(text, &format!("ADMITTED  {}", plain(&answer.request))),
        Decision::Refused { code, status, reason, .. } => {
            let status = status.map(|status| format!("{status} ")).unwrap_or_default();
            line(text, &format!("REFUSED  {}  ({status}{})", plain(&answer.request), plain(code)));
            line(text, &format!("  why     {}", plain(reason)));
        }
    }
    for (word, who) in &answer.callers {
        line(text, &format!("  {word:<7} {}", plain(who)));
    }
}

/// The rule that decided, with each of its parts.
fn decided(text: &mut String, answer: &Answer, how: &str) {
    match (answer.deciding(), &answer.rule) {
        (Some(rule), _) => {
            line(text, "");
            line(text, &format!("{how} {}  ({})", rule.name, rule.at));
            parts(text, rule);
        }
        (None, Some(name)) => {
            line(text, "");
            line(text, &format!("{how} {}", plain(name)));
        }
        (None, None) => {}
    }
}

fn refused(text: &mut String, answer: &Answer) {
    let decides = answer.deciding();
    let open = |rule: &RuleReport| rule.standing() == Standing::Differs;
    decided(
        text,
        answer,
        match decides.map(|rule| (rule.effect, open(rule))) {
            Some((Effect::Allow, true)) => {
                "it would be admitted, but for how the user signed in, by"
            }
            Some((Effect::Allow, false)) => "it cannot be told whether it is admitted by",
            Some((Effect::Deny, _)) | None => "refused by",
        },
    );
    let Some(nearest) = answer.nearest() else {
        if answer.examiner.is_some() {
            line(text, "");
            line(text, "There is no allow rule for this workload.");
        }
        return;
    };
    if nearest.standing() == Standing::Matches {
        line(text, "");
        line(
            text,
            &format!("without that it would be admitted by {}  ({})", nearest.name, nearest.at),
        );
        return;
    }
    if decides.is_none_or(|rule| rule.name != nearest.name) {
        line(text, "");
        line(text, &format!("closest is allow {}  ({})", nearest.name, nearest.at));
        parts(text, nearest);
    }
    line(text, "");
    line(text, "to be admitted by it");
    for change in nearest.parts.iter().filter_map(change) {
        line(text, &format!("  - {}", plain(&change)));
    }
    for deny in answer.denies() {
        line(text, &format!("  - deny {} ({}) must not match any more", deny.name, deny.at));
    }
}

fn parts(text: &mut String, rule: &RuleReport) {
    for part in &rule.parts {
        let mark = match part.state {
            State::Met => "ok",
            State::Unmet => "NO",
            State::Unknown(_) | State::NotRecorded(_) | State::NotReached => "?",
        };
        line(text, &format!("  {mark:<3} {:<9} {}", part.field.name(), plain(&part.wanted)));
        let why = match &part.state {
            State::Met => String::new(),
            State::Unmet if part.held.is_empty() => String::new(),
            State::Unmet => format!("now: {}", part.held),
            State::Unknown(reason) => reason.clone(),
            State::NotRecorded(fact) => format!("the record does not hold {}", fact.words()),
            State::NotReached => "hangs on the path".to_owned(),
        };
        if !why.is_empty() {
            line(text, &format!("                {}", plain(&why)));
        }
    }
}

/// What would have to change for this part to match.
fn change(part: &Part) -> Option<String> {
    let Part { field, state, wanted, held } = part;
    let what = match field {
        Field::Peer => format!("the caller must be {wanted}"),
        Field::Request => format!("it must be {wanted}"),
        Field::Host => format!("the host must be {wanted}"),
        Field::Port => format!("the port must be {wanted}"),
        Field::Method => format!("the method must be {wanted}"),
        Field::Path => format!("the path must be like {wanted}"),
        Field::Header => format!("there must be the header {wanted}"),
        Field::Query => format!("the query must have {wanted}"),
        Field::Rpc => format!("the call must be {wanted}"),
        Field::Sni => format!("the TLS server name must be {wanted}"),
        Field::User => format!("the user must have {wanted}"),
        Field::Client => format!("the client must have {wanted}"),
        Field::Source => format!("it must come from {wanted}"),
        Field::Forwarded => format!("the client must be at {wanted}"),
        Field::Time => format!("it must be {wanted}"),
        Field::Except(name) => format!("{name} must not match ({wanted})"),
        Field::Engine => format!("it must be that {wanted}"),
        Field::When => format!("{wanted} must be true"),
        Field::StepUp => format!("the user must have {wanted}"),
    };
    match state {
        State::Met => None,
        State::NotRecorded(_) => Some(format!("{what}; the record does not tell")),
        State::Unknown(_) | State::NotReached => Some(what),
        State::Unmet if held.is_empty() => Some(what),
        State::Unmet => Some(format!("{what}; now: {held}")),
    }
}

fn every(text: &mut String, answer: &Answer) {
    let Some(examiner) = &answer.examiner else { return };
    line(text, "");
    line(text, "every rule");
    for rule in &examiner.rules {
        let effect = match rule.effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        };
        let standing = rule.standing().code().replace('_', " ");
        let audit = match rule.mode {
            Mode::Enforce => "",
            Mode::Audit => ", in audit",
        };
        line(text, &format!("{effect} {}  ({}){audit}: {standing}", rule.name, rule.at));
        parts(text, rule);
    }
}

/// Text of strangers, without what would move the cursor or hide something.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Writing to a text cannot fail.
fn line(text: &mut String, line: &str) {
    let _infallible = writeln!(text, "{line}");
}
