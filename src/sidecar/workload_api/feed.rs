//! One stream: the latest state now, and again whenever it says something else.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::Status;
use zeroize::Zeroizing;

use super::api::{Standing, no_identity, stopping};
use super::counts::OpenStream;
use crate::identity::WorkloadIdentity;
use crate::runtime::Drain;

/// The messages of one stream.
pub(super) type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;
/// Draws a message from an identity.
pub(super) type Draw<M> = fn(&WorkloadIdentity) -> Result<M, Status>;

/// What a stream is made of. A message is drawn only when the caller can take one, so a slow caller skips what was
/// replaced meanwhile, and nothing is kept for it but a digest.
pub(super) struct Feed<M> {
    pub(super) standing: Standing,
    pub(super) drain: Drain,
    pub(super) draw: Draw<M>,
    pub(super) _open: (OwnedSemaphorePermit, OpenStream),
}

struct Running<M> {
    feed: Feed<M>,
    identity: watch::Receiver<Option<Arc<WorkloadIdentity>>>,
    sent: Option<Vec<u8>>,
}

impl<M: Message + Send + 'static> Feed<M> {
    pub(super) fn into_stream(self) -> Messages<M> {
        let identity = self.standing.subscribe();
        let running = Running { feed: self, identity, sent: None };
        Box::pin(stream::unfold(Some(running), |running| async move {
            let mut running = running?;
            match running.next().await {
                Ok(message) => Some((Ok(message), Some(running))),
                Err(status) => Some((Err(status), None)),
            }
        }))
    }
}

impl<M: Message> Running<M> {
    async fn next(&mut self) -> Result<M, Status> {
        loop {
            if self.feed.drain.has_begun() {
                return Err(stopping());
            }
            let shown = self.identity.borrow_and_update().clone();
            match self.feed.standing.of(shown)? {
                Some(identity) => {
                    if let Some(message) = self.unsent(&identity)? {
                        return Ok(message);
                    }
                }
                // What was handed out counts no more.
                None if self.sent.is_some() => return Err(no_identity()),
                None => {}
            }
            tokio::select! {
                () = self.feed.drain.begun() => {}
                changed = self.identity.changed() => if changed.is_err() { return Err(stopping()) },
            }
        }
    }

    /// A certificate can change without the roots, and the other way round.
    fn unsent(&mut self, identity: &WorkloadIdentity) -> Result<Option<M>, Status> {
        let message = (self.feed.draw)(identity)?;
        let encoded = Zeroizing::new(message.encode_to_vec());
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &encoded);
        if self.sent.as_deref() == Some(digest.as_ref()) {
            return Ok(None);
        }
        self.sent = Some(digest.as_ref().to_vec());
        Ok(Some(message))
    }
}
