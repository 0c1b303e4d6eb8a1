//! What a check finds, how it is told, and the exit codes.

use std::io::Write as _;
use std::process::{Command, Stdio};

use hopgate::policy::lint::{Checked, Lint, check, workloads};
use hopgate::policy::yaml;
use serde::Deserialize;
use serde_json::Value;

use super::{policy, root, stderr, stdout};
use crate::support::{Scratch, golden};

/// One entry of `tests/policies/lints.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    lint: String,
    #[serde(default)]
    manifests: Option<String>,
    bad: String,
    good: String,
}

#[test]
fn each_kind_is_found_where_it_is_and_only_there() {
    let text = std::fs::read_to_string(root().join("tests/policies/lints.yaml")).unwrap();
    let pairs: Vec<Pair> = yaml::parse_one("lints.yaml", &text).unwrap_or_else(|e| panic!("{e}"));
    let mut wrong = Vec::new();
    for pair in &pairs {
        let manifests = pair.manifests.as_ref().map(|text| workloads("m.yaml", text).unwrap());
        let found = |text: &str| {
            let texts = [("p.yaml".to_owned(), text.to_owned())];
            let workloads = manifests.as_deref();
            let found = check(&Checked { texts: &texts, providers: &[], workloads });
            assert!(found.iter().all(|finding| finding.place.is_some()), "{found:?}");
            found.iter().map(|finding| finding.lint.id()).collect::<Vec<_>>()
        };
        if found(&pair.bad) != [pair.lint.as_str()] || !found(&pair.good).is_empty() {
            let (bad, good) = (found(&pair.bad), found(&pair.good));
            wrong.push(format!("{}: {bad:?}, then {good:?}\n{}", pair.lint, pair.bad));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for lint in Lint::ALL {
        assert!(pairs.iter().any(|pair| pair.lint == lint.id()), "{lint:?} is not shown");
    }
}

/// Everything that can be told, in one folder.
fn site(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    std::fs::create_dir(scratch.path().join("policies")).unwrap();
    scratch.write(
        "policies/orders.yaml",
        "apiVersion: hopgate.dev/v1alpha1\n\
         kind: AccessPolicy\n\
         metadata: { name: orders, namespace: shop }\n\
         spec:\n\
         \x20 rules:\n\
         \x20   - name: everybody\n\
         \x20     allow:\n\
         \x20       requests: [{ methods: [GET], paths: [\"/orders/**\"] }]\n\
         \x20   - name: one\n\
         \x20     allow:\n\
         \x20       users: { roles: [\"^admin$\"] }\n\
         \x20       requests: [{ methods: [GET], paths: [\"/orders/{id}\"] }]\n",
    );
    scratch.write(
        "policies/typo.yaml",
        "apiVersion: hopgate.dev/v1alpha1\n\
         kind: AccessPolicy\n\
         metadata: { name: typo, namespace: shop }\n\
         spec: { rules: [{ name: x, allow: { requests: [{ methods: [get] }] } }] }\n",
    );
    // A suite beside the policies is none.
    scratch.write("policies/orders.test.yaml", "resources: [orders.yaml]\n");
    scratch
}

#[test]
fn findings_name_file_line_and_column_and_show_the_line() {
    let scratch = site("check-text");
    let output = policy(scratch.path(), &["check", "policies"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    golden("policy-check.txt", &stdout(&output));
    let output = policy(scratch.path(), &["check", "policies", "--output", "json"]);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&json["errors"], &json["warnings"]), (&Value::from(1), &Value::from(3)));
    assert_eq!(json["findings"][0]["id"], "open");
    assert_eq!(json["findings"][0]["line"], 6);
}

#[test]
fn sarif_is_what_the_standard_says() {
    let scratch = site("check-sarif");
    let output = policy(scratch.path(), &["check", "policies", "--output", "sarif"]);
    assert_eq!(output.status.code(), Some(1));
    let log: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let schema = std::fs::read_to_string(root().join("tests/support/sarif-2.1.0.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&log).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    let error = results.iter().find(|result| result["level"] == "error").unwrap();
    assert_eq!(error["ruleId"], "invalid");
    let place = &error["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "policies/typo.yaml");
    assert_eq!(place["region"]["startLine"], 4);
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
    }
}

#[test]
fn exit_codes_tell_clean_found_and_could_not_tell() {
    let scratch = site("check-codes");
    let code = |arguments: &[&str]| {
        let output = policy(scratch.path(), &[&["check"], arguments].concat());
        (output.status.code(), stdout(&output) + stderr(&output).as_str())
    };
    let orders = "policies/orders.yaml";
    assert_eq!(code(&[orders]).0, Some(0), "warnings alone do not fail");
    assert_eq!(code(&[orders, "--strict"]).0, Some(1));
    let all = ["--ignore", "open", "--ignore", "shadowed", "--ignore", "looks-like-pattern"];
    assert_eq!(code(&[&[orders, "--strict"][..], &all].concat()).0, Some(0));
    assert_eq!(code(&["policies/typo.yaml"]).0, Some(1));
    for (arguments, part) in [
        (&["nowhere"][..], "nowhere"),
        (&[orders, "--manifests", "nowhere"], "nowhere"),
        (&[orders, "--ignore", "opne"], "expected one of"),
        (&[orders, "--ignore", "invalid"], "expected one of"),
        (&["."], "no *.yaml"),
        (&[], "PATH"),
    ] {
        let (status, text) = code(arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {text}");
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
}

#[test]
fn stdin_is_checked_too() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(["policy", "check", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"kind: AccessPolicy\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).starts_with("<stdin>:1:1: error[invalid]: "), "{}", stdout(&output));
}

#[test]
fn every_example_is_clean() {
    for entry in std::fs::read_dir(root().join("examples/policies")).unwrap() {
        let folder = entry.unwrap().path();
        if folder.is_dir() {
            let output = policy(&root(), &["check", "--strict", folder.to_str().unwrap()]);
            assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
        }
    }
}

#[test]
fn every_kind_is_documented() {
    let page = std::fs::read_to_string(root().join("docs/policy-tools.md")).unwrap();
    for lint in Lint::ALL {
        assert!(page.contains(&format!("`{}`", lint.id())), "{lint:?}");
    }
}
