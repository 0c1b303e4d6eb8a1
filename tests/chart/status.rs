//! `hopgate status` in the cluster of `check.rs`: a real sidecar, asked through a real API server.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use hopgate::runtime::Address;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::running::Running;
use crate::support::Scratch;
use crate::support::ask::{channel, get};
use crate::support::kube::{Namespace, alone};
use crate::support::kubelet::Kubelet;
use crate::support::opa::free_port;

const PATIENCE: Duration = Duration::from_secs(30);
const POD: &str = "orders-1";

/// Ends with the test.
struct Sidecar {
    process: Child,
    directory: Scratch,
    admin: SocketAddr,
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn status(arguments: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .arg("status")
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

fn of_shop(more: &[&str]) -> Said {
    let kubeconfig = alone().kubeconfig.display().to_string();
    status(&[&["--kubeconfig", &kubeconfig, "-n", "shop"], more].concat())
}

fn json_of_shop() -> (Option<i32>, Value) {
    let said = of_shop(&["--interval", "100ms", "--output", "json"]);
    let told = serde_json::from_str(&said.stdout);
    (said.code, told.unwrap_or_else(|error| panic!("{error}: {}", said.stderr)))
}

/// The workload as it is once it is so.
async fn eventually(expected: &str, is: impl Fn(&Value, Option<i32>) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let (code, told) = json_of_shop();
        let found = told["workloads"].as_array().unwrap().iter().find(|one| one["pod"] == POD);
        if let Some(found) = found.filter(|found| is(found, code)) {
            return found.clone();
        }
        assert!(Instant::now() < end, "{expected}: {told:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn has_problem(workload: &Value, words: &str) -> bool {
    let mut problems = workload["problems"].as_array().unwrap().iter();
    problems.any(|problem| problem.as_str().unwrap().contains(words))
}

/// Where the policy `orders` is for every pod with the label `app: orders`.
pub(super) async fn a_workload_is_shown_as_it_is(
    (home, shop): (&Namespace, &Namespace),
    running: &Running,
    kubelet: &Kubelet,
) {
    shop.service_account("orders").await;
    let pod = json!({
        "metadata": { "name": POD, "labels": { "app": "orders" } },
        "spec": {
            "nodeName": kubelet.node,
            "serviceAccountName": "orders",
            "containers": [{ "name": "app", "image": "example.invalid/app:1" }],
        },
    });
    let pods: Api<Pod> = shop.api();
    let pod = serde_json::from_value(pod).unwrap();
    let uid = pods.create(&PostParams::default(), &pod).await.unwrap().metadata.uid.unwrap();
    let ready = json!({ "status": {
        "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }],
    } });
    pods.patch_status(POD, &PatchParams::default(), &Patch::Merge(ready)).await.unwrap();

    // Nothing answers there yet: everything that is not known is said not to be.
    let unseen = eventually("unreached", |one, code| {
        code == Some(1)
            && has_problem(one, "its sidecar is not reached: nothing listens on port 15020")
            && has_problem(one, "is connected to no control plane")
    });
    let unseen = unseen.await;
    for field in ["id", "certificate", "revision", "policies", "decisions"] {
        assert_eq!(unseen[field], Value::Null, "{field}");
    }
    assert_eq!(unseen["gate"]["revision"], "default");

    let sidecar = start((home, shop), running, &uid).await;
    kubelet.forward(POD, 15020, sidecar.admin);
    let well = eventually("well", |one, code| {
        code == Some(0) && one["policies"] == json!({ "told": 1, "running": 1 })
    });
    let well = well.await;
    assert_eq!(well["id"], "spiffe://demo.mesh/ns/shop/sa/orders");
    assert_eq!(well["problems"], json!([]));
    let (age, left) = (&well["certificate"]["ageSeconds"], &well["certificate"]["leftSeconds"]);
    assert!(age.as_u64().unwrap() < 300 && left.as_u64().unwrap() > 3000, "{well:#}");
    let page = reqwest::get(format!("http://{}/config", sidecar.admin)).await.unwrap();
    let page: Value = page.json().await.unwrap();
    assert_eq!(well["revision"], page["revision"]);
    assert_eq!(well["gate"]["version"], env!("CARGO_PKG_VERSION"));

    decisions(&sidecar).await;
    one_sidecar(&sidecar);

    // It is gone, and so is what is known of it.
    drop(sidecar);
    eventually("gone", |one, code| {
        code == Some(1) && one["id"].is_null() && has_problem(one, "its sidecar is not reached")
    })
    .await;
    shop.delete_pod(POD).await;
    let said = of_shop(&[]);
    assert_eq!((said.code, said.stdout.lines().count()), (Some(0), 1), "{}", said.stdout);
    assert_eq!(status(&["--kubeconfig", "/nonexistent"]).code, Some(2));
}

async fn start((home, shop): (&Namespace, &Namespace), running: &Running, uid: &str) -> Sidecar {
    let directory = Scratch::new("status");
    let roots = home.api::<ConfigMap>().get("hopgate-ca").await.unwrap().data.unwrap();
    directory.write("roots.pem", &roots["root.pem"]);
    directory.write("token", &shop.token("orders", "hopgate", Some((POD, uid))).await);
    let admin = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_port());
    let text = format!(
        "workload: {{ trustDomain: demo.mesh, namespace: shop, serviceAccount: orders, podUid: {uid} }}\n\
         resources: [control: {{}}]\nextAuthz: {{ listen: [\"unix:authz.sock\"] }}\n\
         admin: {{ listen: \"{admin}\" }}\ndecisionLog: {{ path: decisions.log }}\n\
         certificates:\n  control: {{ server: \"https://localhost:{}\", caFile: roots.pem, serviceAccountTokenFile: token }}\n  \
         stateDirectory: state\n",
        running.port
    );
    let file = directory.write("sidecar.yaml", &text);
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let process = Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(["sidecar", "--config"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    Sidecar { process, directory, admin }
}

/// What is decided while somebody looks is counted.
async fn decisions(sidecar: &Sidecar) {
    let socket = sidecar.directory.path().join("authz.sock");
    let mut client = AuthorizationClient::new(channel(&Address::Unix(socket)));
    let asking = tokio::spawn(async move {
        loop {
            for path in ["/open", "/closed", "/closed"] {
                client.check(get(path, &[])).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let busy = eventually("busy", |one, code| {
        let rate = |field: &str| one["decisions"][field].as_f64().unwrap_or_default();
        code == Some(0)
            && rate("refusedPerSecond") > 1.0
            && rate("perSecond") > rate("refusedPerSecond")
    });
    let busy = busy.await;
    assert_eq!(busy["decisions"]["refused"][0][0], "no_rule_allows", "{busy:#}");
    assert!(busy["decisions"]["refusedInAll"].as_f64().unwrap() >= 1.0);
    let table = of_shop(&["--interval", "200ms"]).stdout;
    let row = table.lines().nth(1).unwrap();
    assert!(
        row.contains("spiffe://demo.mesh/ns/shop/sa/orders") && row.contains("1 of 1"),
        "{table}"
    );
    assert!(row.ends_with("(no_rule_allows)"), "{table}");
    asking.abort();
}

/// The same sidecar by its admin pages, without a cluster.
fn one_sidecar(sidecar: &Sidecar) {
    let admin = sidecar.admin.to_string();
    let said = status(&["--admin", &admin, "--interval", "100ms", "--output", "json"]);
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    let told: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(told["workloads"][0]["id"], "spiffe://demo.mesh/ns/shop/sa/orders");
    assert!(told["workloads"][0]["certificate"]["leftSeconds"].as_u64().unwrap() > 3000);
    for wrong in [
        &["--admin", "192.0.2.1:80"][..],
        &["--admin", "127.0.0.1:9"],
        &["--admin", &admin, "-n", "shop"],
        &["-A", "-n", "shop"],
    ] {
        let said = status(wrong);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{wrong:?}: {}", said.stderr);
    }
    assert!(Path::new(&sidecar.directory.path().join("decisions.log")).exists());
}
