//! Peers that begin something and do not finish it.

use std::time::Instant;

use super::{Connection, Phase};
use crate::proto::http2::frame::{self, Code, Fault, fault};

impl Connection {
    /// True while the peer has something to finish: its greeting, a header block, a request, room for an answer, or a word
    /// that it heard the last call. So many requests are whole and wait for an answer from here.
    #[must_use]
    pub fn is_unfinished(&self, asked: usize) -> bool {
        let speaks = matches!(self.phase, Phase::Preface(_) | Phase::Greeting | Phase::LastCall(_));
        speaks || self.part.is_some() || self.streams.count() > asked
    }

    /// Ends what the peer began before `since` and has not finished.
    ///
    /// # Errors
    /// When the connection cannot go on. The peer is told so by what is in [`Self::out`].
    pub fn end_unfinished(&mut self, since: Instant) -> Result<(), Fault> {
        let too_slow = fault(Code::EnhanceYourCalm, "what was begun was not finished in time");
        let is_late = match self.phase {
            Phase::Preface(_) | Phase::Greeting => self.began < since,
            Phase::LastCall(when) => {
                if when < since {
                    self.leave();
                }
                false
            }
            Phase::Open | Phase::Leaving(_) => false,
            Phase::Failed => return Ok(()),
        };
        if is_late || self.part.as_ref().is_some_and(|part| part.began < since) {
            self.fail(too_slow);
            return Err(too_slow);
        }
        for id in self.streams.unfinished(since, self.sending) {
            self.last_cut = self.last_cut.max(id);
            frame::put_reset(&mut self.out, id, Code::Cancel);
            self.streams.close(id);
        }
        Ok(())
    }
}
