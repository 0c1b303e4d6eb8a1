//! A control plane, and services with a sidecar and an Envoy each.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hopgate::control::{Config as ControlConfig, Control};
use hopgate::identity::TrustBundle;
use hopgate::mesh;
use hopgate::proto::workload::X509svidRequest;
use hopgate::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use hopgate::runtime::{Address, Clock, Tasks};
use hopgate::sidecar::Bound;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::support::Scratch;
use crate::support::envoy::{Envoy, eventually};

pub const ORDERS: &str = "ns/shop/sa/orders";
pub const MAIL: &str = "ns/shop/sa/mail";
pub const WEB: &str = "ns/shop/sa/web";

const RULES: &str = "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\n\
    metadata: { name: peers, namespace: shop }\nspec:\n  rules:\n\
    \x20   - name: peers\n      allow: { peers: [ns/shop] }\n";

/// A control plane in this process, on the clock of the machine.
pub struct Plane {
    scratch: Scratch,
    pub config: ControlConfig,
    pub port: u16,
    pub bundle: TrustBundle,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Plane {
    pub async fn start() -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let scratch = Scratch::new("plane");
        let text = "trustDomain: demo.mesh\nlisten: \"127.0.0.1:0\"\ndirectory: ca\n";
        let file = scratch.write("control.yaml", text);
        let config = hopgate::config::control(&file).unwrap();
        let control = Control::bind(&config, Clock::system()).await.unwrap();
        let Address::Tcp(address) = control.address() else { panic!("TCP") };
        let (port, bundle) = (address.port(), control.bundle().clone());
        let mut tasks = Tasks::new();
        control.start(&mut tasks).unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            tasks.run(shutdown, Duration::from_secs(1)).await.unwrap();
        });
        scratch.write("roots.pem", &bundle.to_pem());
        Self { scratch, config, port, bundle, stop, ended }
    }

    pub fn token(&self, workload: &str) -> String {
        let ttl = Duration::from_secs(600);
        let token = crate::certificates::parts::join_token(
            &self.config,
            workload,
            ttl,
            Clock::system().now(),
        )
        .unwrap();
        token.expose().to_owned()
    }

    /// `hopgate revoke ..` by the real binary; it must succeed.
    pub async fn revoke(&self, arguments: &str) {
        let config = self.scratch.path().join("control.yaml");
        let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        let output = tokio::task::spawn_blocking(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_hopgate"));
            command.arg("revoke").args(arguments).arg("--config").arg(config).env_clear();
            command.output().unwrap()
        });
        let output = output.await.unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
    }

    /// Its files are left, as long as what is returned.
    pub async fn stop(self) -> Scratch {
        drop(self.stop);
        self.ended.await.unwrap();
        self.scratch
    }

    fn path(&self) -> &Path {
        self.scratch.path()
    }
}

/// One workload: its sidecar in this process, its Envoy, and an application.
pub struct Service {
    pub envoy: Envoy,
    sidecar: Running,
    scratch: Scratch,
    _app: JoinSet<()>,
}

struct Running {
    admin: Address,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Service {
    /// Starts it, ready to serve. It may call these: name, address and who answers there.
    pub async fn start(
        plane: &Plane,
        workload: &str,
        callees: &[(&str, SocketAddr, &str)],
    ) -> Self {
        let scratch = Scratch::new("service");
        let mut tasks = JoinSet::new();
        let (app, echo) = (app(&mut tasks).await, echo(&mut tasks).await);
        let account = workload.rsplit('/').next().unwrap();
        let outbound: String = callees
            .iter()
            .map(|(name, address, who)| {
                format!("    - {{ name: {name}, listen: \"127.0.0.1:0\", upstream: [\"{address}\"], identities: [{who}] }}\n")
            })
            .collect();
        let outbound =
            if callees.is_empty() { String::new() } else { format!("  outbound:\n{outbound}") };
        let text = format!(
            "workload: {{ trustDomain: demo.mesh, namespace: shop, serviceAccount: {account} }}\n\
             resources: [resources]\n\
             extAuthz: {{ listen: [\"unix:authz.sock\"] }}\n\
             sds: {{ listen: \"unix:sds.sock\" }}\n\
             workloadApi: {{ listen: \"unix:workload.sock\" }}\n\
             admin: {{ listen: \"127.0.0.1:0\" }}\n\
             decisionLog: {{ path: decisions.log }}\n\
             certificates:\n\
             \x20 control: {{ server: \"https://localhost:{port}\", caFile: {roots}, joinTokenFile: join.token }}\n\
             \x20 stateDirectory: state\n\
             envoy:\n\
             \x20 admin: \"unix:admin.sock\"\n\
             \x20 inbound:\n\
             \x20   - {{ name: http, listen: \"127.0.0.1:0\", app: \"{app}\" }}\n\
             \x20   - {{ name: tcp, listen: \"127.0.0.1:0\", app: \"{echo}\", protocol: tcp }}\n\
             {outbound}",
            port = plane.port,
            roots = plane.path().join("roots.pem").display(),
        );
        scratch.write("resources/rules.yaml", RULES);
        let token = format!("{}\n", plane.token(workload));
        let join = scratch.path().join("join.token");
        hopgate::runtime::write_atomic(&join, token.as_bytes(), 0o600).unwrap();
        let file = scratch.write("sidecar.yaml", &text);
        let sidecar = Running::start(&file).await;
        let config = hopgate::config::sidecar(&file, Default::default()).unwrap();
        let whom = config.for_envoy(Vec::new()).unwrap();
        let mesh = mesh::Mesh::new(config.envoy.unwrap(), whom).unwrap();
        let envoy = Envoy::start(scratch.path(), &mesh::bootstrap(&mesh));
        envoy.live().await;
        Self { envoy, sidecar, scratch, _app: tasks }
    }

    pub async fn listener(&self, name: &str) -> SocketAddr {
        self.envoy.listener(name).await
    }

    pub fn decisions(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("decisions.log")).unwrap_or_default()
    }

    /// Everything in its state directory, as text.
    pub fn state(&self) -> String {
        let files = std::fs::read_dir(self.scratch.path().join("state")).unwrap();
        let paths = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
        paths.map(|path: PathBuf| std::fs::read_to_string(path).unwrap_or_default()).collect()
    }

    /// What its application gets of the Workload API: a certificate, or these words.
    pub async fn workload_api(&self) -> Result<(), String> {
        let socket = Address::Unix(self.scratch.path().join("workload.sock"));
        let mut client = SpiffeWorkloadApiClient::new(crate::support::ask::channel(&socket));
        let mut request = tonic::Request::new(X509svidRequest {});
        request.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
        let told = async { client.fetch_x509svid(request).await?.into_inner().message().await };
        match told.await {
            Ok(answer) => {
                assert_eq!(answer.unwrap().svids.len(), 1);
                Ok(())
            }
            Err(status) => Err(format!("{:?}: {}", status.code(), status.message())),
        }
    }

    /// What its readiness page says.
    pub async fn ready(&self) -> String {
        self.page("/readyz").await
    }

    pub async fn page(&self, path: &str) -> String {
        crate::support::ask::page(&self.sidecar.admin, path).await.1
    }

    /// The same Envoy and application beside a new sidecar.
    pub async fn restarted(self) -> Self {
        let Self { envoy, sidecar, scratch, _app } = self;
        sidecar.stop().await;
        let sidecar = Running::start(&scratch.path().join("sidecar.yaml")).await;
        Self { envoy, sidecar, scratch, _app }
    }

    pub async fn stop(self) {
        self.sidecar.stop().await;
    }
}

impl Running {
    async fn start(file: &Path) -> Self {
        let config = hopgate::config::sidecar(file, Default::default()).unwrap();
        let bound = Bound::build(config, Clock::system()).await.unwrap();
        let (admin, ready) = (bound.addresses().admin.clone(), bound.ready());
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(async move {
            bound.run(async { drop(stopped.await) }).await.unwrap();
        });
        let has_certificate =
            async || ready.missing().iter().all(|(name, _)| *name != "certificate");
        assert!(eventually(has_certificate).await, "{:?}", ready.missing());
        Self { admin, stop, ended }
    }

    async fn stop(self) {
        drop(self.stop);
        self.ended.await.unwrap();
    }
}

/// Tries until it holds, and says how long it took if that was too long.
pub async fn within_a_second(began: Instant, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(5), "{what}: never");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{what}: only after {took:?}");
}

/// One HTTP/1.1 exchange on a connection that stays open: status and body.
pub async fn get<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    path: &str,
) -> std::io::Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: orders\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await?;
    Ok((status, String::from_utf8(body).unwrap()))
}

async fn app(tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(|| async { "hello" });
    tasks.spawn(async { axum::serve(listener, router).await.unwrap() });
    address
}

/// An application that speaks first, then says again what it hears.
async fn echo(tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            open.spawn(async move {
                let (mut read, mut write) = stream.split();
                if write.write_all(b"welcome").await.is_ok() {
                    drop(tokio::io::copy(&mut read, &mut write).await);
                }
            });
        }
    });
    address
}
