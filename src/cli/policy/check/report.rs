//! Findings for people, each with the line it is about, and for machines.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::policy::lint::{Finding, Level};

/// Longer lines are cut.
const MAX_LINE: usize = 160;

/// One paragraph for each finding, then how many there are.
pub(super) fn text(findings: &[Finding], texts: &[(String, String)]) -> String {
    let mut text = String::new();
    for finding in findings {
        line(&mut text, &head(finding));
        if let Some((number, column)) = finding.place {
            excerpt(&mut text, texts, &finding.source, (number, column));
        }
        if let Some(hint) = &finding.hint {
            line(&mut text, &format!("      hint: {hint}"));
        }
    }
    let counts = [Level::Error, Level::Warning, Level::Note]
        .map(|level| counted(count(findings, level), level.word()));
    line(&mut text, &format!("{} in {}", counts.join(", "), counted(texts.len(), "file")));
    text
}

pub(super) fn json(findings: &[Finding]) -> Value {
    let each: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let Finding { lint, source, place, subject, message, hint } = finding;
            json!({
                "id": lint.id(),
                "level": lint.level().word(),
                "file": source,
                "line": place.map(|(line, _)| line),
                "column": place.map(|(_, column)| column),
                "subject": Some(subject).filter(|subject| !subject.is_empty()),
                "message": message,
                "hint": hint,
            })
        })
        .collect();
    json!({
        "errors": count(findings, Level::Error),
        "warnings": count(findings, Level::Warning),
        "notes": count(findings, Level::Note),
        "findings": each,
    })
}

fn count(findings: &[Finding], level: Level) -> usize {
    findings.iter().filter(|finding| finding.lint.level() == level).count()
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// `file:line:column: warning[open]: subject: message`.
fn head(finding: &Finding) -> String {
    let Finding { lint, source, place, subject, message, hint: _ } = finding;
    let place = place.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
    let subject = if subject.is_empty() { String::new() } else { format!("{subject}: ") };
    format!("{source}{place}: {}[{}]: {subject}{message}", lint.level().word(), lint.id())
}

/// The line, and a caret below the place.
fn excerpt(
    text: &mut String,
    texts: &[(String, String)],
    source: &str,
    (number, column): (u64, u64),
) {
    let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    let written = texts
        .iter()
        .find(|(name, _)| name == source)
        .and_then(|(_, text)| text.lines().nth(place?));
    let Some(written) = written else { return };
    let shown: String =
        written.chars().take(MAX_LINE).map(|c| if c.is_control() { ' ' } else { c }).collect();
    line(text, &format!("{number:>5} | {}", shown.trim_end()));
    let before = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1);
    if before < MAX_LINE {
        line(text, &format!("      | {}^", " ".repeat(before)));
    }
}

/// Writing to a text cannot fail.
fn line(text: &mut String, line: &str) {
    let _infallible = writeln!(text, "{line}");
}
