use super::*;
use crate::policy::{IdentityProvider, Resource, parse};

/// Providers whose `from` and kind are given; each a line of YAML under `spec`.
fn providers(specs: &[&str]) -> Vec<IdentityProvider> {
    let text: Vec<String> = specs
        .iter()
        .enumerate()
        .map(|(index, spec)| {
            format!(
                "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\n\
                 metadata: {{ name: p{index}, namespace: shop }}\nspec: {{ {spec} }}\n"
            )
        })
        .collect();
    let resources = parse("p.yaml", &text.join("---\n")).unwrap();
    let provider = |resource| match resource {
        Resource::IdentityProvider(provider) => provider,
        Resource::AccessPolicy(_) | Resource::MeshPolicy(_) | Resource::PolicyEngine(_) => {
            panic!("another kind")
        }
    };
    resources.into_iter().map(provider).collect()
}

fn table(specs: &[&str]) -> PlaceTable {
    PlaceTable::compile(&providers(specs)).unwrap()
}

const JWT: &str = "issuer: https://idp, audiences: [a], keys: { jwksUri: https://idp/keys }";

struct Request<'a> {
    method: &'a str,
    query: Option<&'a str>,
    headers: &'a [(&'a str, &'a str)],
}

/// What is found: the user's and the client's credential, or why not.
fn found(
    table: &PlaceTable,
    request: &Request<'_>,
) -> Result<(Option<String>, Option<String>), &'static str> {
    let headers: Vec<(&str, &[u8])> =
        request.headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let http = HttpEvidence {
        method: request.method,
        authority: "shop.example",
        path: "/",
        query: request.query,
        headers: &headers,
    };
    let found = table.find(&http).map_err(CredentialProblem::code)?;
    let text = |credential: Option<Credential<'_>>| credential.map(|c| c.text.into_owned());
    Ok((text(found.user), text(found.client)))
}

fn user(table: &PlaceTable, headers: &[(&str, &str)]) -> Result<Option<String>, &'static str> {
    found(table, &Request { method: "GET", query: None, headers }).map(|(user, _)| user)
}

#[test]
fn one_bearer_token_is_read() {
    let table = table(&[JWT]);
    assert_eq!(user(&table, &[]), Ok(None));
    for scheme in ["Bearer", "bearer", "BEARER", "DPoP"] {
        let value = format!("{scheme} a.b-c_d~e+f/g==");
        assert_eq!(user(&table, &[("authorization", &value)]), Ok(Some("a.b-c_d~e+f/g==".into())));
    }
}

#[test]
fn whatever_is_not_exactly_one_token_is_a_refusal() {
    // Also where no provider looks at the header: a token that nobody verifies must not pass for none.
    for table in [table(&[JWT]), table(&[])] {
        for (value, code) in [
            ("", "credentials_empty"),
            ("Bearer", "credentials_empty"),
            ("Bearer ", "credentials_empty"),
            ("Bearer a,Bearer b", "credentials_ambiguous"),
            ("Bearer a,", "credentials_ambiguous"),
            ("Bearer a, Bearer b", "credentials_ambiguous"),
            ("Basic YTpi,Bearer b", "credentials_ambiguous"),
            ("Bearer a b", "credentials_ambiguous"),
            ("Bearer a Bearer b", "credentials_ambiguous"),
            ("Basic YTpi", "unsupported_scheme"),
            ("a.b.c", "unsupported_scheme"),
            ("Bearer\ta", "unsupported_scheme"),
            ("Bearer  a", "credentials_unreadable"),
            ("  Bearer a  ", "credentials_unreadable"),
            ("Bearer a ", "credentials_unreadable"),
            ("Bearer a=b", "credentials_unreadable"),
            ("Bearer =", "credentials_unreadable"),
            ("Bearer \"a\"", "credentials_unreadable"),
            ("Bearer a\u{e9}", "credentials_unreadable"),
            ("Bearer a\r\nx: y", "credentials_unreadable"),
        ] {
            assert_eq!(user(&table, &[("authorization", value)]), Err(code), "{value:?}");
        }
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer a")];
        assert_eq!(user(&table, &twice), Err("credentials_ambiguous"));
    }
}

#[test]
fn other_headers_hold_whole_values() {
    let table = table(&["apiKeys: { file: keys.yaml }, from: [{ header: X-Api-Key }]"]);
    assert_eq!(user(&table, &[("x-api-key", "hk_1:2")]), Ok(Some("hk_1:2".into())));
    assert_eq!(user(&table, &[("other", "hk_1")]), Ok(None));
    assert_eq!(user(&table, &[("x-api-key", "a b")]), Err("credentials_unreadable"));
    assert_eq!(user(&table, &[("x-api-key", "a,b")]), Err("credentials_ambiguous"));
    assert_eq!(user(&table, &[("x-api-key", "")]), Err("credentials_empty"));
    let twice = [("x-api-key", "a"), ("x-api-key", "a")];
    assert_eq!(user(&table, &twice), Err("credentials_ambiguous"));
}

#[test]
fn cookies_are_found_in_one_line_or_many() {
    let spec =
        format!("{JWT}, from: [{{ cookie: session, csrf: {{ origins: [https://a.example] }} }}]");
    let table = table(&[&spec]);
    let one = |lines: &[&str]| {
        let headers: Vec<(&str, &str)> = lines.iter().map(|line| ("cookie", *line)).collect();
        user(&table, &headers)
    };
    assert_eq!(one(&["session=t1"]), Ok(Some("t1".into())));
    assert_eq!(one(&["a=b; session=t1; c=d"]), Ok(Some("t1".into())));
    assert_eq!(one(&["a=b", "session=t1"]), Ok(Some("t1".into())));
    assert_eq!(one(&["xsession=t1; session2=t2; a=session=t3"]), Ok(None));
    assert_eq!(one(&["session=t1; session=t1"]), Err("credentials_ambiguous"));
    assert_eq!(one(&["session=t1", "session=t2"]), Err("credentials_ambiguous"));
    assert_eq!(one(&["session="]), Err("credentials_empty"));
    assert_eq!(one(&["session=\"t1\""]), Err("credentials_unreadable"));
    assert_eq!(one(&["session=a b"]), Err("credentials_unreadable"));
}

#[test]
fn a_cookie_counts_for_changes_only_from_our_own_pages() {
    let from = "from: [{ cookie: session, csrf: { origins: [https://a.example] } }]";
    let table = table(&[&format!("{JWT}, {from}")]);
    let ask = |method, more: &[(&str, &str)]| {
        let headers: Vec<(&str, &str)> =
            [("cookie", "session=t")].iter().chain(more).copied().collect();
        found(&table, &Request { method, query: None, headers: &headers }).map(|_| ())
    };
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert_eq!(ask(method, &[]), Ok(()), "{method}");
        assert_eq!(ask(method, &[("origin", "https://evil.example")]), Ok(()), "reading is safe");
    }
    assert_eq!(ask("GET", &[("upgrade", "websocket")]), Err("cross_site_request"));
    for good in [("origin", "https://a.example"), ("referer", "https://a.example/page?x")] {
        assert_eq!(ask("POST", &[good]), Ok(()));
        assert_eq!(ask("GET", &[good, ("upgrade", "websocket")]), Ok(()));
    }
    for bad in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", ""),
        ("origin", "https://a.example.evil.example"),
        ("origin", "http://a.example"),
        ("origin", "https://a.example,https://evil.example"),
        ("referer", "https://a.example.evil.example/"),
        ("referer", "https://evil.example/https://a.example"),
        ("referer", "https://a.example@evil.example/"),
    ] {
        assert_eq!(ask("POST", &[bad]), Err("cross_site_request"), "{bad:?}");
    }
    assert_eq!(ask("DELETE", &[]), Err("cross_site_request"));
    let both = [("origin", "null"), ("referer", "https://a.example/")];
    assert_eq!(
        ask("POST", &both),
        Err("cross_site_request"),
        "the origin counts where there is one"
    );
}

#[test]
fn a_second_cookie_may_show_where_a_request_comes_from() {
    let from =
        "from: [{ cookie: session, csrf: { doubleSubmit: { cookie: csrf, header: X-Csrf } } }]";
    let table = table(&[&format!("{JWT}, {from}")]);
    let ask = |headers: &[(&str, &str)]| {
        found(&table, &Request { method: "POST", query: None, headers }).map(|_| ())
    };
    let good = [("cookie", "session=t; csrf=s1"), ("x-csrf", "s1")];
    assert_eq!(ask(&good), Ok(()));
    for bad in [
        &[("cookie", "session=t; csrf=s1")][..],
        &[("cookie", "session=t"), ("x-csrf", "s1")],
        &[("cookie", "session=t; csrf=s1"), ("x-csrf", "s2")],
        &[("cookie", "session=t; csrf="), ("x-csrf", "")],
        &[("cookie", "session=t; csrf=s1; csrf=s2"), ("x-csrf", "s1")],
        &[("cookie", "session=t; csrf=s1"), ("x-csrf", "s1"), ("x-csrf", "s1")],
    ] {
        assert_eq!(ask(bad), Err("cross_site_request"), "{bad:?}");
    }
}

#[test]
fn parameters_are_read_by_their_exact_name() {
    let table = table(&[&format!("{JWT}, from: [{{ query: access_token }}]")]);
    let ask = |query| {
        found(&table, &Request { method: "GET", query: Some(query), headers: &[] })
            .map(|(user, _)| user)
    };
    assert_eq!(ask("access_token=a.b.c"), Ok(Some("a.b.c".into())));
    assert_eq!(ask("x=1&access_token=a%2Bb&y"), Ok(Some("a+b".into())));
    assert_eq!(ask("Access_Token=a&access_token2=b&x=access_token=c"), Ok(None));
    assert_eq!(ask("access_token=a&access_token=a"), Err("credentials_ambiguous"));
    assert_eq!(ask("access_token="), Err("credentials_empty"));
    assert_eq!(ask("access_token"), Err("credentials_empty"));
    assert_eq!(ask("access%5Ftoken=a"), Err("credentials_unreadable"));
    assert_eq!(ask("access_token=a%20b"), Err("credentials_unreadable"));
    assert_eq!(ask("access_token=%ff"), Err("credentials_unreadable"));
}

#[test]
fn of_several_places_none_counts_unless_one_comes_first() {
    let places = "from: [{ header: x-token }, { header: authorization, scheme: Bearer }]";
    let headers = [("x-token", "a"), ("authorization", "Bearer b")];
    let exactly = table(&[&format!("{JWT}, {places}")]);
    assert_eq!(user(&exactly, &headers), Err("credentials_ambiguous"));
    assert_eq!(user(&exactly, &headers[..1]), Ok(Some("a".into())));
    let first = table(&[&format!("{JWT}, {places}, choose: First")]);
    assert_eq!(user(&first, &headers), Ok(Some("a".into())));
    assert_eq!(user(&first, &headers[1..]), Ok(Some("b".into())));
    // An order among some places says nothing about the others.
    let more = "apiKeys: { file: k.yaml }, from: [{ header: x-api-key }]";
    let more = table(&[&format!("{JWT}, {places}, choose: First"), more]);
    let three = [("x-token", "a"), ("authorization", "Bearer b"), ("x-api-key", "c")];
    assert_eq!(user(&more, &three), Err("credentials_ambiguous"));
}

#[test]
fn a_request_may_carry_a_user_and_a_client() {
    let client = "principal: Client, apiKeys: { file: k.yaml }, from: [{ header: x-api-key }]";
    let table = table(&[JWT, client]);
    let headers = [("authorization", "Bearer u"), ("x-api-key", "c")];
    let both = found(&table, &Request { method: "GET", query: None, headers: &headers });
    assert_eq!(both, Ok((Some("u".into()), Some("c".into()))));
}

#[test]
fn places_that_could_be_taken_for_another_s_are_refused() {
    let keys = |prefix: &str| format!("apiKeys: {{ file: k.yaml, prefix: {prefix} }}");
    let opaque = "introspection: { url: https://idp/i, auth: none }, from: [{ header: authorization, scheme: Bearer }]";
    for (specs, part) in [
        (
            vec!["principal: Client, apiKeys: { file: k.yaml }".to_owned(), JWT.to_owned()],
            "one is for users",
        ),
        (vec!["apiKeys: { file: k.yaml }".to_owned(), opaque.to_owned()], "could be either's"),
        (vec![opaque.to_owned(), opaque.to_owned()], "could be either's"),
        (vec![keys("hk_"), keys("hk_live_")], "prefix"),
        (
            vec![
                "apiKeys: { file: k.yaml }, from: [{ header: x-a }]".to_owned(),
                format!("{JWT}, from: [{{ header: x-a, scheme: Token }}]"),
            ],
            "one with a scheme",
        ),
        (
            vec![
                format!("{JWT}, from: [{{ cookie: s, csrf: {{ origins: [https://a] }} }}]"),
                format!("{JWT}, from: [{{ cookie: s, csrf: {{ origins: [https://b] }} }}]"),
            ],
            "different `csrf`",
        ),
    ] {
        let specs: Vec<&str> = specs.iter().map(String::as_str).collect();
        let error = PlaceTable::compile(&providers(&specs)).unwrap_err().to_string();
        assert!(error.contains(part), "{specs:?}: {error}");
    }
    // What can be told apart may share a place.
    let shared = [JWT, &keys("hk_"), &keys("ak_"), opaque];
    assert!(PlaceTable::compile(&providers(&shared)).is_ok());
}
