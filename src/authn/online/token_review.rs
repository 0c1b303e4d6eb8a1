//! Kubernetes TokenReview (`authentication.k8s.io/v1`): the API server knows whether a pod still lives.

use http::{HeaderValue, header};
use serde_json::{Map, Value, json};

use super::asked::Reach;
use super::{Judgement, OnlineFault};
use crate::authn::json;

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// Asks the API server. One of the audiences must come back: a server that does not know of them answers for its own.
pub(super) async fn ask(
    reach: &Reach<'_>,
    (token, bearer): (&str, &str),
    audiences: &[String],
) -> Result<Judgement, OnlineFault> {
    let mut ours = HeaderValue::from_str(&format!("Bearer {bearer}"))
        .map_err(|_| OnlineFault::Auth("tokenFile holds no token".to_owned()))?;
    ours.set_sensitive(true);
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": { "token": token, "audiences": audiences },
    });
    let url = format!("{}{PATH}", reach.url.strip_suffix('/').unwrap_or(reach.url));
    let headers = [
        (header::ACCEPT, HeaderValue::from_static("application/json")),
        (header::AUTHORIZATION, ours),
    ];
    let answer = reach.client.post_json(&url, &review, &headers, reach.limits).await?;
    match answer.status {
        200 | 201 => {}
        refused @ (401 | 403) => return Err(OnlineFault::ClientRefused(refused)),
        other => return Err(OnlineFault::Status(other)),
    }
    read(&json::object(&answer.body).map_err(OnlineFault::Json)?, audiences)
}

fn read(review: &Map<String, Value>, audiences: &[String]) -> Result<Judgement, OnlineFault> {
    // Whatever else answers there has not judged the token, and must not make it look bad.
    if review.get("kind").and_then(Value::as_str) != Some("TokenReview") {
        return Err(OnlineFault::Member("kind"));
    }
    let status = review.get("status").and_then(Value::as_object);
    let status = status.ok_or(OnlineFault::Member("status"))?;
    match status.get("authenticated") {
        Some(Value::Bool(true)) => {}
        // It is left out when it is false.
        Some(Value::Bool(false)) | None => return Ok(Judgement::Inactive),
        Some(_) => return Err(OnlineFault::Member("authenticated")),
    }
    let confirmed = status.get("audiences").and_then(Value::as_array).map(Vec::as_slice);
    let confirmed = confirmed.unwrap_or_default();
    if !confirmed.iter().filter_map(Value::as_str).any(|one| audiences.iter().any(|our| our == one))
    {
        return Err(OnlineFault::Audience);
    }
    let user = status.get("user").and_then(Value::as_object).ok_or(OnlineFault::Member("user"))?;
    let mut claims = user.clone();
    let name = claims.shift_remove("username").ok_or(OnlineFault::Member("username"))?;
    claims.insert("sub".to_owned(), name);
    claims.insert("aud".to_owned(), Value::Array(confirmed.to_vec()));
    Ok(Judgement::Active { claims, expires: None })
}
