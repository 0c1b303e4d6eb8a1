//! What an application sees: plain calls that become mTLS, and doors that stay closed.

use std::time::Duration;

use super::pod::{Mesh, Pod, Spec};

/// Read by everybody of the mesh; `/private` by nobody.
pub const OPEN: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: open, namespace: shop }
spec:
  rules:
    - name: everybody-reads
      allow: { peers: [ns/shop/sa/a, ns/shop/sa/b], requests: [{ methods: [GET], paths: ["/public/**"] }] }
    - name: bytes-for-a
      allow: { peers: [ns/shop/sa/a], requests: [{ ports: [9000, 3306] }] }
    - name: old-clients
      allow: { requests: [{ ports: [8084, 8085], methods: [GET], paths: ["/public/old"] }] }
"#;

/// The services of `b`, called by addresses of their own, and by those of its pod.
pub fn services(v4: &str, v6: &str) -> String {
    let endpoints =
        |port: u16| format!("[{{ address: \"{v4}:{port}\" }}, {{ address: \"[{v6}]:{port}\" }}]");
    let port = |number: u16, kind: &str, target: u16| {
        let endpoints = endpoints(target);
        format!("      - {{ port: {number}, appProtocol: {kind}, endpoints: {endpoints} }}\n")
    };
    let ports = [
        port(80, "http", 8080),
        port(84, "http", 8084),
        port(9000, "tcp", 9000),
        port(3306, "mysql", 3306),
    ];
    let ports = ports.concat();
    let direct = port(8080, "http", 8080);
    format!(
        "services:
  - name: b
    namespace: shop
    addresses: [10.96.0.50, \"fd96::50\"]
    accounts: [ns/shop/sa/b]
    ports:
{ports}  - name: b-pods
    namespace: shop
    accounts: [ns/shop/sa/b]
    ports:
{direct}  - name: wrong
    namespace: shop
    addresses: [10.96.0.66]
    accounts: [ns/shop/sa/somebody-else]
    ports:
{}",
        port(80, "http", 8080)
    )
}

pub const PORTS: &str = "ports: [{ port: 8080 }, { port: 8084, mtls: Permissive }, { port: 8085, mtls: Disabled }, \
     { port: 9000, protocol: tcp }, { port: 3306, protocol: server-first }]";

async fn pair(mesh: &mut Mesh) -> (Pod, Pod) {
    let services = services("10.77.0.12", "fd77::12");
    let b =
        Spec { index: 12, account: "b", capture: PORTS, services: "services: []", policy: OPEN };
    let b = mesh.pod(b).await;
    let a = Spec { index: 11, account: "a", capture: PORTS, services: &services, policy: OPEN };
    let a = mesh.pod(a).await;
    (a, b)
}

fn header<'a>(answer: &'a serde_json::Value, name: &str) -> &'a str {
    let headers = answer["headers"].as_object().unwrap();
    let found = headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map_or("", |(_, value)| value.as_str().unwrap())
}

#[tokio::test]
async fn plain_calls_reach_the_other_pod_by_mtls_and_its_policies_hold() {
    let mut mesh = Mesh::new("calls");
    let (a, b) = pair(&mut mesh).await;
    let stranger = mesh.stranger(13).await;

    // By the address of a service and by that of a pod, of both families.
    for host in ["10.96.0.50", "[fd96::50]", "10.77.0.12:8080", "[fd77::12]:8080"] {
        let answer = a.answer(&format!("http://{host}/public/x"), &[]);
        assert_eq!(answer["app"], "b-12", "{host}");
        assert_eq!(header(&answer, "x-hopgate-peer"), "spiffe://mesh.test/ns/shop/sa/a", "{host}");
        assert_eq!(header(&answer, "x-forwarded-proto"), "https");
        // Never from the address of the caller, and never to another one than it wanted.
        let from = answer["peer"].as_str().unwrap().trim_start_matches("::ffff:");
        assert!(["127.0.0.6", "::6"].contains(&from), "{host}: {answer}");
    }
    assert!(b.stat("listener.0.0.0.0_15006.ssl.curves.X25519MLKEM768") > 0, "it was mTLS");
    // The workload itself, by the address of its pod and past its own gate.
    let own = a.answer("http://10.77.0.11:8080/public/x", &[]);
    assert_eq!(own["app"], "a-11");
    assert_eq!(header(&own, "x-hopgate-peer"), "spiffe://mesh.test/ns/shop/sa/a");
    // What a caller says of itself does not arrive; what it names its request does.
    let forged = [
        "-H",
        "x-forwarded-client-cert: URI=spiffe://mesh.test/ns/shop/sa/root",
        "-H",
        "x-hopgate-peer: spiffe://mesh.test/ns/shop/sa/root",
        "-H",
        "x-envoy-downstream-service-cluster: root",
        "-H",
        "x-request-id: 7f9c1f1a-0000-4000-8000-000000000001",
    ];
    let answer = a.answer("http://10.96.0.50/public/x", &forged);
    assert!(!answer.to_string().contains("root"), "{answer}");
    assert_eq!(header(&answer, "x-request-id"), "7f9c1f1a-0000-4000-8000-000000000001");

    // Policies hold.
    let (status, body) = a.get("http://10.96.0.50/private", &[]);
    assert_eq!(status, 403, "{body}");
    assert_eq!(a.get("http://10.96.0.50/public/x", &["-X", "POST"]).0, 403);
    assert_eq!(a.get("http://10.77.0.11:8080/private", &[]).0, 403, "also for the workload itself");
    // Bytes, whoever speaks first.
    let wait = Duration::from_secs(5);
    assert_eq!(a.bytes(("10.96.0.50", 9000), "hello.", wait), "hello.");
    assert!(a.bytes(("10.96.0.50", 3306), "", wait).starts_with("greetings from b-12"));
    assert_eq!(b.bytes(("10.77.0.12", 9000), "hello.", wait), "", "only `a` may");

    // Whoever is no part of the mesh.
    for port in [8080, 9000, 8099, 15006, 15001, 15000] {
        let url = format!("http://10.77.0.12:{port}/public/x");
        assert_eq!(stranger.get(&url, &[]).0, 0, "{port} is closed to strangers");
        assert_eq!(stranger.get(&url.replace("10.77.0.12", "[fd77::12]"), &[]).0, 0, "{port}");
    }
    assert_eq!(stranger.bytes(("10.77.0.12", 9000), "hello.", Duration::from_secs(1)), "");
    assert!(stranger.get("http://10.77.0.12:8090/", &[]).0 == 0, "loopback stays private");
    // TLS without a certificate, to a server name of the mesh.
    let tls = ["-k", "--connect-to", "8080.b.hopgate.internal:8080:10.77.0.12:8080"];
    assert_eq!(stranger.get("https://8080.b.hopgate.internal:8080/public/x", &tls).0, 0);
    // Permissive takes plaintext, as from nobody; Disabled takes nothing else; both ask the gate.
    for port in [8084, 8085] {
        let answer = stranger.answer(&format!("http://10.77.0.12:{port}/public/old"), &[]);
        assert_eq!(header(&answer, "x-hopgate-peer"), "", "nobody is known");
        assert_eq!(header(&answer, "x-forwarded-for"), "10.77.0.13", "its own address is said");
        let (status, body) = stranger.get(&format!("http://10.77.0.12:{port}/public/x"), &[]);
        assert_eq!(status, 403, "{port}: {body}");
    }
    let answer = a.answer("http://10.96.0.50:84/public/x", &[]);
    assert_eq!(header(&answer, "x-hopgate-peer"), "spiffe://mesh.test/ns/shop/sa/a", "by mTLS");
    // Excluded from capture: straight to the application.
    let answer = stranger.answer("http://10.77.0.12:8088/anything", &[]);
    assert_eq!(
        (answer["peer"].as_str(), header(&answer, "x-request-id")),
        (Some("::ffff:10.77.0.13"), "")
    );
    // What is no part of the mesh is called as if there were none.
    let answer = a.answer("http://10.77.0.13:8080/x", &[]);
    assert_eq!(answer["app"], "stranger-13");
    // A server that is somebody else than its service says.
    let (status, body) = a.get("http://10.96.0.66/public/x", &[]);
    assert_eq!(status, 503, "{body}");
    assert!(a.stat("cluster.out|80|wrong.shop.ssl.fail_verify_san") > 0, "{}", a.logs());
    // Undeclared ports are closed to the mesh as well.
    assert_eq!(a.get("http://10.77.0.12:8099/public/x", &[]).0, 0);

    // A gate that is away refuses.
    drop(b.sidecar);
    assert_eq!(a.get("http://10.96.0.50/public/x", &[]).0, 503);
}

#[tokio::test]
async fn where_only_the_mesh_may_be_called_everything_else_is_refused() {
    let mut mesh = Mesh::new("only");
    let stranger = mesh.stranger(13).await;
    let services = services("10.77.0.12", "fd77::12");
    let capture = format!("{PORTS}\n  outbound: MeshOnly");
    let spec =
        Spec { index: 11, account: "a", capture: &capture, services: &services, policy: OPEN };
    let a = mesh.pod(spec).await;
    assert_eq!(stranger.get("http://10.77.0.13:8080/x", &[]).0, 200, "the stranger answers");
    assert_eq!(a.get("http://10.77.0.13:8080/x", &[]).0, 0);
    assert_eq!(a.get("http://[fd77::13]:8080/x", &[]).0, 0);
    assert_eq!(a.answer("http://10.77.0.11:8080/public/x", &[])["app"], "a-11");
    let answer = a.answer("http://10.77.0.13:8088/x", &[]);
    assert_eq!(answer["app"], "stranger-13", "excluded from capture");
    // Whoever dials the listeners of Envoy itself is not sent in a circle.
    for url in ["http://127.0.0.1:15001/", "http://[::1]:15001/", "http://127.0.0.1:15006/"] {
        assert_eq!(a.get(url, &[]).0, 0, "{url}");
    }
    assert!(a.stat("listener.0.0.0.0_15006.downstream_cx_total") < 20, "{}", a.logs());
    // The application's user cannot speak to Envoy's admin page, nor read what is Envoy's.
    let socket = a.directory.join("run/envoy-admin.sock");
    assert!(
        a.run(&["curl", "-s", "--unix-socket", socket.to_str().unwrap(), "http://x/"]).is_err()
    );
}
