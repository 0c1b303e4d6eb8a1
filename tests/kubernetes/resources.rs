//! Policies in the cluster become decisions of sidecars, and what became of them stands in their status.

use std::path::Path;
use std::time::Duration;

use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use hopgate::runtime::{Address, Clock, Ready};
use hopgate::sidecar::Bound;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, oneshot};
use tonic::transport::Channel;

use super::gateway::{Gateway, Weather};
use crate::certificates::parts::{Directory, Plane};
use crate::support::ask::{channel, get, meaning, page};
use crate::support::envoy::eventually;
use crate::support::kube::{Namespace, resources_of, server};

/// A control plane writes the status of every resource in the cluster: two of them would contradict each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Waits until no other test's control plane writes them.
pub(super) async fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().await
}

/// A cluster with a control plane and two namespaces: one of the mesh, one of a team.
pub(super) struct World {
    _turn: MutexGuard<'static, ()>,
    /// The control plane's.
    _directory: Directory,
    clock: Clock,
    root: Namespace,
    pub(super) shop: Namespace,
    plane: Plane,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::through(&server().url, &server().ca_file).await
    }

    /// Where the control plane reaches the API server under this address, and verifies it by these roots.
    async fn through(url: &str, roots: &Path) -> Self {
        let turn = turn().await;
        let (directory, clock) = (Directory::new(), Clock::system());
        let root = Namespace::with_resources("root").await;
        let shop = Namespace::new("shop").await;
        shop.service_account("orders").await;
        root.service_account("control").await;
        // What docs/kubernetes.md says it needs, and nothing else.
        root.allow("control", documented_rules()).await;
        let kubeconfig = root.kubeconfig("control").await.replace(&server().url, url);
        let ca = server().ca_file.display().to_string();
        let kubeconfig = kubeconfig.replace(&ca, &roots.display().to_string());
        let kubeconfig = directory.write("kubeconfig", &kubeconfig, 0o600);
        let more = format!(
            "kubernetes: {{ kubeconfig: {} }}\nresources: {{ rootNamespace: {} }}\n",
            kubeconfig.display(),
            root.name
        );
        let plane = Plane::start_with(&directory, &clock, "127.0.0.1:0", &more).await;
        Self { _turn: turn, _directory: directory, clock, root, shop, plane }
    }

    /// Waits until the control plane has heard everything.
    pub(super) async fn heard(&self) {
        assert!(
            eventually(async || self.plane.ready.missing().is_empty()).await,
            "{:?}",
            self.plane.ready.missing()
        );
    }

    /// A pod of the team with this label, and its sidecar.
    async fn orders(&self, app: &str) -> Sidecar {
        let uid = self.shop.pod_labelled(&format!("{app}-1"), "orders", app).await;
        let directory = Directory::new();
        self.sidecar(directory, &uid).await
    }

    async fn sidecar(&self, directory: Directory, uid: &str) -> Sidecar {
        self.sidecar_with(directory, uid, "").await
    }

    /// A sidecar with more in its configuration.
    pub(super) async fn sidecar_with(
        &self,
        directory: Directory,
        uid: &str,
        more: &str,
    ) -> Sidecar {
        let workload = format!("ns/{}/sa/orders", self.shop.name);
        directory.write("join.token", &self.plane.token(&workload, &self.clock), 0o600);
        directory.write("roots.pem", &self.plane.bundle.to_pem(), 0o644);
        Sidecar::start(directory, (&self.shop.name, uid), (self.plane.port, more)).await
    }

    pub(super) async fn stop(self) {
        self.plane.stop().await;
    }
}

/// The rules of the ClusterRole in docs/kubernetes.md.
pub(super) fn documented_rules() -> Value {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/kubernetes.md");
    let page = std::fs::read_to_string(page).unwrap();
    let role = page.split("```yaml\n").find(|block| block.contains("kind: ClusterRole")).unwrap();
    let role: Value = serde_saphyr::from_str(role.split("```").next().unwrap()).unwrap();
    role["rules"].clone()
}

/// A whole sidecar in this process.
pub(super) struct Sidecar {
    pub(super) directory: Directory,
    client: AuthorizationClient<Channel>,
    pub(super) admin: Address,
    ready: Ready,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Sidecar {
    async fn start(
        directory: Directory,
        (namespace, uid): (&str, &str),
        (port, more): (u16, &str),
    ) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let text = format!(
            "workload: {{ trustDomain: demo.mesh, namespace: {namespace}, serviceAccount: orders, podUid: {uid} }}\n\
             resources: [control: {{}}]\nextAuthz: {{ listen: [\"unix:authz.sock\"] }}\n\
             admin: {{ listen: \"127.0.0.1:0\" }}\ndecisionLog: {{ path: decisions.log }}\n\
             drainTimeout: 2s\n\
             certificates:\n  control: {{ server: \"https://localhost:{port}\", caFile: roots.pem, joinTokenFile: join.token }}\n  \
             stateDirectory: state\n{more}"
        );
        let file = directory.write("sidecar.yaml", &text, 0o644);
        let config = hopgate::config::sidecar(&file, Default::default()).unwrap();
        let bound = Bound::build(config, Clock::system()).await.unwrap();
        let addresses = bound.addresses().clone();
        let client = AuthorizationClient::new(channel(&addresses.ext_authz[0]));
        let ready = bound.ready();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            bound.run(async { drop(stopped.await) }).await.unwrap();
        });
        Self { directory, client, admin: addresses.admin, ready, stop, task }
    }

    async fn allows(&self, path: &str) -> bool {
        let answer = self.client.clone().check(get(path, &[])).await.unwrap();
        meaning(answer.into_inner()).allowed
    }

    pub(super) async fn stop(self) -> Directory {
        drop(self.stop);
        self.task.await.unwrap();
        self.directory
    }
}

/// A policy that allows everybody these paths.
fn policy(name: &str, app: Option<&str>, paths: &[&str]) -> Value {
    let mut spec =
        json!({ "rules": [{ "name": "open", "allow": { "requests": [{ "paths": paths }] } }] });
    if let Some(app) = app {
        spec["selector"] = json!({ "matchLabels": { "app": app } });
    }
    json!({
        "apiVersion": "hopgate.dev/v1alpha1", "kind": "AccessPolicy",
        "metadata": { "name": name }, "spec": spec,
    })
}

async fn apply(namespace: &Namespace, resource: &Value) {
    let kind = resource["kind"].as_str().unwrap();
    let name = resource["metadata"]["name"].as_str().unwrap();
    let ours = PatchParams::apply("team").force();
    resources_of(namespace, kind).patch(name, &ours, &Patch::Apply(resource)).await.unwrap();
}

/// Waits until a condition of a resource has this status, for what it says now, with a message that has these words.
async fn condition(
    namespace: &Namespace,
    kind: &str,
    name: &str,
    (of, status): (&str, &str),
    words: &[&str],
) {
    let mut last = None;
    let found = eventually(async || {
        let object: DynamicObject = resources_of(namespace, kind).get(name).await.unwrap();
        let now = object.data["status"].clone();
        let conditions = now["conditions"].as_array().cloned().unwrap_or_default();
        let current = now["observedGeneration"].as_i64() == object.metadata.generation;
        let found = conditions.iter().any(|one| {
            let message = one["message"].as_str().unwrap();
            one["type"] == of
                && one["status"] == status
                && words.iter().all(|part| message.contains(part))
        });
        last = Some(now);
        current && found
    });
    assert!(found.await, "{kind} {name}: {of} is not {status} with {words:?}: {last:#?}");
}

#[tokio::test]
async fn a_policy_that_is_applied_decides_and_says_so() {
    let world = World::new().await;
    world.heard().await;
    let sidecar = world.orders("orders").await;
    let other = world.orders("payments").await;
    // That there is none is known, too: the workload is ready, and nobody is let in.
    for one in [&sidecar, &other] {
        assert!(
            eventually(async || one.ready.missing().is_empty()).await,
            "{:?}",
            one.ready.missing()
        );
        assert!(!one.allows("/open").await);
    }
    apply(&world.shop, &policy("orders", Some("orders"), &["/open"])).await;
    assert!(eventually(async || sidecar.allows("/open").await).await);
    let all = ["1 of 1 sidecars run revision "];
    condition(&world.shop, "AccessPolicy", "orders", ("Programmed", "True"), &all).await;
    condition(&world.shop, "AccessPolicy", "orders", ("Accepted", "True"), &[]).await;
    assert!(!other.allows("/open").await, "it does not select this one");

    // The label of the pod changes, and with it what is for it.
    world.shop.label_pod("payments-1", "orders").await;
    assert!(eventually(async || other.allows("/open").await).await);
    world.shop.label_pod("payments-1", "payments").await;
    assert!(eventually(async || !other.allows("/open").await).await);

    // For the whole mesh.
    apply(&world.root, &policy("everywhere", None, &["/health"])).await;
    for one in [&sidecar, &other] {
        assert!(eventually(async || one.allows("/health").await).await);
    }
    let all = ["2 of 2 sidecars"];
    condition(&world.root, "AccessPolicy", "everywhere", ("Programmed", "True"), &all).await;

    resources_of(&world.shop, "AccessPolicy")
        .delete("orders", &DeleteParams::default())
        .await
        .unwrap();
    assert!(eventually(async || !sidecar.allows("/open").await).await);
    assert!(sidecar.allows("/health").await);
    sidecar.stop().await;
    other.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn what_got_past_admission_is_refused_and_what_was_before_stays() {
    let world = World::new().await;
    let sidecar = world.orders("orders").await;
    apply(&world.shop, &policy("orders", None, &["/open"])).await;
    assert!(eventually(async || sidecar.allows("/open").await).await);

    let mut bad = policy("orders", None, &["/other"]);
    bad["spec"]["rules"][0]["allow"]["usres"] = json!({ "roles": ["admin"] });
    apply(&world.shop, &bad).await;
    let words = ["spec.rules[0].allow.usres: unknown field `usres`"];
    condition(&world.shop, "AccessPolicy", "orders", ("Accepted", "False"), &words).await;
    let words = ["0 of 1 sidecars run", "1 refuse it", "/sa/orders: AccessPolicy/"];
    condition(&world.shop, "AccessPolicy", "orders", ("Programmed", "False"), &words).await;
    assert!(sidecar.allows("/open").await && !sidecar.allows("/other").await);
    // Others come into force beside it.
    apply(&world.shop, &policy("more", None, &["/more"])).await;
    assert!(eventually(async || sidecar.allows("/more").await).await);
    assert!(sidecar.allows("/open").await);
    let (_, page) = page(&sidecar.admin, "/config").await;
    assert!(page.contains("unknown field"), "{page}");

    // A new pod has no version of before, and is let in nowhere until there is a whole set.
    let late = world.orders("late").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let missing = late.ready.missing();
    assert!(missing.iter().any(|(name, _)| *name == "policy"), "{missing:?}");
    assert!(!late.allows("/more").await);

    apply(&world.shop, &policy("orders", None, &["/other"])).await;
    for one in [&sidecar, &late] {
        assert!(eventually(async || one.allows("/other").await && one.allows("/more").await).await);
        assert!(!one.allows("/open").await);
        assert!(eventually(async || one.ready.missing().is_empty()).await);
    }
    condition(&world.shop, "AccessPolicy", "orders", ("Programmed", "True"), &[]).await;
    condition(&world.shop, "AccessPolicy", "more", ("Programmed", "True"), &[]).await;
    sidecar.stop().await;
    late.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn what_a_policy_needs_may_come_after_it_and_files_are_not_chosen_by_whom_it_may() {
    let world = World::new().await;
    let sidecar = world.orders("orders").await;
    assert!(eventually(async || sidecar.ready.missing().is_empty()).await);
    let mut needy = policy("orders", None, &["/open"]);
    needy["spec"]["rules"].as_array_mut().unwrap().push(json!({
        "name": "users", "allow": { "users": { "providers": ["sso"] } },
    }));
    apply(&world.shop, &needy).await;
    condition(&world.shop, "AccessPolicy", "orders", ("Programmed", "False"), &["sso"]).await;
    let provider = |keys: Value| {
        json!({
            "apiVersion": "hopgate.dev/v1alpha1", "kind": "IdentityProvider",
            "metadata": { "name": "sso" },
            "spec": { "issuer": "https://sso.example", "audiences": ["a"], "keys": keys },
        })
    };
    apply(&world.shop, &provider(json!({ "pemFile": "/etc/passwd" }))).await;
    let words = ["has no directory for them"];
    condition(&world.shop, "IdentityProvider", "sso", ("Programmed", "False"), &words).await;
    let good = provider(json!({ "jwksUri": "https://127.0.0.1:9/jwks" }));
    apply(&world.shop, &good).await;
    condition(&world.shop, "IdentityProvider", "sso", ("Programmed", "True"), &[]).await;
    condition(&world.shop, "AccessPolicy", "orders", ("Programmed", "True"), &[]).await;
    assert!(sidecar.allows("/open").await);
    // Of a name of the mesh nobody else can make another meaning.
    apply(&world.root, &good).await;
    let words = ["of the whole mesh"];
    condition(&world.shop, "IdentityProvider", "sso", ("Accepted", "False"), &words).await;
    condition(&world.root, "IdentityProvider", "sso", ("Programmed", "True"), &[]).await;
    sidecar.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn a_restart_during_an_outage_judges_by_what_was_told_and_a_new_one_lets_nobody_in() {
    let world = World::new().await;
    let sidecar = world.orders("orders").await;
    apply(&world.shop, &policy("orders", None, &["/open"])).await;
    assert!(eventually(async || sidecar.allows("/open").await).await);
    let (namespace, port) = (world.shop.name.clone(), world.plane.port);
    let roots = world.plane.bundle.to_pem();
    world.stop().await;
    let directory = sidecar.stop().await;
    let sidecar = Sidecar::start(directory, (&namespace, "gone"), (port, "")).await;
    assert!(sidecar.allows("/open").await, "at once");
    assert!(!sidecar.allows("/other").await);
    sidecar.stop().await;

    let fresh = Directory::new();
    fresh.write("join.token", "AAAA", 0o600);
    fresh.write("roots.pem", &roots, 0o644);
    let sidecar = Sidecar::start(fresh, (&namespace, "new"), (port, "")).await;
    assert!(sidecar.ready.missing().iter().any(|(name, _)| *name == "policy"));
    assert!(!sidecar.allows("/open").await);
    sidecar.stop().await;
}

#[tokio::test]
async fn an_api_server_in_bad_weather_takes_nothing_away() {
    let gateway = Gateway::new().await;
    let world = World::through(&gateway.url, &gateway.ca_file).await;
    world.heard().await;
    let sidecar = world.orders("orders").await;
    apply(&world.shop, &policy("orders", None, &["/open"])).await;
    apply(&world.shop, &policy("more", None, &["/more"])).await;
    let both = async || sidecar.allows("/open").await && sidecar.allows("/more").await;
    assert!(eventually(both).await);
    let failures = || {
        let text = world.plane.metrics.text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("hopgate_resources_watch_failures_total "));
        line.unwrap().parse::<u64>().unwrap()
    };
    for (round, weather) in [Weather::Throttled, Weather::Forgetful, Weather::Broken, Weather::Away]
        .into_iter()
        .enumerate()
    {
        let before = failures();
        gateway.is(weather);
        // A broken list is only seen by who lists: all watches end first.
        if weather != Weather::Broken {
            assert!(
                eventually(async || failures() > before + 5).await,
                "{weather:?}: {}",
                failures()
            );
        }
        let path = format!("/round-{round}");
        apply(&world.shop, &policy("orders", None, &["/open", &path])).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(both().await, "{weather:?}");
        assert!(world.plane.ready.missing().is_empty(), "it serves what it knows");
        gateway.is(Weather::Fine);
        assert!(eventually(async || sidecar.allows(&path).await).await, "{weather:?}");
        assert!(both().await, "{weather:?}");
    }
    gateway.is(Weather::Away);
    resources_of(&world.shop, "AccessPolicy")
        .delete("more", &DeleteParams::default())
        .await
        .unwrap();
    assert!(both().await);
    gateway.is(Weather::Fine);
    assert!(
        eventually(async || !sidecar.allows("/more").await).await,
        "what went meanwhile is gone"
    );
    condition(&world.shop, "AccessPolicy", "orders", ("Programmed", "True"), &[]).await;
    sidecar.stop().await;
    world.stop().await;
}

/// Nothing is told before everything was heard.
#[tokio::test]
async fn a_control_plane_that_has_not_heard_everything_tells_nothing() {
    let gateway = Gateway::new().await;
    gateway.is(Weather::Broken);
    let world = World::through(&gateway.url, &gateway.ca_file).await;
    let sidecar = world.orders("orders").await;
    apply(&world.shop, &policy("orders", None, &["/open"])).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!sidecar.allows("/open").await);
    assert!(sidecar.ready.missing().iter().any(|(name, _)| *name == "policy"));
    let missing = world.plane.ready.missing();
    let words =
        missing.iter().find_map(|(name, why)| (*name == "resources").then_some(why)).unwrap();
    assert!(words.contains("the weather is bad"), "{words}");
    gateway.is(Weather::Fine);
    assert!(eventually(async || sidecar.allows("/open").await).await);
    world.heard().await;
    sidecar.stop().await;
    world.stop().await;
}
