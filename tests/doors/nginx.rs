//! What is particular to nginx's `auth_request`.

use hopgate::runtime::Address;
use serde_json::json;

use super::edge::{Edge, Proxy, nginx, service};
use crate::support::issuer::Issuer;
use crate::support::nginx::{Nginx, free_address};
use crate::support::raw;

/// nginx takes 401 and 403 alone from a gate; anything else would be its own error 500.
#[tokio::test]
async fn a_status_that_nginx_does_not_take_reaches_the_client_all_the_same() {
    let edge = Edge::start(Proxy::Nginx).await;
    let token = format!("Bearer {}", edge.issuer.token(&json!({})));
    let token = [("authorization", token.as_str())];
    let answer = edge.ask("GET /orders//7", &token, "").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.json()["error"], "bad_request");
    let answer = edge.ask("GET /admin/x", &token, "").await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (403, None));
    assert_eq!(answer.json()["error"], "forbidden");
    // Whoever guesses at signatures has to wait.
    let forged = Issuer::new().token(&json!({}));
    let (signed, signature) = forged.rsplit_once('.').unwrap();
    let mut last = 0;
    for guess in ('a'..='z').chain('A'..='Z') {
        let guess = format!("Bearer {signed}.{guess}{}", &signature[1..]);
        let answer = edge.ask("GET /orders/7", &[("authorization", &guess)], "").await;
        last = answer.status;
        if last == 429 {
            assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
            assert_eq!(answer.json()["error"], "too_many_requests");
            break;
        }
        assert_eq!(last, 401);
    }
    assert_eq!(last, 429);
    let records = edge.records().await;
    assert_eq!(records[0]["code"], "path_empty_segment");
    assert_eq!(records.last().unwrap()["code"], "too_many_bad_credentials");
}

/// The example with its gate gone: nginx refuses.
#[tokio::test]
async fn without_its_gate_nginx_lets_nobody_pass() {
    let scratch = crate::support::Scratch::new("nginx-alone");
    let (address, nobody) = (free_address(), free_address());
    let text = nginx(&[
        ("listen 127.0.0.1:8080;", format!("listen {address};")),
        ("server 127.0.0.1:9002;", format!("server {nobody};")),
        ("listen 127.0.0.1:8081;", service(scratch.path())),
    ]);
    let nginx = Nginx::start(scratch.path(), &text, address);
    let answer = raw::ask(&Address::Tcp(address), "GET /public", &[("host", "a")], "").await;
    assert_eq!(answer.status, 500, "{}", nginx.log());
}

/// Where nginx belongs to the group of the sidecar, a unix socket says who asks, and no address is believed.
#[tokio::test]
async fn over_a_unix_socket_the_one_who_may_open_it_is_the_proxy() {
    use std::os::unix::fs::PermissionsExt as _;
    let issuer = Issuer::new();
    let files = [("policy.yaml", super::POLICY.to_owned()), ("sso.yaml", super::provider(&issuer))];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, &**text)).collect();
    let gate = super::Gate::start("nginx", "edge=unix:edge.sock", &files).await;
    let Address::Unix(socket) = &gate.door else { panic!("a unix socket") };
    let mode = std::fs::metadata(socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "for its user and group alone");
    let headers = [
        ("host", "shop.test"),
        ("x-original-method", "GET"),
        ("x-original-uri", "/public"),
        ("x-forwarded-for", "203.0.113.9"),
    ];
    assert_eq!(raw::ask(&gate.door, "GET /", &headers, "").await.status, 200);
    assert_eq!(raw::ask(&gate.door, "GET /", &headers[..3], "").await.status, 403);
    let records = gate.records().await;
    assert_eq!(records[1]["code"], "door_header_missing");
}
