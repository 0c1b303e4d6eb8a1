//! The kinds of resources as CustomResourceDefinitions (`apiextensions.k8s.io/v1`).

use serde_json::{Value, json};

use crate::policy::schema::structural;
use crate::policy::yaml::YamlError;

/// The group of every kind.
pub const GROUP: &str = "hopgate.dev";
/// The only version there is.
pub const VERSION: &str = "v1alpha1";

/// One kind, as an API server knows it. All of them live in namespaces and have a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// The kind.
    pub kind: &'static str,
    /// Its name in URLs and for `kubectl`.
    pub plural: &'static str,
    /// A shorter name for `kubectl`.
    pub short: &'static str,
    /// What it is for.
    purpose: &'static str,
    /// What `kubectl get` shows first: heading and path.
    column: Option<(&'static str, &'static str)>,
}

/// Every kind.
pub const DEFINITIONS: [Definition; 4] = [
    Definition {
        kind: "AccessPolicy",
        plural: "accesspolicies",
        short: "accpol",
        purpose: "Who may do what to the workloads that it selects.",
        column: Some(("Mode", ".spec.mode")),
    },
    Definition {
        kind: "IdentityProvider",
        plural: "identityproviders",
        short: "idp",
        purpose: "Whose credentials count.",
        column: Some(("Issuer", ".spec.issuer")),
    },
    Definition {
        kind: "MeshPolicy",
        plural: "meshpolicies",
        short: "meshpol",
        purpose: "What holds for the whole mesh; there is at most one, in the namespace of the control plane.",
        column: Some(("Without-Policy", ".spec.withoutPolicy")),
    },
    Definition {
        kind: "PolicyEngine",
        plural: "policyengines",
        short: "poleng",
        purpose: "Another engine that rules may ask.",
        column: None,
    },
];

/// A definition cannot be printed.
#[derive(Debug, thiserror::Error)]
pub enum Unprintable {
    /// A schema of ours is no YAML.
    #[error(transparent)]
    Schema(#[from] YamlError),
    /// The definition cannot be written as YAML.
    #[error("a definition cannot be written as YAML")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

impl Definition {
    /// The definition of this kind.
    ///
    /// # Errors
    /// When a schema of ours is no YAML, which a test rules out.
    pub fn to_json(&self) -> Result<Value, YamlError> {
        let Self { kind, plural, short, purpose, column } = self;
        let spec = structural(kind)?;
        let schema = json!({
            "description": purpose,
            "type": "object",
            "required": ["spec"],
            "properties": {
                "apiVersion": { "type": "string" },
                "kind": { "type": "string" },
                "metadata": { "type": "object" },
                "spec": spec,
                "status": status(),
            },
            // A selector that was written one level too far out would be dropped, and the rules hold for every workload.
            "x-kubernetes-preserve-unknown-fields": true,
        });
        Ok(json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.{GROUP}") },
            "spec": {
                "group": GROUP,
                "scope": "Namespaced",
                "names": {
                    "kind": kind,
                    "listKind": format!("{kind}List"),
                    "plural": plural,
                    "singular": kind.to_ascii_lowercase(),
                    "shortNames": [short],
                    "categories": ["hopgate"],
                },
                "versions": [{
                    "name": VERSION,
                    "served": true,
                    "storage": true,
                    "subresources": { "status": {} },
                    "additionalPrinterColumns": columns(*column),
                    "schema": { "openAPIV3Schema": schema },
                }],
            },
        }))
    }

    /// The definition as block YAML.
    ///
    /// # Errors
    /// None that a test does not rule out.
    pub fn to_yaml(&self) -> Result<String, Unprintable> {
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        Ok(serde_saphyr::to_string_with_options(&self.to_json()?, options)?)
    }
}

fn columns(own: Option<(&str, &str)>) -> Vec<Value> {
    let condition =
        |name: &str, field: &str| format!(r#".status.conditions[?(@.type=="{name}")].{field}"#);
    let text =
        |name: &str, path: String| json!({ "name": name, "type": "string", "jsonPath": path });
    let number =
        |name: &str, path: &str| json!({ "name": name, "type": "integer", "jsonPath": path });
    let mut columns: Vec<Value> =
        own.into_iter().map(|(name, path)| text(name, path.to_owned())).collect();
    columns.push(text("Accepted", condition("Accepted", "status")));
    columns.push(text("Programmed", condition("Programmed", "status")));
    columns.push(number("Sidecars", ".status.sidecars.selected"));
    columns.push(number("Running", ".status.sidecars.running"));
    columns
        .push(json!({ "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" }));
    // Only with `-o wide`.
    let reason = condition("Accepted", "message");
    columns.push(json!({ "name": "Message", "type": "string", "jsonPath": reason, "priority": 1 }));
    columns
}

/// What the control plane says of a resource.
fn status() -> Value {
    let count = |description: &str| json!({ "description": description, "type": "integer", "format": "int32", "minimum": 0 });
    json!({
        "description": "What became of it, as the control plane sees it.",
        "type": "object",
        "properties": {
            "observedGeneration": {
                "description": "The generation of the resource that this is about.",
                "type": "integer",
                "format": "int64",
            },
            "revision": {
                "description": "Names what the resource says; sidecars say by it what they run.",
                "type": "string",
            },
            "sidecars": {
                "description": "The connected sidecars that it is for.",
                "type": "object",
                "properties": {
                    "selected": count("How many there are."),
                    "running": count("How many of them run this revision."),
                    "refusing": count("How many of them refuse it and run what they had before."),
                },
            },
            "conditions": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": condition(),
            },
        },
    })
}

/// `k8s.io/apimachinery/pkg/apis/meta/v1.Condition`.
fn condition() -> Value {
    json!({
        "type": "object",
        "required": ["type", "status", "lastTransitionTime", "reason", "message"],
        "properties": {
            "type": {
                "description": "Accepted: the resource can be used. Programmed: all sidecars that it is for run it.",
                "type": "string",
                "maxLength": 316,
            },
            "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
            "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
            "lastTransitionTime": { "type": "string", "format": "date-time" },
            "reason": { "type": "string", "minLength": 1, "maxLength": 1024 },
            "message": { "type": "string", "maxLength": 32768 },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{API_VERSION, KINDS};

    #[test]
    fn there_is_a_definition_of_each_kind() {
        assert_eq!(DEFINITIONS.map(|definition| definition.kind), KINDS);
        assert_eq!(format!("{GROUP}/{VERSION}"), API_VERSION);
    }

    #[test]
    fn yaml_says_what_json_says() {
        for definition in DEFINITIONS {
            let yaml = definition.to_yaml().unwrap();
            let read: Value = serde_saphyr::from_str(&yaml).unwrap();
            assert_eq!(read, definition.to_json().unwrap(), "{}", definition.kind);
        }
    }
}
