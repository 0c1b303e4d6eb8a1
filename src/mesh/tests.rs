use super::*;
use crate::identity::SpiffeId;

const GOOD: &str = r#"
admin: "unix:/run/envoy-admin.sock"
inbound:
  - { name: http, listen: "127.0.0.1:21001", app: "127.0.0.1:31001" }
  - { name: db, listen: "127.0.0.1:21002", app: "127.0.0.1:31002", protocol: tcp }
edge:
  - { name: public, listen: "127.0.0.1:21003", app: "127.0.0.1:31001" }
outbound:
  - { name: payments, listen: "127.0.0.1:22001", upstream: ["10.0.0.7:21001"], identities: [ns/shop/sa/payments] }
"#;

fn sidecar() -> Sidecar {
    Sidecar {
        identity: SpiffeId::parse("spiffe://demo.mesh/ns/shop/sa/orders").unwrap(),
        sds: "unix:/run/sds.sock".parse().unwrap(),
        authz: "unix:/run/authz.sock".parse().unwrap(),
        tokens: None,
        forwarded: ForwardedCertificates::Replaced,
        aliases: Vec::new(),
    }
}

fn check(yaml: &str) -> Result<Mesh, InvalidMesh> {
    Mesh::new(serde_saphyr::from_str(yaml).unwrap(), sidecar())
}

/// The faults of a good configuration with one thing changed.
fn faults(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    check(&GOOD.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn every_fault_is_named_by_its_field() {
    assert!(check(GOOD).is_ok());
    for (from, to, expected) in [
        ("[ns/shop/sa/payments]", "[]", "envoy.outbound[0].identities: needs at least one entry"),
        (
            "[ns/shop/sa/payments]",
            "[payments]",
            "envoy.outbound[0].identities[0]: \"payments\" does not start",
        ),
        (
            "[ns/shop/sa/payments]",
            "[spiffe://other.mesh/a]",
            "spiffe://other.mesh/a is not in trust domain demo.mesh",
        ),
        (
            "[ns/shop/sa/payments]",
            "[ns/shop/sa/payments, 'ns/shop/sa/*']",
            "envoy.outbound[0].identities[1]:",
        ),
        ("[\"10.0.0.7:21001\"]", "[]", "envoy.outbound[0].upstream: needs"),
        ("[\"10.0.0.7:21001\"]", "[\"10.0.0.7:0\"]", "envoy.outbound[0].upstream[0]: port 0"),
        (
            "127.0.0.1:22001",
            "10.0.0.1:22001",
            "envoy.outbound[0].listen: 10.0.0.1:22001 can be reached",
        ),
        (
            "unix:/run/envoy-admin.sock",
            "0.0.0.0:15000",
            "envoy.admin: 0.0.0.0:15000 can be reached",
        ),
        (
            "127.0.0.1:21002",
            "127.0.0.1:21001",
            "envoy.inbound[1].listen: 127.0.0.1:21001 is also taken by inbound[0].listen",
        ),
        (
            "app: \"127.0.0.1:31001\"",
            "app: \"127.0.0.1:22001\"",
            "envoy.inbound[0].app: 127.0.0.1:22001 is a listener",
        ),
        ("app: \"127.0.0.1:31001\"", "app: \"127.0.0.1:0\"", "envoy.inbound[0].app: port 0"),
        ("name: db", "name: http", "envoy.inbound[1].name: http is the name of two entries"),
        (
            "protocol: tcp",
            "protocol: tcp, requestBody: { maxBytes: 1 }",
            "envoy.inbound[1].requestBody: is only for the protocol http",
        ),
        (
            "name: public,",
            "name: public, requestBody: { maxBytes: 0 },",
            "envoy.edge[0].requestBody: maxBytes must be",
        ),
        ("edge:", "authzTimeout: 0s\nedge:", "envoy.authzTimeout: must be"),
        ("edge:", "authzTimeout: 31s\nedge:", "envoy.authzTimeout: must be"),
    ] {
        let said = faults(from, to);
        assert!(said.contains(expected), "{to}: {said}");
    }
    let nothing = check("admin: '127.0.0.1:15000'").unwrap_err().to_string();
    assert!(nothing.contains("needs an entry"), "{nothing}");
}

#[test]
fn peers_of_an_alias_domain_are_let_to_the_gate_and_no_others() {
    let config: Config = serde_saphyr::from_str(GOOD).unwrap();
    let aliases = vec![crate::identity::TrustDomain::parse("old.mesh").unwrap()];
    let mesh = Mesh::new(config, Sidecar { aliases, ..sidecar() }).unwrap();
    let text = bootstrap(&mesh).to_string();
    // Two listeners, each with both names, each ended by a slash.
    for name in ["spiffe://demo.mesh/", "spiffe://old.mesh/"] {
        assert_eq!(text.matches(&format!("{{\"prefix\":\"{name}\"}}")).count(), 2, "{name}");
    }
    assert_eq!(text.matches("\"prefix\":\"spiffe://").count(), 4);
    assert!(!bootstrap(&check(GOOD).unwrap()).to_string().contains("old.mesh"));
}

#[test]
fn federated_trust_domains_are_let_to_the_gate_by_their_own_roots() {
    let partner = "federatedWith: [partner.example]\n";
    let outbound = "identities: [\"spiffe://partner.example/ns/shop/sa/web\"]";
    let yaml = GOOD.replace("identities: [ns/shop/sa/payments]", outbound) + partner;
    let text = bootstrap(&check(&yaml).unwrap()).to_string();
    assert_eq!(text.matches("{\"prefix\":\"spiffe://partner.example/\"}").count(), 2);
    // Each trust domain by its own roots, and the gate is told the chain.
    assert_eq!(text.matches("\"name\":\"ALL\"").count(), 2);
    assert_eq!(text.matches("\"name\":\"spiffe://partner.example\"").count(), 1);
    assert!(!text.contains("ROOTCA"), "{text}");
    assert!(text.contains("\"chain\":true"));
    // A peer of the own trust domain is verified by the own roots alone.
    let text = bootstrap(&check(&(GOOD.to_owned() + partner)).unwrap()).to_string();
    assert_eq!((text.matches("\"ALL\"").count(), text.matches("\"ROOTCA\"").count()), (2, 1));
    let text = bootstrap(&check(GOOD).unwrap()).to_string();
    assert!(!text.contains("\"ALL\"") && !text.contains("\"chain\"") && !text.contains("partner"));

    // Two trust domains behind one door could not be told apart by their roots.
    let both = "identities: [ns/shop/sa/payments, \"spiffe://partner.example/ns/shop/sa/web\"]";
    let yaml = GOOD.replace("identities: [ns/shop/sa/payments]", both) + partner;
    let error = check(&yaml).unwrap_err().to_string();
    assert!(error.contains("outbound[0].identities: demo.mesh and partner.example"), "{error}");
    for (with, part) in [
        ("[demo.mesh]", "envoy.federatedWith[0]: demo.mesh is this mesh itself"),
        ("[a.example, B]", "envoy.federatedWith[1]: \"B\" is no trust domain"),
    ] {
        let error = check(&format!("{GOOD}federatedWith: {with}\n")).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn connections_that_are_judged_once_ask_whether_they_may_stand() {
    let bootstrap = bootstrap(&check(GOOD).unwrap());
    let clusters = bootstrap["static_resources"]["clusters"].as_array().unwrap();
    let asks = |name: &str| {
        let cluster = clusters.iter().find(|cluster| cluster["name"] == name).unwrap();
        let check = &cluster["health_checks"][0];
        let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        assert_eq!(check.is_null(), endpoint["health_check_config"].is_null(), "{name}");
        if check.is_null() {
            return None;
        }
        // The sidecar is asked, in plain, and its refusal ends connections.
        assert_eq!(endpoint["health_check_config"]["address"]["pipe"]["path"], "/run/sds.sock");
        assert_eq!(cluster["close_connections_on_host_health_failure"], true);
        let wanted = &check["transport_socket_match_criteria"];
        assert_eq!(cluster["transport_socket_matches"][0]["match"], *wanted);
        let new = &cluster["common_lb_config"]["healthy_panic_threshold"];
        Some((check["http_health_check"]["path"].as_str().unwrap(), new["value"].as_u64()))
    };
    assert_eq!(asks("inbound|http"), None, "each request is judged");
    assert_eq!(asks("edge|public"), None);
    assert_eq!(asks("inbound|db"), Some(("/standing/inbound/db", None)));
    assert_eq!(asks("outbound|payments"), Some(("/standing/outbound/payments", Some(0))));
}

#[test]
fn bodies_are_handed_on_as_bytes_and_only_where_they_are_asked_for() {
    let filters = |yaml: &str| {
        let text = bootstrap(&check(yaml).unwrap()).to_string();
        text.matches("\"with_request_body\"").count()
    };
    assert_eq!(filters(GOOD), 0);
    let asked =
        GOOD.replace("name: http,", "name: http, requestBody: { maxBytes: 65536 },").replace(
            "name: public,",
            "name: public, requestBody: { maxBytes: 10, larger: HandOnBeginning },",
        );
    assert_eq!(filters(&asked), 2);
    let text = bootstrap(&check(&asked).unwrap()).to_string();
    for written in [
        r#""with_request_body":{"max_request_bytes":65536,"allow_partial_message":false,"pack_as_bytes":true}"#,
        r#""with_request_body":{"max_request_bytes":10,"allow_partial_message":true,"pack_as_bytes":true}"#,
    ] {
        assert!(text.contains(written), "{written}");
    }
}

#[test]
fn all_faults_come_at_once() {
    let yaml = GOOD.replace("[ns/shop/sa/payments]", "[]").replace("name: db", "name: http");
    assert_eq!(check(&yaml).unwrap_err().faults.len(), 2);
}

#[test]
fn a_listener_on_every_address_is_a_circle_too() {
    let said = faults(
        "listen: \"127.0.0.1:21001\", app: \"127.0.0.1:31001\"",
        "listen: \"0.0.0.0:21001\", app: \"127.0.0.1:21001\"",
    );
    assert!(said.contains("run in a circle"), "{said}");
}

#[test]
fn keys_and_tokens_do_not_leave_the_machine() {
    let config: Config = serde_saphyr::from_str(GOOD).unwrap();
    for field in ["sds", "extAuthz"] {
        let mut sidecar = sidecar();
        let remote = "10.0.0.1:1".parse().unwrap();
        if field == "sds" {
            sidecar.sds = remote
        } else {
            sidecar.authz = remote
        }
        let said = Mesh::new(config.clone(), sidecar).unwrap_err().to_string();
        assert!(said.starts_with(&format!("envoy.{field}: 10.0.0.1:1")), "{said}");
    }
}

#[test]
fn unknown_fields_and_bad_texts_are_refused_when_read() {
    for (from, to) in [
        ("edge:", "egde:"),
        ("protocol: tcp", "protocol: udp"),
        ("name: http", "name: HTTP"),
        ("name: http", "name: a.b"),
        ("127.0.0.1:21001", "localhost:21001"),
        ("protocol: tcp", "tls: false"),
    ] {
        assert!(GOOD.contains(from));
        let read: Result<Config, _> = serde_saphyr::from_str(&GOOD.replacen(from, to, 1));
        assert!(read.is_err(), "{to}");
    }
}

#[test]
fn no_peer_list_is_ever_empty() {
    assert_eq!(PeerIds::new(Vec::new()), Err(Fault::Empty));
}

/// Walks a configuration and hands every object with this `@type` suffix to `check`.
fn each(value: &serde_json::Value, kind: &str, check: &mut dyn FnMut(&serde_json::Value)) {
    if value["@type"].as_str().is_some_and(|found| found.ends_with(kind)) {
        check(value);
    }
    let children: Vec<&serde_json::Value> = match value {
        serde_json::Value::Array(items) => items.iter().collect(),
        serde_json::Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    };
    for child in children {
        each(child, kind, check);
    }
}

#[test]
fn every_tls_context_verifies_its_peer() {
    let bootstrap = bootstrap(&check(GOOD).unwrap());
    let mut seen = 0;
    for kind in [".UpstreamTlsContext", ".DownstreamTlsContext"] {
        each(&bootstrap, kind, &mut |context| {
            seen += 1;
            let common = &context["common_tls_context"];
            let validation = &common["combined_validation_context"];
            let names = &validation["default_validation_context"]["match_typed_subject_alt_names"];
            assert!(!names.as_array().unwrap().is_empty());
            for name in names.as_array().unwrap() {
                assert_eq!(name["san_type"], "URI");
                let matcher = name["matcher"].as_object().unwrap();
                let text = matcher.values().next().unwrap().as_str().unwrap();
                assert!(text.starts_with("spiffe://demo.mesh/"), "{text}");
            }
            assert_eq!(validation["validation_context_sds_secret_config"]["name"], "ROOTCA");
            assert_eq!(common["tls_params"]["tls_minimum_protocol_version"], "TLSv1_3");
            assert_eq!(common["tls_params"]["tls_maximum_protocol_version"], "TLSv1_3");
            assert_eq!(common["tls_certificate_sds_secret_configs"][0]["name"], "default");
        });
    }
    assert_eq!(seen, 3);
    each(&bootstrap, ".DownstreamTlsContext", &mut |context| {
        assert_eq!(context["require_client_certificate"], true);
        assert_eq!(context["disable_stateless_session_resumption"], true);
    });
}

#[test]
fn every_door_to_the_application_asks_the_gate_first() {
    let bootstrap = bootstrap(&check(GOOD).unwrap());
    let mut doors = 0;
    for listener in bootstrap["static_resources"]["listeners"].as_array().unwrap() {
        if listener["traffic_direction"] == "OUTBOUND" {
            continue;
        }
        doors += 1;
        let filter = &listener["filter_chains"][0]["filters"][0];
        let gate = match filter["name"].as_str().unwrap() {
            "envoy.filters.network.ext_authz" => filter,
            _ => &filter["typed_config"]["http_filters"][0],
        };
        assert!(gate["name"].as_str().unwrap().ends_with(".ext_authz"), "{gate}");
        assert_eq!(gate["typed_config"]["failure_mode_allow"], false);
        if !listener["default_filter_chain"].is_null() {
            let refusal = &listener["default_filter_chain"]["filters"][0]["typed_config"];
            assert_eq!(refusal["cluster"], "blackhole");
        }
    }
    assert_eq!(doors, 3);
}

#[test]
fn the_yaml_form_reads_back_as_the_same_value() {
    let bootstrap = bootstrap(&check(GOOD).unwrap());
    let yaml = to_yaml(&bootstrap).unwrap();
    assert!(!yaml.contains('{') || yaml.contains("{}"), "block form");
    let back: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(back, bootstrap);
}
