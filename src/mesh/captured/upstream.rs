//! Clusters of what the application calls, and the endpoints behind them.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::mesh::address::{set, socket_address};
use crate::mesh::cluster::{Life, bare, speak_http};
use crate::mesh::config::Protocol;
use crate::mesh::peer_ids::PeerIds;

use super::check::{Captured, Destination};
use super::endpoint::Transport;
use super::workload::OutboundMode;
use crate::policy::MtlsMode;

/// Wherever a connection was going, as it is.
pub(super) const PASSTHROUGH: &str = "passthrough";
/// The metadata by which Envoy chooses how an endpoint is spoken to.
const TRANSPORT: &str = "envoy.transport_socket_match";

pub(super) fn service_name(name: &str) -> String {
    format!("out|{name}")
}

pub(super) fn direct_name(name: &str) -> String {
    format!("direct|{name}")
}

pub(super) fn own_name(protocol: Protocol) -> String {
    match protocol {
        Protocol::Http => "own|http".to_owned(),
        Protocol::Tcp => "own|tcp".to_owned(),
    }
}

impl Captured {
    /// Only what some chain leads to, or did until lately.
    pub(super) fn outbound_clusters(&self) -> Vec<Value> {
        let services = self.reachable().filter_map(|one| {
            let peers = one.peers.as_ref().ok()?;
            Some(self.service_cluster(one, peers))
        });
        let direct = self.direct.iter().filter_map(|one| {
            let peers = one.peers.as_ref().ok()?;
            let secured = (one.server_name.as_str(), peers);
            Some(self.address_cluster(&direct_name(&one.name), one.protocol, secured))
        });
        let mut clusters: Vec<Value> = services.chain(direct).collect();
        if let Ok(own) = &self.own {
            for protocol in [Protocol::Http, Protocol::Tcp] {
                let used = |port: &&super::Port| {
                    port.mtls != MtlsMode::Disabled && port.protocol.inside_tls() == protocol
                };
                if self.workload.ports.iter().any(|port| used(&port)) {
                    let name = own_name(protocol);
                    clusters.push(self.address_cluster(&name, protocol, ("own", own)));
                }
            }
        }
        let plain_port = self.workload.ports.iter().any(|port| port.mtls == MtlsMode::Disabled);
        if self.workload.outbound == OutboundMode::Any || plain_port {
            clusters.push(passthrough());
        }
        clusters
    }

    /// The endpoints of services.
    pub(super) fn assignments(&self) -> Vec<Value> {
        let usable = self.reachable().filter(|one| one.peers.is_ok());
        usable.map(assignment).collect()
    }

    /// The workloads behind a service. mTLS is what every endpoint gets that is not marked for plaintext.
    fn service_cluster(&self, destination: &Destination, peers: &PeerIds) -> Value {
        let mut cluster = bare(&service_name(&destination.name), "EDS");
        set(&mut cluster, "connect_timeout", json!("2s"));
        let source = json!({
            "ads": {},
            "resource_api_version": "V3",
            // Endpoints are sent with every change of the cluster; should they be lost, it takes those that it had.
            "initial_fetch_timeout": "5s",
        });
        set(&mut cluster, "eds_cluster_config", json!({ "eds_config": source }));
        let mtls = self.trust().upstream(&destination.server_name, peers);
        set(&mut cluster, "transport_socket", mtls);
        let plain: Vec<String> = destination
            .endpoints
            .iter()
            .filter(|(_, transport)| **transport == Transport::Plain)
            .map(|(address, _)| address.to_string())
            .collect();
        if !plain.is_empty() {
            let raw = json!([{
                "name": "plain",
                "match": { "hopgate": "plain" },
                "transport_socket": {
                    "name": "envoy.transport_sockets.raw_buffer",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
                    },
                },
            }]);
            set(&mut cluster, "transport_socket_matches", raw);
            // When one of them comes to take mTLS, connections that stand stay plaintext. With the cluster they end.
            let metadata = json!({ "filter_metadata": { "hopgate": { "plain": plain } } });
            set(&mut cluster, "metadata", metadata);
        }
        if destination.protocol == Protocol::Http {
            speak_http(&mut cluster, Life::OfCertificates);
        }
        cluster
    }

    /// Workloads that are dialled where the application wanted to go.
    fn address_cluster(
        &self,
        name: &str,
        protocol: Protocol,
        (server_name, peers): (&str, &PeerIds),
    ) -> Value {
        let mut cluster = bare(name, "ORIGINAL_DST");
        set(&mut cluster, "connect_timeout", json!("2s"));
        set(&mut cluster, "lb_policy", json!("CLUSTER_PROVIDED"));
        set(&mut cluster, "transport_socket", self.trust().upstream(server_name, peers));
        if protocol == Protocol::Http {
            speak_http(&mut cluster, Life::OfCertificates);
        }
        cluster
    }
}

fn assignment(destination: &Destination) -> Value {
    let endpoint = |(address, transport): (&SocketAddr, &Transport)| {
        let mut endpoint = json!({
            "endpoint": { "address": socket_address(*address) },
            "health_status": "HEALTHY",
        });
        if *transport == Transport::Plain {
            let mark = json!({ "filter_metadata": { TRANSPORT: { "hopgate": "plain" } } });
            set(&mut endpoint, "metadata", mark);
        }
        endpoint
    };
    let endpoints: Vec<Value> = destination.endpoints.iter().map(endpoint).collect();
    let localities: Vec<Value> =
        if endpoints.is_empty() { Vec::new() } else { vec![json!({ "lb_endpoints": endpoints })] };
    json!({ "cluster_name": service_name(&destination.name), "endpoints": localities })
}

fn passthrough() -> Value {
    let mut cluster = bare(PASSTHROUGH, "ORIGINAL_DST");
    set(&mut cluster, "connect_timeout", json!("5s"));
    set(&mut cluster, "lb_policy", json!("CLUSTER_PROVIDED"));
    cluster
}
