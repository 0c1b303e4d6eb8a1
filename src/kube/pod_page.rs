//! Pages that a process in a pod serves: asked through the API server, by a port that it forwards (`pods/portforward`).
//!
//! So they are reached as by `kubectl port-forward`: whatever the network policies, and on loopback inside of the pod, where
//! admin pages answer that answer nobody else.

use std::time::Duration;

use axum::body::Body;
use http::{Request, header};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Clocks, NotSeen, Viewer};
use crate::runtime::with_causes;

/// From the question to the whole answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// All sidecars of a large mesh fit into this.
const MAX_PAGE: usize = 32 * 1024 * 1024;

/// What a process in a pod answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// The text.
    pub text: String,
    /// Its clock and ours.
    pub clocks: Option<Clocks>,
}

impl Viewer {
    /// Asks a pod (namespace and name) for a page.
    ///
    /// # Errors
    /// When the port is not forwarded, or what answers there is no HTTP.
    pub async fn page(
        &self,
        (namespace, name): (&str, &str),
        port: u16,
        path: &str,
    ) -> Result<Page, NotSeen> {
        let asked = async {
            let pods: Api<Pod> = Api::namespaced(self.cluster().client(), namespace);
            let mut forwarded = pods.portforward(name, &[port]).await.map_err(not_forwarded)?;
            let failed = forwarded.take_error(port);
            let stream = forwarded.take_stream(port);
            let stream = stream.ok_or_else(|| unreached("the port is not forwarded"))?;
            let page = tokio::select! {
                page = self.ask_page(stream, path) => page,
                Some(words) = said(failed) => Err(unreached(words.trim())),
            };
            forwarded.abort();
            page
        };
        let answered = tokio::time::timeout(PATIENCE, asked).await;
        answered.unwrap_or_else(|_| Err(unreached(&format!("no answer within {PATIENCE:?}"))))
    }

    async fn ask_page<S>(&self, stream: S, path: &str) -> Result<Page, NotSeen>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let words = |error: &dyn std::error::Error| unreached(&with_causes(error));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| words(&error))?;
        let request = Request::get(path)
            // Admin pages answer to local names only.
            .header(header::HOST, "localhost")
            .header(header::CONNECTION, "close")
            .body(Body::empty())
            .map_err(|error| words(&error))?;
        let asked = self.clock().now();
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| words(&error))?;
            let clocks = Clocks::read(response.headers(), (asked, self.clock().now()));
            let status = response.status().as_u16();
            let body = axum::body::to_bytes(Body::new(response.into_body()), MAX_PAGE).await;
            let body = body.map_err(|error| words(&error))?;
            let text = String::from_utf8_lossy(&body).into_owned();
            Ok(Page { status, text, clocks })
        };
        let drive = async {
            // The answer that it brought is still to be taken.
            drop(connection.await);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            page = exchange => page,
            () = drive => Err(unreached("the connection ended")),
        }
    }
}

/// What the API server says of a port that is forwarded, once it says anything; nothing if it never does.
async fn said(failed: Option<impl Future<Output = Option<String>>>) -> Option<String> {
    failed?.await
}

fn unreached(words: &str) -> NotSeen {
    NotSeen::Unreached(words.to_owned())
}

fn not_forwarded(error: kube::Error) -> NotSeen {
    match error {
        kube::Error::Api(status) => {
            NotSeen::Refused { status: status.code, message: status.message.clone() }
        }
        other => unreached(&with_causes(&other)),
    }
}
