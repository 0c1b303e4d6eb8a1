//! The native shapes say what the interpreter says, for expressions and facts at random.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;
use crate::policy::condition::environment;

/// Operands of every kind, by their text.
fn operand() -> impl Strategy<Value = String> {
    select(vec![
        "'a'",
        "'b'",
        "''",
        "'alice'",
        "'web'",
        "'GET'",
        "peer.id",
        "peer.trustDomain",
        "peer.namespace",
        "peer.serviceAccount",
        "user.sub",
        "user.provider",
        "user.claims.x",
        "user.claims['y']",
        "request.method",
        "request.host",
        "request.path",
        "request.query",
        "request.headers['x-one']",
        "request.headers.other",
        "path.id",
    ])
    .prop_map(str::to_owned)
}

fn atom() -> impl Strategy<Value = String> {
    let list = prop::collection::vec(select(vec!["'a'", "'b'", "'alice'", "'web'"]), 0..3)
        .prop_map(|items| format!("[{}]", items.join(", ")));
    prop_oneof![
        select(vec![
            "true",
            "false",
            "has(user.claims.x)",
            "has(user.claims.y)",
            "has(request.headers.other)",
            "has(peer.namespace)",
            "'x' in user.claims",
            "'x-one' in request.headers",
            "user.claims.x == true",
            "false != user.claims.y",
            "user.claims.x.startsWith('a')",
            "user.claims.x.contains('a')",
        ])
        .prop_map(str::to_owned),
        (operand(), select(vec!["==", "!="]), operand())
            .prop_map(|(l, op, r)| format!("{l} {op} {r}")),
        (operand(), select(vec!["startsWith", "endsWith", "contains"]), operand())
            .prop_map(|(l, name, r)| format!("{l}.{name}({r})")),
        (operand(), list).prop_map(|(member, list)| format!("{member} in {list}")),
        (operand(), select(vec!["user.roles", "user.scopes", "user.claims.x", "user.claims.y"]))
            .prop_map(|(member, of)| format!("{member} in {of}")),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    atom().prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| format!("!({inner})")),
            (inner.clone(), select(vec!["&&", "||"]), inner)
                .prop_map(|(l, op, r)| format!("({l}) {op} ({r})")),
        ]
    })
}

fn claim() -> impl Strategy<Value = Value> {
    select(vec![
        json!("a"),
        json!("alice"),
        json!(""),
        json!(1),
        json!(1.5),
        json!(true),
        json!(false),
        json!(null),
        json!(["a", "web", 1]),
        json!([]),
        json!({"a": 1, "alice": null}),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn native_and_interpreted_agree(
        text in expression(),
        peer in prop::option::of(select(vec!["spiffe://demo.mesh/ns/a/sa/web", "spiffe://b/vm/7"])),
        user in prop::option::weighted(0.8, (prop::option::of(claim()), prop::option::of(claim()))),
        header in prop::option::of(select(vec!["a", "web", ""])),
        is_request in prop::bool::weighted(0.9),
    ) {
        let condition = Condition::compile(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let peer = peer.map(|text| SpiffeId::parse(text).unwrap());
        let user = user.map(|(x, y)| {
            let mut claims = serde_json::Map::new();
            claims.extend(x.map(|value| ("x".to_owned(), value)));
            claims.extend(y.map(|value| ("y".to_owned(), value)));
            let (roles, scopes) = (vec!["a".into()], vec!["b".into()]);
            UserFacts::new(UserParts { roles, scopes, claims, ..UserParts::of("sso", "alice") })
        });
        let mut request = Request::new("GET", "/a/alice");
        if let Some(value) = header {
            request = request.header("x-one", &[value]);
        }
        let mut facts = request.facts(peer.as_ref(), user.as_ref());
        if !is_request {
            facts.request = None;
        }
        let template = PathTemplate::parse("/a/{id}").unwrap();
        let interpreted = condition.interpret(&facts, Some(&template), &Arc::new(environment()));
        let evaluated = condition.evaluate(&facts, Some(&template), &Arc::new(environment()));
        match (&evaluated, &interpreted) {
            (Err(UndecidableReason::Failed(_)), Err(UndecidableReason::Failed(_))) => {}
            _ => prop_assert_eq!(&evaluated, &interpreted, "{}", text),
        }
    }
}

#[test]
fn the_common_shapes_are_native_and_the_rest_is_not() {
    for (text, native) in [
        ("user.sub == path.customer", true),
        ("request.method in ['GET', 'HEAD'] && !('banned' in user.roles)", true),
        ("user.claims.tenant == request.headers['x-tenant']", true),
        ("user.claims.email.endsWith('@example.com') || peer.namespace != 'shop'", true),
        ("user.claims.level > 3", false),
        ("user.claims.a == user.claims.b", false),
        ("user.claims.a.b == 'c'", false),
        ("user.roles.exists(r, r == 'a')", false),
        ("now > 5", false),
    ] {
        assert_eq!(Condition::compile(text).unwrap().is_native(), native, "{text}");
    }
}
