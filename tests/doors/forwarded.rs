//! What Traefik and Caddy send, and what others could send in their place, by a plain client.

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::{Gate, POLICY, provider};
use crate::support::issuer::Issuer;
use crate::support::raw::{self, Answer};

/// Traefik 3 copies all headers of the request but hop-by-hop ones and sets these; its client is Go's.
const TRAEFIK: [(&str, &str); 8] = [
    ("Host", "127.0.0.1:9004"),
    ("User-Agent", "curl/8.5.0"),
    ("X-Forwarded-Method", "POST"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "shop.test"),
    ("X-Forwarded-Uri", "/orders/7?a=1"),
    ("X-Forwarded-For", "203.0.113.9"),
    ("Accept-Encoding", "gzip"),
];

/// Caddy 2 asks with a GET to the path of `uri`, and also says through whom it came.
const CADDY: [(&str, &str); 8] = [
    ("Host", "127.0.0.1:9005"),
    ("User-Agent", "curl/8.5.0"),
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-Host", "shop.test"),
    ("X-Forwarded-Method", "POST"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Uri", "/orders/7?a=1"),
    ("Via", "2.0 Caddy"),
];

struct Asking {
    gate: Gate,
    token: String,
    session: String,
    shape: &'static [(&'static str, &'static str)],
}

impl Asking {
    async fn start(example: &str) -> Self {
        Self::under(example, "{}").await
    }

    /// Under a MeshPolicy of this spec.
    async fn under(example: &str, mesh: &str) -> Self {
        let issuer = Issuer::new();
        let mesh = format!(
            "apiVersion: hopgate.dev/v1alpha1\nkind: MeshPolicy\n\
             metadata: {{ name: mesh, namespace: hopgate }}\nspec: {mesh}\n"
        );
        let files = [
            ("policy.yaml", POLICY.to_owned()),
            ("sso.yaml", provider(&issuer)),
            ("mesh.yaml", mesh),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, &**text)).collect();
        let gate = Gate::start(example, "edge=127.0.0.1:0", &files).await;
        let token = format!("Bearer {}", issuer.token(&json!({})));
        let session = issuer.token(&json!({}));
        Self { gate, token, session, shape: if example == "caddy" { &CADDY } else { &TRAEFIK } }
    }

    /// The shape with some values changed, and further headers behind it.
    async fn ask(&self, changes: &[(&str, &str)], more: &[(&str, &str)]) -> Answer {
        let shape = self.shape.iter().filter_map(|(name, value)| {
            let change = changes.iter().find(|(changed, _)| changed.eq_ignore_ascii_case(name));
            match change {
                Some((_, "")) => None,
                Some((_, other)) => Some((*name, *other)),
                None => Some((*name, *value)),
            }
        });
        let headers: Vec<_> = shape.chain(more.iter().copied()).collect();
        raw::ask(&self.gate.door, "GET /", &headers, "").await
    }
}

#[tokio::test]
async fn the_headers_of_traefik_and_caddy_say_what_is_asked_about() {
    for example in ["traefik", "caddy"] {
        let asking = Asking::start(example).await;
        let token = ("authorization", asking.token.as_str());
        let answer = asking.ask(&[], &[token]).await;
        assert_eq!(answer.status, 200, "{example}: {answer:?}");
        assert_eq!(answer.header("x-hopgate-user").unwrap(), "alice");
        assert_eq!(answer.header("x-hopgate-peer"), None);
        assert_eq!(answer.header("authorization"), None, "so that the proxy clears it");

        let session = format!("theme=dark; session={}", asking.session);
        let cookie = [("cookie", session.as_str()), ("origin", "https://shop.test")];
        let answer = asking.ask(&[], &cookie).await;
        assert_eq!(answer.header("cookie").unwrap(), "theme=dark");
        let answer =
            asking.ask(&[("x-forwarded-method", "GET"), ("x-forwarded-uri", "/public")], &[]);
        assert_eq!(answer.await.status, 200);

        let answer = asking.ask(&[], &[("accept", "text/html")]).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.json()["error"], "unauthenticated", "no page for a POST");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
        let answer = asking.ask(&[("x-forwarded-uri", "/admin/x")], &[token]).await;
        assert_eq!(answer.status, 403);
        assert_eq!(answer.json()["error"], "forbidden");
        let answer = asking.ask(&[("x-forwarded-uri", "/orders/../admin/x")], &[token]).await;
        assert_eq!(answer.status, 400);

        let records = asking.gate.records().await;
        assert_eq!(records[0]["request.method"], "POST");
        assert_eq!(records[0]["request.host"], "shop.test");
        assert_eq!(records[0]["request.path"], "/orders/7");
        assert_eq!(records[0]["source.address"], "203.0.113.9");
        assert_eq!(records.last().unwrap()["code"], "path_dot_segment");
    }
}

#[tokio::test]
async fn what_the_proxy_does_not_say_exactly_once_is_refused() {
    let asking = Asking::start("traefik").await;
    let token = ("authorization", asking.token.as_str());
    let mut expected = Vec::new();
    for name in ["x-forwarded-method", "x-forwarded-uri", "x-forwarded-host", "x-forwarded-for"] {
        let answer = asking.ask(&[(name, "")], &[token]).await;
        assert_eq!(answer.status, 400, "{name}");
        expected.push("door_header_missing");
        for copy in ["", "GET", "/public", "shop.test", "10.0.0.1"] {
            let answer = asking.ask(&[], &[token, (name, copy)]).await;
            assert_eq!(answer.status, 400, "{name}: {copy}");
            expected.push("door_header_repeated");
        }
    }
    for (name, value, code) in [
        ("x-forwarded-method", "GET, POST", "request_method"),
        ("x-forwarded-method", "post", "request_method_lower_case"),
        ("x-forwarded-uri", "https://shop.test/orders/7", "request_mixed_authority"),
        ("x-forwarded-uri", "/orders/7, /public", "path_character"),
        ("x-forwarded-uri", "*", "path_not_absolute"),
        ("x-forwarded-host", "shop.test, evil.test", "request_authority"),
        ("x-forwarded-for", "203.0.113.9, unknown", "door_header_unreadable"),
    ] {
        let answer = asking.ask(&[(name, value)], &[token]).await;
        assert_eq!(answer.status, 400, "{name}: {value}");
        expected.push(code);
    }
    let records = asking.gate.records().await;
    let codes: Vec<_> = records.iter().map(|record| record["code"].as_str().unwrap()).collect();
    assert_eq!(codes, expected);
}

/// Neither can be told by an answer to remove a header, so nobody may bring one in which only the gate speaks.
#[tokio::test]
async fn an_identity_that_the_request_itself_brings_is_refused_in_every_spelling() {
    // Otherwise a name with an underscore is refused before it is asked what it says.
    let twins = "{ normalisation: { underscoreHeaders: AcceptAsTwins } }";
    let asking = Asking::under("traefik", twins).await;
    let token = ("authorization", asking.token.as_str());
    let names = [
        "X-Hopgate-User",
        "x_hopgate_user",
        "x-hopgate_user",
        "X-Hopgate-Peer",
        "x_hopgate-peer",
        "X-Forwarded-Client-Cert",
        "Client-Cert",
        "client_cert",
        "Client-Cert-Chain",
    ];
    for name in names {
        let answer = asking.ask(&[], &[token, (name, "root")]).await;
        assert_eq!(answer.status, 403, "{name}");
        assert_eq!(answer.header("x-hopgate-user"), None);
    }
    assert_eq!(asking.ask(&[], &[token, ("x-hopgate-users", "root")]).await.status, 200);
    let records = asking.gate.records().await;
    for record in &records[..names.len()] {
        assert_eq!(record["code"], "door_identity_header");
        assert_eq!(record["user.id"], "alice");
        assert_eq!(record["rule.name"], "shop/orders#known");
    }
}

/// Whoever reaches the door and is not its proxy could write any header; nothing of it is believed.
#[tokio::test]
async fn a_stranger_is_refused_whatever_it_says() {
    let issuer = Issuer::new();
    let files = [("policy.yaml", POLICY.to_owned()), ("sso.yaml", provider(&issuer))];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, &**text)).collect();
    // `from` of the example is 127.0.0.1, and this client comes from the same machine by its other loopback address.
    let gate = Gate::start("traefik", "edge=[::1]:0", &files).await;
    let public = TRAEFIK.map(|(name, value)| match name {
        "X-Forwarded-Method" => (name, "GET"),
        "X-Forwarded-Uri" => (name, "/public"),
        _ => (name, value),
    });
    let answer = raw::ask(&gate.door, "GET /", &public, "").await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.json()["error"], "forbidden");
    assert_eq!(answer.header("connection").unwrap(), "close");
    let config: Value = serde_json::from_str(&gate.page("/config").await).unwrap();
    assert_eq!(config["config"]["doors"][0]["from"], json!(["127.0.0.1/32"]));
    let metrics = gate.page("/metrics").await;
    let line = "hopgate_authz_checks_total{decision=\"deny\",code=\"door_stranger\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    let records = gate.records().await;
    assert_eq!(records[0]["code"], "door_stranger");
    assert_eq!(records[0]["source.address"], "::1");
    assert_eq!(records[0]["request.path"], Value::Null, "nothing of what it says is taken down");
}

#[tokio::test]
async fn heads_and_bodies_are_bounded() {
    let asking = Asking::start("traefik").await;
    let many: Vec<(String, &str)> = (0..300).map(|n| (format!("x-{n}"), "1")).collect();
    let many: Vec<(&str, &str)> =
        many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(asking.ask(&[], &many).await.status, 431);
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n", "x".repeat(70 * 1024));
    let mut stream = raw::send(&asking.gate.door, long.as_bytes()).await;
    let mut answer = Vec::new();
    // What was not read may reset the connection before its answer is.
    if stream.read_to_end(&mut answer).await.is_ok() {
        assert!(answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    }
    let token = [("authorization", asking.token.as_str())];
    let headers: Vec<_> = TRAEFIK.iter().chain(&token).copied().collect();
    let body = "x".repeat(8 * 1024 * 1024);
    assert_eq!(raw::ask(&asking.gate.door, "POST /", &headers, &body).await.status, 200);
    // The length alone tells, before any of it comes.
    let headers: Vec<_> = headers.iter().copied().chain([("content-length", "8388609")]).collect();
    assert_eq!(raw::ask(&asking.gate.door, "POST /", &headers, "").await.status, 400);
    let records = asking.gate.records().await;
    assert_eq!(records.len(), 2, "a head that is not read asks nothing");
    assert_eq!(records[1]["code"], "request_too_large");
}
