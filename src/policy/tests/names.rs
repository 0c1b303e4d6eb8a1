//! The names of the condition language: each can be read, and what the page shows is taken.

use std::sync::Arc;

use serde_json::json;

use super::conditions::{Sent, connection, with_body};
use super::*;
use crate::policy::condition::environment;

#[test]
fn every_condition_of_the_page_is_taken() {
    let page = include_str!("../../../docs/conditions.md");
    let mut conditions = 0;
    for block in page.split("```cel\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
        for condition in block.split("\n\n") {
            Condition::compile(condition).unwrap_or_else(|error| panic!("{error}\n{condition}"));
            conditions += 1;
        }
    }
    assert!(conditions >= 15, "{conditions}");
}

#[test]
fn every_name_of_the_page_is_read() {
    let peer = peer("web");
    let parts = UserParts {
        tenant: Some("acme".into()),
        email: Some("a@example.com".into()),
        confirmation: Some(Confirmation::Dpop),
        ..UserParts::of("sso", "alice")
    };
    let user = UserFacts::new(parts);
    let request = Request::new("GET", "/a");
    let body = json!({});
    let body = Sent(BodyFacts::Value(&body));
    let facts = with_body(request.facts(Some(&peer), Some(&user)), &body);
    let facts = Facts { client: Some(&user), connection: connection(), ..facts };
    let environment = Arc::new(environment());
    let text = ConditionNames.to_string();
    let mut names = 0;
    for name in text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()) {
        if name == "request.headers" {
            continue;
        }
        for name in [name.to_owned(), name.replace("user.", "client.")] {
            let (native, interpreted) = match name.as_str() {
                "source.address" | "forwarded.address" => {
                    (format!("{name} != '192.0.2.1'"), format!("string({name}) != 'a'"))
                }
                "user.claims" | "client.claims" => {
                    (format!("size({name}) == 0"), format!("{name} == {{}}"))
                }
                "request.body" => (format!("size({name}) == 0"), format!("{name} == {{}}")),
                _ if ["roles", "scopes", "groups"].iter().any(|list| name.ends_with(list)) => {
                    (format!("!('a' in {name})"), format!("{name} == []"))
                }
                _ => (format!("{name} == {name}"), format!("[{name}] == [{name}]")),
            };
            for (condition, is_native) in [(native, true), (interpreted, false)] {
                let compiled = Condition::compile(&condition).unwrap();
                assert_eq!(compiled.is_native(), is_native, "{condition}");
                assert_eq!(compiled.evaluate(&facts, None, &environment), Ok(true), "{condition}");
            }
        }
        names += 1;
    }
    assert_eq!(names, 25);
}
