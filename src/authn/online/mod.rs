//! Credentials that only a server can judge: token introspection (RFC 7662), userinfo, Kubernetes TokenReview.
//!
//! [`Online::known`] is what judging uses: it looks and never waits. [`Online::ask`] asks, by way of an [`Asker`]: once
//! for a credential however many wait for it, bounded in time and number. It remembers a yes for at most its `ttl` and
//! the credential's own end, a no for its `negativeTtl`, a failure for a second. Whatever is not a clear yes or no is
//! [`Known::Unavailable`]: our failure, never the credential's.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use tokio::time::Instant;
use zeroize::Zeroizing;

mod asked;
mod client_auth;
mod fault;
mod introspection;
mod token_review;
mod userinfo;
mod weight;

pub use asked::Asked;
pub(super) use asked::{Endpoint, InvalidOnline};
pub(super) use client_auth::{AuthError, Authenticator};
pub use fault::OnlineFault;

use crate::runtime::{AskCounts, Asker, Believed, Ended, Health};

/// How long a failure is remembered, so that a dead endpoint is not asked for every request.
const FAILURE_STAYS: Duration = Duration::from_secs(1);

/// What was asked and answered so far.
pub type OnlineCounts = AskCounts;
/// Carries questions to their end, whoever still waits for them.
pub type Questions = crate::runtime::Questions<Known>;

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
#[derive(Default)]
pub struct Online(Asker<Known>);

impl Online {
    /// The task that carries questions to their end, once.
    pub(super) fn questions(&self) -> Option<Questions> {
        self.0.questions()
    }

    /// What was said of a credential before, while it is believed.
    pub(super) fn known(&self, asked: &Asked, digest: &[u8; 32], now: SystemTime) -> Option<Known> {
        self.0.known(&asked.key(digest), now)
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
        let url = match asked.url(endpoint) {
            Ok(url) => url,
            Err(fault) => return self.not_sent(fault),
        };
        let question = Arc::clone(asked);
        let send = || async move { ask(&question, &token, &url, now).await };
        let to = (asked.key(digest), asked.endpoint());
        match self.0.ask(to, send, (now, deadline)).await {
            Ok(known) => known,
            Err(crate::runtime::NotSent::Timeout) => Known::Unavailable(OnlineFault::Timeout),
            Err(crate::runtime::NotSent::Overloaded) => self.not_sent(OnlineFault::Overloaded),
            Err(crate::runtime::NotSent::Resting) => self.not_sent(OnlineFault::Resting),
        }
    }

    /// What was asked and answered so far.
    pub(super) fn counts(&self) -> OnlineCounts {
        self.0.counts()
    }

    fn not_sent(&self, fault: OnlineFault) -> Known {
        self.0.failed(fault.code());
        Known::Unavailable(fault)
    }
}

async fn ask(asked: &Asked, token: &str, url: &str, began: SystemTime) -> Ended<Known> {
    let sent = Instant::now();
    let judged = asked.ask(token, url, began).await;
    let ended = began + sent.elapsed();
    let health = judged.as_ref().map_or_else(OnlineFault::health, |_| Health::Up);
    let mut failed = None;
    let (answer, believed) = match judged {
        Ok(Judgement::Active { claims, expires }) if expires.is_none_or(|at| at > ended) => {
            // Counted from when it was asked, the earliest moment that the server can have looked.
            let until = expires.map_or(began + asked.ttl(), |at| at.min(began + asked.ttl()));
            (Known::Active { claims: Arc::new(claims), until }, Believed::Until(until))
        }
        Ok(Judgement::Active { .. } | Judgement::Inactive) => {
            (Known::Inactive, Believed::SinceAnswered(asked.negative_ttl()))
        }
        Err(fault) => {
            failed = Some(fault.code());
            tracing::warn!(
                provider = asked.provider(),
                code = fault.code(),
                error = %fault,
                "a credential was not judged"
            );
            (Known::Unavailable(fault), Believed::SinceAnswered(FAILURE_STAYS))
        }
    };
    Ended { answer, believed, health, failed }
}
