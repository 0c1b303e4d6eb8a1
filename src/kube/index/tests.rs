use super::*;

const ROOT: &str = "hopgate-system";

fn object(kind: &str, name: &str, spec: &serde_json::Value) -> Held {
    let (namespace, name) = name.split_once('/').unwrap();
    let object = serde_json::json!({
        "apiVersion": "hopgate.dev/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": name, "namespace": namespace, "uid": "u", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{ "manager": "kubectl" }],
        },
        "spec": spec,
        "status": { "revision": "a" },
    });
    Held::read(&object).unwrap()
}

fn policy(name: &str, selector: Option<&str>) -> Held {
    let mut spec = serde_json::json!({ "rules": [{ "name": "r", "deny": {} }] });
    if let Some(app) = selector {
        spec["selector"] = serde_json::json!({ "matchLabels": { "app": app } });
    }
    object("AccessPolicy", name, &spec)
}

fn provider(name: &str) -> Held {
    let spec = serde_json::json!({
        "issuer": "https://sso.example", "audiences": ["a"], "keys": { "discovery": {} },
    });
    object("IdentityProvider", name, &spec)
}

fn mesh(name: &str, created: &str) -> Held {
    let mut held = object("MeshPolicy", name, &serde_json::json!({ "trustedHops": 1 }));
    created.clone_into(&mut held.created);
    held
}

fn pod(uid: &str, namespace: &str, app: &str) -> Pod {
    Pod {
        uid: uid.to_owned(),
        namespace: namespace.to_owned(),
        name: format!("{app}-0"),
        service_account: app.to_owned(),
        labels: [("app".to_owned(), app.to_owned())].into(),
        addresses: Vec::new(),
        gate: None,
    }
}

/// All of it, heard in full.
fn index(resources: &[Held], pods: Vec<Pod>) -> Index {
    let mut index = Index::new(ROOT);
    for definition in DEFINITIONS {
        let of_kind = resources.iter().filter(|held| held.key.kind == definition.kind).cloned();
        index.apply(Change::Resources(definition.kind, Heard::All(of_kind.collect())));
    }
    index.apply(Change::Pods(Heard::All(pods)));
    index
}

fn selected(index: &Index, uid: &str, account: (&str, &str)) -> Option<Vec<String>> {
    let keys = index.selected(uid, account)?;
    Some(keys.iter().map(|key| format!("{}/{}", key.namespace, key.name)).collect())
}

#[test]
fn a_pod_gets_what_selects_it_and_nothing_else() {
    let index = index(
        &[
            policy("shop/all", None),
            policy("shop/orders", Some("orders")),
            policy("shop/payments", Some("payments")),
            policy("other/all", None),
            policy("hopgate-system/mesh-wide", None),
            policy("hopgate-system/of-orders", Some("orders")),
            policy("hopgate-system/of-payments", Some("payments")),
            provider("shop/sso"),
            provider("other/sso"),
            provider("hopgate-system/corporate"),
            mesh("hopgate-system/mesh", "2026-01-01T00:00:00Z"),
        ],
        vec![pod("1", "shop", "orders"), pod("2", ROOT, "control")],
    );
    let orders = selected(&index, "1", ("shop", "orders")).unwrap();
    let expected = [
        "hopgate-system/mesh-wide",
        "hopgate-system/of-orders",
        "hopgate-system/corporate",
        "hopgate-system/mesh",
        "shop/all",
        "shop/orders",
        "shop/sso",
    ];
    assert_eq!(orders, expected);
    // In the root namespace itself each counts once.
    let control = selected(&index, "2", (ROOT, "control")).unwrap();
    assert_eq!(
        control,
        ["hopgate-system/mesh-wide", "hopgate-system/corporate", "hopgate-system/mesh"]
    );
}

#[test]
fn nobody_gets_what_a_pod_of_somebody_else_gets() {
    let index = index(&[policy("shop/all", None)], vec![pod("1", "shop", "orders")]);
    assert!(selected(&index, "1", ("shop", "orders")).is_some());
    for other in [("shop", "payments"), ("other", "orders")] {
        assert_eq!(selected(&index, "1", other), None);
    }
    assert_eq!(selected(&index, "2", ("shop", "orders")), None);
    assert_eq!(selected(&index, "", ("shop", "orders")), None);
}

#[test]
fn nothing_is_known_before_everything_was_heard() {
    let mut index = Index::new(ROOT);
    index.apply(Change::Pods(Heard::All(vec![pod("1", "shop", "orders")])));
    for definition in DEFINITIONS {
        assert!(!index.is_whole());
        assert_eq!(selected(&index, "1", ("shop", "orders")), None);
        // What is heard one by one is not all there is, and an error is not nothing.
        index.apply(Change::Resources(definition.kind, Heard::Failed("no answer".to_owned())));
        assert!(index.missing().contains(&definition.kind));
        index.apply(Change::Resources(definition.kind, Heard::All(Vec::new())));
    }
    assert_eq!(selected(&index, "1", ("shop", "orders")), Some(Vec::new()));
}

#[test]
fn an_error_takes_nothing_away_and_a_new_list_does() {
    let all = [policy("shop/a", None), policy("shop/b", None)];
    let mut index = index(&all, vec![pod("1", "shop", "orders")]);
    let mut after = |change| {
        index.apply(change);
        selected(&index, "1", ("shop", "orders")).map(|names| names.len())
    };
    assert_eq!(after(Change::Resources("AccessPolicy", Heard::Failed("503".to_owned()))), Some(2));
    assert_eq!(after(Change::Pods(Heard::Failed("503".to_owned()))), Some(2));
    let a = policy("shop/a", None);
    assert_eq!(after(Change::Resources("AccessPolicy", Heard::Gone(a))), Some(1));
    let c = policy("shop/c", None);
    assert_eq!(after(Change::Resources("AccessPolicy", Heard::Put(c.clone()))), Some(2));
    assert_eq!(after(Change::Resources("AccessPolicy", Heard::All(vec![c]))), Some(1));
    assert_eq!(after(Change::Resources("IdentityProvider", Heard::All(Vec::new()))), Some(1));
    assert_eq!(after(Change::Pods(Heard::Gone(pod("1", "shop", "orders")))), None);
}

#[test]
fn a_label_that_changes_changes_what_is_selected() {
    let mut index =
        index(&[policy("shop/orders", Some("orders"))], vec![pod("1", "shop", "orders")]);
    assert_eq!(selected(&index, "1", ("shop", "orders")).unwrap().len(), 1);
    let mut other = pod("1", "shop", "orders");
    other.labels.insert("app".to_owned(), "payments".to_owned());
    index.apply(Change::Pods(Heard::Put(other)));
    assert!(selected(&index, "1", ("shop", "orders")).unwrap().is_empty());
}

/// Whoever has an earlier version of it must not hear that it is gone.
#[test]
fn what_does_not_parse_is_for_the_whole_namespace() {
    let bad = object(
        "AccessPolicy",
        "shop/bad",
        &serde_json::json!({
            "selector": { "matchLabels": { "app": "payments" } },
            "rules": [{ "name": "r", "deny": { "usres": {} } }],
        }),
    );
    let index =
        index(std::slice::from_ref(&bad), vec![pod("1", "shop", "orders"), pod("2", "other", "a")]);
    assert_eq!(selected(&index, "1", ("shop", "orders")).unwrap(), ["shop/bad"]);
    assert!(selected(&index, "2", ("other", "a")).unwrap().is_empty());
    let Verdict::Invalid(words) = Index::verdict(&bad, &index.neighbours()) else {
        panic!("it is taken")
    };
    assert!(words.starts_with("spec.rules[0].deny.usres: unknown field"), "{words}");
}

#[test]
fn one_mesh_policy_counts_the_oldest_of_the_root() {
    let (old, new) = (
        mesh("hopgate-system/z", "2026-01-01T00:00:00Z"),
        mesh("hopgate-system/a", "2026-02-01T00:00:00Z"),
    );
    let elsewhere = mesh("shop/mesh", "2025-01-01T00:00:00Z");
    let all = [old.clone(), new.clone(), elsewhere.clone()];
    let mut index = index(&all, vec![pod("1", "shop", "orders")]);
    assert_eq!(selected(&index, "1", ("shop", "orders")).unwrap(), ["hopgate-system/z"]);
    assert_eq!(Index::verdict(&old, &index.neighbours()), Verdict::Accepted);
    let says = |held: &Held, word: &str| {
        let Verdict::Displaced(words) = Index::verdict(held, &index.neighbours()) else {
            panic!("it counts")
        };
        assert!(words.contains(word), "{words}");
    };
    says(&new, "the MeshPolicy z is older");
    says(&elsewhere, "in the namespace hopgate-system only");
    index.apply(Change::Resources("MeshPolicy", Heard::Gone(old)));
    assert_eq!(selected(&index, "1", ("shop", "orders")).unwrap(), ["hopgate-system/a"]);
}

/// A rule of the whole mesh that names a provider would otherwise come to mean another one.
#[test]
fn a_namespace_takes_no_name_of_the_mesh() {
    let (ours, theirs) = (provider("hopgate-system/sso"), provider("shop/sso"));
    let all = [ours.clone(), theirs.clone()];
    let index = index(&all, vec![pod("1", "shop", "orders")]);
    assert_eq!(selected(&index, "1", ("shop", "orders")).unwrap(), ["hopgate-system/sso"]);
    assert!(matches!(Index::verdict(&theirs, &index.neighbours()), Verdict::Displaced(_)));
    assert_eq!(Index::verdict(&ours, &index.neighbours()), Verdict::Accepted);
}

#[test]
fn a_document_is_what_was_written() {
    let held = policy("shop/orders", Some("orders"));
    let document: serde_json::Value = serde_json::from_str(&held.document).unwrap();
    let metadata = serde_json::json!({ "name": "orders", "namespace": "shop" });
    assert_eq!(document["metadata"], metadata);
    assert!(document.get("status").is_none());
    assert_eq!((held.generation, held.status["revision"].as_str()), (3, Some("a")));
}

/// It could not be sent, and what cannot be sent must not look like what is gone.
#[test]
fn what_is_too_long_to_be_told_is_told_without_content() {
    let paths: Vec<String> = (0..40_000).map(|n| format!("/a-rather-long-path/{n}")).collect();
    let rule = serde_json::json!({ "name": "r", "deny": { "requests": [{ "paths": paths }] } });
    let held = object("AccessPolicy", "shop/long", &serde_json::json!({ "rules": [rule] }));
    assert!(held.document.is_empty());
    assert!(held.problem().unwrap().contains("can be told to sidecars"));
}
