//! What a run of suites says, for people and for machines.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::compare::{Difference, differences};
use super::load::Loaded;
use super::rehearse;
use super::survivors::Survivor;
use crate::policy::suite::{Coverage, RuleAt};

/// What came of all suites.
pub(super) struct Report {
    pub(super) suites: Vec<SuiteReport>,
    pub(super) coverage: Coverage,
    /// Changes to rules that no case noticed, where they were looked for.
    pub(super) survivors: Option<Vec<Survivor>>,
    /// What the coverage must be, in per cent.
    pub(super) min_coverage: Option<u8>,
}

/// What came of one suite.
pub(super) struct SuiteReport {
    pub(super) file: String,
    pub(super) cases: Vec<CaseReport>,
}

/// What came of one case.
pub(super) struct CaseReport {
    pub(super) name: String,
    pub(super) line: Option<u64>,
    /// Nothing where it came out as expected.
    pub(super) differences: Vec<Difference>,
    /// What explains it: the operator's reason, and what became of the rules that were looked at.
    pub(super) why: Vec<String>,
}

impl SuiteReport {
    /// Runs the cases of a suite.
    pub(super) fn of(loaded: &Loaded, coverage: &mut Coverage) -> Self {
        let mut cases = Vec::with_capacity(loaded.suite.cases.len());
        for case in &loaded.suite.cases {
            let got = rehearse::run(&loaded.snapshot, case);
            let differences = differences(&case.expected, &got);
            if differences.is_empty()
                && let Some(rule) = got.rule.filter(|_| got.is_decided_by_its_match())
            {
                coverage.decided(rule, &loaded.policies);
            }
            let mut why: Vec<String> = got.reason.iter().cloned().collect();
            why.extend(got.candidates.lines());
            if why.is_empty() {
                why.push("no rule is for this peer, method and path".to_owned());
            }
            cases.push(CaseReport { name: case.name.clone(), line: case.line, differences, why });
        }
        Self { file: loaded.file.clone(), cases }
    }

    fn failed(&self) -> usize {
        self.cases.iter().filter(|case| !case.differences.is_empty()).count()
    }
}

impl CaseReport {
    /// `file:line` of a case.
    pub(super) fn place(&self, file: &str) -> String {
        self.line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"))
    }
}

impl Report {
    /// 0: every case came out as expected and enough rules are covered. 1: not so.
    pub(super) fn exit_code(&self) -> ExitCode {
        if self.failed() == 0 && self.is_covered() { ExitCode::SUCCESS } else { ExitCode::from(1) }
    }

    fn cases(&self) -> usize {
        self.suites.iter().map(|suite| suite.cases.len()).sum()
    }

    fn failed(&self) -> usize {
        self.suites.iter().map(SuiteReport::failed).sum()
    }

    fn is_covered(&self) -> bool {
        self.min_coverage.is_none_or(|min| self.coverage.percent() >= usize::from(min))
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for suite in &self.suites {
            let (all, failed) = (suite.cases.len(), suite.failed());
            line(&mut text, &format!("{}: {} of {all} cases passed", suite.file, all - failed));
            for case in suite.cases.iter().filter(|case| !case.differences.is_empty()) {
                failed_case(&mut text, &suite.file, case);
            }
        }
        let (all, failed) = (self.cases(), self.failed());
        line(&mut text, &format!("cases passed {} of {all}", all - failed));
        let (rules, covered) = (self.coverage.rules(), self.coverage.covered());
        line(&mut text, &format!("rules covered {covered} of {rules}"));
        for rule in self.coverage.uncovered() {
            line(&mut text, &format!("  decides no case: {} ({})", rule.name, place(&rule)));
        }
        for survivor in self.survivors.iter().flatten() {
            line(&mut text, &format!("  no case would notice: {survivor}"));
        }
        if let Some(min) = self.min_coverage.filter(|_| !self.is_covered()) {
            let percent = self.coverage.percent();
            line(
                &mut text,
                &format!("FAILED: {percent} % of the rules are covered, at least {min} % must be"),
            );
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let suites: Vec<Value> = self.suites.iter().map(suite_json).collect();
        let uncovered: Vec<Value> = self
            .coverage
            .uncovered()
            .map(
                |RuleAt { name, source, line }| json!({"rule": name, "file": source, "line": line}),
            )
            .collect();
        json!({
            "passed": self.failed() == 0 && self.is_covered(),
            "cases": { "all": self.cases(), "failed": self.failed() },
            "rules": {
                "all": self.coverage.rules(),
                "covered": self.coverage.covered(),
                "percent": self.coverage.percent(),
                "uncovered": uncovered,
            },
            "unnoticed": self.survivors.as_ref().map(|all| {
                all.iter().map(Survivor::json).collect::<Vec<_>>()
            }),
            "suites": suites,
        })
    }
}

fn suite_json(suite: &SuiteReport) -> Value {
    let case = |case: &CaseReport| {
        let differences: Vec<Value> = case
            .differences
            .iter()
            .map(|Difference { what, expected, got }| {
                json!({"what": what, "expected": expected, "got": got})
            })
            .collect();
        json!({
            "name": case.name,
            "line": case.line,
            "passed": case.differences.is_empty(),
            "differences": differences,
            "why": case.why,
        })
    };
    json!({ "file": suite.file, "cases": suite.cases.iter().map(case).collect::<Vec<_>>() })
}

fn failed_case(text: &mut String, file: &str, case: &CaseReport) {
    line(text, &format!("FAILED {}: {}", case.place(file), case.name));
    for Difference { what, expected, got } in &case.differences {
        line(text, &format!("  {what}"));
        line(text, &format!("    expected  {expected}"));
        line(text, &format!("    got       {got}"));
    }
    for (place, why) in case.why.iter().enumerate() {
        let title = if place == 0 { "why" } else { "" };
        line(text, &format!("  {title:<3}  {why}"));
    }
}

fn place(rule: &RuleAt) -> String {
    match rule.line {
        Some(line) => format!("{}:{line}", rule.source),
        None => rule.source.clone(),
    }
}

/// Writing to a text cannot fail.
fn line(text: &mut String, line: &str) {
    let _infallible = writeln!(text, "{line}");
}
