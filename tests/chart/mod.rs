//! The Helm chart: what it renders is what was agreed, a real API server takes it, and the product takes its configuration.

mod check;
mod configuration;
mod crds;
mod documents;
mod manifests;
mod renderings;
mod rights;
mod running;
mod schema;
mod server;
mod status;
mod webhooks;

use crate::support::helm::{Helm, charts, text};

/// Values that a person may choose, and what they are called here.
const CHOICES: [(&str, &[&str]); 10] = [
    ("default", &[]),
    ("ha", &["--values", "hopgate/values-ha.yaml"]),
    ("canary", &["--set", "revision=canary,crds.install=false"]),
    ("autoscaling", &["--set", "control.autoscaling.enabled=true"]),
    ("cni", &["--set", "injection.capture=Cni,injection.unguarded=Refuse"]),
    ("no-webhooks", &["--set", "webhooks.enabled=false"]),
    (
        "private-registry",
        &[
            "--set",
            "imagePullSecrets[0].name=registry,image.repository=registry.example:5000/team/hopgate",
            "--set",
            "image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ],
    ),
    ("monitors", &["--values", "../tests/chart/monitors.yaml"]),
    ("everything", &["--values", "../tests/chart/everything.yaml"]),
    ("nothing", &["--values", "../tests/chart/nothing.yaml"]),
];

/// The manifests of one choice, in this namespace.
fn rendered(helm: &Helm, namespace: &str, choice: &[&str]) -> String {
    let fixed =
        ["template", "hopgate", "hopgate", "--namespace", namespace, "--kube-version", "1.34"];
    text(&helm.run(&[&fixed, choice].concat()))
}

/// The objects among manifests.
fn objects(manifests: &str) -> Vec<serde_json::Value> {
    let documents = manifests.split("\n---\n").filter(|document| document.contains("kind:"));
    documents
        .map(|document| {
            serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}\n{document}"))
        })
        .collect()
}

/// The one object of this kind.
fn object<'o>(objects: &'o [serde_json::Value], kind: &str) -> &'o serde_json::Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let (Some(object), None) = (found.next(), found.next()) else { panic!("not one {kind}") };
    object
}

/// The chart's file of this name.
fn file(name: &str) -> String {
    let path = charts().join("hopgate").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
