//! An API server that is throttled, loses answers or is down: what stands between the product and the real one.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::Scratch;
use super::kube::server;

/// What becomes of one request.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It is answered with this status, and not carried out.
    Status(u16),
    /// It is carried out, and the connection breaks before the answer.
    AnswerLost,
    /// The connection breaks before it is carried out.
    Broken,
}

type Upstream = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;
type Body = BoxBody<Bytes, hyper::Error>;

/// A way to the API server, in this test's runtime.
pub struct Proxy {
    pub kubeconfig: PathBuf,
    plan: Arc<Plan>,
    _scratch: Scratch,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Plan {
    faults: Mutex<VecDeque<(Method, &'static str, Fault)>>,
    down: watch::Sender<bool>,
}

impl Proxy {
    /// For whoever has `token`.
    pub async fn start(token: &str) -> Self {
        let scratch = Scratch::new("kube-proxy");
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ca = scratch.write("proxy.pem", &certificate.pem());
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": {
                "server": format!("https://{address}"), "certificate-authority": ca } }],
            "users": [{ "name": "c", "user": { "token": token } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "c" } }],
        });
        let kubeconfig = scratch.write("kubeconfig", &kubeconfig.to_string());
        let plan: Arc<Plan> = Arc::default();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(accept(listener, acceptor, Arc::clone(&plan)));
        Self { kubeconfig, plan, _scratch: scratch, task }
    }

    /// The next request of that method, whose path contains `part`, fares so. Those that are planned come one after the other.
    pub fn plan(&self, method: Method, part: &'static str, fault: Fault) {
        self.plan.faults.lock().unwrap().push_back((method, part, fault));
    }

    /// While it is down every request breaks, and so does every answer that is under way.
    pub fn down(&self, down: bool) {
        self.plan.down.send_replace(down);
    }

    /// True once all that was planned came about.
    pub fn is_played(&self) -> bool {
        self.plan.faults.lock().unwrap().is_empty()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, plan: Arc<Plan>) {
    let upstream = upstream();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((tcp, _)) = listener.accept().await else { return };
        let (acceptor, plan, upstream) = (acceptor.clone(), Arc::clone(&plan), upstream.clone());
        let down = plan.down.subscribe();
        connections.spawn(async move {
            let Ok(tls) = acceptor.accept(tcp).await else { return };
            let serve = service_fn(move |request| {
                let (plan, upstream) = (Arc::clone(&plan), upstream.clone());
                async move { plan.answer(request, upstream).await }
            });
            let http = hyper::server::conn::http1::Builder::new();
            let mut down = down.clone();
            tokio::select! {
                served = http.serve_connection(TokioIo::new(tls), serve) => drop(served),
                _ = down.wait_for(|down| *down) => {}
            }
        });
    }
}

fn upstream() -> Upstream {
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(&server().ca_file).unwrap();
    for der in CertificateDer::pem_slice_iter(&pem) {
        roots.add(der.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1();
    Client::builder(TokioExecutor::new()).build(https.build())
}

impl Plan {
    async fn answer(
        &self,
        request: Request<Incoming>,
        upstream: Upstream,
    ) -> io::Result<Response<Body>> {
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let path = parts.uri.path_and_query().unwrap().to_string();
        let broken = || Err(io::Error::other("broken on purpose"));
        if *self.down.borrow() {
            return broken();
        }
        let fault = self.fault(&parts.method, &path);
        match fault {
            Some(Fault::Status(code)) => return Ok(refusal(code)),
            Some(Fault::Broken) => return broken(),
            Some(Fault::AnswerLost) | None => {}
        }
        parts.uri = format!("{}{path}", server().url).parse().unwrap();
        parts.headers.remove("host");
        let sent = upstream.request(Request::from_parts(parts, Full::new(body))).await;
        let answer = sent.map_err(io::Error::other)?;
        if fault.is_some() {
            drop(answer.into_body().collect().await);
            return broken();
        }
        Ok(answer.map(BodyExt::boxed))
    }

    fn fault(&self, method: &Method, path: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let (of, part, fault) = faults.front()?.clone();
        if of != *method || !path.contains(part) {
            return None;
        }
        faults.pop_front();
        Some(fault)
    }
}

fn refusal(code: u16) -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "on purpose",
        "reason": "Test", "details": { "retryAfterSeconds": 1 },
    });
    let body = Full::new(Bytes::from(status.to_string())).map_err(|never| match never {}).boxed();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}
