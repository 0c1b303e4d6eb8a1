//! The authority: where it stands, and changing its root.
//!
//! ```text
//! GET  /v1/authority
//! POST /v1/authority/rotate   {"withinSeconds": 600, "withoutAbsent": false}
//! POST /v1/authority/abort    {"withinSeconds": 600}
//! POST /v1/authority/taint    {"withinSeconds": 600}
//! ```
//!
//! Every answer is where the authority stands afterwards.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;

use super::{Caller, refusal};
use crate::ca::AuthorityError;
use crate::control::rotation::Rotation;

const MAX_BODY: usize = 4 * 1024;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Order {
    within_seconds: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct RotateOrder {
    within_seconds: Option<u32>,
    without_absent: bool,
}

/// The routes under `/v1/authority`.
pub(in crate::control) fn routes(rotation: Rotation) -> Router {
    Router::new()
        .route("/v1/authority", get(standing))
        .route("/v1/authority/rotate", post(rotate))
        .route("/v1/authority/abort", post(abort))
        .route("/v1/authority/taint", post(taint))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(rotation)
}

async fn standing(State(rotation): State<Rotation>) -> Response {
    Json(rotation.standing()).into_response()
}

async fn rotate(
    State(rotation): State<Rotation>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Response {
    changed(rotation, (caller, "rotate"), &body, |rotation, order: RotateOrder| {
        rotation.rotate(seconds(order.within_seconds), order.without_absent)
    })
    .await
}

async fn abort(
    State(rotation): State<Rotation>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Response {
    changed(rotation, (caller, "abort"), &body, |rotation, order: Order| {
        rotation.abort(seconds(order.within_seconds))
    })
    .await
}

async fn taint(
    State(rotation): State<Rotation>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Response {
    changed(rotation, (caller, "taint"), &body, |rotation, order: Order| {
        rotation.taint(seconds(order.within_seconds))
    })
    .await
}

fn seconds(said: Option<u32>) -> Option<Duration> {
    said.map(|seconds| Duration::from_secs(seconds.into()))
}

/// Files are synced, which blocks.
async fn changed<T: for<'de> Deserialize<'de> + Send + 'static>(
    rotation: Rotation,
    (caller, what): (Caller, &'static str),
    body: &Bytes,
    change: impl FnOnce(&Rotation, T) -> Result<(), AuthorityError> + Send + 'static,
) -> Response {
    let order = match serde_json::from_slice(body) {
        Ok(order) => order,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, error),
    };
    let done =
        tokio::task::spawn_blocking(move || change(&rotation, order).map(|()| rotation.standing()));
    match done.await {
        Ok(Ok(standing)) => {
            tracing::warn!(
                authority.order = what,
                by.uid = caller.uid,
                "the operator's order is taken"
            );
            Json(standing).into_response()
        }
        Ok(Err(error)) => {
            tracing::warn!(authority.order = what, by.uid = caller.uid, %error, "an order is refused");
            let status = match error {
                AuthorityError::Step(_) | AuthorityError::Supplied | AuthorityError::Elsewhere => {
                    StatusCode::CONFLICT
                }
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            refusal(status, error)
        }
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "failed; see the log"),
    }
}
