//! The generated bootstrap is what the golden file says, and a real Envoy takes it.

use std::path::Path;

use hopgate::identity::SpiffeId;
use hopgate::mesh;

use crate::support::Scratch;
use crate::support::envoy::complaint;

const EVERYTHING: &str = r#"
admin: "unix:/run/hopgate/envoy-admin.sock"
accessLog: /dev/null
authzTimeout: 500ms
inbound:
  - { name: http, listen: "0.0.0.0:21001", app: "127.0.0.1:31001" }
  - { name: db, listen: "[::1]:21002", app: "127.0.0.1:31002", protocol: tcp }
edge:
  - { name: public, listen: "127.0.0.1:21003", app: "127.0.0.1:31001" }
outbound:
  - name: payments
    listen: "127.0.0.1:22001"
    upstream: ["127.0.0.1:21011", "127.0.0.1:21012"]
    identities: [ns/shop/sa/payments, "spiffe://demo.mesh/vm/payments-2"]
  - name: ledger
    listen: "127.0.0.1:22002"
    upstream: ["ledger.example.internal:21001"]
    identities: [ns/bank/sa/ledger]
    protocol: tcp
"#;

fn generated(section: &str) -> serde_json::Value {
    let sidecar = mesh::Sidecar {
        identity: SpiffeId::parse("spiffe://demo.mesh/ns/shop/sa/orders").unwrap(),
        sds: "unix:/run/hopgate/sds.sock".parse().unwrap(),
        authz: "127.0.0.1:9001".parse().unwrap(),
        tokens: None,
        forwarded: mesh::ForwardedCertificates::Replaced,
        aliases: Vec::new(),
    };
    let config = serde_saphyr::from_str(section).unwrap();
    mesh::bootstrap(&mesh::Mesh::new(config, sidecar).unwrap())
}

#[test]
fn the_bootstrap_is_the_golden_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/envoy-bootstrap.yaml");
    let yaml = mesh::to_yaml(&generated(EVERYTHING)).unwrap();
    if std::env::var_os("HOPGATE_BLESS").is_some() {
        std::fs::write(&file, &yaml).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        yaml == golden,
        "the bootstrap changed; read it, then renew {} with HOPGATE_BLESS=1:\n{yaml}",
        file.display()
    );
}

#[test]
fn a_real_envoy_takes_it_as_yaml_and_as_json() {
    let directory = Scratch::new("bootstrap");
    let bootstrap = generated(EVERYTHING);
    for (name, text) in
        [("envoy.yaml", mesh::to_yaml(&bootstrap).unwrap()), ("envoy.json", bootstrap.to_string())]
    {
        let file = directory.path().join(name);
        std::fs::write(&file, text).unwrap();
        assert_eq!(complaint(&file), "", "{name}");
    }
}

#[test]
fn a_real_envoy_refuses_what_is_broken() {
    let directory = Scratch::new("bootstrap");
    let file = directory.path().join("envoy.json");
    let broken = generated(EVERYTHING).to_string().replace("max_session_keys", "max_session_keyz");
    std::fs::write(&file, broken).unwrap();
    assert!(complaint(&file).contains("max_session_keyz"), "so the test above proves something");
}
