//! What a real API server says of the chart.

use std::collections::BTreeSet;
use std::path::Path;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams, TypeMeta};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::{CHOICES, object, objects, rendered};
use crate::support::helm::{Helm, monitoring, text};
use crate::support::kube::{Namespace, server};

/// Applies an object as `kubectl apply --server-side` does, with strict field validation.
pub(super) async fn apply(
    client: &kube::Client,
    object: &Value,
    dry_run: bool,
) -> Result<(), kube::Error> {
    let types: TypeMeta = serde_json::from_value(object.clone()).unwrap();
    let kind = GroupVersionKind::try_from(&types).unwrap();
    let (resource, capabilities) = kube::discovery::pinned_kind(client, &kind).await?;
    let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    let name = object.metadata.name.clone().unwrap();
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let namespaced = capabilities.scope == kube::discovery::Scope::Namespaced;
    assert_eq!(namespaced, object.metadata.namespace.is_some(), "{kind:?} {name}");
    let parameters =
        PatchParams { dry_run, ..PatchParams::apply("test").force().validation_strict() };
    api.patch(&name, &parameters, &Patch::Apply(&object)).await.map(drop)
}

/// The Prometheus operator's kinds, known to the server.
async fn teach_monitoring(client: &kube::Client) {
    for name in ["servicemonitors", "podmonitors"] {
        let text = std::fs::read_to_string(monitoring().join(format!("{name}.yaml"))).unwrap();
        apply(client, &objects(&text)[0], false).await.unwrap();
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        let name = format!("{name}.monitoring.coreos.com");
        loop {
            let status = definitions.get(&name).await.unwrap().status;
            let conditions = status.and_then(|status| status.conditions).unwrap_or_default();
            if conditions.iter().any(|one| one.type_ == "Established" && one.status == "True") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn an_api_server_takes_every_rendering() {
    let namespace = Namespace::new("chart").await;
    teach_monitoring(&namespace.client).await;
    namespace_account(&namespace).await;
    let helm = Helm::new();
    for (name, choice) in CHOICES {
        let mut applied = 0;
        for object in objects(&rendered(&helm, &namespace.name, choice)) {
            apply(&namespace.client, &object, true)
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}\n{object:#}"));
            applied += 1;
        }
        assert!(applied >= 8, "{name}: {applied}");
    }
    // The server does refuse.
    let all = objects(&rendered(&helm, &namespace.name, &[]));
    let mut strange = object(&all, "Deployment").clone();
    strange["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = json!("Always");
    let error = apply(&namespace.client, &strange, true).await.unwrap_err().to_string();
    assert!(error.contains("imagePullPolice"), "{error}");
}

/// The profile `restricted` of the Pod Security Standards, enforced by the API server itself.
#[tokio::test]
async fn its_pods_keep_to_the_restricted_profile() {
    let namespace = Namespace::new("restricted").await;
    let enforce =
        json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
    let namespaces: Api<core::Namespace> = Api::all(namespace.client.clone());
    namespaces
        .patch(&namespace.name, &PatchParams::default(), &Patch::Merge(enforce))
        .await
        .unwrap();
    namespace_account(&namespace).await;
    let helm = Helm::new();
    let pods: Api<core::Pod> = namespace.api();
    let mut made = 0;
    for (name, choice) in CHOICES {
        let mut hooks = choice.to_vec();
        hooks.extend(["--set", "control.priorityClass.create=false"]);
        for object in objects(&rendered(&helm, &namespace.name, &hooks)) {
            let spec = match object["kind"].as_str().unwrap() {
                "Deployment" => &object["spec"]["template"]["spec"],
                "Pod" => &object["spec"],
                _ => continue,
            };
            let mut spec = spec.clone();
            spec["serviceAccountName"] = json!("default");
            let pod = |spec: &Value| -> core::Pod {
                serde_json::from_value(
                    json!({ "metadata": { "generateName": "pod-" }, "spec": spec }),
                )
                .unwrap()
            };
            let dry = PostParams { dry_run: true, ..PostParams::default() };
            pods.create(&dry, &pod(&spec)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            spec["securityContext"]["seccompProfile"] = Value::Null;
            let error = pods.create(&dry, &pod(&spec)).await.unwrap_err().to_string();
            assert!(error.contains("seccompProfile"), "{error}");
            made += 1;
        }
    }
    assert!(made > CHOICES.len(), "{made}");
}

/// The account that a controller would make in each namespace.
pub(super) async fn namespace_account(namespace: &Namespace) {
    let accounts: Api<core::ServiceAccount> = namespace.api();
    if accounts.get_opt("default").await.unwrap().is_none() {
        namespace.service_account("default").await;
    }
}

/// May the control plane's account do this?
async fn may(namespace: &Namespace, account: &str, attributes: Value) -> bool {
    let review: SubjectAccessReview = serde_json::from_value(json!({ "spec": {
        "user": format!("system:serviceaccount:{}:{account}", namespace.name),
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "resourceAttributes": attributes,
    } }))
    .unwrap();
    let reviews: Api<SubjectAccessReview> = Api::all(namespace.client.clone());
    reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
}

#[tokio::test]
async fn the_control_plane_may_do_what_it_needs_and_no_more() {
    let namespace = Namespace::new("rights").await;
    for object in objects(&rendered(&Helm::new(), &namespace.name, &[])) {
        let kind = object["kind"].as_str().unwrap();
        if kind == "ServiceAccount" || kind.contains("Role") {
            apply(&namespace.client, &object, false).await.unwrap();
        }
    }
    let (own, other) = (namespace.name.as_str(), "kube-system");
    let (secret, elsewhere) = ("hopgate-ca", "another");
    let (mutating, validating) =
        ("mutatingwebhookconfigurations", "validatingwebhookconfigurations");
    let (admission, registered) =
        ("admissionregistration.k8s.io", format!("hopgate-control-{own}"));
    for (allowed, attributes) in [
        (
            true,
            json!({ "verb": "create", "group": "authentication.k8s.io", "resource": "tokenreviews" }),
        ),
        (true, json!({ "verb": "get", "resource": "pods", "namespace": other, "name": "any" })),
        (true, json!({ "verb": "get", "resource": "namespaces", "name": other })),
        (false, json!({ "verb": "list", "resource": "namespaces" })),
        (true, json!({ "verb": "create", "resource": "events", "namespace": other })),
        (
            true,
            json!({ "verb": "patch", "group": admission, "resource": mutating, "name": registered }),
        ),
        (
            true,
            json!({ "verb": "patch", "group": admission, "resource": validating, "name": registered }),
        ),
        (
            false,
            json!({ "verb": "patch", "group": admission, "resource": mutating, "name": elsewhere }),
        ),
        (false, json!({ "verb": "create", "group": admission, "resource": mutating })),
        (
            true,
            json!({ "verb": "patch", "resource": "configmaps", "namespace": other, "name": "hopgate-trust" }),
        ),
        (true, json!({ "verb": "list", "resource": "configmaps", "name": "hopgate-trust" })),
        (false, json!({ "verb": "list", "resource": "configmaps" })),
        (
            false,
            json!({ "verb": "patch", "resource": "configmaps", "namespace": other, "name": elsewhere }),
        ),
        (
            false,
            json!({ "verb": "get", "resource": "configmaps", "namespace": other, "name": elsewhere }),
        ),
        (true, json!({ "verb": "watch", "resource": "pods" })),
        (true, json!({ "verb": "list", "group": "hopgate.dev", "resource": "accesspolicies" })),
        (
            true,
            json!({ "verb": "patch", "group": "hopgate.dev", "resource": "accesspolicies", "subresource": "status", "namespace": other, "name": "any" }),
        ),
        (
            false,
            json!({ "verb": "patch", "group": "hopgate.dev", "resource": "accesspolicies", "namespace": other, "name": "any" }),
        ),
        (
            false,
            json!({ "verb": "create", "group": "hopgate.dev", "resource": "accesspolicies", "namespace": other }),
        ),
        (false, json!({ "verb": "create", "resource": "pods", "namespace": own })),
        (false, json!({ "verb": "delete", "resource": "pods", "namespace": own, "name": "any" })),
        (
            false,
            json!({ "verb": "create", "resource": "pods", "subresource": "exec", "namespace": own, "name": "any" }),
        ),
        (true, json!({ "verb": "get", "resource": "secrets", "namespace": own, "name": secret })),
        (
            true,
            json!({ "verb": "update", "resource": "secrets", "namespace": own, "name": secret }),
        ),
        (true, json!({ "verb": "create", "resource": "secrets", "namespace": own })),
        (
            false,
            json!({ "verb": "get", "resource": "secrets", "namespace": own, "name": elsewhere }),
        ),
        (
            false,
            json!({ "verb": "update", "resource": "secrets", "namespace": own, "name": elsewhere }),
        ),
        (false, json!({ "verb": "list", "resource": "secrets", "namespace": own })),
        (
            false,
            json!({ "verb": "get", "resource": "secrets", "namespace": other, "name": secret }),
        ),
        (false, json!({ "verb": "create", "resource": "secrets", "namespace": other })),
        (
            false,
            json!({ "verb": "create", "resource": "serviceaccounts", "subresource": "token", "namespace": own, "name": "default" }),
        ),
        (
            false,
            json!({ "verb": "update", "group": "rbac.authorization.k8s.io", "resource": "clusterroles", "name": "cluster-admin" }),
        ),
        (false, json!({ "verb": "impersonate", "resource": "users", "name": "admin" })),
        (false, json!({ "verb": "*", "group": "*", "resource": "*" })),
    ] {
        assert_eq!(
            may(&namespace, "hopgate-control", attributes.clone()).await,
            allowed,
            "{attributes}"
        );
    }
}

fn count(objects: &[Value]) -> usize {
    objects.iter().filter(|object| object["kind"] != "CustomResourceDefinition").count()
}

/// Which of the objects are there.
async fn present(client: &kube::Client, objects: &[Value]) -> usize {
    let mut found = 0;
    for object in objects {
        let types: TypeMeta = serde_json::from_value(object.clone()).unwrap();
        let kind = GroupVersionKind::try_from(&types).unwrap();
        let (resource, _) = kube::discovery::pinned_kind(client, &kind).await.unwrap();
        let name = object["metadata"]["name"].as_str().unwrap();
        let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        found += usize::from(api.get_opt(name).await.unwrap().is_some());
    }
    found
}

/// The whole life of a release. No node runs, so nothing waits for pods, and hooks that are pods are left out. It has a
/// revision, because the webhooks of the default one would judge the pods of other tests.
async fn life(helm: &Helm, prefix: &str) {
    let namespace = Namespace::new(prefix).await;
    let kubeconfig: &Path = &server().kubeconfig;
    let first = ["--set", "revision=first"];
    let run = |arguments: &[&str], choice: &[&str]| {
        let all = [arguments, choice, &["--no-hooks", "--namespace", &namespace.name]].concat();
        text(&helm.run_on(kubeconfig, &all))
    };
    // Other tests know the definitions too.
    let told = run(&["install", "hopgate", "hopgate", "--take-ownership"], &first);
    assert!(told.contains("STATUS: deployed"), "{told}");
    // The notes name what is there.
    for part in ["deployment/hopgate-control-first", "helm test hopgate", "secret hopgate-ca"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let all = objects(&rendered(helm, &namespace.name, &[&["--no-hooks"], &first[..]].concat()));
    assert_eq!(present(&namespace.client, &all).await, all.len());

    // What the control plane writes into its webhooks survives an upgrade.
    let name = object(&all, "MutatingWebhookConfiguration")["metadata"]["name"].as_str().unwrap();
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(namespace.client.clone());
    let root =
        json!([{ "op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "cm9vdA==" }]);
    let patch: Patch<()> = Patch::Json(serde_json::from_value(root).unwrap());
    webhooks.patch(name, &PatchParams::default(), &patch).await.unwrap();
    run(&["upgrade", "hopgate", "hopgate", "--values", "hopgate/values-ha.yaml"], &first);
    let kept =
        webhooks.get(name).await.unwrap().webhooks.unwrap()[0].client_config.ca_bundle.clone();
    assert_eq!(kept.unwrap().0, b"root");
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = namespace.api();
    let replicas = deployments.get("hopgate-control-first").await.unwrap().spec.unwrap().replicas;
    assert_eq!(replicas, Some(3));

    // Another revision beside it, which shares nothing that either would take from the other.
    let second = ["--set", "revision=second,crds.install=false"];
    run(&["install", "hopgate-second", "hopgate"], &second);
    assert_eq!(deployments.list(&ListParams::default()).await.unwrap().items.len(), 2);
    run(&["uninstall", "hopgate-second"], &[]);
    assert_eq!(present(&namespace.client, &all).await, all.len());

    run(&["uninstall", "hopgate"], &[]);
    let definitions = all.len() - count(&all);
    assert!(definitions > 0);
    assert_eq!(present(&namespace.client, &all).await, definitions, "only definitions stay");

    // A release of the same name takes over what stayed.
    run(&["install", "hopgate", "hopgate"], &first);
    run(&["uninstall", "hopgate"], &[]);
}

#[tokio::test]
async fn a_release_is_installed_upgraded_and_uninstalled() {
    life(&Helm::new(), "release").await;
}

/// Helm 3 takes minutes to build.
#[tokio::test]
async fn helm_3_installs_it_too() {
    if std::env::var_os("HOPGATE_LONG").is_none() {
        println!("of the longer target: make test-all");
        return;
    }
    let helm = Helm::three();
    text(&helm.run(&["lint", "hopgate", "--strict"]));
    for (name, choice) in CHOICES {
        let made = |helm: &Helm| {
            let all = objects(&rendered(helm, "mesh", choice));
            all.iter().map(Value::to_string).collect::<BTreeSet<_>>()
        };
        assert_eq!(made(&helm), made(&Helm::new()), "{name}");
    }
    life(&helm, "release-3").await;
}
