//! The admin page of the Envoy beside this sidecar.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use http::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::mesh::Endpoint;

/// An Envoy on the same machine that takes longer is stuck.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);
const MAX_PAGE: usize = 16 * 1024 * 1024;

/// Why there is no answer.
pub(super) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Asks for a page, or to do something.
pub(super) async fn ask(admin: &Endpoint, method: Method, page: &str) -> Result<Bytes, Failed> {
    let answer = async {
        match admin {
            Endpoint::Tcp(address) => {
                exchange(TcpStream::connect(address).await?, method, page).await
            }
            Endpoint::Unix(path) => exchange(UnixStream::connect(path).await?, method, page).await,
        }
    };
    tokio::time::timeout(DEADLINE, answer).await.map_err(|_| Failed::from("no answer"))?
}

async fn exchange<S>(stream: S, method: Method, page: &str) -> Result<Bytes, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder().method(method).uri(page);
    let request = request.header(http::header::HOST, "localhost").body(Body::empty())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("status {}", response.status()).into());
        }
        Ok::<_, Failed>(to_bytes(Body::new(response.into_body()), MAX_PAGE).await?)
    };
    let drive = async {
        drop(connection.await);
        // What it brought is still to be read.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        page = exchange => page,
        () = drive => Err("closed".into()),
    }
}
