//! HTTP connection managers, and the question to the gate.

use std::time::Duration;

use serde_json::{Value, json};

use super::address::set;
use super::body::RequestBody;
use super::cluster::{AUTHZ_CLUSTER, TOKENS_CLUSTER};
use super::model::ForwardedCertificates;

const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// Who is on the other side of a listener in front of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// Other workloads, by certificate.
    Mesh(ForwardedCertificates, PeerChain),
    /// Anybody.
    Edge,
}

/// Whether the gate is told the authorities that came with a peer's certificate: without them it cannot prove workloads of
/// other trust domains again. They take some kilobytes of each question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerChain {
    /// It is.
    Told,
    /// The certificate alone is.
    Untold,
}

/// How the gate is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    /// How long Envoy waits for the answer.
    pub(super) timeout: Duration,
    /// What it hands on of bodies.
    pub(super) body: Option<RequestBody>,
}

/// Where what a filter lets pass goes to, and under which name it is counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Towards<'a> {
    /// The name in Envoy's statistics.
    pub(super) stat_prefix: &'a str,
    /// The cluster.
    pub(super) cluster: &'a str,
}

impl<'a> Towards<'a> {
    /// A cluster, counted under its own name.
    pub(super) fn one(cluster: &'a str) -> Self {
        Self { stat_prefix: cluster, cluster }
    }
}

/// From where a connection manager has its routes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Route<'a> {
    /// All to this cluster.
    Written(&'a str),
    /// From the aggregated stream, under this name.
    Discovered(&'a str),
}

/// A connection manager in front of an application: every request is put to the gate.
pub(super) fn guarded(
    door: Door,
    Towards { stat_prefix, cluster }: Towards<'_>,
    access_log: Option<&Value>,
    question: Question,
) -> Value {
    let mut manager = json!({
        "@type": format!("type.googleapis.com/{MANAGER}"),
        "stat_prefix": stat_prefix,
        "codec_type": "AUTO",
        // Strips `x-envoy-*` that a caller forged. `internal_address_config` stays unset: set and empty, it would
        // take every private address for our own.
        "use_remote_address": true,
        "server_header_transformation": "PASS_THROUGH",
        // What the gate judges is what the application reads: one spelling of each path, no header twins.
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {
            // Bounds how long a connection outlives the certificate that opened it.
            "max_connection_duration": "900s",
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
        "http_filters": [ext_authz(AUTHZ_CLUSTER, question), router()],
        "route_config": {
            "name": stat_prefix,
            "virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": [route(cluster)],
            }],
        },
    });
    match door {
        Door::Mesh(forwarded, chain) => {
            match forwarded {
                // One element that Envoy itself wrote. Appending would leave a forged one in front.
                ForwardedCertificates::Replaced => {
                    let details = match chain {
                        PeerChain::Told => json!({ "uri": true, "chain": true }),
                        PeerChain::Untold => json!({ "uri": true }),
                    };
                    set(&mut manager, "forward_client_cert_details", json!("SANITIZE_SET"));
                    set(&mut manager, "set_current_client_cert_details", details);
                }
                ForwardedCertificates::Passed => {
                    set(&mut manager, "forward_client_cert_details", json!("FORWARD_ONLY"));
                }
            }
            // The caller's gate set both already.
            set(&mut manager, "skip_xff_append", json!(true));
            set(&mut manager, "preserve_external_request_id", json!(true));
        }
        Door::Edge => {
            set(&mut manager, "forward_client_cert_details", json!("SANITIZE"));
            // Strangers: bound what one connection may hold open.
            set(&mut manager, "request_headers_timeout", json!("10s"));
            set(&mut manager, "http2_protocol_options", json!({ "max_concurrent_streams": 100 }));
        }
    }
    filter(manager, access_log)
}

/// A connection manager for the application's own calls. With `tokens`, which is how long to wait for it, the sidecar is
/// asked which token a call gets.
pub(super) fn outbound(
    stat_prefix: &str,
    routes: Route<'_>,
    access_log: Option<&Value>,
    tokens: Option<Duration>,
) -> Value {
    let tokens = tokens.map(|timeout| ext_authz(TOKENS_CLUSTER, Question { timeout, body: None }));
    let filters: Vec<Value> = tokens.into_iter().chain([router()]).collect();
    let mut manager = json!({
        "@type": format!("type.googleapis.com/{MANAGER}"),
        "stat_prefix": stat_prefix,
        "codec_type": "AUTO",
        "use_remote_address": true,
        "skip_xff_append": true,
        "preserve_external_request_id": true,
        "server_header_transformation": "PASS_THROUGH",
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
        "http_filters": filters,
    });
    match routes {
        Route::Written(cluster) => {
            set(&mut manager, "route_config", outbound_routes(cluster, cluster));
        }
        Route::Discovered(name) => {
            // Without a limit of time: a listener without its routes would answer 404.
            let source = json!({
                "ads": {},
                "resource_api_version": "V3",
                "initial_fetch_timeout": "0s",
            });
            let discovered = json!({ "route_config_name": name, "config_source": source });
            set(&mut manager, "rds", discovered);
        }
    }
    filter(manager, access_log)
}

/// The routes of the application's own calls: all of them go to one cluster.
pub(super) fn outbound_routes(name: &str, cluster: &str) -> Value {
    json!({
        "name": name,
        "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            // Only what surely never reached the other side is tried again.
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,reset-before-request",
                "num_retries": 2,
                "retry_host_predicate": [{
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                    },
                }],
                "host_selection_retry_max_attempts": 5,
            },
            "routes": [route(cluster)],
        }],
    })
}

/// The gRPC service that both kinds of filter ask.
pub(super) fn gate(cluster: &str, timeout: Duration) -> Value {
    json!({
        "envoy_grpc": { "cluster_name": cluster },
        "timeout": format!("{}s", timeout.as_secs_f64()),
        // A sidecar that restarts is back within a moment. Asked again until the timeout ends, it decides late instead of
        // never. A pause is drawn between nothing and a quarter of a second: so many are not reached before.
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset",
            "num_retries": timeout.as_millis().div_ceil(25),
            "retry_back_off": { "base_interval": "0.025s", "max_interval": "0.25s" },
        },
    })
}

fn ext_authz(cluster: &str, Question { timeout, body }: Question) -> Value {
    let mut filter = json!({
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "grpc_service": gate(cluster, timeout),
            // Written though it is the default: a gate that is down refuses.
            "failure_mode_allow": false,
            // So that nobody takes an outage for a denial.
            "status_on_error": { "code": "ServiceUnavailable" },
            "validate_mutations": true,
            "encode_raw_headers": true,
            "include_peer_certificate": true,
            "include_tls_session": true,
            "enable_dynamic_metadata_ingestion": true,
            "clear_route_cache": false,
        },
    });
    if let (Some(body), Some(config)) = (body, filter.get_mut("typed_config")) {
        set(config, "with_request_body", body.to_envoy());
    }
    filter
}

fn router() -> Value {
    json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": true,
        },
    })
}

/// No time limit of the whole request: streams may be long. Idle ones end by Envoy's own limit.
fn route(cluster: &str) -> Value {
    json!({ "match": { "prefix": "/" }, "route": { "cluster": cluster, "timeout": "0s" } })
}

fn filter(mut manager: Value, access_log: Option<&Value>) -> Value {
    if let Some(access_log) = access_log {
        set(&mut manager, "access_log", json!([access_log]));
    }
    json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": manager,
    })
}
