//! gRPC for one unary method, straight on HTTP/2.
//!
//! What a general gRPC server does around a message costs several times what judging it costs. Here one task serves a
//! connection: it takes in the requests that have arrived, answers them all, and only then writes, so that a burst of
//! Checks is one write. A Check is answered with a CheckResponse whatever it holds; a gRPC error is for callers that are not
//! asking for a Check at all.

mod call;
mod input;

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Sleep;

use super::ext_authz::Door;
use crate::proto::answer::Answer;
use crate::proto::http2::{self, Event, Fault, Request};
use crate::runtime::{Place, Usage};
use input::Input;

/// Answers that wait to be sent, in bytes, beyond which no more requests are taken.
const MOST_UNSENT: usize = 64 * 1024;
/// A peer that takes nothing of what it is sent for so long is cut.
const STALLED: Duration = Duration::from_secs(60);
/// How long a peer may take for what it has to finish: its greeting, a request, room for an answer. Longer than any proxy waits
/// for an answer. It is looked at as often, so it may take up to twice as long.
const UNFINISHED: Duration = Duration::from_secs(10);

/// Serves one connection until the peer closes it; once it has to leave its place, no new request is taken.
pub(super) async fn serve(
    service: impl Door,
    socket: impl AsyncRead + AsyncWrite + Unpin,
    (place, room): (Place, http2::Room),
) {
    let drain = place.leave();
    let limit = service.limits().max_request_bytes;
    let mut serving = Serving {
        http2: http2::Connection::new(call::check(limit), room, now()),
        service,
        socket,
        input: Input::new(),
        is_at_end: false,
        judging: Judging { futures: FuturesUnordered::new(), by_stream: HashMap::new() },
        place,
        read: now(),
        usage: Usage::Mute,
        stalled: None,
        unfinished: None,
        fault: None,
    };
    let mut begun = pin!(drain.begun());
    let mut drains = false;
    let ended = poll_fn(|context| {
        drains = drains || begun.as_mut().poll(context).is_ready();
        serving.poll(context, drains)
    });
    let ended = match ended.await {
        Ok(()) => serving.socket.shutdown().await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "ext_authz connection ended");
    }
}

/// One connection.
struct Serving<D, S> {
    service: D,
    socket: S,
    http2: http2::Connection,
    input: Input,
    /// The peer sends nothing more.
    is_at_end: bool,
    judging: Judging,
    place: Place,
    /// When something was last read.
    read: Instant,
    /// Whether something was asked, and when: never that something is.
    usage: Usage,
    /// Set while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Set where the peer has had something to finish: for a while rather than from one request to the next.
    unfinished: Option<Pin<Box<Sleep>>>,
    /// What the peer did that ends the connection.
    fault: Option<Fault>,
}

/// An answer to come, and the stream that it is for.
type Later = Pin<Box<dyn Future<Output = (u32, Answer)> + Send>>;

/// Requests that wait for something. One that is given up is dropped.
struct Judging {
    futures: FuturesUnordered<Abortable<Later>>,
    by_stream: HashMap<u32, AbortHandle>,
}

impl<D: Door, S: AsyncRead + AsyncWrite + Unpin> Serving<D, S> {
    fn poll(&mut self, context: &mut Context<'_>, drains: bool) -> Poll<io::Result<()>> {
        loop {
            if let Poll::Ready(ended) = self.turn(context, drains) {
                return Poll::Ready(ended);
            }
            let is_busy = !self.judging.by_stream.is_empty();
            self.place.tell(if is_busy { Usage::Busy } else { self.usage });
            ready!(self.hurry(context));
        }
    }

    /// Takes in what has come, answers it and sends the answers, until nothing more comes.
    fn turn(&mut self, context: &mut Context<'_>, drains: bool) -> Poll<io::Result<()>> {
        loop {
            self.take();
            while let Poll::Ready(Some(judged)) = self.judging.futures.poll_next_unpin(context) {
                if let Ok((stream, answer)) = judged {
                    self.judging.by_stream.remove(&stream);
                    self.http2.tick(now());
                    self.http2.answer(stream, answer.as_bytes());
                }
            }
            // Then there may be requests in the input which were not taken.
            let was_full = self.is_full();
            let sent = self.send(context)?;
            if let (Poll::Ready(()), Some(fault)) = (sent, self.fault) {
                return Poll::Ready(Err(io::Error::other(fault)));
            }
            if was_full {
                ready!(sent);
                continue;
            }
            let takes_more = !self.is_at_end && !self.http2.is_over();
            if takes_more && let Poll::Ready(length) = self.input.fill(&mut self.socket, context) {
                self.is_at_end = length? == 0;
                self.read = now();
                self.http2.tick(self.read);
                continue;
            }
            ready!(sent);
            if !takes_more {
                return Poll::Ready(Ok(()));
            }
            // Not before: what was sent when the drain began is served, were it the first that is read here.
            if drains {
                self.http2.tick(now());
                self.http2.drain();
            }
            if self.http2.out().is_empty() {
                return Poll::Pending;
            }
        }
    }

    /// Ends what the peer does not finish. Ready once there is something to send for that.
    fn hurry(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.unfinished.is_none() {
                if !self.http2.is_unfinished(self.judging.by_stream.len()) {
                    return Poll::Pending;
                }
                self.unfinished = Some(Box::pin(tokio::time::sleep(UNFINISHED)));
            }
            let Some(sleep) = &mut self.unfinished else { return Poll::Pending };
            ready!(sleep.as_mut().poll(context));
            self.unfinished = None;
            let (now, sent) = (now(), self.http2.out().len());
            self.http2.tick(now);
            let since = now.checked_sub(UNFINISHED).unwrap_or(now);
            self.fault = self.http2.end_unfinished(since).err().or(self.fault);
            if self.http2.out().len() > sent {
                return Poll::Ready(());
            }
        }
    }

    /// Answers the requests that are in the input, and keeps those that cannot be answered yet.
    fn take(&mut self) {
        let mut bytes = self.input.bytes();
        let limit = self.service.limits().max_request_bytes;
        while self.http2.out().len() < MOST_UNSENT {
            match self.http2.next(&mut bytes) {
                Ok(None) => break,
                Ok(Some(Event::Request(request))) => {
                    self.usage = Usage::Idle(self.read.into());
                    let began = Instant::now();
                    let message = call::message(&request, limit);
                    match guarded(|| self.service.at_once(message, began)) {
                        Ok(answer) => self.http2.answer(request.stream, answer.as_bytes()),
                        Err(open) => self.judging.add(&self.service, request, (open, began)),
                    }
                }
                Ok(Some(Event::GivenUp(stream))) => self.judging.give_up(stream),
                Err(fault) => {
                    self.fault = Some(fault);
                    bytes = &[];
                    break;
                }
            }
        }
        let left = bytes.len();
        self.input.leave(left);
    }

    fn is_full(&self) -> bool {
        self.http2.out().len() >= MOST_UNSENT
    }

    /// Sends what there is. A peer that takes none of it for long is cut.
    fn send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.http2.out().is_empty() {
            let Poll::Ready(sent) =
                Pin::new(&mut self.socket).poll_write(context, self.http2.out())
            else {
                let wait = || Box::pin(tokio::time::sleep(STALLED));
                let stalled = self.stalled.get_or_insert_with(wait);
                ready!(stalled.as_mut().poll(context));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            };
            self.stalled = None;
            match sent? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.http2.sent(length),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Judging {
    fn add<D: Door>(
        &mut self,
        service: &D,
        request: Request<'_>,
        (open, began): (D::Open, Instant),
    ) {
        let limits = service.limits();
        let head = tokio::time::Instant::from_std(request.began);
        let deadline = head + call::patience(request.timeout, limits.longest_wait);
        let (service, stream) = (service.clone(), request.stream);
        let request = Request { body: request.body.into_owned().into(), ..request };
        let later: Later = Box::pin(async move {
            let message = call::message(&request, limits.max_request_bytes);
            let answer = service.later(message, open, (began, deadline));
            (stream, total(answer).await)
        });
        let (handle, registration) = AbortHandle::new_pair();
        self.futures.push(Abortable::new(later, registration));
        self.by_stream.insert(stream, handle);
    }

    fn give_up(&mut self, stream: u32) {
        if let Some(handle) = self.by_stream.remove(&stream) {
            handle.abort();
        }
    }
}

/// The time of tokio, which tests can set.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What looking at a question came to, or a refusal where that panicked: without any answer, Envoy's failure mode would decide.
fn guarded<O>(look: impl FnOnce() -> Result<Answer, O>) -> Result<Answer, O> {
    // Doors share only what is replaced whole or grows by whole entries.
    catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|_| Ok(Answer::fault()))
}

/// The same for an answer that is waited for.
async fn total(answer: impl Future<Output = Answer>) -> Answer {
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| Answer::fault())
}

#[cfg(test)]
mod tests;
