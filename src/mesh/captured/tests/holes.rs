//! What must hold of every configuration, whatever it is made of.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Walks a value and hands every object to `look`.
fn each(value: &Value, look: &mut dyn FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            look(fields);
            fields.values().for_each(|value| each(value, look));
        }
        Value::Array(items) => items.iter().for_each(|value| each(value, look)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn kind(config: &serde_json::Map<String, Value>) -> &str {
    config.get("@type").and_then(Value::as_str).unwrap_or_default()
}

/// Every mistake by which a mesh of this form is known to leak.
fn hold(resources: &Resources, workload: &CapturedWorkload) {
    let inbound = &resources.listeners["inbound"];
    let outbound = &resources.listeners["outbound"];
    inbound_is_closed(inbound, workload);
    for listener in [inbound, outbound] {
        let mut matches = BTreeSet::new();
        for chain in listener["filter_chains"].as_array().unwrap() {
            let matched = &chain["filter_chain_match"];
            assert!(matches.insert(matched.to_string()), "two chains match the same: {matched}");
            assert!(matched["destination_port"].as_u64().is_some_and(|port| port != 0));
        }
    }
    let filters = |listener: &Value| {
        let filters = listener["listener_filters"].as_array().unwrap();
        let names = filters.iter().map(|filter| filter["name"].as_str().unwrap().to_owned());
        names.map(|name| name.rsplit('.').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(filters(inbound), ["original_dst", "tls_inspector"]);
    assert_eq!(filters(outbound), ["original_dst"]);
    let loopback = ["127.0.0.1", "::1"];
    let bound = outbound["address"]["socket_address"]["address"].as_str().unwrap();
    assert!(loopback.contains(&bound));
    let mut contexts = 0;
    for resource in resources.clusters.values().chain(resources.listeners.values()) {
        each(resource, &mut |config| {
            assert!(!config.contains_key("internal_address_config"));
            assert!(!config.contains_key("use_http_header"));
            if kind(config).ends_with("TlsContext") {
                contexts += 1;
                verifies(config);
            }
            if kind(config).ends_with("HttpConnectionManager") {
                assert_eq!(config["use_remote_address"], true);
                assert_eq!(config["server_header_transformation"], "PASS_THROUGH");
                let forwarded = config.get("forward_client_cert_details");
                assert!(forwarded.is_none_or(|mode| mode != "APPEND_FORWARD"));
            }
        });
    }
    let meshed = workload.ports.iter().any(|port| port.mtls != MtlsMode::Disabled);
    assert!(contexts > 0 || !meshed);
    for (name, cluster) in resources.clusters.iter().filter(|(name, _)| name.starts_with("app")) {
        let source = &cluster["upstream_bind_config"]["source_address"]["address"];
        assert!(source == "127.0.0.6" || source == "::6", "{name} would be captured again");
    }
    for cluster in resources.clusters.values() {
        let text = cluster["load_assignment"].to_string();
        assert!(!text.contains("127.0.0.1") && !text.contains("\"::1\""), "{text}");
    }
}

/// Nothing reaches the application unasked, and what matches no declared port reaches nothing.
fn inbound_is_closed(inbound: &Value, workload: &CapturedWorkload) {
    let refuses = |chain: &Value| {
        let filters = chain["filters"].as_array().unwrap();
        filters.len() == 1 && filters[0]["typed_config"]["cluster"] == "blackhole"
    };
    assert!(refuses(&inbound["default_filter_chain"]));
    assert!(refuses(chain(inbound, "direct")));
    for chain in inbound["filter_chains"].as_array().unwrap() {
        let matched = &chain["filter_chain_match"];
        let number = matched["destination_port"].as_u64().unwrap();
        if number == 15006 {
            continue;
        }
        let port = workload.ports.iter().find(|port| u64::from(port.number) == number);
        let port = port.expect("only declared ports are open");
        let first = &chain["filters"][0];
        let (asks, then) = match first["name"].as_str().unwrap() {
            "envoy.filters.network.ext_authz" => (first, &chain["filters"][1]),
            _ => (&first["typed_config"]["http_filters"][0], first),
        };
        assert!(asks["name"].as_str().unwrap().ends_with(".ext_authz"), "{chain}");
        assert_eq!(asks["typed_config"]["failure_mode_allow"], false);
        let mtls = chain["transport_socket"]["name"] == "envoy.transport_sockets.tls";
        match port.mtls {
            MtlsMode::Strict => assert!(mtls && matched["transport_protocol"] == "tls"),
            MtlsMode::Permissive => {
                let mesh = matched["server_names"] == json!(["*.hopgate.internal"]);
                assert_eq!(mtls, mesh, "the server name tells the mesh from other TLS");
            }
            MtlsMode::Disabled => assert!(!mtls),
        }
        if then["name"] == "envoy.filters.network.tcp_proxy"
            && port.protocol != AppProtocol::ServerFirst
        {
            let mode = &then["typed_config"]["upstream_connect_mode"];
            assert_eq!(mode, "ON_DOWNSTREAM_DATA", "the application greets whom nobody judged");
        }
    }
}

fn verifies(context: &serde_json::Map<String, Value>) {
    let common = &context["common_tls_context"];
    for bound in ["tls_minimum_protocol_version", "tls_maximum_protocol_version"] {
        assert_eq!(common["tls_params"][bound], "TLSv1_3");
    }
    let validation = &common["combined_validation_context"];
    let names = &validation["default_validation_context"]["match_typed_subject_alt_names"];
    assert!(!names.as_array().unwrap().is_empty());
    assert!(validation["validation_context_sds_secret_config"]["name"].is_string());
    if kind(context).ends_with("UpstreamTlsContext") {
        assert_eq!(context["max_session_keys"], 0);
        assert_eq!(common["alpn_protocols"], Value::Null);
    } else {
        assert_eq!(context["require_client_certificate"], true);
        assert_eq!(context["disable_stateless_session_resumption"], true);
        assert_eq!(context["disable_stateful_session_resumption"], true);
    }
}

#[test]
fn the_example_holds() {
    let workload = workload();
    hold(&resources(workload.clone(), &[orders(), service("db", &[], &["b"])]), &workload);
}

#[test]
fn a_server_that_greets_in_plaintext_does_not_wait_for_an_inspector() {
    let inspector =
        |workload| resources(workload, &[]).listeners["inbound"]["listener_filters"][1].clone();
    let range = json!({ "destination_port_range": { "start": 2525, "end": 2526 } });
    assert_eq!(inspector(workload())["filter_disabled"], range);
    let mut two = workload();
    two.ports.push(port(25, AppProtocol::ServerFirst, MtlsMode::Disabled));
    let rules = &inspector(two)["filter_disabled"]["or_match"]["rules"];
    assert_eq!(rules.as_array().unwrap().len(), 2);
    let mut none = workload();
    none.ports.retain(|port| port.number != 2525);
    assert_eq!(inspector(none)["filter_disabled"], Value::Null);
}

#[test]
fn bare_connections_ask_whether_they_may_stand() {
    let resources = resources(workload(), &[]);
    let cluster = &resources.clusters["app|9000-0"];
    let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    assert_eq!(endpoint["address"]["socket_address"]["address"], "10.77.0.11");
    assert_eq!(endpoint["health_check_config"]["address"]["pipe"]["path"], "/run/hopgate/xds.sock");
    assert_eq!(
        cluster["health_checks"][0]["http_health_check"]["path"],
        "/standing/inbound/9000-0"
    );
    assert_eq!(cluster["close_connections_on_host_health_failure"], true);
    let chains = &resources.listeners["inbound"];
    let matched = &chain(chains, "9000-1-mtls")["filter_chain_match"];
    assert_eq!(matched["prefix_ranges"][0]["address_prefix"], "fd77::11");
}

fn any_port() -> impl Strategy<Value = Port> {
    let protocol = prop::sample::select(vec![
        AppProtocol::Http,
        AppProtocol::Grpc,
        AppProtocol::Tcp,
        AppProtocol::ServerFirst,
    ]);
    let mode =
        prop::sample::select(vec![MtlsMode::Strict, MtlsMode::Permissive, MtlsMode::Disabled]);
    (1u16..40, protocol, mode).prop_map(|(number, protocol, mtls)| port(number, protocol, mtls))
}

fn any_service() -> impl Strategy<Value = Service> {
    let endpoint =
        (1u8..6, 1u16..4, any::<bool>(), 0u8..3).prop_map(|(host, port, plain, state)| {
            ServiceEndpoint {
                address: SocketAddr::from(([10, 77, 0, host], port)),
                transport: if plain { Transport::Plain } else { Transport::Mtls },
                readiness: [Readiness::Ready, Readiness::Terminating, Readiness::NotReady]
                    [usize::from(state)],
            }
        });
    let protocol = prop::sample::select(vec![AppProtocol::Http, AppProtocol::Tcp]);
    let port = (1u16..5, protocol, prop::collection::vec(endpoint, 0..4));
    let accounts = prop::collection::btree_set(prop::sample::select(vec!["a", "b", "c"]), 0..3);
    let vips = prop::collection::btree_set(1u8..9, 0..3);
    (0u8..4, vips, accounts, prop::collection::vec(port, 0..3)).prop_map(
        |(number, vips, accounts, ports)| Service {
            name: name(&format!("s{number}")),
            namespace: name("shop"),
            addresses: vips.into_iter().map(|vip| IpAddr::from([10, 96, 0, vip])).collect(),
            accounts: accounts.into_iter().map(id).collect(),
            ports: ports
                .into_iter()
                .map(|(number, protocol, endpoints)| ServicePort { number, protocol, endpoints })
                .collect(),
        },
    )
}

proptest! {
    #[test]
    fn whatever_is_taken_is_safe(
        ports in prop::collection::vec(any_port(), 0..5),
        services in prop::collection::vec(any_service(), 0..4),
        only in any::<bool>(),
        revoked in prop::collection::btree_set(prop::sample::select(vec!["a", "b", "web"]), 0..2),
    ) {
        let mut workload = workload();
        workload.ports = ports;
        workload.outbound = if only { OutboundMode::MeshOnly } else { OutboundMode::Any };
        workload.revoked = revoked.into_iter().map(id).collect();
        // What is refused is said; what is taken must hold.
        if let Ok(captured) = Captured::new(workload.clone(), &services) {
            let resources = captured.resources().unwrap();
            hold(&resources, &workload);
            encode_all(&resources);
            for account in &workload.revoked {
                let exact = json!({ "exact": account.as_str() }).to_string();
                let clusters = serde_json::to_string(&resources.clusters).unwrap();
                prop_assert!(!clusters.contains(&exact));
            }
            if only {
                let endpoints = serde_json::to_string(&resources.endpoints).unwrap();
                prop_assert!(!endpoints.contains("plain"));
            }
        }
    }
}
