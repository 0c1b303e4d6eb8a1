//! Clusters: the application, the upstreams, the sidecar, and nowhere.

use serde_json::{Value, json};

use super::address::{Endpoint, Upstream, set, socket_address};
use super::config::Protocol;
use super::model::{Edge, Inbound, Outbound};
use super::standing::{self, WhileRefused};
use super::tls::Trust;

/// Secret discovery of the sidecar.
pub(super) const SDS_CLUSTER: &str = "sidecar-sds";
/// The gate of the sidecar.
pub(super) const AUTHZ_CLUSTER: &str = "sidecar-authz";
/// The tokens of the application's own calls.
pub(super) const TOKENS_CLUSTER: &str = "sidecar-tokens";
/// A cluster without endpoints: what is sent there is refused.
pub(super) const BLACKHOLE: &str = "blackhole";

const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

impl Inbound {
    pub(super) fn cluster_name(&self) -> String {
        format!("inbound|{}", self.name)
    }

    /// The application behind an inbound listener. Requests are judged one by one; connections only once, so the sidecar
    /// is asked whether they may stand.
    pub(super) fn cluster(&self, sidecar: &Endpoint) -> Value {
        let mut cluster = app(&self.cluster_name(), socket_address(self.app), self.protocol);
        if self.protocol == Protocol::Tcp {
            let path = standing::inbound(self.name.as_str());
            standing::ask(&mut cluster, sidecar, (&path, WhileRefused::Judged));
        }
        cluster
    }
}

impl Edge {
    pub(super) fn cluster_name(&self) -> String {
        format!("edge|{}", self.name)
    }

    /// The application behind an edge listener.
    pub(super) fn cluster(&self) -> Value {
        app(&self.cluster_name(), socket_address(self.app), Protocol::Http)
    }
}

impl Outbound {
    pub(super) fn cluster_name(&self) -> String {
        format!("outbound|{}", self.name)
    }

    /// The other workload's gate, seen from a workload that trusts so. A certificate is judged once for each connection, so
    /// the sidecar is asked whether they may stand.
    pub(super) fn cluster(&self, trust: Trust<'_>, sidecar: &Endpoint) -> Value {
        let names = self.upstream.iter().any(|one| matches!(one, Upstream::Name { .. }));
        let kind = if names { "STRICT_DNS" } else { "STATIC" };
        let endpoints = self.upstream.iter().map(Upstream::to_envoy).collect();
        let mut cluster = cluster(&self.cluster_name(), kind, endpoints);
        set(&mut cluster, "connect_timeout", json!("2s"));
        set(&mut cluster, "transport_socket", trust.upstream(self.name.as_str(), &self.peers));
        if self.protocol == Protocol::Http {
            speak_http(&mut cluster, Life::OfCertificates);
        }
        let path = standing::outbound(&self.name);
        standing::ask(&mut cluster, sidecar, (&path, WhileRefused::Refused));
        cluster
    }
}

/// A cluster that refuses everything.
pub(super) fn blackhole() -> Value {
    json!({ "name": BLACKHOLE, "type": "STATIC", "connect_timeout": "1s" })
}

/// A gRPC service of the sidecar.
pub(super) fn sidecar(name: &str, endpoint: &Endpoint) -> Value {
    let mut cluster = cluster(name, "STATIC", vec![endpoint.to_envoy()]);
    let http2 = json!({ "http2_protocol_options": {} });
    speak(&mut cluster, "explicit_http_config", http2, None);
    cluster
}

fn app(name: &str, address: Value, protocol: Protocol) -> Value {
    let mut cluster = cluster(name, "STATIC", vec![address]);
    if protocol == Protocol::Http {
        speak_http(&mut cluster, Life::Unbounded);
    }
    cluster
}

/// How long a connection to an upstream may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// As long as it is used.
    Unbounded,
    /// A renewed certificate or a removed root counts for new connections only, so each of them ends some day.
    OfCertificates,
}

/// The upstream is spoken to as the caller spoke: an application that knows HTTP/1.1 only is never sent HTTP/2.
pub(super) fn speak_http(cluster: &mut Value, life: Life) {
    let mirrored = json!({ "http_protocol_options": {}, "http2_protocol_options": {} });
    let common = match life {
        Life::Unbounded => None,
        Life::OfCertificates => Some(json!({ "max_connection_duration": "900s" })),
    };
    speak(cluster, "use_downstream_protocol_config", mirrored, common);
}

/// Says which HTTP a cluster speaks: `how` names the choice, `protocol` details it.
fn speak(cluster: &mut Value, how: &str, protocol: Value, common: Option<Value>) {
    let mut options = json!({ "@type": format!("type.googleapis.com/{PROTOCOL_OPTIONS}") });
    if let Some(common) = common {
        set(&mut options, "common_http_protocol_options", common);
    }
    set(&mut options, how, protocol);
    set(cluster, "typed_extension_protocol_options", json!({ PROTOCOL_OPTIONS: options }));
}

/// A cluster without endpoints of its own. Envoy's limits are 1024 of each, which a busy service meets as refusals that
/// nobody configured.
pub(super) fn bare(name: &str, kind: &str) -> Value {
    json!({
        "name": name,
        "type": kind,
        "connect_timeout": "1s",
        "circuit_breakers": {
            "thresholds": [{
                "max_connections": 100_000,
                "max_pending_requests": 100_000,
                "max_requests": 100_000,
                "max_retries": 1000,
            }],
        },
    })
}

/// A cluster of these addresses.
pub(super) fn cluster(name: &str, kind: &str, endpoints: Vec<Value>) -> Value {
    let endpoints: Vec<Value> = endpoints
        .into_iter()
        .map(|address| json!({ "endpoint": { "address": address } }))
        .collect();
    let mut cluster = bare(name, kind);
    let assignment = json!({ "cluster_name": name, "endpoints": [{ "lb_endpoints": endpoints }] });
    set(&mut cluster, "load_assignment", assignment);
    cluster
}
