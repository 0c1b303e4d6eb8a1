//! The section `pod` of a sidecar's configuration.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::mesh::pod::{ENVOY_ADMIN_SOCKET, HEALTH_PORT, SIDECAR_PORT};
use crate::mesh::probe::Probes;
use crate::mesh::{self};
use crate::policy::yaml::present;
use crate::runtime::Address;
use crate::sidecar::InvalidConfig;
use crate::sidecar::config::invalid;

/// What a sidecar does for its pod on Kubernetes. Injection writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PodConfig {
    /// The pod's own address, where the application's probes are asked. The kubelet tells it by a variable.
    #[serde(default, deserialize_with = "present")]
    pub address: Option<IpAddr>,
    /// Metrics, and the application's probes.
    #[serde(default = "default_listen")]
    pub listen: Address,
    /// Where the kubelet asks whether the gate works.
    #[serde(default = "default_health")]
    pub health: Address,
    /// Envoy's admin page.
    #[serde(default = "default_envoy_admin")]
    pub envoy_admin: mesh::Endpoint,
    /// The application's probes.
    #[serde(default, deserialize_with = "present")]
    pub probes: Option<Probes>,
}

impl PodConfig {
    /// Makes relative paths relative to `base`, the directory of the configuration file.
    pub(in crate::sidecar) fn resolve(&mut self, base: &Path) {
        self.envoy_admin = self.envoy_admin.clone().relative_to(base);
    }

    pub(in crate::sidecar) fn validate(&self) -> Result<(), InvalidConfig> {
        for (field, address) in [("pod.listen", &self.listen), ("pod.health", &self.health)] {
            if let Address::Unix(_) = address {
                return Err(invalid(
                    field,
                    "must be an IP address with a port: the kubelet calls it",
                ));
            }
        }
        if !self.envoy_admin.is_local() {
            return Err(invalid("pod.envoyAdmin", "must be a unix socket or a loopback address"));
        }
        if self.probes.as_ref().is_some_and(|probes| probes.by_path().next().is_some())
            && self.address.is_none()
        {
            let problem =
                "is needed where there are probes: set HOPGATE_SIDECAR_POD_IP to the pod's address";
            return Err(invalid("pod.address", problem));
        }
        Ok(())
    }

    /// What `/config` shows: how many probes, and not the key in their paths.
    pub(in crate::sidecar) fn to_json(&self) -> Value {
        let probes = self.probes.iter().flat_map(Probes::by_path);
        json!({
            "address": self.address,
            "listen": self.listen,
            "health": self.health,
            "probes": probes.map(|(_, probe)| probe.name.clone()).collect::<Vec<_>>(),
        })
    }
}

/// Both families: a kernel without IPv6 has no such address, and no pod of today runs on one.
fn everywhere(port: u16) -> Address {
    Address::Tcp(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))
}

fn default_listen() -> Address {
    everywhere(SIDECAR_PORT)
}

fn default_health() -> Address {
    everywhere(HEALTH_PORT)
}

fn default_envoy_admin() -> mesh::Endpoint {
    mesh::Endpoint::Unix(ENVOY_ADMIN_SOCKET.into())
}
