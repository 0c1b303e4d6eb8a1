//! gRPC for one unary method, straight on HTTP/2.
//!
//! What a general gRPC server does around a message costs several times what judging it costs. Here one task serves a
//! connection: it takes in every request that has arrived, answers them all, and only then writes, so that a burst of
//! Checks is one write. A Check is answered with a CheckResponse whatever it holds; a gRPC error is for callers that are not
//! asking for a Check at all.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};

use super::ext_authz::Door;
use crate::authz::Malformed;
use crate::proto::answer::Answer;
use crate::runtime::{Connection, Drain};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// Envoy opens one connection per worker with many streams on it.
const MAX_STREAMS: u32 = 4096;
/// Room for a usual CheckRequest with a body, per stream, and for many of them per connection.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
const MAX_HEADER_LIST: u32 = 32 * 1024;
/// A gRPC message is led by a compression flag and its length.
const PREFIX: usize = 5;

/// Serves one connection until the peer closes it; once the drain begins, no new request is taken.
pub(super) async fn serve(service: impl Door, connection: Connection, drain: Drain) {
    let handshake = h2::server::Builder::new()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .handshake(connection);
    let connection: h2::server::Connection<Connection, Bytes> = match handshake.await {
        Ok(connection) => connection,
        Err(error) => return tracing::debug!(%error, "no HTTP/2 on an ext_authz connection"),
    };
    if let Err(error) = answer_all(service, connection, drain).await {
        tracing::debug!(%error, "ext_authz connection ended");
    }
}

async fn answer_all(
    service: impl Door,
    mut connection: h2::server::Connection<Connection, Bytes>,
    drain: Drain,
) -> Result<(), h2::Error> {
    let mut answers = FuturesUnordered::new();
    let mut begun = pin!(drain.begun());
    let mut draining = false;
    poll_fn(|context: &mut Context<'_>| {
        loop {
            if !draining && begun.as_mut().poll(context).is_ready() {
                draining = true;
                connection.graceful_shutdown();
            }
            // Reads all that has come, and writes all that was answered in the last turn.
            while let Poll::Ready(accepted) = connection.poll_accept(context) {
                match accepted {
                    Some(Ok((request, respond))) => {
                        answers.push(answer(service.clone(), request, respond));
                    }
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => return Poll::Ready(Ok(())),
                }
            }
            let mut answered = false;
            while let Poll::Ready(Some(())) = answers.poll_next_unpin(context) {
                answered = true;
            }
            if !answered {
                return Poll::Pending;
            }
        }
    })
    .await
}

/// Answers one request. A caller that goes away ends it.
async fn answer(service: impl Door, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    if request.uri().path() != CHECK {
        return refuse(respond, "12", "only envoy.service.auth.v3.Authorization/Check is served");
    }
    let began = Instant::now();
    let limits = service.limits();
    let deadline = tokio::time::Instant::now() + patience(request.headers(), limits.longest_wait);
    let limit = limits.max_request_bytes;
    let received = match receive(request.into_body(), PREFIX + limit + 1).await {
        Ok(received) => received,
        Err(error) => return tracing::debug!(%error, "a Check was not received"),
    };
    let answer = total(service.answer(message(&received, limit), (began, deadline))).await;
    reply(respond, answer.as_bytes());
}

/// The answer, or a refusal where making it panicked: without any, Envoy's failure mode would decide.
async fn total(answer: impl Future<Output = Answer>) -> Answer {
    // Doors share only what is replaced whole or grows by whole entries.
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| Answer::fault())
}

/// How long an answer may take: what Envoy waits, less what the way back takes, and never longer than `longest`.
fn patience(headers: &HeaderMap, longest: Duration) -> Duration {
    let timeout = headers.get("grpc-timeout").and_then(|value| value.to_str().ok());
    match timeout.and_then(read_timeout) {
        Some(timeout) => longest.min(timeout.mul_f64(0.9)),
        None => longest,
    }
}

/// At most eight digits and a unit.
fn read_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// The body, cut at `limit`: nothing behind it is kept, and what is left no longer fits its prefix.
async fn receive(mut body: RecvStream, limit: usize) -> Result<Bytes, h2::Error> {
    let Some(first) = body.data().await.transpose()? else { return Ok(Bytes::new()) };
    body.flow_control().release_capacity(first.len())?;
    if body.is_end_stream() {
        return Ok(first);
    }
    let mut all = BytesMut::from(first);
    while let Some(chunk) = body.data().await.transpose()? {
        body.flow_control().release_capacity(chunk.len())?;
        let room = limit.saturating_sub(all.len());
        all.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
    }
    Ok(all.freeze())
}

/// The one message behind its prefix. Whatever else there is cannot be judged, and is denied.
fn message(received: &[u8], limit: usize) -> Result<&[u8], Malformed> {
    let Some(([flag, length @ ..], message)) = received.split_first_chunk::<PREFIX>() else {
        return Err(Malformed::Framing);
    };
    if *flag != 0 {
        return Err(Malformed::Compressed);
    }
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    match (length > limit, length == message.len()) {
        (false, true) => Ok(message),
        // What is too large was cut behind the limit.
        (true, _) if message.len() > limit => Err(Malformed::TooLarge),
        (true | false, _) => Err(Malformed::Framing),
    }
}

fn reply(mut respond: SendResponse<Bytes>, answer: &[u8]) {
    let mut framed = BytesMut::with_capacity(PREFIX + answer.len());
    framed.put_u8(0);
    // An answer is some kilobytes at most. Were it longer than can be said, it must not be taken for an empty one.
    framed.put_u32(u32::try_from(answer.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(answer);
    let sent = respond.send_response(head(), false).and_then(|mut stream| {
        stream.send_data(framed.freeze(), false)?;
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        stream.send_trailers(trailers)
    });
    if let Err(error) = sent {
        tracing::debug!(%error, "an answer was not sent");
    }
}

/// A gRPC error without a message: headers that are trailers.
fn refuse(mut respond: SendResponse<Bytes>, status: &'static str, text: &'static str) {
    let mut response = head();
    response.headers_mut().insert("grpc-status", HeaderValue::from_static(status));
    response.headers_mut().insert("grpc-message", HeaderValue::from_static(text));
    if let Err(error) = respond.send_response(response, true) {
        tracing::debug!(%error, "a refusal was not sent");
    }
    respond.send_reset(Reason::NO_ERROR);
}

fn head() -> Response<()> {
    let mut response = Response::new(());
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::answer::{Mutations, allow};

    #[tokio::test]
    async fn a_door_that_panics_refuses() {
        assert_eq!(total(async { panic!("on purpose") }).await, Answer::fault());
        let answer = allow(&Mutations::default(), &[]);
        assert_eq!(total(async { answer.clone() }).await, answer);
    }
}
