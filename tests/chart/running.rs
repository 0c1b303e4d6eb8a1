//! The control plane, run with the configuration and the rights that the chart gives it, before a real API server.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use hopgate::identity::{Leaf, PrivateKey, TrustBundle, TrustDomain};
use hopgate::runtime::Clock;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::configuration::mounted;
use super::server::apply;
use super::webhooks::{is_configuration, keep_to, label, unregister};
use super::{objects, rendered};
use crate::certificates::parts::{Call, csr, ders};
use crate::support::Scratch;
use crate::support::helm::{Helm, text};
use crate::support::kube::{Namespace, resources_of};
use crate::support::opa::free_port;

const START: Duration = Duration::from_secs(60);

/// A control plane as its pod would run.
pub(super) struct Running {
    process: Child,
    pub(super) port: u16,
    pub(super) admin: u16,
    objects: Vec<Value>,
    directory: Scratch,
}

impl Running {
    /// Everything but the pod is applied; the pod's process runs here, as its service account. Its webhooks are asked
    /// about the other namespace.
    pub(super) async fn start(namespace: &Namespace, other: &Namespace, choice: &[&str]) -> Self {
        let manifests = rendered(&Helm::new(), &namespace.name, choice);
        let mut objects = objects(&manifests);
        let webhooks = free_port();
        for object in objects.iter_mut().filter(|object| object["kind"] != "Pod") {
            if is_configuration(object) {
                keep_to(object, &[&other.name]);
                // There is no network of Services here.
                for webhook in object["webhooks"].as_array_mut().unwrap() {
                    let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap();
                    webhook["clientConfig"] =
                        json!({ "url": format!("https://127.0.0.1:{webhooks}{path}") });
                }
            }
            apply(&namespace.client, object, false).await.unwrap();
        }
        let directory = Scratch::new("chart-running");
        let file = mounted(&directory, &manifests);
        let (port, admin) = (free_port(), free_port());
        let kubeconfig =
            in_namespace(&namespace.kubeconfig("hopgate-control").await, &namespace.name);
        let kubeconfig = directory.write("kubeconfig", &kubeconfig);
        let mut text = std::fs::read_to_string(&file).unwrap();
        for (from, to) in [
            ("[::]:15012", format!("127.0.0.1:{port}")),
            ("[::]:15014", format!("127.0.0.1:{admin}")),
            ("[::]:15017", format!("127.0.0.1:{webhooks}")),
            (
                "serverNames: [hopgate-control.",
                "serverNames: [127.0.0.1, hopgate-control.".to_owned(),
            ),
            ("/run/hopgate/control", directory.path().join("run").display().to_string()),
        ] {
            assert!(text.contains(from), "{from} in {text}");
            text = text.replace(from, &to);
        }
        text += &format!("kubernetes: {{ kubeconfig: {} }}\n", kubeconfig.display());
        let file = directory.write("control.yaml", &text);
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_hopgate"))
            .args(["control", "--config"])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut running = Self { process, port, admin, objects, directory };
        running.ready().await;
        running
    }

    /// Asks as the pod's own probe does.
    async fn ready(&mut self) {
        let page = format!("http://127.0.0.1:{}/readyz", self.admin);
        let end = Instant::now() + START;
        loop {
            // The kubelet calls under the address of the pod.
            let answer =
                reqwest::Client::new().get(&page).header("host", "10.0.0.9:15014").send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "{ended:?}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// Runs the container of `helm test`, with what differs outside of a cluster.
    fn test_pod(&self, roots: &Path, change: impl Fn(&str) -> String) -> Output {
        let mut pods = self.objects.iter().filter(|object| object["kind"] == "Pod");
        let container = &pods.next().unwrap()["spec"]["containers"][0];
        let arguments = container["args"].as_array().unwrap().iter().map(|argument| {
            let argument = change(argument.as_str().unwrap());
            if let Some((name, "15012")) = argument.rsplit_once(':') {
                assert!(name.ends_with(".svc"), "{name}");
                return format!("127.0.0.1:{}", self.port);
            }
            argument.replace("/etc/hopgate/roots/root.pem", &roots.display().to_string())
        });
        Command::new(env!("CARGO_BIN_EXE_hopgate"))
            .args(arguments)
            .args(["--server-name", "localhost"])
            .output()
            .unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The kubeconfig, with a namespace of its own, as a pod has one.
fn in_namespace(kubeconfig: &str, namespace: &str) -> String {
    let mut config: Value = serde_json::from_str(kubeconfig).unwrap();
    config["contexts"][0]["context"]["namespace"] = namespace.into();
    config.to_string()
}

/// The init containers of a pod that is made in a namespace, once the webhook judges it.
pub(super) async fn injected(namespace: &Namespace) -> Vec<Value> {
    let pod = json!({
        "metadata": { "generateName": "app-" },
        "spec": { "containers": [{ "name": "app", "image": "example.invalid/app:1" }] },
    });
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let end = Instant::now() + START;
    loop {
        match namespace.api::<Pod>().create(&PostParams::default(), &pod).await {
            Ok(made) => {
                let made = serde_json::to_value(made).unwrap();
                return made["spec"]["initContainers"].as_array().cloned().unwrap_or_default();
            }
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn it_runs_with_the_rights_of_the_chart() {
    let namespace = Namespace::new("running").await;
    let shop = Namespace::new("shop").await;
    shop.service_account("default").await;
    label(&shop, &json!({ "hopgate.dev/inject": "enabled" })).await;
    let choice = ["--set", "control.serverNames[0]=localhost,trustDomain=demo.mesh"];
    let running = Running::start(&namespace, &shop, &choice).await;

    // What the chart says that the control plane makes, it made.
    assert!(namespace.api::<Secret>().get_opt("hopgate-ca").await.unwrap().is_some());
    let shown = namespace.api::<ConfigMap>().get("hopgate-ca").await.unwrap();
    let roots = shown.data.unwrap()["root.pem"].clone();
    let file = running.directory.write("roots.pem", &roots);

    // `helm test` passes, and fails where it should.
    let same = |argument: &str| argument.to_owned();
    let told = running.test_pod(&file, same);
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    let other = |argument: &str| argument.replace("/sa/hopgate-control", "/sa/another");
    assert_eq!(running.test_pod(&file, other).status.code(), Some(1));

    // The notes of the chart tell to run this in the pod.
    let told = Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(["ca", "status", "--config"])
        .arg(running.directory.path().join("control.yaml"))
        .output()
        .unwrap();
    assert!(text(&told).starts_with("authority of demo.mesh"), "{told:?}");

    // A pod gets its certificate.
    namespace.service_account("orders").await;
    let uid = namespace.pod("orders-1", "orders").await;
    let token = namespace.token("orders", "hopgate", Some(("orders-1", &uid))).await;
    let trusts = TrustBundle::from_pem(TrustDomain::parse("demo.mesh").unwrap(), &roots).unwrap();
    let call = Call {
        port: running.port,
        trusts: &trusts,
        certificate: None,
        authorization: &[format!("Bearer {token}")],
        csr: csr(&PrivateKey::generate().unwrap(), |_| {}),
        seconds: 0,
    };
    let chain = call.send(&Clock::system()).await.unwrap();
    let id = Leaf::parse(&ders(&chain)[0]).unwrap().id().to_string();
    assert_eq!(id, format!("spiffe://demo.mesh/ns/{}/sa/orders", namespace.name));

    // A pod gets its gate, once the API server was told by whom the webhook is certified, and then whom to trust.
    let containers = injected(&shop).await;
    let names: Vec<&str> = containers.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["hopgate-capture", "hopgate", "envoy"]);
    assert_eq!(containers[1]["image"], "hopgate:0.1.0");
    let end = Instant::now() + START;
    loop {
        let trust = shop.api::<ConfigMap>().get_opt("hopgate-trust").await.unwrap();
        if let Some(data) = trust.and_then(|map| map.data) {
            assert_eq!(data["roots.pem"], roots);
            break;
        }
        assert!(Instant::now() < end, "{}", running.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // A policy that cannot be used is refused with its field; of one that can, it is told what became of it.
    let policies = resources_of(&shop, "AccessPolicy");
    let policy = |rule: Value| {
        let metadata = json!({ "name": "orders", "namespace": shop.name });
        json!({
            "apiVersion": "hopgate.dev/v1alpha1", "kind": "AccessPolicy", "metadata": metadata,
            "spec": { "rules": [{ "name": "all", "allow": rule }] },
        })
    };
    let put = PatchParams::apply("test");
    let bad = policies
        .patch(
            "orders",
            &put,
            &Patch::Apply(policy(json!({ "peers": ["ns/a/sa/b"], "when": "user.nobody(" }))),
        )
        .await;
    let error = bad.unwrap_err().to_string();
    assert!(error.contains("spec.rules[0].allow.when"), "{error}");
    policies
        .patch("orders", &put, &Patch::Apply(policy(json!({ "peers": ["ns/a/sa/b"] }))))
        .await
        .unwrap();
    let end = Instant::now() + START;
    loop {
        let held = policies.get("orders").await.unwrap();
        if held.data["status"]["conditions"][0]["status"] == "True" {
            break;
        }
        assert!(Instant::now() < end, "{:#} {}", held.data, running.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    for object in running.objects.iter().filter(|object| is_configuration(object)) {
        unregister(&namespace.client, object).await;
    }
    // It was refused nothing that it asked for.
    let log = running.log().to_lowercase();
    assert!(!log.contains("forbidden") && !log.contains("cannot"), "{log}");
}
