//! What goes out: one listener for all destinations, and the routes of requests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Value, json};

use crate::identity::SpiffeId;
use crate::mesh::address::{set, socket_address};
use crate::mesh::config::Protocol;
use crate::mesh::http::{Route, Towards, outbound, outbound_routes};
use crate::mesh::listener::tcp;
use crate::mesh::pod::OUTBOUND_PORT;

use super::check::{Captured, Peers};
use super::inbound::{original_dst, refusal, whole_address};
use crate::policy::MtlsMode;

use super::port::Port;
use super::upstream::{PASSTHROUGH, direct_name, own_name, service_name};
use super::workload::OutboundMode;

const LISTENER: &str = "outbound";

/// One chain: what it matches, and the cluster behind it.
struct Chain {
    name: String,
    addresses: Vec<IpAddr>,
    port: u16,
    protocol: Protocol,
    cluster: String,
}

impl Captured {
    /// No listener filter but the one that finds the destination: an inspector waits for the client to speak, and some
    /// protocols let the server begin.
    pub(super) fn outbound_listener(&self) -> Value {
        let loopback = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
        let (main, other) = self.families.pick(loopback.0, loopback.1);
        let at = |ip| socket_address(SocketAddr::new(ip, OUTBOUND_PORT));
        let mut chains = self.own_chains();
        chains.extend(self.destinations.iter().map(|one| {
            let chain = Chain {
                name: service_name(&one.name),
                addresses: one.addresses.clone(),
                port: one.number,
                protocol: one.protocol,
                cluster: service_name(&one.name),
            };
            self.chain(&chain, &one.peers, &one.revoked)
        }));
        for direct in &self.direct {
            chains.extend(direct.at.iter().map(|address| {
                let chain = Chain {
                    name: format!("direct|{address}"),
                    addresses: vec![address.ip()],
                    port: address.port(),
                    protocol: direct.protocol,
                    cluster: direct_name(&direct.name),
                };
                self.chain(&chain, &direct.peers, &direct.revoked)
            }));
        }
        // Whoever dials the listener itself would otherwise be sent back to it, for ever.
        chains.push(json!({
            "name": "itself",
            "filter_chain_match": { "destination_port": OUTBOUND_PORT },
            "filters": [refusal()],
        }));
        let mut listener = json!({
            "name": LISTENER,
            "traffic_direction": "OUTBOUND",
            "address": at(main),
            "listener_filters": [original_dst()],
            "filter_chains": chains,
            "default_filter_chain": match self.workload.outbound {
                OutboundMode::Any => json!({ "name": "passthrough", "filters": [self.pass()] }),
                OutboundMode::MeshOnly => json!({ "name": "refused", "filters": [refusal()] }),
            },
        });
        if let Some(other) = other {
            set(&mut listener, "additional_addresses", json!([{ "address": at(other) }]));
        }
        listener
    }

    /// The routes of all chains that carry requests.
    pub(super) fn routes(&self) -> Vec<Value> {
        let http = |protocol: Protocol, peers: &Peers| protocol == Protocol::Http && peers.is_ok();
        let services = self.reachable().filter(|one| http(one.protocol, &one.peers));
        let direct = self.direct.iter().filter(|one| http(one.protocol, &one.peers));
        let own = self.workload.ports.iter().any(|port| {
            port.mtls != MtlsMode::Disabled && http(port.protocol.inside_tls(), &self.own)
        });
        let own = own.then(|| own_name(Protocol::Http));
        (own.into_iter())
            .chain(services.map(|one| service_name(&one.name)))
            .chain(direct.map(|one| direct_name(&one.name)))
            .map(|name| outbound_routes(&name, &name))
            .collect()
    }

    /// The application's calls to itself by the addresses of its pod.
    fn own_chains(&self) -> Vec<Value> {
        let chain = |port: &Port| {
            let protocol = port.protocol.inside_tls();
            let chain = Chain {
                name: format!("own|{}", port.number),
                addresses: self.workload.addresses.clone(),
                port: port.number,
                protocol,
                cluster: own_name(protocol),
            };
            match port.mtls {
                MtlsMode::Strict | MtlsMode::Permissive => self.chain(&chain, &self.own, &[]),
                MtlsMode::Disabled => json!({
                    "name": chain.name,
                    "filter_chain_match": chain.matched(),
                    "filters": [self.pass()],
                }),
            }
        };
        self.workload.ports.iter().map(chain).collect()
    }

    /// A chain to a part of the mesh. Where nobody may answer, it refuses.
    fn chain(&self, chain: &Chain, peers: &Peers, revoked: &[SpiffeId]) -> Value {
        let log = self.log(&format!("{LISTENER}|{}", chain.name));
        let filter = match (peers, chain.protocol) {
            (Err(_), _) => refusal(),
            (Ok(_), Protocol::Http) => {
                let tokens = self.workload.sidecar.tokens.as_ref();
                let tokens = tokens.map(|_| self.workload.authz_timeout);
                outbound("out", Route::Discovered(&chain.cluster), log.as_ref(), tokens)
            }
            (Ok(_), Protocol::Tcp) => {
                let towards = Towards { stat_prefix: "out_tcp", cluster: &chain.cluster };
                tcp(towards, log.as_ref())
            }
        };
        let mut value = json!({
            "name": chain.name,
            "filter_chain_match": chain.matched(),
            "filters": [filter],
        });
        if !revoked.is_empty() {
            // With the chain end the connections that were made before.
            let revoked: Vec<&str> = revoked.iter().map(SpiffeId::as_str).collect();
            let metadata = json!({ "filter_metadata": { "hopgate": { "revoked": revoked } } });
            set(&mut value, "metadata", metadata);
        }
        value
    }

    /// Passes bytes on to where they were going.
    fn pass(&self) -> Value {
        let log = self.log(&format!("{LISTENER}|{PASSTHROUGH}"));
        tcp(Towards { stat_prefix: "out_pass", cluster: PASSTHROUGH }, log.as_ref())
    }
}

impl Chain {
    fn matched(&self) -> Value {
        let mut addresses = self.addresses.clone();
        addresses.sort_unstable();
        addresses.dedup();
        let ranges: Vec<Value> = addresses.into_iter().map(whole_address).collect();
        json!({ "destination_port": self.port, "prefix_ranges": ranges })
    }
}
