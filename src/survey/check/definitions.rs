//! The definitions of our kinds: there, served, and those of this version.

use serde_json::Value;

use super::count;
use crate::kube::NotSeen;
use crate::kube::crd::{DEFINITIONS, VERSION};
use crate::survey::finding::Finding;
use crate::survey::seen::Seen;

const CHECK: &str = "definitions/kinds";
const APPLY: &str = "hopgate crds | kubectl apply --server-side --force-conflicts -f -";

/// How one definition stands.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Absent,
    Unreadable(NotSeen),
    NotServed(String),
    Other,
    Same,
}

pub(super) fn before(definitions: &[(&'static str, Seen<Value>)]) -> Finding {
    let there = states(definitions).filter(|(_, state)| *state != State::Absent);
    let mut others = Vec::new();
    let mut same = 0;
    for (kind, state) in there {
        match state {
            State::Unreadable(why) => {
                return Finding::unseen(CHECK, &format!("the definition of {kind}"), &why);
            }
            State::Other | State::NotServed(_) => others.push(kind.to_owned()),
            State::Same | State::Absent => same += 1,
        }
    }
    if others.is_empty() {
        let kinds = DEFINITIONS.len();
        return Finding::ok(
            CHECK,
            format!("{same} of {kinds} kinds are there; the rest comes with the chart"),
        );
    }
    Finding::warning(
        CHECK,
        format!("{} of another version are there", count(others.len(), "definition")),
        format!("they are replaced by the chart, or by: {APPLY}"),
    )
    .with(others)
}

pub(super) fn after(definitions: &[(&'static str, Seen<Value>)]) -> Finding {
    let (mut wrong, mut others) = (Vec::new(), Vec::new());
    for (kind, state) in states(definitions) {
        match state {
            State::Same => {}
            State::Other => others.push(kind.to_owned()),
            State::Absent => wrong.push(format!("{kind}: is not there")),
            State::NotServed(why) => wrong.push(format!("{kind}: {why}")),
            State::Unreadable(why) => wrong.push(format!("{kind}: {why}")),
        }
    }
    if !wrong.is_empty() {
        let seen = format!("{} cannot be used", count(wrong.len(), "definition"));
        return Finding::error(CHECK, seen, APPLY).with(wrong);
    }
    if !others.is_empty() {
        let seen = format!("{} of another version", count(others.len(), "definition"));
        return Finding::warning(CHECK, seen, APPLY).with(others);
    }
    Finding::ok(CHECK, format!("all {} are there, of this version", DEFINITIONS.len()))
}

fn states(
    definitions: &[(&'static str, Seen<Value>)],
) -> impl Iterator<Item = (&'static str, State)> {
    definitions.iter().map(|(kind, seen)| (*kind, state(kind, seen)))
}

fn state(kind: &str, seen: &Seen<Value>) -> State {
    let there = match seen {
        Ok(there) => there,
        Err(why) if why.is_absent() => return State::Absent,
        Err(why) => return State::Unreadable(why.clone()),
    };
    let established = list(there, "/status/conditions").any(|condition| {
        condition.get("type").is_some_and(|of| of == "Established")
            && condition.get("status").is_some_and(|status| status == "True")
    });
    if !established {
        return State::NotServed("is not established".to_owned());
    }
    let version = list(there, "/spec/versions")
        .find(|version| version.get("name").is_some_and(|name| name == VERSION));
    let Some(version) =
        version.filter(|version| version.get("served").and_then(Value::as_bool) == Some(true))
    else {
        return State::NotServed(format!("{VERSION} is not served"));
    };
    let ours = DEFINITIONS.iter().find(|definition| definition.kind == kind);
    let ours = ours.and_then(|definition| definition.to_json().ok());
    let ours = ours.as_ref().and_then(|ours| ours.pointer("/spec/versions/0/schema"));
    if version.get("schema") == ours { State::Same } else { State::Other }
}

fn list<'a>(of: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    of.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}
