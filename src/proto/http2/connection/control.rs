//! Frames that carry no part of a request: RFC 9113, sections 6.4, 6.5, 6.7 and 6.9.

use std::time::{Duration, Instant};

use super::{Connection, Event, Phase, Stream};
use crate::proto::http2::flow::LARGEST;
use crate::proto::http2::frame::{self, ACK, Code, Fault, Frame, fault};

/// How long what was wasted counts.
pub(super) const FORGIVEN: Duration = Duration::from_secs(1);
/// How many frames that bring no request nearer may come in that time: pings, settings, resets, empty parts. A proxy that gives up all it asked for, twice a second, stays below.
const MOST_WASTE: u32 = 10_000;
/// What a frame wastes where every open stream has to be looked at for it.
const COSTLY: u32 = 10;
/// The ping whose answer shows that a peer has read the first of two GOAWAY frames (section 6.8).
pub(super) const LAST_CALL: [u8; 8] = *b"lastcall";

impl Connection {
    /// Lets requests in flight finish, and takes no new ones once the peer knows.
    pub fn drain(&mut self) {
        match self.phase {
            Phase::Open => {
                frame::put_goaway(&mut self.out, LARGEST, Code::NoError, "");
                frame::put(&mut self.out, (frame::PING, 0), 0, &LAST_CALL);
                self.phase = Phase::LastCall(self.now);
            }
            Phase::Preface(_) | Phase::Greeting => {
                frame::put_goaway(&mut self.out, 0, Code::NoError, "");
                self.phase = Phase::Leaving(0);
            }
            Phase::LastCall(_) | Phase::Leaving(_) | Phase::Failed => {}
        }
    }

    /// True once nothing more will come of this connection but what is in [`Self::out`].
    #[must_use]
    pub fn is_over(&self) -> bool {
        let leaves = self.peer_leaves || matches!(self.phase, Phase::Leaving(_));
        self.phase == Phase::Failed || (leaves && self.streams.count() == 0)
    }

    /// Tells when that was received which [`Self::next`] takes from now on. What the peer wasted counts for a second.
    pub fn tick(&mut self, now: Instant) {
        self.now = now;
        if now.saturating_duration_since(self.forgiven) >= FORGIVEN {
            self.forgiven = now;
            self.waste = 0;
        }
    }

    pub(super) fn settings(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        if frame.stream != 0 {
            return Err(fault(Code::Protocol, "SETTINGS on a stream"));
        }
        self.waste(COSTLY)?;
        if frame.has(ACK) {
            return frame.exactly::<0>().map(|_| ());
        }
        let after = self.peer.after(frame.payload)?;
        if after.window != self.peer.window {
            let difference = i64::from(after.window) - i64::from(self.peer.window);
            let too_large = fault(Code::FlowControl, "a window becomes too large");
            self.streams.shift(difference).ok_or(too_large)?;
        }
        self.peer = after;
        // The peer learns first that its settings count, then what comes of them (section 6.5.3).
        frame::put(&mut self.out, (frame::SETTINGS, ACK), 0, &[]);
        self.streams.send(&mut self.out, &mut self.sending, (self.peer, self.now));
        Ok(())
    }

    pub(super) fn ping(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let content = frame.exactly::<8>()?;
        if frame.stream != 0 {
            return Err(fault(Code::Protocol, "PING on a stream"));
        }
        self.waste(1)?;
        if !frame.has(ACK) {
            frame::put(&mut self.out, (frame::PING, ACK), 0, &content);
        } else if matches!(self.phase, Phase::LastCall(_)) && content == LAST_CALL {
            self.leave();
        }
        Ok(())
    }

    /// Takes no new requests.
    pub(super) fn leave(&mut self) {
        frame::put_goaway(&mut self.out, self.last, Code::NoError, "");
        self.phase = Phase::Leaving(self.last);
    }

    pub(super) fn window_update<'a>(
        &mut self,
        frame: &Frame<'a>,
    ) -> Result<Option<Event<'a>>, Fault> {
        let increment = u32::from_be_bytes(frame.exactly()?) & LARGEST;
        let id = frame.stream;
        if id == 0 {
            if increment == 0 {
                return Err(fault(Code::Protocol, "a window is enlarged by nothing"));
            }
            let too_large = fault(Code::FlowControl, "a window becomes too large");
            self.sending.add(i64::from(increment)).ok_or(too_large)?;
        } else if self.is_idle(id) {
            return Err(fault(Code::Protocol, "a window of a stream that was never opened"));
        } else if increment == 0 {
            return self.reset(id, Code::Protocol);
        } else if self.streams.enlarge(id, increment).is_none() {
            return self.reset(id, Code::FlowControl);
        }
        self.streams.send(&mut self.out, &mut self.sending, (self.peer, self.now));
        Ok(None)
    }

    pub(super) fn given_up<'a>(&mut self, frame: &Frame<'a>) -> Result<Option<Event<'a>>, Fault> {
        let [..] = frame.exactly::<4>()?;
        if self.is_idle(frame.stream) {
            return Err(fault(Code::Protocol, "a reset of a stream that was never opened"));
        }
        self.waste(1)?;
        let stream = self.streams.close(frame.stream);
        Ok(stream.filter(Stream::is_asked).map(|_| Event::GivenUp(frame.stream)))
    }

    /// Counts what brings no request nearer.
    pub(super) fn waste(&mut self, count: u32) -> Result<(), Fault> {
        self.waste = self.waste.saturating_add(count);
        if self.waste > MOST_WASTE {
            return Err(fault(Code::EnhanceYourCalm, "too many frames that ask for nothing"));
        }
        Ok(())
    }
}
