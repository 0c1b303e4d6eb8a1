//! What holds at every proxy that is run here.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::edge::{Edge, Proxy};
use crate::support::raw;

fn header<'v>(seen: &'v Value, name: &str) -> &'v Value {
    &seen["headers"][name]
}

async fn each(test: impl AsyncFn(Proxy, Edge)) {
    for proxy in [Proxy::Nginx, Proxy::Envoy] {
        test(proxy, Edge::start(proxy).await).await;
    }
}

#[tokio::test]
async fn a_request_is_judged_by_its_own_method_path_and_token() {
    each(async |proxy, edge| {
        let alice = format!("Bearer {}", edge.issuer.token(&json!({})));
        let adam = format!("Bearer {}", edge.issuer.token(&json!({ "roles": ["admin"] })));
        let alice = [("authorization", alice.as_str())];
        let adam = [("authorization", adam.as_str())];

        let seen = edge.seen("POST /orders/7?a=1", &alice, "two=2").await;
        assert_eq!(seen["method"], "POST");
        assert_eq!(seen["uri"], "/orders/7?a=1");
        assert_eq!(seen["body"], "two=2", "{proxy:?}");
        assert_eq!(*header(&seen, "x-hopgate-user"), json!(["alice"]));
        assert_eq!(*header(&seen, "authorization"), Value::Null, "the credential is taken");
        let seen = edge.seen("GET /public", &[], "").await;
        assert_eq!(*header(&seen, "x-hopgate-user"), Value::Null);

        let status = async |line, headers| edge.ask(line, headers, "").await.status;
        assert_eq!(status("GET /orders/7", &[]).await, 401);
        assert_eq!(status("GET /admin/x", &alice).await, 403);
        assert_eq!(status("GET /admin/x", &adam).await, 200);
        assert_eq!(status("GET /public", &[]).await, 200);
        assert_eq!(status("POST /public", &[]).await, 403, "another method");
        assert_eq!(status("GET /marked", &[("x-mark", "good")]).await, 200);
        assert_eq!(status("GET /marked", &[("x-mark", "bad")]).await, 403);
        assert_eq!(status("GET /marked", &[("x-mark", "good"), ("x-mark", "bad")]).await, 403);
        let broken = [("authorization", "Bearer x")];
        assert_eq!(status("GET /orders/7", &broken).await, 401);
        assert_eq!(status("GET /public", &broken).await, 401, "a bad credential is never ignored");

        let records = edge.records().await;
        let first = &records[0];
        assert_eq!(first["decision"], "allow");
        assert_eq!(first["request.method"], "POST");
        assert_eq!(first["request.path"], "/orders/7");
        assert!(first["request.host"].as_str().unwrap().eq_ignore_ascii_case("shop.test"));
        assert_eq!(first["source.address"], "127.0.0.1");
        assert_eq!(first["peer.id"], Value::Null);
        assert_eq!(records.len(), 12, "one record for each");
    })
    .await;
}

#[tokio::test]
async fn what_a_client_says_of_itself_reaches_nobody() {
    each(async |proxy, edge| {
        let alice = format!("Bearer {}", edge.issuer.token(&json!({})));
        let identity = [
            ("x-hopgate-user", "root"),
            ("x-hopgate-peer", "spiffe://example.mesh/ns/a/sa/b"),
            ("x-original-uri", "/public"),
            ("x-original-method", "GET"),
            ("x-original-method", "PUT"),
            ("x-hopgate-client-address", "10.9.9.9"),
            ("x-forwarded-for", "10.9.9.9"),
            ("x-envoy-auth-headers-to-remove", "x-mark"),
        ];
        let mut headers = identity.to_vec();
        assert_eq!(edge.ask("GET /orders/7", &headers, "").await.status, 401, "still nobody");
        let seen = edge.seen("GET /public", &headers, "").await;
        assert_eq!(*header(&seen, "x-hopgate-user"), Value::Null, "{proxy:?}");
        assert_eq!(*header(&seen, "x-hopgate-peer"), Value::Null);
        headers.push(("authorization", &alice));
        headers.push(("x-mark", "kept"));
        let seen = edge.seen("GET /orders/7", &headers, "").await;
        assert_eq!(*header(&seen, "x-hopgate-user"), json!(["alice"]));
        assert_eq!(*header(&seen, "x-mark"), json!(["kept"]));
        assert_eq!(*header(&seen, "x-hopgate-peer"), Value::Null);
        // Where the proxy is not told to hide it from the gate, the request is refused.
        let certificates = [("x-forwarded-client-cert", "By=a;Hash=b"), ("client-cert", ":eA==:")];
        for (name, value) in certificates {
            let answer = edge.ask("GET /public", &[(name, value)], "").await;
            match proxy {
                Proxy::Nginx => {
                    assert_eq!(answer.json()["headers"][name], Value::Null);
                }
                // Envoy itself removes the first, and is told nothing of the second.
                Proxy::Envoy if name == "client-cert" => assert_eq!(answer.status, 403),
                Proxy::Envoy => assert_eq!(answer.json()["headers"][name], Value::Null),
            }
        }
        let spelled = [("x_hopgate_user", "root")];
        let answer = edge.ask("GET /public", &spelled, "").await;
        match proxy {
            // It drops every name with an underscore.
            Proxy::Nginx => assert_eq!(answer.json()["headers"]["x_hopgate_user"], Value::Null),
            Proxy::Envoy => assert_eq!(answer.status, 400),
        }
        for record in edge.records().await {
            assert_eq!(record["source.address"], "127.0.0.1", "{record}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_path_that_can_be_read_in_two_ways_is_refused() {
    each(async |proxy, edge| {
        let alice = format!("Bearer {}", edge.issuer.token(&json!({})));
        let alice = [("authorization", alice.as_str())];
        assert_eq!(edge.ask("GET /orders/a%20b", &alice, "").await.status, 200);
        for path in [
            "/orders/%2e%2e/admin/x",
            "/orders/..%2fadmin/x",
            "/orders/..%5cadmin",
            "/orders/..;/admin/x",
            "/orders/a;b",
            "/orders/%252e%252e/admin",
            "/orders/a%00",
            "/orders/%zz",
        ] {
            let answer = edge.ask(&format!("GET {path}"), &alice, "").await;
            assert!(
                matches!(answer.status, 400 | 401 | 403),
                "{proxy:?} {path}: {}",
                answer.status
            );
        }
        // Envoy resolves these before it asks and sends what it resolved; nginx does neither.
        for path in ["/orders/../admin/x", "/orders//../../admin/x", "/orders/./../admin/x"] {
            let answer = edge.ask(&format!("GET {path}"), &alice, "").await;
            let expected = if proxy == Proxy::Nginx { 400 } else { 403 };
            assert_eq!(answer.status, expected, "{proxy:?} {path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_refusal_reaches_the_client_with_its_challenge_and_request_id() {
    each(async |proxy, edge| {
        let answer = edge.ask("GET /orders/7", &[("x-request-id", "find-me")], "").await;
        assert_eq!(answer.status, 401);
        assert_eq!(
            answer.header("www-authenticate").unwrap(),
            "Bearer realm=\"hopgate\"",
            "{proxy:?}"
        );
        assert_eq!(answer.header("cache-control").unwrap(), "no-store");
        assert_eq!(answer.json()["error"], "unauthenticated");
        let id = answer.json()["request_id"].as_str().unwrap().to_owned();
        assert_eq!(answer.header("x-request-id").unwrap(), id);
        let records = edge.records().await;
        assert_eq!(records[0]["request.id"], id);
        assert_eq!(records[0]["code"], "no_rule_allows_anonymous");
    })
    .await;
}

#[tokio::test]
async fn cookies_that_are_credentials_are_taken_and_others_stay() {
    each(async |proxy, edge| {
        let session = format!("session={}", edge.issuer.token(&json!({})));
        let three = format!("theme=dark; {session}; lang=de");
        let seen = edge.seen("GET /orders/7", &[("cookie", &three)], "").await;
        assert_eq!(*header(&seen, "cookie"), json!(["theme=dark; lang=de"]), "{proxy:?}");
        assert_eq!(*header(&seen, "x-hopgate-user"), json!(["alice"]));
        let seen = edge.seen("GET /orders/7", &[("cookie", &session)], "").await;
        assert_eq!(*header(&seen, "cookie"), Value::Null);
        let seen = edge.seen("GET /public", &[("cookie", "theme=dark")], "").await;
        assert_eq!(*header(&seen, "cookie"), json!(["theme=dark"]));
        // A page elsewhere makes the browser send the cookie.
        let elsewhere = [("cookie", session.as_str()), ("origin", "https://elsewhere.test")];
        assert_eq!(edge.ask("POST /orders/7", &elsewhere, "a").await.status, 401);
        let here = [("cookie", session.as_str()), ("origin", "https://shop.test")];
        assert_eq!(edge.ask("POST /orders/7", &here, "a").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_token_in_the_query_is_refused_where_it_cannot_be_taken_out() {
    each(async |_, edge| {
        let token = edge.issuer.token(&json!({}));
        let answer = edge.ask(&format!("GET /orders/7?access_token={token}"), &[], "").await;
        assert_eq!(answer.status, 403);
        let header = format!("Bearer {token}");
        let header = [("authorization", header.as_str())];
        assert_eq!(edge.ask("GET /orders/7?a=1", &header, "").await.status, 200);
        let records = edge.records().await;
        assert_eq!(records[0]["code"], "door_path");
        assert_eq!(records[0]["decision"], "deny");
        assert_eq!(records[1]["decision"], "allow");
    })
    .await;
}

#[tokio::test]
async fn a_websocket_opens_for_whom_it_may() {
    each(async |proxy, edge| {
        let token = edge.issuer.token(&json!({}));
        let upgrade = "GET /socket HTTP/1.1\r\nhost: shop.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
        let request = format!("{upgrade}\r\n");
        let mut stream = raw::send(&edge.address, request.as_bytes()).await;
        assert_eq!(raw::head(&mut stream).await.status, 401, "{proxy:?}");
        let request = format!("{upgrade}authorization: Bearer {token}\r\n\r\n");
        let mut stream = raw::send(&edge.address, request.as_bytes()).await;
        assert_eq!(raw::head(&mut stream).await.status, 101, "{proxy:?}");
        stream.write_all(b"!").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'!');
    })
    .await;
}
