//! Suites: what passes, what fails and how it is told, what no case would notice, and the shipped ones.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{policy, root, stderr, stdout};
use crate::support::{Scratch, golden};

const POLICY: &str = "apiVersion: hopgate.dev/v1alpha1\n\
    kind: AccessPolicy\n\
    metadata: { name: orders, namespace: shop }\n\
    spec:\n\
    \x20 rules:\n\
    \x20   - name: readers\n\
    \x20     allow:\n\
    \x20       users: { roles: [reader, editor], scopes: [orders] }\n\
    \x20       requests: [{ methods: [GET], paths: [\"/orders/**\"] }]\n\
    \x20   - name: closed\n\
    \x20     deny: { requests: [{ paths: [\"/orders/closed\"] }] }\n";

const HEAD: &str = "resources: [orders.yaml]\n\
    providers: [sso]\n\
    workload: { namespace: shop }\n\
    users:\n\
    \x20 ann: { sub: ann, roles: [reader], scopes: [orders] }\n\
    \x20 bob: { sub: bob, scopes: [orders] }\n\
    cases:\n";

const GOOD: &str = "  - { name: reads, user: ann, request: GET /orders/7, expect: allow, rule: readers }\n\
    \x20 - { name: reads not, user: bob, request: GET /orders/7, expect: deny, code: no_rule_allows }\n\
    \x20 - { name: closed, user: ann, request: GET /orders/closed, expect: deny, rule: orders#closed }\n";

fn site(name: &str, cases: &str) -> Scratch {
    let scratch = Scratch::new(name);
    scratch.write("orders.yaml", POLICY);
    scratch.write("orders.test.yaml", &format!("{HEAD}{cases}"));
    scratch
}

#[test]
fn a_suite_that_passes_says_so_and_covers() {
    let scratch = site("suite-good", GOOD);
    let output = policy(scratch.path(), &["test", ".", "--min-coverage", "100"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert_eq!(
        stdout(&output),
        "./orders.test.yaml: 3 of 3 cases passed\ncases passed 3 of 3\nrules covered 2 of 2\n"
    );
}

#[test]
fn a_failing_case_shows_what_was_expected_what_came_and_why() {
    let cases = "  - { name: wrong outcome, user: bob, request: GET /orders/7, expect: allow }\n\
        \x20 - { name: wrong rule, user: ann, request: GET /orders/7, expect: allow, rule: closed }\n\
        \x20 - { name: wrong code, request: GET /orders/7, expect: deny, code: no_rule_allows, status: 403 }\n\
        \x20 - { name: wrong header, user: ann, request: GET /orders/7, expect: allow, headers: { X-Hopgate-User: bob }, withoutHeaders: [x-hopgate-user] }\n\
        \x20 - { name: wrong answer, request: GET /orders/7, expect: deny, answerHeaders: { content-type: text/plain } }\n\
        \x20 - { name: nobody is asked, user: ann, request: GET /orders/%2e, expect: allow }\n\
        \x20 - { name: nothing is for it, peer: ns/shop/sa/web, connection: {}, expect: allow }\n";
    let scratch = site("suite-bad", cases);
    let output = policy(scratch.path(), &["test", "orders.test.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    golden("policy-test-failed.txt", &stdout(&output));
    let output = policy(scratch.path(), &["test", "orders.test.yaml", "--output", "json"]);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&json["passed"], &json["cases"]["failed"]), (&Value::Bool(false), &Value::from(7)));
    let case = &json["suites"][0]["cases"][0];
    assert_eq!(case["differences"][0]["got"], "deny (no_rule_allows)");
    assert_eq!(json["rules"]["uncovered"].as_array().unwrap().len(), 2);
}

#[test]
fn junit_holds_every_case_and_every_failure() {
    let cases = format!(
        "{GOOD}  - {{ name: \"less < more & \\\"so\\\"\", user: bob, request: GET /orders/7, expect: allow }}\n"
    );
    let scratch = site("suite-junit", &cases);
    let output = policy(scratch.path(), &["test", ".", "--junit", "out.xml"]);
    assert_eq!(output.status.code(), Some(1));
    let text = std::fs::read_to_string(scratch.path().join("out.xml")).unwrap();
    let mut reader = quick_xml::Reader::from_str(&text);
    let (mut cases, mut failures, mut names) = (0, 0, Vec::new());
    loop {
        use quick_xml::events::Event;
        match reader.read_event().unwrap() {
            Event::Eof => break,
            Event::Start(tag) | Event::Empty(tag) if tag.name().as_ref() == "testcase" => {
                cases += 1;
                let name = tag.try_get_attribute("name").unwrap().unwrap();
                names.push(
                    name.normalized_value(quick_xml::XmlVersion::default()).unwrap().into_owned(),
                );
            }
            Event::Start(tag) if tag.name().as_ref() == "failure" => failures += 1,
            _ => {}
        }
    }
    assert_eq!((cases, failures), (4, 1), "{text}");
    assert!(names.contains(&"less < more & \"so\"".to_owned()), "{names:?}");
    assert!(text.contains("tests=\"4\" failures=\"1\""), "{text}");
}

#[test]
fn too_few_rules_covered_fail() {
    let scratch = site("suite-coverage", GOOD.lines().next().unwrap());
    let run = |least: &str| policy(scratch.path(), &["test", ".", "--min-coverage", least]);
    assert_eq!(run("50").status.code(), Some(0));
    let output = run("51");
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("rules covered 1 of 2\n"), "{text}");
    assert!(text.contains("decides no case: shop/orders#closed (orders.yaml:10)"), "{text}");
    assert!(text.contains("50 % of the rules are covered, at least 51 % must be"), "{text}");
}

#[test]
fn parts_that_no_case_would_miss_are_named() {
    let scratch = site("suite-parts", GOOD);
    let output = policy(scratch.path(), &["test", ".", "--parts", "--output", "json"]);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let unnoticed: Vec<&str> = json["unnoticed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["change"].as_str().unwrap())
        .collect();
    assert_eq!(
        unnoticed,
        [
            "without `allow.users.roles[1]`",
            "without `allow.users.scopes`",
            "without `allow.requests`",
            "without `allow.requests[0].methods`",
            "without `allow.requests[0].paths`",
        ]
    );
    let more = format!(
        "{GOOD}  - {{ name: edits, user: {{ sub: e, roles: [editor], scopes: [orders] }}, request: GET /orders/7, expect: allow }}\n\
         \x20 - {{ name: no scope, user: {{ sub: e, roles: [editor] }}, request: GET /orders/7, expect: deny }}\n\
         \x20 - {{ name: no write, user: ann, request: PUT /orders/7, expect: deny }}\n\
         \x20 - {{ name: no users, user: ann, request: GET /users, expect: deny }}\n"
    );
    let scratch = site("suite-all-parts", &more);
    let output = policy(scratch.path(), &["test", ".", "--parts", "--output", "json"]);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json["unnoticed"], serde_json::json!([]));
}

#[test]
fn mistakes_in_suites_are_told_with_file_and_line() {
    for (cases, place, part) in [
        ("  - { name: x, request: GET /, expect: allow, rul: a }\n", ":8:", "did you mean `rule`?"),
        (
            "  - { name: x, request: GET /, expect: maybe }\n",
            ":8:",
            "expected one of `allow`, `deny`",
        ),
        ("  - { name: x, expect: allow }\n", ":8:", "needs `request` or `connection`"),
        ("  - { name: x, request: GET, expect: allow }\n", ":8:", "is no request"),
        (
            "  - { name: x, request: GET /, user: anne, expect: deny }\n",
            ":8:",
            "did you mean `ann`?",
        ),
        (
            "  - { name: x, request: GET /, user: { sub: a, role: [b] }, expect: deny }\n",
            ":8:",
            "cases[0].user.role",
        ),
        ("  - { name: x, request: GET /, now: noon, expect: deny }\n", ":8:", "is no moment"),
        ("  - { name: x, request: GET /, peer: web, expect: deny }\n", ":8:", "is no peer"),
        (
            "  - { name: x, request: { path: /, sourceAddress: here }, expect: deny }\n",
            ":8:",
            "is no IP address",
        ),
        (
            "  - { name: x, request: GET /, expect: allow, code: y }\n",
            ":8:",
            "means nothing beside `expect: allow`",
        ),
        (
            "  - { name: x, request: GET /, expect: deny, headers: { a: b } }\n",
            ":8:",
            "means nothing beside `expect: deny`",
        ),
        (
            "  - { name: x, each: [], request: GET /, expect: deny }\n",
            ":8:",
            "cases[0].each: is empty",
        ),
        (
            "  - name: x\n    each:\n      - { a: 1 }\n    request: GET /{b}\n    expect: deny\n",
            ":11:",
            "has no column `b`",
        ),
        (
            "  - name: x\n    each:\n      - { a: 1 }\n    request: GET /\n    expect: deny\n",
            ":10:",
            "no placeholder {a}",
        ),
        (
            "  - name: x\n    each: [{ a: 1 }, { a: 2 }]\n    request: GET /{a}\n    expect: deny\n",
            ":9:",
            "put a {placeholder} into the name",
        ),
        (
            "  - { name: x, request: GET /, user: { sub: a, provider: sos }, expect: deny }\n",
            "case x",
            "there is no identity provider sos",
        ),
        (
            "  - { name: x, request: GET /, user: { sub: a, authTime: 1, claims: { auth_time: 2 } }, expect: deny }\n",
            ":8:",
            "is written in `claims` too",
        ),
        (
            "  - { name: x, request: { path: / }, connection: {}, expect: deny }\n",
            ":8:",
            "both `request` and `connection`",
        ),
    ] {
        let scratch = site("suite-mistake", cases);
        let output = policy(scratch.path(), &["test", "orders.test.yaml"]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{cases}{}", stdout(&output));
        assert!(text.contains(place) && text.contains(part), "{cases}{part}\n{text}");
    }
}

#[test]
fn what_cannot_be_run_is_no_failure() {
    let scratch = site("suite-cannot", GOOD);
    let told = |arguments: &[&str], part: &str| {
        let output = policy(scratch.path(), &[&["test"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(part), "{arguments:?}: {}", stderr(&output));
    };
    told(&["nowhere"], "nowhere");
    scratch.write("empty/x", "");
    told(&["empty"], "there is no suite in empty");
    told(&[".", "--min-coverage", "101"], "101");
    scratch.write("orders.yaml", &POLICY.replace("methods", "methodz"));
    told(&["."], "orders.yaml:9:");
}

#[test]
fn a_watched_suite_runs_again_when_a_resource_changes() {
    let scratch = site("suite-watch", GOOD);
    let mut child = Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(["policy", "test", "orders.test.yaml", "--watch"])
        .current_dir(scratch.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut wait = |part: &str| lines.find(|line| line.starts_with(part));
    assert!(wait("cases passed 3 of 3").is_some());
    scratch.write("orders.yaml", &POLICY.replace("scopes: [orders]", "scopes: [other]"));
    assert!(wait("cases passed 2 of 3").is_some());
    scratch.write("orders.yaml", POLICY);
    assert!(wait("cases passed 3 of 3").is_some());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn every_shipped_suite_passes_and_covers_every_rule() {
    for (folder, least) in [("examples", "100"), ("tests/policies", "80")] {
        let output = policy(&root(), &["test", folder, "--min-coverage", least]);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    }
}

/// A rule that could be gone or turned round without a case failing would not be shown by its example.
#[test]
fn breaking_any_rule_of_an_example_breaks_its_suite() {
    let mut broken = 0;
    for entry in std::fs::read_dir(root().join("examples/policies")).unwrap() {
        let folder = entry.unwrap().path();
        if folder.is_dir() {
            broken += break_rules(&folder);
        }
    }
    assert!(broken >= 20, "only {broken} changes were tried");
}

fn break_rules(folder: &Path) -> usize {
    let scratch = Scratch::new("suite-broken");
    let mut resources = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        scratch.write(&name, &text);
        if name.ends_with(".yaml") && !name.ends_with(".test.yaml") {
            resources.push((name, text));
        }
    }
    let run = || policy(scratch.path(), &["test", "."]);
    assert_eq!(run().status.code(), Some(0), "{}", folder.display());
    let mut tried = 0;
    for (name, text) in resources {
        for (rule, changed) in breaks(&text) {
            scratch.write(&name, &changed);
            let output = run();
            // A rule that only stands in an allow is not even taken as a deny.
            let is_refused = output.status.code() == Some(2)
                && stderr(&output).contains("stepUp: stands in a `deny`");
            assert!(
                is_refused || output.status.code() == Some(1),
                "no case of {} notices: {rule}\n{}{}",
                folder.display(),
                stdout(&output),
                stderr(&output)
            );
            tried += 1;
        }
        scratch.write(&name, &text);
    }
    tried
}

/// The text without one rule, and with the effect of one rule turned round, for each rule: by its lines, not by the
/// product's own way of doing it.
fn breaks(text: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let starts: Vec<usize> =
        (0..lines.len()).filter(|line| lines[*line].starts_with("    - name: ")).collect();
    let mut changed = Vec::new();
    for (place, start) in starts.iter().enumerate() {
        let inside = |line: &&str| line.starts_with("      ") || line.is_empty();
        let length = lines[start + 1..].iter().take_while(|line| inside(line)).count();
        let end = start + 1 + length;
        let name = lines[*start].trim().to_owned();
        let is_only = starts.len() == 1 || place == usize::MAX;
        if !is_only {
            let without = [&lines[..*start], &lines[end..]].concat().join("\n");
            changed.push((format!("{name} gone"), without));
        }
        let turned: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(number, line)| match number {
                number if number > *start && number < end && line.starts_with("      allow:") => {
                    line.replacen("allow:", "deny:", 1)
                }
                number if number > *start && number < end && line.starts_with("      deny:") => {
                    line.replacen("deny:", "allow:", 1)
                }
                _ => (*line).to_owned(),
            })
            .collect();
        changed.push((format!("{name} turned round"), turned.join("\n")));
    }
    changed
}
