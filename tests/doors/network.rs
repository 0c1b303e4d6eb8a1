//! What only the network can tell is asked through these doors as well, and what is in flight is answered before the end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Gate, POLICY};
use crate::support::raw;

const ASKED: [(&str, &str); 5] = [
    ("host", "shop.test"),
    ("x-original-method", "GET"),
    ("x-original-uri", "/orders/7"),
    ("x-forwarded-for", "203.0.113.9"),
    ("authorization", "Bearer opaque-token-of-alice"),
];

/// A server that says whose an opaque token is, once it is let.
async fn server(
    tasks: &mut JoinSet<()>,
    count: &Arc<AtomicU32>,
    held: Arc<tokio::sync::Semaphore>,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::clone(count);
    let answer = move |headers: axum::http::HeaderMap| {
        let (count, held) = (Arc::clone(&count), Arc::clone(&held));
        async move {
            count.fetch_add(1, Ordering::Relaxed);
            let _permit = held.acquire().await.unwrap();
            let good =
                headers.get("authorization").is_some_and(|v| v == "Bearer opaque-token-of-alice");
            let status = if good { 200 } else { 401 };
            (
                axum::http::StatusCode::from_u16(status).unwrap(),
                axum::Json(json!({ "sub": "alice" })),
            )
        }
    };
    let router = axum::Router::new().fallback(answer);
    tasks.spawn(async { axum::serve(listener, router).await.unwrap() });
    base
}

fn provider(base: &str) -> String {
    format!(
        "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\nmetadata: {{ name: sso, namespace: shop }}\n\
         spec:\n  userinfo: {{ url: \"{base}/me\", when: Opaque, refusals: [401], ttl: 60s, negativeTtl: 5s, timeout: 2s }}\n"
    )
}

#[tokio::test]
async fn an_opaque_token_is_asked_about_once_and_remembered() {
    let (mut tasks, count) = (JoinSet::new(), Arc::new(AtomicU32::new(0)));
    let base = server(&mut tasks, &count, Arc::new(tokio::sync::Semaphore::new(9))).await;
    let gate = Gate::start(
        "nginx",
        "edge=127.0.0.1:0",
        &[("policy.yaml", POLICY), ("sso.yaml", &provider(&base))],
    )
    .await;
    for _ in 0..2 {
        let answer = raw::ask(&gate.door, "GET /", &ASKED, "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("x-hopgate-user").unwrap(), "alice");
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);
    let mut other = ASKED;
    other[4].1 = "Bearer opaque-token-of-nobody";
    assert_eq!(raw::ask(&gate.door, "GET /", &other, "").await.status, 401);
    let records = gate.records().await;
    assert_eq!(records.len(), 3);
    assert_eq!(records[2]["code"], "credential_inactive");
}

#[tokio::test]
async fn what_waits_for_the_network_when_the_process_is_told_to_stop_is_still_answered() {
    let (mut tasks, count) = (JoinSet::new(), Arc::new(AtomicU32::new(0)));
    let held = Arc::new(tokio::sync::Semaphore::new(0));
    let base = server(&mut tasks, &count, Arc::clone(&held)).await;
    let gate = Gate::start(
        "nginx",
        "edge=127.0.0.1:0",
        &[("policy.yaml", POLICY), ("sso.yaml", &provider(&base))],
    )
    .await;
    let door = gate.door.clone();
    let answer = tokio::spawn(async move { raw::ask(&door, "GET /", &ASKED, "").await });
    let asked = async || count.load(Ordering::Relaxed) == 1;
    assert!(crate::support::envoy::eventually(asked).await);
    let door = gate.door.clone();
    let ended = Arc::new(Mutex::new(None));
    let stopping = {
        let ended = Arc::clone(&ended);
        tokio::spawn(async move { *ended.lock().unwrap() = Some(gate.records().await) })
    };
    let closed = async || door.connect().await.is_err();
    assert!(crate::support::envoy::eventually(closed).await, "nobody new is let in");
    held.add_permits(1);
    assert_eq!(answer.await.unwrap().status, 200);
    tokio::time::timeout(Duration::from_secs(20), stopping).await.unwrap().unwrap();
    assert_eq!(ended.lock().unwrap().take().unwrap().len(), 1);
}
