//! What injection reads of a pod.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{CAPTURE_CONTAINER, ENVOY_CONTAINER, INJECTED, Refused, SIDECAR_CONTAINER};
use crate::mesh::captured::AppProtocol;
use crate::mesh::pod::{ENVOY_UID, OWN_PORTS, SIDECAR_UID};

/// Volumes of the gate are named so.
pub(super) const VOLUME_PREFIX: &str = "hopgate-";

/// A pod, or the template of one. Fields that are absent and fields that are null are the same, as for the API server.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Seen {
    #[serde(default)]
    metadata: Option<Metadata>,
    spec: Spec,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Metadata {
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    containers: Vec<Container>,
    init_containers: Option<Vec<Container>>,
    volumes: Option<Vec<Named>>,
    host_network: Option<bool>,
    share_process_namespace: Option<bool>,
    os: Option<Named>,
    node_selector: Option<BTreeMap<String, String>>,
    security_context: Option<SecurityContext>,
    restart_policy: Option<String>,
    termination_grace_period_seconds: Option<u64>,
}

/// A container, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) name: String,
    ports: Option<Vec<Port>>,
    restart_policy: Option<String>,
    security_context: Option<SecurityContext>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    name: Option<String>,
    container_port: u16,
    protocol: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecurityContext {
    run_as_user: Option<i64>,
}

#[derive(Debug, Clone, Deserialize)]
struct Named {
    name: String,
}

/// A port of which the pod says what is spoken there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PortSaid {
    pub(super) number: u16,
    pub(super) protocol: AppProtocol,
}

impl Seen {
    pub(super) fn read(pod: &Value) -> Result<Self, Refused> {
        serde_path_to_error::deserialize(pod).map_err(|error| {
            let field = error.path().to_string();
            Refused::Unreadable { field, problem: error.into_inner().to_string() }
        })
    }

    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels().get(name).map(String::as_str)
    }

    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations().get(name).map(String::as_str)
    }

    pub(super) fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref()).unwrap_or(&NONE)
    }

    pub(super) fn annotations(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref()).unwrap_or(&NONE)
    }

    /// All containers, those of the start first.
    pub(super) fn containers(&self) -> impl Iterator<Item = &Container> {
        self.spec.init_containers.iter().flatten().chain(&self.spec.containers)
    }

    /// The ports whose names say what is spoken there (`http`, `grpc-api`), each once. Others are found by the services that
    /// lead to them.
    pub(super) fn ports_said(&self) -> Vec<PortSaid> {
        let ports = self.containers().flat_map(|container| container.ports.iter().flatten());
        let said = ports.filter(|port| port.is_tcp()).filter_map(|port| {
            let protocol = AppProtocol::named(port.name.as_deref()?)?;
            Some(PortSaid { number: port.container_port, protocol })
        });
        let mut said: Vec<PortSaid> = said.collect();
        said.sort_unstable();
        said.dedup_by_key(|port| port.number);
        said
    }

    /// Whether it was injected before, and nothing of that is missing.
    pub(super) fn has_gate(&self) -> bool {
        let runs_beside = |name: &str| {
            let containers = self.spec.init_containers.iter().flatten();
            containers.into_iter().any(|c| c.name == name && c.restarts())
        };
        self.annotation(INJECTED).is_some()
            && runs_beside(SIDECAR_CONTAINER)
            && runs_beside(ENVOY_CONTAINER)
            && self.containers().any(|container| container.name == CAPTURE_CONTAINER)
    }

    pub(super) fn uses_host_network(&self) -> bool {
        self.spec.host_network == Some(true)
    }

    pub(super) fn is_windows(&self) -> bool {
        let selector = self.spec.node_selector.as_ref();
        let os = self.spec.os.as_ref().map(|os| os.name.as_str());
        let selected = selector.and_then(|labels| labels.get("kubernetes.io/os"));
        os == Some("windows") || selected.is_some_and(|os| os == "windows")
    }

    /// A container that runs as a user of the gate, whose connections are not captured.
    pub(super) fn gate_user(&self) -> Option<(&str, i64)> {
        let is_gates =
            |uid: &i64| [ENVOY_UID, SIDECAR_UID].iter().any(|own| i64::from(*own) == *uid);
        let pods = self.spec.security_context.as_ref().and_then(|context| context.run_as_user);
        self.containers().find_map(|container| {
            let own = container.security_context.as_ref().and_then(|context| context.run_as_user);
            let uid = own.or(pods).filter(is_gates)?;
            Some((container.name.as_str(), uid))
        })
    }

    pub(super) fn shares_processes(&self) -> bool {
        self.spec.share_process_namespace == Some(true)
    }

    /// False for what runs to its end, such as a job.
    pub(super) fn is_long_running(&self) -> bool {
        self.spec.restart_policy.as_deref().is_none_or(|policy| policy == "Always")
    }

    /// How long the pod may take to stop, in seconds; 30 where it does not say, as in Kubernetes.
    pub(super) fn grace_seconds(&self) -> u64 {
        self.spec.termination_grace_period_seconds.unwrap_or(30)
    }

    /// Names and ports that the gate needs for itself.
    pub(super) fn refuse_conflicts(&self) -> Result<(), Refused> {
        for container in self.containers() {
            if [CAPTURE_CONTAINER, SIDECAR_CONTAINER, ENVOY_CONTAINER]
                .contains(&container.name.as_str())
            {
                return Err(Refused::ContainerName(container.name.clone()));
            }
            let ports = container.ports.iter().flatten().filter(|port| port.is_tcp());
            if let Some(port) =
                ports.map(|port| port.container_port).find(|p| OWN_PORTS.contains(p))
            {
                return Err(Refused::Port { container: container.name.clone(), port });
            }
        }
        let mut volumes = self.spec.volumes.iter().flatten();
        match volumes.find(|volume| volume.name.starts_with(VOLUME_PREFIX)) {
            Some(volume) => Err(Refused::VolumeName(volume.name.clone())),
            None => Ok(()),
        }
    }
}

impl Container {
    /// True for one that runs beside the others although it stands among those of the start.
    pub(super) fn restarts(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }

    /// The number of a port that is named.
    pub(super) fn port(&self, name: &str) -> Option<u16> {
        let mut ports = self.ports.iter().flatten();
        ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port)
    }
}

impl Port {
    fn is_tcp(&self) -> bool {
        self.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
    }
}
