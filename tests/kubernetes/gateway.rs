//! A way to the API server that can fail as API servers do: it throttles, has lost its history, breaks, or is away.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::Scratch;
use crate::support::kube::server;

/// How it behaves now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Everything goes through.
    Fine,
    /// Every request is answered 429.
    Throttled,
    /// Watches are answered 410: the history since the place they name is gone. Lists go through.
    Forgetful,
    /// Lists are answered 500, after a first page where they have several.
    Broken,
    /// Connections are cut, and none is taken.
    Away,
}

pub struct Gateway {
    pub url: String,
    /// Its root, in PEM.
    pub ca_file: PathBuf,
    weather: watch::Sender<Weather>,
    _scratch: Scratch,
}

type Body = BoxBody<Bytes, hyper::Error>;

impl Gateway {
    pub async fn new() -> Self {
        let scratch = Scratch::new("gateway");
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let ca_file = scratch.write("ca.crt", &certificate.pem());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let near = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(&server().ca_file).unwrap() {
            roots.add(root.unwrap()).unwrap();
        }
        let far = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (near, far) = (TlsAcceptor::from(Arc::new(near)), TlsConnector::from(Arc::new(far)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let weather = watch::Sender::new(Weather::Fine);
        let seen = weather.subscribe();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if *seen.borrow() == Weather::Away {
                    continue;
                }
                tokio::spawn(carry(stream, (near.clone(), far.clone()), seen.clone()));
            }
        });
        Self { url, ca_file, weather, _scratch: scratch }
    }

    pub fn is(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

/// One connection, until it ends or the weather changes: then watches end, too.
async fn carry(
    stream: TcpStream,
    (near, far): (TlsAcceptor, TlsConnector),
    mut weather: watch::Receiver<Weather>,
) {
    let now = *weather.borrow_and_update();
    let target = server().url.strip_prefix("https://").unwrap();
    let Ok(near) = near.accept(stream).await else { return };
    let far_stream = TcpStream::connect(target).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let far_stream = far.connect(name, far_stream).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(far_stream)).await.unwrap();
    let sender = Arc::new(Mutex::new(sender));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let sender = Arc::clone(&sender);
        async move {
            let answer = match (now, is_watch(&request)) {
                (Weather::Throttled, _) => said(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
                (Weather::Forgetful, true) => said(StatusCode::GONE, "Expired"),
                (Weather::Broken, false) => {
                    said(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
                }
                _ => match sender.lock().await.send_request(request).await {
                    Ok(response) => response.map(|body| body.boxed()),
                    Err(_) => said(StatusCode::BAD_GATEWAY, "Gone"),
                },
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(near), service);
    tokio::select! {
        _ = connection => {}
        _ = serving => {}
        _ = weather.changed() => {}
    }
}

fn is_watch(request: &Request<Incoming>) -> bool {
    request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"))
}

/// A `Status` of the API server.
fn said(code: StatusCode, reason: &str) -> Response<Body> {
    let status = serde_json::json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "message": format!("the weather is bad: {reason}"), "reason": reason, "code": code.as_u16(),
    });
    let body = Full::new(Bytes::from(status.to_string())).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
