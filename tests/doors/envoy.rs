//! What is particular to Envoy's HTTP service.

use serde_json::json;

use super::edge::{Edge, Proxy};
use crate::support::raw;

#[tokio::test]
async fn envoy_asks_for_the_page_of_a_browser_and_hands_it_on() {
    let edge = Edge::start(Proxy::Envoy).await;
    let answer = edge.ask("GET /orders/7", &[("accept", "text/html")], "").await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("content-type").unwrap(), "text/html; charset=utf-8");
    assert!(answer.body.starts_with("<!doctype html>"), "{answer:?}");
}

/// To Envoy 5xx is no answer but an error, by which a request may pass: so no refusal has one.
#[tokio::test]
async fn a_refusal_that_would_be_an_error_to_envoy_is_none() {
    let edge = Edge::start(Proxy::Envoy).await;
    let unavailable = "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\n\
         metadata: { name: sso, namespace: shop }\n\
         spec:\n  issuer: https://sso.test\n  audiences: [orders]\n  algorithms: [ES256]\n  \
         keys: { jwksUri: \"http://127.0.0.1:9/keys\" }\n";
    let before = edge.gate.page("/config").await;
    edge.gate.scratch.write("resources/sso.yaml", unavailable);
    let revision = |page: &str| {
        let page: serde_json::Value = serde_json::from_str(page).unwrap();
        page["revision"].as_str().unwrap().to_owned()
    };
    let applied = async || revision(&edge.gate.page("/config").await) != revision(&before);
    assert!(crate::support::envoy::eventually(applied).await);
    let token = format!("Bearer {}", edge.issuer.token(&json!({})));
    let answer = edge.ask("GET /orders/7", &[("authorization", &token)], "").await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.json()["error"], "unavailable", "the body says what it is");
    let records = edge.records().await;
    assert_eq!(records[0]["code"], "keys_unavailable");
}

/// The prefix is the door's; whoever asks without it asks about something else.
#[tokio::test]
async fn a_target_outside_the_prefix_is_not_judged() {
    let edge = Edge::start(Proxy::Envoy).await;
    let headers = [("host", "shop.test"), ("x-hopgate-client-address", "203.0.113.9")];
    let ask = async |line, headers: &[(&str, &str)]| {
        raw::ask(&edge.gate.door, line, headers, "").await.status
    };
    assert_eq!(ask("GET /check/public", &headers).await, 200);
    assert_eq!(ask("GET /public", &headers).await, 400);
    assert_eq!(ask("GET /checked/public", &headers).await, 400);
    assert_eq!(ask("GET /check/public", &headers[..1]).await, 400);
    let twice = [headers[0], headers[1], headers[1]];
    assert_eq!(ask("GET /check/public", &twice).await, 400);
    let records = edge.records().await;
    let codes: Vec<_> = records.iter().map(|record| record["code"].as_str()).collect();
    let target = Some("door_target");
    let expected =
        [None, target, target, Some("door_header_missing"), Some("door_header_repeated")];
    assert_eq!(codes, expected);
    assert_eq!(records[0]["source.address"], "203.0.113.9");
    assert_eq!(records[1]["source.address"], "127.0.0.1", "who asked");
}
