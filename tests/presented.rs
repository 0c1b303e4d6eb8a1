//! What the application and the client see of a decision: headers told by who calls, the query, the response, refusals.

use serde_json::{Value, json};

use crate::support::ask::{Meaning, Sidecar, from_peer, get, http, meaning};
use crate::support::issuer::Issuer;
use crate::through_envoy::Edge;

const WEB: &str = "spiffe://test.mesh/ns/shop/sa/web";
const POLICY: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: orders, namespace: shop }
spec:
  rules:
    - name: known
      allow:
        users: {}
        requests: [{ paths: ["/orders/**", "/hook"] }]
    - name: refunds-need-a-fresh-second-factor
      allow:
        requests: [{ paths: ["/refunds"] }]
        stepUp: { acr: [urn:mace:silver, urn:mace:gold], maxAge: 5m }
    - name: bob-is-refused
      deny: { users: { subjects: [bob] } }
  identity:
    headers:
      - { name: x-user-roles, from: user.roles, as: Json }
      - { name: x-user-provider, from: user.provider }
      - { name: x-user-plan, from: { user: [plan, tier] } }
      - { name: x-user-seats, from: { user: [plan, seats] }, maxBytes: 4, tooLong: Drop }
      - { name: x-user-claims, from: { user: [plan] }, as: Base64Url, maxBytes: 60 }
  response:
    headers:
      - { name: x-frame-options, value: DENY }
      - { name: x-replaced, value: gate }
      - { name: x-kept, value: gate, whenPresent: Keep }
      - { name: x-served-for, from: user.subject }
    query:
      set:
        - { name: tenant, from: { user: [tenant] } }
        - { name: v, value: "1 & 2" }
      remove: [debug]
    login:
      url: https://sso.test/login?app=shop
      returnParameter: return_to
      origins: [https://shop.test]
    bodies:
      api: '{"error": "{error}", "ticket": "{requestId}", "status": {status}}'
      grpc: "{message} Ticket {requestId}."
    metadata:
      - { name: tenant, from: { user: [tenant] } }
      - { name: roles, from: user.roles }
      - { name: mail, from: user.email }
"#;

async fn start(name: &str, issuer: &Issuer) -> Sidecar {
    Sidecar::start(name, &[("policy.yaml", POLICY), ("sso.yaml", &provider(issuer))]).await
}

fn provider(issuer: &Issuer) -> String {
    issuer.provider()
        + "  from:\n    - { header: authorization, scheme: Bearer }\n    - { query: access_token }\n"
}

fn bearer(issuer: &Issuer, claims: &Value) -> String {
    format!("Bearer {}", issuer.token(claims))
}

fn alice(issuer: &Issuer) -> String {
    let claims = json!({
        "roles": ["customer", "caf\u{e9}"], "tenant": "acme & co",
        "plan": { "tier": "gold\r\nx-admin: 1", "seats": 12 },
    });
    bearer(issuer, &claims)
}

async fn ask(sidecar: &mut Sidecar, path: &str, headers: &[(&str, &str)]) -> Meaning {
    meaning(sidecar.ask(get(path, headers)).await)
}

#[tokio::test]
async fn the_application_sees_exactly_what_was_verified() {
    let issuer = Issuer::new();
    let edge = Edge::start("presented-seen", POLICY, &provider(&issuer)).await;
    let authorization = alice(&issuer);
    let spoofed = [
        ("authorization", authorization.as_str()),
        ("x-user-roles", "[\"admin\"]"),
        ("x-user-seats", "1000"),
    ];
    let path = "/orders/7?z=%2f&debug=1&a&%74enant=evil&tenant=evil&b=%2F&a=1&de%62ug";
    let seen = edge.ask("GET", path, &spoofed).await.unwrap();
    assert_eq!(seen["uri"], "/orders/7?z=%2f&a&b=%2F&a=1&tenant=acme%20%26%20co&v=1%20%26%202");
    let headers = &seen["headers"];
    assert_eq!(headers["x-user-roles"], json!(["[\"customer\",\"caf\\u00e9\"]"]));
    assert_eq!(headers["x-user-provider"], json!(["sso"]));
    assert_eq!(headers["x-user-plan"], json!(["gold%0D%0Ax-admin: 1"]));
    assert_eq!(headers["x-user-seats"], json!(["12"]));
    assert_eq!(
        headers["x-user-claims"],
        json!(["eyJ0aWVyIjoiZ29sZFxyXG54LWFkbWluOiAxIiwic2VhdHMiOjEyfQ"])
    );
    for absent in ["x-admin", "authorization"] {
        assert_eq!(headers[absent], Value::Null, "{absent}");
    }

    // What the token does not say is gone, whatever the client says of itself.
    let plain = bearer(&issuer, &json!({}));
    let spoofed =
        [("authorization", plain.as_str()), ("x-user-plan", "gold"), ("x-user-claims", "e30")];
    let seen = edge.ask("GET", "/orders/7?tenant=evil", &spoofed).await.unwrap();
    assert_eq!(seen["uri"], "/orders/7?v=1%20%26%202");
    for absent in ["x-user-plan", "x-user-seats", "x-user-claims"] {
        assert_eq!(seen["headers"][absent], Value::Null, "{absent}");
    }
    assert_eq!(seen["headers"]["x-user-roles"], json!(["[\"customer\"]"]));
}

#[tokio::test]
async fn the_client_sees_what_the_policy_says() {
    let issuer = Issuer::new();
    let edge = Edge::start("presented-client", POLICY, &provider(&issuer)).await;
    let authorization = alice(&issuer);
    let allowed = edge.send("GET", "/orders/7", &[("authorization", &authorization)]).await;
    let header = |answer: &reqwest::Response, name: &str| {
        let values: Vec<String> =
            answer.headers().get_all(name).iter().map(|v| v.to_str().unwrap().to_owned()).collect();
        values.join("|")
    };
    assert_eq!(allowed.status().as_u16(), 200);
    assert_eq!(header(&allowed, "x-frame-options"), "DENY");
    assert_eq!(header(&allowed, "x-replaced"), "gate", "not beside the application's");
    assert_eq!(header(&allowed, "x-kept"), "application");
    assert_eq!(header(&allowed, "x-served-for"), "alice");

    let page = [("host", "shop.test"), ("accept", "text/html,*/*")];
    let refused = edge.send("GET", "/orders/7?a=%2f&b", &page).await;
    assert_eq!(refused.status().as_u16(), 302);
    assert_eq!(
        header(&refused, "location"),
        "https://sso.test/login?app=shop&return_to=https%3A%2F%2Fshop.test%2Forders%2F7%3Fa%3D%252f%26b"
    );
    assert_eq!(header(&refused, "cache-control"), "no-store");
    assert_eq!(header(&refused, "www-authenticate"), "");
    assert_eq!(header(&refused, "x-frame-options"), "", "for permitted requests");

    let refused = edge.send("GET", "/orders/7", &[("x-request-id", "t-1")]).await;
    assert_eq!(refused.status().as_u16(), 401);
    let ticket = header(&refused, "x-request-id");
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body, json!({ "error": "unauthenticated", "ticket": ticket, "status": 401 }));

    let refused = edge.send("POST", "/orders/7", &[("content-type", "application/grpc")]).await;
    assert_eq!((refused.status().as_u16(), header(&refused, "grpc-status")), (200, "16".into()));
    let message = header(&refused, "grpc-message");
    assert!(message.starts_with("A valid credential is required. Ticket "), "{message}");
}

#[tokio::test]
async fn only_a_browser_that_opens_a_page_here_is_sent_to_sign_in() {
    let issuer = Issuer::new();
    let mut sidecar = start("presented-login", &issuer).await;
    let page = ("accept", "text/html");
    let host = |mut request: envoy_types::pb::envoy::service::auth::v3::CheckRequest,
                host: &str| {
        let attributes = request.attributes.as_mut().unwrap();
        let http = attributes.request.as_mut().unwrap().http.as_mut().unwrap();
        http.host = host.into();
        let lines = &mut http.header_map.as_mut().unwrap().headers;
        lines.iter_mut().find(|line| line.key == ":authority").unwrap().raw_value = host.into();
        request
    };
    let bob = bearer(&issuer, &json!({ "sub": "bob" }));
    let stale = bearer(&issuer, &json!({ "exp": 1_700_000_000 }));
    let token = issuer.token(&json!({ "exp": 1_700_000_000 }));
    for (case, request, status) in [
        ("a page", get("/orders/7", &[page]), 302),
        ("its head", http("HEAD", "/orders/7", &[page]), 302),
        ("said to be one", get("/orders/7", &[page, ("sec-fetch-mode", "navigate")]), 302),
        ("an old token", get("/orders/7", &[page, ("authorization", &stale)]), 302),
        ("an API client", get("/orders/7", &[]), 401),
        ("another method", http("POST", "/orders/7", &[page]), 401),
        ("a script", get("/orders/7", &[page, ("sec-fetch-mode", "cors")]), 401),
        ("an old script", get("/orders/7", &[page, ("x-requested-with", "XMLHttpRequest")]), 401),
        ("a socket", get("/orders/7", &[page, ("upgrade", "websocket")]), 401),
        ("gRPC", get("/orders/7", &[page, ("content-type", "application/grpc+proto")]), 401),
        ("somebody who is known", get("/orders/7", &[page, ("authorization", &bob)]), 403),
        ("what cannot be read", get("/orders//7", &[page]), 400),
    ] {
        let answer = meaning(sidecar.ask(host(request, "shop.test")).await);
        assert_eq!(answer.status, status, "{case}");
        assert_eq!(answer.header("location").is_some(), status == 302, "{case}");
        assert_eq!(answer.metadata["decision"], "deny", "{case}");
    }
    for elsewhere in ["evil.test", "shop.test.evil.test", "shop.test:8443", "orders.shop"] {
        let answer = meaning(sidecar.ask(host(get("/orders/7", &[page]), elsewhere)).await);
        assert_eq!((answer.status, answer.header("location")), (401, None), "{elsewhere}");
    }
    // A token in the query is not carried to the page, and a long address is not either.
    let path = format!("/orders/7?access_token={token}&a");
    let answer = meaning(sidecar.ask(host(get(&path, &[page]), "shop.test")).await);
    let back = "https://sso.test/login?app=shop&return_to=https%3A%2F%2Fshop.test%2Forders%2F7%3Fa";
    assert_eq!(answer.header("location"), Some(back));
    let long = format!("/orders/7?{}", "a".repeat(3000));
    let answer = meaning(sidecar.ask(host(get(&long, &[page]), "shop.test")).await);
    assert_eq!(answer.header("location"), Some("https://sso.test/login?app=shop"));
    sidecar.stop().await;
}

#[tokio::test]
async fn a_value_that_is_too_long_is_dropped_or_refuses() {
    let issuer = Issuer::new();
    let mut sidecar = start("presented-long", &issuer).await;
    let dropped = bearer(&issuer, &json!({ "plan": { "seats": 12345 } }));
    let allowed = ask(&mut sidecar, "/orders/7", &[("authorization", &dropped)]).await;
    assert!(allowed.allowed, "{allowed:?}");
    // What is not set is removed, and what reads the same always is.
    for name in ["x-user-seats", "x_user_seats", "x-user_seats", "x_user-roles"] {
        assert!(allowed.removed.contains(&name.to_owned()), "{name}: {:?}", allowed.removed);
    }
    assert!(!allowed.removed.contains(&"x-user-roles".to_owned()));
    let long = bearer(&issuer, &json!({ "plan": { "tier": "a".repeat(50) } }));
    let refused = ask(&mut sidecar, "/orders/7", &[("authorization", &long)]).await;
    assert_eq!((refused.status, refused.metadata["code"].as_str()), (403, "identity_too_long"));
    assert_eq!(refused.metadata["rule"], "shop/orders#known");
    let log = sidecar.stop().await;
    let line: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!((&line["decision"], &line["code"]), (&json!("deny"), &json!("identity_too_long")));
    assert!(line["reason"].as_str().unwrap().contains("x-user-claims"), "{line}");
}

#[tokio::test]
async fn metadata_tells_envoy_of_allowed_and_refused_alike() {
    let issuer = Issuer::new();
    let mut sidecar = start("presented-metadata", &issuer).await;
    let headers = [("authorization", &*alice(&issuer))];
    let allowed = meaning(sidecar.ask(from_peer(get("/orders/7", &headers), WEB)).await);
    assert!(allowed.allowed, "{allowed:?}");
    assert_eq!(allowed.metadata["tenant"], "acme & co");
    assert_eq!(allowed.metadata["roles"], "customer,caf%C3%A9");
    assert_eq!(allowed.metadata.get("mail"), None);
    assert_eq!(allowed.metadata["peer"], WEB);
    let refused = ask(&mut sidecar, "/elsewhere", &headers).await;
    assert_eq!((refused.status, refused.metadata["tenant"].as_str()), (403, "acme & co"));
    let nobody = ask(&mut sidecar, "/orders/7", &[]).await;
    assert_eq!((nobody.status, nobody.metadata.get("tenant")), (401, None));
    sidecar.stop().await;
}

#[tokio::test]
async fn a_stronger_sign_in_is_asked_for_and_nobody_is_sent_in_circles() {
    let issuer = Issuer::new();
    let mut sidecar = start("presented-step-up", &issuer).await;
    let seconds = |ago| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        json!(now.as_secs() - ago)
    };
    let fresh = bearer(&issuer, &json!({ "acr": "urn:mace:gold", "auth_time": seconds(10) }));
    assert!(ask(&mut sidecar, "/refunds", &[("authorization", &fresh)]).await.allowed);
    let page = ("accept", "text/html");
    for weak in [
        json!({ "acr": "urn:mace:gold", "auth_time": seconds(3600) }),
        json!({ "acr": "urn:mace:bronze", "auth_time": seconds(10) }),
        json!({ "acr": "urn:mace:gold" }),
    ] {
        let token = bearer(&issuer, &weak);
        let refused = ask(&mut sidecar, "/refunds", &[page, ("authorization", &token)]).await;
        // The page would only bring the same sign-in again.
        assert_eq!((refused.status, refused.header("location")), (401, None), "{weak}");
        assert_eq!(refused.metadata["code"], "step_up_required");
        assert_eq!(
            refused.header("www-authenticate"),
            Some(
                "Bearer realm=\"hopgate\", error=\"insufficient_user_authentication\", \
                 acr_values=\"urn:mace:silver urn:mace:gold\", max_age=\"300\""
            )
        );
    }
    let nobody = ask(&mut sidecar, "/refunds", &[]).await;
    assert_eq!((nobody.status, nobody.metadata["code"].as_str()), (401, "step_up_required"));
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer realm=\"hopgate\""));
    sidecar.stop().await;
}
