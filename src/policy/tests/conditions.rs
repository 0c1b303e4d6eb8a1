//! Conditions: what they see, what they refuse at load, and when they have no answer.

use serde_json::json;

use super::*;

fn alice() -> UserFacts {
    user(
        &["customer", "vip"],
        &["orders:read"],
        json!({
            "sub": "alice", "tenant": "acme", "level": 3, "ratio": 0.5, "verified": true, "none": null,
            "groups": ["a", "b"], "nested": { "deep": "x", "dotted.name": 1 },
            "https://example.com/tenant": "acme", "big": 18_446_744_073_709_551_615_u64,
        }),
    )
}

fn decide(when: &str, facts: &Facts<'_>) -> Result<bool, UndecidableReason> {
    let rule = json!({
        "name": "r",
        "allow": { "requests": [{ "paths": ["/customers/{customer}/orders/**"] }], "when": when }
    });
    match compile(&[rule.to_string()]).decide(facts) {
        Decision::Allow(_) => Ok(true),
        Decision::NothingAllows | Decision::NothingAllowsAnonymous => Ok(false),
        Decision::Undecidable(_, reason) => Err(reason),
        Decision::Deny(rule) => panic!("{rule}"),
    }
}

fn request() -> Request {
    Request::new("GET", "/customers/alice/orders/7")
        .header("x-tenant", &["acme"])
        .header("x-twice", &["a", "b"])
}

#[test]
fn conditions_see_the_facts() {
    let (web, alice, request) = (peer("web"), alice(), request());
    let facts = request.facts(Some(&web), Some(&alice));
    for (when, expected) in [
        ("user.sub == path.customer", true),
        ("user.sub != path.customer", false),
        ("user.provider == 'sso'", true),
        ("'customer' in user.roles", true),
        ("'admin' in user.roles", false),
        ("!('admin' in user.roles)", true),
        ("user.roles.exists(r, r.startsWith('vi'))", true),
        ("user.scopes.all(s, s.endsWith(':read'))", true),
        ("size(user.roles) == 2", true),
        ("user.claims.tenant == 'acme'", true),
        ("user.claims.tenant in ['globex', 'acme']", true),
        ("user.claims.level >= 3", true),
        ("user.claims.level == 3.0", true),
        ("user.claims.ratio < 1.0", true),
        ("user.claims.verified", true),
        ("user.claims.none == null", true),
        ("user.claims.nested.deep == 'x'", true),
        ("user.claims.nested['dotted.name'] == 1", true),
        ("user.claims['https://example.com/tenant'] == 'acme'", true),
        ("has(user.claims.tenant) && !has(user.claims.missing)", true),
        ("'tenant' in user.claims", true),
        ("user.claims.big > 5u", true),
        ("'a' in user.claims.groups && user.claims.groups[1] == 'b'", true),
        ("peer.id == 'spiffe://demo.mesh/ns/shop/sa/web'", true),
        ("peer.trustDomain == 'demo.mesh' && peer.namespace == 'shop'", true),
        ("peer.serviceAccount == 'web' && has(peer.namespace)", true),
        ("request.method == 'GET' && request.host == 'orders.shop'", true),
        ("request.path.startsWith('/customers/') && request.query.contains('page=')", true),
        ("request.headers['x-tenant'] == user.claims.tenant", true),
        ("'x-tenant' in request.headers && !('x-other' in request.headers)", true),
        ("has(request.headers.authorization)", false),
        ("request.path.matches('^/customers/[a-z]+/orders/[0-9]+$')", true),
        ("now == 1700000000 && now < 1700000001", true),
        ("true || user.claims.missing == 1", true),
        ("user.claims.missing == 1 || true", true),
        ("user.claims.missing == 1 && false", false),
        ("user.claims.level == 3 ? true : false", true),
    ] {
        assert_eq!(decide(when, &facts), Ok(expected), "{when}");
    }
}

#[test]
fn what_is_absent_has_no_answer() {
    use UndecidableReason as R;
    let (web, alice, request) = (peer("web"), alice(), request());
    let all = request.facts(Some(&web), Some(&alice));
    let nobody = request.facts(None, None);
    for (when, facts, reason) in [
        ("user.sub == 'alice'", &nobody, R::NoUser),
        ("'x' in user.roles", &nobody, R::NoUser),
        ("has(user.claims.x)", &nobody, R::NoUser),
        ("!('x' in user.roles)", &nobody, R::NoUser),
        ("user.sub != path.customer", &nobody, R::NoUser),
        ("peer.id != 'x'", &nobody, R::NoPeer),
        ("has(peer.namespace)", &nobody, R::NoPeer),
        ("user.claims.missing == 1", &all, R::Missing("missing".into())),
        ("user.claims.missing != 1", &all, R::Missing("missing".into())),
        ("user.claims.nested.missing == 1", &all, R::Missing("missing".into())),
        ("request.headers['x-other'] == 'a'", &all, R::Missing("x-other".into())),
        ("request.headers['x-twice'] == 'a'", &all, R::HeaderRepeated("x-twice".into())),
        ("true || 'x-twice' in request.headers", &all, R::HeaderRepeated("x-twice".into())),
        ("user.claims.tenant", &all, R::NotBoolean),
    ] {
        assert_eq!(decide(when, facts), Err(reason), "{when}");
    }
    for when in [
        "user.claims.level + 'a' == 'b'",
        "user.claims.tenant < 3",
        "user.claims.groups[9] == 'a'",
        "user.claims.level / 0 == 1",
        "user.claims.level.startsWith('a')",
        "9223372036854775807 + user.claims.level == 1",
    ] {
        assert!(
            matches!(decide(when, &all), Err(R::Failed(_))),
            "{when}: {:?}",
            decide(when, &all)
        );
    }
}

#[test]
fn a_workload_outside_namespaces_has_no_namespace() {
    let other = SpiffeId::parse("spiffe://demo.mesh/vm/seven").unwrap();
    let request = request();
    let facts = request.facts(Some(&other), None);
    assert_eq!(decide("has(peer.namespace)", &facts), Ok(false));
    let missing = UndecidableReason::Missing("namespace".into());
    assert_eq!(decide("peer.namespace == 'shop'", &facts), Err(missing));
}

#[test]
fn deny_beats_undecidable_and_undecidable_beats_allow() {
    let request = request();
    let facts = request.facts(None, None);
    let allow = "{ name: allow, allow: { requests: [{ paths: [\"/**\"] }] } }";
    let unclear =
        "{ name: unclear, allow: { requests: [{ paths: [\"/**\"] }], when: user.sub == 'x' } }";
    let unclear_deny = "{ name: unclear-deny, deny: { when: user.sub == 'x' } }";
    let deny = "{ name: deny, deny: {} }";
    let decided = |rules: &[&str]| match compile(rules).decide(&facts) {
        Decision::Allow(rule) | Decision::Deny(rule) | Decision::Undecidable(rule, _) => {
            rule.rule().to_owned()
        }
        Decision::NothingAllows | Decision::NothingAllowsAnonymous => "nothing".into(),
    };
    assert_eq!(decided(&[allow]), "allow");
    assert_eq!(decided(&[allow, unclear]), "unclear");
    assert_eq!(decided(&[unclear, allow]), "unclear");
    assert_eq!(decided(&[allow, unclear_deny]), "unclear-deny");
    assert_eq!(decided(&[allow, unclear, unclear_deny]), "unclear");
    assert_eq!(decided(&[allow, unclear, unclear_deny, deny]), "deny");
}

#[test]
fn a_mistake_is_refused_at_load() {
    for (when, expected) in [
        ("", "is no CEL"),
        ("user.sub ==", "is no CEL, at line 1, column"),
        (
            "usr.sub == 'a'",
            "names `usr`, which does not exist; there are `peer`, `user`, `client`, `request`, `path`, `now`; did you mean `user`?",
        ),
        (
            "user.subject == 'a'",
            "names `user.subject`, which does not exist; there are `sub`, `provider`, `roles`, `scopes`, `groups`, `tenant`, `email`, `boundBy`, `claims`",
        ),
        ("user.role == 'a'", "did you mean `roles`?"),
        ("request.methd == 'GET'", "did you mean `method`?"),
        ("peer.service == 'a'", "there are `id`, `trustDomain`, `namespace`, `serviceAccount`"),
        (
            "path.custmer == 'a'",
            "names `path.custmer`, which not every path of the rule captures; there are `customer`; did you mean `customer`?",
        ),
        ("user == null", "uses `user` as a whole"),
        ("user['sub'] == 'a'", "uses `user` as a whole"),
        ("path['customer'] == 'a'", "uses `path` as a whole"),
        ("has(user.sub)", "asks has(user.sub), which is always there"),
        ("has(path.customer)", "asks has(path.customer), which is always there"),
        ("request.headers[user.sub] == 'a'", "names a header other than by a lower-case literal"),
        ("request.headers['X-Tenant'] == 'a'", "names a header other than by a lower-case literal"),
        ("size(request.headers) > 1", "names a header other than by a lower-case literal"),
        ("user.sub in request.headers", "names a header other than by a lower-case literal"),
        ("lower(user.sub) == 'a'", "calls `lower`, which does not exist in this form"),
        ("user.sub.startWith('a')", "did you mean `startsWith`?"),
        ("user.sub.startsWith('a', 'b')", "calls `startsWith`, which does not exist in this form"),
        ("startsWith(user.sub, 'a')", "calls `startsWith`, which does not exist in this form"),
        ("user.sub.matches('[')", "no valid literal regular expression"),
        ("user.sub.matches(path.customer)", "no valid literal regular expression"),
        ("user.roles.exists(r, user.scopes.exists(s, s == r))", "has a loop"),
        ("user.roles.exists(user, user == 'a')", "names a loop variable `user`"),
        ("user.roles.exists(r, q == 'a')", "names `q`, which does not exist"),
        ("user.sub", "is neither true nor false"),
        ("'a'", "is neither true nor false"),
        ("now", "is neither true nor false"),
        ("1 + 1", "is neither true nor false"),
        ("size(user.roles)", "is neither true nor false"),
        ("user.?sub == 'a'", "is no CEL"),
        ("Message{field: 1} == 1", "builds a message"),
        ("type(user.sub) == string", "calls `type`"),
        ("string == string", "names `string`, which does not exist"),
    ] {
        assert_refused(when, expected);
    }
}

#[test]
fn headers_cannot_be_reached_another_way_and_nothing_can_cost_much() {
    for (when, expected) in [
        ("request['headers']['x-a'] == 'a'", "uses `request` as a whole"),
        ("[request].exists(r, r.headers['x-a'] == 'a')", "uses `request` as a whole"),
        ("[request.headers].exists(h, h['x-a'] == 'a')", "names a header other than"),
        ("{'h': request.headers}.h['x-a'] == 'a'", "names a header other than"),
        ("request.headers.exists(h, h == 'x-a')", "names a header other than"),
        ("!request.headers.exists(h, h == 'x-a')", "names a header other than"),
        ("request.headers.map(h, h).size() == 0", "names a header other than"),
        ("dyn(request.headers)['x-a'] == 'a'", "names a header other than"),
        ("dyn(request).headers['x-a'] == 'a'", "uses `request` as a whole"),
        ("(true ? request.headers : {})['x-a'] == 'a'", "names a header other than"),
        ("request.headers == {}", "names a header other than"),
        ("request.headers['x-' + 'a'] == 'a'", "names a header other than"),
        ("user.roles.exists(r, request.headers[r] == 'a')", "names a header other than"),
        ("has(request.headers)", "names a header other than"),
        ("request.`headers`['X-A'] == 'a'", ""),
        (".request.headers['x-a'] == 'a'", ""),
        (
            "request.headers[':path'].startsWith('/secret')",
            "names the pseudo header `:path`; write request.path",
        ),
        ("':scheme' in request.headers", "names the pseudo header `:scheme`"),
        ("user.roles.map(r, r + r).map(r, r + r).exists(r, r == 'a')", "has a loop"),
        ("user.roles.filter(r, r != 'a').exists(r, r == 'b')", "has a loop"),
        ("user.roles.exists(r, size(user.scopes.map(s, s + s)) > 1)", "has a loop"),
        ("user.roles.map(r, user.scopes.map(s, s)).size() > 1", "has a loop"),
        ("user.sub.matches('(a{1000}){1000}')", "repetition makes large"),
        ("user.sub.matches('((a{50}){50}){2}')", "repetition makes large"),
        (r"user.sub.matches('\\w{100}')", "repetition makes large"),
        (
            "user.sub.matches('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')",
            "longer than 256 bytes",
        ),
    ] {
        assert_refused(when, expected);
    }
}

fn assert_refused(when: &str, expected: &str) {
    let rule = json!({
        "name": "r",
        "allow": { "requests": [{ "paths": ["/customers/{customer}/orders/**"] }], "when": when }
    });
    let error = parse("p.yaml", &policy_text(&[rule.to_string()])).expect_err(when).to_string();
    assert!(error.contains(expected), "{when}: {error}");
    assert!(error.contains("spec.rules[0].allow.when: "), "{error}");
}

#[test]
fn size_and_nesting_are_bounded() {
    for when in [
        format!("user.sub == '{}'", "a".repeat(2048)),
        format!("{}true{}", "(".repeat(300), ")".repeat(300)),
        format!("{}1 == 1", "1+".repeat(900)),
        format!("user.claims{} == 1", ".a".repeat(900)),
        format!("{}true", "true ? true : ".repeat(120)),
    ] {
        assert!(Condition::compile(&when).is_err(), "{when}");
    }
    let wide: Vec<String> = (0..60).map(|i| format!("user.sub == 'u{i}'")).collect();
    assert!(Condition::compile(&wide.join(" || ")).is_ok());
}

#[test]
fn a_variable_must_be_captured_by_every_path() {
    let check = |requests: serde_json::Value| {
        let rule =
            json!({ "name": "r", "allow": { "requests": requests, "when": "path.id == 'a'" } });
        parse("p.yaml", &policy_text(&[rule.to_string()])).map_err(|error| error.to_string())
    };
    assert!(check(json!([{ "paths": ["/a/{id}", "/b/c/{id}"] }, { "paths": ["/{id}"] }])).is_ok());
    for requests in [
        json!([{ "paths": ["/a/{id}", "/b"] }]),
        json!([{ "paths": ["/a/{id}"] }, { "methods": ["GET"] }]),
        json!([{ "methods": ["GET"] }]),
    ] {
        let error = check(requests.clone()).expect_err("not captured");
        assert!(error.contains("not every path of the rule captures"), "{requests}: {error}");
    }
    let alone = policy_text(&["{ name: r, allow: { when: path.id == 'a' } }"]);
    assert!(parse("p.yaml", &alone).is_err());
}

#[test]
fn each_path_brings_its_own_variable() {
    let rule = "{ name: r, allow: { requests: [{ paths: [\"/a/{id}\", \"/{id}/b\"] }], when: path.id == 'x' } }";
    let set = compile(&[rule]);
    let allows = |path: &str| {
        let request = Request::new("GET", path);
        matches!(set.decide(&request.facts(None, None)), Decision::Allow(_))
    };
    assert!(allows("/a/x") && allows("/x/b"));
    assert!(!allows("/a/y") && !allows("/y/b") && !allows("/a/b"));
}
