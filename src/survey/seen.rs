//! What was read of a cluster. A part that could not be read says why.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::Value;

use crate::kube::inject::Standing;
use crate::kube::rights::{ControlPlaneNames, Right};
use crate::kube::{Clocks, NotSeen, index};

/// Something that was read, or why it was not.
pub(super) type Seen<T> = Result<T, NotSeen>;

/// The cluster itself.
#[derive(Debug)]
pub struct Cluster {
    /// What `/version` says.
    pub version: Seen<Value>,
    /// The API server's clock.
    pub clocks: Option<Clocks>,
    /// The API groups with their versions, such as `apps/v1`.
    pub groups: Seen<Vec<String>>,
    /// The definition of each of our kinds, by the kind.
    pub definitions: Vec<(&'static str, Seen<Value>)>,
    /// What whoever installs needs, and whether they may; none where nobody asked.
    pub installer: Vec<(Right, Seen<bool>)>,
}

/// What is installed in it.
#[derive(Debug)]
pub struct Installation {
    /// Where the control planes are.
    pub namespace: String,
    /// When all this was seen.
    pub now: SystemTime,
    /// The control planes: one for each revision.
    pub planes: Seen<Vec<Plane>>,
    /// All pods that run or are about to.
    pub pods: Seen<Vec<SeenPod>>,
    /// The resources of our kinds.
    pub resources: Seen<Vec<Value>>,
}

/// One control plane.
#[derive(Debug)]
pub struct Plane {
    /// Its Deployment.
    pub deployment: Value,
    /// Its revision.
    pub revision: String,
    /// Its configuration (`control.yaml`).
    pub config: Seen<Value>,
    /// What it calls its own.
    pub names: ControlPlaneNames,
    /// The rights of its service account.
    pub rights: Vec<(Right, Seen<bool>)>,
    /// The roots that it shows to everybody, in PEM.
    pub roots: Seen<String>,
    /// Configurations of webhooks: kind, name and content.
    pub webhooks: Vec<(&'static str, String, Seen<Value>)>,
    /// A policy that must be refused was shown to the API server. None where that could not be tried.
    pub policy_tried: Option<Seen<Value>>,
    /// A pod was shown to the API server, in this namespace, which asks for gates of this revision.
    pub pod_tried: Option<(String, Seen<Value>)>,
    /// Its pods.
    pub replicas: Seen<Vec<Replica>>,
}

/// One pod of a control plane.
#[derive(Debug)]
pub struct Replica {
    /// Its name.
    pub pod: String,
    /// What its admin page says of discovery.
    pub fleet: Seen<Value>,
    /// Its metrics.
    pub metrics: Seen<super::metrics::Metrics>,
    /// Its clock.
    pub clocks: Option<Clocks>,
}

/// A pod.
#[derive(Debug, Clone)]
pub struct SeenPod {
    /// Its name.
    pub name: String,
    /// What policies go by.
    pub pod: index::Pod,
    /// Whoever makes it, such as a ReplicaSet; itself where nobody does.
    pub owner: String,
    /// All its containers are ready.
    pub ready: bool,
    /// It runs on a node.
    pub placed: bool,
    /// How it stands to its gate; in the error, why its labels are not understood.
    pub standing: Result<Standing, String>,
}

impl SeenPod {
    /// `namespace/name`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.pod.namespace, self.name)
    }

    /// Reads a pod; `None` for one that has ended or is going, of which nothing needs to be told.
    pub(super) fn read(
        pod: Value,
        namespaces: &BTreeMap<String, BTreeMap<String, String>>,
    ) -> Option<Self> {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
        let over = matches!(text("/status/phase"), Some("Succeeded" | "Failed"));
        if over || text("/metadata/deletionTimestamp").is_some() {
            return None;
        }
        let name = text("/metadata/name")?.to_owned();
        let namespace = text("/metadata/namespace")?;
        let labels = namespaces.get(namespace).cloned().unwrap_or_default();
        let namespace = crate::kube::inject::Namespace { labels };
        let standing = Standing::of(&pod, &namespace).map_err(|refused| refused.to_string());
        let list =
            |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        let ready = list("/status/conditions").any(|condition| {
            condition.get("type").is_some_and(|of| of == "Ready")
                && condition.get("status").is_some_and(|status| status == "True")
        });
        let is = |owner: &&Value| owner.get("controller").and_then(Value::as_bool) == Some(true);
        let owner = list("/metadata/ownerReferences").find(is);
        let owner = owner.and_then(|owner| {
            let text = |field: &str| owner.get(field).and_then(Value::as_str);
            Some(format!("{} {}", text("kind")?, text("name")?))
        });
        let owner = owner.unwrap_or_else(|| format!("Pod {name}"));
        let placed = text("/spec/nodeName").is_some();
        let pod = index::Pod::read(&serde_json::from_value(pod).ok()?)?;
        Some(Self { name, pod, owner, ready, placed, standing })
    }
}

/// What a control plane of that configuration calls its own.
pub(super) fn names_in(config: &Value, namespace: &str) -> ControlPlaneNames {
    let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let list = |pointer: &str| {
        let all = config.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        all.filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let injects = config.get("injection").is_some() && config.get("webhooks").is_some();
    let trust = text("/injection/trustConfigMap").unwrap_or_else(|| "hopgate-trust".to_owned());
    ControlPlaneNames {
        namespace: text("/authority/secret/namespace").unwrap_or_else(|| namespace.to_owned()),
        secret: text("/authority/secret/name"),
        webhooks: (
            list("/webhooks/configurations/mutating"),
            list("/webhooks/configurations/validating"),
        ),
        trust_config_map: injects.then_some(trust),
        cert_manager: config.pointer("/authority/certManager").is_some(),
    }
}
