//! A real Helm, installed by `tests/tools/helm.sh`, and what `tests/tools/kubeconform.sh` installs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::Scratch;
use super::served::installed;

/// The version that is pinned.
const VERSION: &str = "4.3.1";
/// What most clusters are served with. Of the longer target.
const VERSION_3: &str = "3.22.0";
/// The directory that `tests/tools/kubeconform.sh` makes.
const KUBECONFORM: &str = "kubeconform-0.8.0";
/// The releases whose schemas are there: the oldest that the chart takes, that of the API server, and the newest.
pub const RELEASES: [&str; 3] = ["1.29.0", "1.34.0", "1.37.0"];

/// Helm, with folders of its own.
pub struct Helm {
    binary: PathBuf,
    home: Scratch,
}

impl Helm {
    pub fn new() -> Self {
        Self::of("HOPGATE_HELM", VERSION)
    }

    /// Helm 3.
    pub fn three() -> Self {
        Self::of("HOPGATE_HELM3", VERSION_3)
    }

    fn of(variable: &str, version: &str) -> Self {
        let binary = std::env::var_os(variable).map_or_else(
            || super::cache().join("bin").join(format!("helm-{version}")),
            PathBuf::from,
        );
        assert!(binary.exists(), "no Helm at {}: run tests/tools/helm.sh", binary.display());
        Self { binary, home: Scratch::new("helm") }
    }

    /// Runs it in the directory of the chart's parent, so that `hopgate` names the chart.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The same against an API server.
    pub fn run_on(&self, kubeconfig: &Path, arguments: &[&str]) -> Output {
        self.command(arguments).env("KUBECONFIG", kubeconfig).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .current_dir(charts())
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("KUBECONFIG", self.home.path().join("none"))
            .stdin(Stdio::null());
        command
    }
}

/// The folder with the chart.
pub fn charts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("helm")
}

/// What stands on standard output; panics with the errors if it failed.
pub fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{}: {errors}\n{text}", output.status);
    text
}

/// Runs a command with this on its standard input.
pub fn fed(command: &mut Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = process.stdin.take().unwrap();
    let input = input.to_owned();
    // Beside reading what it says, so that neither waits for the other.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = process.wait_with_output().unwrap();
    // Whoever refuses early does not read to the end.
    drop(writer.join().unwrap());
    output
}

/// What kubeconform says of manifests under the schemas of a release: a JSON object.
pub fn conform(release: &str, manifests: &str) -> serde_json::Value {
    let home = installed("HOPGATE_KUBECONFORM", KUBECONFORM)
        .unwrap_or_else(|reason| panic!("no kubeconform: {reason}"));
    let schemas = home.join("schemas").join(release).join("{{.ResourceKind}}{{.KindSuffix}}.json");
    let mut command = Command::new(home.join("kubeconform"));
    command.args(["-summary", "-output", "json", "-verbose", "-kubernetes-version", release]);
    // Kinds of the Prometheus operator are for the API server to judge, by the operator's own definitions.
    command.args(["-skip", "ServiceMonitor,PodMonitor"]);
    command.arg("-schema-location").arg(schemas).arg("-");
    let output = fed(&mut command, manifests);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    })
}

/// The definitions of the Prometheus operator's kinds, as files.
pub fn monitoring() -> PathBuf {
    let home = installed("HOPGATE_KUBECONFORM", KUBECONFORM);
    home.unwrap_or_else(|reason| panic!("no kubeconform: {reason}")).join("monitoring")
}
