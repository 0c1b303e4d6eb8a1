//! A listener of ours as axum wants it.

use std::io;
use std::time::Duration;

use super::{Address, Connection, Listener};

/// Serves HTTP on a [`Listener`]. A connection that cannot be accepted never ends the server.
pub struct HttpListener(pub Listener);

impl axum::serve::Listener for HttpListener {
    type Io = Connection;
    type Addr = Option<Address>;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.0.accept().await {
                Ok(connection) => return (connection, None),
                Err(error) => {
                    // Out of file descriptors, for example: others may close some.
                    tracing::warn!(%error, "HTTP connection not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.address().map(Some)
    }
}
