//! Rego in process.

use std::time::Duration;

use serde_json::{Value, json};

use super::{failed, now};
use crate::policy::{EngineAnswer, InvalidRego, Rego};

const LIMIT: Duration = Duration::from_millis(200);

fn compile(module: &str) -> Result<Rego, InvalidRego> {
    with_data(module, &[])
}

fn with_data(module: &str, data: &[&str]) -> Result<Rego, InvalidRego> {
    let modules = [("policy.rego".to_owned(), module.as_bytes())];
    let data: Vec<(String, &[u8])> =
        data.iter().map(|text| ("data.json".to_owned(), text.as_bytes())).collect();
    Rego::compile((&modules, &data), ("envoy/authz/allow", LIMIT))
}

fn says(module: &str, input: &Value) -> EngineAnswer {
    compile(module).unwrap_or_else(|error| panic!("{error}")).judge(input, now())
}

const OWNERS: &str = r#"
package envoy.authz

import rego.v1

import input.attributes.request.http as request

allow if {
    request.method == "GET"
    input.parsed_path == ["customers", input.hopgate.user.sub, "orders"]
    data.open[input.parsed_query.shop[0]]
}
"#;

fn asks(method: &str, path: &[&str], sub: &str, shop: &str) -> Value {
    json!({
        "attributes": { "request": { "http": { "method": method } } },
        "parsed_path": path,
        "parsed_query": { "shop": [shop] },
        "hopgate": { "user": { "sub": sub } },
    })
}

#[test]
fn a_rule_that_holds_is_yes_and_one_that_does_not_is_undefined() {
    let rego = with_data(OWNERS, &[r#"{"open": {"north": true}}"#]).unwrap();
    let path = ["customers", "ann", "orders"];
    let judged = |input: &Value| rego.judge(input, now());
    assert_eq!(judged(&asks("GET", &path, "ann", "north")), EngineAnswer::Yes);
    assert_eq!(judged(&asks("PUT", &path, "ann", "north")), EngineAnswer::Undefined);
    assert_eq!(judged(&asks("GET", &path, "bob", "north")), EngineAnswer::Undefined);
    assert_eq!(judged(&asks("GET", &path, "ann", "south")), EngineAnswer::Undefined);
    assert_eq!(judged(&json!({})), EngineAnswer::Undefined);
}

#[test]
fn the_value_is_true_false_or_an_object_that_says_so() {
    let rule = |value: &str| says(&format!("package envoy.authz\nallow := {value}"), &json!({}));
    assert_eq!(rule("true"), EngineAnswer::Yes);
    assert_eq!(rule("false"), EngineAnswer::No);
    assert_eq!(rule(r#"{"allowed": true, "headers": {"x": "y"}}"#), EngineAnswer::Yes);
    assert_eq!(rule(r#"{"allowed": false, "http_status": 302}"#), EngineAnswer::No);
    for odd in ["null", "1", "\"true\"", "[true]", "{true}", "{}", r#"{"allowed": 1}"#] {
        assert!(failed(&rule(odd)).is_some(), "{odd}");
    }
    let default = "package envoy.authz\ndefault allow := false\nallow if input.x == 1";
    assert_eq!(says(default, &json!({ "x": 1 })), EngineAnswer::Yes);
    assert_eq!(says(default, &json!({ "x": 2 })), EngineAnswer::No);
}

#[test]
fn the_time_is_the_one_of_the_decision() {
    let module = "package envoy.authz\nallow if time.now_ns() == 1790000000000000000\n\
                  allow if { time.clock(time.now_ns()) == [1, 2, 3] }";
    assert_eq!(says(module, &json!({})), EngineAnswer::Yes);
    let later = compile(module).unwrap().judge(&json!({}), now() + Duration::from_secs(1));
    assert_eq!(later, EngineAnswer::Undefined);
}

#[test]
fn an_evaluation_is_bounded_in_time() {
    let module = "package envoy.authz\n\
        allow if { some a in numbers.range(1, 3000); some b in numbers.range(1, 3000); \
        some c in numbers.range(1, 3000); a + b + c < 0 }";
    let modules = [("policy.rego".to_owned(), module.as_bytes())];
    let limit = ("envoy/authz/allow", Duration::from_millis(20));
    let rego = Rego::compile((&modules, &[]), limit).unwrap();
    assert_eq!(failed(&rego.judge(&json!({}), now())), Some("it took longer than it may"));
}

#[test]
fn a_failure_says_nothing_of_the_request() {
    let module = "package envoy.authz\nallow := false if input.token == \"secret\"\n\
                  allow := true if startswith(input.token, \"sec\")";
    let said = says(module, &json!({ "token": "secret" }));
    let why = failed(&said).expect("two values of one rule are an error");
    assert!(!why.contains("sec"), "{why}");
    assert_eq!(says(module, &json!({ "token": "sector" })), EngineAnswer::Yes);
}

#[test]
fn a_module_that_cannot_be_used_is_refused_when_it_is_read() {
    let refused = |module: &str| compile(module).expect_err(module).to_string();
    assert!(refused("package envoy.authz\nallow if {").contains("policy.rego"));
    let other = refused("package other\nallow := true");
    assert!(other.contains("no module defines the rule `envoy/authz/allow`"), "{other}");
    assert!(other.contains("data.other"), "{other}");
    let jwt = refused(
        "package envoy.authz\nallow if io.jwt.decode(input.attributes.request.http.headers.authorization)",
    );
    assert!(jwt.contains("`io.jwt.decode`") && jwt.contains("input.hopgate.user.claims"), "{jwt}");
    let sends = refused(
        "package envoy.authz\nallow if http.send({\"url\": \"http://x\"}).status_code == 200",
    );
    assert!(sends.contains("http.send"), "{sends}");
}

#[test]
fn data_that_cannot_be_used_is_refused() {
    let refused = |data: &[&str]| with_data(OWNERS, data).expect_err("data").to_string();
    assert!(refused(&["{"]).contains("data.json"));
    assert!(refused(&["[]"]).contains("data.json"));
    assert!(refused(&[r#"{"open": 1}"#, r#"{"open": 2}"#]).contains("data.json"));
    assert!(with_data(OWNERS, &[r#"{"a": 1}"#, r#"{"b": 2}"#]).is_ok());
}
