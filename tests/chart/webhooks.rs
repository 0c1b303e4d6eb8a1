//! Which pods and resources the API server asks a control plane about, and what it does when nobody answers.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::server::{apply, namespace_account};
use super::{objects, rendered};
use crate::support::helm::Helm;
use crate::support::kube::{Namespace, resources_of};

/// The configurations of webhooks of a release in `home`, for these namespaces only.
fn configurations(home: &str, choice: &[&str], namespaces: &[&str]) -> Vec<Value> {
    let mut all = objects(&rendered(&Helm::new(), home, choice));
    all.retain(is_configuration);
    assert_eq!(all.len(), 2);
    for object in &mut all {
        keep_to(object, namespaces);
    }
    all
}

pub(super) fn is_configuration(object: &Value) -> bool {
    object["kind"].as_str().is_some_and(|kind| kind.ends_with("WebhookConfiguration"))
}

/// Other tests make pods too.
pub(super) fn keep_to(configuration: &mut Value, namespaces: &[&str]) {
    let own =
        json!({ "key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces });
    for webhook in configuration["webhooks"].as_array_mut().unwrap() {
        if webhook.get("namespaceSelector").is_none() {
            webhook["namespaceSelector"] = json!({});
        }
        let expressions = &mut webhook["namespaceSelector"]["matchExpressions"];
        match expressions.as_array_mut() {
            Some(expressions) => expressions.push(own.clone()),
            None => *expressions = json!([own]),
        }
    }
}

pub(super) async fn label(namespace: &Namespace, labels: &Value) {
    let all: Api<core::Namespace> = Api::all(namespace.client.clone());
    // All that any case sets, so that nothing is left of the one before.
    let mut whole = json!({ "hopgate.dev/inject": null, "hopgate.dev/revision": null });
    whole.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
    let patch = json!({ "metadata": { "labels": whole } });
    all.patch(&namespace.name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// The webhook that is asked about this pod. Nobody answers, so the pod is refused with its name.
async fn asked_about_pod(namespace: &Namespace, metadata: &Value) -> Option<String> {
    let mut metadata = metadata.clone();
    metadata["generateName"] = "pod-".into();
    let pod: core::Pod = serde_json::from_value(json!({
        "metadata": metadata,
        "spec": { "containers": [{ "name": "app", "image": "example.invalid/app:1" }] },
    }))
    .unwrap();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    named(namespace.api::<core::Pod>().create(&dry, &pod).await)
}

fn named<T>(made: Result<T, kube::Error>) -> Option<String> {
    let error = made.err()?.to_string();
    let (_, rest) =
        error.split_once("failed calling webhook \"").unwrap_or_else(|| panic!("{error}"));
    Some(rest.split_once(".hopgate.dev\"").unwrap().0.to_owned())
}

#[tokio::test]
async fn each_pod_is_asked_about_where_its_labels_say_and_refused_when_nobody_answers() {
    let (home, shop) = (Namespace::new("webhooks").await, Namespace::new("shop").await);
    namespace_account(&home).await;
    namespace_account(&shop).await;
    let both = [home.name.as_str(), shop.name.as_str()];
    let canary = ["--set", "revision=canary,crds.install=false"];
    let mut made = configurations(&home.name, &[], &both);
    made.extend(configurations(&home.name, &canary, &both));
    for object in &made {
        apply(&home.client, object, false).await.unwrap();
    }
    let (inject, revision) = ("hopgate.dev/inject", "hopgate.dev/revision");
    let cases = [
        // Nobody asks for anything.
        (json!({}), json!({}), None),
        (json!({ revision: "canary" }), json!({}), None),
        (json!({}), json!({ "labels": { "app": "shop" }, "annotations": { "a": "b" } }), None),
        // The namespace asks.
        (json!({ inject: "enabled" }), json!({}), Some("namespace-unnamed.default.inject")),
        (
            json!({ inject: "enabled" }),
            json!({ "labels": { "app": "shop" } }),
            Some("namespace-unnamed.default.inject"),
        ),
        (json!({ inject: "enabeld" }), json!({}), Some("namespace-unnamed.default.inject")),
        (
            json!({ inject: "disabled" }),
            json!({ "labels": { inject: "enabled" } }),
            Some("namespace-unnamed.default.inject"),
        ),
        (
            json!({ inject: "enabled", revision: "default" }),
            json!({}),
            Some("namespace-named.default.inject"),
        ),
        (
            json!({ inject: "enabled", revision: "canary" }),
            json!({}),
            Some("namespace-named.canary.inject"),
        ),
        // The pod asks.
        (json!({}), json!({ "labels": { inject: "enabled" } }), Some("pod-unnamed.default.inject")),
        (
            json!({}),
            json!({ "annotations": { inject: "enabled" } }),
            Some("pod-unnamed.default.inject"),
        ),
        (
            json!({ revision: "default" }),
            json!({ "labels": { inject: "enabled" } }),
            Some("pod-named.default.inject"),
        ),
        (
            json!({ revision: "canary" }),
            json!({ "labels": { inject: "enabled" } }),
            Some("pod-named.canary.inject"),
        ),
        // The pod names another revision than its namespace.
        (
            json!({ inject: "enabled" }),
            json!({ "labels": { revision: "canary" } }),
            Some("pod-elsewhere.canary.inject"),
        ),
        (
            json!({}),
            json!({ "labels": { inject: "enabled", revision: "canary" } }),
            Some("pod-elsewhere.canary.inject"),
        ),
        (
            json!({ inject: "enabled", revision: "canary" }),
            json!({ "labels": { revision: "default" } }),
            Some("pod-elsewhere.default.inject"),
        ),
        (
            json!({ inject: "enabled" }),
            json!({ "labels": { revision: "default" } }),
            Some("namespace-unnamed.default.inject"),
        ),
    ];
    // The API server hears of new configurations and labels a moment later.
    for (labels, metadata, expected) in cases {
        label(&shop, &labels).await;
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let asked = asked_about_pod(&shop, &metadata).await;
            if asked.as_deref() == expected {
                break;
            }
            assert!(
                std::time::Instant::now() < end,
                "{labels} {metadata}: {asked:?}, not {expected:?}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
    // The control plane can start where it lives, whatever is written there.
    label(&home, &json!({ inject: "enabled" })).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    for metadata in [
        json!({}),
        json!({ "labels": { inject: "enabled" } }),
        json!({ "labels": { revision: "canary" } }),
    ] {
        assert_eq!(asked_about_pod(&home, &metadata).await, None, "{metadata}");
    }

    // A policy that nobody judges is not stored.
    let policy = json!({
        "apiVersion": "hopgate.dev/v1alpha1", "kind": "AccessPolicy",
        "metadata": { "name": "orders", "namespace": shop.name },
        "spec": { "rules": [{ "name": "all", "allow": { "peers": ["ns/a/sa/b"] } }] },
    });
    let policies = resources_of(&shop, "AccessPolicy");
    let dry = PatchParams { dry_run: true, ..PatchParams::apply("test") };
    for (labels, expected) in
        [(json!({}), "default.validate"), (json!({ revision: "canary" }), "canary.validate")]
    {
        label(&shop, &labels).await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let asked = named(policies.patch("orders", &dry, &Patch::Apply(&policy)).await).unwrap();
        // Of the canary's namespaces both are asked.
        assert!(asked == expected || asked == "default.validate", "{asked}");
    }
    for object in &made {
        unregister(&home.client, object).await;
    }
}

pub(super) async fn unregister(client: &kube::Client, configuration: &Value) {
    let name = configuration["metadata"]["name"].as_str().unwrap();
    let parameters = DeleteParams::default();
    if configuration["kind"] == "MutatingWebhookConfiguration" {
        let all: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        all.delete(name, &parameters).await.unwrap();
    } else {
        let all: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
        all.delete(name, &parameters).await.unwrap();
    }
}
