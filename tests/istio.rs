//! hopgate as the external authorizer of an Istio mesh: the shipped example, behind an Envoy configured as istiod does it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hopgate::config::SidecarOverrides;
use hopgate::runtime::{Address, Clock};
use hopgate::sidecar::Bound;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::envoy::Envoy;
use crate::support::pki::{Ca, ca, pem};
use crate::support::{Scratch, mirror};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/istio")
}

/// The sidecar of the example on ports of its own, and its Envoy.
struct Pod {
    envoy: Envoy,
    inbound: SocketAddr,
    scratch: Scratch,
    stop: oneshot::Sender<()>,
    sidecar: tokio::task::JoinHandle<()>,
}

impl Pod {
    async fn start(ca: &Ca, app: SocketAddr) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let scratch = Scratch::new("istio");
        let loopback: Address = "127.0.0.1:0".parse().unwrap();
        let overrides = SidecarOverrides {
            listen: vec![loopback.clone()],
            admin: Some(loopback),
            decision_log: Some(scratch.path().join("decisions.log")),
            ..SidecarOverrides::default()
        };
        let config = hopgate::config::sidecar(&example().join("sidecar.yaml"), overrides).unwrap();
        let bound = Bound::build(config, Clock::system()).await.unwrap();
        let Address::Tcp(authz) = bound.addresses().ext_authz[0].clone() else { panic!("TCP") };
        let (stop, stopped) = oneshot::channel();
        let sidecar =
            tokio::spawn(async move { bound.run(async { drop(stopped.await) }).await.unwrap() });
        let envoy = Envoy::start(scratch.path(), &bootstrap(&scratch, ca, (authz, app)));
        let inbound = envoy.listener("virtualInbound").await;
        Self { envoy, inbound, scratch, stop, sidecar }
    }
}

/// The listener of `inbound.yaml`, with these addresses and a certificate as istiod issues them.
fn bootstrap(scratch: &Scratch, ca: &Ca, (authz, app): (SocketAddr, SocketAddr)) -> Value {
    let own = ca.leaf("spiffe://cluster.local/ns/shop/sa/orders");
    let chain = scratch.write("chain.pem", &pem(&own.certificate));
    let key = scratch.write("key.pem", &own.key.serialize_pem());
    let roots = json!({ "resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "ROOTCA",
        "validation_context": { "trusted_ca": { "inline_string": pem(&ca.root()) } },
    }] });
    let roots = scratch.write("roots.json", &roots.to_string());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/istio/inbound.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let admin = scratch.path().join("admin.sock");
    let mut bootstrap: Value = hopgate::policy::yaml::parse_one("inbound.yaml", &text).unwrap();
    put(&mut bootstrap, &|value| match value.as_str() {
        Some("ADMIN") => Some(json!(admin)),
        Some("CHAIN") => Some(json!(chain)),
        Some("KEY") => Some(json!(key)),
        Some("ROOTS") => Some(json!(roots)),
        _ if *value == json!(9191) => Some(json!(authz.port())),
        _ if *value == json!(8080) => Some(json!(app.port())),
        _ => None,
    });
    bootstrap
}

/// Puts something else in the place of some values.
fn put(value: &mut Value, other: &impl Fn(&Value) -> Option<Value>) {
    if let Some(other) = other(value) {
        *value = other;
        return;
    }
    match value {
        Value::Array(all) => all.iter_mut().for_each(|one| put(one, other)),
        Value::Object(all) => all.values_mut().for_each(|one| put(one, other)),
        _ => {}
    }
}

/// A client with the certificate of this workload.
fn client(ca: &Ca, workload: &str) -> reqwest::Client {
    let leaf = ca.leaf(&format!("spiffe://cluster.local/{workload}"));
    let pem = pem(&leaf.certificate) + leaf.key.serialize_pem().as_str();
    reqwest::Client::builder()
        .no_proxy()
        // The server is Envoy's side of this test; whom the client trusts is not what is looked at.
        .tls_danger_accept_invalid_certs(true)
        .identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap())
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_envoy_of_an_istio_workload_asks_hopgate() {
    let mut tasks = tokio::task::JoinSet::new();
    let app = mirror::mirror(&mut tasks).await;
    let ca = ca();
    let pod = Pod::start(&ca, app).await;
    let (frontend, other) = (client(&ca, "ns/shop/sa/frontend"), client(&ca, "ns/other/sa/job"));
    let token = |name: &str| {
        let path = example().join("../quickstart").join(name);
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    };
    for (peer, path, jwt, status) in [
        (&frontend, "/customers/alice/orders", Some("alice.jwt"), 200),
        (&frontend, "/customers/bob/orders", Some("alice.jwt"), 403),
        (&frontend, "/customers/alice/orders", None, 401),
        (&frontend, "/customers/alice/orders", Some("expired.jwt"), 401),
        (&frontend, "/health", None, 200),
        // The right token with the wrong workload.
        (&other, "/customers/alice/orders", Some("alice.jwt"), 403),
        (&other, "/health", None, 403),
    ] {
        let mut request = get(peer, pod.inbound, path);
        if let Some(name) = jwt {
            request = request.bearer_auth(token(name));
        }
        let forged = "By=spiffe://cluster.local/x;URI=spiffe://cluster.local/ns/shop/sa/frontend";
        let request = request.header("x-forwarded-client-cert", forged);
        let answer = request.header("x-hopgate-user", "admin").send().await.unwrap();
        let code = answer.status().as_u16();
        let body = answer.text().await.unwrap();
        assert_eq!(code, status, "{path} {jwt:?}: {body}");
        if status == 200 {
            let user = if jwt.is_some() { json!(["alice"]) } else { Value::Null };
            let seen: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(seen["headers"]["x-hopgate-user"], user, "{path}: {seen}");
        }
    }
    assert_eq!(pod.envoy.stat("http.inbound_0.0.0.0_8080.ext_authz.error").await, 0);

    // A gate that is away refuses.
    pod.stop.send(()).unwrap();
    pod.sidecar.await.unwrap();
    let answer = get(&frontend, pod.inbound, "/health").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 503);
    let log = std::fs::read_to_string(pod.scratch.path().join("decisions.log")).unwrap();
    let peers = log.matches("spiffe://cluster.local/ns/shop/sa/frontend").count();
    // Who asks with a token that is over is recorded by the token alone.
    assert!(log.lines().count() == 7 && peers == 4, "{log}");
}

fn get(client: &reqwest::Client, to: SocketAddr, path: &str) -> reqwest::RequestBuilder {
    client.get(format!("https://{to}{path}"))
}

/// What a user copies is what the product takes.
#[test]
fn the_example_names_what_there_is() {
    let read = |name: &str| std::fs::read_to_string(example().join(name)).unwrap();
    let (mesh, objects) = (read("mesh-config.yaml"), read("kubernetes.yaml"));
    let mesh: Value = hopgate::policy::yaml::parse_one("mesh-config.yaml", &mesh).unwrap();
    let provider = &mesh["extensionProviders"][0];
    let grpc = &provider["envoyExtAuthzGrpc"];
    assert_eq!((&provider["name"], &grpc["failOpen"]), (&json!("hopgate"), &json!(false)));
    for words in [
        format!("provider: {{ name: {} }}", provider["name"].as_str().unwrap()),
        format!("hosts: [{}]", grpc["service"].as_str().unwrap()),
        format!("number: {}, name: grpc", grpc["port"]),
        "rules: [{}]".to_owned(),
        "mode: STRICT".to_owned(),
        "include_peer_certificate: true".to_owned(),
    ] {
        assert!(objects.contains(&words), "{words}");
    }
    let listen = format!("127.0.0.1:{}", grpc["port"]);
    assert!(read("sidecar.yaml").contains(&listen));
    // What the kubelet asks is what the sidecar answers, on an address that the kubelet reaches.
    let config = hopgate::config::sidecar(&example().join("sidecar.yaml"), Default::default());
    let health = config.unwrap().pod.unwrap().health.to_string();
    let (host, port) = health.rsplit_once(':').unwrap();
    assert_eq!(host, "[::]");
    for words in
        [format!("path: /started, port: {port} }}"), format!("excludeInboundPorts: \"{port}\"")]
    {
        assert!(objects.contains(&words), "{words}");
    }
    let config = hopgate::config::sidecar(&example().join("own-envoy.yaml"), Default::default());
    config.unwrap().for_envoy(Vec::new()).unwrap();
}
