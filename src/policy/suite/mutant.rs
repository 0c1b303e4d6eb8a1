//! Resources with one thing changed: a suite that notices none of the changes does not test that thing.

use serde_json::{Map, Value};

use crate::policy::field::FieldPath;
use crate::policy::problem::InvalidResource;
use crate::policy::yaml::{self, Document};

const KIND: &str = "AccessPolicy";
const EFFECTS: [(&str, &str); 2] = [("allow", "deny"), ("deny", "allow")];

/// A file of resources in which one part of one rule is another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// The rule: `namespace/policy#rule`.
    pub rule: String,
    /// The line of the part, counted from one, where it is known.
    pub line: Option<u64>,
    /// What was changed, for example ``without `allow.peers` ``.
    pub change: String,
    /// The whole text, changed. It may say nothing that a parser takes.
    pub text: String,
}

/// Every change to one part of one rule of a text of resources: the rule gone, its effect turned round, each field and
/// each of several members of a list gone.
///
/// # Errors
/// When the text is no YAML.
pub fn mutants(source: &str, text: &str) -> Result<Vec<Mutant>, InvalidResource> {
    let documents = yaml::documents(source, text)?;
    let mut found = Vec::new();
    for (place, document) in documents.iter().enumerate() {
        let resource: Map<String, Value> = document.read(source)?;
        if resource.get("kind").and_then(Value::as_str) != Some(KIND) {
            continue;
        }
        let places = document.places();
        for (path, change, changed) in changes(&resource) {
            found.push(Mutant {
                rule: rule_name(&resource, &path),
                line: places.find(&path).map(|(line, _)| line),
                change,
                text: with(&documents, place, &changed),
            });
        }
    }
    Ok(found)
}

type Change = (FieldPath, String, Value);

fn changes(resource: &Map<String, Value>) -> Vec<Change> {
    let at = FieldPath::root().field("spec").field("rules");
    let whole = Value::Object(resource.clone());
    let Some(Value::Array(rules)) = whole.pointer("/spec/rules") else { return Vec::new() };
    let mut changes = Vec::new();
    for (place, rule) in rules.iter().enumerate() {
        let at = at.item(place);
        let pointer = format!("/spec/rules/{place}");
        changes.push((at.clone(), "without the rule".to_owned(), without_rule(&whole, place)));
        for (effect, other) in EFFECTS {
            let Some(part) = rule.get(effect) else { continue };
            let mut turned = rule.clone();
            if let Some(fields) = turned.as_object_mut() {
                fields.remove(effect);
                fields.insert(other.to_owned(), part.clone());
            }
            let change = format!("with `{other}` for `{effect}`");
            changes.push((at.clone(), change, replaced(&whole, &pointer, turned)));
            for (path, smaller) in smaller(part) {
                let pointer = format!("{pointer}/{effect}");
                let change = format!("without `{}`", FieldPath::root().field(effect).join(&path));
                let changed = replaced(&whole, &pointer, smaller);
                changes.push((at.field(effect).join(&path), change, changed));
            }
        }
    }
    changes
}

/// The value with one thing inside it gone, for each thing: a field, or one of several members.
fn smaller(value: &Value) -> Vec<(FieldPath, Value)> {
    let root = FieldPath::root();
    let mut found = Vec::new();
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let mut without = fields.clone();
                without.shift_remove(name);
                found.push((root.field(name), Value::Object(without)));
                for (path, inner) in smaller(inner) {
                    let mut with = fields.clone();
                    with.insert(name.clone(), inner);
                    found.push((root.field(name).join(&path), Value::Object(with)));
                }
            }
        }
        Value::Array(members) => {
            for (place, inner) in members.iter().enumerate() {
                if members.len() > 1 {
                    let mut without = members.clone();
                    without.remove(place);
                    found.push((root.item(place), Value::Array(without)));
                }
                for (path, inner) in smaller(inner) {
                    let mut with = members.clone();
                    if let Some(member) = with.get_mut(place) {
                        *member = inner;
                    }
                    found.push((root.item(place).join(&path), Value::Array(with)));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found
}

fn without_rule(whole: &Value, place: usize) -> Value {
    let mut whole = whole.clone();
    if let Some(Value::Array(rules)) = whole.pointer_mut("/spec/rules") {
        rules.remove(place);
    }
    // A policy without rules is none.
    if whole.pointer("/spec/rules").and_then(Value::as_array).is_some_and(Vec::is_empty)
        && let Some(Value::Object(spec)) = whole.get_mut("spec")
    {
        spec.shift_remove("rules");
    }
    whole
}

fn replaced(whole: &Value, pointer: &str, part: Value) -> Value {
    let mut whole = whole.clone();
    if let Some(place) = whole.pointer_mut(pointer) {
        *place = part;
    }
    whole
}

fn rule_name(resource: &Map<String, Value>, path: &FieldPath) -> String {
    use crate::policy::field::Step;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let metadata = |field| text(resource.get("metadata").and_then(|m| m.get(field)));
    let rule = path.steps().iter().find_map(|step| match step {
        Step::Item(place) => resource.get("spec")?.get("rules")?.get(place)?.get("name"),
        Step::Key(_) => None,
    });
    format!("{}/{}#{}", metadata("namespace"), metadata("name"), text(rule))
}

/// The text of all documents, one of them changed. JSON is YAML.
fn with(documents: &[Document<'_>], changed: usize, resource: &Value) -> String {
    let mut text = String::new();
    for (place, document) in documents.iter().enumerate() {
        if place == changed {
            text.push_str("---\n");
            text.push_str(&resource.to_string());
        } else {
            if !document.text().starts_with("---") {
                text.push_str("---\n");
            }
            text.push_str(document.text());
        }
        text.push('\n');
    }
    text
}
