//! What is written without a value, or as another kind of value than meant, never widens a rule.

use super::*;

fn rule(matcher: &str) -> Result<Vec<Resource>, InvalidResource> {
    parse("p.yaml", &format!("{}\n", policy_text(&[format!("name: r\n      {matcher}")])))
}

#[test]
fn a_field_without_a_value_is_an_error() {
    for matcher in [
        "allow:",
        "allow: ~",
        "allow: { peers: , users: {} }",
        "allow: { peers: ~, users: {} }",
        "allow: { peers: null }",
        "allow: { peers: [] }",
        "allow: { peers: [~] }",
        "allow: { peers: [''] }",
        "allow: { users: }",
        "allow: { users: ~ }",
        "allow: { users: { roles: } }",
        "allow: { users: { roles: ~ } }",
        "allow: { users: { roles: [~] } }",
        "allow: { users: { roles: [''] } }",
        "allow: { users: { claims: } }",
        "allow: { users: { claims: {} } }",
        "allow: { users: { claims: { a: } } }",
        "allow: { users: { claims: { a: [] } } }",
        "allow: { users: { claims: { a: [~] } } }",
        "allow: { users: { claims: { a: [null] } } }",
        "allow: { users: [] }",
        "allow: { users: {}, requests: }",
        "allow: { users: {}, requests: [] }",
        "allow: { users: {}, requests: [{}] }",
        "allow: { users: {}, requests: [~] }",
        "allow: { users: {}, requests: [{ methods: }] }",
        "allow: { users: {}, requests: [{ methods: [] }] }",
        "allow: { users: {}, requests: [{ methods: [get] }] }",
        "allow: { users: {}, requests: [{ paths: ~ }] }",
        "allow: { users: {}, requests: [{ methods: [GET], paths: [] }] }",
        "allow: { users: {}, requests: [{ methods: [GET], paths: [''] }] }",
        "allow: { users: {}, when: }",
        "allow: { users: {}, when: '' }",
        "allow: { users: {}, when: ~ }",
        "allow: { users: {}, when: true }\n      deny: {}",
    ] {
        assert!(rule(matcher).is_err(), "{matcher}: {:?}", rule(matcher));
    }
    for spec in
        ["selector:", "selector: {}", "selector: { matchLabels: }", "selector: { matchLabels: {} }"]
    {
        let text = policy_text(&["{ name: r, allow: { users: {} } }"])
            .replace("spec:\n", &format!("spec:\n  {spec}\n"));
        assert!(parse("p.yaml", &text).is_err(), "{spec}");
    }
    let label = "spec:\n  selector: { matchLabels: { app: } }\n";
    let text = policy_text(&["{ name: r, allow: { users: {} } }"]).replace("spec:\n", label);
    assert!(parse("p.yaml", &text).is_err());
}

#[test]
fn claim_values_are_what_they_look_like_or_an_error() {
    let values = |text: &str| {
        let parsed = rule(&format!("allow: {{ users: {{ claims: {{ a: [{text}] }} }} }}")).ok()?;
        let Some(Resource::AccessPolicy(policy)) = parsed.into_iter().next() else { return None };
        let Some(UserPattern::Verified(users)) = &policy.spec.rules[0].users else { return None };
        Some(users.claims[0].1.clone())
    };
    let text = |text: &str| Some(vec![ClaimValue::Text(text.to_owned())]);
    for (written, read) in [
        ("true", Some(vec![ClaimValue::Boolean(true)])),
        ("false", Some(vec![ClaimValue::Boolean(false)])),
        ("yes", text("yes")),
        ("on", text("on")),
        ("'true'", text("true")),
        ("1", Some(vec![ClaimValue::Number(1)])),
        ("-1", Some(vec![ClaimValue::Number(-1)])),
        ("'1'", text("1")),
        ("007", text("007")),
        ("1_000", text("1_000")),
        ("1.0", None),
        ("1.5", None),
        ("1e3", None),
        (".inf", None),
        ("9223372036854775808", None),
        ("{ b: 1 }", None),
        ("[1]", None),
    ] {
        assert_eq!(values(written), read, "{written}");
    }
}

#[test]
fn no_document_of_a_file_is_lost() {
    let first = policy_text(&["{ name: r, allow: { users: {} } }"]);
    let second = first.replace("name: orders", "name: deny").replace("allow", "deny");
    for (between, files) in [
        ("---\n", 2),
        ("--- \n", 2),
        ("---\r\n", 2),
        ("...\n---\n", 2),
        ("---\n# a comment\n", 2),
        ("---\n---\n", 2),
    ] {
        let text = format!("{first}{between}{second}");
        let found = parse("p.yaml", &text).unwrap_or_else(|error| panic!("{between:?}: {error}"));
        assert_eq!(found.len(), files, "{between:?}");
    }
    // Either both are read, or it is an error.
    for text in [
        format!("{first}...\n{second}"),
        format!("{first}... # end\n{second}"),
        format!("{first}...\n# b\n{second}"),
        format!("{first}---\n# a comment\r{}", second.replace('\n', "\r")),
        format!("# a comment\r{}", second.replace('\n', "\r")),
        format!("{first}\r---\r{}", second.replace('\n', "\r")),
        format!("{first}\u{2028}---\u{2028}{second}"),
        format!("{first}\u{85}---\u{85}{second}"),
        format!("{first}\0---\n{second}"),
        format!("{first}]\n{second}"),
        format!("%YAML 1.2\n---\n{first}...\n%YAML 1.2\n---\n{second}"),
    ] {
        let expected = text.matches("kind:").count();
        if let Ok(found) = parse("p.yaml", &text) {
            assert_eq!(found.len(), expected, "{text:?}");
        }
    }
}

#[test]
fn nesting_is_bounded() {
    for open in ["[", "{ a: "] {
        let deep = format!("allow: {}", open.repeat(10_000));
        assert!(rule(&deep).is_err());
    }
    let deep: String =
        (0..10_000).map(|depth| format!("{}a:\n", " ".repeat(depth % 200))).collect();
    assert!(parse("p.yaml", &deep).is_err());
    assert!(parse("p.yaml", &"- ".repeat(10_000)).is_err());
    let bomb = "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n\
                c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\n\
                e: [*d, *d, *d, *d, *d, *d, *d, *d, *d]\n";
    assert!(parse("p.yaml", bomb).is_err());
}
