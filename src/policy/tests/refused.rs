//! Conditions that are refused at load: names, functions and types that do not fit, and what could cost much.

use serde_json::json;

use super::*;

#[test]
fn a_mistake_is_refused_at_load() {
    for (when, expected) in [
        ("", "is no CEL"),
        ("user.sub ==", "is no CEL, at line 1, column"),
        (
            "usr.sub == 'a'",
            "names `usr`, which does not exist; there are `peer`, `user`, `client`, `request`, `path`, `destination`, `source`, `forwarded`, `now`; did you mean `user`?",
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
        ("user.sub", "column 1: is `user.sub` (a string), which is neither true nor false"),
        ("'a'", "is `'a'` (a string), which is neither true nor false"),
        ("now", "is `now` (an int), which is neither true nor false"),
        ("1 + 1", "is `1 + 1` (an int), which is neither true nor false"),
        ("size(user.roles)", "is `size(user.roles)` (an int), which is neither true nor false"),
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

/// Operations on values of types that they are not for, and what is said of each.
const WRONG_TYPES: &[(&str, &str)] = &[
    (
        "user.sub == 3",
        "column 1: compares `user.sub` (a string) with `3` (an int), which are never equal",
    ),
    (
        "request.method == 'GET' && destination.port == '80'",
        "column 28: compares `destination.port` (an int) with `'80'` (a string)",
    ),
    (
        "user.roles == 'admin'",
        "compares `user.roles` (a list of strings) with `'admin'` (a string)",
    ),
    (
        "user.tenant == null",
        "compares `user.tenant` (a string) with `null`; has() asks whether something is there",
    ),
    ("user.sub != true", "compares `user.sub` (a string) with `true` (a boolean)"),
    (
        "user.roles == [1]",
        "compares `user.roles` (a list of strings) with `[1]` (a list of numbers)",
    ),
    ("user.sub < 3", "asks which of `user.sub` (a string) and `3` (an int) is greater"),
    ("true < false", "asks which of `true` (a boolean) and `false` (a boolean) is greater"),
    ("(user.sub == 'a') < user.claims.x", "asks which of `user.sub == 'a'` (a boolean) and"),
    ("user.roles > user.scopes", "asks which of `user.roles` (a list of strings) and"),
    (
        "'admin' in user.sub",
        "looks with `in` into `user.sub` (a string); `in` is for lists and maps, a part of a string is found by contains()",
    ),
    ("'a' in now", "looks with `in` into `now` (an int); `in` is for lists and maps"),
    (
        "3 in user.roles",
        "looks for `3` (an int) in `user.roles` (a list of strings), where it never is",
    ),
    ("user.sub in [1, 2]", "looks for `user.sub` (a string) in `[1, 2]` (a list of numbers)"),
    ("1 in user.claims", "looks for `1` (an int) in `user.claims` (a map)"),
    (
        "user.roles.startsWith('a')",
        "calls startsWith() on `user.roles` (a list of strings); it is for a string; a member of a list is found by `in`",
    ),
    (
        "user.roles.contains('admin')",
        "calls contains() on `user.roles` (a list of strings); it is for a string; a member",
    ),
    ("now.startsWith('1')", "calls startsWith() on `now` (an int); it is for a string"),
    (
        "user.sub.startsWith(3)",
        "column 21: gives `3` (an int) to startsWith(), which takes a string",
    ),
    (
        "user.sub.contains(user.roles)",
        "gives `user.roles` (a list of strings) to contains(), which takes a string",
    ),
    ("destination.port.matches('8')", "calls matches() on `destination.port` (an int)"),
    ("user.sub && true", "uses `user.sub` (a string) in `&&`, where a boolean is expected"),
    ("false || now", "column 10: uses `now` (an int) in `||`"),
    ("!user.sub", "uses `user.sub` (a string) in `!`"),
    ("user.roles.exists(r, r)", "uses `r` (a string) in a loop, where a boolean is expected"),
    ("user.roles.all(r, size(r))", "uses `size(r)` (an int) in a loop"),
    ("user.roles.exists_one(r, r)", "uses `r` (a string) in a loop"),
    ("size(user.roles.filter(r, 1)) == 1", "uses `1` (an int) in a loop"),
    (
        "user.sub.exists(c, c == 'a')",
        "loops over `user.sub` (a string); only lists and maps have members",
    ),
    ("user.roles.exists(r, r == 1)", "compares `r` (a string) with `1` (an int)"),
    ("user.roles.map(r, size(r)).size() == 'a'", "(an int) with `'a'` (a string)"),
    ("user.roles.filter(r, r != 'a')", "(a list of strings), which is neither true nor false"),
    ("user.sub ? true : false", "uses `user.sub` (a string) in `? :`"),
    ("(true ? 'a' : 1) == 'a'", "gives `'a'` (a string) or `1` (an int): one type is expected"),
    ("true ? 1 : 2", "is `true ? 1 : 2` (an int), which is neither true nor false"),
    ("now + 'a' == 'b'", "computes `now` (an int) + `'a'` (a string)"),
    ("now - 1.0 > 2.0", "computes `now` (an int) - `1.0` (a double)"),
    ("user.sub - 'a' == 'b'", "computes `user.sub` (a string) - `'a'` (a string)"),
    ("user.roles * 2 == 3", "computes `user.roles` (a list of strings) * `2` (an int)"),
    ("1.5 % 1.0 == 0.5", "computes `1.5` (a double) % `1.0` (a double)"),
    ("-user.sub == 'a'", "negates `user.sub` (a string)"),
    ("size(now) == 1", "asks for the size of `now` (an int)"),
    ("now.size() == 1", "asks for the size of `now` (an int)"),
    (
        "int(user.roles) == 1",
        "gives `user.roles` (a list of strings) to int(), which does not take such a value",
    ),
    ("double(true) == 1.0", "gives `true` (a boolean) to double()"),
    ("string(user.roles) == 'a'", "gives `user.roles` (a list of strings) to string()"),
    (
        "user.sub.name == 'a'",
        "asks for the field `name` of `user.sub` (a string); only maps have fields",
    ),
    ("has(user.sub.name)", "asks for the field `name` of `user.sub` (a string)"),
    (
        "user.sub[0] == 'a'",
        "takes a member of `user.sub` (a string); only lists and maps have members",
    ),
    (
        "user.roles['a'] == 'b'",
        "takes a member of `user.roles` (a list of strings) by `'a'` (a string), where the place of a member, an int, is expected",
    ),
    (
        "user.claims[1] == 'b'",
        "takes a member of `user.claims` (a map) by `1` (an int), where the name of a member, a string, is expected",
    ),
    ("user.claims.a[true] == 'b'", "by `true` (a boolean), where the name of a member"),
    ("{1: 'a'}[path.customer] == 'a'", "has `1` (an int) for a key; the keys of a map are strings"),
    (
        "source.address == user.claims.ip",
        "column 19: compares `source.address` with `user.claims.ip`, which is no literal IP address",
    ),
    (
        "source.address == '10.0.0'",
        "compares `source.address` with `'10.0.0'`, which is no literal IP address",
    ),
    (
        "source.address in ['10.0.0.1', 'x']",
        "compares `source.address` with `'x'`, which is no literal IP address",
    ),
    (
        "source.address in user.claims.addresses",
        "compares `source.address` with `user.claims.addresses`, which is no",
    ),
    (
        "['10.0.0.1'].exists(a, a == source.address)",
        "compares `source.address` with `a`, which is no literal",
    ),
    (
        "source.address.startsWith('10.')",
        "calls startsWith() on `source.address` (an address); it is for a string; addresses have within()",
    ),
    (
        "source.address.within('10.0.0.0/33')",
        "gives `'10.0.0.0/33'` to within(), which takes literal networks, as in \"10.0.0.0/8\"",
    ),
    ("source.address.within('10.0.0.1/8')", "gives `'10.0.0.1/8'` to within()"),
    ("source.address.within('::ffff:10.0.0.0/104')", "gives `'::ffff:10.0.0.0/104'` to within()"),
    ("source.address.within(path.customer)", "gives `path.customer` to within()"),
    (
        "user.sub.within('10.0.0.0/8')",
        "calls within() on `user.sub` (a string); it is for source.address and forwarded.address",
    ),
    (
        "(true ? source.address : forwarded.address).within('10.0.0.0/8')",
        "calls within() on `true ? source.address : forwarded.address`",
    ),
    ("dyn(source.address) == '10.0.0.1'", "gives `source.address` (an address) to dyn()"),
    (
        "source == '10.0.0.1'",
        "uses `source` as a whole; name one of its fields, as in `source.address`",
    ),
    (
        "now.hours > 8",
        "names `now.hours`, which does not exist; there are `hour`, `weekday`; did you mean `hour`?",
    ),
    ("client.rolls == []", "names `client.rolls`, which does not exist"),
    (
        "user.sub == 'a'\n  && user.sb == 'b'",
        "line 2, column 6: names `user.sb`, which does not exist",
    ),
];

#[test]
fn every_operation_is_for_values_of_its_types() {
    for (when, expected) in WRONG_TYPES {
        assert_refused(when, expected);
    }
}

#[test]
fn what_only_the_request_tells_is_of_any_type() {
    for when in [
        "user.claims.a == 3 || user.claims.a == 'b' || user.claims.a == null",
        "user.claims.a < 3 && user.claims.b < 'c' && user.claims.a < request.body.b",
        "user.claims.verified && !request.body.draft",
        "request.body",
        "request.body.items.exists(i, i.price > 3 && i.name.startsWith('a') && i.open)",
        "request.body[0].a['b'][1] == user.sub",
        "user.sub in request.body.owners || user.claims.a in user.claims.b",
        "(true ? user.claims.a : 'x') == 'x'",
        "[user.claims.a, 'b'] == ['a', 'b'] && {'a': 1}.a == 1",
        "int(user.claims.a) + 1 == 2 && user.claims.a + user.claims.b == 'ab'",
        "dyn(user.sub) == 3",
        "user.roles == [] && [] == user.claims.x && size([]) == 0",
        "now == 1 || now == 1u || now < 1.5",
        "string(source.address).startsWith('10.') && source.address == forwarded.address",
        "user.roles + user.scopes == [] && 'a' in user.roles + ['b']",
    ] {
        Condition::compile(when).unwrap_or_else(|error| panic!("{when}: {error}"));
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
