//! Two meshes with everything real: a control plane each, a sidecar and an Envoy each, and a call across.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hopgate::control::federation::FederationConfig;
use hopgate::identity::{JwtBundle, SpiffeBundle};
use hopgate::runtime::Clock;
use hopgate::sidecar::Bound;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::parts::{Directory, Mesh, config, domain};
use crate::support::envoy::{Envoy, eventually};

const ENDPOINT: &str =
    "federation: { endpoint: { listen: \"127.0.0.1:0\", path: /bundle, profile: https_spiffe } }";

/// A workload with its sidecar and its Envoy.
struct Workload {
    envoy: Envoy,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Workload {
    /// `section` is the Envoy's; `peers` who may call.
    async fn start(
        place: &Path,
        (mesh, plane): (&Mesh, &hopgate::control::Config),
        (account, section, peers): (&str, &str, &str),
    ) -> Self {
        std::fs::create_dir_all(place).unwrap();
        let write = |name: &str, text: &str| {
            let path = place.join(name);
            hopgate::runtime::write_atomic(&path, text.as_bytes(), 0o600).unwrap();
            path
        };
        write("roots.pem", &mesh.bundle.to_pem());
        let workload = format!("ns/shop/sa/{account}");
        let token = crate::certificates::parts::join_token(
            plane,
            &workload,
            Duration::from_secs(600),
            Clock::system().now(),
        );
        write("join.token", token.unwrap().expose());
        write(
            "policy.yaml",
            &format!(
                "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {{ name: {account}, namespace: shop }}\n\
                 spec:\n  selector: {{ matchLabels: {{ app: {account} }} }}\n  rules:\n  - name: callers\n    allow: {{ peers: {peers} }}\n"
            ),
        );
        let directory = place.display();
        let text = format!(
            "workload: {{ trustDomain: {}, namespace: shop, serviceAccount: {account}, labels: {{ app: {account} }} }}\n\
             resources: [policy.yaml]\n\
             extAuthz: {{ listen: [\"unix:authz.sock\"] }}\n\
             sds: {{ listen: \"unix:sds.sock\" }}\n\
             admin: {{ listen: \"unix:sidecar.sock\" }}\n\
             decisionLog: {{ path: decisions.log }}\n\
             stateDir: state\n\
             certificates:\n  control: {{ server: \"https://localhost:{}\", caFile: roots.pem, joinTokenFile: join.token }}\n\
             \x20 stateDirectory: certificate\n\
             envoy:\n  admin: \"unix:{directory}/admin.sock\"\n{section}",
            mesh.bundle.domain(),
            mesh.port,
        );
        let file = write("sidecar.yaml", &text);
        let config = hopgate::config::sidecar(&file, hopgate::config::SidecarOverrides::default());
        let config = config.unwrap();
        let envoy = config.envoy.clone().unwrap();
        let sidecar = config.for_envoy(Vec::new()).unwrap();
        let bound = Bound::build(config, Clock::system()).await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            bound.run(async { drop(stopped.await) }).await.unwrap();
        });
        let bootstrap =
            hopgate::mesh::bootstrap(&hopgate::mesh::Mesh::new(envoy, sidecar).unwrap());
        let envoy = Envoy::start(place, &bootstrap);
        envoy.live().await;
        Self { envoy, stop: Some(stop), task }
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
    }
}

async fn app() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |request: axum::extract::Request| async move {
        let peer = request.headers().get("x-hopgate-peer");
        peer.map_or_else(|| "nobody".to_owned(), |peer| peer.to_str().unwrap().to_owned())
    };
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    address
}

/// One request on a connection of its own to the door: the status.
async fn call(door: SocketAddr) -> u16 {
    let mut stream = TcpStream::connect(door).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer).await);
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

/// What this mesh must know to believe another.
fn with(directory: &Directory, other: &Mesh, name: &str) -> FederationConfig {
    let bundle = SpiffeBundle::new(other.bundle.clone(), &JwtBundle::empty(domain(name))).unwrap();
    let file = directory.write(&format!("{name}.json"), &bundle.to_json());
    let text = format!(
        "federation: {{ with: [{{ trustDomain: {name}, url: \"https://localhost:{}/bundle\", profile: https_spiffe,\n\
         \x20 spiffeId: \"spiffe://{name}/ns/hopgate-system/sa/hopgate-control\", bundleFile: \"{}\" }}] }}",
        other.endpoint.unwrap(),
        file.display()
    );
    config(directory, "probe.mesh", &text).federation
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_across_two_meshes_and_its_end() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let planes = ["one.mesh", "two.mesh"].map(|name| config(&directory, name, ENDPOINT));
    let one = Mesh::of(&planes[0], &clock).await;
    let two = Mesh::of(&planes[1], &clock).await;
    let (one_name, two_name) = (domain("one.mesh"), domain("two.mesh"));
    one.federation.reconfigure(&with(&directory, &two, "two.mesh"), &one_name).unwrap();
    two.federation.reconfigure(&with(&directory, &one, "one.mesh"), &two_name).unwrap();

    let place = |name: &str| -> PathBuf { directory.path(name) };
    let server = format!(
        "  federatedWith: [one.mesh]\n  inbound: [{{ name: http, listen: \"127.0.0.1:0\", app: \"{}\" }}]\n",
        app().await
    );
    let peers = "[\"spiffe://one.mesh/ns/shop/sa/web\"]";
    let orders =
        Workload::start(&place("orders"), (&two, &planes[1]), ("orders", &server, peers)).await;
    let http = orders.envoy.listener("inbound|http").await;
    let client = format!(
        "  federatedWith: [two.mesh]\n  outbound:\n\
         \x20 - {{ name: orders, listen: \"127.0.0.1:0\", upstream: [\"{http}\"], identities: [\"spiffe://two.mesh/ns/shop/sa/orders\"] }}\n\
         \x20 - {{ name: mail, listen: \"127.0.0.1:0\", upstream: [\"{http}\"], identities: [\"spiffe://two.mesh/ns/shop/sa/mail\"] }}\n"
    );
    let web = Workload::start(&place("web"), (&one, &planes[0]), ("web", &client, "[none]")).await;
    let mail =
        Workload::start(&place("mail"), (&one, &planes[0]), ("mail", &client, "[none]")).await;
    let (door, other) =
        (web.envoy.listener("outbound|orders").await, mail.envoy.listener("outbound|orders").await);
    let log = || std::fs::read_to_string(place("orders").join("decisions.log")).unwrap_or_default();
    assert!(
        eventually(async || call(door).await == 200).await,
        "{}\n{}\n{}",
        log(),
        orders.envoy.log(),
        web.envoy.log()
    );
    let recorded = async || log().contains("spiffe://one.mesh/ns/shop/sa/web");
    assert!(eventually(recorded).await, "{}", log());
    // Its allow has its deny: another workload of the same foreign mesh, and a door that expects somebody else.
    assert_eq!(call(other).await, 403);
    assert_eq!(call(web.envoy.listener("outbound|mail").await).await, 503);

    // The end: the mesh of the callers is no longer believed, on new connections and on those that are open.
    two.federation.reconfigure(&FederationConfig::default(), &two_name).unwrap();
    let refused = async || matches!(call(door).await, 403 | 503);
    assert!(eventually(refused).await, "{}", log());
    for _ in 0..5 {
        assert!(refused().await);
    }
    for workload in [web, mail, orders] {
        workload.stop().await;
    }
    one.stop().await;
    two.stop().await;
}
