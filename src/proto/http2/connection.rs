//! One connection: RFC 9113, sections 3.4, 5 and 6.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::answer::{PREFIX, put_end, put_not_served, put_start, put_whole};
use super::block::{self, Part};
use super::flow::{Receiving, Sending};
use super::frame::{self, ACK, Code, END_HEADERS, END_STREAM, Fault, Frame, fault};
use super::head::Head;
use super::hpack::Decoder;
use super::room::Room;
use super::settings::{self, Peer};
use super::streams::{Stream, Streams};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much of a list of fields is looked at. What is needed of it stands at its begin.
const LOOKED_AT: usize = 32 * 1024;

/// The one method that is served.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// Its path.
    pub path: &'static str,
    /// What a caller of another one is told: printable ASCII without `%`, at most 126 bytes.
    pub only: &'static str,
    /// How many bytes of a request are kept, with the prefix of its message. The rest is dropped.
    pub max_request: usize,
}

/// What the peer wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole request. It waits for [`Connection::answer`].
    Request(Request<'a>),
    /// The peer gave up a request that waits for its answer. None is needed any more.
    GivenUp(u32),
}

/// A whole request.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The stream that it came on.
    pub stream: u32,
    /// When its head came: [`Connection::tick`] said so.
    pub began: Instant,
    /// How long the caller waits from then on, as it said.
    pub timeout: Option<Duration>,
    /// The body, borrowed where it came in one piece: a message and its prefix, if it is as it should be.
    pub body: Cow<'a, [u8]>,
    /// The body was dropped: other requests hold too much.
    pub is_cut: bool,
}

/// How far the peer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// So many bytes of the preface were seen.
    Preface(usize),
    /// Settings come next.
    Greeting,
    Open,
    /// The peer was told to go, then, and has not said that it heard it.
    LastCall(Instant),
    /// Streams behind this one are ignored.
    Leaving(u32),
    Failed,
}

/// The server side of one connection.
#[derive(Debug)]
pub struct Connection {
    method: Method,
    phase: Phase,
    decoder: Decoder,
    part: Option<Part>,
    streams: Streams,
    /// The last stream that the peer opened.
    last: u32,
    /// The last of those that were ended from here before the peer did: frames may have been on their way.
    last_cut: u32,
    peer: Peer,
    peer_leaves: bool,
    receiving: Receiving,
    sending: Sending,
    waste: u32,
    began: Instant,
    now: Instant,
    /// When the peer was last forgiven what it wasted.
    forgiven: Instant,
    out: Vec<u8>,
}

impl Connection {
    /// A connection on which nothing was said yet, and which keeps bodies and answers in this room.
    #[must_use]
    pub fn new(method: Method, room: Room, now: Instant) -> Self {
        let mut out = Vec::new();
        settings::greet(&mut out);
        Self {
            method,
            phase: Phase::Preface(0),
            decoder: Decoder::new(settings::TABLE),
            part: None,
            streams: Streams::new(room),
            last: 0,
            last_cut: 0,
            peer: Peer::new(),
            peer_leaves: false,
            receiving: Receiving::new(settings::CONNECTION_WINDOW),
            sending: Sending::new(settings::USUAL_WINDOW),
            waste: 0,
            began: now,
            now,
            forgiven: now,
            out,
        }
    }

    /// Takes whole frames off `input` up to the next event; nothing once more bytes are needed.
    ///
    /// # Errors
    /// When the connection cannot go on. The peer is told so by what is in [`Self::out`]; later input is left.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, Fault> {
        if self.phase == Phase::Failed {
            return Ok(None);
        }
        self.advance(input).inspect_err(|fault| self.fail(*fault))
    }

    /// Answers a request with one message. Does nothing if the peer has given it up.
    #[inline]
    pub fn answer(&mut self, stream: u32, message: &[u8]) {
        let (id, length) = (stream, PREFIX + message.len());
        let Some(stream) = self.streams.close(id) else { return };
        put_start(&mut self.out, id);
        let room = stream.sending.room().min(self.sending.room()).min(self.peer.max_payload);
        if length <= room {
            put_whole(&mut self.out, id, message);
            put_end(&mut self.out, id);
            self.sending.take(length);
        } else {
            self.streams.wait((id, self.now), stream, message);
            self.streams.send(&mut self.out, &mut self.sending, (self.peer, self.now));
        }
    }

    /// What is to be sent.
    #[must_use]
    pub fn out(&self) -> &[u8] {
        &self.out
    }

    /// So much of it was sent. Answers that waited for it may come next.
    pub fn sent(&mut self, length: usize) {
        self.out.drain(..length.min(self.out.len()));
        if self.out.is_empty() {
            self.streams.send(&mut self.out, &mut self.sending, (self.peer, self.now));
        }
    }

    fn fail(&mut self, fault: Fault) {
        self.phase = Phase::Failed;
        frame::put_goaway(&mut self.out, self.last, fault.code, fault.why);
    }

    fn advance<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, Fault> {
        if let Phase::Preface(seen) = self.phase {
            let expected = PREFACE.get(seen..).unwrap_or_default();
            let here = expected.len().min(input.len());
            let (begin, rest) = input.split_at_checked(here).unwrap_or_default();
            if !expected.starts_with(begin) {
                return Err(fault(Code::Protocol, "no HTTP/2 preface"));
            }
            *input = rest;
            self.phase = Phase::Preface(seen + here);
            if here < expected.len() {
                return Ok(None);
            }
            self.phase = Phase::Greeting;
        }
        while let Some(frame) = Frame::split(input)? {
            if let Some(event) = self.take(&frame)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn take<'a>(&mut self, frame: &Frame<'a>) -> Result<Option<Event<'a>>, Fault> {
        if self.phase == Phase::Greeting {
            if frame.kind != frame::SETTINGS || frame.has(ACK) {
                return Err(fault(Code::Protocol, "the first frame is not SETTINGS"));
            }
            self.phase = Phase::Open;
        }
        if let Some(part) = self.part.take() {
            return match part.with(frame)? {
                Ok(whole) => self.fields(whole.stream(), whole.bytes(), whole.ends),
                Err(part) => {
                    self.part = Some(part);
                    Ok(None)
                }
            };
        }
        match frame.kind {
            frame::DATA => return self.data(frame),
            frame::HEADERS => return self.headers(frame),
            frame::RST_STREAM => return self.given_up(frame),
            frame::SETTINGS => self.settings(frame)?,
            frame::PING => self.ping(frame)?,
            frame::WINDOW_UPDATE => return self.window_update(frame),
            frame::GOAWAY if frame.stream != 0 => {
                return Err(fault(Code::Protocol, "GOAWAY on a stream"));
            }
            frame::GOAWAY if frame.payload.len() < 8 => {
                return Err(fault(Code::FrameSize, "GOAWAY is too short"));
            }
            frame::GOAWAY => {
                self.peer_leaves = true;
                self.waste(1)?;
            }
            frame::PUSH_PROMISE | frame::CONTINUATION => {
                return Err(fault(Code::Protocol, "a frame that has no place here"));
            }
            frame::PRIORITY if frame.stream == 0 => {
                return Err(fault(Code::Protocol, "PRIORITY on no stream"));
            }
            frame::PRIORITY => {
                // Priorities were given up (section 5.3.2).
                let [..] = frame.exactly::<5>()?;
                self.waste(1)?;
            }
            // What is not known is ignored (section 4.1).
            _ => self.waste(1)?,
        }
        Ok(None)
    }

    fn headers<'a>(&mut self, frame: &Frame<'a>) -> Result<Option<Event<'a>>, Fault> {
        let (fragment, ends) = block::first(frame)?;
        if frame.has(END_HEADERS) {
            return self.fields(frame.stream, fragment, ends);
        }
        self.part = Some(Part::new(frame.stream, fragment, (ends, self.now)));
        Ok(None)
    }

    /// A whole header block. It is decoded whatever becomes of its stream: later ones refer to it.
    fn fields<'a>(
        &mut self,
        id: u32,
        block: &[u8],
        ends: bool,
    ) -> Result<Option<Event<'a>>, Fault> {
        let mut head = Head::new(self.method.path.as_bytes(), LOOKED_AT);
        let decoded = self.decoder.decode(block, |name, value| head.take(name, value));
        decoded.ok_or(fault(Code::Compression, "a header block cannot be decoded"))?;
        if let Some(stream) = self.streams.get(id) {
            if stream.has_ended {
                return self.reset(id, Code::StreamClosed);
            }
            if !ends || !head.is_trailers() || stream.count(0, true).is_none() {
                return self.reset(id, Code::Protocol);
            }
            return Ok(self.whole(id, &[]));
        }
        if id <= self.last_cut || self.is_ignored(id) {
            return self.closed(id);
        }
        if id <= self.last {
            return Err(fault(Code::Protocol, "streams are opened out of order, or again"));
        }
        self.last = id;
        let is_empty = head.content_length.is_none_or(|length| length == 0);
        if !head.is_request() || (ends && !is_empty) {
            return self.reset(id, Code::Protocol);
        }
        if self.streams.count() >= usize::try_from(settings::MAX_STREAMS).unwrap_or(usize::MAX) {
            return self.reset(id, Code::RefusedStream);
        }
        if !head.is_served {
            put_not_served(&mut self.out, id, self.method.only);
            return self.refused(id, ends);
        }
        self.streams.open(id, Stream::new(&head, self.peer, self.now));
        Ok(if ends { self.whole(id, &[]) } else { None })
    }

    fn data<'a>(&mut self, frame: &Frame<'a>) -> Result<Option<Event<'a>>, Fault> {
        let (id, ends) = (frame.stream, frame.has(END_STREAM));
        let part = frame.unpadded()?;
        let too_much = fault(Code::FlowControl, "more than the window of the connection");
        self.receiving.take(frame.payload.len()).ok_or(too_much)?;
        if let Some(increment) = self.receiving.refill() {
            frame::put_window_update(&mut self.out, 0, increment);
        }
        let Some(stream) = self.streams.get(id) else { return self.closed(id) };
        if stream.has_ended {
            return self.reset(id, Code::StreamClosed);
        }
        if stream.receiving.take(frame.payload.len()).is_none() {
            return self.reset(id, Code::FlowControl);
        }
        if stream.count(part.len(), ends).is_none() {
            return self.reset(id, Code::Protocol);
        }
        if ends && stream.body.is_empty() {
            let body = part.get(..self.method.max_request).unwrap_or(part);
            // It is kept by the one who answers, where that takes time.
            self.streams.charge_for(id, body.len());
            return Ok(self.whole(id, body));
        }
        if !ends && let Some(increment) = stream.receiving.refill() {
            frame::put_window_update(&mut self.out, id, increment);
        }
        self.streams.keep(id, part, self.method.max_request);
        if ends {
            return Ok(self.whole(id, &[]));
        }
        if part.is_empty() {
            self.waste(1)?;
        }
        Ok(None)
    }

    /// The request on a stream, of which nothing more is to come: what was kept of its body, or else all of it, in one piece.
    fn whole<'a>(&mut self, id: u32, piece: &'a [u8]) -> Option<Event<'a>> {
        let stream = self.streams.get(id)?;
        stream.has_ended = true;
        let (began, timeout, is_cut) = (stream.began, stream.head.timeout, stream.is_cut);
        let body = match std::mem::take(&mut stream.body) {
            _ if is_cut => Cow::default(),
            kept if kept.is_empty() => Cow::Borrowed(piece),
            kept => Cow::Owned(kept),
        };
        Some(Event::Request(Request { stream: id, began, timeout, body, is_cut }))
    }

    /// After an answer that did not wait for the rest of its request.
    fn refused<'a>(&mut self, id: u32, ends: bool) -> Result<Option<Event<'a>>, Fault> {
        if !ends {
            self.last_cut = id;
            frame::put_reset(&mut self.out, id, Code::NoError);
        }
        self.waste(1)?;
        Ok(None)
    }

    /// Ends a stream for a mistake on it (section 5.4.2).
    fn reset<'a>(&mut self, id: u32, code: Code) -> Result<Option<Event<'a>>, Fault> {
        self.waste(1)?;
        self.last_cut = self.last_cut.max(id);
        frame::put_reset(&mut self.out, id, code);
        let stream = self.streams.close(id);
        Ok(stream.filter(Stream::is_asked).map(|_| Event::GivenUp(id)))
    }

    /// A frame on a stream that is not open: it is over, or was never there.
    fn closed<'a>(&mut self, id: u32) -> Result<Option<Event<'a>>, Fault> {
        if self.is_idle(id) {
            return Err(fault(Code::Protocol, "a frame on a stream that was never opened"));
        }
        self.waste(1)?;
        if !self.is_ignored(id) {
            frame::put_reset(&mut self.out, id, Code::StreamClosed);
        }
        Ok(None)
    }

    /// True for a stream that the peer has not opened, or that only we could.
    fn is_idle(&self, id: u32) -> bool {
        id.is_multiple_of(2) || (id > self.last && !self.is_ignored(id))
    }

    /// True for a stream that the peer was told is not served any more.
    fn is_ignored(&self, id: u32) -> bool {
        matches!(self.phase, Phase::Leaving(last) if id > last)
    }
}

mod control;
#[cfg(test)]
mod tests;
mod unfinished;
