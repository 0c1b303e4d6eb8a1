//! Answers as frames, of bytes that are the same each time.
//!
//! Header blocks use no dynamic table, so the size of the peer's does not matter (RFC 7541, section 6.2.2).

use super::frame::{DATA, END_HEADERS, END_STREAM, HEADERS, put, put_head};

/// A gRPC message is led by a compression flag and its length.
pub(super) const PREFIX: usize = 5;

/// `:status: 200` and `content-type: application/grpc`.
const HEAD: &[u8] = b"\x88\x0f\x10\x10application/grpc";
/// `grpc-status: 0`.
const TRAILERS: &[u8] = b"\x00\x0bgrpc-status\x010";
/// The same head, with `grpc-status: 12` and a text.
const NOT_SERVED: &[u8] =
    b"\x88\x0f\x10\x10application/grpc\x00\x0bgrpc-status\x0212\x00\x0cgrpc-message";

/// The head of an answer whose message follows.
#[inline]
pub(super) fn put_start(out: &mut Vec<u8>, stream: u32) {
    put(out, (HEADERS, END_HEADERS), stream, HEAD);
}

/// The message in one frame.
#[inline]
pub(super) fn put_whole(out: &mut Vec<u8>, stream: u32, message: &[u8]) {
    put_head(out, PREFIX + message.len(), (DATA, 0), stream);
    out.extend_from_slice(&prefix(message));
    out.extend_from_slice(message);
}

/// A part of the message and its prefix.
pub(super) fn put_part(out: &mut Vec<u8>, stream: u32, part: &[u8]) {
    put(out, (DATA, 0), stream, part);
}

/// What says that it is whole.
#[inline]
pub(super) fn put_end(out: &mut Vec<u8>, stream: u32) {
    put(out, (HEADERS, END_HEADERS | END_STREAM), stream, TRAILERS);
}

/// A gRPC error without a message: headers that are trailers.
pub(super) fn put_not_served(out: &mut Vec<u8>, stream: u32, text: &str) {
    let mut block = NOT_SERVED.to_vec();
    // A length below 127 takes one byte.
    let text = text.get(..text.len().min(126)).unwrap_or_default();
    block.push(u8::try_from(text.len()).unwrap_or(0));
    block.extend_from_slice(text.as_bytes());
    put(out, (HEADERS, END_HEADERS | END_STREAM), stream, &block);
}

pub(super) fn prefix(message: &[u8]) -> [u8; PREFIX] {
    // An answer is some kilobytes at most. Were it longer than can be said, it must not be taken for an empty one.
    let [l1, l2, l3, l4] = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [0, l1, l2, l3, l4]
}
