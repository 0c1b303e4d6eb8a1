//! HTTP/1.1 for one door, with a bound on everything a caller may send.

use std::convert::Infallible;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use futures_util::{FutureExt as _, StreamExt as _};
use http::header::{CONNECTION, HeaderMap, HeaderValue};
use http::{Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::timeout_at;

use super::asked::{Asked, unread};
use super::config::{DoorConfig, DoorProxy};
use super::reply::{fault, reply};
use crate::authz::{Abilities, DoorFault, Malformed, Question};
use crate::runtime::{Connection, Drain, Listener, Place, PlaceCounts, Places, Usage};
use crate::sidecar::ext_authz::{Door as _, ExtAuthz};

/// What a request may have at most before it is read. Proxies allow their clients less.
const MAX_HEADERS: usize = 256;
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// A connection that sends no whole head for so long is closed. Longer than nginx keeps an idle connection to an upstream,
/// so that it is not closed under a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Connections at once. A proxy keeps some dozens; one that is idle makes room for a new one.
const MAX_CONNECTIONS: usize = 4096;
/// How long Envoy waits for the answer, in milliseconds.
const EXPECTED: &str = "x-envoy-expected-rq-timeout-ms";

/// One door. Cloning shares it.
#[derive(Clone)]
pub(in crate::sidecar) struct HttpDoor {
    config: Arc<DoorConfig>,
    authz: ExtAuthz,
}

/// Who is at the other end of a connection, as text; nothing at a unix socket.
type Caller = Option<Arc<str>>;

impl HttpDoor {
    pub(in crate::sidecar) fn new(config: DoorConfig, authz: ExtAuthz) -> Self {
        Self { config: Arc::new(config), authz }
    }

    /// Serves connections until the drain begins, then lets requests in flight finish.
    pub(in crate::sidecar) async fn serve(
        self,
        listener: Listener,
        drain: Drain,
        counts: PlaceCounts,
    ) -> io::Result<()> {
        let places = Places::new(MAX_CONNECTIONS, drain, counts);
        places.serve(listener, |connection, place| self.clone().connection(connection, place)).await
    }

    async fn connection(self, connection: Connection, place: Place) {
        let address = match connection.peer_address() {
            Ok(address) => address,
            // Gone already.
            Err(error) => return tracing::debug!(%error, "a connection does not say whose it is"),
        };
        let is_proxy = self.config.is_proxy(address);
        let caller: Caller = address.map(|address| address.ip().to_canonical().to_string().into());
        let drain = place.leave();
        let service = service_fn(|request| {
            place.tell(Usage::Busy);
            let response = self.respond(request, caller.clone(), is_proxy);
            response.inspect(|_| place.tell(Usage::Idle(tokio::time::Instant::now())))
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(connection), service);
        let mut served = pin!(served);
        let ended = tokio::select! {
            ended = served.as_mut() => ended,
            () = drain.begun() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, door = self.config.name, "a connection ended");
        }
    }

    /// Total: a proxy that gets no answer might go on without one.
    async fn respond(
        &self,
        request: Request<Incoming>,
        caller: Caller,
        is_proxy: bool,
    ) -> Result<Response<Body>, Infallible> {
        let proxy = self.config.proxy;
        // What a panic leaves behind is judged where it happened: nothing that is shared is half-changed.
        let answer = AssertUnwindSafe(self.answer(request, caller.as_deref(), is_proxy));
        Ok(answer.catch_unwind().await.unwrap_or_else(|_| fault(proxy)))
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        caller: Option<&str>,
        is_proxy: bool,
    ) -> Response<Body> {
        let began = Instant::now();
        let limits = self.authz.limits();
        let (parts, body) = request.into_parts();
        let patience = patience(&parts.headers, self.config.proxy, limits.longest_wait);
        let times = (began, tokio::time::Instant::now() + patience);
        if !is_proxy {
            let mut response =
                self.refuse(Malformed::Door(DoorFault::Stranger), caller, times).await;
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
        let received = timeout_at(times.1, receive(body, limits.max_request_bytes)).await;
        let body = match received.unwrap_or(Err(Malformed::Door(DoorFault::Body))) {
            Ok(body) => body,
            Err(malformed) => return self.refuse(malformed, caller, times).await,
        };
        let asked = Asked { door: &self.config, parts: &parts, body: &body };
        match asked.check() {
            Ok(check) => {
                let question = Question::Asked(&check, Abilities::SetHeaders);
                let answer = self.authz.judge(question, times).await;
                reply(answer.as_bytes(), self.config.proxy, &parts.headers)
            }
            Err(fault) => self.refuse(Malformed::Door(fault), caller, times).await,
        }
    }

    async fn refuse(
        &self,
        malformed: Malformed,
        caller: Option<&str>,
        times: (Instant, tokio::time::Instant),
    ) -> Response<Body> {
        let question = Question::Unreadable(malformed, &unread(caller));
        let answer = self.authz.judge(question, times).await;
        reply(answer.as_bytes(), self.config.proxy, &HeaderMap::new())
    }
}

/// How long an answer may take: what Envoy waits, less what the way back takes, and never longer than `longest`.
fn patience(headers: &HeaderMap, proxy: DoorProxy, longest: Duration) -> Duration {
    let told = match proxy {
        DoorProxy::Envoy => headers.get(EXPECTED).and_then(|value| value.to_str().ok()),
        // A client's own word.
        DoorProxy::Nginx | DoorProxy::Traefik | DoorProxy::Caddy => None,
    };
    match told.and_then(|text| text.parse().ok()).map(Duration::from_millis) {
        Some(timeout) => longest.min(timeout.mul_f64(0.9)),
        None => longest,
    }
}

/// The whole body.
async fn receive(body: Incoming, limit: usize) -> Result<Vec<u8>, Malformed> {
    let told = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if told > limit {
        return Err(Malformed::TooLarge);
    }
    let mut chunks = Body::new(body).into_data_stream();
    let mut all = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Malformed::Door(DoorFault::Body))?;
        if chunk.len() > limit.saturating_sub(all.len()) {
            return Err(Malformed::TooLarge);
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}
