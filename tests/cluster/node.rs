//! A cluster of one node, and what is asked of it from inside its network.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::support::cache;
use crate::support::served::installed;

/// The name that the chart and the example give to hopgate's image.
pub const IMAGE: &str = concat!("hopgate:", env!("CARGO_PKG_VERSION"));
/// Tells the test inside of the network which cluster is meant.
pub const DIRECTORY: &str = "TEST_CLUSTER";
/// The longest that everything inside may take, on a machine that does much else.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// What `tests/tools/kube-node.sh` makes.
pub fn home() -> PathBuf {
    installed("HOPGATE_KUBE_NODE", "kube-node-1.34.4").unwrap_or_else(|reason| panic!("{reason}"))
}

/// A running cluster. It ends, and leaves nothing behind, when this process does.
pub struct Node {
    directory: PathBuf,
    _process: Child,
}

impl Node {
    /// Starts one with the images of hopgate and of Envoy.
    pub fn start() -> Self {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools");
        let servers =
            installed("HOPGATE_KUBE", "kube-1.34.4").unwrap_or_else(|reason| panic!("{reason}"));
        let hopgate = cache().join("hopgate-quick.tar");
        assert!(
            hopgate.exists(),
            "no {}: run HOPGATE_IMAGE_PROFILE=quick tests/tools/image.sh",
            hopgate.display()
        );
        let envoy = Command::new(tools.join("envoy-image.sh"))
            .env("HOPGATE_CACHE", cache())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(envoy.status.success(), "no image of Envoy");
        let envoy = String::from_utf8(envoy.stdout).unwrap();
        let name = format!("hopgate-node-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        // As the chart and the example call it.
        let hopgate = format!("{}=docker.io/library/{IMAGE}", hopgate.display());
        let mut process = Command::new(tools.join("kube-node-serve.sh"))
            .args([&servers, &home(), &directory])
            .args([&hopgate, envoy.trim()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let said = BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line);
        if said.is_err() || line.trim() != "ready" {
            let mut log = String::new();
            drop(process.stderr.as_mut().unwrap().read_to_string(&mut log));
            panic!("no cluster: {log}");
        }
        Self { directory, _process: process }
    }

    /// Runs another test of this binary inside the network; returns what it said, and panics with that if it failed.
    pub fn inside(&self, test: &str) -> String {
        let log = self.directory.join("inside.log");
        let file = std::fs::File::create(&log).unwrap();
        let mut process = self
            .command(std::env::current_exe().unwrap().to_str().unwrap())
            .args([test, "--exact", "--ignored", "--nocapture"])
            .env(DIRECTORY, &self.directory)
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let status = wait(&mut process);
        let said = std::fs::read_to_string(&log).unwrap();
        if status.is_some_and(|status| status.success()) {
            return said;
        }
        panic!("{test} ended with {status:?}\n{said}\n{}", self.state());
    }

    fn command(&self, program: &str) -> Command {
        let network = Path::new("/run/netns").join(self.directory.file_name().unwrap());
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", network.display())).arg(program).stdin(Stdio::null());
        command
    }

    /// What a person would look at first.
    fn state(&self) -> String {
        let kubectl = home().join("kubectl");
        let script = r#"
            "$0" get pods -A -o wide
            "$0" get events -A --sort-by=.lastTimestamp | tail -n 40
            "$0" -n hopgate-system logs deployment/hopgate-control --tail=40
            for pod in $("$0" -n shop get pods -o name); do
              for container in app hopgate-capture hopgate envoy; do
                echo "== $pod $container"; "$0" -n shop logs "$pod" -c "$container" --tail=15
              done
            done
        "#;
        let mut command = self.command("sh");
        command.args(["-c", script]).arg(kubectl);
        command.env("KUBECONFIG", self.directory.join("admin.kubeconfig"));
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Waits, and ends it if that takes too long.
fn wait(process: &mut Child) -> Option<ExitStatus> {
    let end = Instant::now() + DEADLINE;
    while Instant::now() < end {
        if let Some(status) = process.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(process.kill());
    drop(process.wait());
    None
}
