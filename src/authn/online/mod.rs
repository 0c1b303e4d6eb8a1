//! Credentials that only a server can judge: token introspection (RFC 7662), userinfo, Kubernetes TokenReview.
//!
//! [`Online::known`] is what judging uses: it looks and never waits. [`Online::ask`] asks: once for a credential however
//! many wait for it, bounded in time and number, and remembers a yes for at most its `ttl` and the credential's own
//! end, a no for its `negativeTtl`, a failure for a second. An endpoint that is down is left alone for a while, and one
//! that is slow cannot take the questions to others with it. Whatever is not a clear yes or no is
//! [`Known::Unavailable`]: our failure, never the credential's.
//!
//! A question that was sent is carried to its end by [`Questions`], also when nobody waits for it any more: what came
//! too late for one request is there for the next, and an endpoint that is always too slow is noticed.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

mod answers;
mod asked;
mod breaker;
mod client_auth;
mod count;
mod fault;
mod introspection;
mod questions;
mod token_review;
mod userinfo;

pub use asked::Asked;
pub(super) use asked::{Endpoint, InvalidOnline};
pub(super) use client_auth::{AuthError, Authenticator};
pub use count::OnlineCounts;
pub use fault::OnlineFault;
pub use questions::Questions;

use answers::Answers;
use breaker::{Breakers, Pass};
use count::{Counts, Slot, Slots};

/// Questions out at a time, to all endpoints.
const MAX_FLIGHTS: usize = 1024;
/// How long a failure is remembered, so that a dead endpoint is not asked for every request.
const FAILURE_STAYS: Duration = Duration::from_secs(1);

type Key = [u8; 32];
type Flight = Shared<Pin<Box<dyn Future<Output = Known> + Send>>>;
type WeakFlight = WeakShared<Pin<Box<dyn Future<Output = Known> + Send>>>;

/// What a server says of a credential, or that it says nothing.
#[derive(Clone)]
pub enum Known {
    /// It is active.
    Active {
        /// What the server says of whoever it speaks for.
        claims: Arc<Map<String, Value>>,
        /// Until when that is believed.
        until: SystemTime,
    },
    /// It is not.
    Inactive,
    /// Nobody knows.
    Unavailable(OnlineFault),
}

/// What an answer means, before it is decided how long it is believed.
pub(super) enum Judgement {
    Active { claims: Map<String, Value>, expires: Option<SystemTime> },
    Inactive,
}

/// Asks servers and remembers what they said. One per process.
pub struct Online {
    memory: Arc<Memory>,
    flights: Mutex<HashMap<Key, WeakFlight>>,
    slots: Slots,
    carried: mpsc::Sender<Flight>,
    /// Here until somebody takes it.
    questions: Mutex<Option<Questions>>,
}

/// What outlives a question.
struct Memory {
    answers: Answers,
    breakers: Breakers,
    counts: Counts,
}

/// One question that is to be sent.
struct Question {
    asked: Arc<Asked>,
    key: Key,
    token: Zeroizing<String>,
    url: String,
    began: SystemTime,
}

/// Leave for one question to be out: dropped with it.
struct Leave {
    pass: Pass,
    _slots: (Slot, Slot),
}

impl Online {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
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

    /// The task that carries questions to their end, once.
    pub(super) fn questions(&self) -> Option<Questions> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What was said of a credential before, while it is believed.
    pub(super) fn known(&self, asked: &Asked, digest: &[u8; 32], now: SystemTime) -> Option<Known> {
        let known = self.memory.answers.get(&asked.key(digest), now)?;
        self.memory.counts.remembered();
        Some(known)
    }

    /// Asks about a credential, together with all who ask the same, and waits until `deadline` at most. The question
    /// goes on for the others when one stops waiting.
    pub(super) async fn ask(
        &self,
        asked: &Arc<Asked>,
        (digest, token): (&[u8; 32], Zeroizing<String>),
        endpoint: Endpoint,
        (now, deadline): (SystemTime, Instant),
    ) -> Known {
        if let Some(known) = self.known(asked, digest, now) {
            return known;
        }
        let joined = asked.url(endpoint).and_then(|url| {
            let (asked, key) = (Arc::clone(asked), asked.key(digest));
            self.join(Question { asked, key, token, url, began: now })
        });
        let flight = match joined {
            Ok(flight) => flight,
            Err(fault) => {
                self.memory.counts.failed(&fault);
                return Known::Unavailable(fault);
            }
        };
        match timeout_at(deadline, flight).await {
            Ok(known) => known,
            Err(_) => Known::Unavailable(OnlineFault::Timeout),
        }
    }

    /// What was asked and answered so far.
    pub(super) fn counts(&self) -> OnlineCounts {
        self.memory.counts.picture(self.slots.out())
    }

    /// The question that is out about this credential, or a new one.
    fn join(&self, question: Question) -> Result<Flight, OnlineFault> {
        let key = question.key;
        let mut flights = self.flights();
        // One that has landed is over, though somebody may hold it still: what it brought may be old by now.
        let out = flights.get(&key).and_then(WeakShared::upgrade);
        if let Some(flight) = out.filter(|flight| flight.peek().is_none()) {
            return Ok(flight);
        }
        // It may have landed since this was looked up: an answer is there before its flight is over.
        if let Some(known) = self.memory.answers.get(&key, question.began) {
            return Ok(std::future::ready(known).boxed().shared());
        }
        let leave = self.leave(&question.asked)?;
        if flights.len() >= 2 * MAX_FLIGHTS {
            flights.retain(|_, flight| flight.upgrade().is_some());
        }
        let flight = fly(Arc::clone(&self.memory), question, leave).boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(key, weak);
        }
        drop(flights);
        // Where nobody carries it, those who wait for it do, and it ends with the last of them.
        drop(self.carried.try_send(flight.clone()));
        Ok(flight)
    }

    /// One endpoint alone cannot take every place there is.
    fn leave(&self, asked: &Asked) -> Result<Leave, OnlineFault> {
        let slots = asked.slots().take().zip(self.slots.take()).ok_or(OnlineFault::Overloaded)?;
        // Last, because leave for a trial that is not used keeps the endpoint resting.
        Ok(Leave { pass: self.memory.breakers.admit(asked.fingerprint())?, _slots: slots })
    }

    /// Held only for moments, never over an await.
    fn flights(&self) -> MutexGuard<'_, HashMap<Key, WeakFlight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn fly(memory: Arc<Memory>, question: Question, leave: Leave) -> Known {
    let Question { asked, key, token, url, began } = question;
    let Memory { answers, breakers, counts } = &*memory;
    counts.asked();
    let sent = Instant::now();
    let judged = asked.ask(&token, &url, began).await;
    // A no and a failure are remembered from now on: after a slow one there would be nothing left of a second.
    let ended = began + sent.elapsed();
    let health = judged.as_ref().map_or_else(OnlineFault::health, |_| breaker::Health::Up);
    breakers.ended(asked.fingerprint(), leave.pass, health);
    let (known, until) = match judged {
        Ok(Judgement::Active { claims, expires }) if expires.is_none_or(|at| at > ended) => {
            // Counted from when it was asked, the earliest moment that the server can have looked.
            let until = expires.map_or(began + asked.ttl(), |at| at.min(began + asked.ttl()));
            (Known::Active { claims: Arc::new(claims), until }, until)
        }
        Ok(Judgement::Active { .. } | Judgement::Inactive) => {
            (Known::Inactive, ended + asked.negative_ttl())
        }
        Err(fault) => {
            counts.failed(&fault);
            tracing::warn!(
                provider = asked.provider(),
                code = fault.code(),
                error = %fault,
                "a credential was not judged"
            );
            (Known::Unavailable(fault), ended + FAILURE_STAYS)
        }
    };
    answers.keep(key, known.clone(), until);
    known
}
