//! Streams that are open: RFC 9113, section 5.1.
//!
//! A stream is here from its head until its answer was handed to the transport whole, or until one side gave it up.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::answer::{PREFIX, prefix, put_end, put_part};
use super::flow::{Receiving, Sending};
use super::head::Head;
use super::room::{Room, Share};
use super::settings::{Peer, STREAM_WINDOW};

/// Bytes that are to be sent, beyond which answers wait where they are: a peer that makes room for thousands of them at once
/// takes them one by one.
const MOST_OUT: usize = 64 * 1024;

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) receiving: Receiving,
    pub(super) sending: Sending,
    pub(super) head: Kept,
    /// When its head came; of an answer that waits, when the peer last had room for some of it.
    pub(super) began: Instant,
    /// Bytes of the body, kept or not.
    pub(super) received: u64,
    /// What was received of a body that is not whole.
    pub(super) body: Vec<u8>,
    /// There was no room for more of it.
    pub(super) is_cut: bool,
    /// The request is whole.
    pub(super) has_ended: bool,
    /// Bytes of the body that are kept, here or by the one who answers; then of the answer, while it has to wait.
    charge: usize,
    /// The answer, where it has to wait for the peer, and how much of it was sent.
    unsent: Vec<u8>,
    sent: usize,
    is_queued: bool,
}

/// What is needed of a head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) timeout: Option<std::time::Duration>,
    pub(super) content_length: Option<u64>,
}

impl Stream {
    pub(super) fn new(head: &Head, peer: Peer, began: Instant) -> Self {
        Self {
            receiving: Receiving::new(STREAM_WINDOW),
            sending: Sending::new(peer.window),
            head: Kept { timeout: head.timeout, content_length: head.content_length },
            began,
            received: 0,
            body: Vec::new(),
            is_cut: false,
            has_ended: false,
            charge: 0,
            unsent: Vec::new(),
            sent: 0,
            is_queued: false,
        }
    }

    /// Counts bytes of the body; nothing where they are not as many as its head says.
    #[inline]
    pub(super) fn count(&mut self, length: usize, ends: bool) -> Option<()> {
        self.received = self.received.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        match self.head.content_length {
            Some(said) if self.received > said || (ends && self.received < said) => None,
            _ => Some(()),
        }
    }

    /// True while the one who answers is at it.
    pub(super) fn is_asked(&self) -> bool {
        self.has_ended && self.unsent.is_empty()
    }
}

/// All open streams of a connection.
#[derive(Debug)]
pub(super) struct Streams {
    by_id: HashMap<u32, Stream, foldhash::fast::RandomState>,
    /// Streams with an answer and room for it, which wait for room on the connection.
    queue: VecDeque<u32>,
    /// Room for bodies and answers. An answer is kept where there is none, too: it is small where its body was not kept.
    share: Share,
}

impl Streams {
    /// No streams; those to come keep bodies where there is room.
    pub(super) fn new(room: Room) -> Self {
        Self { by_id: HashMap::default(), queue: VecDeque::new(), share: Share::of(room) }
    }

    pub(super) fn count(&self) -> usize {
        self.by_id.len()
    }

    #[inline]
    pub(super) fn get(&mut self, id: u32) -> Option<&mut Stream> {
        self.by_id.get_mut(&id)
    }

    #[inline]
    pub(super) fn open(&mut self, id: u32, stream: Stream) {
        self.by_id.insert(id, stream);
    }

    /// Takes a stream out; what it holds goes.
    #[inline]
    pub(super) fn close(&mut self, id: u32) -> Option<Stream> {
        let stream = self.by_id.remove(&id)?;
        self.share.give(stream.charge);
        if stream.is_queued {
            self.queue.retain(|queued| *queued != id);
        }
        Some(stream)
    }

    /// Bytes of bodies and answers that are kept.
    #[cfg(test)]
    pub(super) fn charge(&self) -> usize {
        self.share.used()
    }

    /// Keeps a part of a body, until it has `limit` bytes. What is beyond is dropped, and no longer fits its prefix.
    pub(super) fn keep(&mut self, id: u32, part: &[u8], limit: usize) {
        let Some(stream) = self.by_id.get(&id) else { return };
        let part = part.get(..limit.saturating_sub(stream.body.len())).unwrap_or(part);
        if let Some(stream) = self.charge_for(id, part.len()) {
            stream.body.extend_from_slice(part);
        }
    }

    /// Counts bytes of a body that are kept, here or by the one who answers. Where there is no room left for them, the whole
    /// body is dropped, and marked.
    #[inline]
    pub(super) fn charge_for(&mut self, id: u32, length: usize) -> Option<&mut Stream> {
        let stream = self.by_id.get_mut(&id).filter(|stream| !stream.is_cut)?;
        if self.share.take(length).is_none() {
            self.share.give(stream.charge);
            stream.charge = 0;
            stream.body = Vec::new();
            stream.is_cut = true;
            return None;
        }
        stream.charge += length;
        Some(stream)
    }

    /// Those that wait for the peer since before `since`: for the rest of a request, or for room for an answer. One that only
    /// waits for what goes out before it is none of them.
    pub(super) fn unfinished(&self, since: Instant, connection: Sending) -> Vec<u32> {
        let has_room = |stream: &Stream| stream.is_queued && connection.room() > 0;
        let late =
            |stream: &Stream| stream.began < since && !stream.is_asked() && !has_room(stream);
        let mut late: Vec<u32> =
            self.by_id.iter().filter(|(_, stream)| late(stream)).map(|(id, _)| *id).collect();
        late.sort_unstable();
        late
    }

    /// Changes all windows by as much as the peer changed the first size of each; nothing where one gets too large.
    pub(super) fn shift(&mut self, difference: i64) -> Option<()> {
        self.by_id.values_mut().try_for_each(|stream| stream.sending.add(difference))?;
        let waits = |(id, stream): (&u32, &Stream)| (!stream.unsent.is_empty()).then_some(*id);
        let mut waiting: Vec<u32> = self.by_id.iter().filter_map(waits).collect();
        waiting.sort_unstable();
        for id in waiting {
            self.by_id.get_mut(&id).map(|stream| queue(&mut self.queue, id, stream))?;
        }
        Some(())
    }

    /// Enlarges the window of one; nothing where it gets too large.
    pub(super) fn enlarge(&mut self, id: u32, increment: u32) -> Option<()> {
        let Some(stream) = self.by_id.get_mut(&id) else { return Some(()) };
        stream.sending.add(i64::from(increment))?;
        queue(&mut self.queue, id, stream);
        Some(())
    }

    /// Keeps an answer until there is room for it. Its head was sent.
    pub(super) fn wait(&mut self, (id, now): (u32, Instant), mut stream: Stream, message: &[u8]) {
        stream.began = now;
        stream.unsent = Vec::with_capacity(PREFIX + message.len());
        stream.unsent.extend_from_slice(&prefix(message));
        stream.unsent.extend_from_slice(message);
        // Its body was judged; the answer takes its place.
        stream.charge = stream.unsent.len();
        self.share.add(stream.charge);
        queue(&mut self.queue, id, &mut stream);
        self.by_id.insert(id, stream);
    }

    /// Sends what there is room for, each stream in its turn. Every turn sends something, or is the last. What `out` has no
    /// place for stays in the queue.
    pub(super) fn send(
        &mut self,
        out: &mut Vec<u8>,
        connection: &mut Sending,
        (peer, now): (Peer, Instant),
    ) {
        while connection.room() > 0 && out.len() < MOST_OUT {
            let Some(id) = self.queue.pop_front() else { return };
            let Some(stream) = self.by_id.get_mut(&id) else { continue };
            stream.is_queued = false;
            let left = stream.unsent.get(stream.sent..).unwrap_or_default();
            let room = stream.sending.room().min(connection.room()).min(peer.max_payload);
            let part = left.get(..room).unwrap_or(left);
            if part.is_empty() {
                continue;
            }
            put_part(out, id, part);
            stream.began = now;
            stream.sending.take(part.len());
            connection.take(part.len());
            stream.sent += part.len();
            if stream.sent == stream.unsent.len() {
                put_end(out, id);
                self.close(id);
            } else {
                queue(&mut self.queue, id, stream);
            }
        }
    }
}

/// Queues a stream that has something to send and room for it, once.
fn queue(queue: &mut VecDeque<u32>, id: u32, stream: &mut Stream) {
    if !stream.is_queued && !stream.unsent.is_empty() && stream.sending.room() > 0 {
        stream.is_queued = true;
        queue.push_back(id);
    }
}
