//! The server against the `h2` client, which nobody here wrote.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::io::{AsyncReadExt as _, duplex};
use tokio::task::{JoinHandle, JoinSet};

mod misuse;

use super::*;
use crate::authz::Malformed;
use crate::proto::answer::{RefusalStatus, deny};
use crate::proto::http2::Room;
use crate::runtime::Drain;
use crate::sidecar::ext_authz::CheckLimits;

const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Does what the first byte of a message says.
#[derive(Clone, Default)]
struct Said {
    /// How many questions are being waited for.
    waiting: Arc<AtomicUsize>,
}

/// Counts while it lives.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Door for Said {
    type Open = ();

    fn limits(&self) -> CheckLimits {
        CheckLimits { max_request_bytes: 4 << 20, longest_wait: LONGEST_WAIT }
    }

    fn at_once(&self, message: Result<&[u8], Malformed>, _: Instant) -> Result<Answer, ()> {
        match message {
            Ok([b'n', rest @ ..]) => Ok(about(rest)),
            Ok([b'p', ..]) => panic!("on purpose"),
            Ok(_) => Err(()),
            Err(malformed) => Ok(text(&malformed.to_string())),
        }
    }

    async fn later(
        &self,
        message: Result<&[u8], Malformed>,
        (): (),
        (_, deadline): (Instant, tokio::time::Instant),
    ) -> Answer {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _counted = Counted(self.waiting.clone());
        tokio::task::yield_now().await;
        match message {
            Ok([b'l', rest @ ..]) => about(rest),
            Ok([b'q', ..]) => panic!("on purpose"),
            Ok([b'd', ..]) => text(&format!("{:?}", deadline - tokio::time::Instant::now())),
            Ok([b'b', ..]) => text(&"large".repeat(40_000)),
            _ => std::future::pending().await,
        }
    }
}

/// The length of a message, and its sum.
fn about(message: &[u8]) -> Answer {
    text(&format!("{} {}", message.len(), message.iter().map(|b| u64::from(*b)).sum::<u64>()))
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// A client, and the end of the server and of the client's connection.
struct Peer {
    client: SendRequest<Bytes>,
    server: JoinHandle<()>,
    connection: JoinHandle<Result<(), h2::Error>>,
    door: Said,
    drain: Drain,
}

async fn start(builder: &h2::client::Builder) -> Peer {
    let (door, drain) = (Said::default(), Drain::default());
    let (ours, theirs) = duplex(1 << 20);
    let server = spawn(serve(door.clone(), ours, alone(drain.clone())));
    let (client, connection) = builder.handshake(theirs).await.unwrap();
    Peer { client, server, connection: spawn(connection), door, drain }
}

#[expect(clippy::disallowed_methods, reason = "a test waits for its tasks by hand")]
fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(task)
}

/// A place and room that are nobody else's.
fn alone(drain: Drain) -> (Place, Room) {
    (Place::alone(drain), Room::new(1 << 26))
}

fn post(path: &str, timeout: Option<&str>) -> Request<()> {
    let mut request = Request::post(format!("http://authz{path}")).header("te", "trailers");
    if let Some(timeout) = timeout {
        request = request.header("grpc-timeout", timeout);
    }
    request.body(()).unwrap()
}

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// What a client says first: its preface, and no settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The message of an answer, and what follows it.
async fn ask(
    client: &SendRequest<Bytes>,
    body: Vec<u8>,
    timeout: Option<&str>,
) -> (Vec<u8>, HeaderMap) {
    let mut client = client.clone().ready().await.unwrap();
    let (response, mut stream) = client.send_request(post(CHECK, timeout), false).unwrap();
    stream.send_data(body.into(), true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/grpc");
    let mut body = response.into_body();
    let mut received = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.unwrap();
        body.flow_control().release_capacity(part.len()).unwrap();
        received.extend_from_slice(&part);
    }
    let (prefix, message) = received.split_at(5);
    assert_eq!(prefix, &framed(message)[..5]);
    (message.to_vec(), body.trailers().await.unwrap().unwrap_or_default())
}

/// The answer to a question, which is one for certain.
async fn answer(client: &SendRequest<Bytes>, message: &[u8]) -> Vec<u8> {
    let (answer, trailers) = ask(client, framed(message), None).await;
    assert_eq!(trailers["grpc-status"], "0");
    answer
}

#[tokio::test]
async fn many_questions_of_all_sizes_get_their_own_answers() {
    let peer = start(&h2::client::Builder::new()).await;
    let mut asked = JoinSet::new();
    for at in 0..600_usize {
        let client = peer.client.clone();
        asked.spawn(async move {
            let size = [0, 10, 2_000, 16_378, 16_379, 16_380, 70_000][at % 7] + at;
            let mut message = vec![u8::try_from(at % 251).unwrap(); size];
            message.insert(0, if at % 3 == 0 { b'l' } else { b'n' });
            assert_eq!(answer(&client, &message).await, about(&message[1..]).as_bytes());
        });
    }
    while let Some(ended) = asked.join_next().await {
        ended.unwrap();
    }
    let large = vec![b'n'; (4 << 20) - 1];
    assert_eq!(answer(&peer.client, &large).await, about(&large[1..]).as_bytes());
    let too_large = vec![b'n'; 5 << 20];
    let refused = text(&Malformed::TooLarge.to_string());
    assert_eq!(answer(&peer.client, &too_large).await, refused.as_bytes());
    let (broken, _) = ask(&peer.client, b"\0\0\0".to_vec(), None).await;
    assert_eq!(broken, text(&Malformed::Framing.to_string()).as_bytes());
    let (nothing, _) = ask(&peer.client, Vec::new(), None).await;
    assert_eq!(nothing, broken);
}

/// One frame.
fn frame((kind, flags): (u8, u8), stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A burst of small requests has answers beyond what is kept at once: none is forgotten, also where the peer says no more.
#[tokio::test]
async fn every_request_of_a_burst_is_answered_once() {
    let (ours, mut theirs) = duplex(1 << 20);
    let server = spawn(serve(Said::default(), ours, alone(Drain::default())));
    let mut bytes = HELLO.to_vec();
    bytes.extend(frame((8, 0), 0, &(1_u32 << 24).to_be_bytes()));
    let length = u8::try_from(CHECK.len()).unwrap();
    let block = [&[0x83, 0x86, 0x04, length][..], CHECK.as_bytes()].concat();
    let streams = (1..6000).step_by(2);
    for stream in streams.clone() {
        bytes.extend(frame((1, 4), stream, &block));
        bytes.extend(frame((0, 1), stream, &framed(b"nx")));
    }
    theirs.write_all(&bytes).await.unwrap();
    theirs.shutdown().await.unwrap();
    let mut answers = Vec::new();
    theirs.read_to_end(&mut answers).await.unwrap();
    server.await.unwrap();
    let (mut rest, mut messages, mut ended) = (&answers[..], HashMap::new(), Vec::new());
    while let Some((head, behind)) = rest.split_first_chunk::<9>() {
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let (payload, behind) = behind.split_at(length);
        match (head[3], head[4]) {
            (0, _) => assert!(messages.insert(stream, payload).is_none()),
            (1, 5) => ended.push(stream),
            _ => {}
        }
        rest = behind;
    }
    assert_eq!(ended, streams.collect::<Vec<u32>>());
    let expected = framed(about(b"x").as_bytes());
    assert!(ended.iter().all(|stream| messages[stream] == expected));
}

#[tokio::test]
async fn answers_wait_for_the_peers_windows() {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(7).initial_connection_window_size(65_535).max_frame_size(16_384);
    let peer = start(&builder).await;
    let large = text(&"large".repeat(40_000));
    let small = about(b"x");
    let (a, b, c) = tokio::join!(
        answer(&peer.client, b"b"),
        answer(&peer.client, b"nx"),
        answer(&peer.client, b"b")
    );
    assert!(a == large.as_bytes() && b == small.as_bytes() && c == large.as_bytes());
}

#[tokio::test]
async fn a_panic_refuses_one_question() {
    let peer = start(&h2::client::Builder::new()).await;
    for message in [b"p", b"q"] {
        assert_eq!(answer(&peer.client, message).await, Answer::fault().as_bytes());
    }
    assert_eq!(answer(&peer.client, b"nx").await, about(b"x").as_bytes());
}

#[tokio::test]
async fn only_checks_are_served() {
    let peer = start(&h2::client::Builder::new()).await;
    for ends in [true, false] {
        let mut client = peer.client.clone().ready().await.unwrap();
        let request = post("/envoy.service.auth.v3.Authorization/check", None);
        let (response, _stream) = client.send_request(request, ends).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "12");
        let only = "only envoy.service.auth.v3.Authorization/Check is served";
        assert_eq!(response.headers()["grpc-message"], only);
    }
    let with_query = post("/envoy.service.auth.v3.Authorization/Check?a", None);
    let (response, mut stream) =
        peer.client.clone().ready().await.unwrap().send_request(with_query, false).unwrap();
    stream.send_data(framed(b"nx").into(), true).unwrap();
    assert!(!response.await.unwrap().headers().contains_key("grpc-status"));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_the_callers_or_our_own() {
    let peer = start(&h2::client::Builder::new()).await;
    for (timeout, expected) in
        [(Some("200m"), "180ms"), (Some("1H"), "5s"), (Some("never"), "5s"), (None, "5s")]
    {
        let (answer, _) = ask(&peer.client, framed(b"d"), timeout).await;
        assert_eq!(answer, text(expected).as_bytes(), "{timeout:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_counts_from_the_head_of_a_request() {
    let peer = start(&h2::client::Builder::new()).await;
    let mut client = peer.client.clone().ready().await.unwrap();
    let (response, mut stream) = client.send_request(post(CHECK, Some("200m")), false).unwrap();
    settle().await;
    tokio::time::advance(Duration::from_millis(50)).await;
    let message = Bytes::from(framed(b"d"));
    stream.send_data(message.slice(..3), false).unwrap();
    settle().await;
    tokio::time::advance(Duration::from_millis(70)).await;
    stream.send_data(message.slice(3..), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap()[5..], *text("60ms").as_bytes());
}

/// Lets all tasks run until nothing changes any more.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_given_up_is_dropped() {
    let peer = start(&h2::client::Builder::new()).await;
    let waiting = || peer.door.waiting.load(Ordering::SeqCst);
    let mut open = Vec::new();
    for _ in 0..50 {
        let mut client = peer.client.clone().ready().await.unwrap();
        let (response, mut stream) = client.send_request(post(CHECK, None), false).unwrap();
        stream.send_data(framed(b"wait").into(), true).unwrap();
        open.push((response, stream));
    }
    settle().await;
    assert_eq!(waiting(), 50);
    for (_, stream) in &mut open[..20] {
        stream.send_reset(h2::Reason::CANCEL);
    }
    settle().await;
    assert_eq!(waiting(), 30);
    assert_eq!(answer(&peer.client, b"lx").await, about(b"x").as_bytes(), "others go on");
    peer.connection.abort();
    peer.server.await.unwrap();
    assert_eq!(peer.door.waiting.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_drain_lets_requests_in_flight_finish() {
    let peer = start(&h2::client::Builder::new()).await;
    let mut client = peer.client.clone().ready().await.unwrap();
    let (response, mut stream) = client.send_request(post(CHECK, None), false).unwrap();
    stream.send_data(Bytes::from(framed(b"nx")).slice(..3), false).unwrap();
    settle().await;
    peer.drain.begin();
    settle().await;
    assert!(!peer.server.is_finished());
    stream.send_data(Bytes::from(framed(b"nx")).slice(3..), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap()[5..], *about(b"x").as_bytes());
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    peer.server.await.unwrap();
    peer.connection.await.unwrap().unwrap();
    let refused =
        client.ready().await.and_then(|mut client| client.send_request(post(CHECK, None), true));
    assert!(refused.is_err(), "no new request is taken");
}

/// What was sent is served, even if nothing of it was read before the drain began.
#[tokio::test]
async fn a_request_that_was_sent_before_a_drain_is_answered() {
    let (ours, theirs) = duplex(1 << 20);
    let (mut client, connection) = h2::client::handshake(theirs).await.unwrap();
    let connection = spawn(connection);
    let (response, mut stream) = client.send_request(post(CHECK, None), false).unwrap();
    stream.send_data(framed(b"nx").into(), true).unwrap();
    settle().await;
    let drain = Drain::default();
    drain.begin();
    let server = spawn(serve(Said::default(), ours, alone(drain)));
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap()[5..], *about(b"x").as_bytes());
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    server.await.unwrap();
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_connection_drains_at_once() {
    let peer = start(&h2::client::Builder::new()).await;
    settle().await;
    peer.drain.begin();
    peer.server.await.unwrap();
    peer.connection.await.unwrap().unwrap();
    // One on which nothing was said.
    let drain = Drain::default();
    let (ours, mut theirs) = duplex(1000);
    let server = spawn(serve(Said::default(), ours, alone(drain.clone())));
    settle().await;
    drain.begin();
    server.await.unwrap();
    let mut rest = Vec::new();
    theirs.read_to_end(&mut rest).await.unwrap();
}

/// An answer that says something.
fn text(text: &str) -> Answer {
    deny(RefusalStatus::Forbidden, &[], text, &[])
}
