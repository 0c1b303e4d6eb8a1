//! Where the pods of Kubernetes' resources are.

use std::fmt;

use serde_json::{Value, json};

use crate::kube::inject::{Namespace, Outcome, ProbeKey, Refused, Settings, Skip, inject};

/// A list in a list in a list is nobody's manifest.
const DEEPEST: usize = 4;

/// A resource, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    kind: String,
    namespace: Option<String>,
    name: String,
}

/// What became of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has a gate now; with what its owner should know.
    Injected(Vec<String>),
    /// It has none, and is as it was.
    Skipped(Skip),
}

/// What is told of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) named: Named,
    pub(super) fate: Fate,
}

/// Calls `each` for the pod, or the template of one, in a resource or a list of them.
pub(super) fn visit(
    resource: &mut Value,
    each: &mut impl FnMut(Named, &mut Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    visit_to(resource, DEEPEST, each)
}

fn visit_to(
    resource: &mut Value,
    depth: usize,
    each: &mut impl FnMut(Named, &mut Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let text = |pointer: &str| resource.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let (Some(version), Some(kind)) = (text("/apiVersion"), text("/kind")) else { return Ok(()) };
    if version == "v1" && kind == "List" {
        anyhow::ensure!(depth > 0, "lists in lists, deeper than {DEEPEST}");
        let items = resource.get_mut("items").and_then(Value::as_array_mut);
        return items.into_iter().flatten().try_for_each(|item| visit_to(item, depth - 1, each));
    }
    let Some(place) = place(&version, &kind) else { return Ok(()) };
    let name = text("/metadata/name").or_else(|| text("/metadata/generateName"));
    let name = name.unwrap_or_else(|| "without a name".to_owned());
    let named = Named { kind, namespace: text("/metadata/namespace"), name };
    match resource.pointer_mut(place) {
        Some(pod) => each(named, pod),
        None => {
            anyhow::bail!("{named}: has no {}", place.trim_start_matches('/').replace('/', "."))
        }
    }
}

/// Where a kind has its pod, as a JSON pointer; nothing for kinds without.
fn place(version: &str, kind: &str) -> Option<&'static str> {
    match (version, kind) {
        ("v1", "Pod") => Some(""),
        ("v1", "PodTemplate") => Some("/template"),
        ("v1", "ReplicationController")
        | ("apps/v1", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch/v1", "Job") => Some("/spec/template"),
        ("batch/v1", "CronJob") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

impl Fate {
    /// Gives `pod` its gate, in place.
    pub(super) fn of(
        pod: &mut Value,
        (namespace, settings): (&Namespace, &Settings),
        key: &ProbeKey,
    ) -> Result<Self, Refused> {
        match inject(pod, namespace, settings, key)? {
            Outcome::Injected { pod: injected, remarks } => {
                *pod = injected;
                Ok(Self::Injected(remarks))
            }
            Outcome::Skipped(skip) => Ok(Self::Skipped(skip)),
        }
    }

    /// True for a pod that should have a gate and has none.
    pub(super) fn is_unguarded(&self) -> bool {
        match self {
            Self::Injected(_) => false,
            Self::Skipped(skip) => skip.is_unguarded(),
        }
    }
}

impl Told {
    pub(super) fn json(&self) -> Value {
        let Named { kind, namespace, name } = &self.named;
        let (outcome, reason, said) = match &self.fate {
            Fate::Injected(remarks) => ("Injected", None, remarks.clone()),
            Fate::Skipped(skip) => ("Skipped", Some(skip.reason()), vec![skip.to_string()]),
        };
        json!({
            "kind": kind,
            "namespace": namespace,
            "name": name,
            "outcome": outcome,
            "reason": reason,
            "said": said,
        })
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        match namespace {
            Some(namespace) => write!(f, "{kind} {namespace}/{name}"),
            None => write!(f, "{kind} {name}"),
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = &self.named;
        match &self.fate {
            Fate::Injected(remarks) => {
                writeln!(f, "{named}: injected")?;
                remarks.iter().try_for_each(|remark| writeln!(f, "  note: {remark}"))
            }
            Fate::Skipped(skip) => writeln!(f, "{named}: skipped: {skip}"),
        }
    }
}
