use super::*;
use crate::policy::tests::{policies, workload};
use crate::policy::{AccessPolicy, MeshPolicySpec, PolicySet, Surroundings};

fn policy(name: &str, spec: &str) -> AccessPolicy {
    let text = format!(
        "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {{ name: {name}, namespace: shop }}\nspec: {spec}\n"
    );
    policies(&text).remove(0)
}

fn joined(specs: &[&str]) -> Result<Presentation, String> {
    let names = ["a", "b", "c"];
    let all: Vec<AccessPolicy> =
        names.iter().zip(specs).map(|(name, spec)| policy(name, spec)).collect();
    let set = PolicySet::compile(
        &all,
        &Surroundings {
            workload: &workload(),
            mesh: &MeshPolicySpec::absent(),
            providers: &[],
            engines: &[],
        },
    );
    set.map(|set| set.presentation().clone())
        .map_err(|problems| problems.iter().map(|problem| format!("{problem}\n")).collect())
}

fn refused(specs: &[&str]) -> String {
    joined(specs).expect_err("a conflict")
}

#[test]
fn what_policies_say_is_joined() {
    let both = joined(&[
        "{ identity: { headers: [{ name: x-user-roles, from: user.roles, as: Json }] }, \
           response: { query: { remove: [debug] }, bodies: { grpc: \"no {requestId}\" } } }",
        "{ identity: { userHeader: x-who, headers: [{ name: x-user-roles, from: user.roles, as: Json }, \
             { name: x-plan, from: { user: [plan] }, tooLong: Drop, maxBytes: 64 }] }, \
           response: { headers: [{ name: x-frame-options, value: DENY }], metadata: [{ name: plan, from: { user: [plan] } }] } }",
    ])
    .unwrap();
    assert_eq!((both.user_header.as_str(), both.peer_header.as_str()), ("x-who", "x-hopgate-peer"));
    assert_eq!(both.credentials, Credentials::Strip);
    let names: Vec<&str> = both.headers.iter().map(|header| header.name.as_str()).collect();
    assert_eq!(names, ["x-user-roles", "x-plan"]);
    assert_eq!(
        (both.headers[1].value.max_bytes, both.headers[1].value.too_long),
        (64, TooLong::Drop)
    );
    assert_eq!(both.headers[0].value.too_long, TooLong::Refuse, "doubt refuses");
    assert_eq!(both.response.query_removed, ["debug"]);
    assert_eq!(both.response.headers.len() + both.response.metadata.len(), 2);
    assert!(both.response.bodies.grpc.is_some() && both.response.bodies.api.is_none());
}

#[test]
fn policies_that_disagree_are_a_mistake() {
    for (one, other, field) in [
        (
            "identity: { headers: [{ name: x-a, from: user.email }] }",
            "identity: { headers: [{ name: x-a, from: user.subject }] }",
            "identity.headers[0]",
        ),
        (
            "response: { headers: [{ name: x-a, value: a }] }",
            "response: { headers: [{ name: x-a, value: b }] }",
            "response.headers[0]",
        ),
        (
            "response: { query: { set: [{ name: a, value: a }] } }",
            "response: { query: { set: [{ name: a, value: b }] } }",
            "response.query.set[0]",
        ),
        (
            "response: { query: { set: [{ name: a, value: a }] } }",
            "response: { query: { remove: [a] } }",
            "response.query",
        ),
        ("response: { login: { url: /a } }", "response: { login: { url: /b } }", "response.login"),
        (
            "response: { bodies: { grpc: a } }",
            "response: { bodies: { grpc: b } }",
            "response.bodies.grpc",
        ),
        (
            "response: { metadata: [{ name: a, from: user.email }] }",
            "response: { metadata: [{ name: a, from: peer.id }] }",
            "response.metadata[0]",
        ),
    ] {
        let (one, other) = (format!("{{ {one} }}"), format!("{{ {other} }}"));
        assert!(joined(&[&one, &one]).is_ok(), "{one}");
        let told = refused(&[&one, &other]);
        assert!(told.contains(&format!("spec.{field}:")), "{field}: {told}");
    }
}

#[test]
fn one_header_tells_one_thing() {
    for spec in [
        "{ identity: { headers: [{ name: x-hopgate-user, from: user.email }] } }",
        "{ identity: { peerHeader: x-p, headers: [{ name: x-p, from: user.email }] } }",
    ] {
        assert!(refused(&[spec]).contains("tells the user or the peer already"));
    }
    let many: String =
        (0..5).map(|n| format!("{{ name: x-{n}a, from: user.email, maxBytes: 8192 }},")).collect();
    let told = refused(&[&format!("{{ identity: {{ headers: [{many}] }} }}")]);
    assert!(told.contains("at most 32 of 32768 bytes"), "{told}");
}

#[test]
fn fields_that_cannot_be_meant_are_refused() {
    for (spec, told) in [
        ("identity: { headers: [] }", "is empty"),
        (
            "identity: { headers: [{ name: x-a, from: user.email }, { name: x-a, from: user.email }] }",
            "in the list already",
        ),
        (
            "identity: { headers: [{ name: x-forwarded-user, from: user.email }] }",
            "has a meaning of its own",
        ),
        (
            "identity: { headers: [{ name: x-a, from: user.email, maxBytes: 0 }] }",
            "it may be 1 to 8192",
        ),
        (
            "identity: { headers: [{ name: x-a, from: user.email, maxBytes: 9000 }] }",
            "it may be 1 to 8192",
        ),
        ("identity: { headers: [{ name: x-a, from: { peer: [a] } }] }", "unknown field `peer`"),
        ("response: {}", "says nothing"),
        ("response: { headers: [{ name: x-a }] }", "needs `value` or `from`"),
        (
            "response: { headers: [{ name: x-a, value: a, from: user.email }] }",
            "both `value` and `from`",
        ),
        ("response: { headers: [{ name: x-a, value: a, as: Json }] }", "is for `from`"),
        ("response: { headers: [{ name: x-a, value: \"a\\r\\nx-b: c\" }] }", "no header value"),
        ("response: { headers: [{ name: x-a, value: \"caf\u{e9}\" }] }", "no header value"),
        ("response: { headers: [{ name: set-cookie, value: a }] }", "to set"),
        ("response: { query: {} }", "needs `set` or `remove`"),
        (
            "response: { query: { set: [{ name: a, value: b, whenPresent: Keep }] } }",
            "is for headers",
        ),
        ("response: { query: { remove: [\"\"] } }", "no name of a parameter"),
        ("response: { metadata: [{ name: rule, from: user.email }] }", "the gate itself says"),
        ("response: { metadata: [{ name: A, from: user.email }] }", "no name of lower-case"),
        ("response: { bodies: { api: \"{code}\" } }", "no word"),
    ] {
        let text = format!(
            "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {{ name: a, namespace: shop }}\nspec: {{ {spec} }}\n"
        );
        let said = crate::policy::parse("a.yaml", &text).expect_err(spec).to_string();
        assert!(said.contains(told), "{spec}: {said}");
    }
}
