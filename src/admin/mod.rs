//! Health, readiness, metrics and read-only dumps over HTTP, for this machine only.

mod decisions;

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::runtime::{Drain, HttpListener, Listener, Ready};
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
        let mut routes = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/config", get(config));
        if self.renew.is_some() {
            routes = routes.route("/renew", post(renew));
        }
        if self.decisions.is_some() {
            routes = routes.route("/decisions", get(decisions::decisions));
        }
        if self.certificates.is_some() {
            routes = routes.route("/certificates", get(certificates));
        }
        let routes = routes.layer(from_fn(only_local_names)).with_state(self);
        async move {
            axum::serve(HttpListener(listener), routes)
                .with_graceful_shutdown(async move { drain.begun().await })
                .await
        }
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

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], admin.metrics.text())
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

/// A page of a stranger, open in a browser on this machine, could reach a loopback port under its own name
/// (DNS rebinding). It cannot choose the Host header, so only local names are answered.
async fn only_local_names(headers: HeaderMap, request: Request, next: Next) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name =
        host.rsplit_once(':').filter(|_| !host.ends_with(']')).map_or(host, |(name, _)| name);
    if matches!(name, "" | "localhost" | "[::1]") || name.starts_with("127.") {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "the admin pages answer to local names only\n").into_response()
}
