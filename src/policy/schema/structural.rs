//! The schemas as a Kubernetes API server takes them: *structural* OpenAPI v3, with CEL for what that cannot say.
//!
//! An API server drops fields that a structural schema does not know, before any webhook sees them. Here a dropped field
//! is a restriction that is gone: a rule with a typing mistake in `users` would admit every user, and so would a rule
//! that an older definition does not know in full. So every object keeps fields that it does not know, and the parser,
//! behind the webhook, in the control plane and in each sidecar, refuses them by name.
//!
//! Lists and maps are replaced whole (`atomic`): merged ones would hold members that nobody wrote together.

use serde_json::{Map, Value, json};

use super::{SPECS, common, read};
use crate::policy::yaml::YamlError;

/// What is taken over as it is.
const KEPT: [&str; 12] = [
    "description",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
];
const KEEPS_UNKNOWN: &str = "x-kubernetes-preserve-unknown-fields";
/// Rules in CEL. They stand in the same files, and editors do not get them.
pub(super) const VALIDATIONS: &str = "x-kubernetes-validations";

/// The schema of `spec` of a kind; nothing for a name that is no kind.
///
/// # Errors
/// When a schema of ours is no YAML, which a test rules out.
pub fn structural(kind: &str) -> Result<Option<Value>, YamlError> {
    let Some(spec) = SPECS.into_iter().find(|(name, _)| *name == kind) else { return Ok(None) };
    let mut schema = read(spec)?;
    let definitions = common(&mut schema)?;
    Ok(Some(Value::Object(Inliner { definitions }.schema(&schema))))
}

struct Inliner {
    definitions: Map<String, Value>,
}

impl Inliner {
    fn schema(&self, schema: &Map<String, Value>) -> Map<String, Value> {
        let schema = self.resolve(schema);
        let mut out = Map::new();
        if is_free(&schema) {
            out.extend(schema.get_key_value("description").map(|(k, v)| (k.clone(), v.clone())));
            out.insert(KEEPS_UNKNOWN.to_owned(), true.into());
            return out;
        }
        for keyword in KEPT {
            out.extend(schema.get_key_value(keyword).map(|(k, v)| (k.clone(), v.clone())));
        }
        // What has no type is one of several words.
        let kind = schema.get("type").and_then(Value::as_str).unwrap_or("string");
        out.insert("type".to_owned(), kind.into());
        match kind {
            "array" => {
                let items = schema.get("items").and_then(Value::as_object);
                out.insert("items".to_owned(), self.inner(items));
                out.insert("x-kubernetes-list-type".to_owned(), "atomic".into());
            }
            "object" => self.object(&schema, &mut out),
            _ => {}
        }
        let validations = self.validations(&schema, &mut out);
        if !validations.is_empty() {
            out.insert(VALIDATIONS.to_owned(), validations.into());
        }
        out
    }

    fn object(&self, schema: &Map<String, Value>, out: &mut Map<String, Value>) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let values = schema.get("additionalProperties").and_then(Value::as_object);
        match (properties, values) {
            (Some(properties), _) => {
                let inner = |(name, schema): (&String, &Value)| {
                    (name.clone(), self.inner(schema.as_object()))
                };
                let properties: Map<String, Value> = properties.iter().map(inner).collect();
                out.insert("properties".to_owned(), properties.into());
                out.insert(KEEPS_UNKNOWN.to_owned(), true.into());
            }
            (None, Some(values)) => {
                out.insert("additionalProperties".to_owned(), self.inner(Some(values)));
                out.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
            }
            (None, None) => {
                out.insert(KEEPS_UNKNOWN.to_owned(), true.into());
            }
        }
    }

    fn inner(&self, schema: Option<&Map<String, Value>>) -> Value {
        schema.map_or(Value::Null, |schema| self.schema(schema).into())
    }

    /// The rules in CEL, with those that `oneOf` and `anyOf` stand for. Where one of the fields is a free value, which CEL
    /// does not see, the keyword itself stays.
    fn validations(&self, schema: &Map<String, Value>, out: &mut Map<String, Value>) -> Vec<Value> {
        let mut rules = Vec::new();
        for (keyword, quantity) in [("oneOf", "exactly one"), ("anyOf", "at least one")] {
            let Some(branches) = schema.get(keyword) else { continue };
            let names = required(branches);
            if names.iter().any(|name| self.is_hidden(schema, name)) {
                out.insert(keyword.to_owned(), branches.clone());
                continue;
            }
            let there: Vec<String> = names.iter().map(|name| format!("has(self.{name})")).collect();
            let rule = match (keyword, there.as_slice()) {
                ("oneOf", [one, other]) => format!("{one} != {other}"),
                ("oneOf", _) => format!("[{}].filter(one, one).size() == 1", there.join(", ")),
                _ => there.join(" || "),
            };
            let message = format!("{quantity} of {} must be there", names.join(", "));
            rules.push(json!({ "rule": rule, "message": message }));
        }
        rules.extend(
            schema.get(VALIDATIONS).and_then(Value::as_array).into_iter().flatten().cloned(),
        );
        rules
    }

    fn is_hidden(&self, schema: &Map<String, Value>, field: &str) -> bool {
        let inner =
            schema.get("properties").and_then(|properties| properties.get(field)?.as_object());
        inner.is_none_or(|inner| is_free(&self.resolve(inner)))
    }

    /// What a reference stands for, with what is written beside it in place of its own.
    fn resolve(&self, schema: &Map<String, Value>) -> Map<String, Value> {
        let name = schema.get("$ref").and_then(Value::as_str);
        let name = name.and_then(|path| path.rsplit('/').next());
        let Some(Value::Object(base)) = name.and_then(|name| self.definitions.get(name)) else {
            return schema.clone();
        };
        let mut whole = self.resolve(base);
        let beside = schema.iter().filter(|(keyword, _)| *keyword != "$ref");
        whole.extend(beside.map(|(keyword, value)| (keyword.clone(), value.clone())));
        whole
    }
}

/// A value of several types. A structural schema has no word for it, so the parser alone judges it.
fn is_free(schema: &Map<String, Value>) -> bool {
    let of_types = schema.get("type").is_some_and(Value::is_array);
    let of_shapes = ["oneOf", "anyOf"].into_iter().filter_map(|keyword| schema.get(keyword));
    of_types || of_shapes.map(required).any(|names| names.is_empty())
}

/// The fields of branches that each require one field and say nothing else; none where a branch says more.
fn required(branches: &Value) -> Vec<&str> {
    let names = branches.as_array().into_iter().flatten();
    names.map(only_required).collect::<Option<_>>().unwrap_or_default()
}

fn only_required(branch: &Value) -> Option<&str> {
    let branch = branch.as_object().filter(|branch| branch.len() == 1)?;
    match branch.get("required")?.as_array()?.as_slice() {
        [name] => name.as_str(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
