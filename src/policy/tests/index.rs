//! The index looks only at rules that could match.

use serde_json::json;

use super::*;

/// Decides with many rules and with one, and tells how many candidates each looked at.
fn looked_at(rules: &[String], facts: &Facts<'_>) -> usize {
    let set = compile(rules);
    let mut counter = Counter::default();
    let decision = set.decide_recorded(facts, &mut counter);
    assert!(matches!(decision, Decision::Allow(_)), "{decision:?}");
    counter.0
}

/// As many as an unoptimised build reads in a second; what is counted does not depend on it.
fn many(rule: impl Fn(usize) -> String) -> Vec<String> {
    (0..2_000).map(rule).collect()
}

#[test]
fn thousands_of_rules_cost_what_one_does() {
    let frontend = peer("frontend");
    let alice = user(&["role-77", "customer"], &["scope-77"], json!({"tenant": "t77", "n": 77}));
    let request = Request::new("GET", "/items/77/detail");
    let facts = request.facts(Some(&frontend), Some(&alice));

    let by_path = many(|i| {
        format!("{{ name: r{i}, allow: {{ requests: [{{ paths: [\"/items/{i}/detail\"] }}] }} }}")
    });
    assert_eq!(looked_at(&by_path, &facts), 1);

    let by_peer = many(|i| {
        let account = if i == 77 { "frontend".to_owned() } else { format!("a{i}") };
        format!("{{ name: r{i}, allow: {{ peers: [ns/shop/sa/{account}] }} }}")
    });
    assert_eq!(looked_at(&by_peer, &facts), 1);

    let by_role =
        many(|i| format!("{{ name: r{i}, allow: {{ users: {{ roles: [role-{i}] }} }} }}"));
    assert_eq!(looked_at(&by_role, &facts), 1);

    let by_scope =
        many(|i| format!("{{ name: r{i}, allow: {{ users: {{ scopes: [scope-{i}] }} }} }}"));
    assert_eq!(looked_at(&by_scope, &facts), 1);

    let by_claim = many(|i| {
        format!(
            "{{ name: r{i}, allow: {{ users: {{ providers: [sso], roles: [customer], claims: {{ tenant: [t{i}] }} }} }} }}"
        )
    });
    assert_eq!(looked_at(&by_claim, &facts), 1);

    let by_number =
        many(|i| format!("{{ name: r{i}, allow: {{ users: {{ claims: {{ n: [{i}] }} }} }} }}"));
    assert_eq!(looked_at(&by_number, &facts), 1);

    let by_claim_name =
        many(|i| format!("{{ name: r{i}, allow: {{ users: {{ claims: {{ c{i}: [x] }} }} }} }}"));
    let other = user(&[], &[], json!({"c77": "x"}));
    assert_eq!(looked_at(&by_claim_name, &request.facts(None, Some(&other))), 1);
}

#[test]
fn a_matching_allow_settles_the_allows_after_it_but_no_deny() {
    let rules = [
        "{ name: first, allow: { requests: [{ paths: [\"/a\"] }] } }",
        "{ name: second, allow: { requests: [{ paths: [\"/**\"] }] } }",
        "{ name: third, deny: { requests: [{ paths: [\"/{x}\"] }] } }",
    ];
    let set = compile(&rules);
    let request = Request::new("GET", "/a");
    let mut all = Everything::default();
    let decision = set.decide_recorded(&request.facts(None, None), &mut all);
    assert!(matches!(decision, Decision::Deny(rule) if rule.as_str() == "shop/orders#third"));
    all.0.sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(all.0, ["first", "second", "third"].map(|name| (name.to_owned(), Fate::Matched)));
}

#[test]
fn templates_match_what_they_say_and_nothing_else() {
    for (template, matches, differs) in [
        ("/", vec!["/"], vec!["/a", "//"]),
        ("/a", vec!["/a"], vec!["/", "/a/", "/A", "/a/b", "/ab"]),
        ("/a/", vec!["/a/"], vec!["/a", "/a//", "/a/b"]),
        ("/a.b", vec!["/a.b"], vec!["/axb"]),
        ("/a/*", vec!["/a/b", "/a/**", "/a/.."], vec!["/a", "/a/", "/a/b/c", "/a/b/"]),
        ("/a/{id}/c", vec!["/a/b/c"], vec!["/a//c", "/a/b", "/a/b/d", "/a/b/c/"]),
        ("/a/**", vec!["/a", "/a/", "/a/b", "/a//b", "/a/b/c/"], vec!["/", "/b", "/ab"]),
        ("/**", vec!["/", "/a", "//", "/a/b/"], vec![]),
        ("/a b", vec!["/a b"], vec!["/a%20b", "/a+b"]),
    ] {
        let rule = format!("{{ name: r, allow: {{ requests: [{{ paths: [\"{template}\"] }}] }} }}");
        let set = compile(&[rule]);
        let allows = |path: &str| {
            let request = Request::new("GET", path);
            matches!(set.decide(&request.facts(None, None)), Decision::Allow(_))
        };
        for path in matches {
            assert!(allows(path), "{template} does not match {path}");
        }
        for path in differs {
            assert!(!allows(path), "{template} matches {path}");
        }
    }
}

#[test]
fn a_deny_takes_the_trailing_slash_along_and_an_allow_does_not() {
    for (template, denied, not_denied) in [
        ("/admin", vec!["/admin", "/admin/"], vec!["/", "/admin/x", "/admin//", "/adm", "/Admin"]),
        ("/admin/", vec!["/admin", "/admin/"], vec!["/", "/admin/x", "/admin//"]),
        ("/a/{id}", vec!["/a/x", "/a/x/"], vec!["/a", "/a/", "/a/x/y"]),
        ("/a/*/", vec!["/a/x", "/a/x/"], vec!["/a", "/a/", "/a/x/y"]),
        ("/a/**", vec!["/a", "/a/", "/a/b", "/a/b/"], vec!["/", "/b"]),
        ("/", vec!["/"], vec!["/a", "/a/"]),
    ] {
        let rules = [
            "{ name: all, allow: { requests: [{ paths: [\"/**\"] }] } }".to_owned(),
            format!("{{ name: r, deny: {{ requests: [{{ paths: [\"{template}\"] }}] }} }}"),
        ];
        let set = compile(&rules);
        let denies = |path: &str| {
            let request = Request::new("GET", path);
            matches!(set.decide(&request.facts(None, None)), Decision::Deny(_))
        };
        for path in denied {
            assert!(denies(path), "{template} does not deny {path}");
        }
        for path in not_denied {
            assert!(!denies(path), "{template} denies {path}");
        }
    }
    // A condition sees the variable on both.
    let set = compile(&[
        "{ name: all, allow: { requests: [{ paths: [\"/**\"] }] } }",
        "{ name: r, deny: { requests: [{ paths: [\"/a/{id}\"] }], when: path.id == 'x' } }",
    ]);
    for (path, denied) in [("/a/x", true), ("/a/x/", true), ("/a/y", false), ("/a/y/", false)] {
        let request = Request::new("GET", path);
        let decision = set.decide(&request.facts(None, None));
        assert_eq!(matches!(decision, Decision::Deny(_)), denied, "{path}: {decision:?}");
    }
}

#[test]
fn an_encoded_slash_stays_inside_its_segment() {
    let set = compile(&["{ name: r, allow: { requests: [{ paths: [\"/a/{id}\"] }] } }"]);
    let mut request = Request::new("GET", "/a/b");
    request.segments = vec!["a".into(), "b/c".into()];
    assert!(matches!(set.decide(&request.facts(None, None)), Decision::Allow(_)));
    request.segments = vec!["a/b".into()];
    assert_eq!(set.decide(&request.facts(None, None)), Decision::NothingAllows);
}

#[test]
fn methods_are_exact() {
    let set = compile(&["{ name: r, allow: { requests: [{ methods: [GET], paths: [\"/a\"] }] } }"]);
    for (method, allowed) in [("GET", true), ("HEAD", false), ("get", false), ("", false)] {
        let request = Request::new(method, "/a");
        let decision = set.decide(&request.facts(None, None));
        assert_eq!(matches!(decision, Decision::Allow(_)), allowed, "{method}");
    }
}

#[test]
fn a_connection_is_reached_only_by_rules_without_requests() {
    let rules = [
        "{ name: a, allow: { peers: [ns/shop/sa/web] } }",
        "{ name: b, deny: { requests: [{ paths: [\"/**\"] }] } }",
        "{ name: c, deny: { requests: [{ methods: [GET] }] } }",
    ];
    let set = compile(&rules);
    let (web, other) = (peer("web"), peer("other"));
    let facts = |peer| Facts { peer, ..Facts::at(now()) };
    assert!(matches!(set.decide(&facts(Some(&web))), Decision::Allow(_)));
    assert_eq!(set.decide(&facts(Some(&other))), Decision::NothingAllows);
    assert_eq!(set.decide(&facts(None)), Decision::NothingAllows);
    let request = Request::new("GET", "/");
    assert!(matches!(set.decide(&request.facts(Some(&web), None)), Decision::Deny(_)));
}

#[test]
fn absent_identity_is_no_member_of_anything() {
    for rule in [
        "{ name: r, allow: { peers: [\"*\"] } }",
        "{ name: r, allow: { peers: [ns/shop/sa/web] } }",
        "{ name: r, allow: { users: {} } }",
        "{ name: r, allow: { users: { providers: [sso] } } }",
        "{ name: r, allow: { users: { roles: [a] } } }",
        "{ name: r, allow: { users: { scopes: [a] } } }",
        "{ name: r, allow: { users: { claims: { a: [b] } } } }",
    ] {
        let set = compile(&[rule]);
        let request = Request::new("GET", "/");
        let expected = match rule.contains("users") {
            true => Decision::NothingAllowsAnonymous,
            false => Decision::NothingAllows,
        };
        assert_eq!(set.decide(&request.facts(None, None)), expected, "{rule}");
        let (web, alice) = (peer("web"), user(&["a"], &["a"], json!({"a": "b"})));
        let known = request.facts(Some(&web), Some(&alice));
        assert!(matches!(set.decide(&known), Decision::Allow(_)), "{rule}");
    }
}

#[test]
fn claims_compare_by_type_and_lists_by_member() {
    for (wanted, held, expected) in [
        ("acme", json!("acme"), true),
        ("acme", json!("Acme"), false),
        ("acme", json!(["other", "acme"]), true),
        ("acme", json!([["acme"]]), false),
        ("acme", json!({"acme": true}), false),
        ("7", json!(7), true),
        ("7", json!(7.0), true),
        ("7", json!("7"), false),
        ("\"7\"", json!(7), false),
        ("\"7\"", json!("7"), true),
        ("0123", json!("0123"), true),
        ("0123", json!(123), false),
        ("true", json!(true), true),
        ("true", json!("true"), false),
        ("no", json!("no"), true),
        ("no", json!(false), false),
        ("\"null\"", json!(null), false),
    ] {
        let rule =
            format!("{{ name: r, allow: {{ users: {{ claims: {{ tenant: [{wanted}] }} }} }} }}");
        let set = compile(&[rule]);
        let alice = user(&[], &[], json!({ "tenant": held }));
        let request = Request::new("GET", "/");
        let decision = set.decide(&request.facts(None, Some(&alice)));
        assert_eq!(matches!(decision, Decision::Allow(_)), expected, "{wanted} against {held}");
    }
}

#[test]
fn policies_of_other_workloads_do_not_count() {
    let document = |name: &str, namespace: &str, selector: &str| {
        format!(
            "---\napiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {{ name: {name}, namespace: {namespace} }}\n\
             spec: {{ {selector} rules: [{{ name: r, allow: {{ peers: [\"*\"] }} }}] }}\n"
        )
    };
    let selects = |selector: &str| format!("selector: {{ matchLabels: {{ {selector} }} }},");
    for (namespace, selector, counts) in [
        ("shop", String::new(), true),
        ("shop", selects("app: orders"), true),
        ("shop", selects("app: payments"), false),
        ("shop", selects("app: orders, tier: gold"), false),
        ("bank", String::new(), false),
    ] {
        let text = document("p", namespace, &selector);
        let set = compile_policies(&policies(&text));
        assert_eq!(set.rule_count(), usize::from(counts), "{text}");
    }
}
