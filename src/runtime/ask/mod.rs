//! Questions to other servers: once for the same question however many wait for it, bounded in time and number,
//! remembered for as long as the answer is believed.
//!
//! [`Asker::known`] looks and never waits; [`Asker::ask`] asks. An endpoint that is down is left alone for a while, and
//! one that is slow cannot take the questions to others with it. A question that was sent is carried to its end by
//! [`Questions`], also when nobody waits for it any more: what came too late for one request is there for the next, and
//! an endpoint that is always too slow is noticed.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

mod answers;
mod breaker;
mod count;
mod questions;

pub use answers::Weight;
pub use breaker::Health;
pub use count::{AskCounts, Slots};
pub use questions::Questions;

use answers::Answers;
use breaker::{Breakers, Pass};
use count::{Counts, Slot};

/// Questions out at a time, to all endpoints.
const MAX_FLIGHTS: usize = 1024;

/// What a question and its endpoint are known by: a digest of everything that the answer may depend on.
type Key = [u8; 32];
type Flight<A> = Shared<Pin<Box<dyn Future<Output = A> + Send>>>;
type WeakFlight<A> = WeakShared<Pin<Box<dyn Future<Output = A> + Send>>>;

/// Asks endpoints and remembers what they said. One per process and kind of answer.
pub struct Asker<A: Clone + Send + Sync + 'static> {
    memory: Arc<Memory<A>>,
    flights: Mutex<HashMap<Key, WeakFlight<A>>>,
    slots: Slots,
    carried: mpsc::Sender<Flight<A>>,
    /// Here until somebody takes it.
    questions: Mutex<Option<Questions<A>>>,
}

/// What outlives a question.
struct Memory<A: Clone + Send + Sync + 'static> {
    answers: Answers<A>,
    breakers: Breakers,
    counts: Counts,
}

/// Whom a question goes to.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// A digest of what it is and how it is asked.
    pub fingerprint: [u8; 32],
    /// How many questions to it may be out.
    pub slots: Slots,
}

/// What came of a question that was sent.
pub struct Ended<A> {
    /// The answer, which may be that there is none.
    pub answer: A,
    /// From when until when it is believed.
    pub believed: Believed,
    /// What it says of its endpoint.
    pub health: Health,
    /// The code of what went wrong, to be counted.
    pub failed: Option<&'static str>,
}

/// How long an answer is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Believed {
    /// Until this moment.
    Until(SystemTime),
    /// For so long after the question was sent, the earliest moment that the endpoint can have looked.
    SinceAsked(Duration),
    /// For so long after the answer came.
    SinceAnswered(Duration),
}

/// Why a question brought nothing for the one who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSent {
    /// It took longer than it may be waited for. It goes on for others.
    Timeout,
    /// Too many questions are out.
    Overloaded,
    /// The endpoint failed again and again and is left alone for a while.
    Resting,
}

/// Leave for one question to be out: dropped with it.
struct Leave {
    pass: Pass,
    _slots: (Slot, Slot),
}

impl<A: Weight + Clone + Send + Sync + 'static> Default for Asker<A> {
    /// Nothing is known yet.
    fn default() -> Self {
        let (carried, questions) = Questions::channel(MAX_FLIGHTS);
        let (answers, breakers, counts) = (Answers::new(), Breakers::default(), Counts::default());
        Self {
            memory: Arc::new(Memory { answers, breakers, counts }),
            flights: Mutex::default(),
            slots: Slots::new(MAX_FLIGHTS),
            carried,
            questions: Mutex::new(Some(questions)),
        }
    }
}

impl<A: Weight + Clone + Send + Sync + 'static> Asker<A> {
    /// The task that carries questions to their end; once, then nothing.
    #[must_use]
    pub fn questions(&self) -> Option<Questions<A>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What was said to this question before, while it is believed.
    #[must_use]
    pub fn known(&self, key: &[u8; 32], now: SystemTime) -> Option<A> {
        let known = self.memory.answers.get(key, now)?;
        self.memory.counts.remembered();
        Some(known)
    }

    /// Asks, together with all who ask the same, and waits until `deadline` at most. The question goes on for the others
    /// when one stops waiting. `send` is called only if nobody asks the same already.
    ///
    /// # Errors
    /// When it may not be sent, or was not answered in time.
    pub async fn ask<F>(
        &self,
        (key, endpoint): ([u8; 32], &Endpoint),
        send: impl FnOnce() -> F,
        (now, deadline): (SystemTime, Instant),
    ) -> Result<A, NotSent>
    where
        F: Future<Output = Ended<A>> + Send + 'static,
    {
        if let Some(known) = self.known(&key, now) {
            return Ok(known);
        }
        let flight = self.join((key, endpoint), send, now)?;
        timeout_at(deadline, flight).await.map_err(|_| NotSent::Timeout)
    }

    /// Counts what was not even sent.
    pub fn failed(&self, code: &'static str) {
        self.memory.counts.failed(code);
    }

    /// What was asked and answered so far.
    #[must_use]
    pub fn counts(&self) -> AskCounts {
        self.memory.counts.picture(self.slots.out())
    }

    /// The question that is out, or a new one.
    fn join<F>(
        &self,
        (key, endpoint): (Key, &Endpoint),
        send: impl FnOnce() -> F,
        now: SystemTime,
    ) -> Result<Flight<A>, NotSent>
    where
        F: Future<Output = Ended<A>> + Send + 'static,
    {
        let mut flights = self.flights();
        // One that has landed is over, though somebody may hold it still: what it brought may be old by now.
        let out = flights.get(&key).and_then(WeakShared::upgrade);
        if let Some(flight) = out.filter(|flight| flight.peek().is_none()) {
            return Ok(flight);
        }
        // It may have landed since this was looked up: an answer is there before its flight is over.
        if let Some(known) = self.memory.answers.get(&key, now) {
            return Ok(std::future::ready(known).boxed().shared());
        }
        let leave = self.leave(endpoint)?;
        if flights.len() >= 2 * MAX_FLIGHTS {
            flights.retain(|_, flight| flight.upgrade().is_some());
        }
        let question = (key, endpoint.fingerprint, now);
        let flight = fly(Arc::clone(&self.memory), question, send(), leave).boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(key, weak);
        }
        drop(flights);
        // Where nobody carries it, those who wait for it do, and it ends with the last of them.
        drop(self.carried.try_send(flight.clone()));
        Ok(flight)
    }

    /// One endpoint alone cannot take every place there is.
    fn leave(&self, endpoint: &Endpoint) -> Result<Leave, NotSent> {
        let slots = endpoint.slots.take().zip(self.slots.take()).ok_or(NotSent::Overloaded)?;
        // Last, because leave for a trial that is not used keeps the endpoint resting.
        Ok(Leave { pass: self.memory.breakers.admit(&endpoint.fingerprint)?, _slots: slots })
    }

    /// Held only for moments, never over an await.
    fn flights(&self) -> MutexGuard<'_, HashMap<Key, WeakFlight<A>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn fly<A: Weight + Clone + Send + Sync + 'static>(
    memory: Arc<Memory<A>>,
    (key, endpoint, began): (Key, [u8; 32], SystemTime),
    question: impl Future<Output = Ended<A>> + Send,
    leave: Leave,
) -> A {
    let Memory { answers, breakers, counts } = &*memory;
    counts.asked();
    let sent = Instant::now();
    let Ended { answer, believed, health, failed } = question.await;
    breakers.ended(&endpoint, leave.pass, health);
    if let Some(code) = failed {
        counts.failed(code);
    }
    let until = match believed {
        Believed::Until(until) => until,
        Believed::SinceAsked(long) => began + long,
        // After a slow answer there would be nothing left of a second.
        Believed::SinceAnswered(long) => began + sent.elapsed() + long,
    };
    answers.keep(key, answer.clone(), until);
    answer
}
