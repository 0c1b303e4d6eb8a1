//! The native shapes say what the interpreter says, and what the CEL library alone says over the same facts as plain
//! maps, for expressions and facts at random.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::conditions::{Sent, with_body};
use super::*;
use crate::policy::condition::environment;

/// Operands of every kind, by their text.
fn operand() -> impl Strategy<Value = String> {
    select(vec![
        "'a'",
        "''",
        "'alice'",
        "1",
        "-1",
        "1.5",
        "2u",
        "true",
        "null",
        "peer.id",
        "peer.trustDomain",
        "peer.namespace",
        "peer.serviceAccount",
        "user.sub",
        "user.provider",
        "user.tenant",
        "user.email",
        "user.claims.x",
        "user.claims['y']",
        "user.claims.x.a",
        "user.claims.y.alice",
        "client.sub",
        "client.tenant",
        "client.claims.x",
        "request.method",
        "request.host",
        "request.path",
        "request.query",
        "request.headers['x-one']",
        "request.headers.other",
        "request.body",
        "request.body.x",
        "request.body.y.a",
        "request.body[0]",
        "path.id",
        "destination.port",
        "destination.sni",
        "now",
        "now.hour",
        "size(user.claims.x)",
        "size(user.sub)",
        "user.roles.size()",
        "size(request.body)",
    ])
    .prop_map(str::to_owned)
}

fn list() -> impl Strategy<Value = String> {
    select(vec![
        "user.roles",
        "user.scopes",
        "user.groups",
        "user.claims.x",
        "user.claims.y",
        "request.body",
        "request.body.x",
        "['a', 'b']",
        "[1, 2, 1.5]",
        "['alice', 1, true, null]",
        "[]",
    ])
    .prop_map(str::to_owned)
}

fn atom() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "true",
            "false",
            "user.claims.x",
            "request.body.x",
            "has(user.claims.x)",
            "has(user.claims.y.a)",
            "has(request.headers.other)",
            "has(peer.namespace)",
            "has(user.tenant)",
            "has(client.tenant)",
            "has(user.groups)",
            "has(request.body)",
            "has(request.body.x)",
            "has(destination.port)",
            "'x' in user.claims",
            "'x-one' in request.headers",
            "'x' in request.body",
            "user.claims.x.matches('^a')",
            "request.path.matches('/a/[a-z]+$')",
        ])
        .prop_map(str::to_owned),
        (operand(), select(vec!["==", "!=", "<", "<=", ">", ">="]), operand())
            .prop_map(|(l, op, r)| format!("{l} {op} {r}")),
        (operand(), select(vec!["startsWith", "endsWith", "contains"]), operand())
            .prop_map(|(l, name, r)| format!("{l}.{name}({r})")),
        (operand(), list()).prop_map(|(member, list)| format!("{member} in {list}")),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    atom().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| format!("!({inner})")),
            (inner.clone(), select(vec!["&&", "||"]), inner.clone())
                .prop_map(|(l, op, r)| format!("({l}) {op} ({r})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(which, yes, no)| format!("({which}) ? ({yes}) : ({no})")),
        ]
    })
}

fn value() -> impl Strategy<Value = Value> {
    select(vec![
        json!("a"),
        json!("alice"),
        json!(""),
        json!(1),
        json!(-1),
        json!(9_007_199_254_740_993_i64),
        json!(u64::MAX),
        json!(9_007_199_254_740_992.0),
        json!(1.5),
        json!(1.0),
        json!(true),
        json!(false),
        json!(null),
        json!(["a", "web", 1]),
        json!([1.0, true]),
        json!([]),
        json!({"a": 1, "alice": null}),
        json!({"a": 1.0, "alice": null}),
        json!({"x": {"a": [1]}, "y": {"a": "a"}}),
    ])
}

fn holder(
    subject: &str,
    claims: (Option<Value>, Option<Value>),
    tenant: Option<&str>,
) -> UserFacts {
    let (x, y) = claims;
    let mut claims = serde_json::Map::new();
    claims.extend(x.map(|value| ("x".to_owned(), value)));
    claims.extend(y.map(|value| ("y".to_owned(), value)));
    UserFacts::new(UserParts {
        roles: vec!["a".into(), "alice".into()],
        scopes: vec!["b".into()],
        groups: if tenant.is_some() { Groups::Unknown } else { Groups::Known(vec!["web".into()]) },
        tenant: tenant.map(str::to_owned),
        claims,
        ..UserParts::of("sso", subject)
    })
}

/// The facts as plain maps, as anybody would hand them to CEL. What is absent is not in them.
fn plain(facts: &Facts<'_>, id: &str) -> Value {
    let text = |text: Option<&str>| text.map(|text| json!(text));
    let map = |entries: Vec<(&str, Option<Value>)>| -> Value {
        let entries =
            entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(entries.collect())
    };
    let person = |person: &UserFacts| {
        let groups = match person.groups() {
            Groups::Known(groups) => Some(json!(groups)),
            Groups::Unknown => None,
        };
        map(vec![
            ("sub", text(Some(person.subject()))),
            ("provider", text(Some(person.provider()))),
            ("roles", Some(json!(person.roles()))),
            ("scopes", Some(json!(person.scopes()))),
            ("groups", groups),
            ("tenant", text(person.tenant())),
            ("email", text(person.email())),
            ("claims", Some(Value::Object(person.claims().clone()))),
        ])
    };
    let peer = facts.peer.map(|peer| {
        let account = peer.service_account();
        map(vec![
            ("id", text(Some(peer.as_str()))),
            ("trustDomain", text(Some(peer.trust_domain().as_str()))),
            ("namespace", text(account.map(|(namespace, _)| namespace))),
            ("serviceAccount", text(account.map(|(_, account)| account))),
        ])
    });
    let request = facts.request.as_ref().map(|request| {
        let header = |name| match request.headers.value(name) {
            HeaderValue::One(bytes) => text(std::str::from_utf8(bytes).ok()),
            HeaderValue::Absent | HeaderValue::Many => None,
        };
        let body = match request.body.value() {
            BodyFacts::Value(body) => Some(body.clone()),
            BodyFacts::Absent | BodyFacts::Truncated | BodyFacts::Unreadable(_) => None,
        };
        map(vec![
            ("method", text(Some(request.method))),
            ("host", text(Some(request.host))),
            ("path", text(Some(request.path))),
            ("query", text(Some(request.query.unwrap_or_default()))),
            ("headers", Some(map(vec![("x-one", header("x-one")), ("other", header("other"))]))),
            ("body", body),
        ])
    });
    let connection = facts.connection;
    map(vec![
        ("peer", peer),
        ("user", facts.user.map(person)),
        ("client", facts.client.map(person)),
        ("path", request.is_some().then(|| json!({ "id": id }))),
        ("request", request),
        (
            "destination",
            Some(map(vec![
                ("port", connection.port.map(|port| json!(port))),
                ("sni", text(connection.sni)),
            ])),
        ),
    ])
}

/// What the CEL library says of the text over plain maps; `None` where it has no answer.
fn by_the_library(text: &str, facts: &Facts<'_>, id: &str) -> Option<bool> {
    // Fields of `now`, a number, are ours alone.
    let seconds = NOW.as_secs();
    let text = text.replace("now.hour", "22").replace("now", &seconds.to_string());
    let Value::Object(plain) = plain(facts, id) else { unreachable!() };
    let environment = Arc::new(environment());
    let mut context = cel::Context::with_env(Arc::clone(&environment));
    for (name, value) in plain {
        // Small whole numbers are ints here, as they are in conditions.
        context.add_variable_from_value(name, library_value(&value));
    }
    match environment.compile(&text).unwrap().execute(&context) {
        Ok(cel::Value::Bool(truth)) => Some(truth),
        Ok(_) | Err(_) => None,
    }
}

fn library_value(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.as_f64().unwrap().into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(library_value).collect::<Vec<_>>().into(),
        Value::Object(object) => {
            let entries = object.iter().map(|(name, value)| (name.clone(), library_value(value)));
            entries.collect::<std::collections::HashMap<String, cel::Value>>().into()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, max_global_rejects: 100_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn native_interpreter_and_library_agree(
        text in expression(),
        peer in prop::option::of(select(vec!["spiffe://demo.mesh/ns/a/sa/web", "spiffe://b/vm/7"])),
        user in prop::option::weighted(0.9, (prop::option::weighted(0.8, value()), prop::option::of(value()))),
        tenant in prop::option::of(select(vec!["a", "alice"])),
        client in prop::option::of(prop::option::of(value())),
        body in prop::option::weighted(0.8, value()),
        header in prop::option::of(select(vec!["a", "web", ""])),
        port in prop::option::of(select(vec![1_u16, 8080])),
        is_request in prop::bool::weighted(0.9),
    ) {
        // Some of these compare what is never equal, which is refused at load.
        let Ok(condition) = Condition::compile(&text) else { return Err(TestCaseError::reject("types")) };
        let peer = peer.map(|text| SpiffeId::parse(text).unwrap());
        let user = user.map(|claims| holder("alice", claims, tenant));
        let client = client.map(|x| holder("a", (x, None), None));
        let body = Sent(body.as_ref().map_or(BodyFacts::Absent, BodyFacts::Value));
        let mut request = Request::new("GET", "/a/alice");
        if let Some(value) = header {
            request = request.header("x-one", &[value]);
        }
        let facts = with_body(request.facts(peer.as_ref(), user.as_ref()), &body);
        let connection = Connection { port, sni: tenant, ..Connection::default() };
        let mut facts = Facts { client: client.as_ref(), connection, ..facts };
        if !is_request {
            facts.request = None;
        }
        let template = PathTemplate::parse("/a/{id}").unwrap();
        let interpreted = condition.interpret(&facts, Some(&template), &Arc::new(environment()));
        let evaluated = condition.evaluate(&facts, Some(&template), &Arc::new(environment()));
        let failed = |outcome: &Result<bool, UndecidableReason>| {
            matches!(outcome, Err(UndecidableReason::Failed(_) | UndecidableReason::NotBoolean))
        };
        prop_assert!(condition.is_native() || text.contains("[]"), "{}", text);
        prop_assert!(
            evaluated == interpreted
                // Of two errors in one expression either may be told.
                || (evaluated.is_err() && interpreted.is_err() && (failed(&evaluated) || failed(&interpreted))),
            "{}: {:?} and {:?}", text, evaluated, interpreted
        );
        prop_assert_eq!(evaluated.ok(), by_the_library(&text, &facts, "alice"), "{}", text);
    }
}

#[test]
fn the_common_shapes_are_native_and_the_rest_is_not() {
    for (text, native) in [
        ("user.sub == path.customer", true),
        ("request.method in ['GET', 'HEAD'] && !('banned' in user.roles)", true),
        ("user.claims.tenant == request.headers['x-tenant']", true),
        ("user.claims.email.endsWith('@example.com') || peer.namespace != 'shop'", true),
        ("user.claims.level >= 3 && user.claims.level < 5.5", true),
        ("user.claims.a == user.claims.b", true),
        ("user.claims.a.b == 'c' && user.claims.a['d'][0] != null", true),
        ("request.body.customer == user.sub", true),
        ("request.body.tenant == user.claims.tenant && request.body.lines[0].count < 10", true),
        ("request.body.customer in user.claims.customers", true),
        ("user.tenant == path.customer || user.email.endsWith('@example.com')", true),
        ("client.sub == 'shop' && 'service' in client.roles && has(client.tenant)", true),
        ("destination.port in [80, 8080] && destination.sni == 'a'", true),
        ("source.address.within('10.0.0.0/8') || forwarded.address == '192.0.2.1'", true),
        ("size(user.roles) > 1 && size(user.sub) < 100 && user.claims.list.size() == 2", true),
        ("user.claims.verified && !has(request.body.draft)", true),
        ("request.path.matches('^/a/[0-9]+$')", true),
        ("has(request.body.draft) ? request.body.draft == false : true", true),
        ("now > 5 && now.hour >= 8 && now.weekday <= 5", true),
        ("user.roles.exists(r, r == 'a')", false),
        ("user.roles == user.scopes", false),
        ("user.sub + 'a' == 'b'", false),
        ("user.claims[path.customer] == 'b'", false),
        ("string(user.claims.level) == '3'", false),
    ] {
        assert_eq!(Condition::compile(text).unwrap().is_native(), native, "{text}");
    }
}
