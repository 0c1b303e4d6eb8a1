//! One workload of the mesh: a real Envoy on a generated bootstrap, a gate, an application; and who calls it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use envoy_types::ext_authz::v3::CheckResponseExt as _;
use envoy_types::ext_authz::v3::pb::{
    Authorization, AuthorizationServer, CheckRequest, CheckResponse,
};
use hopgate::identity::{AnyServer, JudgedServer, Leaf, SpiffeId};
use hopgate::mesh;
use hopgate::runtime::Address;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tonic::transport::Server;

use crate::support::Scratch;
use crate::support::envoy::Envoy;
use crate::support::pki;

pub const ORDERS: &str = "spiffe://demo.mesh/ns/shop/sa/orders";
pub const WEB: &str = "spiffe://demo.mesh/ns/shop/sa/web";

/// Lets the workload `web` in, and anybody to `/open`. On `/hang` it never answers.
struct Gate;

#[tonic::async_trait]
impl Authorization for Gate {
    async fn check(
        &self,
        request: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let source = attributes.source.unwrap_or_default();
        let http = attributes.request.and_then(|request| request.http);
        let path = http.map(|http| http.path).unwrap_or_default();
        if path == "/hang" {
            std::future::pending::<()>().await;
        }
        let open = path == "/open";
        let proven = source.principal == WEB && source.certificate.contains("BEGIN%20CERTIFICATE");
        let status = if open || proven {
            tonic::Status::ok("")
        } else {
            tonic::Status::permission_denied("no")
        };
        Ok(tonic::Response::new(CheckResponse::with_status(status)))
    }
}

/// One workload: its Envoy, its gate and its application.
pub struct Workload {
    pub envoy: Envoy,
    directory: Scratch,
    tasks: JoinSet<()>,
}

impl Workload {
    /// Starts Envoy with a gate. `APP` and `ECHO` in the section become the application's addresses.
    pub async fn start(id: &str, section: &str, sds: PathBuf) -> Self {
        Self::start_changed(id, section, sds, |bootstrap| bootstrap).await
    }

    /// The same, on a bootstrap that the test changes.
    pub async fn start_changed(
        id: &str,
        section: &str,
        sds: PathBuf,
        change: impl FnOnce(Value) -> Value,
    ) -> Self {
        let workload = Scratch::new("envoy");
        let gate = Address::Unix(workload.path().join("authz.sock")).bind().await.unwrap();
        let mut workload = Self::on(id, section, sds, (workload, change)).await;
        workload.tasks.spawn(async {
            let router = Server::builder().add_service(AuthorizationServer::new(Gate));
            router.serve_with_incoming(gate.incoming()).await.unwrap();
        });
        workload
    }

    pub async fn without_gate(id: &str, section: &str, sds: PathBuf, directory: Scratch) -> Self {
        Self::on(id, section, sds, (directory, |bootstrap| bootstrap)).await
    }

    async fn on(
        id: &str,
        section: &str,
        sds: PathBuf,
        (directory, change): (Scratch, impl FnOnce(Value) -> Value),
    ) -> Self {
        let mut tasks = JoinSet::new();
        let (app, echo) = (app(&mut tasks).await, echo(&mut tasks).await);
        let section = section
            .replace("DIRECTORY", directory.path().to_str().unwrap())
            .replace("APP", &app.to_string())
            .replace("ECHO", &echo.to_string());
        let sidecar = mesh::Sidecar {
            identity: SpiffeId::parse(id).unwrap(),
            sds: mesh::Endpoint::Unix(sds),
            authz: mesh::Endpoint::Unix(directory.path().join("authz.sock")),
            tokens: None,
            forwarded: mesh::ForwardedCertificates::Replaced,
            aliases: Vec::new(),
        };
        let config = serde_saphyr::from_str(&section).unwrap();
        let bootstrap = mesh::bootstrap(&mesh::Mesh::new(config, sidecar).unwrap());
        let envoy = Envoy::start(directory.path(), &change(bootstrap));
        Self { envoy, directory, tasks }
    }

    /// The socket of Envoy's admin page.
    pub fn admin(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    pub fn access_log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default()
    }
}

/// A workload with a listener of each kind.
pub const SERVER: &str = r#"
admin: "unix:DIRECTORY/admin.sock"
accessLog: DIRECTORY/access.log
authzTimeout: 400ms
inbound:
  - { name: http, listen: "127.0.0.1:0", app: "APP" }
  - { name: tcp, listen: "127.0.0.1:0", app: "ECHO", protocol: tcp }
edge:
  - { name: public, listen: "127.0.0.1:0", app: "APP" }
"#;

async fn app(tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |request: axum::extract::Request| async move {
        let seen = request.headers().get("x-forwarded-client-cert");
        let seen = seen.map_or("nobody", |value| value.to_str().unwrap());
        format!("{} for {seen}", request.uri())
    };
    let router = axum::Router::new().fallback(answer);
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
                write.write_all(b"welcome").await.unwrap();
                drop(tokio::io::copy(&mut read, &mut write).await);
            });
        }
    });
    address
}

/// A TLS connection, with a certificate or without.
pub async fn dial(
    to: SocketAddr,
    leaf: Option<&pki::Leaf>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(JudgedServer::new(AnyServer));
    let config = match leaf {
        Some(leaf) => {
            let key = PrivateKeyDer::try_from(leaf.key.serialize_der()).unwrap();
            builder.with_client_auth_cert(vec![leaf.certificate.clone()], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from("http.hopgate.internal").unwrap();
    let stream = TcpStream::connect(to).await?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The serial of the certificate that the server showed.
pub fn serial(stream: &TlsStream<TcpStream>) -> String {
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    Leaf::parse(&chain[0]).unwrap().serial().to_owned()
}

/// One HTTP/1.1 exchange on a connection that stays open: status and body.
pub async fn get<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    path: &str,
) -> std::io::Result<(u16, String)> {
    let forged = "x-forwarded-client-cert: URI=spiffe://demo.mesh/ns/shop/sa/root";
    let request = format!("GET {path} HTTP/1.1\r\nhost: orders\r\n{forged}\r\n\r\n");
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
