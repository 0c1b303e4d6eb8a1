//! `values.yaml` and `README.md` are printed from the schema: what a key means is written once.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::file;
use crate::support::golden;

const WIDTH: usize = 110;
const BEGIN: &str = "<!-- The values, from values.schema.json -->\n";
const END: &str = "<!-- The end of the values -->\n";

pub(super) fn schema() -> Value {
    serde_json::from_str(&file("values.schema.json")).unwrap()
}

/// The keys that belong to this one, where it has its own.
fn keys(schema: &Value) -> Option<&Map<String, Value>> {
    // What has a default as a whole is written as a whole.
    if schema.get("default").is_some() {
        return None;
    }
    schema.get("properties").and_then(Value::as_object)
}

fn description(path: &str, schema: &Value) -> String {
    let text =
        schema["description"].as_str().unwrap_or_else(|| panic!("{path} has no description"));
    assert!(text.ends_with('.'), "{path}: {text}");
    text.to_owned()
}

fn default<'s>(path: &str, schema: &'s Value) -> &'s Value {
    schema.get("default").unwrap_or_else(|| panic!("{path} has no default"))
}

/// Lines of at most so many characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().unwrap();
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            write!(last, " {word}").unwrap();
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// YAML in flow style, as a person writes it.
fn flow(value: &Value) -> String {
    match value {
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let parts = map.iter().map(|(key, value)| format!("{key}: {}", flow(value)));
            format!("{{ {} }}", parts.collect::<Vec<_>>().join(", "))
        }
        Value::Array(list) => {
            format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::String(text)
            if !text.is_empty()
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "-./".contains(c))
                && !text.starts_with(|c: char| !c.is_ascii_alphabetic())
                && !matches!(
                    text.to_ascii_lowercase().as_str(),
                    "on" | "off" | "yes" | "no" | "true" | "false" | "null"
                ) =>
        {
            text.clone()
        }
        // Starts with a digit and ends with a unit: no number in any YAML.
        Value::String(text)
            if text.ends_with(['s', 'm', 'h'])
                && text.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            text.clone()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

fn values(out: &mut String, path: &str, keys_here: &Map<String, Value>, depth: usize) {
    let indent = "  ".repeat(depth);
    for (name, schema) in keys_here {
        let path = format!("{path}{name}");
        if depth == 0 {
            out.push('\n');
        }
        for line in wrapped(&description(&path, schema), WIDTH - 2 * depth - 2) {
            writeln!(out, "{indent}# {line}").unwrap();
        }
        match keys(schema) {
            Some(below) => {
                writeln!(out, "{indent}{name}:").unwrap();
                values(out, &format!("{path}."), below, depth + 1);
            }
            None => {
                writeln!(out, "{indent}{name}: {}", flow(default(&path, schema))).unwrap();
            }
        }
    }
}

fn rows(out: &mut String, path: &str, keys_here: &Map<String, Value>) {
    for (name, schema) in keys_here {
        let path = format!("{path}{name}");
        let text = description(&path, schema).replace('|', "\\|");
        match keys(schema) {
            Some(below) => {
                writeln!(out, "| `{path}` | | {text} |").unwrap();
                rows(out, &format!("{path}."), below);
            }
            None => {
                writeln!(out, "| `{path}` | `{}` | {text} |", flow(default(&path, schema)))
                    .unwrap();
            }
        }
    }
}

/// The whole as one value.
pub(super) fn defaults(schema: &Value) -> Value {
    match keys(schema) {
        Some(below) => {
            below.iter().map(|(name, schema)| (name.clone(), defaults(schema))).collect()
        }
        None => default("", schema).clone(),
    }
}

#[test]
fn values_and_readme_are_printed_from_the_schema() {
    let schema = schema();
    let top = schema["properties"].as_object().unwrap();
    let mut text = "# The values of the chart, printed from values.schema.json, which refuses any other key.\n".to_owned();
    values(&mut text, "", top, 0);
    golden("../../helm/hopgate/values.yaml", &text);
    let read: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(read, defaults(&json!({ "properties": top })));

    let page = file("README.md");
    let (before, rest) = page.split_once(BEGIN).expect(BEGIN);
    let (_, after) = rest.split_once(END).expect(END);
    let mut table = "| value | default | meaning |\n| --- | --- | --- |\n".to_owned();
    rows(&mut table, "", top);
    golden("../../helm/hopgate/README.md", &format!("{before}{BEGIN}{table}{END}{after}"));
}

/// Files of values beside the chart use no key that is not there.
#[test]
fn the_files_of_values_are_taken_by_the_schema() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for name in ["values.yaml", "values-ha.yaml"] {
        let values: Value = serde_saphyr::from_str(&file(name)).unwrap();
        let errors: Vec<String> = validator.iter_errors(&values).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
}
