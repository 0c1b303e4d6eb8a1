//! Pods get their gates as they are made: the webhook before a real API server.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hopgate::control::{Config, Control};
use hopgate::identity::TrustBundle;
use hopgate::runtime::{Address, Clock, Tasks};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::certificates::parts::Directory;
use crate::support::golden;
use crate::support::kube::{Namespace, server};

/// A control plane with its webhooks, registered for one namespace.
struct Plane {
    name: String,
    port: u16,
    operator: String,
    bundle: TrustBundle,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
    configurations: Api<MutatingWebhookConfiguration>,
}

impl Plane {
    async fn start(namespace: &Namespace, directory: &Directory) -> Self {
        Self::start_as(namespace, directory, &server().kubeconfig, "").await
    }

    async fn start_as(
        namespace: &Namespace,
        directory: &Directory,
        kubeconfig: &Path,
        injection: &str,
    ) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let name = format!("hopgate-{}", namespace.name);
        let text = format!(
            "trustDomain: demo.mesh\nlisten: \"127.0.0.1:0\"\ndirectory: ca\n\
             kubernetes: {{ kubeconfig: {} }}\nattest: {{ kubernetes: {{ audience: hopgate }} }}\n\
             injection: {{ image: 'registry.example/hopgate:1.0.0', envoyImage: 'registry.example/envoy:1.40.0', \
             control: 'https://hopgate-control.hopgate-system.svc:15012', trustConfigMap: {}{injection} }}\n\
             webhooks: {{ listen: \"127.0.0.1:0\", serverNames: [127.0.0.1], configurations: {{ mutating: [{name}] }} }}\n",
            kubeconfig.display(),
            trust_of(namespace)
        );
        let file = directory.write("control.yaml", &text, 0o644);
        let config: Config = hopgate::config::control(&file).unwrap();
        let control = Control::bind(&config, Clock::system()).await.unwrap();
        let Some(Address::Tcp(address)) = control.webhooks() else { panic!("no webhooks") };
        let (port, bundle) = (address.port(), control.bundle());
        let configurations = Api::all(namespace.client.clone());
        let registered = serde_json::from_value(json!({
            "metadata": { "name": name },
            "webhooks": [{
                "name": "inject.hopgate.dev",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "NoneOnDryRun",
                "failurePolicy": "Fail",
                "reinvocationPolicy": "IfNeeded",
                "timeoutSeconds": 10,
                "clientConfig": { "url": format!("https://127.0.0.1:{port}/inject") },
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace.name } },
                "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] }],
            }],
        }));
        configurations.create(&PostParams::default(), &registered.unwrap()).await.unwrap();
        let operator = format!("unix:{}", directory.path("ca/operator.sock").display());
        let mut tasks = Tasks::new();
        control.start(&mut tasks).unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            tasks.run(shutdown, Duration::from_secs(2)).await.unwrap();
        });
        Self { name, port, operator, bundle, stop: Some(stop), task, configurations }
    }

    async fn ca_bundle(&self) -> String {
        let found = self.configurations.get(&self.name).await.unwrap();
        let webhooks = found.webhooks.unwrap();
        let bundle = webhooks[0].client_config.ca_bundle.clone();
        String::from_utf8(bundle.unwrap_or_default().0).unwrap()
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
        self.configurations.delete(&self.name, &Default::default()).await.unwrap();
    }
}

/// A namespace that asks for gates, or one that does not.
async fn namespace(labels: Value) -> Namespace {
    let shop = Namespace::new("inject").await;
    shop.service_account("default").await;
    let patch = Patch::Merge(json!({ "metadata": { "labels": labels } }));
    let all: Api<core::Namespace> = Api::all(shop.client.clone());
    all.patch(&shop.name, &PatchParams::default(), &patch).await.unwrap();
    shop
}

fn pod(name: &str, change: impl FnOnce(&mut Value)) -> core::Pod {
    let mut pod = json!({
        "metadata": { "name": name },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "app", "image": "registry.example/app:1",
                "ports": [{ "name": "http", "containerPort": 8080 }],
                "readinessProbe": { "httpGet": { "path": "/ready", "port": "http" }, "periodSeconds": 3 },
                "livenessProbe": { "grpc": { "port": 9000 } },
            }],
        },
    });
    change(&mut pod);
    serde_json::from_value(pod).unwrap()
}

/// Creates a pod. An API server takes a moment until it uses a webhook.
async fn created(shop: &Namespace, pod: &core::Pod) -> kube::Result<core::Pod> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let made = shop.api().create(&PostParams::default(), pod).await;
        match &made {
            Err(kube::Error::Api(status))
                if status.message.contains("failed calling webhook") && Instant::now() < end => {}
            Ok(_) | Err(_) => return made,
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn start(pod: &core::Pod) -> Vec<String> {
    let containers = pod.spec.as_ref().unwrap().init_containers.iter().flatten();
    containers.map(|container| container.name.clone()).collect()
}

const GATE: [&str; 3] = ["hopgate-capture", "hopgate", "envoy"];

/// The ConfigMap with the roots. Each mesh of a cluster has another: of one name, each would write its own roots.
fn trust_of(namespace: &Namespace) -> String {
    format!("{}-trust", namespace.name)
}

async fn eventually<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Reason, message and type of the events about an object.
async fn events(shop: &Namespace, about: &str) -> Vec<(String, String, String)> {
    let api: Api<core::Event> = shop.api();
    let all = api.list(&ListParams::default()).await.unwrap().items;
    let all = all.into_iter().filter(|event| event.involved_object.name.as_deref() == Some(about));
    all.map(|event| (event.reason.unwrap(), event.message.unwrap(), event.type_.unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_a_labelled_namespace_get_their_gates() {
    let shop = namespace(json!({ "hopgate.dev/inject": "enabled" })).await;
    let directory = Directory::new();
    let plane = Plane::start(&shop, &directory).await;
    // Not before: with `failurePolicy: Fail` an unknown authority refuses everything.
    eventually("caBundle is written", async || {
        (plane.ca_bundle().await == plane.bundle.to_pem()).then_some(())
    })
    .await;

    let made = created(&shop, &pod("orders", |_| {})).await.unwrap();
    assert_eq!(start(&made), GATE);
    // What the random key and the API server's own defaults leave.
    let mut value = serde_json::to_value(&made.spec).unwrap();
    let text = value["containers"][0]["readinessProbe"]["httpGet"]["path"].as_str().unwrap();
    let key = text.split('/').nth(2).unwrap().to_owned();
    assert_eq!(key.len(), 32);
    for part in
        ["tolerations", "enableServiceLinks", "preemptionPolicy", "priority", "schedulerName"]
    {
        value.as_object_mut().unwrap().remove(part);
    }
    let shown = serde_saphyr::to_string(&value)
        .unwrap()
        .replace(&key, "KEY")
        .replace(&trust_of(&shop), "hopgate-trust");
    golden("inject/pod.yaml", &shown);

    // The roots of the mesh come with the first gate.
    let config_maps: Api<core::ConfigMap> = shop.api();
    let roots = eventually("the roots are there", async || {
        config_maps.get_opt(&trust_of(&shop)).await.unwrap()
    })
    .await;
    assert_eq!(roots.data.unwrap()["roots.pem"], plane.bundle.to_pem());

    // Who has opted out, or can have none, and who hears of it.
    let out =
        pod("out", |pod| pod["metadata"]["labels"] = json!({ "hopgate.dev/inject": "disabled" }));
    assert!(start(&created(&shop, &out).await.unwrap()).is_empty());
    let host = |name: &str| pod(name, |pod| pod["spec"]["hostNetwork"] = json!(true));
    assert!(start(&created(&shop, &host("host")).await.unwrap()).is_empty());
    let own = pod("own", |pod| pod["spec"]["securityContext"] = json!({ "runAsUser": 1337 }));
    assert!(start(&created(&shop, &own).await.unwrap()).is_empty());
    for (name, word, weight) in [
        ("out", "OptedOut", "Normal"),
        ("host", "HostNetwork", "Warning"),
        ("own", "GateUser", "Warning"),
    ] {
        let found = eventually(name, async || events(&shop, name).await.pop()).await;
        assert_eq!((found.0.as_str(), found.2.as_str()), ("NotInjected", weight));
        assert!(found.1.starts_with(word), "{}", found.1);
    }

    // Nothing comes of a trial but its answer.
    let dry = PostParams { dry_run: true, ..Default::default() };
    let tried: core::Pod = shop.api().create(&dry, &host("trial")).await.unwrap();
    assert!(start(&tried).is_empty());
    let tried: core::Pod = shop.api().create(&dry, &pod("other", |_| {})).await.unwrap();
    assert_eq!(start(&tried), GATE);

    // What is not understood does not run.
    let bad = pod("bad", |pod| {
        pod["metadata"]["annotations"] = json!({ "hopgate.dev/exclude-uids": "root" })
    });
    let refused = created(&shop, &bad).await.unwrap_err().to_string();
    assert!(
        refused.contains("annotation hopgate.dev/exclude-uids")
            && refused.contains("\"root\" is no user"),
        "{refused}"
    );
    let image = pod("bad", |pod| {
        pod["metadata"]["annotations"] = json!({ "hopgate.dev/envoy-image": "x" })
    });
    let refused = created(&shop, &image).await.unwrap_err().to_string();
    assert!(refused.contains("means nothing here"), "{refused}");
    assert!(events(&shop, "trial").await.is_empty());
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_wish_nothing_changes_and_without_an_answer_nothing_runs() {
    let shop = namespace(json!({})).await;
    let directory = Directory::new();
    let plane = Plane::start(&shop, &directory).await;
    assert!(start(&created(&shop, &pod("plain", |_| {})).await.unwrap()).is_empty());
    let asks = pod("asks", |pod| {
        pod["metadata"]["annotations"] = json!({ "hopgate.dev/inject": "enabled" })
    });
    assert_eq!(start(&created(&shop, &asks).await.unwrap()), GATE);
    assert!(events(&shop, "plain").await.is_empty());
    plane.stop().await;

    // A control plane that may not look at the namespace cannot say whether a gate is wanted.
    let blind = namespace(json!({ "hopgate.dev/inject": "disabled" })).await;
    blind.service_account("control").await;
    let rules = json!([{ "apiGroups": ["admissionregistration.k8s.io"], "resources": ["mutatingwebhookconfigurations"], "verbs": ["get", "patch"] }]);
    blind.allow("control", rules).await;
    let directory = Directory::new();
    let kubeconfig = directory.write("kubeconfig", &blind.kubeconfig("control").await, 0o600);
    let plane = Plane::start_as(&blind, &directory, &kubeconfig, "").await;
    let refused = created(&blind, &pod("plain", |_| {})).await.unwrap_err().to_string();
    assert!(refused.contains("the namespace's labels are not known"), "{refused}");
    assert!(refused.contains("it would run without its gate"), "{refused}");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_mesh_admits_no_pod_without_a_gate() {
    let shop = namespace(json!({ "hopgate.dev/inject": "enabled" })).await;
    let directory = Directory::new();
    let plane =
        Plane::start_as(&shop, &directory, &server().kubeconfig, ", unguarded: Refuse").await;
    let host = pod("host", |pod| pod["spec"]["hostNetwork"] = json!(true));
    let refused = created(&shop, &host).await.unwrap_err().to_string();
    assert!(refused.contains("this mesh admits no pod without its gate"), "{refused}");
    let out = pod("host", |pod| {
        pod["spec"]["hostNetwork"] = json!(true);
        pod["metadata"]["labels"] = json!({ "hopgate.dev/inject": "disabled" });
    });
    assert!(start(&created(&shop, &out).await.unwrap()).is_empty());
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_of_the_webhook_changes_without_one_refused_pod() {
    let shop = namespace(json!({ "hopgate.dev/inject": "enabled" })).await;
    let directory = Directory::new();
    let plane = Plane::start(&shop, &directory).await;
    created(&shop, &pod("first", |_| {})).await.unwrap();
    let before = plane.ca_bundle().await;

    // Whatever somebody else writes there is put right.
    let other = json!([{ "op": "remove", "path": "/webhooks/0/clientConfig/caBundle" }]);
    let patch: Patch<()> = Patch::Json(serde_json::from_value(other).unwrap());
    plane.configurations.patch(&plane.name, &PatchParams::default(), &patch).await.unwrap();
    eventually("caBundle is put back", async || (plane.ca_bundle().await == before).then_some(()))
        .await;
    created(&shop, &pod("second", |_| {})).await.unwrap();

    let rotating = tokio::process::Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(["ca", "rotate", "--within", "2s", "--without-absent", "--operator", &plane.operator])
        .stdin(Stdio::null())
        .output();
    let mut rotating = Box::pin(rotating);
    let dry = PostParams { dry_run: true, ..Default::default() };
    let pods: Api<core::Pod> = shop.api();
    let (mut made, mut rotated, mut after) = (0, None, 0);
    while after < 100 {
        let made_one = pods.create(&dry, &pod("trial", |_| {})).await;
        let made_one = made_one.unwrap_or_else(|error| panic!("after {made} pods: {error}"));
        assert_eq!(start(&made_one), GATE);
        made += 1;
        if rotated.is_none() {
            rotated = tokio::time::timeout(Duration::from_millis(50), &mut rotating).await.ok();
        } else {
            after += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let rotated = rotated.unwrap().unwrap();
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    let bundle = plane.ca_bundle().await;
    assert_ne!(bundle, before);
    assert!(!bundle.contains(before.trim()), "the old root is retired");
    // The server's certificate comes from the new root, by the API server's own way of verifying.
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(bundle.as_bytes()).unwrap()])
        .build()
        .unwrap();
    let url = format!("https://127.0.0.1:{}/inject", plane.port);
    let answer = client.post(&url).body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 400);
    // Pods that run hear of the new root by their ConfigMap.
    let config_maps: Api<core::ConfigMap> = shop.api();
    eventually("the ConfigMap follows", async || {
        let map = config_maps.get(&trust_of(&shop)).await.unwrap();
        (map.data.unwrap()["roots.pem"] == bundle).then_some(())
    })
    .await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_review_is_no_yes() {
    let shop = namespace(json!({})).await;
    let directory = Directory::new();
    let plane = Plane::start(&shop, &directory).await;
    let root = reqwest::Certificate::from_pem(plane.bundle.to_pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
    let url = |page: &str| format!("https://127.0.0.1:{}{page}", plane.port);
    let post = async |page: &str, body: String| {
        let answer = client.post(url(page)).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let review = |change: &[(&str, Value)]| {
        let mut review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u", "kind": { "group": "", "version": "v1", "kind": "Pod" }, "operation": "CREATE",
                "namespace": shop.name, "object": pod("a", |_| {}),
            },
        });
        for (pointer, value) in change {
            *review.pointer_mut(pointer).unwrap() = value.clone();
        }
        review.to_string()
    };
    let answered = async |change: &[(&str, Value)]| {
        let (status, text) = post("/inject", review(change)).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()["response"].clone()
    };
    assert_eq!(answered(&[]).await, json!({ "uid": "u", "allowed": true }), "nobody asked");
    for (change, words) in [
        ([("/request/kind/kind", json!("Deployment"))], "was asked about something else"),
        ([("/request/operation", json!("UPDATE"))], "was asked about something else"),
        ([("/request/namespace", json!("nowhere"))], "labels are not known"),
        ([("/request/namespace", json!(""))], "without a namespace"),
        ([("/request/object", json!({}))], "the pod is not understood"),
    ] {
        let response = answered(&change).await;
        assert_eq!(response["allowed"], false, "{response}");
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }
    for (page, body, status) in [
        ("/inject", "{".to_owned(), 400),
        ("/inject", review(&[("/apiVersion", json!("admission.k8s.io/v1beta1"))]), 400),
        ("/inject", "x".repeat(8 * 1024 * 1024 + 1), 413),
        ("/validate", review(&[]), 404),
        ("/", String::new(), 404),
    ] {
        assert_eq!(post(page, body).await.0, status, "{page}");
    }
    assert_eq!(client.get(url("/inject")).send().await.unwrap().status(), 405);
    // Without TLS nothing is heard at all.
    assert!(client.get(format!("http://127.0.0.1:{}/", plane.port)).send().await.is_err());
    plane.stop().await;
}
