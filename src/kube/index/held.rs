//! What is kept of a resource, and of a pod.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use serde_json::{Map, Value, json};

use crate::kube::PodId;
use crate::kube::crd::DEFINITIONS;
use crate::kube::inject::{CAPTURE_CONTAINER, ENVOY_CONTAINER, SIDECAR_CONTAINER};
use crate::policy::{self, Resource};

/// The longest document in bytes: with its name it must fit into one message to a sidecar. One that is longer is told without
/// content, so that every sidecar keeps what it had of it.
const MAX_DOCUMENT: usize = 900 * 1024;

/// Which resource. Ordered by namespace first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// Its namespace.
    pub namespace: String,
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// A resource, as it was heard last.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Which it is.
    pub key: ResourceKey,
    /// Tells it from an earlier one of that name.
    pub uid: String,
    /// Grows with each change of what it says.
    pub generation: u64,
    /// When it was made, in RFC 3339: earlier ones come first in the order of text.
    pub created: String,
    /// What it says, in JSON: without its status, and without what the API server writes.
    pub document: String,
    /// What the control plane said of it last.
    pub status: Value,
    /// What the parser said: whom it selects, or why it cannot be used.
    read: Result<Selector, String>,
}

/// Whom a resource selects in the namespaces that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Selector {
    /// Every pod.
    Everyone,
    /// Pods with these labels.
    Labels(BTreeMap<String, String>),
}

/// A pod, as it was heard last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Tells it from all others, before and after.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// As whom it runs.
    pub service_account: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its addresses; none before it has a network of its own.
    pub addresses: Vec<IpAddr>,
    /// Its gate, if it got one.
    pub gate: Option<GateOfPod>,
}

/// The gate of a pod, as it was injected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateOfPod {
    /// Ports to which incoming connections go past it.
    pub excluded: BTreeSet<u16>,
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl ResourceKey {
    /// The key of an object of one of our kinds; `None` for any other object.
    #[must_use]
    pub fn of(object: &Value) -> Option<Self> {
        let kind = object.get("kind")?.as_str()?;
        let kind = DEFINITIONS.iter().find(|definition| definition.kind == kind)?.kind;
        let text = |field: &str| object.get("metadata")?.get(field)?.as_str().map(str::to_owned);
        Some(Self { namespace: text("namespace")?, kind, name: text("name")? })
    }
}

impl Held {
    /// Reads an object as the API server gives it; `None` for one that is none of ours.
    #[must_use]
    pub fn read(object: &Value) -> Option<Self> {
        let key = ResourceKey::of(object)?;
        let metadata = object.get("metadata")?;
        let text = |field: &str| metadata.get(field).and_then(Value::as_str).unwrap_or_default();
        let mut document = document(object, &key).to_string();
        let mut read = selector(&key, &document);
        if document.len() > MAX_DOCUMENT {
            read = Err(format!(
                "has {} bytes, and at most {MAX_DOCUMENT} can be told to sidecars",
                document.len()
            ));
            document.clear();
        }
        Some(Self {
            uid: text("uid").to_owned(),
            generation: metadata.get("generation").and_then(Value::as_u64).unwrap_or_default(),
            created: text("creationTimestamp").to_owned(),
            status: object.get("status").cloned().unwrap_or_default(),
            read,
            document,
            key,
        })
    }

    /// The same resource, had the control plane said this of it last.
    #[must_use]
    pub fn with_status(&self, status: Value) -> Self {
        Self { status, ..self.clone() }
    }

    /// Why it cannot be used, in the parser's words; `None` when it can.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.read.as_ref().err().map(String::as_str)
    }

    /// Whether it is for a pod of a namespace that it is for.
    #[must_use]
    pub fn selects(&self, pod: &Pod) -> bool {
        match &self.read {
            Ok(Selector::Everyone) | Err(_) => true,
            Ok(Selector::Labels(labels)) => {
                labels.iter().all(|(name, value)| pod.labels.get(name) == Some(value))
            }
        }
    }
}

/// What the parser is given: all that was written, without what the API server adds. A field that nobody knows stays, so
/// that it is refused.
pub(in crate::kube) fn document(object: &Value, key: &ResourceKey) -> Value {
    let mut whole = object.as_object().cloned().unwrap_or_else(Map::new);
    whole.shift_remove("status");
    let metadata = json!({ "name": key.name, "namespace": key.namespace });
    whole.insert("metadata".to_owned(), metadata);
    Value::Object(whole)
}

fn selector(key: &ResourceKey, document: &str) -> Result<Selector, String> {
    let mut resources =
        policy::parse(&key.to_string(), document).map_err(|error| error.without_source())?;
    match (resources.pop(), resources.pop()) {
        (Some(Resource::AccessPolicy(policy)), None) => {
            Ok(policy.spec.selector.map_or(Selector::Everyone, Selector::Labels))
        }
        (
            Some(
                Resource::IdentityProvider(_) | Resource::MeshPolicy(_) | Resource::PolicyEngine(_),
            ),
            None,
        ) => Ok(Selector::Everyone),
        (None, _) | (_, Some(_)) => Err("is not one resource".to_owned()),
    }
}

impl Pod {
    /// Which one it is, for whoever asks about it later.
    #[must_use]
    pub fn id(&self) -> PodId {
        let Self { uid, namespace, name, .. } = self;
        PodId { namespace: namespace.clone(), name: name.clone(), uid: uid.clone() }
    }

    /// What counts of a pod; `None` for one without UID, namespace or name, which no API server gives.
    #[must_use]
    pub fn read(pod: &core::Pod) -> Option<Self> {
        let spec = pod.spec.as_ref();
        Some(Self {
            uid: pod.metadata.uid.clone()?,
            namespace: pod.metadata.namespace.clone()?,
            name: pod.metadata.name.clone()?,
            service_account: spec?.service_account_name.clone().unwrap_or_default(),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            addresses: addresses(pod.status.as_ref()),
            gate: GateOfPod::of(spec?),
        })
    }
}

fn addresses(status: Option<&core::PodStatus>) -> Vec<IpAddr> {
    let all = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten();
    all.filter_map(|ip| ip.ip.parse().ok()).collect()
}

impl GateOfPod {
    /// What stands in the containers of the gate; they cannot be changed once the pod is there.
    fn of(spec: &core::PodSpec) -> Option<Self> {
        if spec.host_network == Some(true) {
            return None;
        }
        let named = |name: &str| spec.init_containers.iter().flatten().find(|c| c.name == name);
        named(SIDECAR_CONTAINER)?;
        named(ENVOY_CONTAINER)?;
        let arguments = named(CAPTURE_CONTAINER)?.args.as_deref().unwrap_or_default();
        let mut excluded = BTreeSet::new();
        for pair in arguments.windows(2) {
            if let [flag, ports] = pair
                && flag == "--exclude-inbound-ports"
            {
                excluded
                    .extend(ports.split(',').filter_map(|port| port.trim().parse::<u16>().ok()));
            }
        }
        Some(Self { excluded })
    }
}
