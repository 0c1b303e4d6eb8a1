//! A real OPA that rules ask.

use serde_json::json;

use super::{ask, last_record, sidecar};
use crate::authentication::online::parts::{Server, eventually, json as answers};
use crate::support::Scratch;
use crate::support::opa::{Opa, free_port};

const REGO: &str = r#"
package envoy.authz

import rego.v1

allow if {
    input.attributes.request.http.method == "GET"
    input.hopgate.user.sub == "alice"
    not input.attributes.request.http.headers.authorization
}

allow := {"allowed": false, "http_status": 418} if input.parsed_path == ["shut", "open"]

allow if input.parsed_path == ["shut", "forbidden"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_real_opa_is_asked_and_its_absence_refuses() {
    let scratch = Scratch::new("opa");
    let policy = scratch.write("authz.rego", REGO);
    let port = free_port();
    let opa = Opa::start(std::slice::from_ref(&policy), Some(port)).await;
    let spec = format!("opa: {{ url: \"{}\", ttl: 0s, negativeTtl: 0s }}", opa.base);
    let (mut sidecar, issuer) = sidecar("opa", &spec, &[]).await;
    let alice = issuer.token(&json!({}));
    let bob = issuer.token(&json!({ "sub": "bob" }));
    assert!(ask(&mut sidecar, "GET", "/orders/7", &alice).await.allowed);
    assert_eq!(ask(&mut sidecar, "PUT", "/orders/7", &alice).await.status, 403);
    assert_eq!(ask(&mut sidecar, "GET", "/orders/7", &bob).await.status, 403);
    assert!(ask(&mut sidecar, "PUT", "/shut/open", &bob).await.allowed);
    assert_eq!(ask(&mut sidecar, "PUT", "/shut/forbidden", &bob).await.status, 403);
    assert_eq!(ask(&mut sidecar, "PUT", "/shut/other", &bob).await.status, 403, "undefined");

    drop(opa);
    assert_eq!(ask(&mut sidecar, "GET", "/orders/7", &alice).await.status, 503);
    assert_eq!(ask(&mut sidecar, "PUT", "/shut/open", &bob).await.status, 503, "not passed over");
    assert!(ask(&mut sidecar, "GET", "/open", "").await.allowed, "no rule of it asks");
    let again = Opa::start(&[policy], Some(port)).await;
    let mut back = false;
    for _ in 0..200 {
        back = ask(&mut sidecar, "GET", "/orders/7", &alice).await.allowed;
        if back {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(back, "it is asked again");
    drop(again);
    let log = sidecar.stop().await;
    assert!(log.contains("\"engine_unavailable\""), "{log}");
    assert!(!log.contains(&alice) && !log.contains(&bob), "no token in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_the_same_are_one_question() {
    let server = Server::saying(&json!({ "result": true }));
    let spec = format!("opa: {{ url: \"{}\", ttl: 60s }}", server.plain().await);
    let (mut sidecar, issuer) = sidecar("opa-stampede", &spec, &[]).await;
    let alice = issuer.token(&json!({}));
    server.hold();
    let asks = (0..200).map(|n| {
        let (mut client, token) = (sidecar.client.clone(), format!("Bearer {alice}"));
        let id = format!("request-{n}");
        let headers = [("authorization", token.as_str()), ("x-request-id", id.as_str())];
        let request = crate::support::ask::get("/orders/7", &headers);
        tokio::spawn(async move { client.check(request).await.unwrap().into_inner() })
    });
    let asks: Vec<_> = asks.collect();
    server.was_asked(1).await;
    server.release();
    for answer in asks {
        assert!(crate::support::ask::meaning(answer.await.unwrap()).allowed);
    }
    assert_eq!(server.asked(), 1);
    assert!(ask(&mut sidecar, "GET", "/orders/7", &alice).await.allowed);
    assert_eq!(server.asked(), 1, "remembered");
    assert!(ask(&mut sidecar, "GET", "/orders/8", &alice).await.allowed);
    assert_eq!(server.asked(), 2, "another question");
    // Another version of the resource remembers nothing of this one.
    server.judges(|_| answers(200, &json!({ "result": false })));
    let spec = spec.replace("60s", "61s");
    sidecar.scratch.write("resources/engine.yaml", &super::engine(&spec));
    for _ in 0..500 {
        if !ask(&mut sidecar, "GET", "/orders/7", &alice).await.allowed {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(ask(&mut sidecar, "GET", "/orders/7", &alice).await.status, 403);
    drop(sidecar.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_failing_is_left_alone() {
    let server = Server::new(|_| answers(503, &json!({ "code": "internal_error" })));
    let spec = format!("opa: {{ url: \"{}\" }}", server.plain().await);
    let (mut sidecar, issuer) = sidecar("opa-breaker", &spec, &[]).await;
    let alice = issuer.token(&json!({}));
    for n in 0..20 {
        let path = format!("/orders/{n}");
        assert_eq!(ask(&mut sidecar, "GET", &path, &alice).await.status, 503);
    }
    assert!(server.asked() < 10, "asked {} times", server.asked());
    let (_, metrics) = sidecar.page("/metrics").await;
    assert!(metrics.contains("authz_engine_failures_total{code=\"engine_resting\"}"), "{metrics}");
    let log = sidecar.stop().await;
    assert_eq!(last_record(&log)["code"], "engine_unavailable");
    assert_eq!(last_record(&log)["rule.name"], "shop/orders#asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_does_not_hold_a_request_for_ever() {
    let server = Server::saying(&json!({ "result": true }));
    let spec = format!("opa: {{ url: \"{}\", timeout: 100ms }}", server.plain().await);
    let (mut sidecar, issuer) = sidecar("opa-slow", &spec, &[]).await;
    let alice = issuer.token(&json!({}));
    server.hold();
    assert_eq!(ask(&mut sidecar, "GET", "/orders/7", &alice).await.status, 503);
    server.release();
    eventually(|| server.asked() == 1).await;
    drop(sidecar.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_not_sent_and_our_own_token_is() {
    let server = Server::new(|question| {
        let sent = question.header("authorization") == "Bearer ours"
            && !question.body.contains("Bearer ey")
            && question.json()["input"]["hopgate"]["user"]["sub"] == "alice"
            && question.path == "/v1/data/shop/authz/allow";
        answers(200, &json!({ "result": sent }))
    });
    let spec = format!(
        "opa: {{ url: \"{}\", path: shop/authz/allow, tokenFile: opa.token }}",
        server.plain().await
    );
    let (mut sidecar, issuer) = sidecar("opa-token", &spec, &[("opa.token", "ours\n")]).await;
    let alice = issuer.token(&json!({}));
    assert!(ask(&mut sidecar, "GET", "/orders/7", &alice).await.allowed);
    server.judges(|_| answers(401, &json!({ "code": "unauthorized" })));
    assert_eq!(ask(&mut sidecar, "GET", "/orders/8", &alice).await.status, 503);
    drop(sidecar.stop().await);
}
