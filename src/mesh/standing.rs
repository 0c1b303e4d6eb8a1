//! Connections that stand already, ended when the sidecar says so.
//!
//! Envoy judges a TCP connection once, and a server's certificate once for each connection. To end what was admitted
//! before, each cluster asks the sidecar by a health check whether its connections may stand. The sidecar holds the answer
//! back until something changes, so a refusal arrives within milliseconds and costs nothing while nothing happens. A
//! refusal marks the endpoint as unhealthy, and Envoy closes every connection to it.
//!
//! Only an answer counts: a sidecar that is away or silent changes nothing, so its restart ends no connection. Before the
//! first answer an endpoint does not count as healthy.

use std::time::Duration;

use serde_json::{Value, json};

use super::address::{Endpoint, set};
use super::config::Name;

/// No bare connection to an application lives longer.
pub const LONGEST_CONNECTION: Duration = Duration::from_secs(3600);

/// The longest that the sidecar may hold an answer back; it answers well before.
const TIMEOUT: &str = "60s";
/// From one answer to the next question, and from a refusal to the question whether it still holds.
const INTERVAL: &str = "0.2s";

/// What becomes of new connections while the sidecar says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhileRefused {
    /// They go on: each of them is judged by the gate.
    Judged,
    /// There are none.
    Refused,
}

/// Where an inbound listener asks.
pub(super) fn inbound(name: &str) -> String {
    format!("/standing/inbound/{name}")
}

/// Where an outbound listener asks.
pub(super) fn outbound(name: &Name) -> String {
    format!("/standing/outbound/{name}")
}

/// Makes `cluster` ask the sidecar under `path` whether its connections may stand. Its endpoints must be complete.
pub(super) fn ask(cluster: &mut Value, sidecar: &Endpoint, (path, new): (&str, WhileRefused)) {
    let check = json!({
        "timeout": TIMEOUT,
        "interval": INTERVAL,
        "no_traffic_interval": INTERVAL,
        "no_traffic_healthy_interval": INTERVAL,
        "unhealthy_interval": INTERVAL,
        "unhealthy_edge_interval": INTERVAL,
        "healthy_edge_interval": INTERVAL,
        // Counts failures of the connection only: an answer that says no is enough by itself.
        "unhealthy_threshold": u32::MAX,
        "healthy_threshold": 1,
        "http_health_check": { "path": path, "host": "hopgate", "codec_client_type": "HTTP2" },
        // The sidecar is spoken to in plain, whatever the cluster speaks.
        "transport_socket_match_criteria": { "hopgate": "standing" },
    });
    set(cluster, "health_checks", json!([check]));
    set(cluster, "close_connections_on_host_health_failure", json!(true));
    // Envoy would otherwise tell its workers up to a second later that all is well again.
    let mut balance = json!({ "update_merge_window": "0s" });
    match new {
        WhileRefused::Judged => {}
        WhileRefused::Refused => {
            set(&mut balance, "healthy_panic_threshold", json!({ "value": 0 }))
        }
    }
    set(cluster, "common_lb_config", balance);
    let plain = json!([{
        "name": "standing",
        "match": { "hopgate": "standing" },
        "transport_socket": {
            "name": "envoy.transport_sockets.raw_buffer",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
            },
        },
    }]);
    set(cluster, "transport_socket_matches", plain);
    let endpoints = cluster
        .pointer_mut("/load_assignment/endpoints/0/lb_endpoints")
        .and_then(Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten() {
        if let Some(endpoint) = endpoint.get_mut("endpoint") {
            set(endpoint, "health_check_config", json!({ "address": sidecar.to_envoy() }));
        }
    }
}
