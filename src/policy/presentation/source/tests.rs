use serde_json::json;

use super::*;
use crate::policy::facts::UserParts;

fn user() -> UserFacts {
    let mut parts = UserParts::of("sso", "al\u{ef}ce");
    parts.roles = vec!["reader".to_owned(), "a,b".to_owned(), "50%".to_owned()];
    parts.groups = Groups::Unknown;
    parts.claims = json!({
        "sub": "al\u{ef}ce",
        "plan": { "tier": "gold\r\nx-admin: 1", "seats": 3, "trial": false, "none": null },
        "tags": ["a b", 1, true],
        "mixed": ["a", { "b": 1 }],
        "nobody": "",
        "a.b": "dotted"
    })
    .as_object()
    .unwrap()
    .clone();
    UserFacts::new(parts)
}

fn written(source: Source, form: Form) -> Option<String> {
    let user = user();
    let peer = SpiffeId::parse("spiffe://test.mesh/ns/shop/sa/web").unwrap();
    let told = Told { user: Some(&user), client: None, peer: Some(&peer) };
    let value = Value { source, form, max_bytes: 100, too_long: TooLong::Drop };
    let text = value.write(&told).map(|written| match written {
        Written::Text(text) => format!("text {text}"),
        Written::Plain(text) => {
            assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)), "{text}");
            text
        }
    });
    // Nobody calls: nothing is told.
    let nobody = Told { user: None, client: None, peer: None };
    assert_eq!(value.write(&nobody), None);
    text
}

fn claim_of(path: &[&str], form: Form) -> Option<String> {
    written(Source::User(Part::Claim(path.iter().map(|name| (*name).to_owned()).collect())), form)
}

#[test]
fn a_value_is_written_in_the_form_that_is_asked_for() {
    for (path, text, json) in [
        (&["plan", "tier"][..], Some("text gold\r\nx-admin: 1"), Some(r#""gold\r\nx-admin: 1""#)),
        (&["plan", "seats"], Some("3"), Some("3")),
        (&["plan", "trial"], Some("false"), Some("false")),
        (&["plan", "none"], None, None),
        (
            &["plan"],
            None,
            Some(r#"{"tier":"gold\r\nx-admin: 1","seats":3,"trial":false,"none":null}"#),
        ),
        (&["tags"], Some("a%20b,1,true"), Some(r#"["a b",1,true]"#)),
        (&["mixed"], None, Some(r#"["a",{"b":1}]"#)),
        (&["nobody"], None, Some(r#""""#)),
        (&["a.b"], Some("text dotted"), Some(r#""dotted""#)),
        (&["a", "b"], None, None),
        (&["plan", "tier", "deeper"], None, None),
    ] {
        assert_eq!(claim_of(path, Form::Text).as_deref(), text, "{path:?}");
        assert_eq!(claim_of(path, Form::Json).as_deref(), json, "{path:?}");
        let decoded = claim_of(path, Form::Base64Url)
            .map(|text| String::from_utf8(URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap());
        assert_eq!(decoded.as_deref(), json, "{path:?}");
    }
    assert_eq!(claim_of(&["sub"], Form::Json).as_deref(), Some(r#""al\u00efce""#));
}

#[test]
fn fields_are_told_of_whoever_has_them() {
    let told = |name: &str, form| {
        let from = RawSource::Field(name.to_owned());
        written(Source::check(from, &FieldPath::root()).unwrap(), form)
    };
    for (name, expected) in [
        ("user.subject", Some("text al\u{ef}ce")),
        ("user.provider", Some("text sso")),
        ("user.roles", Some("reader,a%2Cb,50%25")),
        ("user.scopes", None),
        ("user.groups", None),
        ("user.tenant", None),
        ("client.subject", None),
        ("peer.id", Some("text spiffe://test.mesh/ns/shop/sa/web")),
        ("peer.trustDomain", Some("text test.mesh")),
        ("peer.namespace", Some("text shop")),
        ("peer.serviceAccount", Some("text web")),
    ] {
        assert_eq!(told(name, Form::Text).as_deref(), expected, "{name}");
    }
    assert_eq!(told("user.scopes", Form::Json).as_deref(), Some("[]"));
    assert_eq!(told("user.groups", Form::Json), None, "not known is not none");
}

#[test]
fn sources_that_cannot_be_meant_are_refused() {
    let refused = |raw| Source::check(raw, &FieldPath::root()).unwrap_err().to_string();
    let close = refused(RawSource::Field("user.role".to_owned()));
    assert!(close.contains("did you mean `user.roles`"), "{close}");
    assert!(refused(RawSource::Field("plan".to_owned())).contains("{ user: [name] }"));
    let claim = |user, client| refused(RawSource::Claim(RawClaim { user, client }));
    let path = || Some(vec!["a".to_owned()]);
    assert!(claim(path(), path()).contains("both"));
    assert!(claim(None, None).contains("needs"));
    assert!(claim(Some(Vec::new()), None).contains("no path"));
    assert!(claim(None, Some(vec!["a".to_owned(), String::new()])).contains("no path"));
}
