//! `/decisions`: the last decision records. A record holds no credential.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;

/// So many are shown where nobody says how many.
const SHOWN: usize = 50;

/// Which records are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Those of this request.
    request_id: Option<String>,
    /// So many of the newest, at most.
    limit: Option<usize>,
}

/// Answers with the newest records, the newest last.
pub(super) async fn decisions(
    State(admin): State<Admin>,
    Query(Wanted { request_id, limit }): Query<Wanted>,
) -> Response {
    let Some(log) = &admin.decisions else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let wanted = |record: &Value| {
        let id = record.get("request.id").and_then(Value::as_str);
        request_id.is_none() || id == request_id.as_deref()
    };
    let mut records: Vec<Value> = log
        .recent()
        .iter()
        .filter_map(|line| serde_json::from_slice(line).ok())
        .filter(wanted)
        .collect();
    let more = records.len().saturating_sub(limit.unwrap_or(SHOWN));
    records.drain(..more);
    Json(json!({ "decisions": records })).into_response()
}
