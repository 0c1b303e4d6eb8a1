//! The rules of the SPIFFE-ID and X509-SVID specifications, one row for each MUST, by section.

mod svids;

use hopgate::identity::{SpiffeId, TrustDomain};

/// Section, what is asked, the ID, and the words of the refusal (none: it is good).
const IDS: &[(&str, &str, &str, Option<&str>)] = &[
    ("2", "scheme, trust domain and path", "spiffe://mesh.example/ns/shop/sa/orders", None),
    ("2", "the scheme is spiffe", "https://mesh.example/a", Some("spiffe://")),
    ("2", "the scheme is spiffe", "spiffe:mesh.example/a", Some("spiffe://")),
    ("2", "the scheme is spiffe", "spiffe:/mesh.example/a", Some("spiffe://")),
    ("2", "the scheme is spiffe", " spiffe://mesh.example/a", Some("spiffe://")),
    ("2", "the scheme is spiffe", "", Some("spiffe://")),
    ("2", "a trust domain of some length", "spiffe:///a", Some("no trust domain")),
    ("2", "no query", "spiffe://mesh.example/a?b", Some("'?'")),
    ("2", "no query", "spiffe://mesh.example?b", Some("names a trust domain")),
    ("2", "no fragment", "spiffe://mesh.example/a#b", Some("'#'")),
    ("2", "no fragment", "spiffe://mesh.example#b/a", Some("'#'")),
    ("2.1", "no user info", "spiffe://user@mesh.example/a", Some("'@'")),
    ("2.1", "no user info", "spiffe://user:pw@mesh.example/a", Some("':'")),
    ("2.1", "no port", "spiffe://mesh.example:443/a", Some("':'")),
    ("2.1", "no port, nor its colon", "spiffe://mesh.example:/a", Some("':'")),
    ("2.1", "a lower-case trust domain", "spiffe://Mesh.example/a", Some("'M'")),
    ("2.1", "letters, digits, dots, dashes, underscores", "spiffe://a-z_0.9/a", None),
    ("2.1", "letters, digits, dots, dashes, underscores", "spiffe://mesh!example/a", Some("'!'")),
    ("2.1", "letters, digits, dots, dashes, underscores", "spiffe://me sh/a", Some("' '")),
    ("2.1", "letters, digits, dots, dashes, underscores", "spiffe://m\u{e9}sh/a", Some("'\u{e9}'")),
    ("2.1", "letters, digits, dots, dashes, underscores", "spiffe://mesh\0/a", Some("'\\0'")),
    ("2.1", "no percent-encoding", "spiffe://mesh%2eexample/a", Some("'%'")),
    ("2.1", "an IPv4 address is a name like others", "spiffe://127.0.0.1/a", None),
    ("2.1", "an IPv6 address is none", "spiffe://[::1]/a", Some("'['")),
    ("2.2", "no percent-encoding", "spiffe://mesh.example/a%62", Some("'%'")),
    ("2.2", "no percent-encoding", "spiffe://mesh.example/%2e%2e/a", Some("'%'")),
    ("2.2", "no empty segment", "spiffe://mesh.example//a", Some("path segment")),
    ("2.2", "no empty segment", "spiffe://mesh.example/a//b", Some("path segment")),
    ("2.2", "no relative segment", "spiffe://mesh.example/./a", Some("path segment")),
    ("2.2", "no relative segment", "spiffe://mesh.example/a/..", Some("path segment")),
    ("2.2", "three dots are a name", "spiffe://mesh.example/...", None),
    ("2.2", "no trailing slash", "spiffe://mesh.example/a/", Some("path segment")),
    ("2.2", "no trailing slash", "spiffe://mesh.example/", Some("path segment")),
    ("2.2", "letters, digits, dots, dashes, underscores", "spiffe://mesh.example/aZ0.-_", None),
    ("2.2", "letters, digits, dots, dashes, underscores", "spiffe://mesh.example/a:b", Some("':'")),
    (
        "2.2",
        "letters, digits, dots, dashes, underscores",
        "spiffe://mesh.example/a\nb",
        Some("'\\n'"),
    ),
    (
        "2.2",
        "letters, digits, dots, dashes, underscores",
        "spiffe://mesh.example/a\\b",
        Some("'\\\\'"),
    ),
    (
        "2.2",
        "letters, digits, dots, dashes, underscores",
        "spiffe://mesh.example/\u{202e}a",
        Some("'\\u{202e}'"),
    ),
    // Section 2.4 lets readers take other spellings of scheme and trust domain; two spellings of one name invite a
    // bypass, and section 2.1 has issuers write one.
    ("2.4", "one spelling", "SPIFFE://mesh.example/a", Some("spiffe://")),
    ("2.4", "one spelling", "Spiffe://mesh.example/a", Some("spiffe://")),
];

#[test]
fn spiffe_ids() {
    for (section, rule, id, refusal) in IDS {
        match (SpiffeId::parse(id), refusal) {
            (Ok(read), None) => assert_eq!(read.as_str(), *id, "section {section}: {rule}"),
            (Err(error), Some(words)) => {
                assert!(
                    error.to_string().contains(words),
                    "section {section}: {rule}: {id:?}: {error}"
                );
            }
            (read, _) => panic!("section {section}: {rule}: {id:?} gives {read:?}"),
        }
    }
    // Section 2.2: the path is case-sensitive.
    let [upper, lower] = ["A", "a"].map(|path| format!("spiffe://mesh.example/{path}"));
    assert_ne!(SpiffeId::parse(&upper).unwrap(), SpiffeId::parse(&lower).unwrap());
    // Section 2.3: 2048 bytes in all, 255 of them for the trust domain, and not one more.
    let prefix = "spiffe://mesh.example/";
    for (length, good) in [(2048 - prefix.len(), true), (2049 - prefix.len(), false)] {
        assert_eq!(SpiffeId::parse(&format!("{prefix}{}", "a".repeat(length))).is_ok(), good);
    }
    for (length, good) in [(1, true), (255, true), (256, false), (0, false)] {
        assert_eq!(TrustDomain::parse(&"d".repeat(length)).is_ok(), good, "{length}");
        assert_eq!(SpiffeId::parse(&format!("spiffe://{}/a", "d".repeat(length))).is_ok(), good);
    }
}
