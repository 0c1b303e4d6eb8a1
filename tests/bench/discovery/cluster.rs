//! A real Kubernetes API server with so many pods, and policies that are applied to it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hopgate::kube::crd::{DEFINITIONS, GROUP, VERSION};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::json;
use tokio::task::JoinSet;

use super::plane::KUBECONFIG;
use super::sidecar::Progress;

/// The namespace of all pods; they run as `s`.
pub const NAMESPACE: &str = "bench";
/// How many pods are made at once.
const AT_ONCE: usize = 32;

/// The API server; ended when this goes.
pub struct Cluster {
    _process: Child,
    client: kube::Client,
}

impl Cluster {
    /// Starts the one in `HOPGATE_KUBE`, for a control plane in `directory`; `None` without one.
    pub async fn start(directory: &Path) -> Option<Self> {
        let home = std::env::var_os("HOPGATE_KUBE").filter(|home| !home.is_empty())?;
        let home = PathBuf::from(home);
        let data = directory.join("kube");
        // All are held until all are known, so that they are different; then they are let go.
        let held = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = held.each_ref().map(|port| port.local_addr().unwrap().port().to_string());
        drop(held);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/kube-serve.sh");
        let mut process = Command::new(script)
            .arg(home)
            .arg(&data)
            .args(ports)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines().next();
        assert_eq!(said.expect("the API server says that it is ready").unwrap(), "ready");
        let kubeconfig = directory.join(KUBECONFIG);
        let file = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
        let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
        let client = kube::Client::try_from(config).unwrap();
        let cluster = Self { _process: process, client };
        cluster.teach().await;
        Some(cluster)
    }

    async fn teach(&self) {
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for definition in DEFINITIONS {
            let name = format!("{}.{GROUP}", definition.plural);
            let json = Patch::Apply(definition.to_json().unwrap());
            definitions.patch(&name, &PatchParams::apply("bench"), &json).await.unwrap();
            let condition = conditions::is_crd_established();
            await_condition(definitions.clone(), &name, condition).await.unwrap();
        }
    }

    /// Makes so many pods; says their UIDs.
    pub async fn pods(&self, count: usize) -> Vec<String> {
        let post = PostParams::default();
        let namespace =
            serde_json::from_value(json!({ "metadata": { "name": NAMESPACE } })).unwrap();
        Api::<Namespace>::all(self.client.clone()).create(&post, &namespace).await.unwrap();
        let account = serde_json::from_value(json!({ "metadata": { "name": "s" } })).unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), NAMESPACE);
        accounts.create(&post, &account).await.unwrap();
        let mut made = JoinSet::new();
        let mut uids = Vec::new();
        for n in 0..count {
            if made.len() >= AT_ONCE {
                uids.push(made.join_next().await.unwrap().unwrap());
            }
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
            made.spawn(async move {
                let pod = serde_json::from_value(json!({
                    "metadata": { "name": format!("s-{n}"), "labels": { "app": "s", "part": (n % 10).to_string() } },
                    "spec": {
                        "serviceAccountName": "s",
                        "containers": [{ "name": "app", "image": "example.invalid/app:1" }],
                    },
                }))
                .unwrap();
                pods.create(&PostParams::default(), &pod).await.unwrap().metadata.uid.unwrap()
            });
        }
        uids.extend(made.join_all().await);
        uids
    }

    /// Applies a policy that selects all pods, with new content; says how long the last acknowledgement took.
    pub async fn apply(&self, round: usize, (progress, count): (&Progress, usize)) -> Duration {
        let kind = GroupVersionKind::gvk(GROUP, VERSION, "AccessPolicy");
        let resource = ApiResource::from_gvk_with_plural(&kind, "accesspolicies");
        let policies: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), NAMESPACE, &resource);
        let policy = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "AccessPolicy",
            "metadata": { "name": "all" },
            "spec": {
                "selector": { "matchLabels": { "app": "s" } },
                "rules": [{ "name": "open", "allow": { "requests": [{ "paths": [format!("/round-{round}")] }] } }],
            },
        });
        let since = Instant::now();
        let ours = PatchParams::apply("bench");
        let applied = policies.patch("all", &ours, &Patch::Apply(policy)).await.unwrap();
        let generation = u64::try_from(applied.metadata.generation.unwrap()).unwrap();
        progress.until(generation, count).await;
        since.elapsed()
    }
}
