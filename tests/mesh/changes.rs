//! Changes under load lose no request.

use std::time::Duration;

use hopgate::mesh::pod::ENVOY_UID;
use serde_json::Value;

use super::pod::{Mesh, Pod, Spec};
use super::traffic::OPEN;
use crate::support::envoy::eventually;

const PORTS: &str = "ports: [{ port: 8080 }]";

/// One service with these endpoints, each with how it is spoken to.
fn services(endpoints: &[(&str, &str)]) -> String {
    let endpoints = endpoints
        .iter()
        .map(|(at, how)| format!("{{ address: \"{at}:8080\", transport: {how} }}"))
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        "services: [{{ name: b, namespace: shop, addresses: [10.96.0.50], accounts: [ns/shop/sa/b], \
         ports: [{{ port: 80, name: http, endpoints: [{endpoints}] }}] }}]"
    )
}

async fn pod(mesh: &mut Mesh, index: u8, account: &str, services: &str) -> Pod {
    mesh.pod(Spec { index, account, capture: PORTS, services, policy: OPEN }).await
}

/// Waits until the configuration that was made after a change is in force.
async fn configured(pod: &Pod, before: &Value) {
    let count = |value: &Value| value["configurations"].as_u64().unwrap_or_default();
    let done = eventually(async || count(&pod.configuration()) > count(before)).await;
    assert!(done, "{}\n{}", pod.configuration(), pod.logs());
}

fn lossless(result: &Value, pod: &Pod) {
    assert_eq!(result["wrong"], serde_json::json!([]), "{result}\n{}", pod.logs());
    assert!(result["statuses"]["200"].as_u64().unwrap() > 50, "{result}");
}

#[tokio::test]
async fn endpoints_clusters_and_sidecars_change_under_load_without_loss() {
    let mut mesh = Mesh::new("changes");
    let (b, c) = (("10.77.0.12", "Mtls"), ("10.77.0.14", "Mtls"));
    let server = pod(&mut mesh, 12, "b", "services: []").await;
    let mut other = pod(&mut mesh, 14, "b", "services: []").await;
    let mut a = pod(&mut mesh, 11, "a", &services(&[b, c])).await;
    let change = async |pod: &Pod, to: &str| {
        let before = pod.configuration();
        pod.write("services.yaml", to, 0o644);
        configured(pod, &before).await;
    };

    let load = a.load(4, 12, "http://10.96.0.50/public/x");
    let pause = async || tokio::time::sleep(Duration::from_millis(700)).await;
    pause().await;
    // An endpoint goes, and comes back.
    change(&a, &services(&[b])).await;
    pause().await;
    change(&a, &services(&[b, c])).await;
    pause().await;
    // A sidecar is killed and starts again, at the caller and then at a server: its Envoy asks until it is back.
    drop(a.sidecar.take());
    a.start_sidecar();
    a.ready().await;
    pause().await;
    drop(other.sidecar.take());
    // Longer than a few questions in a row would take: asked again until `authzTimeout` ends.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    other.start_sidecar();
    other.ready().await;
    pause().await;
    // Another service comes: its cluster, its routes and a chain of the one listener.
    let more = services(&[b, c]).replace(
        "services: [",
        "services: [{ name: more, namespace: shop, addresses: [10.96.0.51], accounts: [ns/shop/sa/b], \
         ports: [{ port: 80, name: http, endpoints: [{ address: \"10.77.0.12:8080\" }] }] }, ",
    );
    change(&a, &more).await;
    assert_eq!(a.answer("http://10.96.0.51/public/x", &[])["app"], "b-12");
    change(&a, &services(&[b, c])).await;
    lossless(&load.end().await, &a);
    assert_eq!(a.configuration()["refused"], serde_json::json!([]), "Envoy took everything");
    let gone = eventually(async || !a.envoy_page("/clusters").contains("more.shop")).await;
    assert!(gone, "a cluster that nothing names is removed");
    drop(server);
}

#[tokio::test]
async fn a_service_comes_from_plaintext_to_mtls_without_loss() {
    let mut mesh = Mesh::new("turn");
    // Permissive first.
    let capture = "ports: [{ port: 8080, mtls: Permissive }]";
    let policy = OPEN.replace("peers: [ns/shop/sa/a, ns/shop/sa/b], ", "");
    let spec = Spec { index: 12, account: "b", capture, services: "services: []", policy: &policy };
    let b = mesh.pod(spec).await;
    let a = pod(&mut mesh, 11, "a", &services(&[("10.77.0.12", "Plain")])).await;
    let load = a.load(4, 6, "http://10.96.0.50/public/x");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let handshakes = || b.stat("listener.0.0.0.0_15006.ssl.handshake");
    assert_eq!(handshakes(), 0, "plaintext so far");
    let before = a.configuration();
    a.write("services.yaml", &services(&[("10.77.0.12", "Mtls")]), 0o644);
    configured(&a, &before).await;
    let moved = eventually(async || handshakes() > 0).await;
    assert!(moved, "kept connections come to mTLS too");
    lossless(&load.end().await, &a);
}

/// Its pods lose their gates, or it goes away: connections that stand still lead to it, and new ones where they would without
/// a mesh.
#[tokio::test]
async fn a_service_leaves_the_mesh_without_loss() {
    let mut mesh = Mesh::new("leave");
    let capture = "ports: [{ port: 8080, mtls: Permissive }]";
    let policy = OPEN.replace("peers: [ns/shop/sa/a, ns/shop/sa/b], ", "");
    let spec = Spec { index: 12, account: "b", capture, services: "services: []", policy: &policy };
    let b = mesh.pod(spec).await;
    let a = pod(&mut mesh, 11, "a", &services(&[("10.77.0.12", "Mtls")])).await;
    // What the node does for services, here for those who are not captured.
    let rule = format!(
        "add table ip services; \
         add chain ip services out {{ type nat hook output priority -50; }}; \
         add rule ip services out meta skuid {ENVOY_UID} ip daddr 10.96.0.50 tcp dport 80 dnat to 10.77.0.12:8080"
    );
    a.namespace.as_root("nft", &[&rule]);
    let load = a.load(4, 8, "http://10.96.0.50/public/x");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let before = a.configuration();
    a.write("services.yaml", "services: []", 0o644);
    configured(&a, &before).await;
    let passed = || a.stat("cluster.passthrough.upstream_cx_total");
    assert!(eventually(async || passed() > 0).await, "new connections go as they are");
    lossless(&load.end().await, &a);
    let gone = async || !a.envoy_page("/clusters").contains("out|80|b.shop");
    assert!(eventually(gone).await, "at the end nothing of it is left");
    drop(b);
}

#[tokio::test]
async fn a_pod_that_ends_is_drained_before_it_does() {
    let mut mesh = Mesh::new("drain");
    let (b, c) = (("10.77.0.12", "Mtls"), ("10.77.0.14", "Mtls"));
    let mut server = pod(&mut mesh, 12, "b", "services: []").await;
    let other = pod(&mut mesh, 14, "b", "services: []").await;
    let a = pod(&mut mesh, 11, "a", &services(&[b, c])).await;
    let load = a.load(6, 8, "http://10.96.0.50/public/slow");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // As the control plane and the kubelet do: callers hear of it, the sidecar is told to end, and Envoy after it.
    let before = a.configuration();
    let sidecar = server.sidecar.take().unwrap();
    sidecar.signal("-TERM");
    a.write("services.yaml", &services(&[c]), 0o644);
    configured(&a, &before).await;
    assert!(sidecar.ended(Duration::from_secs(10)).await.success());
    let log = std::fs::read_to_string(server.directory.join("sidecar.log")).unwrap();
    assert!(log.contains("Envoy is drained"), "{log}");
    drop(server.envoy.take());
    lossless(&load.end().await, &a);
    drop(other);
}
