//! Which pods get a gate.

use super::*;

#[test]
fn the_pods_word_counts_before_that_of_its_namespace() {
    let with = |metadata: &Value, labels: &Value| {
        let labels = serde_json::from_value(labels.clone()).unwrap();
        inject(&pod(metadata, &json!({})), &Namespace { labels }, &settings(&json!({})), &key())
    };
    let gets = |metadata: Value, labels: Value| match with(&metadata, &labels).unwrap() {
        Outcome::Injected { .. } => "injected",
        Outcome::Skipped(skip) => skip.reason(),
    };
    let label = |value: &str| json!({ "labels": { INJECT: value } });
    let annotation = |value: &str| json!({ "annotations": { INJECT: value } });
    let (on, off) = (json!({ INJECT: "enabled" }), json!({ INJECT: "disabled" }));
    assert_eq!(gets(json!({}), json!({})), "NotAsked");
    assert_eq!(gets(json!({}), on.clone()), "injected");
    assert_eq!(gets(json!({}), off.clone()), "OptedOut");
    assert_eq!(gets(label("enabled"), off.clone()), "injected");
    assert_eq!(gets(annotation("enabled"), json!({})), "injected");
    assert_eq!(gets(label("disabled"), on.clone()), "OptedOut");
    assert_eq!(gets(annotation("disabled"), on.clone()), "OptedOut");
    let mut both = label("enabled");
    both["annotations"] = json!({ INJECT: "disabled" });
    assert_eq!(with(&both, &on), Err(Refused::Contradiction(INJECT)));
    for bad in ["true", "", "Enabled"] {
        assert!(matches!(with(&label(bad), &on), Err(Refused::Value { .. })), "{bad}");
        assert!(matches!(with(&json!({}), &json!({ INJECT: bad })), Err(Refused::Value { .. })));
    }
    let canary = json!({ INJECT: "enabled", REVISION: "canary" });
    assert_eq!(gets(json!({}), canary.clone()), "OtherRevision");
    assert_eq!(gets(json!({ "labels": { REVISION: "default" } }), canary), "injected");
    assert_eq!(gets(json!({ "labels": { REVISION: "canary" } }), on), "OtherRevision");
}

#[test]
fn what_can_have_no_gate_is_told_and_never_half_injected() {
    let none = json!({});
    let cases = [
        (pod(&none, &json!({ "hostNetwork": true })), "HostNetwork"),
        (pod(&none, &json!({ "os": { "name": "windows" } })), "Windows"),
        (pod(&none, &json!({ "nodeSelector": { "kubernetes.io/os": "windows" } })), "Windows"),
        (pod(&none, &json!({ "securityContext": { "runAsUser": 1337 } })), "GateUser"),
        (
            pod(
                &none,
                &json!({ "initContainers": [{ "name": "i", "securityContext": { "runAsUser": 1338 } }] }),
            ),
            "GateUser",
        ),
        (
            pod(&json!({ "annotations": { "kubernetes.io/config.mirror": "x" } }), &none),
            "NoServiceAccount",
        ),
    ];
    let strict = settings(&json!({ "unguarded": "Refuse" }));
    for (pod, reason) in cases {
        let skip = skipped(&pod);
        assert_eq!(skip.reason(), reason);
        assert!(skip.is_unguarded());
        let refused = inject(&pod, &enabled(), &strict, &key());
        assert_eq!(refused, Err(Refused::Unguarded(skip)));
    }
    // The container's own user counts, not the pod's.
    let own = json!({ "securityContext": { "runAsUser": 1337 }, "containers": [{ "name": "app", "securityContext": { "runAsUser": 1000 } }] });
    injected(&pod(&none, &own));
    injected(&pod(&none, &json!({ "hostNetwork": false, "os": { "name": "linux" } })));
}
