use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn code(value: &str) -> &'static str {
    match Element::parse(value.as_bytes()) {
        Ok(_) => "ok",
        Err(fault) => fault.code(),
    }
}

#[test]
fn one_element_is_read() {
    let text = r#"By=;Hash=ab;Cert="c%20";Chain="d";Subject="CN=a\"b\,;=c";URI=;DNS=x;DNS=y"#;
    let element = Element::parse(text.as_bytes()).unwrap();
    let expected = Element {
        by: Some(""),
        hash: Some("ab"),
        cert: Some("c%20"),
        chain: Some("d"),
        subject: Some(r#"CN=a\"b\,;=c"#),
        uris: vec![""],
        dns_names: vec!["x", "y"],
    };
    assert_eq!(element, expected);
}

#[test]
fn whatever_has_two_readings_is_refused() {
    for value in [
        "",
        ";",
        "Hash",
        "Hash=a;",
        ";Hash=a",
        "Hash=a;;By=b",
        "Hash=a; By=b",
        " Hash=a",
        "Hash =a",
        "Hash=a b",
        "Hash=a;Hash=a",
        "By=a;By=b",
        "Cert=a;Cert=b",
        "Chain=a;Chain=b",
        "Subject=\"\";Subject=\"\"",
        "hash=a",
        "Other=a",
        "URI=spiffe://td/a=b",
        "URI=spiffe://td/a\"b",
        "URI=\\a",
        "URI=\"a\\\"b\"",
        "Hash=\"a",
        "Hash=\"a\"b",
        "Hash=\"a\" ;By=b",
        "Subject=\"a\\\\\"",
        "Subject=\"a\\\\\\\";Cert=\\\"x\"",
        "Subject=\"a\\",
        "Subject=\"a\\\"",
        "Hash=a\u{e9}",
        "Hash=a\n",
        "Hash=a\t",
        "Hash=a\u{0}",
    ] {
        assert_eq!(code(value), "forwarded_malformed", "{value:?}");
    }
    // A name that Envoy did not quote adds a pair, or an element.
    assert_eq!(code("Hash=a;URI=spiffe://td/a,b;c=d"), "forwarded_ambiguous");
    assert_eq!(code("Hash=a;URI=spiffe://td/a;c=d"), "forwarded_malformed");
    for value in ["Hash=a,Hash=b", "Hash=a,", "other=a,Hash=b", "Hash=\"a\",By=b"] {
        assert_eq!(code(value), "forwarded_ambiguous", "{value:?}");
    }
    assert_eq!(code(&format!("Hash={}", "a".repeat(MAX_LENGTH))), "forwarded_malformed");
}

/// Another reader, as they are written elsewhere: a quote is one unless a backslash stands right before it.
fn naive(text: &str) -> Vec<Vec<(String, String)>> {
    let mut elements = vec![Vec::new()];
    let (mut pair, mut quoted, mut before) = (String::new(), false, ' ');
    for c in text.chars().chain([',']) {
        let delimiter = !quoted && matches!(c, ',' | ';');
        if c == '"' && before != '\\' {
            quoted = !quoted;
        }
        if delimiter {
            let (key, value) = pair.split_once('=').unwrap_or((&pair, ""));
            let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
            elements.last_mut().unwrap().push((key.to_owned(), value.to_owned()));
            pair.clear();
            if c == ',' {
                elements.push(Vec::new());
            }
        } else {
            pair.push(c);
        }
        before = c;
    }
    elements.pop();
    elements
}

/// A third: a backslash takes the next character with it.
fn paired(text: &str) -> usize {
    let (mut elements, mut quoted) = (1, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => drop(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => elements += 1,
            _ => {}
        }
    }
    elements
}

/// Texts that are nearly headers.
fn nearly() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "By=",
        "Hash=",
        "Cert=",
        "Chain=",
        "Subject=",
        "URI=",
        "DNS=",
        "cert=",
        "a",
        "\"",
        "\\",
        "\\\"",
        "\"\"",
        ";",
        ",",
        "=",
        " ",
        "%41",
        "\u{e9}",
        "\"a\"",
        ";Cert=\"x\"",
        "\\\\",
    ]);
    vec(part, 0..14).prop_map(|parts| parts.concat())
}

fn pairs(element: &Element<'_>) -> Vec<(String, String)> {
    let Element { by, hash, cert, chain, subject, uris, dns_names } = element;
    let single =
        [("By", by), ("Hash", hash), ("Cert", cert), ("Chain", chain), ("Subject", subject)];
    let single = single.into_iter().filter_map(|(key, value)| value.map(|value| (key, value)));
    let uris = uris.iter().map(|uri| ("URI", *uri));
    let names = dns_names.iter().map(|name| ("DNS", *name));
    single.chain(uris).chain(names).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200)) {
        drop(Element::parse(&bytes));
    }

    #[test]
    fn whoever_reads_it_reads_the_same(text in nearly()) {
        if let Ok(element) = Element::parse(text.as_bytes()) {
            let mut naive = naive(&text);
            prop_assert_eq!(naive.len(), 1);
            prop_assert_eq!(paired(&text), 1);
            let (mut theirs, mut ours) = (naive.remove(0), pairs(&element));
            theirs.sort();
            ours.sort();
            prop_assert_eq!(theirs, ours);
        }
    }

    #[test]
    fn two_elements_are_never_one(left in nearly(), right in nearly()) {
        let whole = Element::parse(left.as_bytes()).is_ok();
        let joined = format!("{left},{right}");
        if whole {
            prop_assert!(Element::parse(joined.as_bytes()).is_err());
        }
    }
}
