//! The demo's tour with real Envoys: every step as expected.

use std::io::Write as _;
use std::process::Command;

use serde_json::Value;

#[test]
fn the_tour_is_as_expected_at_every_step() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_hopgate"));
    demo.args(["demo", "--output", "json"]);
    let output = demo.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no report ({error}); it said:\n{told}"));

    let steps = report["steps"].as_array().unwrap();
    let wrong: Vec<_> = steps.iter().filter(|step| step["ok"] != true).collect();
    assert!(wrong.is_empty(), "not as expected: {wrong:#?}\nit said:\n{told}");
    // In a cluster they are taken too.
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, crate::cluster::STEPS);
    assert_eq!(output.status.code(), Some(0));

    // Past the test harness, which keeps what a passing test prints to itself.
    let version = report["envoy"].as_str().unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "end to end: {} steps with Envoy {version}", steps.len()).unwrap();
}

#[test]
fn without_an_envoy_the_demo_says_what_to_do() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_hopgate"));
    let output = demo.args(["demo", "--envoy", "/no/such/envoy"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("/no/such/envoy") && told.contains("make demo"), "{told}");
}
