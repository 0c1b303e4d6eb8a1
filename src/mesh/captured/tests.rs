mod holes;
mod invalid;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::identity::{SpiffeId, TrustDomain};
use crate::mesh::{Encoder, ForwardedCertificates, Name, ResourceKind, Sidecar};
use crate::policy::MtlsMode;

fn id(text: &str) -> SpiffeId {
    let whole = match text.strip_prefix("spiffe://") {
        Some(_) => text.to_owned(),
        None => format!("spiffe://mesh.test/ns/shop/sa/{text}"),
    };
    SpiffeId::parse(&whole).unwrap()
}

fn name(text: &str) -> Name {
    Name::try_from(text.to_owned()).unwrap()
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn port(number: u16, protocol: AppProtocol, mtls: MtlsMode) -> Port {
    Port { number, protocol, mtls, request_body: None }
}

fn workload() -> CapturedWorkload {
    CapturedWorkload {
        sidecar: Sidecar {
            identity: id("web"),
            sds: "unix:/run/hopgate/xds.sock".parse().unwrap(),
            authz: "unix:/run/hopgate/authz.sock".parse().unwrap(),
            tokens: None,
            forwarded: ForwardedCertificates::Replaced,
            aliases: Vec::new(),
        },
        addresses: addresses(&["10.77.0.11", "fd77::11"]),
        federated: Vec::new(),
        revoked: BTreeSet::new(),
        ports: vec![
            port(8080, AppProtocol::Http, MtlsMode::Strict),
            port(8084, AppProtocol::Grpc, MtlsMode::Permissive),
            port(9000, AppProtocol::Tcp, MtlsMode::Strict),
            port(9001, AppProtocol::Tcp, MtlsMode::Permissive),
            port(3306, AppProtocol::ServerFirst, MtlsMode::Strict),
            port(2525, AppProtocol::ServerFirst, MtlsMode::Disabled),
            port(8085, AppProtocol::Http, MtlsMode::Disabled),
        ],
        outbound: OutboundMode::Any,
        access_log: None,
        authz_timeout: Duration::from_secs(1),
    }
}

fn endpoint(address: &str, transport: Transport) -> ServiceEndpoint {
    let address: SocketAddr = address.parse().unwrap();
    ServiceEndpoint { address, transport, readiness: Readiness::Ready }
}

fn service(named: &str, at: &[&str], accounts: &[&str]) -> Service {
    let transport = if accounts.is_empty() { Transport::Plain } else { Transport::Mtls };
    let ports = [(80, AppProtocol::Http, 8080), (9000, AppProtocol::Tcp, 9000)];
    let ports = ports.map(|(number, protocol, target)| ServicePort {
        number,
        protocol,
        endpoints: ["10.77.0.12", "10.77.0.13"]
            .map(|address| endpoint(&format!("{address}:{target}"), transport))
            .to_vec(),
    });
    Service {
        name: name(named),
        namespace: name("shop"),
        addresses: addresses(at),
        accounts: accounts.iter().map(|account| id(account)).collect(),
        ports: ports.to_vec(),
    }
}

fn orders() -> Service {
    service("orders", &["10.96.0.50", "fd96::50"], &["b", "c"])
}

fn resources(workload: CapturedWorkload, services: &[Service]) -> Resources {
    Captured::new(workload, services).unwrap().resources().unwrap()
}

fn chain<'a>(listener: &'a Value, name: &str) -> &'a Value {
    let chains = listener["filter_chains"].as_array().unwrap();
    chains.iter().find(|chain| chain["name"] == name).unwrap_or(&Value::Null)
}

fn sans(cluster: &Value) -> Vec<&str> {
    let common = &cluster["transport_socket"]["typed_config"]["common_tls_context"];
    let validation = &common["combined_validation_context"]["default_validation_context"];
    let names = validation["match_typed_subject_alt_names"].as_array().unwrap();
    names.iter().map(|name| name["matcher"]["exact"].as_str().unwrap()).collect()
}

fn encode_all(resources: &Resources) {
    let encoder = Encoder::new().unwrap();
    for (kind, of) in [
        (ResourceKind::Cluster, &resources.clusters),
        (ResourceKind::Endpoints, &resources.endpoints),
        (ResourceKind::Listener, &resources.listeners),
        (ResourceKind::Routes, &resources.routes),
    ] {
        for (name, resource) in of {
            encoder.encode(kind, resource).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
    }
}

#[test]
fn a_service_is_called_by_its_addresses_and_only_its_accounts_may_answer() {
    let resources = resources(workload(), &[orders()]);
    encode_all(&resources);
    let outbound = &resources.listeners["outbound"];
    let http = chain(outbound, "out|80|orders.shop");
    let ranges = serde_json::json!([
        { "address_prefix": "10.96.0.50", "prefix_len": 32 },
        { "address_prefix": "fd96::50", "prefix_len": 128 },
    ]);
    assert_eq!(http["filter_chain_match"]["prefix_ranges"], ranges);
    assert_eq!(http["filter_chain_match"]["destination_port"], 80);
    let manager = &http["filters"][0]["typed_config"];
    assert_eq!(manager["rds"]["route_config_name"], "out|80|orders.shop");
    let cluster = &resources.clusters["out|80|orders.shop"];
    assert_eq!(sans(cluster), [id("b").as_str(), id("c").as_str()]);
    let tls = &cluster["transport_socket"]["typed_config"];
    assert_eq!(tls["sni"], "80.orders.shop.hopgate.internal");
    assert_eq!(cluster["transport_socket_matches"], Value::Null, "there is no other way");
    let tcp = chain(outbound, "out|9000|orders.shop");
    assert_eq!(tcp["filters"][0]["typed_config"]["cluster"], "out|9000|orders.shop");
    let endpoints = &resources.endpoints["out|80|orders.shop"]["endpoints"][0]["lb_endpoints"];
    assert_eq!(endpoints.as_array().unwrap().len(), 2);
    assert_eq!(resources.secrets(), ["ROOTCA", "default"].map(str::to_owned).into());
}

#[test]
fn what_is_no_part_of_the_mesh_has_no_chain() {
    let plain = service("plain", &["10.96.0.60"], &[]);
    let with = resources(workload(), &[orders(), plain]);
    assert_eq!(with, resources(workload(), &[orders()]), "it passes as it is");
}

#[test]
fn the_mode_decides_about_everything_else() {
    let default = |mode| {
        let resources = resources(CapturedWorkload { outbound: mode, ..workload() }, &[orders()]);
        let chain = &resources.listeners["outbound"]["default_filter_chain"];
        chain["filters"][0]["typed_config"]["cluster"].as_str().unwrap().to_owned()
    };
    assert_eq!(default(OutboundMode::Any), "passthrough");
    assert_eq!(default(OutboundMode::MeshOnly), "blackhole");
}

#[test]
fn an_endpoint_in_plaintext_is_marked_and_its_change_is_one_of_the_cluster() {
    let mut mixed = orders();
    mixed.ports[0].endpoints[1].transport = Transport::Plain;
    let before = resources(workload(), std::slice::from_ref(&mixed));
    encode_all(&before);
    let cluster = &before.clusters["out|80|orders.shop"];
    assert_eq!(cluster["transport_socket_matches"][0]["match"]["hopgate"], "plain");
    assert_eq!(sans(cluster).len(), 2, "mTLS is what an endpoint gets that is not marked");
    let endpoints = &before.endpoints["out|80|orders.shop"]["endpoints"][0]["lb_endpoints"];
    assert_eq!(endpoints[0]["metadata"], Value::Null);
    let mark = &endpoints[1]["metadata"]["filter_metadata"]["envoy.transport_socket_match"];
    assert_eq!(mark["hopgate"], "plain");
    // It comes to take mTLS: the cluster changes, so its connections end.
    let after = resources(workload(), &[orders()]);
    assert_ne!(after.clusters["out|80|orders.shop"], *cluster);
    // Others come and go without that.
    mixed.ports[0].endpoints.push(endpoint("10.77.0.14:8080", Transport::Mtls));
    let more = resources(workload(), std::slice::from_ref(&mixed));
    assert_eq!(more.clusters, before.clusters);
    assert_ne!(more.endpoints, before.endpoints);
    // Where only the mesh may be called, no plaintext leaves.
    let strict = CapturedWorkload { outbound: OutboundMode::MeshOnly, ..workload() };
    let strict = resources(strict, &[mixed]);
    assert!(!strict.clusters["out|80|orders.shop"].to_string().contains("plain"));
    let text = strict.endpoints["out|80|orders.shop"].to_string();
    assert!(!text.contains("10.77.0.13") && text.contains("10.77.0.12"), "{text}");
}

#[test]
fn headless_services_are_called_by_the_addresses_of_their_endpoints() {
    let one = service("db", &[], &["b"]);
    let mut other = service("all", &[], &["b", "c"]);
    other.ports[0].endpoints.pop();
    other.ports.pop();
    let resources = resources(workload(), &[one.clone(), other]);
    encode_all(&resources);
    let outbound = &resources.listeners["outbound"];
    // Behind both services: only who is in both lists may answer.
    let shared = chain(outbound, "direct|10.77.0.12:8080");
    let route = &shared["filters"][0]["typed_config"]["rds"]["route_config_name"];
    assert_eq!(route, "direct|http|all.shop+db.shop");
    assert_eq!(sans(&resources.clusters[route.as_str().unwrap()]), [id("b").as_str()]);
    let bytes = chain(outbound, "direct|10.77.0.13:9000");
    assert_eq!(bytes["filters"][0]["typed_config"]["cluster"], "direct|tcp|db.shop");
    let cluster = &resources.clusters["direct|tcp|db.shop"];
    assert_eq!((cluster["type"].as_str(), sans(cluster).len()), (Some("ORIGINAL_DST"), 1));
    // Services that contradict each other.
    let liar = service("liar", &[], &["d"]);
    let captured = Captured::new(workload(), &[one, liar]).unwrap();
    let withheld: BTreeSet<_> = captured.withheld().map(|(_, why)| why.to_string()).collect();
    assert_eq!(withheld, [Withheld::Contradiction.to_string()].into());
    let resources = captured.resources().unwrap();
    let chain = chain(&resources.listeners["outbound"], "direct|10.77.0.12:8080");
    assert_eq!(chain["filters"][0]["typed_config"]["cluster"], "blackhole");
}

#[test]
fn a_workload_calls_itself_as_others_do() {
    let resources = resources(workload(), &[]);
    let outbound = &resources.listeners["outbound"];
    let own = chain(outbound, "own|8080");
    assert_eq!(own["filter_chain_match"]["prefix_ranges"].as_array().unwrap().len(), 2);
    assert_eq!(own["filters"][0]["typed_config"]["rds"]["route_config_name"], "own|http");
    assert_eq!(sans(&resources.clusters["own|http"]), [id("web").as_str()]);
    assert_eq!(sans(&resources.clusters["own|tcp"]), [id("web").as_str()]);
    let plain = chain(outbound, "own|8085");
    assert_eq!(plain["filters"][0]["typed_config"]["cluster"], "passthrough");
}

#[test]
fn a_service_that_leaves_is_reached_on_connections_that_stand_and_on_no_others() {
    let http = "out|80|orders.shop";
    let leaving = |workload: CapturedWorkload, services: &[Service]| {
        let captured = Captured::new(workload, services).unwrap().with_leaving(&[orders()]);
        captured.resources().unwrap()
    };
    let (before, after) = (resources(workload(), &[orders()]), leaving(workload(), &[]));
    encode_all(&after);
    assert_eq!(after.listeners, resources(workload(), &[]).listeners, "no chain leads there");
    assert_eq!(after.clusters, before.clusters, "who may answer is the same");
    assert_eq!((&after.routes, &after.endpoints), (&before.routes, &before.endpoints));
    // One that is there is as it is said to be now.
    let other = service("orders", &["10.96.0.60"], &["c"]);
    let there = std::slice::from_ref(&other);
    assert_eq!(leaving(workload(), there), resources(workload(), there));
    // Whoever is revoked is not reached on them either.
    let revoked = CapturedWorkload { revoked: [id("b"), id("c")].into(), ..workload() };
    let revoked = leaving(revoked, &[]);
    assert!(!revoked.clusters.contains_key(http) && !revoked.routes.contains_key(http));
    assert!(!revoked.endpoints.contains_key(http));
}

#[test]
fn whoever_is_revoked_is_called_no_more() {
    let before = resources(workload(), &[orders()]);
    let revoked = |ids: &[&str]| {
        let revoked = ids.iter().map(|text| id(text)).collect();
        let captured = Captured::new(CapturedWorkload { revoked, ..workload() }, &[orders()]);
        let captured = captured.unwrap();
        let withheld: Vec<_> = captured.withheld().map(|(_, why)| why.clone()).collect();
        (captured.resources().unwrap(), withheld)
    };
    let http = "out|80|orders.shop";
    let (one, withheld) = revoked(&["b"]);
    encode_all(&one);
    assert_eq!(withheld, []);
    assert_eq!(sans(&one.clusters[http]), [id("c").as_str()]);
    // The chain changes with it, so that connections of before end.
    let chain_of = |resources: &Resources| chain(&resources.listeners["outbound"], http).clone();
    assert_ne!(chain_of(&one), chain_of(&before));
    assert_eq!(one.listeners["inbound"], before.listeners["inbound"]);
    let (all, withheld) = revoked(&["b", "c"]);
    assert_eq!(withheld, [Withheld::Revoked, Withheld::Revoked]);
    assert_eq!(chain_of(&all)["filters"][0]["typed_config"]["cluster"], "blackhole");
    assert!(!all.clusters.contains_key(http) && !all.routes.contains_key(http));
    let (own, withheld) = revoked(&["web"]);
    assert_eq!(withheld, [Withheld::OwnRevoked, Withheld::OwnRevoked]);
    assert!(own.clusters.values().all(|one| !one.to_string().contains("UpstreamTlsContext")));
    // Somebody else's revocation changes nothing here.
    assert_eq!(revoked(&["somebody"]).0, before);
}

#[test]
fn foreign_servers_are_called_once_their_roots_are_known() {
    let partner = service("mail", &["10.96.0.70"], &["spiffe://partner.example/mail"]);
    let captured = Captured::new(workload(), std::slice::from_ref(&partner)).unwrap();
    let (name, why) = captured.withheld().next().unwrap();
    assert_eq!(
        (name, why.to_string().as_str()),
        ("80|mail.shop", "the roots of partner.example are not known")
    );
    let domain = TrustDomain::parse("partner.example").unwrap();
    let known = CapturedWorkload { federated: vec![domain], ..workload() };
    let resources = resources(known, &[partner]);
    // Their servers by their own roots alone, their clients with everybody.
    let secrets: Vec<_> = resources.secrets().into_iter().collect();
    assert_eq!(secrets, ["ALL", "ROOTCA", "default", "spiffe://partner.example"]);
}

#[test]
fn the_order_in_which_services_are_told_does_not_matter() {
    let (one, other) = (orders(), service("db", &[], &["b"]));
    let forth = resources(workload(), &[one.clone(), other.clone()]);
    let mut turned = one;
    turned.addresses.reverse();
    turned.accounts.reverse();
    turned.ports.reverse();
    turned.ports.iter_mut().for_each(|port| port.endpoints.reverse());
    let back = resources(workload(), &[other, turned]);
    assert_eq!(
        serde_json::to_string(&forth.listeners).unwrap(),
        serde_json::to_string(&back.listeners).unwrap()
    );
    assert_eq!(forth, back);
}

#[test]
fn a_pod_of_one_family_has_sockets_of_that_family_alone() {
    for (own, inbound, outbound, escape) in
        [("10.77.0.11", "0.0.0.0", "127.0.0.1", "127.0.0.6"), ("fd77::11", "::", "::1", "::6")]
    {
        let one = CapturedWorkload { addresses: addresses(&[own]), ..workload() };
        let resources = resources(one, &[]);
        for (listener, address) in [("inbound", inbound), ("outbound", outbound)] {
            let listener = &resources.listeners[listener];
            assert_eq!(listener["address"]["socket_address"]["address"], address);
            assert_eq!(listener["additional_addresses"], Value::Null);
        }
        let bind = &resources.clusters["app"]["upstream_bind_config"];
        assert_eq!(bind["source_address"]["address"], escape);
        assert_eq!(bind["extra_source_addresses"], Value::Null);
    }
}

#[test]
fn a_thousand_services_become_one_configuration() {
    let many: Vec<Service> = (0..1000)
        .map(|n| {
            service(&format!("s-{n}"), &[&format!("10.96.{}.{}", n / 250, n % 250 + 1)], &["b"])
        })
        .collect();
    let resources = resources(workload(), &many);
    assert_eq!(resources.endpoints.len(), 2000);
    encode_all(&resources);
}
