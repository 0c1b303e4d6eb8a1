//! A connection that remembers whether its next question is answered at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use crate::runtime::Connection;

/// Whether the next question of a connection is answered at once: the first one, because Envoy opens its listeners only
/// after the answer, and the one after a refusal, because it asks whether all is well again.
#[derive(Debug, Clone)]
pub(in crate::sidecar) struct Prompt(Arc<AtomicBool>);

/// A connection of Envoy.
pub(in crate::sidecar) struct Asking {
    connection: Connection,
    prompt: Prompt,
}

impl Prompt {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// The next one is answered at once.
    pub(super) fn next(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether this one is; the next one is not.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

impl Asking {
    pub(in crate::sidecar) fn new(connection: Connection) -> Self {
        Self { connection, prompt: Prompt::new() }
    }
}

impl Connected for Asking {
    type ConnectInfo = Prompt;

    fn connect_info(&self) -> Prompt {
        self.prompt.clone()
    }
}

impl AsyncRead for Asking {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Asking {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}
