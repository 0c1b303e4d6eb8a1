use std::time::Duration;

use serde_json::json;

use super::*;

const KEY: &str = "hk_0123456789abcdef";

fn hex(text: &str) -> String {
    crate::authn::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn entry(id: &str, key: &str, more: &str) -> String {
    format!("  - id: {id}\n    sha256: {}\n{more}", hex(key))
}

fn parse(entries: &str) -> Result<ApiKeys, InvalidApiKeys> {
    ApiKeys::parse("keys.yaml", &format!("keys:\n{entries}"))
}

fn mistake(text: &str) -> String {
    ApiKeys::parse("keys.yaml", text).err().map(|error| error.to_string()).unwrap_or_default()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn a_key_is_found_by_its_hash() {
    let more = "    subject: svc-billing
    roles: [reader, no]
    scopes: [invoices:read]
    groups: [exporters]
    tenant: acme
    email: billing@acme.example
    expires: 2027-01-01T01:00:00+01:00
    claims: { plan: gold, seats: 3, nested: { a: [true, null] } }
";
    let keys = parse(
        &(entry("billing-export", KEY, more)
            + entry("plain", "p".repeat(16).as_str(), "").as_str()),
    );
    let keys = keys.unwrap();
    let key = keys.find(KEY, at(0)).unwrap();
    assert_eq!((key.id(), key.subject()), ("billing-export", "svc-billing"));
    assert_eq!(key.roles(), ["reader", "no"]);
    assert_eq!(
        (key.scopes(), key.groups()),
        (&["invoices:read".to_owned()][..], &["exporters".to_owned()][..])
    );
    assert_eq!((key.tenant(), key.email()), (Some("acme"), Some("billing@acme.example")));
    assert_eq!(key.expires(), Some(at(1_798_761_600)));
    let claims = json!({"plan": "gold", "seats": 3, "nested": {"a": [true, null]}});
    assert_eq!(Value::Object(key.claims().clone()), claims);
    assert_eq!(format!("{key:?}"), "ApiKey { id: \"billing-export\", .. }");

    let plain = keys.find(&"p".repeat(16), at(u64::from(u32::MAX))).unwrap();
    assert_eq!((plain.id(), plain.subject(), plain.tenant()), ("plain", "plain", None));
    assert!(plain.roles().is_empty() && plain.claims().is_empty());
    assert_eq!(keys.len(), 2);
    assert_eq!(keys.iter().map(ApiKey::id).collect::<Vec<_>>(), ["billing-export", "plain"]);
}

/// The id, or the code of the refusal.
fn code<'k>(keys: &'k ApiKeys, presented: &str, now: SystemTime) -> Result<&'k str, &'static str> {
    keys.find(presented, now).map(ApiKey::id).map_err(|refused| refused.code())
}

#[test]
fn other_keys_are_refused_by_name() {
    let keys = parse(&entry("a", KEY, "    expires: 2027-01-01T00:00:00Z\n")).unwrap();
    let expires = 1_798_761_600;
    assert_eq!(code(&keys, KEY, at(expires - 1)), Ok("a"));
    assert_eq!(code(&keys, KEY, at(expires)), Err("api_key_expired"));
    assert_eq!(code(&keys, KEY, at(expires + 1)), Err("api_key_expired"));
    let refused = keys.find(KEY, at(expires)).unwrap_err();
    assert_eq!(refused.to_string(), "the API key a has expired");
    for unknown in ["hk_0123456789abcdeF", "hk_0123456789abcde", "hk_0123456789abcdef0", &hex(KEY)]
    {
        assert_eq!(code(&keys, unknown, at(0)), Err("api_key_unknown"), "{unknown}");
    }
    let long = "a".repeat(512);
    assert_eq!(code(&keys, &long, at(0)), Err("api_key_unknown"));
    for malformed in [
        "",
        "a23456789012345",
        &format!("{long}a"),
        "hk_0123456789 bcdef",
        "hk_0123456789abcdef\n",
        " hk_0123456789abcdef",
        "hk_0123456789abcdef\u{e9}",
        "hk_0123456789\0abcdef",
    ] {
        assert_eq!(code(&keys, malformed, at(0)), Err("api_key_malformed"), "{malformed:?}");
    }
}

#[test]
fn a_key_that_could_never_be_presented_is_no_entry_either() {
    // Whoever hashes something short gets an entry that never matches.
    let keys = parse(&entry("weak", "password", "")).unwrap();
    assert_eq!(keys.find("password", at(0)).unwrap_err(), ApiKeyRefused::Malformed);
}

#[test]
fn the_last_key_may_be_revoked() {
    let keys = ApiKeys::parse("keys.yaml", "keys: []").unwrap();
    assert!(keys.is_empty());
    assert_eq!(keys.find(KEY, at(0)).unwrap_err(), ApiKeyRefused::Unknown);
}

#[test]
fn two_entries_share_neither_id_nor_hash() {
    let twice =
        mistake(&format!("keys:\n{}{}", entry("a", KEY, ""), entry("a", "another-key-here", "")));
    assert_eq!(twice, "keys.yaml:4: the id `a` stands twice, first on line 2");
    let shared = mistake(&format!("keys:\n{}{}", entry("a", KEY, ""), entry("b", KEY, "")));
    assert_eq!(shared, "keys.yaml:4: `b` has the same sha256 as `a`");
    // In another case it is the same hash.
    let upper = entry("b", KEY, "").replace(&hex(KEY), &hex(KEY).to_uppercase());
    let shared = mistake(&format!("keys:\n{}{upper}", entry("a", KEY, "")));
    assert_eq!(shared, "keys.yaml:4: `b` has the same sha256 as `a`");
}

#[test]
fn mistakes_have_a_line_and_never_show_what_may_be_a_key() {
    let with = |more: &str| format!("keys:\n{}", entry("a", KEY, more));
    for (text, part) in [
        (String::new(), ""),
        ("{}".to_owned(), "the field `keys` is missing"),
        ("keys:".to_owned(), ""),
        ("keys: {}".to_owned(), "is no list"),
        ("keys: []\nmore: 1".to_owned(), "keys.yaml:2:1: more: unknown field `more`"),
        ("keys: [{}]".to_owned(), "is missing"),
        ("keys:\n  - id: a".to_owned(), "the field `sha256` is missing"),
        (with("    role: [a]\n"), "keys.yaml:4:5: keys[0].role: unknown field `role`"),
        (with("    id: b\n"), "written twice"),
        (with("    roles: reader\n"), "keys.yaml:4:"),
        (with("    roles:\n"), "keys.yaml:4:"),
        (with("    roles: ['']\n"), "keys.yaml:4:"),
        (with("    scopes: ['a b']\n"), "without blanks"),
        (with("    tenant: ' a'\n"), "without blanks at the ends"),
        (with("    email:\n"), "keys.yaml:4:"),
        (with("    expires: tomorrow\n"), "a time such as 2027-01-01T00:00:00Z"),
        (with("    expires: 2027-01-01\n"), "a time such as"),
        (with("    claims: []\n"), "keys.yaml:4:"),
        (with("    claims: { sub: root }\n"), "the claim `sub` may not stand here"),
        (with("    claims: { roles: [root] }\n"), "the claim `roles` may not stand here"),
        (with("    claims: { a: 1, a: 2 }\n"), "twice"),
        (format!("keys:\n  - id: a\n    sha256: {KEY}\n"), "keys.yaml:3:"),
        (
            format!("keys:\n  - id: a\n    sha256: {}zz\n", hex(KEY).split_at(2).1),
            "64 hexadecimal digits",
        ),
        (
            format!("keys:\n  - id: a\n    sha256: {}\n", hex(KEY).split_at(2).1),
            "64 hexadecimal digits",
        ),
        (format!("keys:\n  - id: ''\n    sha256: {}\n", hex(KEY)), "keys.yaml:2:"),
        (format!("keys:\n  - id: {}\n    sha256: {}\n", "i".repeat(257), hex(KEY)), "1 to 256"),
    ] {
        let mistake = mistake(&text);
        assert!(!mistake.is_empty() && mistake.contains(part), "{text}\n{mistake}");
        assert!(!mistake.contains(KEY), "{mistake}");
    }
}

#[test]
fn a_new_key_is_random_and_fits_its_hash() {
    let (one, two) = (generate_api_key("hk_live_").unwrap(), generate_api_key("hk_live_").unwrap());
    assert_ne!(one.text(), two.text());
    assert_eq!(one.text().len(), 8 + 43);
    assert!(one.text().starts_with("hk_live_"));
    let keys = format!("keys:\n  - id: new\n    sha256: {}\n", one.sha256());
    let keys = ApiKeys::parse("keys.yaml", &keys).unwrap();
    assert_eq!(keys.find(one.text(), at(0)).unwrap().id(), "new");
    assert_eq!(keys.find(two.text(), at(0)).unwrap_err(), ApiKeyRefused::Unknown);
    assert!(generate_api_key("").is_ok());
    for prefix in ["a b", "a.b", "\u{e9}", "a\n", &"a".repeat(33)] {
        assert_eq!(generate_api_key(prefix).err(), Some(NewApiKeyError::Prefix), "{prefix}");
    }
}
