//! Who is revoked loses what is open, with a real control plane.

use std::time::{Duration, Instant};

use super::pod::{Mesh, Spec};

const PORTS: &str = "ports: [{ port: 8080 }, { port: 9000, protocol: tcp }]";
const POLICY: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: open, namespace: shop }
spec:
  rules:
    - { name: pages, allow: { peers: [ns/shop], requests: [{ methods: [GET], paths: ["/public/**"] }] } }
    - { name: bytes, allow: { peers: [ns/shop], requests: [{ ports: [9000] }] } }
"#;
const SERVICES: &str = r#"
services:
  - name: b
    namespace: shop
    addresses: [10.96.0.50]
    accounts: [ns/shop/sa/b, ns/shop/sa/c]
    ports:
      - { port: 80, name: http, endpoints: [{ address: "10.77.0.12:8080" }] }
      - { port: 9000, endpoints: [{ address: "10.77.0.12:9000" }] }
"#;

#[tokio::test]
async fn a_revoked_peer_loses_its_connections_and_a_revoked_server_its_callers() {
    let mut mesh = Mesh::with_control("revoked").await;
    let b =
        Spec { index: 12, account: "b", capture: PORTS, services: "services: []", policy: POLICY };
    let b = mesh.pod(b).await;
    let a = Spec { index: 11, account: "a", capture: PORTS, services: SERVICES, policy: POLICY };
    let a = mesh.pod(a).await;
    assert_eq!(a.get("http://10.96.0.50/public/x", &[]).0, 200);

    let open = a.open(("10.96.0.50", 9000)).await;
    mesh.revoke("workload ns/shop/sa/a --reason stolen");
    let since = Instant::now();
    open.ended().await;
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    // Its own sidecar makes no connection to the mesh any more, and others would refuse it.
    assert_eq!(a.get("http://10.96.0.50/public/x", &[]).0, 0);
    let withheld = a.configuration()["withheld"].to_string();
    assert!(withheld.contains("this workload is revoked"), "{withheld}");
    mesh.revoke("lift ns/shop/sa/a");
    let again = async || a.get("http://10.96.0.50/public/x", &[]).0 == 200;
    assert!(crate::support::envoy::eventually(again).await, "{}", a.logs());

    // A server: its callers learn of it from the control plane, though it may not. Its own sidecar is stopped where it is.
    let open = a.open(("10.96.0.50", 9000)).await;
    b.sidecar.as_ref().unwrap().signal("-STOP");
    mesh.revoke("workload ns/shop/sa/b --reason stolen");
    let since = Instant::now();
    open.ended().await;
    // A bare connection stands until Envoy's drain time is over, which is 3 s here.
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    assert_eq!(a.get("http://10.96.0.50/public/x", &[]).0, 503, "{}", a.logs());
    let refused = a.stat("cluster.out|80|b.shop.ssl.fail_verify_san");
    assert!(refused > 0, "it is among those who may answer no longer\n{}", a.logs());
}
