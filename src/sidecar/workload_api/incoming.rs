//! Accepted connections, each with what the kernel says of its caller.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::transport::server::Connected;

use super::authority::Authorities;
use super::callers::{Callers, Permitted};
use crate::runtime::{Connection, Listener};

/// Open connections of callers that are admitted.
const MAX_CONNECTIONS: usize = 128;
/// Open connections of strangers. They are few and short, and have places of their own: nobody who is refused can keep
/// the workload out.
const MAX_STRANGERS: usize = 16;
/// Long enough for a stranger to be told that it gets nothing.
const STRANGER: Duration = Duration::from_secs(10);

/// What is known of the caller of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller(pub(super) Option<Permitted>);

/// One connection.
pub(super) struct Attested {
    connection: Connection,
    caller: Caller,
    authorities: Authorities,
    ends: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

pub(super) fn incoming(
    listener: Listener,
    callers: Callers,
) -> impl Stream<Item = io::Result<Attested>> {
    let places = Places {
        callers,
        permitted: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        strangers: Arc::new(Semaphore::new(MAX_STRANGERS)),
    };
    let places = Arc::new(places);
    listener
        .incoming()
        .then(move |accepted| {
            let places = Arc::clone(&places);
            async move { places.seat(accepted).await }
        })
        .filter_map(|attested| std::future::ready(attested.map(Ok)))
}

struct Places {
    callers: Callers,
    permitted: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

impl Places {
    async fn seat(&self, accepted: io::Result<Connection>) -> Option<Attested> {
        let connection = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a Workload API connection");
                // Without a pause, a process out of file descriptors would spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
                return None;
            }
        };
        // A caller that cannot be told is a stranger.
        let user = connection.peer_user().ok().flatten();
        let permitted = user.and_then(|user| self.callers.admit(user));
        let (places, ends) = match permitted {
            Some(_) => (&self.permitted, None),
            None => {
                tracing::warn!(
                    caller.uid = user.map(|user| user.uid),
                    caller.gid = user.map(|user| user.gid),
                    "a caller of the Workload API is not listed in workloadApi.callers"
                );
                (&self.strangers, Some(Box::pin(tokio::time::sleep(STRANGER))))
            }
        };
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            tracing::warn!("too many Workload API connections, closing a new one");
            return None;
        };
        let (caller, authorities) = (Caller(permitted), Authorities::new());
        Some(Attested { connection, caller, authorities, ends, _place: place })
    }
}

impl Connected for Attested {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller
    }
}

impl AsyncRead for Attested {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(ends) = &mut this.ends
            && ends.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.connection).poll_read(cx, buffer))?;
        this.authorities.amend(buffer.filled_mut().get_mut(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Attested {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write(cx, buffer)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}
