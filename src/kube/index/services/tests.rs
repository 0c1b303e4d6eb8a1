//! What is said of services, by slices and pods.

use serde_json::{Value, json};

use super::*;

fn domain() -> TrustDomain {
    TrustDomain::parse("mesh.test").unwrap()
}

fn service(name: &str, spec: &Value) -> ClusterService {
    let object = json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": spec });
    ClusterService::read(&serde_json::from_value(object).unwrap()).unwrap()
}

fn orders() -> ClusterService {
    service(
        "orders",
        &json!({
            "clusterIP": "10.96.0.50", "clusterIPs": ["10.96.0.50", "fd96::50"],
            "ports": [
                { "name": "http", "port": 80, "targetPort": 8080 },
                { "name": "dns", "port": 53, "protocol": "UDP" },
            ],
        }),
    )
}

fn slice(endpoints: &Value) -> EndpointSlice {
    let object = json!({
        "metadata": { "name": "orders-x", "namespace": "shop", "labels": { OWNER: "orders" } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }, { "name": "dns", "port": 53, "protocol": "UDP" }],
        "endpoints": endpoints,
    });
    EndpointSlice::read(&serde_json::from_value(object).unwrap()).unwrap()
}

fn endpoint(address: &str, uid: &str, conditions: &Value) -> Value {
    json!({ "addresses": [address], "conditions": conditions, "targetRef": { "kind": "Pod", "uid": uid } })
}

fn pod(uid: &str, account: &str, address: &str, gate: Option<&str>) -> (String, Pod) {
    let arguments = gate.map(|ports| json!(["capture", "up", "--exclude-inbound-ports", ports]));
    let containers = arguments.iter().flat_map(|arguments| {
        [
            json!({ "name": "hopgate-capture", "args": arguments }),
            json!({ "name": "hopgate", "restartPolicy": "Always" }),
            json!({ "name": "envoy", "restartPolicy": "Always" }),
        ]
    });
    let object = json!({
        "metadata": { "uid": uid, "name": uid, "namespace": "shop" },
        "spec": {
            "serviceAccountName": account,
            "containers": [],
            "initContainers": containers.collect::<Vec<_>>(),
        },
        "status": { "podIP": address, "podIPs": [{ "ip": address }] },
    });
    (uid.to_owned(), Pod::read(&serde_json::from_value(object).unwrap()).unwrap())
}

fn meshed(endpoints: &Value, pods: &[(String, Pod)], mtls: &Mtls) -> Vec<Service> {
    let mut services = Services::default();
    services.hear_services(Heard::All(vec![orders()]));
    assert!(!services.is_whole());
    services.hear_slices(Heard::All(vec![slice(endpoints)]));
    assert!(services.is_whole());
    services.meshed(&pods.iter().cloned().collect(), (&domain(), mtls))
}

#[test]
fn a_service_is_what_its_slices_and_pods_make_it() {
    let pods = [
        pod("a", "orders", "10.0.0.1", Some("")),
        pod("b", "orders-canary", "10.0.0.2", Some("9090")),
        pod("c", "old", "10.0.0.3", None),
    ];
    let endpoints = json!([
        endpoint("10.0.0.1", "a", &json!({ "ready": true })),
        endpoint("10.0.0.2", "b", &json!({ "ready": false, "serving": true, "terminating": true })),
        endpoint("10.0.0.3", "c", &json!({ "ready": false })),
    ]);
    let services = meshed(&endpoints, &pods, &Mtls::strict());
    let [orders] = services.as_slice() else { panic!("{services:?}") };
    assert_eq!(orders.to_string(), "orders.shop");
    assert_eq!(orders.addresses.len(), 2);
    let accounts: Vec<&str> = orders.accounts.iter().map(SpiffeId::as_str).collect();
    let id = |account: &str| format!("spiffe://mesh.test/ns/shop/sa/{account}");
    assert_eq!(accounts, [id("orders"), id("orders-canary")]);
    let [port] = orders.ports.as_slice() else { panic!("UDP is none of ours") };
    assert_eq!((port.number, port.protocol), (80, AppProtocol::Http));
    let seen: Vec<_> = port
        .endpoints
        .iter()
        .map(|one| (one.address.to_string(), one.transport, one.readiness))
        .collect();
    let at = |text: &str, transport, readiness| (text.to_owned(), transport, readiness);
    assert_eq!(
        seen,
        [
            at("10.0.0.1:8080", Transport::Mtls, Readiness::Ready),
            at("10.0.0.2:8080", Transport::Mtls, Readiness::Terminating),
            at("10.0.0.3:8080", Transport::Plain, Readiness::NotReady),
        ]
    );
}

#[test]
fn only_a_captured_port_of_a_pod_with_a_gate_takes_mtls() {
    let ready = || json!({ "ready": true });
    let one = |address: &str, pods: &[(String, Pod)], mtls: &Mtls| {
        meshed(&json!([endpoint(address, "a", &ready())]), pods, mtls).len()
    };
    let strict = Mtls::strict();
    let gate = pod("a", "orders", "10.0.0.1", Some(""));
    assert_eq!(one("10.0.0.1", std::slice::from_ref(&gate), &strict), 1);
    assert_eq!(
        one("10.0.0.9", std::slice::from_ref(&gate), &strict),
        0,
        "not the address of that pod"
    );
    assert_eq!(one("10.0.0.1", &[pod("b", "orders", "10.0.0.1", Some(""))], &strict), 0);
    assert_eq!(one("10.0.0.1", &[pod("a", "orders", "10.0.0.1", None)], &strict), 0);
    let excluded = pod("a", "orders", "10.0.0.1", Some("8080,9090"));
    assert_eq!(one("10.0.0.1", &[excluded], &strict), 0);
    let mut elsewhere = gate.clone();
    elsewhere.1.namespace = "bank".to_owned();
    assert_eq!(one("10.0.0.1", &[elsewhere], &strict), 0, "a pod of another namespace");
    let mut disabled = Mtls::strict();
    disabled.mode = MtlsMode::Disabled;
    assert_eq!(one("10.0.0.1", std::slice::from_ref(&gate), &disabled), 0);
    disabled.mode = MtlsMode::Permissive;
    assert_eq!(one("10.0.0.1", &[gate], &disabled), 1);
}

#[test]
fn changes_are_heard_in_whatever_order() {
    let pods = [pod("a", "orders", "10.0.0.1", Some(""))].into_iter().collect();
    let mut services = Services::default();
    let all = |services: &Services| services.meshed(&pods, (&domain(), &Mtls::strict())).len();
    let there = || slice(&json!([endpoint("10.0.0.1", "a", &json!({}))]));
    services.hear_slices(Heard::All(vec![there()]));
    services.hear_services(Heard::All(Vec::new()));
    assert_eq!(all(&services), 0);
    services.hear_services(Heard::Put(orders()));
    assert_eq!(all(&services), 1);
    services.hear_services(Heard::Failed("away".to_owned()));
    services.hear_slices(Heard::Failed("away".to_owned()));
    assert_eq!(all(&services), 1, "no error takes anything away");
    // The slice comes to another service.
    services.hear_slices(Heard::Put(EndpointSlice { service: "other".to_owned(), ..there() }));
    assert_eq!(all(&services), 0);
    services.hear_slices(Heard::Put(there()));
    services.hear_slices(Heard::Gone(there()));
    assert_eq!(all(&services), 0);
}

#[test]
fn a_headless_service_has_no_address_and_a_name_for_something_else_is_none() {
    let headless =
        service("db", &json!({ "clusterIP": "None", "clusterIPs": ["None"], "ports": [] }));
    assert!(headless.addresses.is_empty());
    let name = service("x", &json!({ "type": "ExternalName", "ports": [{ "port": 80 }] }));
    assert!(name.ports.is_empty());
}
