//! A load generator that costs little itself, so that the server is never idle: HTTP/2 frames made once and sent in bulk over
//! a blocking unix socket. It speaks just enough of RFC 9113 for one kind of request, and keeps both flow-control windows.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use prost::Message as _;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frame types and flags of RFC 9113, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

pub struct Load {
    stream: UnixStream,
    in_flight: usize,
    headers: Vec<u8>,
    /// gRPC messages with their five-byte prefix, sent in turn.
    messages: Vec<Vec<u8>>,
    next_message: usize,
    next_stream: u32,
    /// What the server lets us send on the connection.
    window: i64,
    received: VecDeque<u8>,
    /// An answer that was found to allow; equal ones need no second look.
    allowing: Vec<u8>,
}

impl Load {
    /// Messages are sent in turn, beginning with the one at `first`, `in_flight` at once.
    pub fn new(socket: &Path, messages: &[Vec<u8>], first: usize, in_flight: usize) -> Self {
        let framed = |message: &Vec<u8>| {
            let mut framed = vec![0];
            framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
            framed.extend_from_slice(message);
            framed
        };
        let mut stream = UnixStream::connect(socket).unwrap();
        let mut hello = PREFACE.to_vec();
        // INITIAL_WINDOW_SIZE as large as it may be, and the connection's window too: answers are never held back.
        let largest = 0x7fff_ffff_u32;
        put_frame(&mut hello, SETTINGS, 0, 0, &[&[0, 4][..], &largest.to_be_bytes()].concat());
        put_frame(&mut hello, WINDOW_UPDATE, 0, 0, &(largest - 65_535).to_be_bytes());
        stream.write_all(&hello).unwrap();
        Self {
            stream,
            in_flight,
            headers: header_block(),
            messages: messages.iter().map(framed).collect(),
            next_message: first,
            next_stream: 1,
            window: 65_535,
            received: VecDeque::new(),
            allowing: Vec::new(),
        }
    }

    /// Sends this many Checks and returns how many were allowed.
    pub fn run(&mut self, checks: usize) -> usize {
        let (mut sent, mut ended, mut allowed) = (0, 0, 0);
        let mut out = Vec::new();
        let mut buffer = vec![0; 256 * 1024];
        let longest = self.messages.iter().map(Vec::len).max().unwrap();
        let longest = i64::try_from(longest).unwrap();
        while ended < checks {
            while sent < checks && sent - ended < self.in_flight && self.window >= longest {
                let message = &self.messages[self.next_message % self.messages.len()];
                put_frame(&mut out, HEADERS, END_HEADERS, self.next_stream, &self.headers);
                put_frame(&mut out, DATA, END_STREAM, self.next_stream, message);
                self.window -= i64::try_from(message.len()).unwrap();
                self.next_message += 1;
                self.next_stream += 2;
                sent += 1;
            }
            self.stream.write_all(&out).unwrap();
            out.clear();
            let length = self.stream.read(&mut buffer).unwrap();
            assert_ne!(length, 0, "the server closed the connection");
            self.received.extend(&buffer[..length]);
            while let Some((kind, flags, payload)) = self.next_frame() {
                match kind {
                    DATA if !payload.is_empty() => allowed += usize::from(self.allows(&payload)),
                    WINDOW_UPDATE => self.window += window_increment(&payload),
                    SETTINGS if flags & ACK == 0 => put_frame(&mut out, SETTINGS, ACK, 0, &[]),
                    PING if flags & ACK == 0 => put_frame(&mut out, PING, ACK, 0, &payload),
                    RST_STREAM | GOAWAY => panic!("the server refused: frame {kind} {payload:?}"),
                    _ => {}
                }
                ended += usize::from(matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0);
            }
        }
        allowed
    }

    /// The next whole frame: type, flags, payload. Updates of one stream's window do not matter: each message is
    /// smaller than the initial one.
    fn next_frame(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        let head: Vec<u8> = self.received.iter().take(9).copied().collect();
        let [a, b, c, kind, flags, s1, s2, s3, s4] = head.try_into().ok()?;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap();
        if self.received.len() < 9 + length {
            return None;
        }
        self.received.drain(..9);
        let payload: Vec<u8> = self.received.drain(..length).collect();
        let of_stream = u32::from_be_bytes([s1, s2, s3, s4]) != 0;
        let kind = if kind == WINDOW_UPDATE && of_stream { u8::MAX } else { kind };
        Some((kind, flags, payload))
    }

    fn allows(&mut self, payload: &[u8]) -> bool {
        if payload == self.allowing {
            return true;
        }
        let response = CheckResponse::decode(&payload[5..]).unwrap();
        let allows = response.status.as_ref().is_some_and(|status| status.code == 0);
        if allows {
            self.allowing = payload.to_vec();
        }
        allows
    }
}

fn window_increment(payload: &[u8]) -> i64 {
    i64::from(u32::from_be_bytes(payload.try_into().unwrap()) & 0x7fff_ffff)
}

fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The header fields that Envoy sends with a Check, as HPACK literals that are never indexed (RFC 7541, section 6.2.3), so
/// that the block is the same for every request.
fn header_block() -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/envoy.service.auth.v3.Authorization/Check"),
        (":authority", "hopgate"),
        ("te", "trailers"),
        ("grpc-timeout", "1000m"),
        ("content-type", "application/grpc"),
        ("x-envoy-internal", "true"),
        ("x-forwarded-for", "10.1.2.3"),
        ("x-envoy-expected-rq-timeout-ms", "1000"),
    ] {
        block.push(0x10);
        for text in [name, value] {
            // Lengths below 127 take one byte.
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}
