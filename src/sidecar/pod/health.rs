//! Whether the gate works, for the kubelet.
//!
//! - `/started`: the sidecar answers its Envoy. Envoy is started after it, so nothing of Envoy's counts here.
//! - `/envoy`: Envoy has all that it needs, and takes connections. The application is started after that.
//! - `/ready`: both, and the certificate in use is the right one.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{Method, StatusCode};

use crate::mesh::Endpoint;
use crate::runtime::Ready;
use crate::sidecar::ads::CONFIGURED;
use crate::sidecar::certificates::IN_USE;
use crate::sidecar::envoy_admin::ask;

/// Conditions that an Envoy which is not started yet cannot meet.
const OF_ENVOY: [&str; 2] = [IN_USE, CONFIGURED];

#[derive(Clone)]
struct Gate {
    ready: Ready,
    envoy: Arc<Endpoint>,
}

pub(super) fn routes(ready: Ready, envoy: Endpoint) -> Router {
    Router::new()
        .route("/started", get(started))
        .route("/envoy", get(envoy_works))
        .route("/ready", get(is_ready))
        .with_state(Gate { ready, envoy: Arc::new(envoy) })
}

async fn started(State(gate): State<Gate>) -> Response {
    said(gate.misses(|name| !OF_ENVOY.contains(&name)))
}

async fn envoy_works(State(gate): State<Gate>) -> Response {
    said(gate.misses_envoy().await)
}

async fn is_ready(State(gate): State<Gate>) -> Response {
    let missing = gate.misses(|_| true);
    said(if missing.is_some() { missing } else { gate.misses_envoy().await })
}

impl Gate {
    /// The name of a condition that does not hold.
    fn misses(&self, counts: impl Fn(&str) -> bool) -> Option<&'static str> {
        self.ready.missing().into_iter().map(|(name, _)| name).find(|name| counts(name))
    }

    async fn misses_envoy(&self) -> Option<&'static str> {
        ask(&self.envoy, Method::GET, "/ready").await.err().map(|_| "envoy")
    }
}

/// Why it does not work is told on the admin pages only.
fn said(missing: Option<&'static str>) -> Response {
    match missing {
        None => "yes\n".into_response(),
        Some(name) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not yet: {name}\n")).into_response()
        }
    }
}
