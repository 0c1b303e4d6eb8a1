//! An application that says what reached it, and echoes a websocket's bytes.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Serves until the tasks are dropped.
pub async fn mirror(tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(answer);
    tasks.spawn(async { axum::serve(listener, router).await.unwrap() });
    address
}

async fn answer(mut request: Request<Body>) -> Response<Body> {
    if request.headers().contains_key("upgrade") {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = hyper_util::rt::TokioIo::new(upgraded.await.unwrap());
            let byte = stream.read_u8().await.unwrap();
            stream.write_all(&[byte]).await.unwrap();
        });
        let switching = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        let switching = switching.header("connection", "upgrade").header("upgrade", "websocket");
        return switching.body(Body::empty()).unwrap();
    }
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let mut headers = Map::new();
    for name in parts.headers.keys() {
        let lines = parts.headers.get_all(name).iter();
        let lines: Vec<Value> =
            lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into()).collect();
        headers.insert(name.to_string(), lines.into());
    }
    let seen = json!({
        "method": parts.method.as_str(),
        "uri": parts.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    Response::builder()
        .header("content-type", "application/json")
        .body(Body::from(seen.to_string()))
        .unwrap()
}
