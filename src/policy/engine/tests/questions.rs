//! What is asked of OpenFGA and of a cluster, and what is never asked.

use serde_json::json;

use super::{Told, kind};
use crate::policy::{
    EngineFault, EngineKind, OpenFga, SubjectAccessReview, Tuple, UserFacts, UserParts,
};

fn fga() -> OpenFga {
    let spec = "  openFga:
    url: https://fga.example
    store: 01HVMMBCMGZNT3SED4Z17ECXCA
    model: 01HVMMBD123456789ABCDEFGHJ
    userType: user
    relations: { GET: reader, PUT: writer }
    objects:
      - { path: \"/documents/{id}/**\", type: document, id: \"{id}\" }
      - { path: \"/index\", type: folder, id: root }
";
    match kind(spec) {
        EngineKind::OpenFga(fga) => fga,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_relation_is_asked_by_method_and_path() {
    let asked = |told: &Told| told.with(|facts| fga().question(facts));
    let tuple = |user: &str, relation: &str, object: &str| Tuple {
        user: user.to_owned(),
        relation: relation.to_owned(),
        object: object.to_owned(),
    };
    let reads = asked(&Told::by("ann", "GET", "/documents/7"));
    assert_eq!(reads, Ok(Some(tuple("user:ann", "reader", "document:7"))));
    let writes = asked(&Told::by("auth0|64", "PUT", "/documents/7/pages/1"));
    assert_eq!(writes, Ok(Some(tuple("user:auth0|64", "writer", "document:7"))));
    let fixed = asked(&Told::by("ann", "GET", "/index"));
    assert_eq!(fixed, Ok(Some(tuple("user:ann", "reader", "folder:root"))));
    for told in [
        Told::by("ann", "DELETE", "/documents/7"),
        Told::by("ann", "GET", "/elsewhere"),
        Told::anonymous("GET", "/documents/7"),
    ] {
        assert_eq!(asked(&told), Ok(None));
    }
}

#[test]
fn nobody_becomes_everybody_or_a_set_of_users() {
    let long = "x".repeat(600);
    for subject in
        ["*", "document:7#reader", "a b", "a\u{a0}b", "a\nb", "user:ann", "", "a#b", &long]
    {
        let asked = Told::by(subject, "GET", "/documents/7").with(|facts| fga().question(facts));
        assert_eq!(asked, Err(EngineFault::UnsafeName), "{subject:?}");
    }
    for path in ["/documents/*", "/documents/7#reader", "/documents/a:b", "/documents/a b"] {
        let asked = Told::by("ann", "GET", path).with(|facts| fga().question(facts));
        assert_eq!(asked, Err(EngineFault::UnsafeObject), "{path}");
    }
}

fn review(more: &str) -> SubjectAccessReview {
    let spec = format!(
        "  subjectAccessReview:\n    url: https://api.example\n    tokenFile: token\n{more}"
    );
    match kind(&spec) {
        EngineKind::SubjectAccessReview(review) => review,
        other => panic!("{other:?}"),
    }
}

const ORDERS: &str = "    userPrefix: \"sso:\"
    groupPrefix: \"sso:\"
    resource: { path: \"/ns/{ns}/orders/{name}\", group: shop.example, resource: orders, namespace: \"{ns}\", name: \"{name}\" }
";

#[test]
fn a_review_names_user_groups_and_resource() {
    let asked = |told: &Told| told.with(|facts| review(ORDERS).question(facts));
    assert_eq!(
        asked(&Told::by("ann", "PUT", "/ns/north/orders/7")),
        Ok(Some(json!({
            "user": "sso:ann",
            "groups": ["sso:staff"],
            "resourceAttributes": {
                "verb": "update", "group": "shop.example", "resource": "orders",
                "namespace": "north", "name": "7",
            },
        })))
    );
    for told in [
        Told::by("ann", "OPTIONS", "/ns/north/orders/7"),
        Told::by("ann", "PUT", "/orders/7"),
        Told::anonymous("PUT", "/ns/north/orders/7"),
    ] {
        assert_eq!(asked(&told), Ok(None));
    }
    let path = Told::by("ann", "GET", "/metrics")
        .with(|facts| review("    userPrefix: \"sso:\"\n    nonResource: {}\n").question(facts));
    let spec = json!({
        "user": "sso:ann", "groups": ["staff"],
        "nonResourceAttributes": { "path": "/metrics", "verb": "get" },
    });
    assert_eq!(path, Ok(Some(spec)));
}

#[test]
fn a_token_makes_nobody_an_administrator_of_the_cluster() {
    let plain = "    nonResource: {}\n";
    let accounts = "    serviceAccountsOf: cluster\n    nonResource: {}\n";
    let asked = |provider: &str, subject: &str, group: &str, more: &str| {
        let parts = UserParts {
            groups: crate::policy::Groups::Known(vec![group.to_owned()]),
            ..UserParts::of(provider, subject)
        };
        let told = Told { user: Some(UserFacts::new(parts)), ..Told::by("x", "GET", "/a") };
        told.with(|facts| review(more).question(facts)).map(|spec| spec.is_some())
    };
    let account = "system:serviceaccount:shop:web";
    assert_eq!(asked("sso", "ann", "staff", plain), Ok(true));
    for (subject, group) in [
        ("system:admin", "staff"),
        ("ann", "system:masters"),
        (account, "staff"),
        ("", "staff"),
        ("a\nb", "staff"),
    ] {
        assert_eq!(asked("sso", subject, group, plain), Err(EngineFault::UnsafeName));
        assert_eq!(
            asked("sso", subject, group, accounts),
            Err(EngineFault::UnsafeName),
            "another provider"
        );
    }
    assert_eq!(asked("cluster", account, "system:serviceaccounts:shop", accounts), Ok(true));
    assert_eq!(asked("cluster", account, "system:masters", accounts), Err(EngineFault::UnsafeName));
    assert_eq!(asked("cluster", "system:admin", "staff", accounts), Err(EngineFault::UnsafeName));
    assert_eq!(asked("cluster", account, "staff", plain), Err(EngineFault::UnsafeName));
}

#[test]
fn groups_that_are_not_known_are_not_left_out() {
    let parts = UserParts { groups: crate::policy::Groups::Unknown, ..UserParts::of("sso", "ann") };
    let told = Told { user: Some(UserFacts::new(parts)), ..Told::by("x", "GET", "/a") };
    let asked = told.with(|facts| review("    nonResource: {}\n").question(facts));
    assert_eq!(asked, Err(EngineFault::GroupsUnknown));
}
