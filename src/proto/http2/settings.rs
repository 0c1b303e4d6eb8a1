//! Settings: RFC 9113, section 6.5.

use super::block::LONGEST;
use super::flow::LARGEST;
use super::frame::{self, Code, Fault, MAX_PAYLOAD, SETTINGS, fault, put_window_update};

/// Many streams on one connection, which is what a proxy opens.
pub(super) const MAX_STREAMS: u32 = 4096;
/// Room for a usual request with a body, per stream, and for many of them per connection.
pub(super) const STREAM_WINDOW: u32 = 1024 * 1024;
pub(super) const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// What every window is until something else is agreed on.
pub(super) const USUAL_WINDOW: u32 = 65_535;
/// The size of the decoder's dynamic table: the one that needs no setting.
pub(super) const TABLE: usize = 4096;

const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;

/// What the peer takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) window: u32,
    pub(super) max_payload: usize,
}

impl Peer {
    pub(super) fn new() -> Self {
        Self { window: USUAL_WINDOW, max_payload: MAX_PAYLOAD }
    }

    /// What it takes after this frame. The size of its header table does not matter: nothing is put there. Neither do the
    /// number of streams that we might open, and how many fields it reads: answers have a handful.
    pub(super) fn after(mut self, payload: &[u8]) -> Result<Self, Fault> {
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(fault(Code::FrameSize, "settings of a length that they cannot have"));
        }
        for [n1, n2, v1, v2, v3, v4] in settings {
            let value = u32::from_be_bytes([*v1, *v2, *v3, *v4]);
            match u16::from_be_bytes([*n1, *n2]) {
                ENABLE_PUSH if value > 1 => {
                    return Err(fault(Code::Protocol, "ENABLE_PUSH is neither 0 nor 1"));
                }
                INITIAL_WINDOW_SIZE if value > LARGEST => {
                    return Err(fault(Code::FlowControl, "INITIAL_WINDOW_SIZE is too large"));
                }
                INITIAL_WINDOW_SIZE => self.window = value,
                MAX_FRAME_SIZE => {
                    let size = usize::try_from(value).unwrap_or(usize::MAX);
                    if !(MAX_PAYLOAD..1 << 24).contains(&size) {
                        return Err(fault(Code::Protocol, "MAX_FRAME_SIZE is out of range"));
                    }
                    self.max_payload = size;
                }
                _ => {}
            }
        }
        Ok(self)
    }
}

/// What the peer is told first.
pub(super) fn greet(out: &mut Vec<u8>) {
    // Larger lists are taken, if their blocks are not.
    let list = u32::try_from(LONGEST).unwrap_or(LARGEST);
    let mut payload = Vec::new();
    for (name, value) in [
        (MAX_CONCURRENT_STREAMS, MAX_STREAMS),
        (INITIAL_WINDOW_SIZE, STREAM_WINDOW),
        (MAX_HEADER_LIST_SIZE, list),
    ] {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame::put(out, (SETTINGS, 0), 0, &payload);
    put_window_update(out, 0, CONNECTION_WINDOW - USUAL_WINDOW);
}
