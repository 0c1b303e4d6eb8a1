//! The operator's door: HTTP with JSON on a unix socket, for whoever runs this control plane and for root.
//!
//! The kernel says who is at the other end, so there is no password, and every change has an author. Nobody else is
//! answered, whatever the mode of the socket became.

mod authority;
mod caller;
mod revocations;

use std::io;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;

use crate::runtime::{Drain, HttpListener, Listener};

pub(super) use authority::routes as authority;
pub(super) use caller::Caller;
pub(super) use revocations::{Desk, publish, routes as revocations, sweep, told};

/// Serves these routes until the drain begins.
pub(super) async fn serve(listener: Listener, routes: Router, drain: Drain) -> io::Result<()> {
    let own = Caller::own()?;
    let routes = routes.layer(from_fn_with_state(own, only_operators));
    let service = routes.into_make_service_with_connect_info::<OtherEnd>();
    axum::serve(HttpListener(listener), service)
        .with_graceful_shutdown(async move { drain.begun().await })
        .await
}

async fn only_operators(
    State(own): State<Caller>,
    ConnectInfo(OtherEnd(caller)): ConnectInfo<OtherEnd>,
    mut request: Request,
    next: Next,
) -> Response {
    match caller {
        Some(caller) if caller.is_operator(own) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        caller => {
            let uid = caller.map(|caller| caller.uid);
            tracing::warn!(caller.uid = uid, "a stranger called at the operator's door");
            let words = "only the user of the control plane and root are answered here";
            refusal(StatusCode::FORBIDDEN, words)
        }
    }
}

/// `{"error": ".."}`.
fn refusal(status: StatusCode, words: impl std::fmt::Display) -> Response {
    let body = serde_json::json!({ "error": words.to_string() });
    (status, axum::Json(body)).into_response()
}

/// Who is at the other end, where the system can say.
#[derive(Debug, Clone, Copy)]
struct OtherEnd(Option<Caller>);

impl Connected<IncomingStream<'_, HttpListener>> for OtherEnd {
    fn connect_info(stream: IncomingStream<'_, HttpListener>) -> Self {
        Self(Caller::of(stream.io()))
    }
}
