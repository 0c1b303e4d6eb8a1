//! `hopgate check` against a cluster of its own: bare, broken in each way, and well.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::rbac::v1::Role;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::running::{Running, injected};
use super::webhooks::label;
use crate::support::golden;
use crate::support::kube::{Namespace, alone, resources_of};
use crate::support::kubelet::Kubelet;

const PATIENCE: Duration = Duration::from_secs(30);

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn check(kubeconfig: &Path, arguments: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(["check", "--kubeconfig"])
        .arg(kubeconfig)
        .args(arguments)
        .env_clear()
        .output()
        .unwrap();
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The findings of one check, as JSON.
fn findings(of: &str) -> Vec<Value> {
    let said = check(&alone().kubeconfig, &["--output", "json"]);
    let told: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{}", said.stderr));
    let found = told["checks"].as_array().unwrap().iter().filter(|one| one["check"] == of);
    let found: Vec<Value> = found.cloned().collect();
    assert!(!found.is_empty(), "{of}: {told:#}");
    let worst = told["checks"].as_array().unwrap().iter().any(|one| one["level"] == "error");
    assert_eq!(said.code, Some(i32::from(worst)), "{told:#}");
    found
}

/// A finding has this level and these words, and tells what to do where all is not well.
fn says(one: &Value, level: &str, words: &str) -> bool {
    let text = format!("{} {}", one["seen"], one["items"]);
    one["level"] == level && text.contains(words) && (level == "ok" || one["next"].is_string())
}

/// One of the findings of a check is this.
#[track_caller]
fn finds(of: &str, level: &str, words: &str) {
    let found = findings(of);
    assert!(
        found.iter().any(|one| says(one, level, words)),
        "{of} is not {level} with {words:?}: {found:#?}"
    );
}

async fn eventually_finds(of: &str, level: &str, words: &str) {
    let end = Instant::now() + PATIENCE;
    while !findings(of).iter().any(|one| says(one, level, words)) {
        if Instant::now() > end {
            finds(of, level, words);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What the controllers of a cluster would do.
async fn deployed(namespace: &Namespace, running: &Running, kubelet: &Kubelet) {
    let deployments: Api<Deployment> = namespace.api();
    let deployment = deployments.get("hopgate-control").await.unwrap();
    let status = json!({ "status": {
        "observedGeneration": deployment.metadata.generation,
        "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
    } });
    let patch = PatchParams::default();
    deployments.patch_status("hopgate-control", &patch, &Patch::Merge(status)).await.unwrap();
    let template = serde_json::to_value(deployment.spec.unwrap().template).unwrap();
    let pod = json!({
        "metadata": { "name": "hopgate-control-1", "labels": template["metadata"]["labels"] },
        "spec": {
            "nodeName": kubelet.node,
            "containers": [{ "name": "control", "image": "example.invalid/hopgate:1" }],
        },
    });
    namespace.service_account("default").await;
    make(namespace, pod).await;
    namespace.pod_phase("hopgate-control-1", "Running").await;
    let admin = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), running.admin);
    kubelet.forward("hopgate-control-1", 15014, admin);
}

async fn make(namespace: &Namespace, pod: Value) {
    let pod: Pod = serde_json::from_value(pod).unwrap();
    namespace.api::<Pod>().create(&PostParams::default(), &pod).await.unwrap();
}

fn policy(name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "hopgate.dev/v1alpha1", "kind": "AccessPolicy", "metadata": { "name": name },
        "spec": {
            "selector": { "matchLabels": { "app": app } },
            "rules": [{ "name": "open", "allow": { "requests": [{ "paths": ["/open"] }] } }],
        },
    })
}

async fn apply(namespace: &Namespace, resource: &Value) {
    let kind = resource["kind"].as_str().unwrap();
    let name = resource["metadata"]["name"].as_str().unwrap();
    let ours = PatchParams::apply("team").force();
    resources_of(namespace, kind).patch(name, &ours, &Patch::Apply(resource)).await.unwrap();
}

async fn delete(namespace: &Namespace, kind: &str, name: &str) {
    resources_of(namespace, kind).delete(name, &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_told_what_it_lacks_until_it_is_well() {
    let server = alone();
    let home = Namespace::on(server, "hopgate-system").await;
    let shop = Namespace::on(server, "shop").await;
    shop.service_account("default").await;

    before_an_installation(&home).await;
    nothing_is_installed();

    label(&shop, &json!({ "hopgate.dev/inject": "enabled" })).await;
    let names = ["--set", "control.serverNames[0]=localhost,trustDomain=demo.mesh"];
    let running = Running::start(&home, &shop, &names).await;
    finds("control-plane/ready", "error", "0 of 1 pods are ready");
    let kubelet = Kubelet::start(&home).await;
    deployed(&home, &running, &kubelet).await;
    assert!(!injected(&shop).await.is_empty());
    label_pods(&shop, "orders").await;
    apply(&shop, &policy("orders", "orders")).await;
    eventually_finds("policies/accepted", "ok", "1 resource").await;

    let said = check(&server.kubeconfig, &[]);
    assert_eq!(said.code, Some(0), "{}{}{}", said.stdout, said.stderr, running.log());
    golden("check-well.txt", &said.stdout);

    definitions(&home).await;
    rights(&home).await;
    webhooks(&home, &shop).await;
    certificates(&home).await;
    workloads(&home, &shop).await;
    policies(&shop).await;
    plaintext(&home, &shop).await;
    reached(&kubelet, &running);

    // Everything was put right again.
    let said = check(&server.kubeconfig, &[]);
    golden("check-well.txt", &said.stdout);

    for pod in shop.api::<Pod>().list(&Default::default()).await.unwrap() {
        shop.delete_pod(&pod.metadata.name.unwrap()).await;
    }
    super::status::a_workload_is_shown_as_it_is((&home, &shop), &running, &kubelet).await;
}

async fn before_an_installation(home: &Namespace) {
    let said = check(&alone().kubeconfig, &["--before-install"]);
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    golden("check-before.txt", &said.stdout);

    // Somebody who may do nothing, and hears of each right.
    home.service_account("nobody").await;
    let directory = crate::support::Scratch::new("check");
    let nobody = directory.write("kubeconfig", &home.kubeconfig("nobody").await);
    let said = check(&nobody, &["--pre"]);
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    assert!(said.stdout.contains("you lack 117 rights of 117"), "{}", said.stdout);
    let said = check(&nobody, &[]);
    assert_eq!(said.code, Some(1));
    for of in ["definitions/kinds", "control-plane/installed", "workloads/gates"] {
        let line = said.stdout.lines().find(|line| line.contains(of)).unwrap();
        assert!(line.starts_with("error"), "{line}");
    }
    // Somebody who may make all that is made, but not give rights away that they do not have.
    home.allow("nobody", json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["create", "get", "patch", "delete"] }]))
        .await;
    let said = check(&nobody, &["--before-install"]);
    assert!(said.stdout.contains("- pods: list, watch\n"), "{}", said.stdout);
    assert!(!said.stdout.contains("create"), "{}", said.stdout);

    // Nobody answers there.
    let text =
        std::fs::read_to_string(&nobody).unwrap().replace(&alone().url, "https://127.0.0.1:9");
    let said = check(&directory.write("nowhere", &text), &[]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""));
    assert!(said.stderr.contains("https://127.0.0.1:9"), "{}", said.stderr);
    let said = check(&alone().kubeconfig, &["--context", "other"]);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
}

fn nothing_is_installed() {
    finds("control-plane/installed", "error", "there is none in the namespace hopgate-system");
    finds("definitions/kinds", "error", "AccessPolicy: is not there");
}

async fn label_pods(namespace: &Namespace, app: &str) {
    let pods: Api<Pod> = namespace.api();
    for pod in pods.list(&Default::default()).await.unwrap() {
        namespace.label_pod(&pod.metadata.name.unwrap(), app).await;
    }
}

async fn definitions(home: &Namespace) {
    let definitions: Api<CustomResourceDefinition> = Api::all(home.client.clone());
    let name = "accesspolicies.hopgate.dev";
    let before = definitions.get(name).await.unwrap();
    let mut other = before.clone();
    let schema = other.spec.versions[0].schema.as_mut().unwrap();
    schema.open_api_v3_schema.as_mut().unwrap().description =
        Some("Of another version.".to_owned());
    definitions.replace(name, &PostParams::default(), &other).await.unwrap();
    finds("definitions/kinds", "warning", "AccessPolicy");
    other = definitions.get(name).await.unwrap();
    other.spec = before.spec;
    definitions.replace(name, &PostParams::default(), &other).await.unwrap();
    finds("definitions/kinds", "ok", "of this version");
}

async fn rights(home: &Namespace) {
    let roles: Api<Role> = home.api();
    let role = roles.get("hopgate-control").await.unwrap();
    let mut poorer = role.clone();
    poorer.rules.as_mut().unwrap().remove(0);
    roles.replace("hopgate-control", &PostParams::default(), &poorer).await.unwrap();
    eventually_finds(
        "control-plane/rights",
        "error",
        "secrets hopgate-ca in hopgate-system: get, update, list, watch",
    )
    .await;
    let mut role = role;
    role.metadata.resource_version = None;
    roles.replace("hopgate-control", &PostParams::default(), &role).await.unwrap();
    eventually_finds("control-plane/rights", "ok", "all").await;
}

async fn webhooks(home: &Namespace, shop: &Namespace) {
    let api: Api<MutatingWebhookConfiguration> = Api::all(home.client.clone());
    let name = "hopgate-control-hopgate-system";
    let before = api.get(name).await.unwrap();
    let change = async |change: &dyn Fn(&mut Value)| {
        let mut now = serde_json::to_value(api.get(name).await.unwrap()).unwrap();
        for webhook in now["webhooks"].as_array_mut().unwrap() {
            change(webhook);
        }
        let now = serde_json::from_value(now).unwrap();
        api.replace(name, &PostParams::default(), &now).await.unwrap();
    };
    change(&|webhook| webhook["failurePolicy"] = "Ignore".into()).await;
    finds("webhooks/registered", "warning", "failurePolicy is Ignore");
    change(&|webhook| webhook["failurePolicy"] = "Fail".into()).await;

    // Nobody listens there.
    change(&|webhook| webhook["clientConfig"]["url"] = "https://127.0.0.1:9/inject".into()).await;
    eventually_finds("webhooks/injection", "error", "failed calling webhook").await;
    // It asks about nobody.
    change(&|webhook| webhook["objectSelector"] = json!({ "matchLabels": { "a": "b" } })).await;
    eventually_finds("webhooks/injection", "error", "would run without a gate").await;
    change(&|webhook| webhook["objectSelector"] = Value::Null).await;
    let urls: Vec<Value> = serde_json::to_value(&before).unwrap()["webhooks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|webhook| webhook["clientConfig"]["url"].clone())
        .collect();
    change(&|webhook| webhook["clientConfig"]["url"] = urls[0].clone()).await;
    let selectors = serde_json::to_value(&before).unwrap()["webhooks"].clone();
    change(&|webhook| {
        let was = selectors.as_array().unwrap().iter().find(|one| one["name"] == webhook["name"]);
        webhook["objectSelector"] = was.unwrap()["objectSelector"].clone();
    })
    .await;
    eventually_finds("webhooks/injection", "ok", "a pod in shop gets its gate").await;

    // Nobody asks for gates.
    label(shop, &json!({})).await;
    finds("webhooks/injection", "warning", "no namespace asks for gates of revision default");
    label(shop, &json!({ "hopgate.dev/inject": "enabled" })).await;

    let patch =
        json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "baseline" } } });
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(home.client.clone());
    namespaces.patch("shop", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    eventually_finds("webhooks/injection", "error", "violates PodSecurity").await;
    let patch = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": null } } });
    namespaces.patch("shop", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    eventually_finds("webhooks/injection", "ok", "a pod in shop gets its gate").await;
}

async fn certificates(home: &Namespace) {
    let maps: Api<ConfigMap> = home.api();
    let before = maps.get("hopgate-ca").await.unwrap().data.unwrap()["root.pem"].clone();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::hours(40 * 24 + 12);
    let soon = params.self_signed(&key).unwrap().pem();
    let put = async |pem: &str| {
        let patch = json!({ "data": { "root.pem": pem } });
        maps.patch("hopgate-ca", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    };
    // The control plane may put it right at any moment.
    for (pem, of, level, words) in [
        (&*soon, "certificates/roots", "warning", "good for 40 days"),
        (&*soon, "webhooks/registered", "error", "its caBundle is not the authority of the mesh"),
        ("nothing", "certificates/roots", "error", "not readable"),
    ] {
        let mut seen = false;
        for _ in 0..20 {
            put(pem).await;
            seen = findings(of).iter().any(|one| says(one, level, words));
            if seen {
                break;
            }
        }
        assert!(seen, "{of} is never {level} with {words:?}: {:#?}", findings(of));
    }
    put(&before).await;
    finds("certificates/roots", "ok", "good for");
}

async fn workloads(home: &Namespace, shop: &Namespace) {
    // Made before anybody asked.
    label(shop, &json!({})).await;
    shop.pod("early", "default").await;
    label(shop, &json!({ "hopgate.dev/inject": "enabled" })).await;
    finds("workloads/gates", "error", "shop/early");
    shop.delete_pod("early").await;
    let host = json!({
        "metadata": { "name": "agent" },
        "spec": { "hostNetwork": true, "containers": [{ "name": "a", "image": "example.invalid/a:1" }] },
    });
    make(shop, host).await;
    finds("workloads/gates", "warning", "shop/agent: HostNetwork");
    shop.delete_pod("agent").await;

    label(shop, &json!({ "hopgate.dev/inject": "enabled", "hopgate.dev/revision": "blue" })).await;
    finds("workloads/revisions", "error", "shop: blue");
    label(shop, &json!({ "hopgate.dev/inject": "enabled" })).await;

    let pods: Api<Pod> = shop.api();
    let guarded =
        pods.list(&Default::default()).await.unwrap().items[0].metadata.name.clone().unwrap();
    let said = async |revision: &str, version: &str| {
        let said = json!({ "revision": revision, "version": version }).to_string();
        let patch = json!({ "metadata": { "annotations": { "hopgate.dev/injected": said } } });
        pods.patch(&guarded, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    };
    said("red", "0.1.0").await;
    finds("workloads/revisions", "error", &format!("shop/{guarded}: \\\"red\\\""));
    said("default", "0.0.9").await;
    finds("workloads/versions", "warning", "0.0.9, and its control plane is 0.1.0");
    said("default", env!("CARGO_PKG_VERSION")).await;
    finds("workloads/revisions", "ok", "default");

    // One that runs, and of which no control plane hears.
    finds("workloads/connected", "ok", "all gates");
    let copy = pods.get(&guarded).await.unwrap();
    let mut copy = serde_json::to_value(copy).unwrap();
    copy["metadata"] = json!({ "name": "silent", "labels": { "app": "orders" },
        "annotations": copy["metadata"]["annotations"] });
    copy["spec"]["nodeName"] = format!("{}-node", home.name).into();
    copy.as_object_mut().unwrap().remove("status");
    make(shop, copy).await;
    finds("workloads/connected", "warning", "shop/silent");
    shop.delete_pod("silent").await;
}

async fn policies(shop: &Namespace) {
    apply(shop, &policy("payments", "payments")).await;
    finds("policies/selecting", "warning", "AccessPolicy shop/payments: there is no such pod");
    delete(shop, "AccessPolicy", "payments").await;
    // What got past admission.
    let webhooks: Api<k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration> =
        Api::all(shop.client.clone());
    let name = "hopgate-control-hopgate-system";
    let before = webhooks.get(name).await.unwrap();
    webhooks.delete(name, &DeleteParams::default()).await.unwrap();
    finds("webhooks/registered", "error", "not found");
    eventually_finds("webhooks/validation", "error", "nobody judges resources").await;
    let mut bad = policy("bad", "orders");
    bad["spec"]["rules"][0]["allow"]["usres"] = json!({});
    apply(shop, &bad).await;
    eventually_finds("policies/accepted", "error", "Invalid: ").await;
    delete(shop, "AccessPolicy", "bad").await;
    let mut before = before;
    before.metadata.resource_version = None;
    before.metadata.uid = None;
    webhooks.create(&PostParams::default(), &before).await.unwrap();
    eventually_finds("webhooks/validation", "ok", "is refused").await;
}

async fn plaintext(home: &Namespace, shop: &Namespace) {
    let mesh = |mtls: Value| {
        json!({
            "apiVersion": "hopgate.dev/v1alpha1", "kind": "MeshPolicy", "metadata": { "name": "mesh" },
            "spec": { "mtls": mtls },
        })
    };
    apply(home, &mesh(json!({ "mode": "Permissive" }))).await;
    finds("plaintext/mesh-policy", "warning", "mtls.mode is Permissive");
    apply(
        home,
        &mesh(json!({ "exceptions": [{ "namespace": "shop", "port": 8080, "mode": "Disabled" }] })),
    )
    .await;
    finds("plaintext/mesh-policy", "warning", "shop port 8080: Disabled");
    delete(home, "MeshPolicy", "mesh").await;
    finds("plaintext/mesh-policy", "ok", "every port");
    let open = json!({
        "metadata": { "name": "open", "annotations": { "hopgate.dev/exclude-inbound-ports": "9090" } },
        "spec": { "containers": [{ "name": "a", "image": "example.invalid/a:1" }] },
    });
    make(shop, open).await;
    finds("plaintext/excluded-ports", "warning", "shop Pod open: 9090");
    shop.delete_pod("open").await;
}

fn reached(kubelet: &Kubelet, running: &Running) {
    kubelet.forward("hopgate-control-1", 15014, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9));
    finds("control-plane/reached", "warning", "hopgate-control-1: ");
    let admin = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), running.admin);
    kubelet.forward("hopgate-control-1", 15014, admin);
    finds("control-plane/reached", "ok", "1 pod of hopgate-control");
}
