//! The token endpoint (RFC 6749): what may be asked, what is answered, and how it is refused.

use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::account::{Account, Kind};
use super::{AUDIENCES, Idp};

/// The longest life of a token.
const MAX_LIFETIME: i64 = 24 * 60 * 60;
const DEFAULT_LIFETIME: i64 = 60 * 60;

/// The form of a request for a token. There is no `Debug`: it holds passwords.
#[derive(Deserialize)]
pub(super) struct TokenRequest {
    grant_type: String,
    username: Option<String>,
    password: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    audience: Option<String>,
    /// Seconds. Only a demo lets the caller choose, and lets a token be born expired.
    expires_in: Option<i64>,
}

/// A token, as RFC 6749 section 5.1 wants it.
#[derive(Serialize)]
pub(super) struct TokenAnswer {
    access_token: String,
    token_type: &'static str,
    expires_in: i64,
    scope: &'static str,
}

/// Why no token was issued, as RFC 6749 section 5.2 wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenRefusal {
    InvalidRequest,
    InvalidGrant,
    InvalidClient,
    /// RFC 8707: an audience that the provider does not know.
    InvalidTarget,
    UnsupportedGrantType,
    ServerError,
}

pub(super) fn issue(idp: &Idp, request: &TokenRequest) -> Result<TokenAnswer, TokenRefusal> {
    let account = sign_in(request)?;
    let audience = request.audience.as_deref().unwrap_or(AUDIENCES[0]);
    if !AUDIENCES.contains(&audience) {
        return Err(TokenRefusal::InvalidTarget);
    }
    let expires_in = request.expires_in.unwrap_or(DEFAULT_LIFETIME);
    if expires_in.checked_abs().is_none_or(|seconds| seconds > MAX_LIFETIME) {
        return Err(TokenRefusal::InvalidRequest);
    }
    let claims = idp.claims(account, audience, expires_in);
    let access_token = idp.published().sign(&claims).map_err(|_| TokenRefusal::ServerError)?;
    Ok(TokenAnswer { access_token, token_type: "Bearer", expires_in, scope: account.scope })
}

fn sign_in(request: &TokenRequest) -> Result<&'static Account, TokenRefusal> {
    let (kind, name, password, refusal) = match request.grant_type.as_str() {
        "password" => {
            (Kind::Person, &request.username, &request.password, TokenRefusal::InvalidGrant)
        }
        "client_credentials" => {
            (Kind::Machine, &request.client_id, &request.client_secret, TokenRefusal::InvalidClient)
        }
        _ => return Err(TokenRefusal::UnsupportedGrantType),
    };
    let (Some(name), Some(password)) = (name, password) else {
        return Err(TokenRefusal::InvalidRequest);
    };
    Account::sign_in(kind, name, password).ok_or(refusal)
}

pub(super) fn claims(
    issuer: &str,
    now: SystemTime,
    account: &Account,
    audience: &str,
    lifetime: i64,
) -> Value {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let expires = now.saturating_add_signed(lifetime);
    // A token that is born expired was issued before it expired, like any other.
    let issued = now.min(expires.saturating_sub(60));
    json!({
        "iss": issuer, "sub": account.name, "aud": audience, "iat": issued, "exp": expires,
        "jti": token_id(), "client_id": "demo", "roles": account.roles, "scope": account.scope,
    })
}

/// A random name; none at all (which verifiers allow) if the machine has no randomness to give.
fn token_id() -> Option<String> {
    let mut bytes = [0_u8; 16];
    rand::fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl IntoResponse for TokenAnswer {
    fn into_response(self) -> Response {
        ([(header::CACHE_CONTROL, "no-store")], Json(self)).into_response()
    }
}

impl IntoResponse for TokenRefusal {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::InvalidRequest => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::InvalidGrant => (StatusCode::BAD_REQUEST, "invalid_grant"),
            Self::InvalidTarget => (StatusCode::BAD_REQUEST, "invalid_target"),
            Self::UnsupportedGrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            Self::InvalidClient => (StatusCode::UNAUTHORIZED, "invalid_client"),
            Self::ServerError => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        };
        let body = Json(json!({ "error": error }));
        (status, [(header::CACHE_CONTROL, "no-store")], body).into_response()
    }
}
