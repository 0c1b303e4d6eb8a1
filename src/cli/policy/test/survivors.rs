//! Changes to rules that no case notices: what they change is not tested.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Value, json};

use super::load::{self, Loaded};
use super::rehearse;
use crate::authz::Snapshot;
use crate::policy::suite::{Mutant, mutants};

/// A change to one part of one rule after which every case comes out as before.
#[derive(Debug)]
pub(super) struct Survivor {
    rule: String,
    file: String,
    line: Option<u64>,
    change: String,
}

/// Tries every change to every rule that the suites load, on every suite that loads it.
pub(super) fn of(suites: &[Loaded]) -> anyhow::Result<Vec<Survivor>> {
    let mut files: Vec<(&String, &String)> = Vec::new();
    for (file, text) in suites.iter().flat_map(|suite| &suite.texts) {
        if !files.iter().any(|(known, _)| *known == file) {
            files.push((file, text));
        }
    }
    let before: HashMap<&String, Vec<String>> =
        suites.iter().map(|suite| (&suite.file, outcomes(suite, &suite.snapshot))).collect();
    let mut survivors = Vec::new();
    for (file, text) in files {
        for mutant in mutants(file, text)? {
            if is_unnoticed(&mutant, file, suites, &before) {
                let Mutant { rule, line, change, text: _ } = mutant;
                survivors.push(Survivor { rule, file: file.clone(), line, change });
            }
        }
    }
    Ok(survivors)
}

/// False for what some case notices, and for what is no policy any more.
fn is_unnoticed(
    mutant: &Mutant,
    file: &String,
    suites: &[Loaded],
    before: &HashMap<&String, Vec<String>>,
) -> bool {
    for suite in suites.iter().filter(|suite| suite.texts.iter().any(|(name, _)| name == file)) {
        let changed: Vec<(String, String)> = suite
            .texts
            .iter()
            .map(|(name, text)| {
                let text = if name == file { &mutant.text } else { text };
                (name.clone(), text.clone())
            })
            .collect();
        let Ok(snapshot) = load::snapshot(&changed, &suite.suite) else { return false };
        if before.get(&suite.file) != Some(&outcomes(suite, &snapshot)) {
            return false;
        }
    }
    true
}

/// What comes of each case, without what only a person reads.
fn outcomes(suite: &Loaded, snapshot: &Snapshot) -> Vec<String> {
    let outcome = |case| {
        let got = rehearse::run(snapshot, case);
        let rule = got.rule.map(ToString::to_string).unwrap_or_default();
        format!("{} {rule} {:?}", got.code, got.received)
    };
    suite.suite.cases.iter().map(outcome).collect()
}

impl Survivor {
    pub(super) fn json(&self) -> Value {
        let Self { rule, file, line, change } = self;
        json!({"rule": rule, "file": file, "line": line, "change": change})
    }
}

impl fmt::Display for Survivor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, file, line, change } = self;
        write!(f, "{rule} {change} ({file}")?;
        match line {
            Some(line) => write!(f, ":{line})"),
            None => f.write_str(")"),
        }
    }
}
