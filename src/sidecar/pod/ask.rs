//! Asks the application as the kubelet would: a connection for each question, no answer kept, no redirect followed.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::identity::{AnyServer, JudgedServer};
use crate::mesh::probe::{Ask, HttpAsk, Probe, Scheme};
use crate::sidecar::StartError;

/// The application's health answer is a few bytes; a larger message is something else.
const MAX_MESSAGE: usize = 64 * 1024;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What a probe came to, for the kubelet's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Good(String),
    Bad(String),
}

/// What is needed to ask.
pub(super) struct Asker {
    tls: TlsConnector,
}

impl Asker {
    pub(super) fn new() -> Result<Self, StartError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(StartError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(JudgedServer::new(AnyServer))
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    pub(super) async fn ask(&self, probe: &Probe, target: SocketAddr) -> Outcome {
        let answer = tokio::time::timeout(probe.timeout, self.answer(&probe.ask, target));
        match answer.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Bad(error.to_string()),
            Err(_) => Outcome::Bad(format!("no answer within {:?}", probe.timeout)),
        }
    }

    async fn answer(&self, ask: &Ask, target: SocketAddr) -> Result<Outcome, Failed> {
        match ask {
            Ask::Tcp { port: _ } => {
                TcpStream::connect(target).await?;
                Ok(Outcome::Good("connected".to_owned()))
            }
            Ask::Http(ask) => {
                let stream = TcpStream::connect(target).await?;
                match ask.scheme {
                    Scheme::Http => get(stream, ask, target).await,
                    Scheme::Https => {
                        let name = ServerName::IpAddress(target.ip().into());
                        get(self.tls.connect(name, stream).await?, ask, target).await
                    }
                }
            }
            Ask::Grpc { port: _, service } => health(target, service).await,
        }
    }
}

async fn get<S>(stream: S, ask: &HttpAsk, target: SocketAddr) -> Result<Outcome, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::get(ask.path.parse::<Uri>()?).body(Body::empty())?;
    *request.headers_mut() = headers(ask, target)?;
    let drive = async {
        drop(connection.await);
        // The answer that it brought is still to be taken.
        std::future::pending::<()>().await;
    };
    let response = tokio::select! {
        response = sender.send_request(request) => response?,
        () = drive => return Err("the application closed the connection".into()),
    };
    let status = response.status();
    let told = format!("HTTP status {}", status.as_u16());
    let is_good = status.is_success() || status.is_redirection();
    Ok(if is_good { Outcome::Good(told) } else { Outcome::Bad(told) })
}

/// The kubelet's own, unless the probe has others; an empty value leaves one out.
fn headers(ask: &HttpAsk, target: SocketAddr) -> Result<HeaderMap, Failed> {
    let mut headers = HeaderMap::new();
    for header in &ask.headers {
        let name = HeaderName::try_from(header.name.as_str())?;
        headers.append(name, HeaderValue::try_from(header.value.as_str())?);
    }
    let own = [
        (HOST, target.to_string()),
        (USER_AGENT, concat!("kube-probe/hopgate-", env!("CARGO_PKG_VERSION")).to_owned()),
        (ACCEPT, "*/*".to_owned()),
    ];
    for (name, value) in own {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::try_from(value)?);
        }
    }
    for name in [USER_AGENT, ACCEPT] {
        if headers.get(&name).is_some_and(HeaderValue::is_empty) {
            headers.remove(name);
        }
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(headers)
}

async fn health(target: SocketAddr, service: &str) -> Result<Outcome, Failed> {
    let channel = Endpoint::from_shared(format!("http://{target}"))?.connect().await?;
    let mut client = HealthClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
    let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await;
    let status = match answer {
        Ok(answer) => answer.into_inner().status(),
        Err(status) => {
            return Ok(Outcome::Bad(format!("gRPC status {:?}", status.code())));
        }
    };
    let told = status.as_str_name().to_owned();
    Ok(if status == ServingStatus::Serving { Outcome::Good(told) } else { Outcome::Bad(told) })
}
