//! What a sidecar does for its pod: the application's probes, asked in the kubelet's place, and whether the gate works.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use hopgate::runtime::{Address, Clock};
use hopgate::sidecar::{Bound, Config, PodAddresses};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::oneshot;

use crate::support::Scratch;
use crate::support::envoy::Envoy;

const KEY: &str = "00112233445566778899aabbccddeeff";
const POLICY: &str = "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: open, namespace: shop }\n\
    spec: { rules: [{ name: open, allow: { requests: [{ paths: [\"/open\"] }] } }] }\n";

struct Pod {
    addresses: PodAddresses,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<Result<(), hopgate::runtime::TaskEnded>>,
    scratch: Scratch,
}

impl Pod {
    async fn start(name: &str, probes: &[(&str, Value)]) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let scratch = Scratch::new(name);
        scratch.write("resources/open.yaml", POLICY);
        let list: Vec<Value> = probes
            .iter()
            .map(|(name, ask)| json!({ "name": name, "ask": ask, "timeout": "700ms" }))
            .collect();
        let config = json!({
            "workload": { "trustDomain": "test.mesh", "namespace": "shop", "serviceAccount": "orders" },
            "resources": ["resources"],
            "extAuthz": { "listen": ["unix:authz.sock"] },
            "admin": { "listen": "unix:admin.sock" },
            "decisionLog": { "path": "decisions.log" },
            "pod": {
                "address": "127.0.0.1", "listen": "127.0.0.1:0", "health": "127.0.0.1:0",
                "envoyAdmin": "unix:envoy.sock", "probes": { "key": KEY, "list": list },
            },
        });
        let file = scratch.write("sidecar.yaml", &config.to_string());
        let config: Config = hopgate::config::sidecar(&file, Default::default()).unwrap();
        let bound = Bound::build(config, Clock::system()).await.unwrap();
        let addresses = bound.addresses().pod.clone().unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(bound.run(async { drop(stopped.await) }));
        Self { addresses, stop, ended, scratch }
    }

    async fn probe(&self, name: &str) -> (u16, String) {
        self.page(&format!("/probe/{KEY}/{name}")).await
    }

    async fn page(&self, path: &str) -> (u16, String) {
        ask(&self.addresses.listen, path).await.unwrap()
    }

    async fn health(&self, path: &str) -> u16 {
        ask(&self.addresses.health, path).await.unwrap().0
    }

    async fn stop(self) {
        drop(self.stop);
        self.ended.await.unwrap().unwrap();
    }
}

async fn ask(address: &Address, path: &str) -> reqwest::Result<(u16, String)> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    let answer = client.get(format!("http://{address}{path}")).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn http(port: u16, path: &str) -> Value {
    json!({ "http": { "scheme": "HTTP", "port": port, "path": path } })
}

#[tokio::test]
async fn an_application_is_asked_over_http_as_the_kubelet_would() {
    let (listener, port) = listen().await;
    let told = |headers: HeaderMap| async move {
        let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
        let all = [header::HOST, header::USER_AGENT, header::ACCEPT].map(text).join(" ");
        let wanted = format!("orders.shop kube-probe/hopgate-{} -", env!("CARGO_PKG_VERSION"));
        let odd = headers.get("x-probe").is_none_or(|value| value != "a b");
        if all != wanted || odd { (StatusCode::BAD_REQUEST, all) } else { (StatusCode::OK, all) }
    };
    let app = Router::new()
        .route("/ready", get(|| async { "ready" }))
        .route(
            "/elsewhere",
            get(|| async { (StatusCode::FOUND, [(header::LOCATION, "/missing")]) }),
        )
        .route("/broken", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
        .route("/slow", get(|| async { tokio::time::sleep(Duration::from_secs(5)).await }))
        .route("/headers", get(told));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let (_, closed) = listen().await;
    let mut headers = http(port, "/headers");
    headers["http"]["headers"] = json!([
        { "name": "Host", "value": "orders.shop" }, { "name": "X-Probe", "value": "a b" }, { "name": "Accept", "value": "" },
    ]);
    let pod = Pod::start(
        "pod-http",
        &[
            ("app/readinessProbe", http(port, "/ready?x=1")),
            ("app/redirect", http(port, "/elsewhere")),
            ("app/missing", http(port, "/missing")),
            ("app/broken", http(port, "/broken")),
            ("app/slow", http(port, "/slow")),
            ("app/headers", headers),
            ("app/closed", http(closed, "/")),
        ],
    )
    .await;
    assert_eq!(pod.probe("app/readinessProbe").await, (200, "HTTP status 200\n".to_owned()));
    assert_eq!(pod.probe("app/redirect").await, (200, "HTTP status 302\n".to_owned()));
    assert_eq!(pod.probe("app/missing").await, (503, "HTTP status 404\n".to_owned()));
    assert_eq!(pod.probe("app/broken").await.0, 503);
    assert_eq!(pod.probe("app/headers").await, (200, "HTTP status 200\n".to_owned()));
    assert_eq!(pod.probe("app/closed").await.0, 503);
    let began = Instant::now();
    let (status, text) = pod.probe("app/slow").await;
    assert_eq!((status, text.starts_with("no answer within")), (503, true), "{text}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    pod.stop().await;
}

#[tokio::test]
async fn only_the_probes_of_the_pod_can_be_asked() {
    let (listener, port) = listen().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let app = Router::new().fallback(move || {
        count.fetch_add(1, Ordering::SeqCst);
        async {}
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    let pod = Pod::start("pod-only", &[("app/preStop", http(port, "/stop"))]).await;
    for path in [
        "/",
        "/probe",
        "/probe/app/preStop",
        "/probe//app/preStop",
        "/probe/ffffffffffffffffffffffffffffffff/app/preStop",
        &format!("/probe/{KEY}/app/livenessProbe"),
        &format!("/probe/{KEY}/app/preStop/"),
        &format!("/probe/{KEY}/app%2fpreStop"),
        &format!("/probe/{KEY}/x/../app/preStop%20"),
        "/config",
        "/renew",
        "/stop",
    ] {
        assert_eq!(pod.page(path).await.0, 404, "{path}");
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/probe/{KEY}/app/preStop", pod.addresses.listen);
    assert_eq!(client.post(&url).send().await.unwrap().status(), 405);
    assert_eq!(asked.load(Ordering::SeqCst), 0, "the application heard of none of them");
    assert_eq!(pod.probe("app/preStop").await.0, 200);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let (status, metrics) = pod.page("/metrics").await;
    assert_eq!((status, metrics.contains("hopgate_")), (200, true));
    pod.stop().await;
}

#[tokio::test]
async fn however_many_ask_the_application_hears_one_question_at_a_time() {
    let (listener, port) = listen().await;
    let state = Arc::new([const { AtomicUsize::new(0) }; 3]);
    let counts = Arc::clone(&state);
    let app = Router::new().fallback(move || {
        let counts = Arc::clone(&counts);
        async move {
            let [now, most, all] = &*counts;
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            all.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(150)).await;
            now.fetch_sub(1, Ordering::SeqCst);
        }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    let pod = Arc::new(Pod::start("pod-flight", &[("app/livenessProbe", http(port, "/"))]).await);
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let pod = Arc::clone(&pod);
            tokio::spawn(async move { pod.probe("app/livenessProbe").await.0 })
        })
        .collect();
    for one in asking {
        assert_eq!(one.await.unwrap(), 200);
    }
    let [_, most, all] = &*state;
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert!(all.load(Ordering::SeqCst) < 20, "{all:?}");
    // What was answered is not believed for ever: the next one asks anew.
    let before = all.load(Ordering::SeqCst);
    assert_eq!(pod.probe("app/livenessProbe").await.0, 200);
    assert_eq!(all.load(Ordering::SeqCst), before + 1);
    Arc::into_inner(pod).unwrap().stop().await;
}

#[tokio::test]
async fn tcp_tls_and_grpc_are_asked_too() {
    let (open, open_port) = listen().await;
    let (_, closed) = listen().await;
    let (tls, tls_port) = listen().await;
    tokio::spawn(async move {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["old.example".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = tls.accept().await {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut head = [0; 1024];
            let length = stream.read(&mut head).await.unwrap();
            let found = head[..length].starts_with(b"GET /secure HTTP/1.1\r\n");
            let status = if found { "200 OK" } else { "404 Not Found" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    let (grpc, grpc_port) = listen().await;
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("good", tonic_health::ServingStatus::Serving).await;
    reporter.set_service_status("bad", tonic_health::ServingStatus::NotServing).await;
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(grpc);
    tokio::spawn(async move {
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await
    });
    let secure =
        |path: &str| json!({ "http": { "scheme": "HTTPS", "port": tls_port, "path": path } });
    let grpc = |service: &str| json!({ "grpc": { "port": grpc_port, "service": service } });
    let pod = Pod::start(
        "pod-others",
        &[
            ("app/open", json!({ "tcp": { "port": open_port } })),
            ("app/closed", json!({ "tcp": { "port": closed } })),
            ("app/secure", secure("/secure")),
            ("app/insecure", secure("/other")),
            ("app/plain", http(tls_port, "/secure")),
            ("app/overall", json!({ "grpc": { "port": grpc_port } })),
            ("app/good", grpc("good")),
            ("app/bad", grpc("bad")),
            ("app/unknown", grpc("unknown")),
            ("app/nogrpc", json!({ "grpc": { "port": open_port } })),
        ],
    )
    .await;
    for (name, status, words) in [
        ("app/open", 200, "connected"),
        ("app/closed", 503, "refused"),
        ("app/secure", 200, "HTTP status 200"),
        ("app/insecure", 503, "HTTP status 404"),
        ("app/plain", 503, ""),
        ("app/overall", 200, "SERVING"),
        ("app/good", 200, "SERVING"),
        ("app/bad", 503, "NOT_SERVING"),
        ("app/unknown", 503, "gRPC status NotFound"),
        ("app/nogrpc", 503, ""),
    ] {
        let (found, text) = pod.probe(name).await;
        assert_eq!(found, status, "{name}: {text}");
        assert!(text.contains(words), "{name}: {text}");
    }
    drop(open);
    pod.stop().await;
}

#[tokio::test]
async fn the_kubelet_hears_whether_the_gate_works() {
    let pod = Pod::start("pod-health", &[]).await;
    assert_eq!(pod.health("/started").await, 200);
    assert_eq!(pod.health("/envoy").await, 503, "there is no Envoy");
    assert_eq!(pod.health("/ready").await, 503);
    for path in ["/", "/metrics", "/config", "/probe/x"] {
        assert_eq!(pod.health(path).await, 404);
    }
    let admin = UnixListener::bind(pod.scratch.path().join("envoy.sock")).unwrap();
    let live = Arc::new(AtomicUsize::new(0));
    let state = Arc::clone(&live);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = admin.accept().await {
            let mut head = [0; 1024];
            let length = stream.read(&mut head).await.unwrap();
            let asked = head[..length].starts_with(b"GET /ready HTTP/1.1\r\n");
            let good = asked && state.load(Ordering::SeqCst) == 1;
            let answer = if good {
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nLIVE\n"
            } else {
                "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 21\r\n\r\nPRE_INITIALIZING\n"
            };
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    assert_eq!(pod.health("/envoy").await, 503, "it is not live yet");
    live.store(1, Ordering::SeqCst);
    assert_eq!(pod.health("/envoy").await, 200);
    assert_eq!(pod.health("/ready").await, 200);
    pod.stop().await;
}

#[tokio::test]
async fn one_caller_leaves_room_for_others_and_silence_is_ended() {
    let pod = Pod::start("pod-crowd", &[]).await;
    let Address::Tcp(address) = pod.addresses.health else { panic!("TCP") };
    let idle: Vec<TcpStream> =
        futures_util::future::join_all((0..40).map(|_| TcpStream::connect(address)))
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
    assert!(ask(&pod.addresses.health, "/started").await.is_err(), "this address has enough");
    // From another address there is room.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 9], 0))).unwrap();
    let mut other = socket.connect(address).await.unwrap();
    other.write_all(b"GET /started HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Whoever says nothing is gone after a while, and the place is free again.
    let end = Instant::now() + Duration::from_secs(20);
    while ask(&pod.addresses.health, "/started").await.is_err() {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(idle);
    pod.stop().await;
}

/// `hopgate envoy drain` on an Envoy whose application answers slowly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_is_drained_while_it_still_serves() {
    let (listener, port) = listen().await;
    let app = Router::new()
        .route("/slow", get(|| async { tokio::time::sleep(Duration::from_secs(4)).await }))
        .route("/", get(|| async {}));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let scratch = Scratch::new("pod-drain");
    let socket = |address: &str, port: u16| json!({ "socket_address": { "address": address, "port_value": port } });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "http_filters": [{ "name": "router", "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" } }],
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "app" } }] }] },
    });
    let bootstrap = json!({
        "admin": { "address": { "pipe": { "path": scratch.path().join("admin.sock") } } },
        "static_resources": {
            "listeners": [{
                "name": "inbound", "address": socket("127.0.0.1", 0),
                "filter_chains": [{ "filters": [{ "name": "http", "typed_config": manager }] }],
            }],
            "clusters": [{
                "name": "app", "type": "STATIC",
                "load_assignment": { "cluster_name": "app", "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket("127.0.0.1", port) } }] }] },
            }],
        },
    });
    let drain = |within: &str, admin: &str| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hopgate"));
        command.args(["envoy", "drain", "--within", within, "--admin", admin]);
        command.env_clear().output()
    };
    let admin = format!("unix:{}", scratch.path().join("admin.sock").display());
    let none = drain("1s", &admin).await.unwrap();
    assert_eq!(none.status.code(), Some(2), "there is no Envoy");
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(said.contains("there is no Envoy at unix:"), "{said}");

    // Within this time it comes to tell all of its callers.
    let envoy = Envoy::start_with(scratch.path(), &bootstrap, &["--drain-time-s", "2"]);
    envoy.live().await;
    let at = Address::Tcp(envoy.listener("inbound").await);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = |path: &str| client.get(format!("http://{at}{path}")).send();
    let first = call("/").await.unwrap();
    assert_eq!((first.status().as_u16(), first.headers().get("connection")), (200, None));
    let slow = tokio::spawn(call("/slow"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let busy = drain("1s", &admin).await.unwrap();
    assert_eq!(busy.status.code(), Some(1), "{}", String::from_utf8_lossy(&busy.stderr));
    let done = drain("20s", &admin).await.unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(slow.is_finished(), "the request under way was waited for");
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    // Whoever has not heard yet is still served, and hears it.
    let last = call("/").await.unwrap();
    assert_eq!(last.status(), 200);
    assert_eq!(last.headers().get("connection").unwrap(), "close");
}

#[test]
fn a_pod_section_that_cannot_work_is_an_error() {
    let scratch = Scratch::new("pod-config");
    let base = "workload: { trustDomain: test.mesh, namespace: shop, serviceAccount: orders }\nresources: [resources]\n\
                extAuthz: { listen: [\"unix:authz.sock\"] }\nadmin: { listen: \"unix:admin.sock\" }\n";
    let read = |pod: &str| {
        let file = scratch.write("sidecar.yaml", &format!("{base}pod: {pod}\n"));
        hopgate::config::sidecar(&file, Default::default()).map_err(|error| error.to_string())
    };
    assert!(read("{}").is_ok());
    let probe = format!(
        "probes: {{ key: {KEY}, list: [{{ name: a/b, ask: {{ tcp: {{ port: 80 }} }}, timeout: 1s }}] }}"
    );
    assert!(read(&format!("{{ address: 10.0.0.1, {probe} }}")).is_ok());
    for (pod, words) in [
        (format!("{{ {probe} }}"), "pod.address: is needed"),
        ("{ listen: \"unix:a\" }".to_owned(), "pod.listen"),
        ("{ health: \"unix:a\" }".to_owned(), "pod.health"),
        ("{ envoyAdmin: \"10.0.0.1:15000\" }".to_owned(), "pod.envoyAdmin"),
        ("{ address: orders }".to_owned(), "pod.address"),
        ("{ probe: {} }".to_owned(), "probe"),
        (format!("{{ address: 10.0.0.1, {} }}", probe.replace("80", "15020")), "port 15020"),
    ] {
        let error = read(&pod).unwrap_err();
        assert!(error.contains(words), "{pod}: {error}");
    }
}
