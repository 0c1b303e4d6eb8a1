use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::Value;
use tower::ServiceExt as _;

use super::Idp;
use crate::runtime::Clock;

fn idp() -> Idp {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    Idp::new("http://127.0.0.1:1".to_owned(), Clock::manual(start)).unwrap()
}

async fn ask(idp: &Idp, request: Request<Body>) -> (StatusCode, Value) {
    let response = idp.router().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

async fn get(idp: &Idp, path: &str) -> Value {
    let (status, body) = ask(idp, Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    body
}

async fn token(idp: &Idp, form: &str) -> (StatusCode, Value) {
    let request = Request::post("/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()))
        .unwrap();
    ask(idp, request).await
}

#[tokio::test]
async fn a_token_verifies_with_the_published_key_and_only_with_it() {
    let idp = idp();
    let form = "grant_type=password&username=alice&password=alice-password&audience=shop";
    let (status, answer) = token(&idp, form).await;
    assert_eq!((status, &answer["token_type"]), (StatusCode::OK, &"Bearer".into()));
    let jwks = get(&idp, "/jwks").await;
    let key = &jwks["keys"][0];
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 1);
    assert!(key.get("d").is_none() && key.get("p").is_none(), "no private part is published");

    let key =
        DecodingKey::from_rsa_components(key["n"].as_str().unwrap(), key["e"].as_str().unwrap());
    let key = key.unwrap();
    let mut rules = Validation::new(Algorithm::RS256);
    rules.validate_exp = false;
    rules.set_audience(&["shop"]);
    rules.set_issuer(&[idp.issuer()]);
    let text = answer["access_token"].as_str().unwrap();
    let claims = decode::<Value>(text, &key, &rules).unwrap().claims;
    assert_eq!((&claims["sub"], &claims["exp"]), (&"alice".into(), &1_790_003_600_u64.into()));
    assert_eq!(claims["roles"], serde_json::json!(["customer"]));

    let forged = idp.unpublished().sign_as(idp.published().id(), &claims).unwrap();
    assert!(decode::<Value>(&forged, &key, &rules).is_err());
}

#[tokio::test]
async fn discovery_names_what_is_served() {
    let idp = idp();
    let document = get(&idp, "/.well-known/openid-configuration").await;
    assert_eq!(document["issuer"], idp.issuer());
    assert_eq!(document["jwks_uri"], idp.jwks_uri());
    assert_eq!(document["token_endpoint"], idp.token_endpoint());
}

#[tokio::test]
async fn a_token_can_be_born_expired() {
    let idp = idp();
    let form = "grant_type=password&username=bob&password=bob-password&expires_in=-120";
    let (status, answer) = token(&idp, form).await;
    assert_eq!((status, &answer["expires_in"]), (StatusCode::OK, &(-120).into()));
}

#[tokio::test]
async fn no_token_without_the_right_words() {
    let idp = idp();
    for (form, status, error) in [
        ("grant_type=password&username=alice&password=bob-password", 400, "invalid_grant"),
        ("grant_type=password&username=alice", 400, "invalid_request"),
        (
            "grant_type=password&username=nightly-report&password=nightly-report-secret",
            400,
            "invalid_grant",
        ),
        (
            "grant_type=client_credentials&client_id=nightly-report&client_secret=x",
            401,
            "invalid_client",
        ),
        ("grant_type=magic", 400, "unsupported_grant_type"),
        (
            "grant_type=password&username=sue&password=sue-password&audience=bank",
            400,
            "invalid_target",
        ),
        (
            "grant_type=password&username=sue&password=sue-password&expires_in=-9223372036854775808",
            400,
            "invalid_request",
        ),
    ] {
        let (seen, answer) = token(&idp, form).await;
        assert_eq!((seen.as_u16(), &answer["error"]), (status, &error.into()), "{form}");
        assert!(answer.get("access_token").is_none());
    }
    let machine = "grant_type=client_credentials&client_id=nightly-report&client_secret=nightly-report-secret";
    assert_eq!(token(&idp, machine).await.0, StatusCode::OK);
}
