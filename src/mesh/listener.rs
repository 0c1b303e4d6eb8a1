//! Listeners.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::address::{set, socket_address};
use super::body::RequestBody;
use super::cluster::{AUTHZ_CLUSTER, BLACKHOLE};
use super::config::Protocol;
use super::http::{Door, PeerChain, Question, Route, Towards, gate, guarded, outbound};
use super::model::{Edge, Inbound, Mesh, Outbound};
use super::standing::LONGEST_CONNECTION;
use super::tls::{Secrets, Trust};

/// How much of what a client says first is kept while the application is being connected.
const EARLY_BYTES: u32 = 65_536;

impl Mesh {
    /// All listeners, in the order in which they were written.
    pub(super) fn listeners(&self) -> Vec<Value> {
        let inbound = self.inbound.iter().map(|one| self.inbound_listener(one));
        let edge = self.edge.iter().map(|one| self.edge_listener(one));
        let outbound = self.outbound.iter().map(|one| self.outbound_listener(one));
        inbound.chain(edge).chain(outbound).collect()
    }

    fn inbound_listener(&self, inbound: &Inbound) -> Value {
        let cluster = inbound.cluster_name();
        let log = self.access_log(&cluster);
        let filters = match inbound.protocol {
            Protocol::Http => {
                let chain = match self.federated.is_empty() {
                    true => PeerChain::Untold,
                    false => PeerChain::Told,
                };
                let door = Door::Mesh(self.sidecar.forwarded, chain);
                let question = self.question(inbound.request_body);
                vec![guarded(door, Towards::one(&cluster), log.as_ref(), question)]
            }
            Protocol::Tcp => guarded_tcp(
                Towards::one(&cluster),
                log.as_ref(),
                self.authz_timeout,
                Speaks::Client,
            ),
        };
        json!({
            "name": cluster,
            "traffic_direction": "INBOUND",
            "address": socket_address(inbound.listen),
            "listener_filters_timeout": "5s",
            "listener_filters": [tls_inspector()],
            "filter_chains": [{
                "name": "mtls",
                "filter_chain_match": { "transport_protocol": "tls" },
                "transport_socket": self.trust().downstream(inbound.protocol),
                "filters": filters,
            }],
            // Whatever matched no chain, plaintext above all. It must refuse: matching does not go back to a less
            // specific chain, so everything odd ends here.
            "default_filter_chain": {
                "name": "refused",
                "filters": [tcp(Towards::one(BLACKHOLE), None)],
            },
        })
    }

    fn edge_listener(&self, edge: &Edge) -> Value {
        let question = self.question(edge.request_body);
        let cluster = edge.cluster_name();
        let log = self.access_log(&cluster);
        json!({
            "name": cluster,
            "traffic_direction": "INBOUND",
            "address": socket_address(edge.listen),
            "per_connection_buffer_limit_bytes": 65_536,
            "filter_chains": [{
                "name": "edge",
                "filters": [guarded(Door::Edge, Towards::one(&cluster), log.as_ref(), question)],
            }],
        })
    }

    fn outbound_listener(&self, out: &Outbound) -> Value {
        let cluster = out.cluster_name();
        let log = self.access_log(&cluster);
        let filter = match out.protocol {
            Protocol::Http => {
                let tokens = self.sidecar.tokens.as_ref().map(|_| self.authz_timeout);
                outbound(&cluster, Route::Written(&cluster), log.as_ref(), tokens)
            }
            Protocol::Tcp => tcp(Towards::one(&cluster), log.as_ref()),
        };
        json!({
            "name": cluster,
            "traffic_direction": "OUTBOUND",
            "address": socket_address(out.listen),
            // No listener filter: an inspector waits for the client to speak, and some protocols let the server
            // begin.
            "filter_chains": [{ "name": "app", "filters": [filter] }],
        })
    }

    /// Whom this workload trusts.
    pub(super) fn trust(&self) -> Trust<'_> {
        Trust {
            own: &self.domain,
            aliases: &self.sidecar.aliases,
            federated: &self.federated,
            secrets: Secrets::Own,
        }
    }

    fn question(&self, body: Option<RequestBody>) -> Question {
        Question { timeout: self.authz_timeout, body }
    }

    fn access_log(&self, listener: &str) -> Option<Value> {
        self.access_log.as_deref().map(|path| access_log(path, listener))
    }
}

/// Who says the first word on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// The client: nothing of the application is heard before the verdict.
    Client,
    /// The application greets: any peer that has a certificate hears its greeting before the verdict.
    Server,
}

/// Bytes to an application: the gate is asked at the client's first byte.
pub(super) fn guarded_tcp(
    towards: Towards<'_>,
    log: Option<&Value>,
    timeout: Duration,
    speaks: Speaks,
) -> Vec<Value> {
    let mut proxy = tcp_proxy(towards, log);
    match speaks {
        // By default the application would be connected before the gate is asked, and its greeting sent to a peer that
        // nobody has judged, even with the gate down.
        Speaks::Client => {
            set(&mut proxy, "upstream_connect_mode", json!("ON_DOWNSTREAM_DATA"));
            set(&mut proxy, "max_early_data_bytes", json!(EARLY_BYTES));
        }
        Speaks::Server => {}
    }
    // Judged once; so it must end some day.
    let longest = format!("{}s", LONGEST_CONNECTION.as_secs());
    set(&mut proxy, "max_downstream_connection_duration", json!(longest));
    vec![network_ext_authz(towards.stat_prefix, timeout), tcp_filter(&proxy)]
}

/// Bytes to a cluster.
pub(super) fn tcp(towards: Towards<'_>, log: Option<&Value>) -> Value {
    tcp_filter(&tcp_proxy(towards, log))
}

/// Tells TLS from other connections by their first bytes.
pub(super) fn tls_inspector() -> Value {
    json!({
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
        },
    })
}

fn tcp_proxy(towards: Towards<'_>, log: Option<&Value>) -> Value {
    let mut proxy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": towards.stat_prefix,
        "cluster": towards.cluster,
    });
    if let Some(log) = log {
        set(&mut proxy, "access_log", json!([log]));
    }
    proxy
}

fn tcp_filter(proxy: &Value) -> Value {
    json!({ "name": "envoy.filters.network.tcp_proxy", "typed_config": proxy })
}

fn network_ext_authz(stat_prefix: &str, timeout: Duration) -> Value {
    json!({
        "name": "envoy.filters.network.ext_authz",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
            "stat_prefix": stat_prefix,
            "transport_api_version": "V3",
            "grpc_service": gate(AUTHZ_CLUSTER, timeout),
            "failure_mode_allow": false,
            "include_peer_certificate": true,
            "include_tls_session": true,
        },
    })
}

/// One JSON object per line. The query is left out: tokens stand in queries.
pub(super) fn access_log(path: &Path, listener: &str) -> Value {
    json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": path.to_string_lossy(),
            "log_format": {
                "json_format": {
                    "time": "%START_TIME%",
                    "listener": listener,
                    "request_id": "%REQ(X-REQUEST-ID)%",
                    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
                    "upstream_peer": "%UPSTREAM_PEER_URI_SAN%",
                    "source": "%DOWNSTREAM_REMOTE_ADDRESS%",
                    "method": "%REQ(:METHOD)%",
                    "host": "%REQ(:AUTHORITY)%",
                    "path": "%PATH(NQ)%",
                    "protocol": "%PROTOCOL%",
                    "status": "%RESPONSE_CODE%",
                    "flags": "%RESPONSE_FLAGS%",
                    "details": "%RESPONSE_CODE_DETAILS%",
                    "connection_details": "%CONNECTION_TERMINATION_DETAILS%",
                    "upstream_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
                    "tls_failure": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
                    "bytes_received": "%BYTES_RECEIVED%",
                    "bytes_sent": "%BYTES_SENT%",
                    "duration_ms": "%DURATION%",
                },
            },
        },
    })
}
