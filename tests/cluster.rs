//! A real cluster of one node: the chart, pods with gates, the tour, and what must lose no request. For `make test-all`.

mod inside;
mod load;
mod node;
mod tour;
mod world;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hopgate::kube::crd::{DEFINITIONS, GROUP};
use serde_json::Value;

use crate::support::helm::Helm;
use inside::Inside;
use load::Load;
use node::{IMAGE, Node};
pub use tour::STEPS;
use world::{ALICES, World};

/// Small enough for one node, with the images that it has.
const VALUES: &str = "--set trustDomain=demo.mesh,\
    injection.envoyImage=localhost/envoy:1,injection.envoyConcurrency=1,control.resources.requests.cpu=10m";
const POLICIES: [&str; 3] = [
    include_str!("../src/demo/files/web.yaml"),
    include_str!("../src/demo/files/orders.yaml"),
    include_str!("../src/demo/files/payments.yaml"),
];

fn wanted() -> bool {
    let long = std::env::var_os("HOPGATE_LONG").is_some();
    if !long {
        println!("a cluster is for the long tests: make test-all");
    }
    long
}

#[test]
fn a_cluster_of_one_node_serves_the_shop() {
    if !wanted() {
        return;
    }
    let start = Instant::now();
    let node = Node::start();
    let said = node.inside("cluster::within");
    // Past the test harness, which keeps what a passing test prints to itself.
    let steps = said.lines().filter(|line| line.starts_with("ok  ")).count();
    let seconds = start.elapsed().as_secs();
    writeln!(std::io::stdout(), "cluster: {steps} steps on a node in {seconds} s").unwrap();
}

/// A step of its own beside the tour's.
fn done(what: &str) {
    println!("ok   {what}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs inside the network of a cluster: by the test above"]
async fn within() {
    let Some(directory) = std::env::var_os(node::DIRECTORY) else { return };
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let node = Inside { directory: directory.into() };
    let helm = Helm::new();
    install(&node, &helm).await;
    deploy(&node).await;
    let world = World::new(node).await;
    assert_eq!(world.settle("alice", ALICES, "200 web > orders").await, "200 web > orders");
    done("pods of a labelled namespace serve behind their gates");
    well(&world).await;
    tour::walk(&world).await;
    revocation(&world).await;
    access(&world).await;
    probes(&world).await;
    losses_are_seen(&world).await;
    restarts(&world).await;
    fewer(&world).await;
    upgrade(&world, &helm).await;
    lost_control_plane(&world).await;
    uninstall(&world, &helm).await;
    leave(&world, &helm).await;
}

async fn install(node: &Inside, helm: &Helm) {
    start_control_plane(node, helm, "--create-namespace").await;
    node.helm(helm, "test hopgate --namespace hopgate-system --timeout 120s");
    done("helm install, helm test");
}

async fn start_control_plane(node: &Inside, helm: &Helm, more: &str) {
    let arguments = "install hopgate hopgate --namespace hopgate-system";
    node.helm(helm, &format!("{arguments} {more} {VALUES}"));
    node.rolled_out("hopgate-system", "hopgate-control").await;
}

fn example(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/kubernetes").join(name);
    std::fs::read_to_string(path).unwrap()
}

async fn deploy(node: &Inside) {
    node.apply(&example("shop.yaml")).await;
    for text in POLICIES.into_iter().map(str::to_owned).chain([example("mesh.yaml")]) {
        node.apply(&text).await;
    }
    for name in ["idp", "payments", "orders", "web"] {
        node.rolled_out("shop", name).await;
    }
    for app in ["web", "orders", "payments"] {
        let pod = node.pod(app).await;
        for container in ["hopgate-capture", "hopgate", "envoy", "app"] {
            assert_eq!(pod.container(container)["restartCount"], 0, "{container} of {app}");
        }
    }
    let idp = node.pod("idp").await;
    assert!(idp.0["spec"]["initContainers"].is_null(), "it opted out");
    for policy in ["web", "orders", "payments"] {
        let wait = "wait --for=condition=Programmed --timeout=60s";
        node.kubectl(&format!("-n shop {wait} accesspolicy/{policy}")).await;
    }
}

/// `hopgate check` and `hopgate status`, by the ports that a real kubelet forwards.
async fn well(world: &World) {
    let checked = world.node.hopgate("check --output json").await;
    let told: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let of = |check: &str| {
        let mut all = told["checks"].as_array().unwrap().iter();
        all.find(|one| one["check"] == check).unwrap_or_else(|| panic!("no {check}: {told:#}"))
    };
    assert_eq!(checked.status.code(), Some(0), "{told:#}");
    for check in [
        "control-plane/reached",
        "webhooks/injection",
        "webhooks/validation",
        "workloads/connected",
    ] {
        assert_eq!(of(check)["level"], "ok", "{told:#}");
    }
    // The front door takes plaintext.
    assert_eq!(of("plaintext/mesh-policy")["level"], "warning");

    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let shown = world.node.hopgate("status -n shop --interval 500ms --output json").await;
        let told: Value = serde_json::from_slice(&shown.stdout).unwrap();
        if shown.status.success() {
            let workloads = told["workloads"].as_array().unwrap();
            let ids: Vec<&str> = workloads.iter().map(|one| one["id"].as_str().unwrap()).collect();
            let expected = ["orders", "payments", "web"];
            assert_eq!(ids, expected.map(|name| format!("spiffe://demo.mesh/ns/shop/sa/{name}")));
            for one in workloads {
                assert_eq!(one["policies"]["told"], one["policies"]["running"], "{told:#}");
                assert!(one["certificate"]["leftSeconds"].as_u64() > Some(60), "{told:#}");
                assert!(one["revision"].is_string(), "{told:#}");
            }
            break;
        }
        assert!(Instant::now() < end, "{told:#}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    done("hopgate check, hopgate status");
}

/// Whom nobody trusts any more answers nobody, until it is lifted.
async fn revocation(world: &World) {
    let revoke = |what: &str| {
        let program = "-n hopgate-system exec deployment/hopgate-control -- /hopgate revoke";
        format!("{program} {what} ns/shop/sa/orders --config /etc/hopgate/control.yaml")
    };
    world.node.kubectl(&format!("{} --reason=test", revoke("workload"))).await;
    assert_eq!(world.settle("alice", ALICES, "502 at orders").await, "502 at orders");
    world.node.kubectl(&revoke("lift")).await;
    assert_eq!(world.settle("alice", ALICES, "200 web > orders").await, "200 web > orders");
    done("a revoked workload, and lifted again");
}

/// `kubectl exec` and `kubectl logs`.
async fn access(world: &World) {
    let pod = world.node.pod("orders").await;
    let arguments = format!("-n shop exec {} -c app -- /hopgate --version", pod.name());
    let said = world.node.kubectl(&arguments).await;
    assert!(said.starts_with("hopgate "), "{said}");
    let arguments = format!("-n shop logs {} -c hopgate --tail=5", pod.name());
    let said = world.node.kubectl(&arguments).await;
    assert!(said.lines().all(|line| line.starts_with('{')) && !said.is_empty(), "{said}");
    // Without a container named, those of the application are meant.
    world.node.kubectl(&format!("-n shop exec {} -- /hopgate --version", pod.name())).await;
    done("kubectl exec, kubectl logs");
}

/// Probes say of an application what they said without a gate: also when it is not well.
async fn probes(world: &World) {
    let pod = |name: &str, probe: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, namespace: shop, labels: {{ app: {name} }} }}\n\
             spec:\n  serviceAccountName: payments\n  containers:\n    - name: app\n      image: {IMAGE}\n\
             \x20     args: [demo, serve, payments, \"--listen=0.0.0.0:9000\"]\n      {probe}\n---\n"
        )
    };
    let every = "periodSeconds: 1, failureThreshold: 1";
    let pods = [
        pod(
            "well-exec",
            &format!(
                "readinessProbe: {{ exec: {{ command: [/hopgate, --version] }}, timeoutSeconds: 20, {every} }}"
            ),
        ),
        pod("well-tcp", &format!("readinessProbe: {{ tcpSocket: {{ port: 9000 }}, {every} }}")),
        pod(
            "sick-http",
            &format!("readinessProbe: {{ httpGet: {{ path: /nothing, port: 9000 }}, {every} }}"),
        ),
        pod("sick-tcp", &format!("readinessProbe: {{ tcpSocket: {{ port: 9001 }}, {every} }}")),
        pod(
            "sick-alive",
            &format!("livenessProbe: {{ httpGet: {{ path: /nothing, port: 9000 }}, {every} }}"),
        ),
    ];
    world.node.apply(&pods.concat()).await;
    for name in ["well-exec", "well-tcp"] {
        world.node.pod(name).await;
    }
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let list = world.node.get("pods -n shop").await;
        let items = list["items"].as_array().unwrap();
        let status = |name: &str, container: &str| {
            let pod = items.iter().find(|pod| pod["metadata"]["name"] == name).unwrap();
            inside::Pod(pod.clone()).container(container).clone()
        };
        // These run, and are not ready; that one is started again.
        let runs = ["sick-http", "sick-tcp"]
            .iter()
            .all(|name| !status(name, "app")["state"]["running"].is_null());
        let again = status("sick-alive", "app")["restartCount"].as_u64().unwrap();
        for name in ["sick-http", "sick-tcp"] {
            assert_eq!(status(name, "app")["ready"], false, "{name}");
        }
        if runs && again > 0 {
            assert_eq!(status("sick-alive", "hopgate")["restartCount"], 0);
            break;
        }
        assert!(Instant::now() < end, "{list:#}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let names = "pod/well-exec pod/well-tcp pod/sick-http pod/sick-tcp pod/sick-alive";
    world.node.kubectl(&format!("-n shop delete --wait=false --grace-period=1 {names}")).await;
    done("probes");
}

/// A request that is lost is seen: an application that is killed loses some, whatever stands in front of it.
async fn losses_are_seen(world: &World) {
    let load = Load::start(world).await;
    load.more(20).await;
    let pod = world.node.pod("payments").await;
    tour::signal("-KILL", world.node.process(&pod, "app").await).await;
    load.more(100).await;
    let (answered, lost) = load.stop().await;
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let container = world.node.pod("payments").await.container("app").clone();
        if container["restartCount"] == 1 && container["ready"] == true {
            break;
        }
        assert!(Instant::now() < end, "{container:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(!lost.is_empty() && lost.len() < answered, "{} of {answered}", lost.len());
    done(&format!("an application that is killed: {} of {answered} requests lost", lost.len()));
}

/// Every pod of every service is replaced under load.
async fn restarts(world: &World) {
    for name in ["payments", "orders", "web"] {
        let load = Load::start(world).await;
        load.more(50).await;
        world.node.kubectl(&format!("-n shop rollout restart deployment/{name}")).await;
        world.node.rolled_out("shop", name).await;
        alone(world, name).await;
        load.more(100).await;
        let answered = load.end(&format!("rollout restart of {name}")).await;
        done(&format!("rollout restart of {name}: 0 of {answered} requests lost"));
    }
}

/// One of several pods is deleted under load, and then there are fewer of them.
async fn fewer(world: &World) {
    for name in ["payments", "orders", "web"] {
        world.node.kubectl(&format!("-n shop scale --replicas=2 deployment/{name}")).await;
    }
    for name in ["payments", "orders", "web"] {
        world.node.rolled_out("shop", name).await;
    }
    let load = Load::start(world).await;
    load.more(50).await;
    let list = world.node.kubectl("-n shop get pods -l app=orders -o name").await;
    let first = list.lines().next().unwrap();
    world.node.kubectl(&format!("-n shop delete --wait=false {first}")).await;
    load.more(200).await;
    world.node.rolled_out("shop", "orders").await;
    for name in ["payments", "orders", "web"] {
        world.node.kubectl(&format!("-n shop scale --replicas=1 deployment/{name}")).await;
    }
    for name in ["payments", "orders", "web"] {
        alone(world, name).await;
    }
    load.more(100).await;
    let answered = load.end("a deleted pod, and fewer of them").await;
    done(&format!("a deleted pod, and fewer of them: 0 of {answered} requests lost"));
}

/// Until an application has one pod, and none that is still on its way out.
async fn alone(world: &World, app: &str) {
    let end = Instant::now() + Duration::from_secs(180);
    loop {
        let list = world.node.get(&format!("pods -n shop -l app={app}")).await;
        if list["items"].as_array().unwrap().len() == 1 {
            return;
        }
        assert!(Instant::now() < end, "pods of {app} do not go: {list:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn upgrade(world: &World, helm: &Helm) {
    let load = Load::start(world).await;
    load.more(50).await;
    let arguments = format!("upgrade hopgate hopgate --namespace hopgate-system {VALUES}");
    world.node.helm(helm, &format!("{arguments},control.log.filter=debug,injection.stopDelay=6s"));
    world.node.rolled_out("hopgate-system", "hopgate-control").await;
    load.more(200).await;
    let answered = load.end("helm upgrade").await;
    done(&format!("helm upgrade: 0 of {answered} requests lost"));
}

async fn lost_control_plane(world: &World) {
    let load = Load::start(world).await;
    load.more(50).await;
    let component = "-l app.kubernetes.io/component=control";
    let delete = "delete pod --grace-period=0 --force";
    world.node.kubectl(&format!("-n hopgate-system {delete} {component}")).await;
    load.more(100).await;
    world.node.rolled_out("hopgate-system", "hopgate-control").await;
    // It does its work: a policy that is changed comes into force, and a new pod gets its certificate.
    let orders = POLICIES[1].replace("methods: [GET]", "methods: [GET, HEAD]");
    assert_ne!(orders, POLICIES[1]);
    world.node.apply(&orders).await;
    let wait = "wait --for=condition=Programmed --timeout=60s";
    world.node.kubectl(&format!("-n shop {wait} accesspolicy/orders")).await;
    world.node.kubectl("-n shop rollout restart deployment/payments").await;
    world.node.rolled_out("shop", "payments").await;
    alone(world, "payments").await;
    load.more(100).await;
    let answered = load.end("a deleted pod of the control plane").await;
    done(&format!("a deleted pod of the control plane: 0 of {answered} requests lost"));
}

async fn uninstall(world: &World, helm: &Helm) {
    let load = Load::start(world).await;
    load.more(50).await;
    world.node.helm(helm, "uninstall hopgate --namespace hopgate-system --wait --timeout 120s");
    load.more(400).await;
    for definition in DEFINITIONS {
        world.node.kubectl(&format!("get crd {}.{GROUP}", definition.plural)).await;
    }
    let kept = world.node.kubectl("get accesspolicies -n shop -o name").await;
    assert_eq!(kept.lines().count(), 3, "{kept}");
    assert_eq!(world.read("alice", "/customers/bob/orders").await, "403 at orders");
    // And back: what was there counts again.
    start_control_plane(&world.node, helm, "").await;
    world.node.kubectl("-n shop rollout restart deployment/payments").await;
    world.node.rolled_out("shop", "payments").await;
    let pod = world.node.pod("payments").await;
    assert_eq!(pod.container("hopgate")["restartCount"], 0);
    load.more(200).await;
    let answered = load.end("helm uninstall").await;
    done(&format!(
        "helm uninstall: 0 of {answered} requests lost, definitions and policies are there"
    ));
}

/// The gates go one after the other, callers last, and then all the rest.
async fn leave(world: &World, helm: &Helm) {
    let load = Load::start(world).await;
    load.more(50).await;
    world.node.kubectl("label namespace shop hopgate.dev/inject=disabled --overwrite").await;
    for name in ["payments", "orders", "web"] {
        world.node.kubectl(&format!("-n shop rollout restart deployment/{name}")).await;
        world.node.rolled_out("shop", name).await;
        alone(world, name).await;
        let pod = world.node.pod(name).await;
        assert!(pod.0["spec"]["initContainers"].is_null(), "{name} has a gate");
        load.more(100).await;
    }
    world.node.helm(helm, "uninstall hopgate --namespace hopgate-system --wait --timeout 120s");
    for definition in DEFINITIONS {
        world.node.kubectl(&format!("delete crd {}.{GROUP}", definition.plural)).await;
    }
    load.more(100).await;
    let answered = load.end("leaving for good").await;
    assert_eq!(world.read("alice", "/customers/bob/orders").await, "200 web > orders");
    done(&format!("leaving for good: 0 of {answered} requests lost"));
}
