//! A small OpenID provider: discovery, keys, and a token endpoint with three users and one machine.
//!
//! It promises tokens of the shape that RFC 9068 describes, signed with RS256. It is for the demo and for tests only:
//! its passwords are printed on the screen, and a caller may choose the lifetime of a token, even a negative one.

mod account;
mod key;
mod token;

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use serde_json::{Value, json};

pub(crate) use account::{ACCOUNTS, Account};
pub use key::KeyError;
pub(crate) use key::SigningKey;
use token::{TokenAnswer, TokenRefusal, TokenRequest};

use crate::runtime::Clock;

/// The audiences that tokens can be asked for: the shop, and one that is not ours.
pub(crate) const AUDIENCES: [&str; 2] = ["shop", "warehouse"];

/// The identity provider. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Idp(Arc<Inner>);

struct Inner {
    issuer: String,
    clock: Clock,
    published: SigningKey,
    /// Signs well, but stands in no JWKS: what an attacker could make for himself.
    unpublished: SigningKey,
}

impl Idp {
    /// An identity provider that will be served at `issuer`, an `http` URL without a slash at the end.
    pub(crate) fn new(issuer: String, clock: Clock) -> Result<Self, KeyError> {
        Ok(Self(Arc::new(Inner {
            issuer,
            clock,
            published: SigningKey::generate("demo-1")?,
            unpublished: SigningKey::generate("demo-unpublished")?,
        })))
    }

    /// Its name in tokens, and its base URL.
    pub(crate) fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Where its keys are.
    pub(crate) fn jwks_uri(&self) -> String {
        format!("{}/jwks", self.0.issuer)
    }

    /// Where tokens are asked for.
    pub(crate) fn token_endpoint(&self) -> String {
        format!("{}/token", self.0.issuer)
    }

    /// The key whose public half is in the JWKS.
    pub(crate) fn published(&self) -> &SigningKey {
        &self.0.published
    }

    /// The key that nobody should believe.
    pub(crate) fn unpublished(&self) -> &SigningKey {
        &self.0.unpublished
    }

    /// The claims of a token for `account`, good from now on for `lifetime` seconds.
    pub(crate) fn claims(&self, account: &Account, audience: &str, lifetime: i64) -> Value {
        token::claims(&self.0.issuer, self.0.clock.now(), account, audience, lifetime)
    }

    /// Its pages.
    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .route("/token", post(issue))
            .with_state(self.clone())
    }
}

async fn discovery(State(idp): State<Idp>) -> Json<Value> {
    Json(json!({
        "issuer": idp.issuer(),
        "jwks_uri": idp.jwks_uri(),
        "token_endpoint": idp.token_endpoint(),
        "grant_types_supported": ["password", "client_credentials"],
        "response_types_supported": ["none"],
        "subject_types_supported": ["public"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "none"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["orders:read", "orders:refund"],
    }))
}

async fn jwks(State(idp): State<Idp>) -> Json<Value> {
    Json(json!({ "keys": [idp.published().jwk()] }))
}

async fn issue(
    State(idp): State<Idp>,
    Form(request): Form<TokenRequest>,
) -> Result<TokenAnswer, TokenRefusal> {
    token::issue(&idp, &request)
}

#[cfg(test)]
mod tests;
