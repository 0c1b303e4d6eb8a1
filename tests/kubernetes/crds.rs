//! The CustomResourceDefinitions, in a real API server: they install, take what the parser takes, and refuse by name.

use std::path::{Path, PathBuf};
use std::process::Command;

use hopgate::kube::crd::DEFINITIONS;
use hopgate::policy::parse;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::kube::{Namespace, resources_of};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn printed(kind: Option<&str>) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_hopgate")).arg("crds").args(kind).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_manifests_are_what_the_binary_prints() {
    let mut all = Vec::new();
    for definition in DEFINITIONS {
        let path = root().join("k8s/crds").join(format!("{}.yaml", definition.plural));
        let text = printed(Some(definition.kind));
        if std::env::var_os("HOPGATE_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, checked_in, "{} differs; HOPGATE_BLESS=1 writes it anew", path.display());
        all.push(text);
    }
    assert_eq!(printed(None), all.join("---\n"));
    assert_eq!(std::fs::read_dir(root().join("k8s/crds")).unwrap().count(), DEFINITIONS.len());
    let output = Command::new(env!("CARGO_BIN_EXE_hopgate")).args(["crds", "AccesPolicy"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean `AccessPolicy`?"));
}

/// Server-side apply without storing anything, as strict as `kubectl apply --dry-run=server`.
async fn tried(namespace: &Namespace, mut resource: Value) -> Result<DynamicObject, String> {
    let kind = resource["kind"].as_str().unwrap().to_owned();
    let name = resource["metadata"]["name"].as_str().unwrap().to_owned();
    resource["metadata"]["namespace"] = namespace.name.clone().into();
    let strict = PatchParams { dry_run: true, ..PatchParams::apply("test").validation_strict() };
    let made = resources_of(namespace, &kind).patch(&name, &strict, &Patch::Apply(resource)).await;
    made.map_err(|error| match error {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    })
}

/// All resources in YAML documents that the parser takes.
fn shipped() -> Vec<(PathBuf, Value)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, found),
                false => found.push(path),
            }
        }
    }
    let mut files = Vec::new();
    for folder in ["examples", "docs", "tests/policies", "tests/spiffe"] {
        walk(&root().join(folder), &mut files);
    }
    let mut found = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let blocks: Vec<&str> = match file.extension().and_then(|extension| extension.to_str()) {
            Some("md") => {
                text.split("```yaml\n").skip(1).map(|b| b.split("```").next().unwrap()).collect()
            }
            Some("yaml") => vec![&text],
            _ => continue,
        };
        let documents = blocks.iter().flat_map(|block| block.split("\n---"));
        for document in documents.filter(|document| document.contains("apiVersion: hopgate.dev")) {
            if parse("shipped", document).is_ok_and(|resources| resources.len() == 1) {
                found.push((file.clone(), serde_saphyr::from_str(document).unwrap()));
            }
        }
    }
    found
}

#[tokio::test]
async fn every_shipped_resource_is_taken() {
    let namespace = Namespace::with_resources("shipped").await;
    let shipped = shipped();
    for definition in DEFINITIONS {
        let of_kind = shipped.iter().filter(|(_, one)| one["kind"] == definition.kind);
        assert!(of_kind.count() > 0, "no {} is shipped", definition.kind);
    }
    assert!(shipped.len() > 40, "{}", shipped.len());
    for (file, resource) in shipped {
        if let Err(message) = tried(&namespace, resource.clone()).await {
            panic!("{}: {message}\n{resource:#}", file.display());
        }
    }
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_its_field() {
    let namespace = Namespace::with_resources("refused").await;
    let rule = |rule: Value| json!({ "rules": [rule] });
    let allow = |allow: Value| rule(json!({ "name": "r", "allow": allow }));
    let provider =
        |keys: Value| json!({ "issuer": "https://sso.example", "audiences": ["a"], "keys": keys });
    let cases = [
        (
            "AccessPolicy",
            json!({}),
            "spec | at least one of rules, identity, response must be there",
        ),
        (
            "AccessPolicy",
            json!({ "mode": "Report", "rules": [{ "name": "r", "deny": {} }] }),
            "spec.mode | Unsupported value: \"Report\"",
        ),
        (
            "AccessPolicy",
            json!({ "selector": { "matchLabels": {} } }),
            "spec.selector.matchLabels | Invalid value",
        ),
        (
            "AccessPolicy",
            rule(json!({ "name": "r" })),
            "spec.rules[0] | exactly one of allow, deny must be there",
        ),
        (
            "AccessPolicy",
            rule(json!({ "name": "r", "allow": { "users": {} }, "deny": {} })),
            "spec.rules[0] | exactly one of allow, deny",
        ),
        ("AccessPolicy", rule(json!({ "deny": {} })), "spec.rules[0].name | Required value"),
        (
            "AccessPolicy",
            rule(json!({ "name": "a b", "deny": {} })),
            "spec.rules[0].name | Invalid value",
        ),
        (
            "AccessPolicy",
            rule(json!({ "name": "r", "deny": { "stepUp": { "amr": ["mfa"] } } })),
            "spec.rules[0].deny.stepUp | stands in a deny",
        ),
        (
            "AccessPolicy",
            allow(json!({ "notPeers": ["none"] })),
            "spec.rules[0].allow | does not say whom or what it admits",
        ),
        (
            "AccessPolicy",
            allow(json!({ "peers": "ns/a/sa/b" })),
            "spec.rules[0].allow.peers | expected list",
        ),
        ("AccessPolicy", allow(json!({ "peers": [] })), "spec.rules[0].allow.peers | "),
        (
            "AccessPolicy",
            allow(json!({ "peers": ["a/b"] })),
            "spec.rules[0].allow.peers[0] | Invalid value: \"a/b\"",
        ),
        (
            "AccessPolicy",
            allow(json!({ "requests": [{ "ports": [65536] }] })),
            "spec.rules[0].allow.requests[0].ports[0] | Invalid value: 65536",
        ),
        (
            "AccessPolicy",
            allow(json!({ "requests": [{ "methods": [true] }] })),
            "spec.rules[0].allow.requests[0].methods[0] | ",
        ),
        (
            "AccessPolicy",
            allow(json!({ "users": {}, "times": [{ "from": "08:00" }] })),
            "spec.rules[0].allow.times[0] | from and to stand together",
        ),
        ("IdentityProvider", provider(json!({})), "spec.keys | exactly one of discovery, jwksUri"),
        (
            "IdentityProvider",
            provider(json!({ "pem": "a", "pemFile": "b" })),
            "spec.keys | exactly one of discovery, jwksUri",
        ),
        (
            "IdentityProvider",
            json!({ "algorithms": ["HS256"], "keys": { "discovery": {} } }),
            "spec.algorithms | HS algorithms go with keys.secretFile",
        ),
        (
            "IdentityProvider",
            json!({ "from": [{ "cookie": "a" }] }),
            "spec.from[0] | a cookie needs csrf",
        ),
        (
            "IdentityProvider",
            json!({ "from": [{ "header": "a", "query": "b" }] }),
            "spec.from[0] | exactly one of header, cookie, query",
        ),
        ("IdentityProvider", json!({ "leeway": 30 }), "spec.leeway | expected string"),
        (
            "MeshPolicy",
            json!({ "withoutPolicy": "Allow" }),
            "spec.withoutPolicy | Unsupported value: \"Allow\"",
        ),
        (
            "MeshPolicy",
            json!({ "limits": { "pathBytes": 1 } }),
            "spec.limits.pathBytes | Invalid value: 1",
        ),
        ("MeshPolicy", json!({ "trustedHops": "1" }), "spec.trustedHops | expected numeric"),
        (
            "PolicyEngine",
            json!({}),
            "spec | exactly one of rego, casbin, opa, subjectAccessReview, openFga, extAuthz",
        ),
        (
            "PolicyEngine",
            json!({ "rego": { "policyFiles": ["a.rego"] }, "http": {} }),
            "spec.http | there is no server to be reached",
        ),
        (
            "PolicyEngine",
            json!({ "openFga": { "url": "https://f" } }),
            "spec.openFga.store | Required value",
        ),
    ];
    for (kind, spec, said) in cases {
        let resource = json!({
            "apiVersion": "hopgate.dev/v1alpha1",
            "kind": kind,
            "metadata": { "name": "bad" },
            "spec": spec,
        });
        let Err(message) = tried(&namespace, resource.clone()).await else {
            panic!("it is taken: {resource}");
        };
        // The API server names the value, or its type, between field and words.
        let (field, words) = said.split_once(" | ").unwrap();
        let named = message.contains(&format!("{field}: ")) && message.contains(words);
        assert!(named, "{resource}\nexpected {said}\n     got {message}");
    }
}

/// A pruned field would be a restriction that is gone, whoever writes it and however.
#[tokio::test]
async fn no_field_is_dropped_in_silence() {
    let namespace = Namespace::with_resources("unknown").await;
    let resource = json!({
        "apiVersion": "hopgate.dev/v1alpha1",
        "kind": "AccessPolicy",
        "metadata": { "name": "odd", "namespace": namespace.name },
        "selector": { "matchLabels": { "app": "a" } },
        "spec": {
            "rules": [{ "name": "r", "allow": { "peers": ["ns/a/sa/b"], "usres": { "roles": ["admin"] } } }],
            "moed": "Audit",
        },
    });
    let policies = resources_of(&namespace, "AccessPolicy");
    let written: DynamicObject = serde_json::from_value(resource.clone()).unwrap();
    let made = policies.create(&Default::default(), &written).await.unwrap();
    assert_eq!(made.data["spec"], resource["spec"]);
    assert_eq!(made.data["selector"], resource["selector"]);
    for unknown in ["/selector", "/spec/moed", "/spec/rules/0/allow/usres"] {
        let mut others = resource.clone();
        for other in ["/selector", "/spec/moed", "/spec/rules/0/allow/usres"] {
            let (parent, field) = other.rsplit_once('/').unwrap();
            if other != unknown {
                others.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field);
            }
        }
        let said = parse("odd", &others.to_string()).unwrap_err().to_string();
        let field = unknown.rsplit_once('/').unwrap().1;
        assert!(said.contains(&format!("unknown field `{field}`")), "{said}");
    }
}
