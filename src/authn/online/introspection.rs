//! OAuth 2.0 token introspection (RFC 7662).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, header};
use serde_json::{Map, Value};

use super::asked::Reach;
use super::client_auth::Authenticator;
use super::{Judgement, OnlineFault};
use crate::authn::http::HttpAnswer;
use crate::authn::json;

/// Asks whether a token is active. `{"active": false}` is the only no; a refusal of ours is not the token's fault.
pub(super) async fn ask(
    reach: &Reach<'_>,
    auth: &Authenticator,
    (token, hint): (&str, Option<&str>),
    times: (SystemTime, Duration),
) -> Result<Judgement, OnlineFault> {
    let now = times.0;
    let proof = auth.proof(reach.url, now).map_err(|error| OnlineFault::Auth(error.to_string()))?;
    let mut form = vec![("token", token)];
    form.extend(hint.map(|hint| ("token_type_hint", hint)));
    form.extend(proof.form.iter().map(|(name, value)| (*name, value.as_str())));
    let mut headers: Vec<(HeaderName, HeaderValue)> =
        vec![(header::ACCEPT, HeaderValue::from_static("application/json"))];
    headers.extend(proof.authorization.map(|value| (header::AUTHORIZATION, value)));
    let answer = reach.client.post_form(reach.url, &form, &headers, reach.limits).await?;
    read(&answer, times)
}

fn read(
    answer: &HttpAnswer,
    (now, leeway): (SystemTime, Duration),
) -> Result<Judgement, OnlineFault> {
    match answer.status {
        200 => {}
        refused @ (401 | 403) => return Err(OnlineFault::ClientRefused(refused)),
        other => return Err(OnlineFault::Status(other)),
    }
    if is_signed(answer) {
        return Err(OnlineFault::Signed);
    }
    let claims = json::object(&answer.body).map_err(OnlineFault::Json)?;
    match claims.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Ok(Judgement::Inactive),
        Some(_) | None => return Err(OnlineFault::Member("active")),
    }
    if is_refresh_token(&claims) {
        return Ok(Judgement::Inactive);
    }
    let (expires, begins) = (time(&claims, "exp")?, time(&claims, "nbf")?);
    // Its clock may be ahead of ours: a token that was made this moment is no token of tomorrow.
    if expires.is_some_and(|at| at <= now) || begins.is_some_and(|at| at > now + leeway) {
        return Ok(Judgement::Inactive);
    }
    Ok(Judgement::Active { claims, expires })
}

/// RFC 9701, which is not read here: it is not asked for, and its signature would have to be judged.
fn is_signed(answer: &HttpAnswer) -> bool {
    let kind = answer.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/token-introspection+jwt")
        || kind.eq_ignore_ascii_case("application/jwt")
}

/// Servers that tell say so in different members. A refresh token is for the token endpoint alone.
fn is_refresh_token(claims: &Map<String, Value>) -> bool {
    let says = |name: &str| {
        let text = claims.get(name).and_then(Value::as_str).unwrap_or_default();
        text.eq_ignore_ascii_case("refresh_token") || text.eq_ignore_ascii_case("refresh")
    };
    says("token_use") || says("token_type") || says("typ")
}

fn time(
    claims: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<SystemTime>, OnlineFault> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let seconds = value.as_u64().filter(|seconds| *seconds < 1 << 40);
            let seconds = seconds.ok_or(OnlineFault::Member(name))?;
            Ok(Some(UNIX_EPOCH + Duration::from_secs(seconds)))
        }
    }
}
