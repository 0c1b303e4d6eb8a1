//! Workloads of Kubernetes manifests: only namespace and labels are read.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::policy::problem::InvalidResource;
use crate::policy::yaml;

const TEMPLATED: [&str; 6] =
    ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"];

/// Pods that some manifest makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestWorkload {
    /// The namespace; nothing where the manifest leaves it to whoever applies it.
    pub namespace: Option<String>,
    /// The labels of the pods.
    pub labels: BTreeMap<String, String>,
}

/// The workloads of a text of Kubernetes manifests. What is none is left out.
///
/// # Errors
/// When the text is no YAML.
pub fn workloads(source: &str, text: &str) -> Result<Vec<ManifestWorkload>, InvalidResource> {
    let mut found = Vec::new();
    for document in yaml::documents(source, text)? {
        add(&document.read(source)?, &mut found);
    }
    Ok(found)
}

fn add(manifest: &Value, found: &mut Vec<ManifestWorkload>) {
    let kind = manifest.get("kind").and_then(Value::as_str).unwrap_or_default();
    let pod = match kind {
        "List" => {
            let items = manifest.get("items").and_then(Value::as_array);
            for item in items.into_iter().flatten() {
                add(item, found);
            }
            return;
        }
        "Pod" => Some(manifest),
        "CronJob" => manifest.pointer("/spec/jobTemplate/spec/template"),
        kind if TEMPLATED.contains(&kind) => manifest.pointer("/spec/template"),
        _ => None,
    };
    let Some(pod) = pod else { return };
    let labels = pod.pointer("/metadata/labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten().filter_map(|(name, value)| {
        let value = value.as_str()?;
        Some((name.clone(), value.to_owned()))
    });
    let namespace = manifest.pointer("/metadata/namespace").and_then(Value::as_str);
    found.push(ManifestWorkload {
        namespace: namespace.map(str::to_owned),
        labels: labels.collect(),
    });
}

impl ManifestWorkload {
    /// True when a policy of this namespace and these labels takes it.
    pub(super) fn is_selected(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
            && labels.iter().all(|(name, value)| self.labels.get(name) == Some(value))
    }
}
