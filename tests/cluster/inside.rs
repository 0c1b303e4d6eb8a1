//! What is done to the cluster by somebody inside of its network.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::node::home;
use crate::support::helm::Helm;

/// No single command takes longer.
const COMMAND: Duration = Duration::from_secs(400);
const POLL: Duration = Duration::from_millis(100);

/// An administrator on the node.
pub struct Inside {
    pub directory: PathBuf,
}

/// Runs it to its end.
pub async fn run(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = process.stdin.take().unwrap();
    let feed = async {
        // Whoever does not read it says why by its exit code.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
    };
    let both = async { tokio::join!(feed, process.wait_with_output()).1 };
    match tokio::time::timeout(COMMAND, both).await {
        Ok(output) => output.unwrap(),
        Err(_) => panic!("{command:?} did not end"),
    }
}

/// What it said; panics with the errors if it failed.
pub fn text(output: &Output) -> String {
    let (out, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {errors}{out}", output.status);
    out.into_owned()
}

impl Inside {
    fn kubeconfig(&self) -> PathBuf {
        self.directory.join("admin.kubeconfig")
    }

    /// kubectl, whatever becomes of it.
    pub async fn try_kubectl(&self, arguments: &str, input: &str) -> Output {
        let mut command = Command::new(home().join("kubectl"));
        command.args(arguments.split_whitespace()).env("KUBECONFIG", self.kubeconfig());
        run(command, input).await
    }

    /// kubectl, which has to succeed. No argument has a blank.
    pub async fn kubectl(&self, arguments: &str) -> String {
        let output = self.try_kubectl(arguments, "").await;
        assert!(output.status.success(), "kubectl {arguments}: {}", errors(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Applies manifests; retries where the API server does not know a kind or reach a webhook yet.
    pub async fn apply(&self, manifests: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let output = self.try_kubectl("apply -f -", manifests).await;
            if output.status.success() {
                return;
            }
            assert!(Instant::now() < end, "{}", errors(&output));
            tokio::time::sleep(POLL * 5).await;
        }
    }

    /// An object, or objects, as JSON.
    pub async fn get(&self, what: &str) -> Value {
        serde_json::from_str(&self.kubectl(&format!("get {what} -o json")).await).unwrap()
    }

    /// A verb of hopgate that looks at the cluster, whatever it says.
    pub async fn hopgate(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hopgate"));
        command.args(arguments.split_whitespace()).env("KUBECONFIG", self.kubeconfig());
        run(command, "").await
    }

    /// Helm, in the folder of the chart's parent.
    pub fn helm(&self, helm: &Helm, arguments: &str) -> String {
        let list: Vec<&str> = arguments.split_whitespace().collect();
        // Callers go on meanwhile.
        let output = tokio::task::block_in_place(|| helm.run_on(&self.kubeconfig(), &list));
        crate::support::helm::text(&output)
    }

    /// Until a rollout is over.
    pub async fn rolled_out(&self, namespace: &str, name: &str) {
        let wait = "rollout status --timeout=300s";
        self.kubectl(&format!("-n {namespace} {wait} deployment/{name}")).await;
    }

    /// The one pod of an application in `shop` that is ready and not about to go.
    pub async fn pod(&self, app: &str) -> Pod {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let list = self.get(&format!("pods -n shop -l app={app}")).await;
            let items = list["items"].as_array().unwrap();
            let mut there: Vec<&Value> = items.iter().filter(|pod| is_ready(pod)).collect();
            if let (Some(pod), true) = (there.pop(), there.is_empty()) {
                return Pod(pod.clone());
            }
            assert!(Instant::now() < end, "no single ready pod of {app}: {list:#}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// The process of a container, as the node numbers it.
    pub async fn process(&self, pod: &Pod, container: &str) -> u32 {
        let id = pod.container(container)["containerID"].as_str().unwrap();
        let id = id.strip_prefix("containerd://").unwrap();
        let mut command = Command::new("ctr");
        command.arg("-a").arg(self.directory.join("node/containerd.sock"));
        let tasks = text(
            &run(
                {
                    command.args(["-n", "k8s.io", "tasks", "ls"]);
                    command
                },
                "",
            )
            .await,
        );
        let line = tasks.lines().find(|line| line.starts_with(id));
        let fields = line.unwrap_or_else(|| panic!("no task of {container}: {tasks}"));
        fields.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// A pod as the API server shows it.
pub struct Pod(pub Value);

impl Pod {
    pub fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap()
    }

    pub fn ip(&self) -> &str {
        self.0["status"]["podIP"].as_str().unwrap()
    }

    /// The status of a container, of whichever sort.
    pub fn container(&self, name: &str) -> &Value {
        let status = &self.0["status"];
        let lists = [&status["containerStatuses"], &status["initContainerStatuses"]];
        let mut all = lists.iter().filter_map(|list| list.as_array()).flatten();
        all.find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name} in {status:#}"))
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let mut ready = conditions.filter(|one| one["type"] == "Ready" && one["status"] == "True");
    pod["metadata"]["deletionTimestamp"].is_null() && ready.next().is_some()
}

pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
