//! Health, readiness, metrics and read-only dumps over HTTP.
//!
//! Health, readiness and metrics answer whoever reaches the port: they hold no identity and change nothing. All other
//! pages are for this machine only, wherever the port listens.

mod decisions;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use serde_json::{Value, json};

use crate::runtime::{Connection, Drain, HttpListener, Listener, Ready};
use crate::telemetry::{DecisionLog, Metrics};

/// What the pages show. Cloning shares it.
#[derive(Clone)]
pub struct Admin {
    ready: Ready,
    metrics: Metrics,
    dump: Arc<dyn Fn() -> Value + Send + Sync>,
    renew: Option<Arc<dyn Fn() + Send + Sync>>,
    decisions: Option<DecisionLog>,
    certificates: Option<Arc<dyn Fn() -> Value + Send + Sync>>,
}

impl Admin {
    /// `dump` answers `/config`; it must hold no secret.
    #[must_use]
    pub fn new(
        ready: Ready,
        metrics: Metrics,
        dump: impl Fn() -> Value + Send + Sync + 'static,
    ) -> Self {
        let dump = Arc::new(dump);
        Self { ready, metrics, dump, renew: None, decisions: None, certificates: None }
    }

    /// Adds `POST /renew`, which orders a new certificate at once.
    #[must_use]
    pub fn with_renewal(mut self, renew: impl Fn() + Send + Sync + 'static) -> Self {
        self.renew = Some(Arc::new(renew));
        self
    }

    /// Adds `/decisions`, the last records of this log.
    #[must_use]
    pub fn with_decisions(mut self, log: DecisionLog) -> Self {
        self.decisions = Some(log);
        self
    }

    /// Adds `/certificates`, the certificates that are served and trusted now. They are public; the keys must not be
    /// among what `shown` answers.
    #[must_use]
    pub fn with_certificates(mut self, shown: impl Fn() -> Value + Send + Sync + 'static) -> Self {
        self.certificates = Some(Arc::new(shown));
        self
    }

    /// Serves until the drain begins.
    ///
    /// # Errors
    /// When accepting connections fails for good.
    pub fn serve(self, listener: Listener, drain: Drain) -> impl Future<Output = io::Result<()>> {
        let routes = self.routes().into_make_service_with_connect_info::<OtherEnd>();
        async move {
            axum::serve(HttpListener(listener), routes)
                .with_graceful_shutdown(async move { drain.begun().await })
                .await
        }
    }

    fn routes(self) -> Router {
        let mut routes = Router::new().route("/config", get(config));
        if self.renew.is_some() {
            routes = routes.route("/renew", post(renew));
        }
        if self.decisions.is_some() {
            routes = routes.route("/decisions", get(decisions::decisions));
        }
        if self.certificates.is_some() {
            routes = routes.route("/certificates", get(certificates));
        }
        routes
            .fallback(|| async { StatusCode::NOT_FOUND })
            .layer(from_fn(only_this_machine))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let missing = admin.ready.missing();
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    let text: String = missing.iter().map(|(name, reason)| format!("{name}: {reason}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    metrics_page(&admin.metrics)
}

/// All metrics, as Prometheus reads them.
#[must_use]
pub fn metrics_page(metrics: &Metrics) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], metrics.text()).into_response()
}

async fn config(State(admin): State<Admin>) -> Response {
    object(&(admin.dump)())
}

async fn certificates(State(admin): State<Admin>) -> Response {
    match &admin.certificates {
        Some(shown) => object(&shown()),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn object(value: &Value) -> Response {
    let text = serde_json::to_string_pretty(value)
        .unwrap_or_else(|error| json!({ "error": error.to_string() }).to_string());
    ([(header::CONTENT_TYPE, "application/json")], text + "\n").into_response()
}

async fn renew(State(admin): State<Admin>) -> StatusCode {
    match &admin.renew {
        Some(renew) => {
            renew();
            StatusCode::ACCEPTED
        }
        None => StatusCode::NOT_FOUND,
    }
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OtherEnd {
    /// A unix socket, or a loopback address of this network namespace (`kubectl port-forward` arrives there too).
    ThisMachine,
    /// Another address, or one that the system cannot tell.
    Elsewhere,
}

impl Connected<IncomingStream<'_, HttpListener>> for OtherEnd {
    fn connect_info(stream: IncomingStream<'_, HttpListener>) -> Self {
        match stream.io() {
            Connection::Unix(_) => Self::ThisMachine,
            Connection::Tcp(tcp) => Self::of(tcp.peer_addr().ok().map(|address| address.ip())),
        }
    }
}

impl OtherEnd {
    fn of(address: Option<IpAddr>) -> Self {
        match address {
            Some(address) if address.to_canonical().is_loopback() => Self::ThisMachine,
            Some(_) | None => Self::Elsewhere,
        }
    }
}

/// A page of a stranger, open in a browser on this machine, could reach a loopback port under its own name
/// (DNS rebinding). It cannot choose the Host header, so only local names are answered.
async fn only_this_machine(
    ConnectInfo(from): ConnectInfo<OtherEnd>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name =
        host.rsplit_once(':').filter(|_| !host.ends_with(']')).map_or(host, |(name, _)| name);
    let local = matches!(name, "" | "localhost" | "[::1]") || name.starts_with("127.");
    match from {
        OtherEnd::ThisMachine if local => next.run(request).await,
        OtherEnd::ThisMachine => {
            (StatusCode::FORBIDDEN, "this page answers to local names only\n").into_response()
        }
        OtherEnd::Elsewhere => {
            (StatusCode::FORBIDDEN, "this page answers this machine only\n").into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::connect_info::MockConnectInfo;
    use tower::ServiceExt as _;

    use super::*;

    async fn status(from: OtherEnd, request: &str, host: &str) -> u16 {
        let (method, path) = request.split_once(' ').unwrap();
        let routes = Admin::new(Ready::new(), Metrics::new(), || json!({}))
            .with_renewal(|| {})
            .with_certificates(|| json!({}))
            .routes()
            .layer(MockConnectInfo(from));
        let request = axum::http::Request::builder().method(method).uri(path).header("host", host);
        routes.oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn health_and_metrics_answer_everybody_and_the_rest_this_machine() {
        let (here, elsewhere) = (OtherEnd::ThisMachine, OtherEnd::Elsewhere);
        for (page, good) in [("GET /healthz", 200), ("GET /readyz", 503), ("GET /metrics", 200)] {
            for (from, host) in
                [(here, "localhost:1"), (here, "a.example"), (elsewhere, "10.0.0.9:1")]
            {
                assert_eq!(status(from, page, host).await, good, "{page} {from:?} {host}");
            }
        }
        for (page, good) in [
            ("GET /config", 200),
            ("GET /certificates", 200),
            ("POST /renew", 202),
            ("GET /none", 404),
        ] {
            for host in ["localhost:1", "127.0.0.1:1", "[::1]:1", "[::1]"] {
                assert_eq!(status(here, page, host).await, good, "{page} {host}");
                assert_eq!(status(elsewhere, page, host).await, 403, "{page} {host}");
            }
            for host in ["rebound.example:1", "10.0.0.9", "localhost.example"] {
                assert_eq!(status(here, page, host).await, 403, "{page} {host}");
            }
        }
    }

    #[test]
    fn loopback_addresses_are_this_machine() {
        for (address, expected) in [
            ("127.0.0.1", OtherEnd::ThisMachine),
            ("127.9.9.9", OtherEnd::ThisMachine),
            ("::1", OtherEnd::ThisMachine),
            ("::ffff:127.0.0.1", OtherEnd::ThisMachine),
            ("10.0.0.9", OtherEnd::Elsewhere),
            ("::ffff:10.0.0.9", OtherEnd::Elsewhere),
            ("fe80::1", OtherEnd::Elsewhere),
            ("0.0.0.0", OtherEnd::Elsewhere),
        ] {
            assert_eq!(OtherEnd::of(Some(address.parse().unwrap())), expected, "{address}");
        }
        assert_eq!(OtherEnd::of(None), OtherEnd::Elsewhere);
    }
}
