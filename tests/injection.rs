//! `hopgate inject`: golden manifests, and what is said of them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Scratch, golden};

const KEY: &str = "000102030405060708090a0b0c0d0e0f";

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/injection").join(name)
}

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn inject(arguments: &[&str], stdin: &str) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(["inject", "--config"])
        .arg(here("control.yaml"))
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn shop() -> String {
    std::fs::read_to_string(here("manifests/shop.yaml")).unwrap()
}

#[test]
fn manifests_get_their_gates_and_everything_else_stays_byte_for_byte() {
    let said = inject(&["--probe-key", KEY, "-f", "-"], &shop());
    assert_eq!(said.code, Some(1), "the pods of node-agent can have no gate: {}", said.stderr);
    golden("inject/shop.yaml", &said.stdout);
    golden("inject/shop.txt", &said.stderr);
    let parts = |text: &str| text.split("---\n").map(str::to_owned).collect::<Vec<_>>();
    let (before, after) = (parts(&shop()), parts(&said.stdout));
    assert_eq!(before.len(), after.len());
    for at in [0, 2, 4] {
        assert_eq!(before[at], after[at], "nothing of this document changes");
    }
    assert!(after[1].starts_with("# The service itself.\n"), "comments before it stay");

    // Twice is once.
    let again = inject(&["--probe-key", KEY, "-f", "-"], &said.stdout);
    assert_eq!(again.stdout, said.stdout);
    assert!(again.stderr.contains("Deployment shop/orders: skipped: it has its gate already"));
}

/// What the webhook hands a sidecar is what a sidecar takes.
#[test]
fn the_configuration_of_an_injected_pod_is_loaded_by_the_sidecar() {
    let said = inject(&["--output", "json", "-f", "-"], &shop());
    let told: Value = serde_json::from_str(&said.stdout).unwrap();
    let start = &told["resources"][1]["spec"]["template"]["spec"]["initContainers"];
    let sidecar = &start[1];
    assert_eq!(
        (sidecar["name"].as_str(), &sidecar["args"][0]),
        (Some("hopgate"), &Value::from("sidecar"))
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopgate"));
    command.args(["sidecar", "--validate"]).env_clear();
    for variable in sidecar["env"].as_array().unwrap() {
        let field = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str();
        let value = match field {
            None => variable["value"].as_str().unwrap().replace("$$", "$"),
            Some("metadata.namespace") => "shop".to_owned(),
            Some("spec.serviceAccountName") => "orders".to_owned(),
            Some("metadata.uid") => "8a8e1c9e-0000-4000-8000-000000000001".to_owned(),
            Some("status.podIP") => "10.1.2.3".to_owned(),
            Some("status.podIPs") => "10.1.2.3,fd00::3".to_owned(),
            Some(other) => panic!("{other}"),
        };
        command.env(variable["name"].as_str().unwrap(), value);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("means nothing"), "{said}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("spiffe://demo.mesh/ns/shop/sa/orders"), "{printed}");
}

#[test]
fn machines_read_what_was_done() {
    let file = here("manifests/shop.yaml");
    let said = inject(&["--output", "json", "-f", file.to_str().unwrap()], "");
    assert_eq!(said.code, Some(1));
    let told: Value = serde_json::from_str(&said.stdout).unwrap();
    let workloads = told["workloads"].as_array().unwrap();
    let short: Vec<String> = workloads
        .iter()
        .map(|w| format!("{} {} {}", w["name"], w["outcome"], w["reason"]))
        .collect();
    assert_eq!(
        short,
        [
            r#""orders" "Injected" null"#,
            r#""node-agent" "Skipped" "HostNetwork""#,
            r#""report" "Injected" null"#,
            r#""debug" "Skipped" "OptedOut""#,
            r#""canary" "Skipped" "OtherRevision""#,
        ]
    );
    assert_eq!(told["resources"].as_array().unwrap().len(), 5);
    // Two runs do not share the key of their probes.
    let other = inject(&["--output", "json", "-f", file.to_str().unwrap()], "");
    assert_ne!(other.stdout, said.stdout);
}

#[test]
fn what_is_not_understood_is_refused_as_a_whole() {
    let deployment = |annotation: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: orders}}\n\
             spec: {{template: {{metadata: {{annotations: {{{annotation}}}}}, spec: {{containers: [{{name: app}}]}}}}}}\n"
        )
    };
    for (manifest, words) in [
        (deployment("hopgate.dev/image: mine"), "annotation hopgate.dev/image means nothing here"),
        (deployment("hopgate.dev/exclude-uids: root"), "\"root\" is no user"),
        (deployment("hopgate.dev/inject: 'yes'"), "write enabled or disabled"),
        ("a: [".to_owned(), "stdin:1 is no YAML"),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {}\n".to_owned(),
            "has no spec.template",
        ),
    ] {
        let said = inject(&["-f", "-"], &manifest);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{manifest}");
        assert!(said.stderr.contains(words), "{words}: {}", said.stderr);
    }
    let said = inject(&["-f", "-"], &deployment("hopgate.dev/log-level: loud"));
    assert!(said.stderr.contains("stdin:4: Deployment orders"), "{}", said.stderr);
    let said = inject(&["-f", "/nonexistent.yaml"], "");
    assert_eq!(said.code, Some(2));

    // Without the section there is nothing to inject by; without tokens no pod could prove itself.
    let scratch = Scratch::new("inject-config");
    let base = "trustDomain: demo.mesh\nlisten: 127.0.0.1:0\ndirectory: ca\n";
    let injection = "injection: { image: i, envoyImage: e, control: 'https://c:1' }\n";
    for (config, words) in [
        (base.to_owned(), "has no section injection"),
        (format!("{base}{injection}"), "attest.kubernetes.audience is needed"),
        (
            format!(
                "{base}attest: {{ kubernetes: {{ audience: h }} }}\n{}",
                injection.replace("https", "http")
            ),
            "injection.control",
        ),
    ] {
        let file = scratch.write("control.yaml", &config);
        let output = Command::new(env!("CARGO_BIN_EXE_hopgate"))
            .args(["inject", "-f", "-", "--config"])
            .arg(file)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn streams_without_anything_to_inject_pass_as_they_are() {
    for text in [
        "",
        "# nothing\n",
        "---\n---\n",
        "a: 1",
        "kind: Deployment\napiVersion: extensions/v1beta1\n",
    ] {
        let said = inject(&["-f", "-"], text);
        assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (Some(0), text, ""));
    }
}
