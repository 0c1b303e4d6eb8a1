//! The Check path over the wire: a tonic client against a real sidecar.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use serde_json::json;

use crate::support::ask::{self, Meaning, Sidecar, from_peer, get, http, meaning};
use crate::support::issuer::{self, Issuer, certificate};

const WEB: &str = "spiffe://test.mesh/ns/shop/sa/web";
const POLICY: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: orders, namespace: shop }
spec:
  selector: { matchLabels: { app: orders } }
  rules:
    - name: own-orders
      allow:
        users: { providers: [sso], roles: [customer] }
        requests: [{ methods: [GET], paths: ["/customers/{customer}/orders/**"] }]
        when: user.sub == path.customer
    - name: web-reads-stock
      allow:
        peers: [ns/shop/sa/web]
        requests: [{ methods: [GET], paths: ["/stock/{item}"] }]
    - name: public
      allow:
        requests: [{ methods: [GET, POST], paths: ["/public"] }]
    - name: tenant-in-header
      allow:
        users: {}
        requests: [{ methods: [GET], paths: ["/tenant"] }]
        when: request.headers["x-tenant"] == user.claims.tenant
    - name: mine
      allow:
        requests: [{ methods: [GET], paths: ["/mine"] }]
        when: user.sub == "alice"
    - name: no-admin
      deny:
        requests: [{ paths: ["/customers/{customer}/orders/admin/**"] }]
"#;

async fn sidecar(name: &str) -> (Sidecar, Issuer) {
    let issuer = Issuer::new();
    let files = [("sso.yaml", issuer.provider()), ("orders.yaml", POLICY.to_owned())];
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (*n, t.as_str())).collect();
    (Sidecar::start(name, &files).await, issuer)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn a_user_reads_her_own_orders_and_no_others() {
    let (mut sidecar, issuer) = sidecar("own").await;
    let token = bearer(&issuer.token(&json!({})));
    let authorization = [("authorization", token.as_str())];
    let mine = meaning(sidecar.ask(get("/customers/alice/orders/7?x=1", &authorization)).await);
    assert!(mine.allowed, "{mine:?}");
    assert_eq!(mine.header("x-hopgate-user"), Some("alice"));
    assert_eq!(mine.metadata["rule"], "shop/orders#own-orders");
    assert_eq!(mine.metadata["decision"], "allow");
    assert!(mine.removed.contains(&"authorization".to_owned()), "credentials are stripped");

    for (path, status, code) in [
        ("/customers/bob/orders/7", 403, "no_rule_allows"),
        ("/customers/alice/orders/admin/x", 403, "denied_by_rule"),
        ("/customers/bob/../alice/orders", 400, "path_dot_segment"),
        ("/customers/alice%2Forders", 400, "path_encoded_separator"),
    ] {
        let refused = meaning(sidecar.ask(get(path, &authorization)).await);
        assert_refused(&refused, status, code);
    }
    let posted =
        meaning(sidecar.ask(http("POST", "/customers/alice/orders", &authorization)).await);
    assert_refused(&posted, 403, "no_rule_allows");
    let log = sidecar.stop().await;
    assert_eq!(log.lines().count(), 6);
    assert!(!log.contains(token.split('.').next_back().unwrap()), "no signature in the log");
    assert!(!log.contains("x=1"), "no query in the log");
}

#[tokio::test]
async fn a_bad_token_is_never_anonymous() {
    let (mut sidecar, issuer) = sidecar("bad-token").await;
    let good = issuer.token(&json!({}));
    let stranger = Issuer::new();
    let (head, _) = good.rsplit_once('.').unwrap();
    for (value, code) in [
        (bearer(&issuer.token(&json!({ "exp": 1_700_000_000 }))), "token_expired"),
        (bearer(&issuer.token(&json!({ "aud": "payments" }))), "wrong_audience"),
        (bearer(&issuer.token(&json!({ "iss": "https://sso.evil" }))), "unknown_issuer"),
        (bearer(&stranger.token(&json!({}))), "bad_signature"),
        (bearer(&format!("{head}.")), "bad_signature"),
        (bearer(head), "token_malformed"),
        (format!("{},{}", bearer(&good), bearer(&good)), "credentials_ambiguous"),
        ("Basic dXNlcjpwdw==".to_owned(), "unsupported_scheme"),
    ] {
        // The route is public: only the token makes the difference.
        let refused = meaning(sidecar.ask(get("/public", &[("authorization", &value)])).await);
        assert!(!refused.allowed, "{value}");
        assert_eq!(refused.status, 401, "{value}");
        assert_eq!(refused.metadata["code"], code, "{value}");
        let challenge = refused.header("www-authenticate").unwrap();
        assert_eq!(challenge, "Bearer realm=\"hopgate\", error=\"invalid_token\"");
        assert!(!refused.body.contains(code), "the client learns no reason");
    }
    let two_lines = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
    assert!(!meaning(sidecar.ask(get("/public", &two_lines)).await).allowed);
    assert!(meaning(sidecar.ask(get("/public", &[])).await).allowed);
    sidecar.stop().await;
}

#[tokio::test]
async fn anonymous_requests_get_a_challenge() {
    let (mut sidecar, _) = sidecar("anonymous").await;
    let refused =
        meaning(sidecar.ask(get("/customers/alice/orders", &[("x-request-id", "abc-1")])).await);
    assert_refused(&refused, 401, "no_rule_allows_anonymous");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"hopgate\""));
    assert_eq!(refused.header("x-request-id"), Some("abc-1"));
    assert_eq!(refused.header("content-type"), Some("application/json"));
    let by_condition = meaning(sidecar.ask(get("/mine", &[])).await);
    assert_refused(&by_condition, 401, "rule_undecidable_anonymous");
    let body: serde_json::Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!(body["request_id"], "abc-1");
    assert_eq!(body["error"], "unauthenticated");
    sidecar.stop().await;
}

#[tokio::test]
async fn a_peer_counts_only_with_its_certificate() {
    let (mut sidecar, _) = sidecar("peer").await;
    let stock = || get("/stock/7", &[]);
    let good = meaning(sidecar.ask(from_peer(stock(), WEB)).await);
    assert!(good.allowed, "{good:?}");
    assert_eq!(good.header("x-hopgate-peer"), Some(WEB));

    let other =
        meaning(sidecar.ask(from_peer(stock(), "spiffe://test.mesh/ns/shop/sa/batch")).await);
    assert_refused(&other, 403, "no_rule_allows");

    let end = SystemTime::now() + Duration::from_secs(600);
    let uri = |id: &str| rcgen::SanType::URI(id.try_into().unwrap());
    let dns = |name: &str| rcgen::SanType::DnsName(name.try_into().unwrap());
    for (why, principal, certificate) in [
        ("no certificate", WEB.to_owned(), String::new()),
        ("no principal", String::new(), certificate(vec![uri(WEB)], end)),
        (
            "another certificate",
            WEB.to_owned(),
            certificate(vec![uri("spiffe://test.mesh/ns/shop/sa/x")], end),
        ),
        (
            "two URI SANs",
            WEB.to_owned(),
            certificate(vec![uri(WEB), uri("spiffe://test.mesh/b")], end),
        ),
        ("a DNS SAN", "web.shop".to_owned(), certificate(vec![dns("web.shop")], end)),
        (
            "foreign trust domain",
            "spiffe://evil.mesh/ns/shop/sa/web".to_owned(),
            certificate(vec![uri("spiffe://evil.mesh/ns/shop/sa/web")], end),
        ),
        (
            "expired",
            WEB.to_owned(),
            certificate(vec![uri(WEB)], SystemTime::now() - Duration::from_secs(3600)),
        ),
        ("not PEM", WEB.to_owned(), "junk".to_owned()),
        ("a common name", "CN=web,O=shop".to_owned(), certificate(vec![dns("web")], end)),
    ] {
        let mut request = stock();
        let source = request.attributes.as_mut().unwrap().source.as_mut().unwrap();
        (source.principal, source.certificate) = (principal, certificate);
        let refused = meaning(sidecar.ask(request).await);
        assert!(!refused.allowed && refused.status == 403, "{why}: {refused:?}");
    }

    // What a client can write itself is no identity.
    let xfcc = format!("By=spiffe://test.mesh/x;Hash=1;URI={WEB}");
    let mut forged =
        get("/stock/7", &[("x-forwarded-client-cert", &xfcc), ("x-hopgate-peer", WEB)]);
    forged.attributes.as_mut().unwrap().source.as_mut().unwrap().service = WEB.to_owned();
    assert!(!meaning(sidecar.ask(forged).await).allowed);
    sidecar.stop().await;
}

#[tokio::test]
async fn identity_headers_cannot_be_spoofed() {
    let issuer = Issuer::new();
    // Without this switch a header with an underscore is refused, whatever it says.
    let mesh = "apiVersion: hopgate.dev/v1alpha1\nkind: MeshPolicy\n\
                metadata: { name: mesh, namespace: hopgate }\n\
                spec: { normalisation: { underscoreHeaders: AcceptAsTwins } }\n";
    let sso = issuer.provider();
    let files = [("sso.yaml", sso.as_str()), ("orders.yaml", POLICY), ("mesh.yaml", mesh)];
    let mut sidecar = Sidecar::start("spoof", &files).await;
    let spoofed =
        [("x-hopgate-user", "admin"), ("x_hopgate_user", "admin"), ("x-hopgate-peer", WEB)];
    let answer = meaning(sidecar.ask(get("/public", &spoofed)).await);
    assert!(answer.allowed);
    assert!(answer.headers.is_empty(), "nobody is named");
    for name in [
        "x-hopgate-user",
        "x-hopgate_user",
        "x_hopgate-user",
        "x_hopgate_user",
        "x-hopgate-peer",
        "x-hopgate_peer",
        "x_hopgate-peer",
        "x_hopgate_peer",
    ] {
        assert!(answer.removed.contains(&name.to_owned()), "{name}");
    }
    let token = bearer(&issuer.token(&json!({ "sub": "al\r\nx-admin: 1\u{e9}" })));
    let headers = [("authorization", token.as_str()), ("x_hopgate_user", "admin")];
    let answer = meaning(sidecar.ask(get("/public", &headers)).await);
    assert_eq!(answer.header("x-hopgate-user"), Some("al%0D%0Ax-admin: 1%C3%A9"));
    assert!(answer.removed.contains(&"x_hopgate_user".to_owned()));
    sidecar.stop().await;
}

#[tokio::test]
async fn both_header_forms_are_read() {
    let (mut sidecar, issuer) = sidecar("forms").await;
    let token = bearer(&issuer.token(&json!({ "tenant": "acme" })));
    let map = |tenant: &str| {
        ask::request(HttpRequest {
            method: "GET".into(),
            path: "/tenant".into(),
            host: "orders.shop:443".into(),
            headers: HashMap::from([
                ("authorization".into(), token.clone()),
                ("x-tenant".into(), tenant.into()),
            ]),
            ..HttpRequest::default()
        })
    };
    assert!(meaning(sidecar.ask(map("acme")).await).allowed);
    assert!(!meaning(sidecar.ask(map("globex")).await).allowed);
    let raw = |lines: &[&str]| {
        let mut headers = vec![("authorization", token.as_str())];
        headers.extend(lines.iter().map(|line| ("x-tenant", *line)));
        get("/tenant", &headers)
    };
    assert!(meaning(sidecar.ask(raw(&["acme"])).await).allowed);
    // Two lines: which one the application reads is not known.
    let twice = meaning(sidecar.ask(raw(&["acme", "globex"])).await);
    assert_refused(&twice, 403, "rule_undecidable");
    assert_eq!(twice.metadata["rule"], "shop/orders#tenant-in-header");
    assert_refused(&meaning(sidecar.ask(raw(&[])).await), 403, "rule_undecidable");
    sidecar.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_never_a_grpc_error() {
    let (mut sidecar, _) = sidecar("unreadable").await;
    let empty = meaning(sidecar.ask(CheckRequest::default()).await);
    assert_refused(&empty, 400, "request_empty");
    // A bare connection: rules for requests do not match it, and nothing else allows it.
    let bare = CheckRequest { attributes: Some(AttributeContext::default()) };
    assert!(!meaning(sidecar.ask(bare).await).allowed);
    let no_source = CheckRequest {
        attributes: Some(AttributeContext {
            source: None,
            destination: Some(Peer::default()),
            ..get("/public", &[]).attributes.unwrap()
        }),
    };
    assert!(meaning(sidecar.ask(no_source).await).allowed);

    let mut lists = get("/public", &[]);
    let http = lists.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
    http.host = "orders.shop,evil".into();
    assert_refused(&meaning(sidecar.ask(lists).await), 400, "request_pseudo_header");
    for (field, code) in [("host", "request_authority"), ("method", "request_method")] {
        let mut request = ask::request(HttpRequest {
            method: "GET".into(),
            path: "/public".into(),
            host: "orders.shop".into(),
            ..HttpRequest::default()
        });
        let http =
            request.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
        match field {
            "host" => http.host = "orders.shop,evil".into(),
            _ => http.method = "GET /x".into(),
        }
        assert_refused(&meaning(sidecar.ask(request).await), 400, code);
    }

    let answer = raw_check(&sidecar, b"\x0a\xff\xffgarbage").await;
    assert_refused(&meaning(answer), 400, "request_undecodable");
    sidecar.stop().await;
}

/// Larger than one HTTP/2 frame, and than what the peer may send before it is given room.
#[tokio::test]
async fn a_large_request_is_received_in_parts() {
    let (mut sidecar, _) = sidecar("large").await;
    for size in [20_000, 3_000_000] {
        let mut request = http("POST", "/public", &[]);
        let attributes = request.attributes.as_mut().unwrap().request.as_mut().unwrap();
        attributes.http.as_mut().unwrap().raw_body = vec![b'x'; size];
        assert!(meaning(sidecar.ask(request).await).allowed, "{size} bytes");
    }
    let mut too_large = http("POST", "/public", &[]);
    let attributes = too_large.attributes.as_mut().unwrap().request.as_mut().unwrap();
    attributes.http.as_mut().unwrap().raw_body = vec![b'x'; 9 * 1024 * 1024];
    let refused = meaning(sidecar.ask(too_large).await);
    assert!(!refused.allowed && refused.status == 400, "a denial, not a gRPC error: {refused:?}");
    sidecar.stop().await;
}

#[tokio::test]
async fn refusals_speak_the_callers_language() {
    let (mut sidecar, _) = sidecar("language").await;
    let grpc = [("content-type", "application/grpc+proto"), ("x-request-id", "g-1")];
    let refused = meaning(sidecar.ask(get("/customers/alice/orders", &grpc)).await);
    assert_eq!(refused.header("grpc-status"), Some("16"));
    assert_eq!(refused.body, "A valid credential is required. (request g-1)");
    assert_eq!(refused.header("content-type"), None, "Envoy sets the gRPC one");

    let browser = [("accept", "text/html,application/xhtml+xml"), ("x-request-id", "b\"<script>")];
    let refused = meaning(sidecar.ask(get("/customers/a/orders", &browser)).await);
    assert_eq!(refused.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(refused.body.starts_with("<!doctype html>") && !refused.body.contains("<script>"));
    sidecar.stop().await;
}

#[tokio::test]
async fn keys_are_never_fetched_inside_a_check() {
    // Nobody answers there.
    let files = [
        ("sso.yaml", issuer::provider("jwksUri: http://127.0.0.1:9/keys")),
        ("orders.yaml", POLICY.to_owned()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (*n, t.as_str())).collect();
    let mut sidecar = Sidecar::start("no-keys", &files).await;
    let token = bearer(&Issuer::new().token(&json!({})));
    let refused = meaning(sidecar.ask(get("/public", &[("authorization", &token)])).await);
    assert_refused(&refused, 503, "keys_unavailable");
    let (status, text) = sidecar.page("/readyz").await;
    assert_eq!(status, 503);
    assert!(
        text.contains("no keys yet of shop/sso") || text.contains("no keys yet of sso"),
        "{text}"
    );
    sidecar.stop().await;
}

fn assert_refused(answer: &Meaning, status: i32, code: &str) {
    assert!(!answer.allowed, "{answer:?}");
    assert_eq!((answer.status, answer.metadata["code"].as_str()), (status, code), "{answer:?}");
    assert_eq!(answer.metadata["decision"], "deny");
}

/// Sends bytes that no generated client would send.
async fn raw_check(
    sidecar: &Sidecar,
    message: &'static [u8],
) -> envoy_types::pb::envoy::service::auth::v3::CheckResponse {
    use prost::Message as _;
    let stream = sidecar.authz.connect().await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://authz/envoy.service.auth.v3.Authorization/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut body) = sender.ready().await.unwrap().send_request(request, false).unwrap();
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(message);
    body.send_data(frame.into(), true).unwrap();
    let mut answer = response.await.unwrap().into_body();
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.data().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    let trailers = answer.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    envoy_types::pb::envoy::service::auth::v3::CheckResponse::decode(&bytes[5..]).unwrap()
}

/// Denies what `POLICY` admits, but is in audit.
const AUDITED: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: stricter, namespace: shop }
spec:
  mode: Audit
  rules:
    - { name: nothing-is-public, deny: { requests: [{ paths: ["/public"] }] } }
    - { name: one-more-is, allow: { requests: [{ paths: ["/more"] }] } }
"#;

#[tokio::test]
async fn a_policy_in_audit_decides_nothing_and_is_recorded() {
    let issuer = Issuer::new();
    let files =
        [("sso.yaml", issuer.provider()), ("orders.yaml", POLICY.to_owned() + "---" + AUDITED)];
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (*n, t.as_str())).collect();
    let mut sidecar = Sidecar::start("audit", &files).await;
    assert!(meaning(sidecar.ask(get("/public", &[])).await).allowed);
    assert_refused(&meaning(sidecar.ask(get("/more", &[])).await), 403, "no_rule_allows");
    let (_, metrics) = sidecar.page("/metrics").await;
    for line in [
        "hopgate_authz_audited_checks_total{decision=\"deny\",code=\"denied_by_rule\"} 1",
        "hopgate_authz_audited_checks_total{decision=\"allow\",code=\"allow\"} 1",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    let log = sidecar.stop().await;
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["decision"], "allow");
    assert_eq!(lines[0]["audit.decision"], "deny");
    assert_eq!(lines[0]["audit.code"], "denied_by_rule");
    assert_eq!(lines[0]["audit.rule"], "shop/stricter#nothing-is-public");
    assert_eq!(lines[1]["decision"], "deny");
    assert_eq!(lines[1]["audit.decision"], "allow");
    assert_eq!(lines[1]["audit.rule"], "shop/stricter#one-more-is");
}
