//! What conditions see beside the user and the request line: the client, the body, the connection, the time, and roles
//! that are implied.

use std::sync::Arc;

use serde_json::json;

use super::conditions::{Sent, alice, connection, decide, request, with_body};
use super::*;
use crate::policy::condition::environment;

/// The program that calls for alice.
fn shop() -> UserFacts {
    UserFacts::new(UserParts { roles: vec!["service".into()], ..UserParts::of("machines", "shop") })
}

#[test]
fn conditions_see_client_body_connection_and_time() {
    let (alice, shop, request) = (alice(), shop(), request());
    let body = json!({
        "customer": "alice", "tenant": "acme", "total": 12.5, "draft": false, "lines": [{ "sku": "a", "count": 2 }, { "sku": "b", "count": 1 }],
        "1": "one",
    });
    let body = Sent(BodyFacts::Value(&body));
    let facts = with_body(request.facts(None, Some(&alice)), &body);
    let facts = Facts { client: Some(&shop), connection: connection(), ..facts };
    for (when, expected) in [
        (
            "client.sub == 'shop' && client.provider == 'machines' && 'service' in client.roles",
            true,
        ),
        ("client.sub == user.sub || !(client.roles.exists(r, r == 'service'))", false),
        ("request.body.customer == user.sub && request.body.tenant == user.claims.tenant", true),
        ("request.body.customer == path.customer && !request.body.draft", true),
        ("request.body.total < 100 && request.body.total >= 12.5", true),
        ("request.body.lines[1].sku == 'b' && size(request.body.lines) == 2", true),
        (
            "request.body.lines.all(l, l.count > 0) && request.body.lines.exists(l, l.sku == 'b')",
            true,
        ),
        ("request.body.lines.map(l, l.sku) == ['a', 'b']", true),
        ("request.body.lines.filter(l, l.count > 1).size() == 1", true),
        ("request.body.lines.exists_one(l, l.sku == 'a')", true),
        ("has(request.body) && has(request.body.customer) && !has(request.body.owner)", true),
        ("'customer' in request.body && !('owner' in request.body)", true),
        ("request.body['1'] == 'one' && request.body.exists(name, name == 'draft')", true),
        (
            "destination.port == 8443 && destination.sni.endsWith('.example') && has(destination.sni)",
            true,
        ),
        ("source.address == '10.1.2.3' && source.address.within('10.0.0.0/8')", true),
        ("source.address == '::ffff:10.1.2.3' && string(source.address) == '10.1.2.3'", true),
        ("source.address in ['10.0.0.1', '10.1.2.3'] && source.address != forwarded.address", true),
        ("forwarded.address.within('203.0.113.0/24') && forwarded.address == '203.0.113.9'", true),
        (
            "forwarded.address.within('203.0.113.9') && !forwarded.address.within('2001:db8::/32')",
            true,
        ),
        ("has(source.address) && has(forwarded.address) && has(destination.port)", true),
        ("now.hour == 22 && now.weekday == 2", true),
        ("now.weekday in [1, 2, 3, 4, 5] && now.hour >= 8", true),
    ] {
        assert_eq!(decide(when, &facts), Ok(expected), "{when}");
    }
}

#[test]
fn weeks_begin_on_monday() {
    // 1970-01-05 was a Monday.
    for (days, weekday) in [(0, 4), (3, 7), (4, 1), (5, 2), (19_675, 2)] {
        let now = std::time::UNIX_EPOCH + Duration::from_secs(days * 24 * 60 * 60);
        let request = request();
        let facts = Facts { now, ..request.facts(None, None) };
        assert_eq!(decide(&format!("now.weekday == {weekday} && now.hour == 0"), &facts), Ok(true));
    }
}

#[test]
fn roles_that_are_implied_are_held() {
    let direct = [("vip", vec!["guest"]), ("guest", vec!["reader"]), ("admin", vec!["vip"])];
    let own = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let roles = ImpliedRoles::close(
        &direct.into_iter().map(|(role, implied)| (role.to_owned(), own(implied))).collect(),
    );
    let (alice, shop, request) = (alice(), shop(), request());
    let facts = Facts { client: Some(&shop), ..request.facts(None, Some(&alice)) };
    let roles = Arc::new(roles);
    for (when, plain, implied) in [
        ("'reader' in user.roles", false, true),
        ("'vip' in user.roles", true, true),
        ("'admin' in user.roles", false, false),
        ("!('guest' in user.roles)", true, false),
        ("'reader' in client.roles", false, false),
        (
            "request.headers['x-tenant'] in user.roles || user.claims.role in user.roles",
            false,
            true,
        ),
        ("user.roles.exists(r, r == 'reader')", false, true),
        (
            "size(user.roles) == 4 && user.roles == ['customer', 'vip', 'guest', 'reader']",
            false,
            true,
        ),
    ] {
        let alice = user(&["customer", "vip"], &[], json!({ "role": "guest" }));
        let facts = Facts { user: Some(&alice), ..facts };
        let condition = Condition::compile(when).unwrap();
        let environment = Arc::new(environment());
        assert_eq!(condition.evaluate(&facts, None, &environment), Ok(plain), "{when}");
        let condition = condition.with_roles(&roles);
        assert_eq!(condition.evaluate(&facts, None, &environment), Ok(implied), "{when}");
        assert_eq!(condition.interpret(&facts, None, &environment), Ok(implied), "{when}");
    }
}
