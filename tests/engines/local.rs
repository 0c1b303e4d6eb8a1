//! Engines in process, through a real sidecar.

use std::time::Duration;

use serde_json::json;

use super::{ask, last_record, sidecar};

const REGO: &str = r#"
package envoy.authz

import rego.v1

allow if {
    input.attributes.request.http.method == "GET"
    input.parsed_path[0] == "orders"
    input.hopgate.user.sub in data.readers
}

allow if {
    input.attributes.request.http.path == "/shut/forbidden"
}

allow := false if input.parsed_path == ["shut", "open"]
"#;
const SPEC: &str = "rego: { policyFiles: [authz.rego], dataFiles: [readers.json] }";

#[tokio::test(flavor = "multi_thread")]
async fn rego_decides_and_its_files_are_followed() {
    let files = [("authz.rego", REGO), ("readers.json", r#"{"readers": ["alice"]}"#)];
    let (mut sidecar, issuer) = sidecar("rego", SPEC, &files).await;
    let alice = issuer.token(&json!({}));
    let bob = issuer.token(&json!({ "sub": "bob" }));
    assert!(ask(&mut sidecar, "GET", "/orders/7", &alice).await.allowed);
    assert_eq!(ask(&mut sidecar, "PUT", "/orders/7", &alice).await.status, 403);
    assert_eq!(ask(&mut sidecar, "GET", "/orders/7", &bob).await.status, 403);
    assert_eq!(ask(&mut sidecar, "GET", "/orders/7", "").await.status, 403);
    // A deny rule: yes refuses, no passes, undefined cannot be evaluated.
    assert_eq!(ask(&mut sidecar, "GET", "/shut/forbidden", &alice).await.status, 403);
    assert!(ask(&mut sidecar, "GET", "/shut/open", &alice).await.allowed);
    assert_eq!(ask(&mut sidecar, "GET", "/shut/other", &alice).await.status, 403);

    sidecar.scratch.write("resources/readers.json", r#"{"readers": ["bob"]}"#);
    let mut turned = false;
    for _ in 0..500 {
        turned = ask(&mut sidecar, "GET", "/orders/7", &bob).await.allowed;
        if turned {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(turned, "the new data counts");
    assert_eq!(ask(&mut sidecar, "GET", "/orders/7", &alice).await.status, 403);
    let log = sidecar.stop().await;
    assert!(!log.contains(&alice) && !log.contains(&bob), "no token in the log");
    assert!(log.contains("the engine \\\"other\\\" says nothing about this request"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_module_is_refused_and_the_last_good_one_stays() {
    let files = [("authz.rego", REGO), ("readers.json", r#"{"readers": ["alice"]}"#)];
    let (mut sidecar, issuer) = sidecar("rego-broken", SPEC, &files).await;
    sidecar.scratch.write("resources/authz.rego", "package envoy.authz\nallow if {");
    let mut refused = String::new();
    for _ in 0..500 {
        refused = sidecar.page("/config").await.1;
        if refused.contains("authz.rego") && refused.contains("PolicyEngine shop/other") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(refused.contains("PolicyEngine shop/other"), "{refused}");
    let alice = issuer.token(&json!({}));
    assert!(ask(&mut sidecar, "GET", "/orders/7", &alice).await.allowed);
    assert_eq!(ask(&mut sidecar, "PUT", "/orders/7", &alice).await.status, 403);
    drop(sidecar.stop().await);
}

const MODEL: &str = "[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act
";
const LINES: &str = "p, reader, /orders/:id, GET\ng, alice, reader\n";

#[tokio::test(flavor = "multi_thread")]
async fn casbin_decides() {
    let spec = "casbin: { modelFile: model.conf, policyFile: policy.csv, request: [user.sub, request.path, request.method] }";
    let files = [("model.conf", MODEL), ("policy.csv", LINES)];
    let (mut sidecar, issuer) = sidecar("casbin", spec, &files).await;
    let alice = issuer.token(&json!({}));
    assert!(ask(&mut sidecar, "GET", "/orders/7", &alice).await.allowed);
    assert_eq!(ask(&mut sidecar, "PUT", "/orders/7", &alice).await.status, 403);
    let bob = issuer.token(&json!({ "sub": "bob" }));
    assert_eq!(ask(&mut sidecar, "GET", "/orders/7", &bob).await.status, 403);
    // One who is called what a role is called gets nothing by it, and is told so in the record.
    let reader = issuer.token(&json!({ "sub": "reader" }));
    assert_eq!(ask(&mut sidecar, "GET", "/orders/7", &reader).await.status, 503);
    let log = sidecar.stop().await;
    assert_eq!(last_record(&log)["code"], "engine_unavailable");
    assert!(log.contains("could stand for somebody else"), "{log}");
}
