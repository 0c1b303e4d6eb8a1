//! The control plane, run with the configuration and the rights that the chart gives it, before a real API server.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use hopgate::identity::{Leaf, PrivateKey, TrustBundle, TrustDomain};
use hopgate::runtime::Clock;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::Value;

use super::configuration::mounted;
use super::server::apply;
use super::{objects, rendered};
use crate::certificates::parts::{Call, csr, ders};
use crate::support::Scratch;
use crate::support::helm::Helm;
use crate::support::kube::Namespace;
use crate::support::opa::free_port;

const START: Duration = Duration::from_secs(60);

/// A control plane as its pod would run.
struct Running {
    process: Child,
    port: u16,
    admin: u16,
    objects: Vec<Value>,
    directory: Scratch,
}

impl Running {
    /// Everything but the pod is applied; the pod's process runs here, as its service account.
    async fn start(namespace: &Namespace, choice: &[&str]) -> Self {
        let manifests = rendered(&Helm::new(), &namespace.name, choice);
        let objects = objects(&manifests);
        for object in objects.iter().filter(|object| object["kind"] != "Pod") {
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

    fn log(&self) -> String {
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

#[tokio::test]
async fn it_runs_with_the_rights_of_the_chart() {
    let namespace = Namespace::new("running").await;
    let choice = ["--set", "control.serverNames[0]=localhost,trustDomain=demo.mesh"];
    let running = Running::start(&namespace, &choice).await;

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

    // It was refused nothing that it asked for.
    let log = running.log().to_lowercase();
    assert!(!log.contains("forbidden") && !log.contains("cannot"), "{log}");
}
