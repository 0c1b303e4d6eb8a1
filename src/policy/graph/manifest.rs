//! Workloads as they stand in the manifests of Kubernetes.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::policy::yaml::{self, YamlError};

/// A workload that is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealWorkload {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// The service account of its pods.
    pub service_account: String,
}

/// What else stands in a manifest says nothing of who calls whom.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawManifest {
    kind: String,
    metadata: RawMetadata,
    spec: RawSpec,
    items: Vec<Self>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawMetadata {
    name: String,
    namespace: Option<String>,
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    service_account_name: Option<String>,
    template: Option<RawTemplate>,
    job_template: Option<RawJob>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawTemplate {
    metadata: RawMetadata,
    spec: RawPod,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawJob {
    spec: RawJobSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawJobSpec {
    template: RawTemplate,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPod {
    service_account_name: Option<String>,
}

/// All workloads of a text; other kinds are skipped.
///
/// # Errors
/// When the text is no YAML of manifests.
pub fn workloads(source: &str, text: &str) -> Result<Vec<RealWorkload>, YamlError> {
    let mut found = Vec::new();
    for document in yaml::documents(source, text)? {
        flatten(document.read(source)?, &mut found);
    }
    Ok(found)
}

fn flatten(raw: RawManifest, found: &mut Vec<RealWorkload>) {
    let RawManifest { kind, metadata, spec, items } = raw;
    items.into_iter().for_each(|item| flatten(item, found));
    let RawSpec { service_account_name, template, job_template } = spec;
    let (labels, account) = match (kind.as_str(), template, job_template) {
        ("Pod", _, _) => (metadata.labels, service_account_name),
        ("Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job", Some(template), _) => {
            (template.metadata.labels, template.spec.service_account_name)
        }
        ("CronJob", _, Some(job)) => {
            let template = job.spec.template;
            (template.metadata.labels, template.spec.service_account_name)
        }
        _ => return,
    };
    found.push(RealWorkload {
        name: metadata.name,
        namespace: metadata.namespace.unwrap_or_else(|| "default".to_owned()),
        labels,
        service_account: account.unwrap_or_else(|| "default".to_owned()),
    });
}
