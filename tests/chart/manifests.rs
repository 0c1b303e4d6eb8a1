//! `k8s/`: the same as the chart renders, for `kubectl apply -k`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::server::apply;
use super::{objects, rendered};
use crate::support::golden;
use crate::support::helm::{Helm, text};
use crate::support::kube::Namespace;

const NAMESPACE: &str = "hopgate-system";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("k8s")
}

/// What Helm says about itself is not said where there is no Helm.
fn without_helm(manifests: &str) -> String {
    let own = ["app.kubernetes.io/managed-by:", "helm.sh/", "# Source:"];
    let kept = manifests.lines().filter(|line| {
        let line = line.trim_start();
        !own.iter().any(|own| line.starts_with(own))
    });
    kept.map(|line| format!("{line}\n")).collect()
}

fn built() -> Vec<Value> {
    let binary = std::env::var_os("HOPGATE_KUSTOMIZE")
        .map_or_else(|| crate::support::cache().join("bin/kustomize-5.8.1"), PathBuf::from);
    assert!(binary.exists(), "no Kustomize at {}: run tests/tools/kustomize.sh", binary.display());
    objects(&text(&Command::new(binary).arg("build").arg(folder()).output().unwrap()))
}

fn names(objects: &[Value]) -> BTreeSet<String> {
    let name = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
    objects.iter().map(name).collect()
}

#[test]
fn the_manifests_are_printed_from_the_chart() {
    let choice = ["--no-hooks", "--set", "crds.install=false"];
    let manifests = without_helm(&rendered(&Helm::new(), NAMESPACE, &choice));
    assert!(!manifests.to_lowercase().contains("helm"), "{manifests}");
    let head = "# Printed from the chart in helm/hopgate with its default values.\n";
    golden("../../k8s/control.yaml", &format!("{head}{manifests}"));
}

#[tokio::test]
async fn kustomize_builds_them_and_an_api_server_takes_them() {
    let built = built();
    let chart = objects(&rendered(&Helm::new(), NAMESPACE, &["--no-hooks"]));
    let mut expected = names(&chart);
    expected.insert("\"Namespace\" \"hopgate-system\"".to_owned());
    assert_eq!(names(&built), expected);
    let namespace = Namespace::new("manifests").await;
    for mut object in built {
        // The server has no such namespace, and what is only tried makes none.
        for place in ["/metadata/namespace", "/subjects/0/namespace"] {
            if let Some(place) = object.pointer_mut(place) {
                assert_eq!(*place, NAMESPACE);
                *place = namespace.name.clone().into();
            }
        }
        apply(&namespace.client, &object, true)
            .await
            .unwrap_or_else(|error| panic!("{error}\n{object:#}"));
    }
}
