//! Frames as bytes: RFC 9113, sections 4 and 6.

/// The head of every frame.
pub(super) const HEAD: usize = 9;
/// The largest payload that is taken: what every peer may send without having asked (section 4.2).
pub(super) const MAX_PAYLOAD: usize = 16_384;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const HAS_PRIORITY: u8 = 0x20;

/// Why a stream or a connection ends: RFC 9113, section 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Nothing is wrong.
    NoError = 0x0,
    /// The peer broke the protocol.
    Protocol = 0x1,
    /// The peer sent more than its window allows, or made ours too large.
    FlowControl = 0x3,
    /// A frame on a stream that had ended.
    StreamClosed = 0x5,
    /// A frame that is too long, or of a length that its type does not have.
    FrameSize = 0x6,
    /// The stream was refused before anything was done for it.
    RefusedStream = 0x7,
    /// The stream is not needed any more.
    Cancel = 0x8,
    /// The state of the header compression is lost.
    Compression = 0x9,
    /// The peer asks for too much work.
    EnhanceYourCalm = 0xb,
}

/// What ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why} ({code:?})")]
pub struct Fault {
    /// What the peer was told.
    pub code: Code,
    /// What was wrong.
    pub why: &'static str,
}

pub(super) const fn fault(code: Code, why: &'static str) -> Fault {
    Fault { code, why }
}

/// One frame, borrowed from what was received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    flags: u8,
    pub(super) stream: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Takes the next whole frame off `input`; nothing while it is not whole.
    #[inline]
    pub(super) fn split(input: &mut &'a [u8]) -> Result<Option<Self>, Fault> {
        let Some((head, rest)) = input.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [l1, l2, l3, kind, flags, s1, s2, s3, s4] = *head;
        let length = (usize::from(l1) << 16) | (usize::from(l2) << 8) | usize::from(l3);
        if length > MAX_PAYLOAD {
            return Err(fault(Code::FrameSize, "a frame is longer than 16384 bytes"));
        }
        let Some((payload, rest)) = rest.split_at_checked(length) else { return Ok(None) };
        *input = rest;
        // The first bit has no meaning (section 4.1).
        let stream = u32::from_be_bytes([s1, s2, s3, s4]) & 0x7fff_ffff;
        Ok(Some(Self { kind, flags, stream, payload }))
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload without its padding, of a frame that may have some.
    #[inline]
    pub(super) fn unpadded(&self) -> Result<&'a [u8], Fault> {
        if !self.has(PADDED) {
            return Ok(self.payload);
        }
        let inner = self.payload.split_first().and_then(|(padding, rest)| {
            rest.len().checked_sub(usize::from(*padding)).and_then(|length| rest.get(..length))
        });
        inner.ok_or(fault(Code::Protocol, "the padding is longer than the frame"))
    }

    /// The payload of a frame that has exactly this length.
    pub(super) fn exactly<const N: usize>(&self) -> Result<[u8; N], Fault> {
        let wrong = fault(Code::FrameSize, "a frame has a length that its type does not have");
        self.payload.try_into().map_err(|_| wrong)
    }
}

/// Appends the head of a frame.
#[inline]
pub(super) fn put_head(out: &mut Vec<u8>, length: usize, (kind, flags): (u8, u8), stream: u32) {
    // No payload of ours is longer than the peer's MAX_FRAME_SIZE, which is below 2^24.
    let [_, l1, l2, l3] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let [s1, s2, s3, s4] = stream.to_be_bytes();
    out.extend_from_slice(&[l1, l2, l3, kind, flags, s1, s2, s3, s4]);
}

/// Appends a frame.
pub(super) fn put(out: &mut Vec<u8>, kind: (u8, u8), stream: u32, payload: &[u8]) {
    put_head(out, payload.len(), kind, stream);
    out.extend_from_slice(payload);
}

pub(super) fn put_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    put(out, (WINDOW_UPDATE, 0), stream, &increment.to_be_bytes());
}

pub(super) fn put_reset(out: &mut Vec<u8>, stream: u32, code: Code) {
    put(out, (RST_STREAM, 0), stream, &(code as u32).to_be_bytes());
}

pub(super) fn put_goaway(out: &mut Vec<u8>, last: u32, code: Code, why: &str) {
    put_head(out, 8 + why.len(), (GOAWAY, 0), 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&(code as u32).to_be_bytes());
    out.extend_from_slice(why.as_bytes());
}
