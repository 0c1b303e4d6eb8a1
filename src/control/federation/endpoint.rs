//! The bundle endpoint: one document, for whoever asks (SPIFFE Federation, sections 5.2.1.3 and 5.2.2.3).
//!
//! No client is asked for a certificate or a password: what is served is public. So every bound is against strangers:
//! connections at once, time for a handshake, size of a head, time of a connection.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::certs::time_provider;
use crate::identity::SpiffeBundle;
use crate::runtime::{Address, BindError, Clock, Connection, Drain, Listener};

use super::config::{EndpointConfig, EndpointProfile, InvalidFederation};
use super::web_certificate::{WebCertificate, WebCertificateError};

const HANDSHAKE: Duration = Duration::from_secs(5);
/// From the handshake to the last byte; a connection carries one answer.
const CONNECTION: Duration = Duration::from_secs(15);
const HEAD: Duration = Duration::from_secs(5);
const MAX_HEADERS: usize = 64;
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;

/// The endpoint, bound and not serving yet.
pub struct BundleEndpoint {
    listener: Listener,
    address: Address,
    acceptor: TlsAcceptor,
    web: Option<WebCertificate>,
    page: Page,
}

#[derive(Clone)]
struct Page {
    path: Arc<str>,
    hint: Duration,
    bundle: watch::Receiver<Arc<SpiffeBundle>>,
}

/// The endpoint cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Its configuration is wrong.
    #[error(transparent)]
    Config(#[from] InvalidFederation),
    /// The address cannot be bound.
    #[error("federation.endpoint.listen")]
    Bind(#[from] BindError),
    /// The system does not tell the address.
    #[error("the bound address is not known")]
    Address(#[source] io::Error),
    /// The web certificate cannot be used.
    #[error("federation.endpoint")]
    Web(#[from] WebCertificateError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// How long a reader that does as it is told may go by what it read before: the hint, and the spread of its looks. Zero
/// where nobody can read.
pub(in crate::control) fn readers_lag(endpoint: Option<&EndpointConfig>) -> Duration {
    let hint = endpoint.map_or(Duration::ZERO, |endpoint| endpoint.refresh_hint);
    hint.saturating_add(hint / 4)
}

impl BundleEndpoint {
    /// Binds. `own` is the control plane's SVID, `bundle` what is published.
    ///
    /// # Errors
    /// When the configuration, the address or the certificate cannot be used.
    pub async fn bind(
        config: &EndpointConfig,
        own: Arc<dyn ResolvesServerCert>,
        bundle: watch::Receiver<Arc<SpiffeBundle>>,
        clock: &Clock,
    ) -> Result<Self, EndpointError> {
        let (web, certificate) = match config.checked()? {
            EndpointProfile::Spiffe => (None, own),
            EndpointProfile::Web { certificate, key } => {
                let web = WebCertificate::open(&certificate, &key)?;
                let shown = web.shown();
                (Some(web), shown)
            }
        };
        let acceptor = acceptor(certificate, clock)?;
        let listener = config.listen.bind().await?;
        let address = listener.address().map_err(EndpointError::Address)?;
        let page = Page { path: config.path.as_str().into(), hint: config.refresh_hint, bundle };
        Ok(Self { listener, address, acceptor, web, page })
    }

    /// Where it listens; tells the port that the system chose.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Serves until the drain begins.
    ///
    /// # Errors
    /// Never; it has the form of an essential task.
    pub async fn serve(self, drain: Drain) -> io::Result<()> {
        let Self { listener, address: _, acceptor, web, page } = self;
        let mut connections = JoinSet::new();
        // Kept over the turns of the loop: a change of the files that was seen half must not be forgotten.
        let mut following = pin!(follow(web));
        loop {
            let has_room = connections.len() < MAX_CONNECTIONS;
            tokio::select! {
                () = drain.begun() => break,
                accepted = listener.accept(), if has_room => match accepted {
                    Ok(connection) => {
                        connections.spawn(answer(acceptor.clone(), connection, page.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection to the bundle endpoint is not accepted");
                        // Without a pause, a process out of file descriptors would spin.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                never = &mut following => match never {},
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

/// Follows the files of a web certificate, if there is one.
async fn follow(web: Option<WebCertificate>) -> Infallible {
    match web {
        Some(mut web) => loop {
            web.follow().await;
        },
        None => std::future::pending().await,
    }
}

/// Mozilla's intermediate compatibility asks for 1.2 and 1.3 (SPIFFE Federation, section 5).
fn acceptor(
    certificate: Arc<dyn ResolvesServerCert>,
    clock: &Clock,
) -> Result<TlsAcceptor, EndpointError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_details(provider, time_provider(clock))
        .with_safe_default_protocol_versions()
        .map_err(EndpointError::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    // A resumed session would stand on a certificate past its end.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn answer(acceptor: TlsAcceptor, connection: Connection, page: Page) {
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(connection)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "bundle endpoint: handshake refused"),
        Err(_) => return tracing::debug!("bundle endpoint: handshake took too long"),
    };
    let service = service_fn(|request| {
        let response = page.respond(&request);
        async { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "bundle endpoint: a connection ended"),
        Err(_) => tracing::debug!("bundle endpoint: a connection took too long"),
    }
}

impl Page {
    fn respond(&self, request: &Request<Incoming>) -> Response<Body> {
        if request.uri().path() != &*self.path {
            return plain(StatusCode::NOT_FOUND, "no bundle is served at this path\n");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "ask with GET\n");
            response.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let bundle = self.bundle.borrow().as_ref().clone().with_refresh_hint(self.hint);
        let mut response = Response::new(Body::from(bundle.to_json()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        // An old copy on the way would put off what is withdrawn here.
        headers.insert(CACHE_CONTROL, http::HeaderValue::from_static("no-cache"));
        response
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
