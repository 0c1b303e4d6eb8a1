//! The input of a request, as OPA's Envoy plugin tells it.

use serde_json::{Value, json};

use super::Told;
use crate::policy::{Credentials, End, Hidden, InputParts, RequestInput, Sent};

/// Names that a provider takes credentials from.
struct Names {
    headers: Vec<String>,
    parameters: Vec<String>,
}

fn told() -> Told {
    Told {
        query: Some("shop=north&shop=s%C3%BCd+2&access_token=hush&empty"),
        headers: vec![
            (":path", b"/orders/7?access_token=hush"),
            ("authorization", b"Bearer hush"),
            ("cookie", b"session=hush"),
            ("x-key", b"hush"),
            ("x-tenant", b"acme"),
            ("x-tenant", b"globex"),
            ("x-request-id", b"r-1"),
            ("traceparent", b"00-1-2-3"),
        ],
        ..Told::by("ann", "GET", "/orders/7")
    }
}

fn parts<'t>(told: &'t Told, names: &'t Names) -> InputParts<'t> {
    InputParts {
        source: End { address: Some("10.0.0.1"), port: Some(41234) },
        destination: End { address: Some("10.0.0.9"), port: Some(8080) },
        http: Some(RequestInput {
            target: "/orders/7?shop=north&shop=s%C3%BCd+2&access_token=hush&empty",
            authority: "orders.shop:8080",
            scheme: "https",
            protocol: "HTTP/2",
            headers: &told.headers,
            body: "",
        }),
        context_extensions: &[("route", "orders")],
        hidden: Hidden { headers: &names.headers, parameters: &names.parameters },
    }
}

fn names() -> Names {
    Names { headers: vec!["x-key".to_owned()], parameters: vec!["access_token".to_owned()] }
}

#[test]
fn a_policy_finds_everything_where_the_plugin_puts_it() {
    let (told, names) = (told(), names());
    let input = told.with(|facts| parts(&told, &names).whole(facts, Credentials::Keep)).unwrap();
    let at = |pointer: &str| input.pointer(pointer).cloned().unwrap_or(Value::Null);
    for (pointer, value) in [
        ("/attributes/request/http/method", json!("GET")),
        (
            "/attributes/request/http/path",
            json!("/orders/7?shop=north&shop=s%C3%BCd+2&access_token=hush&empty"),
        ),
        ("/attributes/request/http/host", json!("orders.shop:8080")),
        ("/attributes/request/http/headers/authorization", json!("Bearer hush")),
        ("/attributes/request/http/headers/x-tenant", json!("acme,globex")),
        ("/attributes/request/time", json!("2026-09-21T14:13:20Z")),
        ("/attributes/source/address/socketAddress/address", json!("10.0.0.1")),
        ("/attributes/source/principal", json!("spiffe://demo.mesh/ns/shop/sa/web")),
        ("/attributes/destination/address/socketAddress/portValue", json!(8080)),
        ("/attributes/contextExtensions/route", json!("orders")),
        ("/parsed_path", json!(["orders", "7"])),
        ("/parsed_query/shop", json!(["north", "s\u{fc}d 2"])),
        ("/parsed_query/empty", json!([""])),
        ("/parsed_body", Value::Null),
        ("/truncated_body", json!(false)),
        ("/version/ext_authz", json!("v3")),
        ("/hopgate/user/sub", json!("ann")),
        ("/hopgate/user/claims/tenant", json!("acme")),
        ("/hopgate/client", Value::Null),
        ("/hopgate/peer/serviceAccount", json!("web")),
    ] {
        assert_eq!(at(pointer), value, "{pointer}");
    }
}

#[test]
fn credentials_are_not_told_where_they_are_stripped() {
    let (told, names) = (told(), names());
    let sent = Sent { headers: None, credentials: Credentials::Strip };
    let lasting = told.with(|facts| parts(&told, &names).lasting(facts, &sent)).unwrap();
    let whole = told.with(|facts| parts(&told, &names).whole(facts, Credentials::Strip)).unwrap();
    for input in [&lasting, &whole] {
        let text = input.to_string();
        assert!(!text.contains("hush"), "{text}");
        assert_eq!(input.pointer("/parsed_query/shop/0"), Some(&json!("north")));
        assert_eq!(
            input.pointer("/attributes/request/http/headers/x-tenant"),
            Some(&json!("acme,globex"))
        );
    }
    let kept = Sent { headers: None, credentials: Credentials::Keep };
    let kept = told.with(|facts| parts(&told, &names).lasting(facts, &kept)).unwrap();
    assert!(kept.to_string().contains("Bearer hush"));
}

#[test]
fn what_only_passes_is_not_sent_and_a_list_of_headers_is_a_list() {
    let (told, names) = (told(), names());
    let ask = |headers: Option<Vec<String>>| {
        let sent = Sent { headers, credentials: Credentials::Strip };
        told.with(|facts| parts(&told, &names).lasting(facts, &sent)).unwrap()
    };
    let text = ask(None).to_string();
    assert!(
        !text.contains("r-1") && !text.contains("41234") && !text.contains("00-1-2-3"),
        "{text}"
    );
    let none = ask(Some(Vec::new()));
    assert_eq!(
        none.pointer("/attributes/request/http/headers").unwrap().as_object().unwrap().len(),
        1
    );
    let one = ask(Some(vec!["x-request-id".to_owned()]));
    assert_eq!(one.pointer("/attributes/request/http/headers/x-request-id"), Some(&json!("r-1")));
    assert_eq!(one.pointer("/attributes/request/http/headers/x-tenant"), None);
}
