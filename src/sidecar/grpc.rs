//! gRPC for one unary method, straight on HTTP/2.
//!
//! What a general gRPC server does around a message costs several times what judging it costs. Here one task serves a
//! connection: it takes in every request that has arrived, answers them all, and only then writes, so that a burst of
//! Checks is one write. A Check is answered with a CheckResponse whatever it holds; a gRPC error is for callers that are not
//! asking for a Check at all.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};

use super::ExtAuthz;
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
pub(super) async fn serve(service: ExtAuthz, connection: Connection, drain: Drain) {
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
    service: ExtAuthz,
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
async fn answer(service: ExtAuthz, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    if request.uri().path() != CHECK {
        return refuse(respond, "12", "only envoy.service.auth.v3.Authorization/Check is served");
    }
    let received = receive(request.into_body(), PREFIX + service.max_request_bytes()).await;
    match received {
        Ok(received) => match message(&received) {
            Some(message) => reply(respond, &service.check(message)),
            None => refuse(respond, "12", "compressed messages are not supported"),
        },
        Err(error) => tracing::debug!(%error, "a Check was not received"),
    }
}

/// The body, cut at `limit`: what is larger cannot be decoded then, which is a denial.
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

/// The message behind its prefix; `None` when it is compressed. A length that does not fit what came leaves something that
/// cannot be decoded, or nothing at all: each is a denial.
fn message(received: &[u8]) -> Option<&[u8]> {
    let Some((prefix, rest)) = received.split_at_checked(PREFIX) else { return Some(&[]) };
    let [flag, a, b, c, d] = prefix else { return Some(&[]) };
    if *flag != 0 {
        return None;
    }
    let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
    Some(if length == rest.len() { rest } else { &[] })
}

fn reply(mut respond: SendResponse<Bytes>, answer: &[u8]) {
    let mut framed = BytesMut::with_capacity(PREFIX + answer.len());
    framed.put_u8(0);
    // An answer is some kilobytes at most.
    framed.put_u32(u32::try_from(answer.len()).unwrap_or_default());
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
