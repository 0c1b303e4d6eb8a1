//! Another ext_authz server as an engine: a second sidecar.

use serde_json::json;

use super::{ask, sidecar};
use crate::support::ask::Sidecar;

const OTHER: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: orders, namespace: shop }
spec:
  rules:
    - name: readers
      allow:
        users: { subjects: [alice] }
        requests: [{ methods: [GET], paths: ["/orders/**"] }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn another_sidecar_is_asked_with_the_whole_request() {
    // It proves the token itself, by the same keys.
    let issuer = crate::support::issuer::Issuer::new();
    let provider = issuer.provider();
    let files = [("sso.yaml", provider.as_str()), ("policy.yaml", OTHER)];
    let mut other = Sidecar::start("other-authz", &files).await;
    let spec = format!("extAuthz: {{ url: \"http://{}\" }}", other.tcp());
    let engine = super::engine(&spec);
    let files =
        [("sso.yaml", provider.as_str()), ("policy.yaml", super::POLICY), ("engine.yaml", &engine)];
    let mut sidecar = Sidecar::start("asks-authz", &files).await;
    let alice = issuer.token(&json!({}));
    let bob = issuer.token(&json!({ "sub": "bob" }));
    let passed = ask(&mut sidecar, "GET", "/orders/7", &alice).await;
    assert!(passed.allowed);
    assert!(ask(&mut other, "GET", "/orders/7", &alice).await.allowed);
    assert_eq!(ask(&mut sidecar, "PUT", "/orders/7", &alice).await.status, 403);
    assert_eq!(ask(&mut sidecar, "GET", "/orders/7", &bob).await.status, 403);
    assert_eq!(ask(&mut sidecar, "GET", "/orders/7", "").await.status, 403);
    let log = other.stop().await;
    assert!(log.lines().count() >= 5, "it was asked each time: {log}");
    assert_eq!(ask(&mut sidecar, "GET", "/orders/7", &alice).await.status, 503);
    let log = sidecar.stop().await;
    assert!(log.contains("engine_unavailable"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_no_engine_has_is_refused_with_what_was_meant() {
    let (sidecar, _) =
        sidecar("engine-name", "extAuthz: { url: \"http://127.0.0.1:9\" }", &[]).await;
    sidecar
        .scratch
        .write("resources/policy.yaml", &super::POLICY.replace("engine: other", "engine: othr"));
    let mut page = String::new();
    for _ in 0..500 {
        page = sidecar.page("/config").await.1;
        if page.contains("othr") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(page.contains("did you mean `other`?"), "{page}");
    drop(sidecar.stop().await);
}
