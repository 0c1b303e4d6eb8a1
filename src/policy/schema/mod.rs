//! JSON Schemas (draft 2020-12) of everything that is written in YAML here, for editors.
//!
//! A schema is an aid to whoever writes; what is taken is decided by the parser alone. A test holds the two together:
//! each field that the parser knows is in the schema and the other way round, and every shipped file is valid.

mod structural;

use serde_json::{Map, Value, json};

use super::resource::{API_VERSION, KINDS};
use super::yaml::{self, YamlError};

pub use structural::structural;

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
const DEFINITIONS: &str = "$defs";
const COMMON: &str = include_str!("common.yaml");
/// The spec of each kind.
const SPECS: [(&str, &str); 4] = [
    ("AccessPolicy", include_str!("access-policy.yaml")),
    ("IdentityProvider", include_str!("identity-provider.yaml")),
    ("MeshPolicy", include_str!("mesh-policy.yaml")),
    ("PolicyEngine", include_str!("policy-engine.yaml")),
];
/// What is no resource.
const SUITE: (&str, &str) = ("Suite", include_str!("suite.yaml"));

/// What there is a schema of: the kinds of resources, and suites.
pub fn names() -> impl Iterator<Item = &'static str> {
    KINDS.into_iter().chain([SUITE.0])
}

/// The schema of one kind of resource or of suites; nothing for a name that is not among [`names`].
///
/// # Errors
/// When a schema of ours is no YAML, which a test rules out.
pub fn of(name: &str) -> Result<Option<Value>, YamlError> {
    if name == SUITE.0 {
        let mut schema = read(SUITE)?;
        let definitions = common(&mut schema)?;
        return Ok(Some(document(SUITE.0, schema, definitions)));
    }
    let Some(spec) = SPECS.into_iter().find(|(kind, _)| *kind == name) else { return Ok(None) };
    let mut schema = read(spec)?;
    let definitions = common(&mut schema)?;
    Ok(Some(document(name, resource(name, schema), definitions)))
}

/// One schema of all kinds of resources: which one counts is told by `kind`.
///
/// # Errors
/// As [`of`].
pub fn of_resources() -> Result<Value, YamlError> {
    let mut definitions = Map::new();
    let mut branches = Vec::new();
    for spec in SPECS {
        let (kind, _) = spec;
        let mut schema = read(spec)?;
        definitions.extend(common(&mut schema)?);
        definitions.insert(kind.to_owned(), Value::Object(resource(kind, schema)));
        branches.push(json!({
            "if": { "properties": { "kind": { "const": kind } } },
            "then": { "$ref": format!("#/{DEFINITIONS}/{kind}") },
        }));
    }
    let schema = json!({
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": { "kind": { "enum": KINDS } },
        "allOf": branches,
    });
    let schema = schema.as_object().cloned().unwrap_or_default();
    Ok(document("Resource", schema, definitions))
}

fn read((name, text): (&str, &str)) -> Result<Map<String, Value>, YamlError> {
    yaml::parse_one(name, text)
}

/// The definitions of a schema, taken out of it, with those that all share.
fn common(schema: &mut Map<String, Value>) -> Result<Map<String, Value>, YamlError> {
    let mut definitions = read(("common", COMMON))?;
    if let Some(Value::Object(own)) = schema.shift_remove(DEFINITIONS) {
        definitions.extend(own);
    }
    Ok(definitions)
}

/// The envelope of a resource around its spec.
fn resource(kind: &str, mut spec: Map<String, Value>) -> Map<String, Value> {
    let description = spec.shift_remove("description");
    spec.shift_remove("title");
    let envelope = json!({
        "title": kind,
        "description": description,
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
        "properties": {
            "apiVersion": { "const": API_VERSION },
            "kind": { "const": kind },
            "metadata": { "$ref": format!("#/{DEFINITIONS}/metadata") },
            "spec": spec,
        },
    });
    envelope.as_object().cloned().unwrap_or_default()
}

fn document(name: &str, schema: Map<String, Value>, definitions: Map<String, Value>) -> Value {
    let mut document = Map::new();
    document.insert("$schema".to_owned(), DRAFT.into());
    document.insert("$id".to_owned(), format!("https://hopgate.dev/schema/{name}.json").into());
    document.extend(schema);
    document.insert(DEFINITIONS.to_owned(), definitions.into());
    let mut document = Value::Object(document);
    remove_validations(&mut document);
    document
}

/// Takes out what is for a Kubernetes API server only.
fn remove_validations(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.shift_remove(structural::VALIDATIONS);
            fields.values_mut().for_each(remove_validations);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_validations),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
