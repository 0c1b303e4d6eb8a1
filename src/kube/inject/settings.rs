//! What the mesh says of all gates: the section `injection` of the control plane's configuration.

use std::time::Duration;

use serde::Deserialize;

use super::resources::Resources;
use super::wish::DEFAULT_REVISION;
use crate::identity::TrustDomain;
use crate::mesh::capture::{Exclusions, Networks, Ports, Uids};
use crate::mesh::captured::OutboundMode;

/// A token of a service account is good for at least ten minutes, says Kubernetes.
const TOKEN: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(600)..=Duration::from_secs(24 * 3600);
const LONGEST_STOP: Duration = Duration::from_secs(60);

/// Everything that injection needs to know beside the pod and its namespace.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The mesh's.
    pub trust_domain: TrustDomain,
    /// For whom the tokens are by which workloads prove themselves to the control plane.
    pub audience: String,
    /// The section.
    pub injection: Injection,
}

/// The section `injection`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Injection {
    /// The image of hopgate, for the sidecar and the init step.
    pub image: String,
    /// The image of Envoy.
    pub envoy_image: String,
    /// When images are pulled; Kubernetes' own rule where it is not said.
    #[serde(default)]
    pub image_pull_policy: Option<PullPolicy>,
    /// Where sidecars reach the control plane, `https://host:port`.
    pub control: String,
    /// Which revision this is; pods and namespaces ask for one by the label `hopgate.dev/revision`.
    #[serde(default = "default_revision")]
    pub revision: String,
    /// By what connections are captured.
    #[serde(default)]
    pub capture: CaptureBy,
    /// The ConfigMap with the roots of the mesh, in each namespace; its key is `roots.pem`.
    #[serde(default = "default_trust")]
    pub trust_config_map: String,
    /// How long the tokens are good for; the kubelet replaces them before.
    #[serde(default = "default_token_lifetime", with = "humantime_serde")]
    pub token_lifetime: Duration,
    /// How much the gate logs; a pod may say otherwise.
    #[serde(default)]
    pub log_level: LogLevel,
    /// What the containers of the gate may use; a pod may say otherwise.
    #[serde(default)]
    pub resources: GateResources,
    /// Worker threads of each Envoy.
    #[serde(default = "default_concurrency")]
    pub envoy_concurrency: u16,
    /// What becomes of connections of pods to whatever is no part of the mesh.
    #[serde(default)]
    pub outbound: OutboundMode,
    /// What no pod's gate captures; a pod may add to it.
    #[serde(default)]
    pub exclude: ExcludeSettings,
    /// How long an application without a hook of its own lives on once its pod is told to stop, in whole seconds: until
    /// callers have heard of it. `0s` leaves applications alone.
    #[serde(default = "default_stop_delay", with = "humantime_serde")]
    pub stop_delay: Duration,
    /// What becomes of a pod that should have a gate and can have none.
    #[serde(default)]
    pub unguarded: Unguarded,
}

/// By what connections are captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum CaptureBy {
    /// An init container of each pod, with the capability NET_ADMIN.
    #[default]
    InitContainer,
    /// A CNI plugin of the node. An init container without any capability sees that it did.
    Cni,
}

/// What becomes of a pod that should have a gate and can have none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Unguarded {
    /// It runs without one, and without an identity; its owner is told.
    #[default]
    Admit,
    /// It does not run.
    Refuse,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum PullPolicy {
    /// At each start.
    Always,
    /// Where it is not there.
    IfNotPresent,
    /// Never.
    Never,
}

/// How much the gate logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures.
    Error,
    /// And what may become one.
    Warn,
    /// And what changes.
    #[default]
    Info,
    /// And how.
    Debug,
    /// Everything.
    Trace,
}

/// What the containers of the gate may use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateResources {
    /// The sidecar.
    pub hopgate: Resources,
    /// The proxy.
    pub envoy: Resources,
}

/// What is not captured: lists with commas between, as in the annotations of pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ExcludeSettings {
    /// Incoming connections to these ports.
    #[serde(deserialize_with = "list")]
    pub inbound_ports: Ports,
    /// Outgoing connections to these ports.
    #[serde(deserialize_with = "list")]
    pub outbound_ports: Ports,
    /// Outgoing connections to these networks.
    #[serde(deserialize_with = "list")]
    pub outbound_cidrs: Networks,
    /// Outgoing connections of these users.
    #[serde(deserialize_with = "list")]
    pub uids: Uids,
}

/// A field that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("injection.{field}: {problem}")]
pub struct InvalidInjection {
    /// Which.
    pub field: &'static str,
    /// What is wrong, and what to write.
    pub problem: String,
}

impl Injection {
    /// Checks what the types cannot hold.
    ///
    /// # Errors
    /// When a field cannot work.
    pub fn validate(&self) -> Result<(), InvalidInjection> {
        let invalid =
            |field, problem: &str| Err(InvalidInjection { field, problem: problem.to_owned() });
        for (field, image) in [("image", &self.image), ("envoyImage", &self.envoy_image)] {
            if image.is_empty() || image.contains(char::is_whitespace) {
                return invalid(field, "write the name of an image");
            }
        }
        if !self.control.starts_with("https://") {
            return invalid("control", "write where the control plane is, https://host:port");
        }
        if !is_label(&self.revision) {
            return invalid("revision", "write 1 to 63 of a-z, 0-9 and '-', as in a DNS label");
        }
        if !self.trust_config_map.split('.').all(is_label) {
            return invalid("trustConfigMap", "write the name of a ConfigMap");
        }
        if !TOKEN.contains(&self.token_lifetime) {
            return invalid("tokenLifetime", "must be between 10m and 24h");
        }
        if self.stop_delay > LONGEST_STOP || self.stop_delay.subsec_nanos() != 0 {
            return invalid("stopDelay", "must be whole seconds, at most 60");
        }
        if !(1..=256).contains(&self.envoy_concurrency) {
            return invalid("envoyConcurrency", "must be between 1 and 256");
        }
        Ok(())
    }

    pub(super) fn stop_delay_seconds(&self) -> u64 {
        self.stop_delay.as_secs()
    }
}

impl ExcludeSettings {
    pub(super) fn exclusions(&self) -> Exclusions {
        let Self { inbound_ports, outbound_ports, outbound_cidrs, uids } = self.clone();
        Exclusions { inbound_ports, outbound_ports, outbound_networks: outbound_cidrs, uids }
    }
}

impl GateResources {
    /// The same, with what `other` says instead.
    #[must_use]
    pub fn overridden(self, other: Self) -> Self {
        let Self { hopgate, envoy } = other;
        Self { hopgate: self.hopgate.overridden(hopgate), envoy: self.envoy.overridden(envoy) }
    }
}

impl Default for GateResources {
    /// Measured, with room: the sidecar needs 15 MiB at rest, an Envoy 70 MiB and 0.1 MiB per service that it may call.
    fn default() -> Self {
        Self {
            hopgate: Resources::of(["20m", "32Mi"], "192Mi"),
            envoy: Resources::of(["50m", "96Mi"], "1Gi"),
        }
    }
}

impl LogLevel {
    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace]
            .into_iter()
            .find(|level| level.as_str() == text)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// The same for Envoy. Its `info` tells of each change that it is sent.
    pub(super) fn of_envoy(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn | Self::Info => "warning",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl PullPolicy {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

fn is_label(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn list<'de, D, L>(deserializer: D) -> Result<L, D::Error>
where
    D: serde::Deserializer<'de>,
    L: std::str::FromStr + Default,
    L::Err: std::fmt::Display,
{
    let text = String::deserialize(deserializer)?;
    // Written by a chart, for example, that writes every field.
    if text.is_empty() { Ok(L::default()) } else { text.parse().map_err(serde::de::Error::custom) }
}

fn default_revision() -> String {
    DEFAULT_REVISION.to_owned()
}

fn default_trust() -> String {
    "hopgate-trust".to_owned()
}

fn default_token_lifetime() -> Duration {
    Duration::from_secs(3600)
}

fn default_concurrency() -> u16 {
    2
}

fn default_stop_delay() -> Duration {
    Duration::from_secs(5)
}
