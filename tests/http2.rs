//! The door that Envoy asks at, against h2spec: a tool that breaks HTTP/2 in every way that its specification names.

use std::collections::BTreeSet;
use std::process::Stdio;

use tokio::process::Command;

use crate::support::ask::{Sidecar, get, meaning};
use crate::support::tool;

/// Errors by RFC 7540 that are none by RFC 9113, which gave priorities up (section 5.3.2).
const NO_ERRORS_ANY_MORE: [(&str, &str); 2] = [
    ("http2/5.3.1", "Sends HEADERS frame that depend on itself"),
    ("http2/5.3.1", "Sends PRIORITY frame that depend on itself"),
];

const POLICY: &str = "\
    apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: orders, namespace: shop }\n\
    spec: { rules: [{ name: public, allow: { requests: [{ paths: [/public] }] } }] }\n";

#[tokio::test]
async fn the_specification_of_http2_is_kept() {
    let mut sidecar = Sidecar::start("h2spec", &[("orders.yaml", POLICY)]).await;
    let address = sidecar.tcp().to_string();
    let (host, port) = address.rsplit_once(':').unwrap();
    let report = sidecar.scratch.path().join("report.xml");
    let ran = Command::new(tool("HOPGATE_H2SPEC", "h2spec.sh"))
        .args(["--host", host, "--port", port, "--timeout", "2"])
        .args(["--path", "/envoy.service.auth.v3.Authorization/Check", "--junit-report"])
        .arg(&report)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    let report = std::fs::read_to_string(report).unwrap_or_else(|error| panic!("{error}: {said}"));
    let (all, failed) = cases(&report);
    assert!(all > 140, "{all} cases: {said}");
    let expected = BTreeSet::from(NO_ERRORS_ANY_MORE.map(|(at, what)| (at.into(), what.into())));
    assert_eq!(failed, expected, "{said}");
    // A peer that breaks the protocol harms only its own connection.
    for (path, allowed) in [("/public", true), ("/other", false)] {
        assert_eq!(meaning(sidecar.ask(get(path, &[])).await).allowed, allowed, "{path}");
    }
    sidecar.stop().await;
}

/// How many cases a report names, and which of them failed: where they stand, and what they do.
fn cases(report: &str) -> (usize, BTreeSet<(String, String)>) {
    let cases: Vec<&str> = report.split("<testcase ").skip(1).collect();
    let attribute = |case: &str, name: &str| -> String {
        let (_, behind) = case.split_once(&format!("{name}=\"")).unwrap();
        behind.split('"').next().unwrap().to_owned()
    };
    let failed = cases.iter().filter(|case| case.contains("<failure") || case.contains("<error"));
    let named = failed.map(|case| (attribute(case, "package"), attribute(case, "classname")));
    (cases.len(), named.collect())
}

#[test]
fn a_failure_in_a_report_is_seen() {
    let report = r#"<testsuite><testcase package="a/1" classname="good" time="0"></testcase>
        <testcase package="a/2" classname="bad" time="0"><error>why</error></testcase></testsuite>"#;
    assert_eq!(cases(report), (2, BTreeSet::from([("a/2".to_owned(), "bad".to_owned())])));
}
