//! OpenFGA and a cluster's API server, as they are documented to answer.

use serde_json::json;

use super::{ask, last_record, sidecar};
use crate::authentication::online::parts::{Server, json as answers};

#[tokio::test(flavor = "multi_thread")]
async fn openfga_is_asked_for_a_relation() {
    let server = Server::new(|question| {
        let store = "/stores/01HVMMBCMGZNT3SED4Z17ECXCA/check";
        if question.path != store || question.method != "POST" {
            return answers(404, &json!({ "code": "undefined_endpoint" }));
        }
        let asked = question.json();
        let known = asked["authorization_model_id"] == "01HVMMBD123456789ABCDEFGHJ"
            && asked["consistency"] == "HIGHER_CONSISTENCY"
            && question.header("authorization") == "Bearer key";
        let tuple = &asked["tuple_key"];
        let allowed = known
            && tuple["user"] == "user:alice"
            && tuple["relation"] == "reader"
            && tuple["object"] == "document:7";
        answers(200, &json!({ "allowed": allowed, "resolution": "" }))
    });
    let spec = format!(
        "openFga:\n  url: \"{}\"\n  store: 01HVMMBCMGZNT3SED4Z17ECXCA\n  model: 01HVMMBD123456789ABCDEFGHJ\n  \
         tokenFile: fga.token\n  userType: user\n  relations: {{ GET: reader, PUT: writer }}\n  \
         consistency: HigherConsistency\n  objects: [{{ path: \"/documents/{{id}}\", type: document, id: \"{{id}}\" }}]",
        server.plain().await
    );
    let (mut sidecar, issuer) = sidecar("openfga", &spec, &[("fga.token", "key")]).await;
    let alice = issuer.token(&json!({}));
    assert!(ask(&mut sidecar, "GET", "/documents/7", &alice).await.allowed);
    assert_eq!(ask(&mut sidecar, "PUT", "/documents/7", &alice).await.status, 403);
    assert_eq!(ask(&mut sidecar, "GET", "/documents/8", &alice).await.status, 403);
    assert_eq!(ask(&mut sidecar, "GET", "/documents/7", "").await.status, 403, "nobody");
    let asked = server.asked();
    // Names that would stand for a set of users or for everybody.
    for subject in ["document:7#reader", "*", "a b"] {
        let token = issuer.token(&json!({ "sub": subject }));
        assert_eq!(ask(&mut sidecar, "GET", "/documents/7", &token).await.status, 503, "{subject}");
    }
    assert_eq!(server.asked(), asked, "they are never sent");
    // A mistake of ours is no answer about the user.
    server.judges(|_| answers(400, &json!({ "code": "validation_error", "message": "x" })));
    assert_eq!(ask(&mut sidecar, "GET", "/documents/9", &alice).await.status, 503);
    let log = sidecar.stop().await;
    assert_eq!(last_record(&log)["code"], "engine_unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_asked_for_access() {
    let server = Server::new(|question| {
        if question.path != "/apis/authorization.k8s.io/v1/subjectaccessreviews" {
            return answers(404, &json!({ "kind": "Status" }));
        }
        let mut review = question.json();
        let spec = review["spec"].clone();
        let allowed = review["kind"] == "SubjectAccessReview"
            && question.header("authorization") == "Bearer ours"
            && spec["user"] == "sso:alice"
            && spec["groups"] == json!([])
            && spec["resourceAttributes"]
                == json!({ "verb": "get", "group": "shop.example", "resource": "orders", "namespace": "shop", "name": "7" });
        review["status"] = json!({ "allowed": allowed });
        answers(201, &review)
    });
    let spec = format!(
        "subjectAccessReview:\n  url: \"{}\"\n  tokenFile: api.token\n  userPrefix: \"sso:\"\n  \
         resource: {{ path: \"/orders/{{name}}\", group: shop.example, resource: orders, namespace: shop, name: \"{{name}}\" }}",
        server.plain().await
    );
    let (mut sidecar, issuer) = sidecar("review", &spec, &[("api.token", "ours")]).await;
    let alice = issuer.token(&json!({}));
    let bob = issuer.token(&json!({ "sub": "bob" }));
    assert!(ask(&mut sidecar, "GET", "/orders/7", &alice).await.allowed);
    assert_eq!(ask(&mut sidecar, "DELETE", "/orders/7", &alice).await.status, 403);
    assert_eq!(ask(&mut sidecar, "GET", "/orders/7", &bob).await.status, 403);
    assert_eq!(ask(&mut sidecar, "GET", "/orders/7", "").await.status, 403, "nobody");
    server.judges(|_| answers(403, &json!({ "kind": "Status", "code": 403 })));
    assert_eq!(ask(&mut sidecar, "GET", "/orders/8", &alice).await.status, 503);
    drop(sidecar.stop().await);
}
