//! One evaluation takes a bounded number of steps, whatever the condition and whatever was sent.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::conditions::{Sent, with_body};
use super::*;
use crate::policy::condition::{MAX_STEPS, environment};

fn holder(claims: Value) -> UserFacts {
    user(&["a", "b"], &[], claims)
}

fn steps(when: &str, user: &UserFacts, body: &Value) -> (Result<bool, UndecidableReason>, u64) {
    let request = Request::new("GET", "/a");
    let body = Sent(BodyFacts::Value(body));
    let facts = with_body(request.facts(None, Some(user)), &body);
    let condition = Condition::compile(when).unwrap_or_else(|error| panic!("{when}: {error}"));
    condition.steps(&facts, None, &Arc::new(environment()))
}

#[test]
fn ordinary_conditions_are_far_from_the_bound() {
    let groups: Vec<String> = (0..200).map(|i| format!("group-{i}")).collect();
    let user =
        holder(json!({ "groups": groups, "tenant": "acme", "level": 3, "text": "a".repeat(1000) }));
    let lines: Vec<Value> = (0..100)
        .map(|i| json!({ "sku": format!("sku-{i}"), "count": i, "tags": ["a", "b"] }))
        .collect();
    let body = json!({ "lines": lines, "tenant": "acme" });
    for when in [
        "user.claims.tenant == request.body.tenant && 'group-199' in user.claims.groups",
        "user.claims.groups.exists(g, g == 'group-199')",
        "user.claims.groups.exists(g, g.startsWith('group-19') && g.endsWith('9'))",
        "user.claims.groups.exists(g, g.matches('^group-199$'))",
        "request.body.lines.all(l, l.count >= 0 && l.sku.startsWith('sku-') && 'a' in l.tags)",
        "request.body.lines.filter(l, l.count > 50).size() == 49",
        "user.claims.text.contains('b') || user.claims.text.matches('^a+$')",
        "user.claims.tenant + ':' + request.body.tenant == 'acme:acme'",
    ] {
        let (answer, steps) = steps(when, &user, &body);
        assert_eq!(answer, Ok(true), "{when}: {steps} steps");
        assert!(steps < MAX_STEPS / 2, "{when}: {steps} steps");
    }
}

#[test]
fn long_lists_are_gone_through() {
    let groups =
        |count: usize| -> Vec<String> { (0..count).map(|i| format!("group-{i}")).collect() };
    let body = json!({});
    for (when, count) in [
        ("user.claims.groups.exists(g, g == 'x')", 5_000),
        ("!user.claims.groups.all(g, g.startsWith('group-'))", 5_000),
        ("user.claims.groups.exists(g, g.matches('^x-[0-9]+$'))", 500),
        ("'x' in user.claims.groups", 99_000),
    ] {
        let (answer, steps) = steps(when, &holder(json!({ "groups": groups(count) })), &body);
        assert_eq!(answer, Ok(false), "{when}: {steps} steps");
    }
}

#[test]
fn what_is_sent_cannot_make_one_evaluation_long() {
    let many: Vec<Value> = (0..120_000).map(|i| json!(format!("{i:08}"))).collect();
    let long = "a".repeat(8 << 20);
    let deep = (0..100).fold(json!(many.clone()), |inside, _| json!({ "x": inside, "y": 1 }));
    let user = holder(json!({ "many": many, "long": long, "deep": deep }));
    let body = json!({ "many": many, "long": long, "deep": deep, "some": many[..2000], "text": "a".repeat(64 << 10) });
    for when in [
        // Without the interpreter.
        "'x' in user.claims.many",
        "user.claims.many == request.body.many",
        "user.claims.deep == request.body.deep",
        "user.claims.long.contains('b')",
        "user.claims.long == request.body.long && user.claims.long != 'a' && user.claims.long.endsWith('b')",
        "user.claims.long.matches('^(a|b|c|d|e|f){40}x')",
        "size(user.claims.long) == 1",
        // By the interpreter: loops over what was sent, and over one text for each of its members.
        "user.claims.many.exists(m, m == 'x')",
        "user.claims.many.all(m, m != 'x')",
        "!user.claims.many.exists(m, m == 'x')",
        "size(user.claims.many.map(m, m + m)) == 1",
        "size(user.claims.many.filter(m, m == 'x')) == 1",
        "request.body.some.exists(m, request.body.text.contains(m))",
        "request.body.some.exists(m, m in user.claims.many)",
        "request.body.some.exists(m, request.body.some == user.claims.many)",
        "request.body.some.exists(m, m.matches('^[a-f]{30}$'))",
        "request.body.some.map(m, request.body.some) == []",
        "request.body['ma' + 'ny'].exists(m, m == 'x')",
        "[request.body.deep].exists(d, d.x == 1)",
        "user.claims['ma' + 'ny'] == 1",
        "request.body.many + request.body.many == []",
        // Whatever else would decide.
        "true || user.claims.many.exists(m, m == 'x') && user.claims.many.exists(m, m == 'x')",
        "user.claims.many.exists(m, m == 'x') || true",
        "user.claims.many.exists(m, m == 'x') && false",
    ] {
        let (answer, steps) = steps(when, &user, &body);
        if when.starts_with("true ||") {
            // Nothing of it was asked for.
            assert!(answer == Ok(true) && steps < 100, "{when}: {answer:?} after {steps} steps");
            continue;
        }
        assert_eq!(answer, Err(UndecidableReason::TooCostly), "{when}");
    }
}

#[test]
fn steps_are_counted_for_all_that_is_done() {
    let words = |count: usize| -> Vec<String> { (0..count).map(|i| format!("word-{i}")).collect() };
    let body = json!({});
    for count in [10_usize, 100, 1000] {
        let turns = u64::try_from(count).unwrap();
        for (when, at_least) in [
            // Nodes of one turn: the test of the loop, `||`, `==`, and what they compare.
            ("user.claims.words.exists(w, w == 'x')", turns * 8),
            ("size(user.claims.words.map(w, w)) == 0", turns * 4),
            ("user.claims.words.exists(w, w in ['a', 'b', 'c', 'd', 'e', 'f', 'g'])", turns * 15),
            ("user.claims.words.exists(w, w.matches('^[xy]+$'))", turns * 40),
            ("['a', 'b'].exists(w, w in user.claims.words)", turns * 2),
            ("'x' in user.claims.words", turns),
            ("user.claims.words == user.claims.words", turns),
        ] {
            let (answer, steps) = steps(when, &holder(json!({ "words": words(count) })), &body);
            assert!(
                answer.is_ok() || answer == Err(UndecidableReason::TooCostly),
                "{when}: {answer:?}"
            );
            assert!(steps >= at_least, "{when}: {steps} steps for {count} words");
        }
        let text = "a".repeat(count * 64);
        for (when, at_least) in [
            ("user.claims.text.contains('b')", turns),
            ("user.claims.text.matches('^(a|b|c|d|e|f|g|h|i|j){8}$')", turns * 5),
            ("[1].exists(i, user.claims.text.contains('b'))", turns),
            ("['b', 'c', 'd'].exists(w, user.claims.text.contains(w))", turns * 3),
            // Each `+` copies what stands before it.
            ("user.claims.text + 'a' + 'b' + 'c' + 'd' == 'x'", turns * 5),
        ] {
            let (_, steps) = steps(when, &holder(json!({ "text": text })), &body);
            assert!(steps >= at_least, "{when}: {steps} steps for {count} times 64 bytes");
        }
    }
}

#[test]
fn a_condition_that_always_costs_too_much_is_refused_at_load() {
    let listed = |count: usize| vec!["1"; count].join(",");
    let turns = |count: usize| vec!["m==1"; count].join("||");
    let costly = format!("[{}].exists(m, {})", listed(500), turns(160));
    let error = Condition::compile(&costly).expect_err("costly").to_string();
    assert!(error.contains("costs more than 100000 steps for every request"), "{error}");
    Condition::compile(&format!("[{}].exists(m, {})", listed(50), turns(20))).unwrap();
    let patterns = vec!["m.matches('(a{20}){20}')"; 20].join("||");
    let error =
        Condition::compile(&format!("[{}].exists(m, {patterns})", "'a','b'")).expect_err("costly");
    assert!(error.to_string().contains("costs more than"), "{error}");
}

/// Pieces of conditions, also such as do not belong together.
fn piece() -> impl Strategy<Value = &'static str> {
    select(vec![
        "user",
        ".",
        "roles",
        "claims",
        "sub",
        "request",
        "headers",
        "body",
        "path",
        "id",
        "now",
        "hour",
        "source",
        "address",
        "'a'",
        "'x-a'",
        "1",
        "1.5",
        "2u",
        "true",
        "null",
        "b'a'",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        "==",
        "!=",
        "<",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        " in ",
        "size",
        "has",
        "exists",
        "map",
        "filter",
        "matches",
        "within",
        "dyn",
        "r",
        "(r, r == 'a')",
        "user.roles",
        "user.claims.x",
        "request.body.y[0]",
        "request.headers['x-a']",
        ".exists(r, r)",
        "ä",
        "\n",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_more_than_an_answer_or_an_error(pieces in prop::collection::vec(piece(), 1..12)) {
        let text = pieces.concat();
        match Condition::compile(&text) {
            Err(error) => prop_assert!(!error.to_string().is_empty()),
            Ok(condition) => {
                let user = holder(json!({ "x": ["a", 1, null, { "a": true }] }));
                let request = Request::new("GET", "/a").header("x-a", &["a"]);
                let body = json!({ "y": [{ "a": "b" }] });
                let body = Sent(BodyFacts::Value(&body));
                let facts = with_body(request.facts(None, Some(&user)), &body);
                let (answer, steps) = condition.steps(&facts, None, &Arc::new(environment()));
                prop_assert!(answer != Err(UndecidableReason::Panicked) && steps > 0, "{}", text);
            }
        }
    }
}
