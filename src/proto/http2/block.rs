//! Header blocks in parts: RFC 9113, section 4.3.

use std::time::Instant;

use super::frame::{Code, END_HEADERS, END_STREAM, Fault, Frame, HAS_PRIORITY, fault};

/// The longest block, compressed. An Envoy that traces passes on what its client sent as `tracestate`, whatever its size: were
/// that too much, a client could end the connection on which all others are judged.
pub(super) const LONGEST: usize = 256 * 1024;
/// Frames without bytes do not make it longer, but there could be many.
const MOST_PARTS: usize = 32;

/// A block of which more is to come; nothing else may come before (section 6.10).
#[derive(Debug)]
pub(super) struct Part {
    stream: u32,
    bytes: Vec<u8>,
    parts: usize,
    pub(super) began: Instant,
    /// Nothing follows the block.
    pub(super) ends: bool,
}

impl Part {
    pub(super) fn new(stream: u32, fragment: &[u8], (ends, began): (bool, Instant)) -> Self {
        Self { stream, bytes: fragment.to_vec(), parts: 1, began, ends }
    }

    /// With the next frame; `Ok` once it is whole.
    pub(super) fn with(mut self, frame: &Frame<'_>) -> Result<Result<Self, Self>, Fault> {
        if frame.kind != super::frame::CONTINUATION || frame.stream != self.stream {
            return Err(fault(Code::Protocol, "a frame amid a header block"));
        }
        self.parts += 1;
        if self.parts > MOST_PARTS || self.bytes.len() + frame.payload.len() > LONGEST {
            return Err(fault(Code::EnhanceYourCalm, "a header block is too long"));
        }
        self.bytes.extend_from_slice(frame.payload);
        Ok(if frame.has(END_HEADERS) { Ok(self) } else { Err(self) })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn stream(&self) -> u32 {
        self.stream
    }
}

/// The part of a block in a HEADERS frame, and whether the stream ends with it.
pub(super) fn first<'a>(frame: &Frame<'a>) -> Result<(&'a [u8], bool), Fault> {
    // Streams of clients have odd numbers (section 5.1.1).
    if frame.stream.is_multiple_of(2) {
        return Err(fault(Code::Protocol, "a header block on a stream that no client opens"));
    }
    let mut fragment = frame.unpadded()?;
    if frame.has(HAS_PRIORITY) {
        // Priorities were given up (section 5.3.2).
        let Some((_, rest)) = fragment.split_first_chunk::<5>() else {
            return Err(fault(Code::FrameSize, "a frame has a length that its type does not have"));
        };
        fragment = rest;
    }
    Ok((fragment, frame.has(END_STREAM)))
}
