//! What comes in: one listener for all ports, and the application behind it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Value, json};

use crate::mesh::address::{set, socket_address};
use crate::mesh::cluster::{BLACKHOLE, Life, bare, blackhole, cluster, speak_http};
use crate::mesh::config::Protocol;
use crate::mesh::http::{Door, PeerChain, Question, Towards, guarded};
use crate::mesh::listener::{Speaks, access_log, guarded_tcp, tcp, tls_inspector};
use crate::mesh::pod::{ESCAPE_V4, ESCAPE_V6, INBOUND_PORT};
use crate::mesh::standing::{self, WhileRefused};
use crate::mesh::tls::{SERVER_NAME_SUFFIX, Secrets, Trust};

use super::check::Captured;
use crate::policy::MtlsMode;

use super::port::{AppProtocol, Port};

/// The application, for requests: wherever the caller wanted to go.
const APP: &str = "app";
const LISTENER: &str = "inbound";

/// How a connection came, which decides what is in front of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    ByMtls,
    InPlaintext,
}

impl Captured {
    /// Whom the workload trusts.
    pub(super) fn trust(&self) -> Trust<'_> {
        Trust {
            own: &self.domain,
            aliases: &self.workload.sidecar.aliases,
            federated: &self.workload.federated,
            secrets: Secrets::Aggregated,
        }
    }

    pub(super) fn log(&self, listener: &str) -> Option<Value> {
        self.workload.access_log.as_deref().map(|path| access_log(path, listener))
    }

    pub(super) fn inbound_clusters(&self) -> Vec<Value> {
        let mut clusters = vec![self.app(), blackhole()];
        let bytes = |port: &&Port| port.protocol.inside_tls() == Protocol::Tcp;
        for port in self.workload.ports.iter().filter(bytes) {
            clusters.extend(self.places(port).map(|(place, at)| self.app_bytes(&place, at)));
        }
        clusters
    }

    /// Its other fields than the chains are never changed: that would end every connection.
    pub(super) fn inbound_listener(&self) -> Value {
        let any = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let (main, other) = self.families.pick(any.0, any.1);
        let at = |ip| socket_address(SocketAddr::new(ip, INBOUND_PORT));
        let mut chains: Vec<Value> =
            self.workload.ports.iter().flat_map(|port| self.port_chains(port)).collect();
        // Whoever dials the listener itself would otherwise be sent back to it, for ever.
        chains.push(json!({
            "name": "direct",
            "filter_chain_match": { "destination_port": INBOUND_PORT },
            "filters": [refusal()],
        }));
        let mut listener = json!({
            "name": LISTENER,
            "traffic_direction": "INBOUND",
            "address": at(main),
            "listener_filters_timeout": "5s",
            // Whoever is silent for so long counts as plaintext, which is refused where that is not taken.
            "continue_on_listener_filters_timeout": true,
            "listener_filters": [original_dst(), self.inspector()],
            "filter_chains": chains,
            // Whatever matched no chain. It must refuse: matching does not go back to a less specific chain, so
            // everything odd ends here.
            "default_filter_chain": { "name": "refused", "filters": [refusal()] },
        });
        if let Some(other) = other {
            set(&mut listener, "additional_addresses", json!([{ "address": at(other) }]));
        }
        listener
    }

    /// Where a server greets in plaintext its client waits, and must not be waited for.
    fn inspector(&self) -> Value {
        let greets = |port: &&Port| {
            port.protocol == AppProtocol::ServerFirst && port.mtls == MtlsMode::Disabled
        };
        let mut ports: Vec<u32> =
            self.workload.ports.iter().filter(greets).map(|port| port.number.into()).collect();
        ports.sort_unstable();
        let mut inspector = tls_inspector();
        let ranges = ports
            .iter()
            .map(|port| json!({ "destination_port_range": { "start": port, "end": port + 1 } }));
        let ranges: Vec<Value> = ranges.collect();
        match ranges.as_slice() {
            [] => {}
            [one] => set(&mut inspector, "filter_disabled", one.clone()),
            _ => set(&mut inspector, "filter_disabled", json!({ "or_match": { "rules": ranges } })),
        }
        inspector
    }

    fn port_chains(&self, port: &Port) -> Vec<Value> {
        match port.protocol.inside_tls() {
            Protocol::Http => self.mode_chains(port, None),
            Protocol::Tcp => {
                let places = self.places(port);
                places.flat_map(|place| self.mode_chains(port, Some(&place))).collect()
            }
        }
    }

    /// The chains of one port; `place` is set where the application is found by address, not by where the caller wanted to
    /// go.
    fn mode_chains(&self, port: &Port, place: Option<&(String, SocketAddr)>) -> Vec<Value> {
        let number = port.number.to_string();
        let name = place.map_or(number, |(place, _)| place.clone());
        let matched = |more: Value| {
            let mut matched = json!({ "destination_port": port.number });
            if let Some((_, at)) = place {
                set(&mut matched, "prefix_ranges", json!([whole_address(at.ip())]));
            }
            if let Value::Object(more) = more {
                more.into_iter().for_each(|(field, value)| set(&mut matched, &field, value));
            }
            matched
        };
        let mesh_name = format!("*.{SERVER_NAME_SUFFIX}");
        let by_mtls = |more: Value| {
            json!({
                "name": format!("{name}-mtls"),
                "filter_chain_match": matched(more),
                "transport_socket": self.trust().downstream(port.protocol.inside_tls()),
                "filters": self.application(port, &name, Came::ByMtls),
            })
        };
        let in_plaintext = |kind: &str, more: Value| {
            json!({
                "name": format!("{name}-{kind}"),
                "filter_chain_match": matched(more),
                "filters": self.application(port, &name, Came::InPlaintext),
            })
        };
        let tls = json!({ "transport_protocol": "tls" });
        match port.mtls {
            MtlsMode::Strict => vec![by_mtls(tls)],
            MtlsMode::Permissive => {
                let mesh = json!({ "transport_protocol": "tls", "server_names": [mesh_name] });
                let plain = json!({ "transport_protocol": "raw_buffer" });
                let mut chains = vec![by_mtls(mesh), in_plaintext("plain", plain)];
                if port.protocol.inside_tls() == Protocol::Tcp {
                    // TLS of the application's own: bytes like any other, and judged like them.
                    chains.push(in_plaintext("own-tls", tls));
                }
                chains
            }
            MtlsMode::Disabled => vec![in_plaintext("plain", json!({}))],
        }
    }

    /// The filters in front of the application; the gate is asked in all of them.
    fn application(&self, port: &Port, name: &str, came: Came) -> Vec<Value> {
        let log = self.log(&format!("{LISTENER}|{name}"));
        let timeout = self.workload.authz_timeout;
        if port.protocol.inside_tls() == Protocol::Tcp {
            let cluster = app_bytes_name(name);
            let speaks = match port.protocol {
                AppProtocol::ServerFirst => Speaks::Server,
                AppProtocol::Http | AppProtocol::Http2 | AppProtocol::Grpc | AppProtocol::Tcp => {
                    Speaks::Client
                }
            };
            let towards = Towards { stat_prefix: "in_tcp", cluster: &cluster };
            return guarded_tcp(towards, log.as_ref(), timeout, speaks);
        }
        let chain = match self.workload.federated.is_empty() {
            true => PeerChain::Untold,
            false => PeerChain::Told,
        };
        let door = match came {
            Came::ByMtls => Door::Mesh(self.workload.sidecar.forwarded, chain),
            Came::InPlaintext => Door::Edge,
        };
        let towards = Towards { stat_prefix: "in", cluster: APP };
        let question = Question { timeout, body: port.request_body };
        vec![guarded(door, towards, log.as_ref(), question)]
    }

    /// The application for requests. It is dialled where the caller wanted to go, so that what listens on loopback only
    /// stays private, and from the escape address, so that it is not captured once more.
    fn app(&self) -> Value {
        let mut app = bare(APP, "ORIGINAL_DST");
        set(&mut app, "connect_timeout", json!("2s"));
        set(&mut app, "lb_policy", json!("CLUSTER_PROVIDED"));
        set(&mut app, "upstream_bind_config", self.escape());
        speak_http(&mut app, Life::Unbounded);
        app
    }

    /// The application at one address of the pod, for bytes. Such connections are judged only once, so the sidecar is asked
    /// whether they may stand.
    fn app_bytes(&self, place: &str, at: SocketAddr) -> Value {
        let mut app = cluster(&app_bytes_name(place), "STATIC", vec![socket_address(at)]);
        set(&mut app, "connect_timeout", json!("2s"));
        set(&mut app, "upstream_bind_config", self.escape());
        let question = (standing::inbound(place), WhileRefused::Judged);
        standing::ask(&mut app, &self.workload.sidecar.sds, (&question.0, question.1));
        app
    }

    fn escape(&self) -> Value {
        let both = (IpAddr::V4(ESCAPE_V4), IpAddr::V6(ESCAPE_V6));
        let (main, other) = self.families.pick(both.0, both.1);
        let address = |ip: IpAddr| json!({ "address": ip.to_string(), "port_value": 0 });
        let mut bind = json!({ "source_address": address(main) });
        if let Some(other) = other {
            set(&mut bind, "extra_source_addresses", json!([{ "address": address(other) }]));
        }
        bind
    }

    /// Each address of the pod with this port, and a name for it.
    fn places(&self, port: &Port) -> impl Iterator<Item = (String, SocketAddr)> {
        let number = port.number;
        let mut addresses = self.workload.addresses.clone();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.into_iter().enumerate().map(move |(index, address)| {
            (format!("{number}-{index}"), SocketAddr::new(address, number))
        })
    }
}

fn app_bytes_name(place: &str) -> String {
    format!("{APP}|{place}")
}

/// Takes the connection and ends it.
pub(super) fn refusal() -> Value {
    tcp(Towards { stat_prefix: "refused", cluster: BLACKHOLE }, None)
}

/// Finds where a captured connection was going.
pub(super) fn original_dst() -> Value {
    json!({
        "name": "envoy.filters.listener.original_dst",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
        },
    })
}

/// Matches one address.
pub(super) fn whole_address(address: IpAddr) -> Value {
    let length = match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    json!({ "address_prefix": address.to_string(), "prefix_len": length })
}
