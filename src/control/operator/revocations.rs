//! Revoking, lifting and listing.
//!
//! ```text
//! GET  /v1/revocations
//! POST /v1/revocations        {"workload": "ns/shop/sa/orders", "serial": "0a1b", "until": "2026-..Z", "reason": ".."}
//! POST /v1/revocations/lift   {"workload": "ns/shop/sa/orders", "serial": "0a1b"}
//! ```

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::watch;

use super::{Caller, refusal};
use crate::ca::{is_reserved, workload_id};
use crate::control::discovery::Publisher;
use crate::control::replicas::Replicas;
use crate::identity::{SpiffeId, TrustDomain};
use crate::revocation::{
    self, RawKind, RawRevocation, Revocation, RevocationError, RevocationList, RevocationStore,
    Revoked, Serial, Subject,
};
use crate::runtime::{Clock, Drain};
use crate::xds::own::RevokedWorkload;

const MAX_BODY: usize = 16 * 1024;
/// How often it is looked for revocations that ended. The clock may be set, so nothing longer is waited for.
const SWEEP: Duration = Duration::from_secs(1);

/// What answers. Cloning shares it.
#[derive(Clone)]
pub(in crate::control) struct Desk {
    pub(in crate::control) store: Arc<RevocationStore>,
    pub(in crate::control) domain: TrustDomain,
    pub(in crate::control) clock: Clock,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Order {
    workload: String,
    #[serde(default)]
    serial: Option<String>,
    #[serde(default)]
    until: Option<String>,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Named {
    workload: String,
    #[serde(default)]
    serial: Option<String>,
}

/// The routes under `/v1/revocations`.
pub(in crate::control) fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/v1/revocations", get(list).post(revoke))
        .route("/v1/revocations/lift", post(lift))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(desk)
}

/// What sidecars are told of a list.
pub(in crate::control) fn told(list: &RevocationList) -> BTreeMap<String, RevokedWorkload> {
    let told = list.entries().map(|entry| RevokedWorkload::from(&**entry));
    told.map(|told| (told.name(), told)).collect()
}

/// Tells sidecars of every change from now on.
pub(in crate::control) async fn publish(
    mut lists: watch::Receiver<Arc<RevocationList>>,
    publisher: Publisher,
    drain: Drain,
) -> Result<(), Infallible> {
    loop {
        tokio::select! {
            () = drain.begun() => return Ok(()),
            changed = lists.changed() => if changed.is_err() {
                drain.begun().await;
                return Ok(());
            },
        }
        let list = Arc::clone(&lists.borrow_and_update());
        publisher.change(|published| published.revoked = told(&list));
    }
}

/// Forgets revocations as they end, so that sidecars need not carry them.
pub(in crate::control) async fn sweep(
    store: Arc<RevocationStore>,
    (clock, replicas): (Clock, Replicas),
    drain: Drain,
) -> Result<(), Infallible> {
    while !drain.has_begun() {
        tokio::select! {
            () = drain.begun() => break,
            () = tokio::time::sleep(SWEEP) => {}
        }
        let now = clock.now();
        if !replicas.leads() || store.next_end().is_none_or(|end| now < end) {
            continue;
        }
        let store = Arc::clone(&store);
        match tokio::task::spawn_blocking(move || store.sweep(now)).await {
            Ok(Ok(over)) => tracing::info!(over, "revocations ended"),
            Ok(Err(error)) => tracing::warn!(%error, "revocations that ended cannot be swept"),
            Err(_) => {}
        }
    }
    Ok(())
}

async fn list(State(desk): State<Desk>) -> Response {
    let list = Arc::clone(&desk.store.follow().borrow());
    let now = desk.clock.now();
    let entries: Vec<RawRevocation> = list
        .entries()
        .filter(|entry| entry.is_in_force(now))
        .map(|entry| RawRevocation::from(&**entry))
        .collect();
    Json(json!({ "revocations": entries })).into_response()
}

async fn revoke(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Response {
    blocking(move || {
        let Order { workload, serial, until, reason } = read(&body)?;
        let id = desk.workload(&workload)?;
        if is_reserved(&id) {
            let words = "workload: this identity is the control plane's own; taint its authority instead (hopgate ca taint)";
            return Err(bad(words));
        }
        let by = caller.words().map_err(bad)?;
        let now = desk.clock.now();
        let raw = RawRevocation {
            kind: RawKind::Workload,
            id: id.to_string(),
            serial,
            since: String::new(),
            until,
            reason,
            by: by.to_string(),
        };
        let revocation = Revocation::said_at(raw, now).map_err(bad)?;
        let shown = RawRevocation::from(&revocation);
        let outcome = desk.store.revoke(revocation, now).map_err(|error| failed(&error))?;
        tracing::warn!(
            workload.id = shown.id,
            certificate.serial = shown.serial,
            revoked.until = shown.until,
            revoked.reason = shown.reason,
            revoked.by = shown.by,
            outcome = word(outcome),
            "a workload is revoked"
        );
        Ok(json!({ "outcome": word(outcome), "revocation": shown }))
    })
    .await
}

async fn lift(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Response {
    blocking(move || {
        let Named { workload, serial } = read(&body)?;
        let id = desk.workload(&workload)?;
        let serial = serial.map(|serial| Serial::parse(&serial)).transpose().map_err(bad)?;
        let subject = Subject::Workload(revocation::RevokedWorkload { id, serial });
        let lifted = desk.store.lift(&subject).map_err(|error| failed(&error))?;
        let Some(lifted) = lifted else {
            let words = format!("{subject} is not revoked; `hopgate revoke list` shows what is");
            return Err((StatusCode::NOT_FOUND, words));
        };
        tracing::warn!(
            revoked = %subject,
            lifted.by = caller.uid,
            "a revocation is lifted"
        );
        Ok(json!({ "revocation": RawRevocation::from(&*lifted) }))
    })
    .await
}

impl Desk {
    /// `ns/<namespace>/sa/<account>` of this mesh, or the SPIFFE ID of any workload: foreign ones can be revoked too.
    fn workload(&self, text: &str) -> Result<SpiffeId, Refused> {
        let named = |error: String| bad(format!("workload: {error}"));
        if text.starts_with("spiffe://") {
            return SpiffeId::parse(text).map_err(|error| named(format!("{text:?} {error}")));
        }
        workload_id(&self.domain, text).map_err(|error| named(error.to_string()))
    }
}

type Refused = (StatusCode, String);

fn bad(error: impl std::fmt::Display) -> Refused {
    (StatusCode::BAD_REQUEST, error.to_string())
}

fn failed(error: &RevocationError) -> Refused {
    let status = match error {
        RevocationError::Over => StatusCode::BAD_REQUEST,
        RevocationError::TooMany(_) | RevocationError::Conflict(_) => StatusCode::CONFLICT,
        RevocationError::File(_)
        | RevocationError::Damaged { .. }
        | RevocationError::Remote { .. }
        | RevocationError::Record => StatusCode::INTERNAL_SERVER_ERROR,
    };
    tracing::error!(%error, "a revocation is not changed");
    (status, error.to_string())
}

fn word(outcome: Revoked) -> &'static str {
    match outcome {
        Revoked::Added => "added",
        Revoked::Extended => "extended",
        Revoked::Already => "already",
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(bad)
}

/// Files are synced, which blocks.
async fn blocking(
    answer: impl FnOnce() -> Result<serde_json::Value, Refused> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(answer).await {
        Ok(Ok(value)) => Json(value).into_response(),
        Ok(Err((status, words))) => refusal(status, words),
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "failed; see the log"),
    }
}
