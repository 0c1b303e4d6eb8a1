//! Findings as SARIF 2.1.0 (OASIS), which code scanning of the large forges reads.

use serde_json::{Value, json};

use crate::policy::lint::{Finding, Level, Lint};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// One log with one run.
pub(super) fn log(findings: &[Finding]) -> Value {
    let rules: Vec<Value> = Lint::ALL
        .iter()
        .map(|lint| {
            json!({
                "id": lint.id(),
                "shortDescription": { "text": lint.describe() },
                "defaultConfiguration": { "level": lint.level().word() },
            })
        })
        .collect();
    let results: Vec<Value> = findings.iter().map(result).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "hopgate policy check",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            // Columns count characters, not UTF-16 units.
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(finding: &Finding) -> Value {
    let Finding { lint, source, place, subject, message, hint } = finding;
    let subject = if subject.is_empty() { String::new() } else { format!("{subject}: ") };
    let hint = hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    let mut location = json!({ "artifactLocation": { "uri": uri(source) } });
    if let (Some((line, column)), Some(fields)) = (place, location.as_object_mut()) {
        let region = json!({ "startLine": line, "startColumn": column });
        fields.insert("region".to_owned(), region);
    }
    let level = match lint.level() {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "note",
    };
    json!({
        "ruleId": lint.id(),
        "ruleIndex": Lint::ALL.iter().position(|known| known == lint),
        "level": level,
        "message": { "text": format!("{subject}{message}{hint}") },
        "locations": [{ "physicalLocation": location }],
    })
}

/// The path as a relative reference, or as a `file` URI where it is absolute.
fn uri(source: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'.')
        .remove(b'-')
        .remove(b'_')
        .remove(b'~');
    let encoded = percent_encoding::utf8_percent_encode(source, KEPT);
    if source.starts_with('/') { format!("file://{encoded}") } else { encoded.to_string() }
}
