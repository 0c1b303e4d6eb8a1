//! Requests that are spelled to get past a rule, and Checks that are framed to get no answer.

use std::collections::HashMap;

use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use prost::Message as _;

use crate::support::ask::{self, Meaning, Sidecar, get, http, meaning};

const POLICY: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: orders, namespace: shop }
spec:
  rules:
    - name: everything
      allow: { requests: [{ paths: ["/**"] }] }
    - name: secret-natively
      deny: { when: 'request.path.startsWith("/secret")' }
    - name: vault-interpreted
      deny: { when: 'request.path.matches("^/vault") && size(request.path) > 0' }
    - name: no-delete
      deny: { requests: [{ methods: [DELETE] }] }
    - name: admin
      deny: { requests: [{ paths: ["/admin"] }] }
    - name: no-guests
      deny:
        requests: [{ paths: ["/role"] }]
        when: '"x-role" in request.headers && request.headers["x-role"] == "guest"'
    - name: no-robots
      deny:
        requests: [{ paths: ["/agent"] }]
        when: '"user-agent" in request.headers && request.headers["user-agent"].contains("robot")'
"#;

/// Headers with underscores are let through, so that what they could do is seen.
const MESH: &str = "apiVersion: hopgate.dev/v1alpha1\nkind: MeshPolicy\n\
    metadata: { name: mesh, namespace: hopgate }\nspec: { normalisation: { underscoreHeaders: AcceptAsTwins } }\n";

async fn sidecar(name: &str) -> Sidecar {
    Sidecar::start(name, &[("orders.yaml", POLICY), ("mesh.yaml", MESH)]).await
}

#[tokio::test]
async fn conditions_see_the_decoded_path() {
    let mut sidecar = sidecar("decoded").await;
    for path in ["/secret", "/secret/x", "/%73ecret", "/s%65cre%74/x?q=1", "/vault", "/%76ault"] {
        let refused = meaning(sidecar.ask(get(path, &[])).await);
        assert_eq!(code(&refused), "denied_by_rule", "{path}");
    }
    for path in ["/public", "/publi%63", "/x/secret"] {
        assert!(meaning(sidecar.ask(get(path, &[])).await).allowed, "{path}");
    }
    sidecar.stop().await;
}

#[tokio::test]
async fn other_spellings_of_path_and_method_do_not_pass() {
    let mut sidecar = sidecar("spelling").await;
    for (method, path, expected) in [
        ("DELETE", "/a", "denied_by_rule"),
        ("delete", "/a", "request_method_lower_case"),
        ("Delete", "/a", "request_method_lower_case"),
        ("GET", "/admin", "denied_by_rule"),
        ("GET", "/admin/", "denied_by_rule"),
        ("GET", "/%61dmin/", "denied_by_rule"),
        ("GET", "/a%25%32%66b", "path_double_encoded"),
    ] {
        let refused = meaning(sidecar.ask(http(method, path, &[])).await);
        assert_eq!(code(&refused), expected, "{method} {path}");
    }
    assert!(meaning(sidecar.ask(http("M-SEARCH", "/a", &[])).await).allowed);
    sidecar.stop().await;
}

#[tokio::test]
async fn a_header_in_a_condition_has_one_line_and_one_spelling() {
    let mut sidecar = sidecar("lines").await;
    let lines = |lines: &[(&str, &str)]| get("/role", lines);
    let joined = |path: &str, name: &str, value: &str| {
        ask::request(HttpRequest {
            method: "GET".into(),
            path: path.into(),
            host: "orders.shop".into(),
            headers: HashMap::from([(name.into(), value.into())]),
            ..HttpRequest::default()
        })
    };
    for (why, request, expected) in [
        ("one", lines(&[("x-role", "guest")]), "denied_by_rule"),
        ("twice", lines(&[("x-role", "guest"), ("x-role", "user")]), "rule_undecidable"),
        ("blanks around it", lines(&[("x-role", "  guest\t ")]), "denied_by_rule"),
        ("two spellings", lines(&[("x-role", "user"), ("x_role", "guest")]), "rule_undecidable"),
        ("another spelling", lines(&[("x_role", "guest")]), "rule_undecidable"),
        ("one, in a map", joined("/role", "x-role", "guest"), "denied_by_rule"),
        ("joined", joined("/role", "x-role", "guest,user"), "rule_undecidable"),
        ("joined with nothing", joined("/role", "x-role", "guest,"), "rule_undecidable"),
        ("a robot", joined("/agent", "user-agent", "a robot (KHTML, like)"), "denied_by_rule"),
    ] {
        let refused = meaning(sidecar.ask(request).await);
        assert_eq!(code(&refused), expected, "{why}");
    }
    for (why, request) in [
        ("none", lines(&[])),
        ("user", lines(&[("x-role", "user")])),
        // Where every line comes on its own, a comma is the client's.
        ("a comma in one line", lines(&[("x-role", "guest,user")])),
        ("user, in a map", joined("/role", "x-role", "user")),
        ("a browser", joined("/agent", "user-agent", "Mozilla (KHTML, like Gecko)")),
        ("not asked for", joined("/agent", "x-role", "guest,user")),
    ] {
        assert!(meaning(sidecar.ask(request).await).allowed, "{why}");
    }
    sidecar.stop().await;
}

#[tokio::test]
async fn a_header_cannot_make_the_application_read_another_method_or_path() {
    let mut sidecar = sidecar("override").await;
    let post = |name: &str, value: &str| http("POST", "/a?b=c", &[(name, value)]);
    for (name, value) in [
        ("x-http-method-override", "DELETE"),
        ("x-http-method-override", "delete"),
        ("x-http-method-override", ""),
        ("x-http-method", "DELETE"),
        ("x-method-override", "DELETE"),
        ("x_http_method_override", "DELETE"),
        ("x-original-url", "/admin"),
        ("x-original-url", "http://orders.shop/admin"),
        ("x-original-url", "http://orders.shop"),
        ("x_original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
    ] {
        let refused = meaning(sidecar.ask(post(name, value)).await);
        assert_eq!(code(&refused), "request_override", "{name}: {value}");
        assert_eq!(refused.status, 400);
    }
    let twice = [("x-http-method-override", "POST"), ("x-http-method-override", "DELETE")];
    let refused = meaning(sidecar.ask(http("POST", "/a", &twice)).await);
    assert_eq!(code(&refused), "request_override");
    for (name, value) in [
        ("x-http-method-override", "POST"),
        ("x-original-url", "/a?b=c"),
        ("x-original-url", "https://orders.shop:8443/a?b=c"),
        ("x-original-method", "DELETE"),
    ] {
        assert!(meaning(sidecar.ask(post(name, value)).await).allowed, "{name}: {value}");
    }
    sidecar.stop().await;
}

#[tokio::test]
async fn however_a_check_is_framed_it_gets_a_check_response() {
    let sidecar = sidecar("framed").await;
    let message = get("/public", &[]).encode_to_vec();
    let framed = |flag: u8, length: usize, message: &[u8]| {
        let mut frame = vec![flag];
        frame.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        frame.extend_from_slice(message);
        frame
    };
    let whole = framed(0, message.len(), &message);
    assert!(raw(&sidecar, &whole).await.allowed, "the frame itself is good");
    for (why, bytes, expected) in [
        ("compressed", framed(1, message.len(), &message), "request_compressed"),
        ("an unknown flag", framed(2, message.len(), &message), "request_compressed"),
        ("compressed and empty", framed(1, 0, &[]), "request_compressed"),
        ("a length too long", framed(0, message.len() + 1, &message), "request_framing"),
        ("a length too short", framed(0, message.len() - 1, &message), "request_framing"),
        ("a length of four gigabytes", framed(0, u32::MAX as usize, &message), "request_framing"),
        ("two messages", [whole.clone(), whole.clone()].concat(), "request_framing"),
        ("something behind", [whole.clone(), vec![0]].concat(), "request_framing"),
        ("nothing", Vec::new(), "request_framing"),
        ("half a prefix", vec![0, 0], "request_framing"),
        ("an empty message", framed(0, 0, &[]), "request_empty"),
        ("too large", framed(0, 9 << 20, &vec![0; 9 << 20]), "request_too_large"),
    ] {
        let refused = raw(&sidecar, &bytes).await;
        assert_eq!(code(&refused), expected, "{why}");
        assert_eq!(refused.status, 400, "{why}");
    }
    let log = sidecar.stop().await;
    assert_eq!(log.lines().count(), 13, "a record of each");
}

fn code(answer: &Meaning) -> &str {
    assert_eq!(answer.allowed, answer.metadata["decision"] == "allow", "{answer:?}");
    answer.metadata.get("code").map_or("allow", String::as_str)
}

/// Sends bytes that no generated client would send.
async fn raw(sidecar: &Sidecar, bytes: &[u8]) -> Meaning {
    let stream = sidecar.authz.connect().await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post("http://authz/envoy.service.auth.v3.Authorization/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut body) = sender.ready().await.unwrap().send_request(request, false).unwrap();
    body.send_data(bytes.to_vec().into(), true).unwrap();
    let mut answer = response.await.unwrap().into_body();
    let mut received = Vec::new();
    while let Some(chunk) = answer.data().await {
        received.extend_from_slice(&chunk.unwrap());
    }
    let trailers = answer.trailers().await.unwrap().expect("trailers behind a message");
    assert_eq!(trailers["grpc-status"], "0");
    connection.abort();
    meaning(CheckResponse::decode(&received[5..]).unwrap())
}
