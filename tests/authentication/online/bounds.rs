//! One question for many, and bounds on how many there are.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::parts::{Process, Server, active, json as says, providers};

fn introspection(base: &str, more: &str) -> String {
    format!("introspection: {{ url: {base}/introspect, auth: none{more} }}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_who_ask_the_same_ask_once() {
    let server = Server::saying(&active());
    let base = server.plain().await;
    let process = Arc::new(Process::new(&introspection(&base, ", timeout: 20s"), &[]));
    server.hold();
    let asks: Vec<_> = (0..1000)
        .map(|n| {
            let process = Arc::clone(&process);
            tokio::spawn(async move { process.code(["one", "two"][n % 2]).await })
        })
        .collect();
    server.was_asked(2).await;
    assert_eq!(process.resolver.counts().out, 2);
    server.release();
    for ask in asks {
        assert_eq!(ask.await.unwrap(), "allow");
    }
    assert_eq!(server.asked(), 2, "one question for each of two tokens");
    assert_eq!(process.resolver.counts().out, 0);
    assert_eq!(process.resolver.counts().asked, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_comes_as_the_answer_does_asks_no_second_time() {
    let server = Server::saying(&active());
    let base = server.plain().await;
    let process = Arc::new(Process::new(&introspection(&base, ""), &[]));
    for round in 0..50 {
        let asks = (0..50).map(|_| {
            let process = Arc::clone(&process);
            tokio::spawn(async move { process.code(&format!("t{round}")).await })
        });
        for ask in join_all(asks).await {
            assert_eq!(ask.unwrap(), "allow");
        }
        assert_eq!(server.asked(), round + 1);
    }
}

#[tokio::test]
async fn whoever_stops_waiting_takes_no_answer_from_the_others() {
    let server = Server::saying(&active());
    let base = server.plain().await;
    let mut process = Process::new(&introspection(&base, ", timeout: 20s"), &[]);
    server.hold();
    process.patience = Duration::from_millis(50);
    assert_eq!(process.code("t").await, "server_timeout");
    process.patience = Duration::from_secs(20);
    let (code, ()) = tokio::join!(process.code("t"), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.release();
    });
    assert_eq!(code, "allow");
    assert_eq!(server.asked(), 1, "it waited for the question of the first");
}

#[tokio::test]
async fn an_answer_that_comes_too_late_for_one_is_there_for_the_next() {
    let server = Server::saying(&active());
    let base = server.plain().await;
    let mut process = Process::new(&introspection(&base, ", timeout: 20s"), &[]);
    server.hold();
    process.patience = Duration::from_millis(50);
    assert_eq!(process.code("t").await, "server_timeout");
    server.release();
    // Nobody waits for it any more.
    super::parts::eventually(|| process.resolver.counts().out == 0).await;
    assert_eq!(process.code("t").await, "allow");
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn an_endpoint_that_is_slower_than_all_who_ask_is_noticed() {
    let server = Server::saying(&active());
    let base = server.plain().await;
    let mut process = Process::new(&introspection(&base, ", timeout: 200ms"), &[]);
    server.hold();
    process.patience = Duration::from_millis(20);
    for n in 0..5 {
        assert_eq!(process.code(&format!("t{n}")).await, "server_timeout");
    }
    super::parts::eventually(|| process.resolver.counts().out == 0).await;
    assert_eq!(process.code("t9").await, "server_resting");
    assert_eq!(server.asked(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_endpoint_takes_no_places_from_the_others() {
    let (slow, quick) = (Server::saying(&active()), Server::saying(&active()));
    let (slow_base, quick_base) = (slow.plain().await, quick.plain().await);
    let from = |header: &str| format!("\nfrom: [{{ header: {header} }}]");
    let specs = [
        ("slow", introspection(&slow_base, ", timeout: 20s") + from("x-slow").as_str()),
        ("quick", introspection(&quick_base, ", timeout: 20s") + from("x-quick").as_str()),
    ];
    let specs: Vec<(&str, &str)> = specs.iter().map(|(name, spec)| (*name, &**spec)).collect();
    let process = Arc::new(Process::of(providers(&specs, &[])));
    slow.hold();
    let ask = |n: u32| {
        let process = Arc::clone(&process);
        tokio::spawn(async move {
            let answer = process.in_header("x-slow", &format!("t{n}")).await;
            answer.map_or_else(|refused| refused.code(), |_| "allow")
        })
    };
    let waiting: Vec<_> = (0..256).map(ask).collect();
    super::parts::eventually(|| process.resolver.counts().out == 256).await;
    assert_eq!(ask(256).await.unwrap(), "server_overloaded");
    // Joining a question that is out takes no place.
    let joined = ask(3);
    assert_eq!(process.in_header("x-quick", "t").await.as_deref(), Ok("ann"));
    slow.release();
    for asked in waiting.into_iter().chain([joined]) {
        assert_eq!(asked.await.unwrap(), "allow");
    }
    assert_eq!(ask(257).await.unwrap(), "allow", "there is room again");
    assert_eq!(process.resolver.counts().failed["server_overloaded"], 1);
}

#[tokio::test]
async fn tokens_that_an_endpoint_chokes_on_shut_it_for_nobody() {
    let server = Server::new(|question| match question.form()["token"].split_once('-') {
        Some((status, _)) => says(status.parse().unwrap(), &json!({ "error": "odd" })),
        None => says(200, &active()),
    });
    let base = server.plain().await;
    let process = Process::new(&introspection(&base, ""), &[]);
    for status in [400, 403, 404, 422, 500] {
        for n in 0..10 {
            let token = format!("{status}-{n}");
            assert!(process.code(&token).await.starts_with("server_"), "{token}");
        }
        assert_eq!(process.code(&format!("good{status}")).await, "allow", "after {status}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_down_rests_and_heals_by_itself() {
    for status in [401, 429, 502, 503, 504] {
        let server = Server::new(move |_| says(status, &json!({})));
        let base = server.plain().await;
        let process = Process::new(&introspection(&base, ""), &[]);
        for n in 0..30 {
            assert_ne!(process.code(&format!("t{n}")).await, "allow");
        }
        assert_eq!(server.asked(), 5, "{status}: it is left alone");
        assert_eq!(process.resolver.counts().failed["server_resting"], 25);
        server.judges(|_| says(200, &active()));
        assert_eq!(process.code("t98").await, "server_resting");
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(process.code("t99").await, "allow", "{status}: tried again");
        assert_eq!(process.code("t100").await, "allow");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let process = Process::new(&introspection(&base, ""), &[]);
    assert_eq!(process.code("t").await, "server_unreachable");
}
