//! Each field of a rule: facts that match it, facts that do not, and facts that leave it unknown.

use std::net::IpAddr;

use serde_json::json;

use super::*;

/// What becomes of the one rule for some facts.
fn fate(part: &str, facts: &Facts<'_>) -> Fate {
    let set = compile(&[format!("{{ name: r, deny: {{ {part} }} }}")]);
    let alone = set.examine(facts).remove(0).fate;
    let decided = match set.decide(facts) {
        Decision::Deny(_) => Fate::Matched,
        Decision::NothingAllows => Fate::Differs(Difference::Path),
        Decision::Undecidable(_, reason) => Fate::Undecidable(reason),
        Decision::AskFirst(_) => Fate::NotAsked,
        other => panic!("{other:?}"),
    };
    // The index finds what a walk finds.
    match (&alone, &decided) {
        (Fate::Differs(_), Fate::Differs(_)) => {}
        (alone, decided) => assert_eq!(alone, decided, "{part}"),
    }
    alone
}

pub(super) fn differs(part: &str, facts: &Facts<'_>) -> Difference {
    match fate(part, facts) {
        Fate::Differs(difference) => difference,
        other => panic!("{part}: {other:?}"),
    }
}

pub(super) fn unknown(part: &str, facts: &Facts<'_>) -> UndecidableReason {
    match fate(part, facts) {
        Fate::Undecidable(reason) => reason,
        other => panic!("{part}: {other:?}"),
    }
}

pub(super) fn matches(part: &str, facts: &Facts<'_>) {
    assert_eq!(fate(part, facts), Fate::Matched, "{part}");
}

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

#[test]
fn peers() {
    let request = Request::new("GET", "/a");
    let web = peer("web");
    let foreign = id("spiffe://partner.example/ns/shop/sa/web");
    let alias = id("spiffe://old.mesh/ns/shop/sa/web");
    let odd = id("spiffe://demo.mesh/machines/7");
    let facts = |peer| request.facts(peer, None);
    for (pattern, yes, no) in [
        ("\"*\"", vec![&web, &foreign, &alias, &odd], vec![]),
        ("ns/shop/sa/web", vec![&web, &alias], vec![&foreign, &odd]),
        ("ns/shop", vec![&web, &alias], vec![&foreign, &odd]),
        ("ns/other", vec![], vec![&web, &alias, &foreign, &odd]),
        ("spiffe://partner.example", vec![&foreign], vec![&web, &alias, &odd]),
        ("spiffe://demo.mesh", vec![&web, &odd], vec![&foreign, &alias]),
        ("spiffe://partner.example/ns/shop/sa/web", vec![&foreign], vec![&web, &alias]),
        ("none", vec![], vec![&web, &foreign, &alias, &odd]),
    ] {
        let (part, not) = (format!("peers: [{pattern}]"), format!("notPeers: [{pattern}]"));
        for peer in yes {
            matches(&part, &facts(Some(peer)));
            assert_eq!(differs(&not, &facts(Some(peer))), Difference::NotPeer, "{pattern}");
        }
        for peer in no {
            assert_eq!(differs(&part, &facts(Some(peer))), Difference::Peer, "{pattern} {peer:?}");
            matches(&not, &facts(Some(peer)));
        }
        // Nobody is no member of anything but of those who are nobody.
        match pattern {
            "none" => {
                matches(&part, &facts(None));
                assert_eq!(differs(&not, &facts(None)), Difference::NotPeer);
            }
            _ => {
                assert_eq!(differs(&part, &facts(None)), Difference::Peer);
                matches(&not, &facts(None));
            }
        }
    }
    matches("peers: [none, ns/shop/sa/web]", &facts(None));
    matches("peers: [none, ns/shop/sa/web]", &facts(Some(&web)));
}

#[test]
fn users_and_clients() {
    let request = Request::new("GET", "/a");
    let alice = UserFacts::new(UserParts {
        roles: vec!["editor".into()],
        scopes: vec!["read".into()],
        groups: Groups::Known(vec!["staff".into()]),
        tenant: Some("acme".into()),
        email: Some("alice@acme.example".into()),
        confirmation: Some(Confirmation::Dpop),
        claims: json!({ "level": 3 }).as_object().unwrap().clone(),
        ..UserParts::of("sso", "alice")
    });
    let bare = UserFacts::new(UserParts::of("partner", "bob"));
    for (ask, lacks) in [
        ("providers: [sso]", Mismatch::Provider),
        ("subjects: [carol, alice]", Mismatch::Subject),
        ("roles: [editor, admin]", Mismatch::Role),
        ("groups: [staff]", Mismatch::Group),
        ("scopes: [read]", Mismatch::Scope),
        ("tenants: [acme]", Mismatch::Tenant),
        ("emails: [alice@acme.example]", Mismatch::Email),
        ("claims: { level: [3] }", Mismatch::Claim),
        ("boundBy: [Dpop]", Mismatch::NotBound),
    ] {
        for field in ["users", "clients"] {
            let facts = |held| {
                let facts = request.facts(None, None);
                match field {
                    "users" => Facts { user: held, ..facts },
                    _ => Facts { client: held, ..facts },
                }
            };
            let of = |mismatch| match field {
                "users" => Difference::User(mismatch),
                _ => Difference::Client(mismatch),
            };
            let not_field = if field == "users" { "notUsers" } else { "notClients" };
            let (part, not) =
                (format!("{field}: {{ {ask} }}"), format!("{not_field}: {{ {ask} }}"));
            matches(&part, &facts(Some(&alice)));
            assert_eq!(differs(&part, &facts(Some(&bare))), of(lacks));
            assert_eq!(differs(&part, &facts(None)), of(Mismatch::NoUser));
            assert!(matches!(
                differs(&not, &facts(Some(&alice))),
                Difference::NotUser | Difference::NotClient
            ));
            matches(&not, &facts(Some(&bare)));
            matches(&not, &facts(None));
        }
    }
    let facts = |user| request.facts(None, user);
    matches("users: { anonymous: Only }", &facts(None));
    assert_eq!(
        differs("users: { anonymous: Only }", &facts(Some(&bare))),
        Difference::User(Mismatch::SignedIn)
    );
    matches("notUsers: { anonymous: Only }", &facts(Some(&bare)));
    assert_eq!(differs("notUsers: { anonymous: Only }", &facts(None)), Difference::NotUser);
    matches("users: {}", &facts(Some(&bare)));
    assert_eq!(differs("users: {}", &facts(None)), Difference::User(Mismatch::NoUser));
}

#[test]
fn groups_that_are_not_known_leave_a_rule_undecided() {
    let request = Request::new("GET", "/a");
    let unclear =
        UserFacts::new(UserParts { groups: Groups::Unknown, ..UserParts::of("sso", "alice") });
    let facts = request.facts(None, Some(&unclear));
    for part in ["users: { groups: [staff] }", "notUsers: { groups: [staff] }"] {
        assert_eq!(unknown(part, &facts), UndecidableReason::GroupsUnknown);
    }
    // To somebody who lacks something else the groups make no difference.
    assert_eq!(
        differs("users: { groups: [staff], roles: [admin] }", &facts),
        Difference::User(Mismatch::Role)
    );
    matches("notUsers: { groups: [staff], roles: [admin] }", &facts);
}

#[test]
fn roles_imply_roles_within_their_policy() {
    let request = Request::new("GET", "/a");
    let text = "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: p, namespace: shop }\nspec:\n\
        \x20 roles: { admin: [editor], editor: [viewer, commenter] }\n  rules:\n\
        \x20   - { name: view, allow: { users: { roles: [viewer] }, requests: [{ methods: [GET] }] } }\n\
        \x20   - { name: no-admins, deny: { users: { roles: [editor] }, requests: [{ methods: [PUT] }] } }\n";
    let set = compile_policies(&policies(text));
    let decide = |method: &str, role: &str| {
        let user = user(&[role], &[], json!({}));
        let request = Request::new(method, "/a");
        format!("{:?}", set.decide(&request.facts(None, Some(&user))))
    };
    for role in ["viewer", "editor", "admin"] {
        assert!(decide("GET", role).starts_with("Allow"), "{role}");
    }
    assert_eq!(decide("GET", "commenter"), "NothingAllows");
    assert!(decide("PUT", "admin").starts_with("Deny"));
    assert_eq!(decide("PUT", "viewer"), "NothingAllows");
    let cycle = text.replace("editor: [viewer", "editor: [admin");
    let error = parse("p.yaml", &cycle).unwrap_err().to_string();
    assert!(error.contains("`admin` implies itself"), "{error}");
    drop(request);
}

#[test]
fn addresses() {
    let request = Request::new("GET", "/a");
    let facts = |source: Option<&str>, forwarded: Option<&str>| {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let forwarded =
            forwarded.map_or(Forwarded::Unknown, |text| Forwarded::Known(address(text)));
        let connection =
            Connection { source: source.map(address), forwarded, ..Connection::default() };
        Facts { connection, ..request.facts(None, None) }
    };
    for inside in ["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.7", "2001:db8::9"] {
        let facts = facts(Some(inside), Some(inside));
        let ranges = "[10.0.0.0/8, 192.0.2.7, \"2001:db8::/32\"]";
        matches(&format!("sources: {ranges}"), &facts);
        matches(&format!("forwardedFor: {ranges}"), &facts);
        assert_eq!(differs(&format!("notSources: {ranges}"), &facts), Difference::NotSource);
        assert_eq!(
            differs(&format!("notForwardedFor: {ranges}"), &facts),
            Difference::NotForwarded
        );
    }
    let outside = facts(Some("11.0.0.1"), Some("192.0.2.8"));
    assert_eq!(differs("sources: [10.0.0.0/8]", &outside), Difference::Source);
    assert_eq!(differs("forwardedFor: [192.0.2.7]", &outside), Difference::Forwarded);
    matches("notSources: [10.0.0.0/8]", &outside);
    matches("notForwardedFor: [192.0.2.7]", &outside);
    let nothing = facts(None, None);
    for part in ["sources", "notSources"] {
        assert_eq!(
            unknown(&format!("{part}: [10.0.0.0/8]"), &nothing),
            UndecidableReason::NoSource
        );
    }
    for part in ["forwardedFor", "notForwardedFor"] {
        assert_eq!(
            unknown(&format!("{part}: [10.0.0.0/8]"), &nothing),
            UndecidableReason::NoForwarded
        );
    }
}
