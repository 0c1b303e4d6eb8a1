//! Conditions: what they see, what they refuse at load, and when they have no answer.

use serde_json::json;

use super::*;

pub(super) fn alice() -> UserFacts {
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

/// A body that was handed on.
pub(super) struct Sent<'a>(pub(super) BodyFacts<'a>);

impl Body for Sent<'_> {
    fn value(&self) -> BodyFacts<'_> {
        self.0
    }

    fn rpc(&self) -> RpcFacts<'_> {
        RpcFacts::Unreadable("it is no call")
    }
}

/// The same facts with this body.
pub(super) fn with_body<'a>(mut facts: Facts<'a>, body: &'a Sent<'a>) -> Facts<'a> {
    facts.request.as_mut().unwrap().body = body;
    facts
}

pub(super) fn connection() -> Connection<'static> {
    Connection {
        source: Some("10.1.2.3".parse().unwrap()),
        forwarded: Forwarded::Known("::ffff:203.0.113.9".parse().unwrap()),
        port: Some(8443),
        sni: Some("orders.example"),
    }
}

pub(super) fn decide(when: &str, facts: &Facts<'_>) -> Result<bool, UndecidableReason> {
    let rule = json!({
        "name": "r",
        "allow": { "requests": [{ "paths": ["/customers/{customer}/orders/**"] }], "when": when }
    });
    match compile(&[rule.to_string()]).decide(facts) {
        Decision::Allow(_) => Ok(true),
        Decision::NothingAllows | Decision::NothingAllowsAnonymous => Ok(false),
        Decision::Undecidable(_, reason) => Err(reason),
        other => panic!("{other:?}"),
    }
}

pub(super) fn request() -> Request {
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
        ("user.claims.level in [1, 2, 3] && !(user.claims.level in ['3'])", true),
        ("user.claims.nested.deep in ['x'] && user.claims.groups == ['a', 'b']", true),
        ("user.claims.sub == user.claims.sub && user.claims.tenant != user.claims.sub", true),
        ("size(user.sub) == 5 && user.claims.groups.size() > 1 && size(user.claims) == 10", true),
        ("user.claims.tenant + '-' + user.sub == 'acme-alice'", true),
        ("user.claims[path.customer + ''] == 1 || true", true),
        (
            "user.roles == ['customer', 'vip'] && user.roles + ['x'] == ['customer', 'vip', 'x']",
            true,
        ),
        ("!has(user.tenant) && !has(user.email) && !has(user.boundBy) && has(user.groups)", true),
        ("size(user.groups) == 0 && !('a' in user.groups)", true),
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
        ("client.sub != 'x'", &all, R::NoClient),
        ("has(client.tenant)", &all, R::NoClient),
        ("user.claims.missing == 1", &all, R::Missing("user.claims.missing".into())),
        ("user.claims.missing != 1", &all, R::Missing("user.claims.missing".into())),
        ("user.claims.nested.missing == 1", &all, R::Missing("user.claims.nested.missing".into())),
        ("has(user.claims.missing.deep)", &all, R::Missing("user.claims.missing".into())),
        ("user.claims.groups[9] == 'a'", &all, R::Missing("user.claims.groups[9]".into())),
        ("[1].exists(i, user.claims.missing == i)", &all, R::Missing("user.claims.missing".into())),
        ("user.tenant != 'x'", &all, R::Missing("user.tenant".into())),
        ("user.boundBy == 'dpop'", &all, R::Missing("user.boundBy".into())),
        ("request.body.a != 1", &all, R::NoBody),
        ("[1].exists(i, request.body.a == i)", &all, R::NoBody),
        ("source.address != '10.0.0.1'", &all, R::Missing("source.address".into())),
        ("!forwarded.address.within('10.0.0.0/8')", &all, R::Missing("forwarded.address".into())),
        ("destination.port != 80", &all, R::Missing("destination.port".into())),
        ("destination.sni != 'a'", &all, R::Missing("destination.sni".into())),
        ("request.headers['x-other'] == 'a'", &all, R::Missing("x-other".into())),
        ("request.headers['x-twice'] == 'a'", &all, R::HeaderRepeated("x-twice".into())),
        ("true || 'x-twice' in request.headers", &all, R::HeaderRepeated("x-twice".into())),
        ("[1].exists(i, i == 1) ? user.claims.tenant : true", &all, R::NotBoolean),
    ] {
        assert_eq!(decide(when, facts), Err(reason), "{when}");
    }
    for when in [
        "user.claims.level + 'a' == 'b'",
        "user.claims.tenant < 3",
        "user.roles[9] == 'a'",
        "user.claims.tenant",
        "!user.claims.tenant",
        "user.claims.groups.a == 1",
        "user.claims.tenant.deep == 1",
        "user.claims.nested[0] == 1",
        "has(user.claims.tenant.deep)",
        "'a' in user.claims.tenant",
        "size(user.claims.level) == 1",
        "user.claims.level.matches('3')",
        "user.claims.verified < 1",
        "user.claims[request.headers['x-tenant']] == 1",
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
fn a_body_that_is_not_whole_has_no_answer() {
    use UndecidableReason as R;
    let request = request();
    for (body, reason) in [
        (BodyFacts::Absent, R::NoBody),
        (BodyFacts::Truncated, R::BodyTruncated),
        (BodyFacts::Unreadable("it is no JSON"), R::BodyUnreadable("it is no JSON")),
    ] {
        let body = Sent(body);
        let facts = with_body(request.facts(None, None), &body);
        for when in [
            "request.body.customer == 'alice'",
            "request.body != null",
            "!has(request.body.customer)",
            "!('customer' in request.body)",
            "request.body.lines.all(l, l.count == 0)",
            "size(request.body) == 0 || false",
        ] {
            assert_eq!(decide(when, &facts), Err(reason.clone()), "{when}");
        }
        assert_eq!(decide("request.method == 'GET' || request.body.a == 1", &facts), Ok(true));
        let told = if reason == R::NoBody { Ok(false) } else { Err(reason) };
        assert_eq!(decide("has(request.body)", &facts), told);
    }
    assert!(Condition::compile("request.body.a == 1").unwrap().asks_for_body());
    assert!(!Condition::compile("request.path == '/body'").unwrap().asks_for_body());
}

#[test]
fn reasons_hold_names_and_no_values() {
    let secret =
        user(&[], &[], json!({ "token": "hunter2", "list": ["hunter2"], "map": { "hunter2": 1 } }));
    let request = request().header("x-secret", &["hunter2"]);
    let facts = request.facts(None, Some(&secret));
    for when in [
        "user.claims.token < 3",
        "user.claims.token",
        "user.claims.token.a == 1",
        "user.claims[user.claims.token] == 1",
        "user.claims.map[user.claims.token + 'a'] == 1",
        "user.claims.token + 1 == 2",
        "int(user.claims.token) == 2",
        "user.claims.list.exists(l, l.field == 1)",
        "user.claims.list.exists(l, l < 3)",
        "request.headers['x-secret'].startsWith('a') && user.claims[request.headers['x-secret']] == 1 || user.claims.x",
        "user.claims.list[5] == 'a'",
        "user.claims.map < user.claims.list",
        "-user.claims.token == 1",
    ] {
        let reason = decide(when, &facts).expect_err(when).to_string();
        assert!(!reason.contains("hunter2"), "{when}: {reason}");
    }
}

#[test]
fn a_workload_outside_namespaces_has_no_namespace() {
    let other = SpiffeId::parse("spiffe://demo.mesh/vm/seven").unwrap();
    let request = request();
    let facts = request.facts(Some(&other), None);
    assert_eq!(decide("has(peer.namespace)", &facts), Ok(false));
    let missing = UndecidableReason::Missing("peer.namespace".into());
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
        other => panic!("{other:?}"),
    };
    assert_eq!(decided(&[allow]), "allow");
    assert_eq!(decided(&[allow, unclear]), "unclear");
    assert_eq!(decided(&[unclear, allow]), "unclear");
    assert_eq!(decided(&[allow, unclear_deny]), "unclear-deny");
    assert_eq!(decided(&[allow, unclear, unclear_deny]), "unclear");
    assert_eq!(decided(&[allow, unclear, unclear_deny, deny]), "deny");
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

#[test]
fn an_address_is_one_however_it_is_written() {
    let (alice, request) = (alice(), request());
    let source = Some("2001:db8::5".parse().unwrap());
    let connection = Connection { source, ..Connection::default() };
    let facts = Facts { connection, ..request.facts(None, Some(&alice)) };
    for (other, differs) in [
        ("2001:db8::5", false),
        ("2001:DB8::5", false),
        ("2001:0db8:0::5", false),
        ("2001:db8::6", true),
    ] {
        // The loop is for the interpreter, the comparison never is.
        for never in ["false", "user.roles.exists(r, r == 'no such role')"] {
            let when = format!("source.address != '{other}' || {never}");
            assert_eq!(decide(&when, &facts), Ok(differs), "{when}");
        }
    }
}
