//! A real Kubernetes API server with its etcd: one for the test binary, started by the first test that asks for it, and a
//! namespace for each test. There is no node: pods exist, and stay pending.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hopgate::kube::crd::{DEFINITIONS, GROUP, VERSION};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::rbac::v1 as rbac;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ObjectMeta, Patch,
    PatchParams, PostParams,
};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::json;

use super::opa::free_port;
use super::served::installed;

/// The directory that `tests/tools/kube.sh` makes.
const HOME: &str = "kube-1.34.4";

/// The one API server.
pub struct ApiServer {
    /// `https://127.0.0.1:PORT`.
    pub url: String,
    /// Its roots, in PEM.
    pub ca_file: PathBuf,
    /// A kubeconfig for an administrator.
    pub kubeconfig: PathBuf,
    /// Ends when this process ends.
    _process: Child,
}

/// The API server; starts it if it does not run yet.
pub fn server() -> &'static ApiServer {
    static SERVER: OnceLock<Result<ApiServer, String>> = OnceLock::new();
    started(SERVER.get_or_init(|| start("")))
}

/// Another API server, for a test that looks at all there is in a cluster. Of one such test only.
pub fn alone() -> &'static ApiServer {
    static SERVER: OnceLock<Result<ApiServer, String>> = OnceLock::new();
    started(SERVER.get_or_init(|| start("-alone")))
}

fn started(server: &Result<ApiServer, String>) -> &ApiServer {
    match server {
        Ok(server) => server,
        Err(reason) => panic!("no Kubernetes API server: {reason}"),
    }
}

fn start(which: &str) -> Result<ApiServer, String> {
    let home = match std::env::var_os("HOPGATE_KUBE") {
        Some(home) => PathBuf::from(home),
        None => installed("HOPGATE_KUBE", HOME)?,
    };
    let directory =
        std::env::temp_dir().join(format!("hopgate-kube-{}{which}", std::process::id()));
    let port = free_port();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/kube-serve.sh");
    let mut process = Command::new(script)
        .arg(home)
        .arg(&directory)
        .args([port, free_port(), free_port()].map(|port| port.to_string()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut line = String::new();
    let said = BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line);
    if said.is_err() || line.trim() != "ready" {
        let mut log = String::new();
        drop(process.stderr.as_mut().unwrap().read_to_string(&mut log));
        return Err(format!("it ended: {log}"));
    }
    Ok(ApiServer {
        url: format!("https://127.0.0.1:{port}"),
        ca_file: directory.join("ca.crt"),
        kubeconfig: directory.join("admin.kubeconfig"),
        _process: process,
    })
}

/// A namespace of the test's own, and the administrator's client.
pub struct Namespace {
    pub name: String,
    /// For whatever a test needs beside the calls below. Good for this test's runtime only.
    pub client: kube::Client,
    server: &'static ApiServer,
}

impl Namespace {
    pub async fn new(prefix: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{prefix}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        // Starting takes seconds, and nothing else is done on this test's thread.
        Self::on(server(), &name).await
    }

    /// One of exactly this name, in that cluster.
    pub async fn on(server: &'static ApiServer, name: &str) -> Self {
        let file = kube::config::Kubeconfig::read_from(&server.kubeconfig).unwrap();
        let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
        let client = kube::Client::try_from(config).unwrap();
        let namespace = core::Namespace { metadata: named(name), ..Default::default() };
        let namespaces: Api<core::Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        Self { name: name.to_owned(), client, server }
    }

    /// Another one that is there already.
    pub fn beside(&self, name: &str) -> Self {
        Self { name: name.to_owned(), client: self.client.clone(), server: self.server }
    }

    /// A namespace in an API server that knows hopgate's kinds.
    pub async fn with_resources(prefix: &str) -> Self {
        let namespace = Self::new(prefix).await;
        let definitions: Api<CustomResourceDefinition> = Api::all(namespace.client.clone());
        let ours = PatchParams::apply("test").force();
        for definition in DEFINITIONS {
            let name = format!("{}.{GROUP}", definition.plural);
            let json = definition.to_json().unwrap();
            definitions.patch(&name, &ours, &Patch::Apply(json)).await.unwrap();
            let established =
                await_condition(definitions.clone(), &name, conditions::is_crd_established());
            tokio::time::timeout(Duration::from_secs(30), established).await.unwrap().unwrap();
        }
        namespace
    }

    /// The objects of one kind in it.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    pub async fn service_account(&self, name: &str) {
        let account = core::ServiceAccount { metadata: named(name), ..Default::default() };
        self.api().create(&PostParams::default(), &account).await.unwrap();
    }

    /// A pod that runs as `account`; returns its UID.
    pub async fn pod(&self, name: &str, account: &str) -> String {
        let pod = serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": {
                "serviceAccountName": account,
                "containers": [{ "name": "app", "image": "example.invalid/app:1" }],
            },
        }))
        .unwrap();
        let made: core::Pod = self.api().create(&PostParams::default(), &pod).await.unwrap();
        made.metadata.uid.unwrap()
    }

    /// A pod that runs as `account`, with the label `app`; returns its UID.
    pub async fn pod_labelled(&self, name: &str, account: &str, app: &str) -> String {
        let uid = self.pod(name, account).await;
        self.label_pod(name, app).await;
        uid
    }

    /// Gives a pod another label `app`.
    pub async fn label_pod(&self, name: &str, app: &str) {
        let pods: Api<core::Pod> = self.api();
        let labels = json!({ "metadata": { "labels": { "app": app } } });
        pods.patch(name, &PatchParams::default(), &Patch::Merge(labels)).await.unwrap();
    }

    pub async fn delete_pod(&self, name: &str) {
        let pods: Api<core::Pod> = self.api();
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }

    /// Begins to delete a pod, and keeps it from going.
    pub async fn begin_to_delete_pod(&self, name: &str) {
        let pods: Api<core::Pod> = self.api();
        let hold = json!({ "metadata": { "finalizers": ["hopgate.dev/test"] } });
        pods.patch(name, &PatchParams::default(), &Patch::Merge(hold)).await.unwrap();
        pods.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Sets the phase that a kubelet would set.
    pub async fn pod_phase(&self, name: &str, phase: &str) {
        let pods: Api<core::Pod> = self.api();
        let status = json!({ "status": { "phase": phase } });
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    /// A service-account token as a kubelet would ask for it, good for ten minutes.
    pub async fn token(&self, account: &str, audience: &str, pod: Option<(&str, &str)>) -> String {
        let bound = pod.map(|(name, uid)| BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(name.to_owned()),
            uid: Some(uid.to_owned()),
        });
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: vec![audience.to_owned()],
                bound_object_ref: bound,
                expiration_seconds: Some(600),
            },
            ..Default::default()
        };
        let accounts: Api<core::ServiceAccount> = self.api();
        let made = accounts.create_token_request(account, &PostParams::default(), &request).await;
        made.unwrap().status.unwrap().token
    }

    /// Lets a service account of this namespace do what `rules` say, in all namespaces.
    pub async fn allow(&self, account: &str, rules: serde_json::Value) {
        let name = format!("{}-{account}", self.name);
        let role: rbac::ClusterRole =
            serde_json::from_value(json!({ "metadata": { "name": name }, "rules": rules }))
                .unwrap();
        let binding: rbac::ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": self.name }],
        }))
        .unwrap();
        let post = PostParams::default();
        Api::all(self.client.clone()).create(&post, &role).await.unwrap();
        Api::all(self.client.clone()).create(&post, &binding).await.unwrap();
    }

    /// A kubeconfig of a service account of this namespace.
    pub async fn kubeconfig(&self, account: &str) -> String {
        let token = self.token(account, "https://kubernetes.default.svc", None).await;
        let server = self.server;
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "test",
                "cluster": { "server": server.url, "certificate-authority": server.ca_file },
            }],
            "users": [{ "name": "control", "user": { "token": token } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "control" } }],
            "current-context": "test",
        })
        .to_string()
    }
}

/// The resources of one of hopgate's kinds in a namespace.
pub fn resources_of(namespace: &Namespace, kind: &str) -> Api<DynamicObject> {
    let definition = DEFINITIONS.iter().find(|definition| definition.kind == kind).unwrap();
    let kind = GroupVersionKind::gvk(GROUP, VERSION, kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, definition.plural);
    Api::namespaced_with(namespace.client.clone(), &namespace.name, &resource)
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..Default::default() }
}
