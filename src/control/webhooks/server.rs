//! HTTPS for the API server: one certificate, two pages, and bounds on everything.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures_util::{FutureExt as _, StreamExt as _};
use http::{StatusCode, header};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::super::ControlError;
use super::super::own::OwnCertificate;
use super::super::tls::{Secured, incoming};
use super::Judge;
use super::injection::{Fate, Injecting};
use crate::certs::time_provider;
use crate::kube::Review;
use crate::runtime::{Clock, Drain, Listener};
use crate::telemetry::Metrics;

/// An object of the API server has at most 1.5 MiB, and a review may hold two.
const MAX_REVIEW: usize = 8 * 1024 * 1024;
/// Shorter than any API server waits that is not told to wait less.
const PATIENCE: Duration = Duration::from_secs(8);
/// Longer than an API server keeps a connection between two reviews.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_HEAD_BYTES: usize = 32 * 1024;
const MAX_CONNECTIONS: usize = 512;
/// Reviews that are read and judged at once: each may be as large as the bound above.
const AT_ONCE: usize = 32;

/// Who answers which page.
pub(super) struct Routes {
    pub(super) injecting: Option<Injecting>,
    pub(super) judge: Option<Judge>,
    pub(super) counts: Counts,
    turns: Semaphore,
}

/// What reviews came to.
#[derive(Clone)]
pub(super) struct Counts(Family<Labels, Counter>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    webhook: &'static str,
    outcome: &'static str,
}

impl Routes {
    pub(super) fn new(injecting: Option<Injecting>, judge: Option<Judge>, counts: Counts) -> Self {
        Self { injecting, judge, counts, turns: Semaphore::new(AT_ONCE) }
    }
}

impl Counts {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let counts = Family::default();
        metrics.register(|registry| {
            let help = "Admission reviews, by webhook and by what came of them.";
            registry.register("webhooks_reviews", help, counts.clone());
        });
        Self(counts)
    }

    fn count(&self, webhook: &'static str, outcome: &'static str) {
        self.0.get_or_create(&Labels { webhook, outcome }).inc();
    }
}

pub(super) fn acceptor(
    own: Arc<OwnCertificate>,
    clock: &Clock,
) -> Result<TlsAcceptor, ControlError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_details(provider, time_provider(clock))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(ControlError::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(own);
    // A resumed session would outlive the certificate.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until the drain begins; reviews in flight are answered.
pub(super) async fn serve(
    (listener, acceptor): (Listener, TlsAcceptor),
    routes: Routes,
    drain: Drain,
) -> Result<(), Infallible> {
    let routes = router(Arc::new(routes));
    let mut connections = JoinSet::new();
    let mut incoming = pin!(incoming(listener, acceptor));
    loop {
        tokio::select! {
            accepted = incoming.next(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Some(Ok(secured)) => drop(connections.spawn(one(secured, routes.clone(), drain.clone()))),
                Some(Err(error)) => tracing::warn!(%error, "connection not accepted"),
                None => break,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = drain.begun() => break,
        }
    }
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn one(secured: Secured, routes: Router, drain: Drain) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(secured), TowerToHyperService::new(routes));
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = drain.begun() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of a webhook ended");
    }
}

fn router(routes: Arc<Routes>) -> Router {
    let mut pages = Router::new();
    if routes.injecting.is_some() {
        pages = pages.route("/inject", post(inject));
    }
    if routes.judge.is_some() {
        pages = pages.route("/validate", post(validate));
    }
    pages.with_state(routes)
}

/// What goes wrong is an HTTP error, which no API server takes for a yes.
async fn inject(State(routes): State<Arc<Routes>>, request: Request) -> Response {
    let outcome = bounded("inject", &routes, async {
        let body = read(request).await?;
        let review = Review::read(&body).map_err(|error| unreadable(&error))?;
        let Some(injecting) = &routes.injecting else {
            return Err((StatusCode::NOT_FOUND, "there is no injection".to_owned()));
        };
        let (answer, fate) = injecting.answer(&review).await;
        routes.counts.count("inject", fate.word());
        Ok(review.answered(&answer))
    });
    outcome.await
}

async fn validate(State(routes): State<Arc<Routes>>, request: Request) -> Response {
    let outcome = bounded("validate", &routes, async {
        let body = read(request).await?;
        let Some(judge) = &routes.judge else {
            return Err((StatusCode::NOT_FOUND, "there is no validation".to_owned()));
        };
        let answer = judge(&body).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
        let allowed = answer.pointer("/response/allowed").and_then(Value::as_bool);
        routes.counts.count("validate", if allowed == Some(true) { "allowed" } else { "denied" });
        Ok(answer)
    });
    outcome.await
}

type Judged = Result<Value, (StatusCode, String)>;

async fn bounded(
    webhook: &'static str,
    routes: &Routes,
    judged: impl Future<Output = Judged>,
) -> Response {
    let judged = async {
        let busy = |_| (StatusCode::SERVICE_UNAVAILABLE, "it ends".to_owned());
        let _turn = routes.turns.acquire().await.map_err(busy)?;
        judged.await
    };
    // What a panic leaves behind is judged where it happened: nothing that is shared is half-changed.
    let judged = AssertUnwindSafe(tokio::time::timeout(PATIENCE, judged)).catch_unwind().await;
    let failure = match judged {
        Ok(Ok(Ok(answer))) => {
            return ([(header::CONTENT_TYPE, "application/json")], answer.to_string())
                .into_response();
        }
        Ok(Ok(Err(failure))) => failure,
        Ok(Err(_)) => (StatusCode::SERVICE_UNAVAILABLE, "it took too long".to_owned()),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "it failed".to_owned()),
    };
    routes.counts.count(webhook, "unanswered");
    let (status, why) = failure;
    tracing::warn!(webhook, %status, why, "an admission review is not answered");
    (status, format!("hopgate: {why}\n")).into_response()
}

async fn read(request: Request) -> Result<Bytes, (StatusCode, String)> {
    to_bytes(request.into_body(), MAX_REVIEW).await.map_err(|_| {
        let why = format!("no whole review of at most {MAX_REVIEW} bytes was posted");
        (StatusCode::PAYLOAD_TOO_LARGE, why)
    })
}

fn unreadable(error: &crate::kube::NoReview) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, crate::runtime::with_causes(error))
}

impl Fate {
    fn word(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}
