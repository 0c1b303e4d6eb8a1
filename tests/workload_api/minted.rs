//! JWT-SVIDs that a real control plane signs: fetched and verified by clients that nobody here wrote, over a change of the
//! root, and taken by a gate.

use std::path::PathBuf;
use std::process::Output;

use hopgate::runtime::Clock;
use hopgate::sidecar::Bound;
use serde_json::{Value, json};
use spiffe::WorkloadApiClient;
use tokio::sync::oneshot;
use tonic::Code;

use super::endpoint::{ORDERS, WEB, asked, channel};
use crate::certificates::parts::{Directory, Plane};
use crate::support::ask;
use crate::support::envoy::eventually;
use crate::support::spiffe::Library;
use hopgate::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use hopgate::proto::workload::{JwtsvidRequest, ValidateJwtsvidRequest};

const POLICY: &str = "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\n\
    metadata: { name: none, namespace: shop }\n\
    spec: { rules: [{ name: none, allow: { requests: [{ paths: [\"/open\"] }] } }] }\n";

/// A control plane.
struct Mesh {
    directory: Directory,
    plane: Plane,
}

/// A whole sidecar of a workload, with the Workload API.
struct Sidecar {
    socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
    _directory: Directory,
}

impl Mesh {
    async fn start() -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let directory = Directory::new();
        let plane = Plane::start(&directory, &Clock::system()).await;
        Self { directory, plane }
    }

    async fn sidecar(&self, account: &str) -> Sidecar {
        let (directory, clock) = (Directory::new(), Clock::system());
        std::fs::create_dir_all(directory.path("resources")).unwrap();
        directory.write("resources/none.yaml", POLICY, 0o644);
        std::fs::copy(self.directory.path("roots.pem"), directory.path("roots.pem")).unwrap();
        let token = self.plane.token(&format!("ns/shop/sa/{account}"), &clock);
        directory.write("join.token", &token, 0o600);
        let port = self.plane.port;
        let text = format!(
            "workload: {{ trustDomain: demo.mesh, namespace: shop, serviceAccount: {account} }}\n\
             resources: [resources]\nextAuthz: {{ listen: [\"unix:authz.sock\"] }}\n\
             admin: {{ listen: \"unix:admin.sock\" }}\ndecisionLog: {{ path: decisions.log }}\n\
             drainTimeout: 2s\nworkloadApi: {{ listen: \"unix:api.sock\" }}\n\
             certificates:\n  control: {{ server: \"https://localhost:{port}\", caFile: roots.pem, joinTokenFile: join.token }}\n"
        );
        let file = directory.write("sidecar.yaml", &text, 0o644);
        let config = hopgate::config::sidecar(&file, Default::default()).unwrap();
        let bound = Bound::build(config, clock).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            bound.run(async { drop(stopped.await) }).await.unwrap();
        });
        let socket = directory.path("api.sock");
        Sidecar { socket, stop: Some(stop), task, _directory: directory }
    }

    async fn run(&self, verb: &str, arguments: &str) -> Output {
        let operator = format!("unix:{}", self.directory.path("ca/operator.sock").display());
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hopgate"));
        command.arg(verb).args(arguments.split_whitespace()).args(["--operator", &operator]);
        command.kill_on_drop(true).output().await.unwrap()
    }

    async fn status(&self) -> Value {
        let output = self.run("ca", "status --output json").await;
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }
}

impl Sidecar {
    async fn rust(&self) -> WorkloadApiClient {
        let address = format!("unix://{}", self.socket.display());
        WorkloadApiClient::connect_to(address).await.unwrap()
    }

    /// A token, or the refusal.
    async fn fetch(&self, audience: &str) -> Result<String, (Code, String)> {
        let mut client = SpiffeWorkloadApiClient::new(channel(&self.socket).await);
        let request =
            JwtsvidRequest { audience: vec![audience.to_owned()], spiffe_id: String::new() };
        let answer = client.fetch_jwtsvid(asked(request)).await;
        answer
            .map(|answer| answer.into_inner().svids[0].svid.clone())
            .map_err(|status| (status.code(), status.message().to_owned()))
    }

    async fn validates(&self, audience: &str, token: &str) -> Result<String, String> {
        let mut client = SpiffeWorkloadApiClient::new(channel(&self.socket).await);
        let (audience, svid) = (audience.to_owned(), token.to_owned());
        let answer =
            client.validate_jwtsvid(asked(ValidateJwtsvidRequest { audience, svid })).await;
        answer
            .map(|answer| answer.into_inner().spiffe_id)
            .map_err(|status| format!("{:?}: {}", status.code(), status.message()))
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
    }
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

/// Each library fetches a token of `web` for an audience of its own and verifies it by the bundles that it fetched; then
/// each has `orders` validate those of all.
async fn round(web: &Sidecar, orders: &Sidecar, name: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for library in [Library::Go, Library::Python] {
        let audience = format!("{name}-{library:?}");
        let said = library.ask("jwt", &web.socket, &[&audience]).await;
        assert_eq!((&said["id"], &said["audience"]), (&json!(WEB), &json!([audience])), "{said}");
        tokens.push((audience, said["token"].as_str().unwrap().to_owned()));
    }
    let client = web.rust().await;
    let audience = format!("{name}-Rust");
    let svid = client.fetch_jwt_svid([audience.as_str()], None).await.unwrap();
    let bundles = client.fetch_jwt_bundles().await.unwrap();
    let verified =
        spiffe::JwtSvid::parse_and_validate(svid.token(), &bundles, &[audience.as_str()]).unwrap();
    assert_eq!(verified.spiffe_id().to_string(), WEB);
    tokens.push((audience, svid.token().to_owned()));

    let client = orders.rust().await;
    for (audience, token) in &tokens {
        for library in [Library::Go, Library::Python] {
            let said = library.ask("validate", &orders.socket, &[audience, token]).await;
            assert_eq!(said["id"], WEB, "{library:?} {said}");
        }
        let valid = client.validate_jwt_token(audience, token).await.unwrap();
        assert_eq!(valid.spiffe_id().to_string(), WEB);
        assert!(client.validate_jwt_token("another", token).await.is_err());
    }
    tokens.into_iter().map(|(_, token)| token).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_python_and_rust_fetch_and_verify_tokens_over_a_change_of_the_root() {
    let mesh = Mesh::start().await;
    let (web, orders) = (mesh.sidecar("web").await, mesh.sidecar("orders").await);
    let both = async || mesh.status().await["connected"] == 2;
    assert!(eventually(both).await, "{}", mesh.status().await);
    let before = round(&web, &orders, "before").await;

    let began = mesh.run("ca", "rotate --no-wait --without-absent --within 1s").await;
    assert_eq!(began.status.code(), Some(0), "{began:?}");
    // Every leaf is replaced within a second; then only the tokens of the old root are waited for.
    let waits = async || {
        let status = mesh.status().await;
        let awaited = status["awaited"].as_array().unwrap();
        awaited.len() == 1 && awaited[0]["kind"] == "tokens"
    };
    let after_step = async || {
        let during = round(&web, &orders, "during").await;
        during.iter().all(|token| kid(token) != kid(&before[0]))
    };
    assert!(eventually(waits).await, "{}", mesh.status().await);
    assert!(after_step().await, "the new key signs");
    let generations = mesh.status().await["generations"].clone();
    assert_eq!(generations[0]["kid"], kid(&before[0]), "the old key is published still");
    // Those of before are good, and are handed out as long as they are.
    for (token, name) in before.iter().zip(["Go", "Python", "Rust"]) {
        let audience = format!("before-{name}");
        assert_eq!(orders.validates(&audience, token).await, Ok(WEB.to_owned()));
    }
    let rust = web.rust().await.fetch_jwt_svid(["before-Rust"], None).await.unwrap();
    assert_eq!(rust.token(), before[2]);
    for sidecar in [web, orders] {
        sidecar.stop().await;
    }
    mesh.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_workload_s_tokens_are_neither_given_nor_taken() {
    let mesh = Mesh::start().await;
    let (web, orders) = (mesh.sidecar("web").await, mesh.sidecar("orders").await);
    let token = web.fetch("orders").await.unwrap();
    assert!(eventually(async || orders.validates("orders", &token).await.is_ok()).await);
    let revoked = mesh.run("revoke", "workload ns/shop/sa/web --reason leaked").await;
    assert_eq!(revoked.status.code(), Some(0), "{revoked:?}");
    let refused = async || {
        let said = orders.validates("orders", &token).await;
        said.is_err_and(|said| {
            said == "InvalidArgument: the workload that the token names is revoked"
        })
    };
    assert!(eventually(refused).await);
    let denied = Err((Code::PermissionDenied, "no identity issued".to_owned()));
    assert!(eventually(async || web.fetch("orders").await == denied).await);
    assert_eq!(web.fetch("another").await, denied);
    let own = orders.fetch("web").await.unwrap();
    assert_eq!(orders.validates("web", &own).await, Ok(ORDERS.to_owned()));

    let lifted = mesh.run("revoke", "lift ns/shop/sa/web").await;
    assert_eq!(lifted.status.code(), Some(0), "{lifted:?}");
    assert!(eventually(async || web.fetch("orders").await.is_ok()).await);
    assert!(eventually(async || orders.validates("orders", &token).await.is_ok()).await);

    // The control plane is away: what is there is handed out, and nothing else can be had.
    let kept = web.fetch("orders").await.unwrap();
    mesh.plane.stop().await;
    assert_eq!(web.fetch("orders").await, Ok(kept.clone()));
    assert_eq!(web.fetch("payments").await.unwrap_err().0, Code::Unavailable);
    assert_eq!(orders.validates("orders", &kept).await, Ok(WEB.to_owned()));
    for sidecar in [web, orders] {
        sidecar.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_takes_the_token_for_its_audience() {
    let mesh = Mesh::start().await;
    let web = mesh.sidecar("web").await;
    let token = web.fetch("orders").await.unwrap();
    let bundle = mesh.plane.publisher.current().bundles.jwt().next().unwrap().to_jwks().unwrap();
    let file = mesh.directory.write("bundle.json", &bundle, 0o644);
    let resources = format!(
        "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\n\
         metadata: {{ name: mesh, namespace: shop }}\n\
         spec: {{ preset: spiffe, issuer: spiffe://demo.mesh, audiences: [orders], keys: {{ bundleFile: {} }} }}\n\
         ---\napiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\n\
         metadata: {{ name: web, namespace: shop }}\n\
         spec: {{ rules: [{{ name: web, allow: {{ users: {{ providers: [mesh], subjects: [{WEB}] }} }} }}] }}\n",
        file.display()
    );
    let mut gate = ask::Sidecar::start("jwt-svid", &[("mesh.yaml", &resources)]).await;
    let mut asks = async |token: &str| {
        let bearer = format!("Bearer {token}");
        let answer = gate.ask(ask::get("/", &[("authorization", &bearer)])).await;
        ask::meaning(answer)
    };
    let taken = asks(&token).await;
    assert!(taken.allowed, "{taken:?}");
    let other = asks(&web.fetch("payments").await.unwrap()).await;
    assert_eq!((other.allowed, other.status), (false, 401), "{other:?}");
    let orders = mesh.sidecar("orders").await;
    let another = asks(&orders.fetch("orders").await.unwrap()).await;
    assert_eq!((another.allowed, another.status), (false, 403), "{another:?}");
    let log = gate.stop().await;
    assert!(log.contains("\"code\":\"wrong_audience\""), "{log}");
    for sidecar in [web, orders] {
        sidecar.stop().await;
    }
    mesh.plane.stop().await;
}
