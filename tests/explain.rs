//! `hopgate explain` and `hopgate policy replay`, as they are called.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::ask::{self, Sidecar};
use crate::support::golden;

const SITE: &[&str] = &[
    "--resources",
    "orders.yaml,provider.yaml",
    "--namespace",
    "shop",
    "--label",
    "app=orders",
    "--trust-domain",
    "demo.mesh",
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/explain")
}

fn hopgate(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(arguments)
        .current_dir(folder())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn explain(arguments: &[&str], code: i32) -> String {
    let output = hopgate(&[&["explain"], arguments, SITE].concat(), "");
    let (out, err) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    assert_eq!(err, "", "{arguments:?}");
    out
}

const ALICE: &[&str] = &[
    "--peer",
    "ns/shop/sa/web",
    "--user",
    "alice",
    "--role",
    "customer",
    "--scope",
    "orders:read",
];

#[test]
fn a_described_request_is_explained_with_the_rule_that_came_closest() {
    for (name, arguments, code) in [
        ("own-orders", [&["GET", "/customers/alice/orders"], ALICE].concat(), 0),
        ("others-orders", [&["GET", "/customers/bob/orders"], ALICE].concat(), 1),
        ("another-method", [&["POST", "/customers/alice/orders"], ALICE].concat(), 1),
        (
            "another-peer",
            vec![
                "GET",
                "/customers/alice/orders",
                "--peer",
                "ns/shop/sa/orders",
                "--user",
                "alice",
                "--role",
                "customer",
            ],
            1,
        ),
        ("anonymous", vec!["GET", "/customers/alice/orders", "--peer", "ns/shop/sa/web"], 1),
        ("denied", vec!["GET", "/internal/keys", "--peer", "ns/ops/sa/robot"], 1),
        ("ambiguous-path", vec!["GET", "/a/../b", "--peer", "ns/shop/sa/web"], 1),
        (
            "another-host",
            vec!["GET", "/export/all", "--host", "shop.example", "--source", "192.168.1.1"],
            1,
        ),
        (
            "excepted-peer",
            vec![
                "GET",
                "/export/all",
                "--host",
                "orders.example",
                "--source",
                "10.1.1.1",
                "--peer",
                "ns/shop/sa/web",
            ],
            1,
        ),
        ("step-up", vec!["--case", "case.yaml"], 1),
        ("every-rule", vec!["GET", "/nowhere", "--peer", "ns/shop/sa/web", "--all"], 1),
    ] {
        golden(&format!("explain/{name}.txt"), &explain(&arguments, code));
    }
}

#[test]
fn a_record_is_explained_by_what_it_holds_and_nothing_is_guessed() {
    for (name, id, code) in
        [("record-refused", "r-2", 1), ("record-expired", "r-3", 1), ("record-admitted", "r-1", 0)]
    {
        let told = explain(&["--decisions", "decisions.log", "--request-id", id], code);
        golden(&format!("explain/{name}.txt"), &told);
    }
    let output = hopgate(&["explain", "--decisions", "decisions.log", "--request-id", "r-99"], "");
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("none of its 8 records is of request r-99"), "{error}");
    let line = std::fs::read_to_string(folder().join("decisions.log")).unwrap();
    let line = line.lines().nth(6).unwrap();
    let output = hopgate(&["explain", "--decisions", "-"], line);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("shop/orders#internals-stay-internal"), "{told}");
    assert!(told.contains("say by which rules"), "{told}");
}

#[test]
fn machines_read_the_same() {
    let arguments = [&["GET", "/customers/bob/orders", "--output", "json"], ALICE].concat();
    let told: Value = serde_json::from_str(&explain(&arguments, 1)).unwrap();
    assert_eq!(told["decision"], "deny");
    assert_eq!(told["code"], "no_rule_allows");
    assert_eq!(told["status"], 403);
    assert_eq!(told["beforeRules"], false);
    let nearest = &told["nearest"];
    assert_eq!(nearest["rule"], "shop/orders#customers-read-their-own-orders");
    assert!(nearest["at"].as_str().unwrap().ends_with("orders.yaml:8"), "{nearest}");
    let unmet: Vec<&Value> =
        nearest["parts"].as_array().unwrap().iter().filter(|part| part["state"] != "met").collect();
    assert_eq!(unmet.len(), 1);
    assert_eq!(unmet[0]["field"], "when");
    assert_eq!(unmet[0]["held"], "user.sub is \"alice\", path.customer is \"bob\"");
}

#[test]
fn what_cannot_be_explained_says_what_is_missing() {
    for (arguments, part) in [
        (&["explain", "GET", "/"][..], "say by which rules"),
        (
            &["explain", "--resources", "orders.yaml,provider.yaml", "--namespace", "shop"],
            "say what to explain",
        ),
        (&["explain", "--admin", "192.0.2.1:80", "--request-id", "x"], "loopback"),
        (&["explain", "--decisions", "case.yaml"], "no decision record"),
    ] {
        let output = hopgate(arguments, "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(part), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_sidecar_is_asked_for_its_decision_its_workload_and_its_rules() {
    let read = |name: &str| std::fs::read_to_string(folder().join(name)).unwrap();
    let (orders, provider) = (read("orders.yaml"), read("provider.yaml"));
    let files = [("orders.yaml", orders.as_str()), ("provider.yaml", provider.as_str())];
    let mut sidecar = Sidecar::start("explain", &files).await;
    let path = "/customers/bob/orders";
    sidecar.ask(ask::get(path, &[("x-request-id", "asked-for")])).await;
    sidecar.ask(ask::get("/other", &[("x-request-id", "later")])).await;
    let admin = sidecar.admin.to_string();
    let output = tokio::task::spawn_blocking(move || {
        hopgate(&["explain", "--admin", &admin, "--request-id", "asked-for"], "")
    })
    .await
    .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("GET /customers/bob/orders"), "{told}");
    assert!(told.contains("closest is allow shop/orders#"), "{told}");
    sidecar.stop().await;
}

#[test]
fn recorded_decisions_are_judged_again_and_what_is_not_known_is_counted() {
    let arguments = |log: &'static str, against: &'static str| {
        [
            &["policy", "replay", log, "--against", against][..],
            &["--namespace", "shop", "--label", "app=orders", "--trust-domain", "demo.mesh"],
        ]
        .concat()
    };
    let output = hopgate(&arguments("decisions.log", "stricter.yaml,provider.yaml"), "");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    golden("explain/replay.txt", &String::from_utf8(output.stdout).unwrap());

    let mut json = arguments("decisions.log", "stricter.yaml,provider.yaml");
    json.extend(["--output", "json"]);
    let told: Value = serde_json::from_slice(&hopgate(&json, "").stdout).unwrap();
    assert_eq!(told["beforeRules"], 1);
    assert_eq!(told["nowAdmitted"], 1, "{told:#}");
    assert_eq!(told["nowRefused"], 1, "{told:#}");
    assert_eq!(told["cannotTell"], 2, "{told:#}");

    let same = "{\"time\":\"2026-01-01T12:00:00Z\",\"decision\":\"allow\",\"rule.name\":\"shop/orders#the-robot-may-do-all\",\
                \"peer.id\":\"spiffe://demo.mesh/ns/ops/sa/robot\",\"request.method\":\"GET\",\"request.host\":\"orders\",\"request.path\":\"/x\"}\n";
    let output = hopgate(&arguments("-", "orders.yaml,provider.yaml"), same);
    assert_eq!(output.status.code(), Some(0));
    let unknown = same
        .replace("\"request.path\":\"/x\"", "\"request.path\":\"/exports/1\"")
        .replace("ops/sa/robot", "shop/sa/web")
        .replace(
            "\"request.method\"",
            "\"user.provider\":\"sso\",\"user.id\":\"bob\",\"request.method\"",
        );
    let output = hopgate(&arguments("-", "stricter.yaml,provider.yaml"), &unknown);
    assert_eq!(output.status.code(), Some(2), "a deny that asks for claims cannot be told");
}

#[test]
fn who_may_call_whom_is_drawn() {
    let draw = |arguments: &[&str]| {
        let output = hopgate(&[&["policy", "graph"], arguments].concat(), "");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let demo = "../../src/demo/files";
    golden("graph/demo.mmd", &draw(&[demo]));
    golden("graph/demo.dot", &draw(&[demo, "--format", "dot"]));
    golden("graph/demo.svg", &draw(&[demo, "--format", "svg"]));
    let real = draw(&[demo, "--manifests", "manifests", "--format", "mermaid"]);
    golden("graph/manifests.mmd", &real);
    assert!(real.contains("no policy: refuses everybody"), "{real}");
    golden("graph/orders.svg", &draw(&["orders.yaml", "--format", "svg"]));
    assert!(!draw(&[demo, "--namespace", "other"]).contains("orders"));
}

#[test]
fn the_page_shows_what_the_program_says() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/explain.md")).unwrap();
    for name in ["others-orders", "denied", "record-expired", "record-refused", "replay"] {
        let file = root.join(format!("tests/golden/explain/{name}.txt"));
        let told = std::fs::read_to_string(file).unwrap();
        assert!(page.contains(&told), "{name}");
    }
}
