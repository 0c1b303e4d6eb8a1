//! What the schema of the values refuses: keys that mean nothing, and values that cannot be meant.

use serde_json::{Value, json};

use super::documents::{defaults, schema};
use crate::support::Scratch;
use crate::support::helm::Helm;

/// Every place in the schema, with its path in the values.
fn places<'s>(
    root: &'s Value,
    schema: &'s Value,
    path: &[String],
    found: &mut Vec<(Vec<String>, &'s Value)>,
) {
    found.push((path.to_vec(), schema));
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, below) in properties {
        let below = match below.get("$ref").and_then(Value::as_str) {
            Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
            None => below,
        };
        places(root, below, &[path, std::slice::from_ref(name)].concat(), found);
    }
}

/// The default values with another one at a place.
fn with(values: &Value, path: &[String], value: Value) -> Value {
    let mut values = values.clone();
    let mut here = &mut values;
    for name in path {
        here = &mut here[name];
    }
    *here = value;
    values
}

#[test]
fn no_object_takes_a_key_that_means_nothing() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let values = defaults(&json!({ "properties": schema["properties"] }));
    assert!(validator.is_valid(&values));
    let mut found = Vec::new();
    places(&schema, &schema, &[], &mut found);
    let mut closed = 0;
    for (path, place) in &found {
        if place["type"] != "object" {
            continue;
        }
        // Open ones are maps of texts or amounts, parts of a pod as Kubernetes has them, or not ours to know.
        let ours = place.get("properties").is_some();
        assert_eq!(ours, place["additionalProperties"] == false, "{path:?}");
        if ours {
            let strange = with(&values, &[&path[..], &["surprise".to_owned()]].concat(), json!(1));
            assert!(!validator.is_valid(&strange), "{path:?}");
            closed += 1;
        }
    }
    assert!(closed >= 15, "{closed}");
}

#[test]
fn every_key_refuses_a_value_of_another_type() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let values = defaults(&json!({ "properties": schema["properties"] }));
    let mut found = Vec::new();
    places(&schema, &schema, &[], &mut found);
    for (path, _) in found.iter().skip(1) {
        // No key takes all of these, and none takes nothing at all or a list of lists.
        for wrong in [json!([[1]]), Value::Null] {
            let changed = with(&values, path, wrong);
            assert!(!validator.is_valid(&changed), "{path:?}");
        }
    }
    assert!(found.len() > 50, "{}", found.len());
}

#[test]
fn helm_refuses_what_the_schema_refuses_and_says_where() {
    let helm = Helm::new();
    for (set, parts) in [
        ("surprise=1", &["surprise"][..]),
        ("control.replica=3", &["/control", "replica"]),
        ("image.pullPolicy=Sometimes", &["/image/pullPolicy"]),
        ("control.replicas=0", &["/control/replicas"]),
        ("control.replicas=many", &["/control/replicas"]),
        ("trustDomain=UPPER CASE", &["/trustDomain"]),
        ("trustDomain=", &["/trustDomain"]),
        ("image.digest=sha256:short", &["/image/digest"]),
        ("authority.leafLifetime=tomorrow", &["/authority/leafLifetime"]),
        ("authority.secret=a/b", &["/authority/secret"]),
        ("authority.limits.atOnce=0", &["/authority/limits/atOnce"]),
        ("revision=Not-A-Label", &["/revision"]),
        ("federation.with[0].trustDomain=a", &["/federation/with/0", "url"]),
        ("control.priorityClass.value=2000000000", &["/control/priorityClass/value"]),
        ("monitoring.serviceMonitor.enabled=maybe", &["/monitoring/serviceMonitor/enabled"]),
    ] {
        let output =
            helm.run(&["template", "hopgate", "hopgate", "--kube-version", "1.34", "--set", set]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && output.stdout.is_empty(), "{set}");
        for part in parts {
            assert!(told.contains(part), "{set}: {part} in {told}");
        }
    }
    // A file of values as well.
    let scratch = Scratch::new("chart-values");
    let file = scratch.write("values.yaml", "control: { replicas: 2, nodeSelecter: {} }\n");
    let output = helm.run(&["lint", "hopgate", "--values", file.to_str().unwrap()]);
    assert!(!output.status.success());
}

#[test]
fn an_older_cluster_is_told_so() {
    let helm = Helm::new();
    let output = helm.run(&["template", "hopgate", "hopgate", "--kube-version", "1.28"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("1.29"), "{told}");
}
