use super::*;

fn policy(spec: &Value) -> Value {
    json!({
        "apiVersion": "hopgate.dev/v1alpha1",
        "kind": "AccessPolicy",
        "metadata": {
            "name": "orders", "namespace": "shop", "uid": "u", "generation": 1,
            "managedFields": [{ "manager": "kubectl" }], "labels": { "a": "b" },
        },
        "spec": spec,
    })
}

fn review(operation: &str, object: &Value, before: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5", "operation": operation, "namespace": "shop",
            "object": object, "oldObject": before,
        },
    })
}

fn neighbours() -> Neighbours {
    let mesh =
        ResourceKey { namespace: "root".to_owned(), kind: "MeshPolicy", name: "mesh".to_owned() };
    let sso = ResourceKey { kind: "IdentityProvider", name: "sso".to_owned(), ..mesh.clone() };
    Neighbours::new("root", [&sso, &mesh].into_iter(), Some("mesh"))
}

/// Whether it is allowed, and the words.
fn answered(review: &Value) -> (bool, String) {
    let answer = validate(review.to_string().as_bytes(), &neighbours()).unwrap();
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    let response = &answer["response"];
    assert_eq!(response["uid"], "705ab4f5");
    let message = response["status"]["message"].as_str().unwrap_or_default().to_owned();
    let warnings = response["warnings"].as_array().cloned().unwrap_or_default();
    let warnings: Vec<&str> = warnings.iter().filter_map(Value::as_str).collect();
    (response["allowed"].as_bool().unwrap(), format!("{message}{}", warnings.join("\n")))
}

fn created(object: &Value) -> (bool, String) {
    answered(&review("CREATE", object, &Value::Null))
}

#[test]
fn what_the_parser_takes_is_let_in_and_what_it_does_not_is_refused_in_its_words() {
    let good = json!({ "rules": [{ "name": "r", "allow": { "peers": ["ns/shop/sa/web"] } }] });
    assert_eq!(created(&policy(&good)), (true, String::new()));
    let bad = json!({ "rules": [{ "name": "r", "allow": { "peers": ["*"], "usrs": {} } }] });
    let (allowed, words) = created(&policy(&bad));
    assert!(!allowed);
    assert!(words.starts_with("spec.rules[0].allow.usrs: unknown field `usrs`"), "{words}");
    assert!(words.contains("did you mean `users`?"), "{words}");
    let condition =
        json!({ "rules": [{ "name": "r", "allow": { "users": {}, "when": "user.sub ==" } }] });
    assert!(!created(&policy(&condition)).0);
    // A selector that stands too far out would be no selector.
    let mut outside = policy(&good);
    outside["selector"] = json!({ "matchLabels": { "app": "a" } });
    assert!(created(&outside).1.contains("unknown field `selector`"));
}

#[test]
fn what_was_probably_not_meant_is_warned_of() {
    let open =
        json!({ "rules": [{ "name": "r", "allow": { "requests": [{ "paths": ["/**"] }] } }] });
    let (allowed, words) = created(&policy(&open));
    assert!(allowed && words.contains("shop/orders#r"), "{words}");
    let mut known = policy(&open);
    known["metadata"]["annotations"] = json!({ "hopgate.dev/check-ignore": "open" });
    assert_eq!(created(&known), (true, String::new()));
}

#[test]
fn a_change_that_says_nothing_new_is_let_through() {
    let bad = policy(&json!({ "rules": [] }));
    assert!(!created(&bad).0);
    let mut labelled = bad.clone();
    labelled["metadata"]["labels"] = json!({ "c": "d" });
    labelled["status"] = json!({ "revision": "1" });
    assert!(answered(&review("UPDATE", &labelled, &bad)).0);
    let other = policy(&json!({ "rules": [{ "name": "r", "allow": {} }] }));
    assert!(!answered(&review("UPDATE", &other, &bad)).0);
    assert!(answered(&review("DELETE", &Value::Null, &bad)).0);
}

#[test]
fn neighbours_are_heeded() {
    let object = |kind: &str, namespace: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": "hopgate.dev/v1alpha1", "kind": kind,
            "metadata": { "name": name, "namespace": namespace }, "spec": spec,
        })
    };
    let mesh = |namespace, name| {
        created(&object("MeshPolicy", namespace, name, json!({ "trustedHops": 1 })))
    };
    assert_eq!(mesh("root", "mesh"), (true, String::new()));
    assert!(mesh("root", "second").1.contains("a mesh has one"));
    assert!(mesh("shop", "mesh").1.contains("in the namespace root only"));
    let spec =
        json!({ "issuer": "https://sso.example", "audiences": ["a"], "keys": { "discovery": {} } });
    let provider =
        |namespace, name| created(&object("IdentityProvider", namespace, name, spec.clone()));
    assert!(provider("root", "sso").0 && provider("shop", "own").0);
    assert!(provider("shop", "sso").1.contains("of the whole mesh"));
}

#[test]
fn a_name_that_is_not_there_yet_is_no_mistake() {
    let mut object = policy(&json!({ "rules": [{ "name": "r", "deny": {} }] }));
    object["metadata"] = json!({ "generateName": "orders-" });
    assert_eq!(created(&object), (true, String::new()));
}

#[test]
fn what_is_no_review_is_no_yes() {
    let unknown = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "namespace": "b" } });
    assert!(!created(&unknown).0);
    let good = review("CREATE", &policy(&json!({})), &Value::Null);
    let without = |pointer: &str, field: &str| {
        let mut review = good.clone();
        review.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(field);
        validate(review.to_string().as_bytes(), &neighbours()).unwrap_err().to_string()
    };
    assert!(without("", "request").contains("no request"));
    assert!(without("/request", "uid").contains("request.uid"));
    assert!(without("/request", "operation").contains("request.operation"));
    assert!(without("/request", "object").contains("request.object"));
    assert!(without("", "apiVersion").contains("admission.k8s.io/v1"));
    assert!(validate(b"{", &neighbours()).is_err());
}
