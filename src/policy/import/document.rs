//! Documents of other systems: which kind, what name, and a specification that is read once the kind is known.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ImportError, wrong};
use crate::policy::yaml;

/// One document.
#[derive(Debug)]
pub(super) struct Foreign {
    source: String,
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) labels: BTreeMap<String, String>,
    spec: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    #[serde(default)]
    api_version: String,
    kind: String,
    #[serde(default)]
    metadata: RawMetadata,
    #[serde(default)]
    spec: Value,
    /// What `kubectl get` prints for several.
    #[serde(default)]
    items: Vec<Self>,
}

/// What else stands in the metadata means nothing to a decision.
#[derive(Default, Deserialize)]
struct RawMetadata {
    #[serde(default)]
    name: String,
    namespace: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// All documents of a text, those of lists taken out of them.
pub(super) fn read(source: &str, text: &str) -> Result<Vec<Foreign>, ImportError> {
    let mut found = Vec::new();
    for document in yaml::documents(source, text)? {
        flatten(source, document.read(source)?, &mut found);
    }
    Ok(found)
}

fn flatten(source: &str, raw: RawDocument, found: &mut Vec<Foreign>) {
    let RawDocument { api_version, kind, metadata, spec, items } = raw;
    if kind == "List" || !items.is_empty() {
        items.into_iter().for_each(|item| flatten(source, item, found));
        return;
    }
    let RawMetadata { name, namespace, labels } = metadata;
    found.push(Foreign {
        source: source.to_owned(),
        group: api_version.split_once('/').map_or_else(String::new, |(group, _)| group.to_owned()),
        kind,
        name,
        // Where `kubectl apply` puts it.
        namespace: namespace.unwrap_or_else(|| "default".to_owned()),
        labels,
        spec,
    });
}

impl Foreign {
    /// The kind, the name and the file.
    pub(super) fn subject(&self) -> String {
        format!("{} {}/{} ({})", self.kind, self.namespace, self.name, self.source)
    }

    /// The specification, every field of it known. One that is absent is empty.
    pub(super) fn spec<T: DeserializeOwned>(&self) -> Result<T, ImportError> {
        let spec = match &self.spec {
            Value::Null => Value::Object(serde_json::Map::new()),
            spec => spec.clone(),
        };
        serde_path_to_error::deserialize(spec).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { "spec".to_owned() } else { format!("spec.{path}") };
            wrong(self, field, error.into_inner().to_string())
        })
    }
}
