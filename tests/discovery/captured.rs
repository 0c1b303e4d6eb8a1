//! The configuration of a captured pod is what the golden file says, and a real Envoy takes it.

use std::path::Path;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use hopgate::identity::{SpiffeId, TrustDomain};
use hopgate::mesh::captured::{CaptureConfig, Captured, CapturedWorkload, Resources, ServicesFile};
use hopgate::mesh::{self, ForwardedCertificates, ResourceKind, Sidecar};
use hopgate::policy::MtlsMode;
use serde_json::{Value, json};

use crate::support::envoy::complaint;
use crate::support::{Scratch, golden};

/// Every protocol in every mode that it may have.
const CAPTURE: &str = r#"
addresses: [10.77.0.11, "fd77::11"]
accessLog: /dev/null
authzTimeout: 500ms
ports:
  - { port: 8080 }
  - { port: 8084, protocol: grpc, mtls: Permissive, requestBody: { maxBytes: 65536 } }
  - { port: 8085, protocol: http2, mtls: Disabled }
  - { port: 9000, protocol: tcp }
  - { port: 9001, protocol: tcp, mtls: Permissive }
  - { port: 9002, protocol: tcp, mtls: Disabled }
  - { port: 3306, protocol: server-first }
  - { port: 2525, protocol: server-first, mtls: Disabled }
"#;

const SERVICES: &str = r#"
services:
  - name: orders
    namespace: shop
    addresses: [10.96.0.50, "fd96::50"]
    accounts: [ns/shop/sa/b, ns/shop/sa/c]
    ports:
      - port: 80
        name: http
        endpoints:
          - { address: "10.77.0.12:8080" }
          - { address: "[fd77::12]:8080" }
          - { address: "10.77.0.13:8080", transport: Plain }
          - { address: "10.77.0.14:8080", readiness: Terminating }
      - { port: 9000, appProtocol: tcp, endpoints: [{ address: "10.77.0.12:9000" }] }
  - name: db
    namespace: shop
    accounts: [ns/shop/sa/db]
    ports: [{ port: 5432, appProtocol: tcp, endpoints: [{ address: "10.77.0.21:5432" }, { address: "10.77.0.22:5432" }] }]
  - name: partner
    namespace: mail
    addresses: [10.96.0.70]
    accounts: ["spiffe://partner.example/ns/mail/sa/smtp"]
    ports: [{ port: 25, appProtocol: smtp, endpoints: [{ address: "10.99.0.1:25" }] }]
  - name: gone
    namespace: shop
    addresses: [10.96.0.80]
    accounts: [ns/shop/sa/gone]
    ports: [{ port: 80, name: http }]
  - { name: plain, namespace: shop, addresses: [10.96.0.90], ports: [{ port: 80 }] }
"#;

fn sidecar() -> Sidecar {
    Sidecar {
        identity: SpiffeId::parse("spiffe://mesh.test/ns/shop/sa/web").unwrap(),
        sds: mesh::Endpoint::Unix(mesh::pod::XDS_SOCKET.into()),
        authz: mesh::Endpoint::Unix(mesh::pod::AUTHZ_SOCKET.into()),
        tokens: Some(mesh::Endpoint::Unix("/run/hopgate/tokens.sock".into())),
        forwarded: ForwardedCertificates::Replaced,
        aliases: vec![TrustDomain::parse("old.test").unwrap()],
    }
}

fn resources() -> Resources {
    let capture: CaptureConfig = serde_saphyr::from_str(CAPTURE).unwrap();
    let services: ServicesFile = serde_saphyr::from_str(SERVICES).unwrap();
    let services = services.services(&TrustDomain::parse("mesh.test").unwrap()).unwrap();
    let revoked = "spiffe://mesh.test/ns/shop/sa/gone";
    let workload = CapturedWorkload {
        sidecar: sidecar(),
        addresses: capture.addresses,
        federated: vec![TrustDomain::parse("partner.example").unwrap()],
        revoked: [SpiffeId::parse(revoked).unwrap()].into(),
        ports: capture.ports.iter().map(|port| port.port(MtlsMode::Strict)).collect(),
        outbound: capture.outbound,
        access_log: capture.access_log,
        authz_timeout: Duration::from_millis(500),
    };
    Captured::new(workload, &services).unwrap().resources().unwrap()
}

#[test]
fn the_configuration_is_the_golden_one() {
    let Resources { clusters, endpoints, listeners, routes } = resources();
    let whole = json!({
        "listeners": listeners, "routes": routes, "clusters": clusters, "endpoints": endpoints,
    });
    golden("envoy-captured.yaml", &mesh::to_yaml(&whole).unwrap());
}

#[test]
fn the_bootstrap_is_the_golden_one() {
    let admin = mesh::Endpoint::Unix(mesh::pod::ENVOY_ADMIN_SOCKET.into());
    let bootstrap = mesh::discovering_bootstrap(&sidecar(), &admin).unwrap();
    golden("envoy-captured-bootstrap.yaml", &mesh::to_yaml(&bootstrap).unwrap());
}

/// What is sent is what Envoy's own messages hold: whatever they did not know would be gone.
#[test]
fn nothing_is_sent_that_envoy_does_not_know() {
    fn known<M: prost::Message + Default>(bytes: &[u8]) -> bool {
        M::decode(bytes).unwrap().encoded_len() == bytes.len()
    }
    let (encoder, resources) = (mesh::Encoder::new().unwrap(), resources());
    for kind in ResourceKind::ALL {
        for (name, resource) in resources.of(kind) {
            let bytes = encoder.encode(kind, resource).unwrap();
            let is_known = match kind {
                ResourceKind::Cluster => known::<Cluster>(&bytes),
                ResourceKind::Endpoints => known::<ClusterLoadAssignment>(&bytes),
                ResourceKind::Listener => known::<Listener>(&bytes),
                ResourceKind::Routes => known::<RouteConfiguration>(&bytes),
            };
            assert!(is_known, "{name}");
        }
    }
}

/// The same listeners and clusters in a bootstrap, which Envoy can look at without a server.
fn written_down(directory: &Path) -> Value {
    let resources = resources();
    let admin = mesh::Endpoint::Unix(directory.join("admin.sock"));
    let mut bootstrap = mesh::discovering_bootstrap(&sidecar(), &admin).unwrap();
    // What is written down comes before the aggregated stream, which it must not name then: Envoy would crash.
    let alone = json!({ "api_config_source": bootstrap["dynamic_resources"]["ads_config"] });
    let alone = alone.to_string();
    let alone = alone.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    let written = |resource: &Value| -> Value {
        serde_json::from_str(&resource.to_string().replace("\"ads\":{}", alone)).unwrap()
    };
    let of = &mut bootstrap["static_resources"];
    of["listeners"] = resources.listeners.values().map(written).collect();
    let clusters = of["clusters"].as_array_mut().unwrap();
    clusters.extend(resources.clusters.values().map(written));
    bootstrap
}

#[test]
fn a_real_envoy_takes_all_of_it_and_would_say_what_is_broken() {
    let directory = Scratch::new("captured");
    let file = directory.path().join("envoy.json");
    let bootstrap = written_down(directory.path()).to_string();
    std::fs::write(&file, &bootstrap).unwrap();
    assert_eq!(complaint(&file), "");
    std::fs::write(&file, bootstrap.replace("max_session_keys", "max_session_keyz")).unwrap();
    assert!(complaint(&file).contains("max_session_keyz"), "so the test above proves something");
    // Two chains that match the same are what the checks of services prevent.
    let twice = bootstrap.replace("\"destination_port\":8085", "\"destination_port\":9002");
    assert_ne!(twice, bootstrap);
    std::fs::write(&file, twice).unwrap();
    assert_ne!(complaint(&file), "");
}
