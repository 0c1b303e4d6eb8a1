//! The definitions of resources: printed from the types into `k8s/crds`, and brought by the chart as they stand there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{objects, rendered};
use crate::support::helm::{Helm, charts};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("k8s/crds")
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// Helm reads nothing outside of a chart, so the chart has copies.
#[test]
fn the_chart_has_the_definitions_as_they_are_printed() {
    let (source, copies) = (files(&source()), charts().join("hopgate/crds-kept"));
    if std::env::var_os("HOPGATE_BLESS").is_some() {
        drop(std::fs::remove_dir_all(&copies));
        std::fs::create_dir_all(&copies).unwrap();
        for (name, text) in &source {
            std::fs::write(copies.join(name), text).unwrap();
        }
    }
    assert!(!source.is_empty());
    assert_eq!(files(&copies), source, "HOPGATE_BLESS=1 writes the copies anew");
}

#[test]
fn they_are_rendered_whole_and_kept_on_uninstall() {
    let helm = Helm::new();
    let definition = |object: &Value| object["kind"] == "CustomResourceDefinition";
    let mut all = objects(&rendered(&helm, "mesh", &[]));
    all.retain(definition);
    let mut expected: Vec<Value> =
        files(&source()).values().flat_map(|text| objects(text)).collect();
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    all.sort_by_key(name);
    expected.sort_by_key(name);
    assert_eq!(all.len(), expected.len());
    for (made, source) in all.iter().zip(&expected) {
        assert_eq!(made["spec"], source["spec"], "{}", name(source));
        assert_eq!(name(made), name(source));
        assert_eq!(made["apiVersion"], source["apiVersion"]);
        assert_eq!(made["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
    let without = objects(&rendered(&helm, "mesh", &["--set", "crds.install=false"]));
    assert!(!without.iter().any(definition));
}
