//! The root of a mesh changes under load: a real pair of Envoys, each with its sidecar, and a control plane that is asked
//! by the command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hopgate::identity::{AnyServer, JudgedServer, PrivateKey, SpiffeId, X509Svid};
use hopgate::mesh;
use hopgate::runtime::Clock;
use hopgate::sidecar::Bound;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::client::TlsStream;

use super::parts::{Call, Directory, Plane, csr, ders};
use crate::discovery::workload::{ORDERS, SERVER, WEB, Workload, get};
use crate::support::Scratch;
use crate::support::envoy::{Envoy, eventually};

/// A whole sidecar in this process.
struct Sidecar {
    sds: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Sidecar {
    async fn start(plane: &Plane, account: &str, roots: &Path, clock: &Clock) -> (Self, Directory) {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let directory = Directory::new();
        std::fs::create_dir_all(directory.path("resources")).unwrap();
        directory.write("resources/open.yaml", POLICY, 0o644);
        std::fs::copy(roots, directory.path("roots.pem")).unwrap();
        let token = plane.token(&format!("ns/shop/sa/{account}"), clock);
        directory.write("join.token", &token, 0o600);
        let port = plane.port;
        let text = format!(
            "workload: {{ trustDomain: demo.mesh, namespace: shop, serviceAccount: {account} }}\n\
             resources: [resources]\nextAuthz: {{ listen: [\"unix:authz.sock\"] }}\n\
             admin: {{ listen: \"unix:admin.sock\" }}\ndecisionLog: {{ path: decisions.log }}\n\
             drainTimeout: 2s\nsds: {{ listen: \"unix:sds.sock\" }}\ndiscovery: {{ envoyGrace: 1h }}\n\
             certificates:\n  control: {{ server: \"https://localhost:{port}\", caFile: roots.pem, joinTokenFile: join.token }}\n  \
             stateDirectory: state\n"
        );
        let file = directory.write("sidecar.yaml", &text, 0o644);
        let config = hopgate::config::sidecar(&file, Default::default()).unwrap();
        let bound = Bound::build(config, clock.clone()).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            bound.run(async { drop(stopped.await) }).await.unwrap();
        });
        (Self { sds: directory.path("sds.sock"), stop: Some(stop), task }, directory)
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
    }
}

const POLICY: &str = "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\n\
    metadata: { name: open, namespace: shop }\n\
    spec: { rules: [{ name: open, allow: { requests: [{ paths: [\"/open\"] }] } }] }\n";

/// Envoy of `web`, whose connections to `orders` live for three requests only: every moment sees handshakes.
fn web_envoy(place: &Scratch, sds: PathBuf, upstream: SocketAddr) -> Envoy {
    let section = format!(
        "admin: \"unix:{}/admin.sock\"\noutbound:\n  - {{ name: orders, listen: \"127.0.0.1:0\", \
         upstream: [\"{upstream}\"], identities: [ns/shop/sa/orders], protocol: http }}\n",
        place.path().display()
    );
    let sidecar = mesh::Sidecar {
        identity: SpiffeId::parse(WEB).unwrap(),
        sds: mesh::Endpoint::Unix(sds),
        authz: mesh::Endpoint::Unix(place.path().join("authz.sock")),
        tokens: None,
        forwarded: mesh::ForwardedCertificates::Replaced,
        aliases: Vec::new(),
    };
    let config = serde_saphyr::from_str(&section).unwrap();
    let mut bootstrap = mesh::bootstrap(&mesh::Mesh::new(config, sidecar).unwrap());
    let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().unwrap();
    let orders = clusters.iter_mut().find(|cluster| cluster["name"] == "outbound|orders").unwrap();
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let options = &mut orders["typed_extension_protocol_options"][options];
    assert!(options.is_object(), "{orders}");
    options["common_http_protocol_options"]["max_requests_per_connection"] = 3.into();
    Envoy::start(place.path(), &bootstrap)
}

/// Constant load from `web` to `orders`.
struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<[AtomicU64; 2]>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(door: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts: Arc<[AtomicU64; 2]> = Arc::default();
        let tasks = (0..4).map(|_| {
            let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(door).await.unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let good = matches!(get(&mut stream, "/open").await, Ok((200, _)));
                    counts[usize::from(!good)].fetch_add(1, Ordering::Relaxed);
                    if !good {
                        stream = TcpStream::connect(door).await.unwrap();
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        });
        let tasks = tasks.collect();
        Self { stop, counts, tasks }
    }

    /// Good and failed requests.
    async fn end(self) -> [u64; 2] {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        [0, 1].map(|index| self.counts[index].load(Ordering::Relaxed))
    }
}

/// The whole mesh.
struct Mesh {
    plane: Plane,
    operator: String,
    sidecars: Vec<Sidecar>,
    orders: Workload,
    web: Envoy,
    _places: (Scratch, Vec<Directory>),
}

impl Mesh {
    async fn start() -> Self {
        Self::with(&Clock::system()).await
    }

    /// `time` is the clock of the sidecar of `web`.
    async fn with(time: &Clock) -> Self {
        let (directory, clock) = (Directory::new(), Clock::system());
        let plane = Plane::start(&directory, &clock).await;
        let operator = format!("unix:{}", directory.path("ca/operator.sock").display());
        let roots = directory.path("roots.pem");
        let (orders_sidecar, first) = Sidecar::start(&plane, "orders", &roots, &clock).await;
        let (web_sidecar, second) = Sidecar::start(&plane, "web", &roots, time).await;
        let orders = Workload::start(ORDERS, SERVER, orders_sidecar.sds.clone()).await;
        orders.envoy.live().await;
        let place = Scratch::new("web");
        let web =
            web_envoy(&place, web_sidecar.sds.clone(), orders.envoy.listener("inbound|http").await);
        web.live().await;
        Self {
            plane,
            operator,
            sidecars: vec![orders_sidecar, web_sidecar],
            orders,
            web,
            _places: (place, vec![directory, first, second]),
        }
    }

    /// Runs `hopgate ca ...`.
    async fn ca(&self, arguments: &[&str]) -> Output {
        command(&self.operator, arguments).output().await.unwrap()
    }

    async fn status(&self) -> Value {
        let output = self.ca(&["status", "--output", "json"]).await;
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }

    async fn both_connected(&self) {
        let both = async || self.status().await["connected"] == 2;
        assert!(eventually(both).await, "{}", self.status().await);
    }

    async fn stop(self) {
        for sidecar in self.sidecars {
            sidecar.stop().await;
        }
        self.plane.stop().await;
    }
}

fn command(operator: &str, arguments: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hopgate"));
    command.arg("ca").args(arguments).args(["--operator", operator]).stdin(Stdio::null());
    command.kill_on_drop(true);
    command
}

/// A certificate of `web`, taken by hand.
async fn svid(plane: &Plane) -> X509Svid {
    let (clock, key) = (Clock::system(), PrivateKey::generate().unwrap());
    let call = Call {
        port: plane.port,
        trusts: &plane.bundle,
        certificate: None,
        authorization: &[format!("Bearer {}", plane.token("ns/shop/sa/web", &clock))],
        csr: csr(&key, |_| {}),
        seconds: 0,
    };
    let chain = call.send(&clock).await.unwrap();
    let bundle = plane.publisher.current().bundles.own().clone();
    X509Svid::new(ders(&chain[..2]), key, &bundle, clock.now()).unwrap()
}

/// A TLS connection with that certificate.
async fn dial(to: SocketAddr, svid: &X509Svid) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(JudgedServer::new(AnyServer))
        .with_client_auth_cert(svid.chain().to_vec(), svid.key().to_rustls())
        .unwrap();
    let name = rustls::pki_types::ServerName::try_from("http.hopgate.internal").unwrap();
    let stream = TcpStream::connect(to).await?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_changes_under_load_without_one_failed_request() {
    let mesh = Mesh::start().await;
    mesh.both_connected().await;
    let before = mesh.status().await;
    let old = svid(&mesh.plane).await;
    let http = mesh.orders.envoy.listener("inbound|http").await;
    let mut stream = dial(http, &old).await.unwrap();
    assert_eq!(get(&mut stream, "/open").await.unwrap().0, 200, "the old root is trusted");

    let load = Load::start(mesh.web.listener("outbound|orders").await);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let rotated =
        mesh.ca(&["rotate", "--within", "2s", "--without-absent", "--output", "json"]).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let [good, failed] = load.end().await;
    let said = text(&rotated.stderr);
    println!("{good} requests, {failed} failed\n{said}");
    assert_eq!(rotated.status.code(), Some(0), "{said}");
    assert_eq!(failed, 0, "of {good}: {said}");
    assert!(good > 200, "{good}");
    // A step that is done at once may be over before it is looked at again.
    for line in ["root 2 signs; leaves of root 1 replaced: ", "root 2 signs; no change of the root"]
    {
        assert!(said.contains(line), "{said}");
    }
    let after: Value = serde_json::from_slice(&rotated.stdout).unwrap();
    let phases = |standing: &Value| -> Vec<String> {
        let all = standing["generations"].as_array().unwrap();
        all.iter().map(|one| one["phase"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(phases(&before), ["active"]);
    assert_eq!(phases(&after), ["retired", "active"]);
    let field = |standing: &Value, index: usize, name: &str| {
        standing["generations"][index][name].as_str().unwrap().to_owned()
    };
    for name in ["subject", "keyId", "kid"] {
        assert_ne!(field(&after, 0, name), field(&after, 1, name), "{name}");
    }

    // The old root is refused now; a leaf of the new one is not.
    let refused = async || match dial(http, &old).await {
        Ok(mut stream) => get(&mut stream, "/open").await.is_err(),
        Err(_) => true,
    };
    assert!(eventually(refused).await, "the old root is still trusted");
    let mut through = TcpStream::connect(mesh.web.listener("outbound|orders").await).await.unwrap();
    assert_eq!(get(&mut through, "/open").await.unwrap().0, 200);
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_sidecar_is_named_and_going_back_leaves_the_old_root() {
    let mesh = Mesh::start().await;
    mesh.both_connected().await;
    let before = mesh.status().await;
    let load = Load::start(mesh.web.listener("outbound|orders").await);
    // The Envoy of `web` hangs: its sidecar acknowledges nothing, and no request gets through it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let [good, failed] = load.end().await;
    assert!(good > 0 && failed == 0, "{good} {failed}");
    mesh.web.freeze(true);
    let begun = mesh.ca(&["rotate", "--no-wait", "--without-absent"]).await;
    assert_eq!(begun.status.code(), Some(0), "{}", text(&begun.stderr));
    let stuck = async || {
        let status = mesh.status().await;
        status["change"]["step"] == "publishing" && status["done"] == 1
    };
    assert!(eventually(stuck).await, "{}", mesh.status().await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let status = mesh.status().await;
    assert_eq!(status["change"]["step"], "publishing", "{status}");
    assert_eq!(status["awaited"][0]["id"], WEB, "{status}");
    let again = mesh.ca(&["rotate", "--no-wait"]).await;
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("under way already"), "{}", text(&again.stderr));

    let aborted = mesh.ca(&["abort"]).await;
    assert_eq!(aborted.status.code(), Some(0), "{}", text(&aborted.stderr));
    let after = mesh.status().await;
    assert!(after["change"].is_null(), "{after}");
    assert_eq!(after["generations"][0], before["generations"][0], "the old state");
    assert_eq!(after["generations"][1]["phase"], "retired");
    assert_eq!(mesh.ca(&["abort"]).await.status.code(), Some(2), "nothing to go back from");
    mesh.web.freeze(false);
    let mut through = TcpStream::connect(mesh.web.listener("outbound|orders").await).await.unwrap();
    assert_eq!(get(&mut through, "/open").await.unwrap().0, 200);
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_back_after_the_new_root_signed_fails_no_request() {
    // The clock of `web` stands: its turn to replace its leaf does not come before it is let go.
    let time = Clock::manual(Clock::system().now());
    let mesh = Mesh::with(&time).await;
    mesh.both_connected().await;
    let before = mesh.status().await;
    let load = Load::start(mesh.web.listener("outbound|orders").await);
    let begun = mesh.ca(&["rotate", "--within", "2s", "--without-absent", "--no-wait"]).await;
    assert_eq!(begun.status.code(), Some(0), "{}", text(&begun.stderr));
    let half = async || {
        let status = mesh.status().await;
        status["change"]["step"] == "reissuing" && status["done"] == 1
    };
    assert!(eventually(half).await, "{}", mesh.status().await);
    let new = svid(&mesh.plane).await;
    let let_go = async {
        let back = async || mesh.status().await["change"]["goingBack"] == true;
        assert!(eventually(back).await, "{}", mesh.status().await);
        loop {
            time.set(Clock::system().now());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let aborted = tokio::select! {
        aborted = mesh.ca(&["abort", "--within", "2s"]) => aborted,
        () = let_go => unreachable!("it has no end"),
    };
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let [good, failed] = load.end().await;
    let said = text(&aborted.stderr);
    println!("{good} requests, {failed} failed\n{said}");
    assert_eq!(aborted.status.code(), Some(0), "{said}");
    assert_eq!(failed, 0, "of {good}: {said}");
    assert!(good > 200, "{good}");
    assert!(said.contains("going back, root 1 signs; leaves of root 2 replaced"), "{said}");
    let after = mesh.status().await;
    assert!(after["change"].is_null(), "{after}");
    for name in ["phase", "subject", "keyId", "kid"] {
        assert_eq!(after["generations"][0][name], before["generations"][0][name], "{name}");
    }
    assert_eq!(after["generations"][1]["phase"], "retired");
    // What the new root signed meanwhile is refused now.
    let http = mesh.orders.envoy.listener("inbound|http").await;
    let refused = async || match dial(http, &new).await {
        Ok(mut stream) => get(&mut stream, "/open").await.is_err(),
        Err(_) => true,
    };
    assert!(eventually(refused).await, "the new root is still trusted");
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tainted_leaves_are_replaced_in_the_stated_time() {
    let mesh = Mesh::start().await;
    mesh.both_connected().await;
    let before = mesh.status().await;
    let tainted = mesh.ca(&["taint", "--within", "2s", "--output", "json"]).await;
    assert_eq!(tainted.status.code(), Some(0), "{}", text(&tainted.stderr));
    let after: Value = serde_json::from_slice(&tainted.stdout).unwrap();
    assert_eq!((&after["done"], &after["connected"]), (&2.into(), &2.into()), "{after}");
    assert_ne!(after["generations"][0]["keyId"], before["generations"][0]["keyId"]);
    assert_eq!(after["sequence"], before["sequence"], "the root stays");
    mesh.stop().await;
}
