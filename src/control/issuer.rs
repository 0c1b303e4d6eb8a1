//! An authority whose issuing certificate cert-manager has signed: asks in time, looks for the answer, and keeps the last
//! good certificate whatever comes.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tokio::time::Instant;

use crate::ca::{
    Authority, AuthorityError, Enrolled, Opened, SignedChain, SigningOrder, Terms, Vault,
};
use crate::identity::TrustDomain;
use crate::kube::{CertificateRequests, IssuerRef, RequestError, RequestStanding};
use crate::runtime::{Clock, Drain, with_causes};

use super::ControlError;
use super::authority::blocking;
use super::replicas::Replicas;

/// How often it is looked whether there is an answer.
const TICK: Duration = Duration::from_secs(1);
/// How long a start waits for its first certificate. Whoever runs the process starts it again, and it goes on with the same
/// request.
const PATIENCE: Duration = Duration::from_secs(120);
/// After a refusal it is not asked again for this long, and twice as long each further time.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Which issuer of cert-manager signs, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CertManager {
    /// The issuer.
    pub issuer_ref: IssuerRef,
    /// How long an issuing certificate is to live. It is replaced after two thirds of what the issuer made of it.
    #[serde(default = "quarter", with = "humantime_serde")]
    pub duration: Duration,
    /// The roots that its chains may end in, in PEM. Without it the root of the first certificate, for good.
    #[serde(default)]
    pub roots: Option<std::path::PathBuf>,
}

fn quarter() -> Duration {
    Duration::from_secs(90 * 24 * 3600)
}

/// Why there is no issuing certificate.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The request cannot be made or looked at.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It is not signed yet.
    #[error("CertificateRequest {name} is not signed after {PATIENCE:?}: {words}")]
    Unanswered {
        /// The name of the request.
        name: String,
        /// How far it is.
        words: String,
    },
    /// It will not be signed.
    #[error("CertificateRequest {name}: {words}; delete it to ask again")]
    Refused {
        /// The name of the request.
        name: String,
        /// Why.
        words: String,
    },
}

/// The last refusal, for whoever shows where the authority stands. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(super) struct LastRefusal(Arc<Mutex<Option<String>>>);

impl LastRefusal {
    /// What it was, while nothing better came since.
    pub(super) fn words(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn say(&self, words: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }
}

/// Opens the authority. The first start waits for its certificate, and so does one whose certificate ended meanwhile.
pub(super) async fn open(
    (vault, terms): (Box<dyn Vault>, Terms),
    requests: &CertificateRequests,
    domain: &TrustDomain,
    clock: &Clock,
) -> Result<Authority, ControlError> {
    let (of, now) = (domain.clone(), clock.now());
    let opened = blocking(move || Authority::open_enrolled(vault, terms, &of, now)).await?;
    let authority = match opened {
        Opened::Ready(authority) => *authority,
        Opened::Waiting(waiting) => {
            tracing::warn!(request = waiting.order().name, "waits for its first certificate");
            let answer = wait(requests, waiting.order()).await?;
            let now = clock.now();
            blocking(move || waiting.answered(&answer, now)).await?
        }
    };
    if authority.can_sign(clock.now()) {
        return Ok(authority);
    }
    tracing::warn!("the issuing certificate ended; waits for another");
    let now = clock.now();
    let (authority, order) = blocking(move || {
        authority.enrol(now)?;
        let order = authority.signing_order()?.ok_or(AuthorityError::NotOrdered)?;
        Ok::<_, AuthorityError>((authority, order))
    })
    .await?;
    let answer = wait(requests, &order).await?;
    let now = clock.now();
    blocking(move || authority.enrolled(&order.name, &answer, now).map(|_| authority)).await
}

async fn wait(
    requests: &CertificateRequests,
    order: &SigningOrder,
) -> Result<SignedChain, IssuerError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match look(requests, order).await? {
            RequestStanding::Signed { chain, root } => {
                return Ok(SignedChain { certificates: chain, root });
            }
            RequestStanding::Refused(words) => {
                return Err(IssuerError::Refused { name: order.name.clone(), words });
            }
            RequestStanding::Missing => {}
            RequestStanding::Waiting(words) if Instant::now() >= end => {
                return Err(IssuerError::Unanswered { name: order.name.clone(), words });
            }
            RequestStanding::Waiting(_) => {}
        }
        tokio::time::sleep(TICK).await;
    }
}

/// How far the order is. One that nobody has, or has any more, is placed.
async fn look(
    requests: &CertificateRequests,
    order: &SigningOrder,
) -> Result<RequestStanding, RequestError> {
    let standing = requests.look(&order.name).await?;
    if standing == RequestStanding::Missing {
        requests.ask(&order.name, &order.request).await?;
        tracing::info!(request = order.name, "asked for an issuing certificate");
    }
    Ok(standing)
}

/// Renews the issuing certificate.
pub(super) struct Issuer {
    authority: Arc<Authority>,
    requests: CertificateRequests,
    refusal: LastRefusal,
    replicas: Replicas,
    clock: Clock,
    pause: Option<Pause>,
    /// What was said last, so that it is not said each second.
    said: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    until: SystemTime,
    length: Duration,
}

impl Pause {
    fn after(last: Option<Self>, now: SystemTime) -> Self {
        let length = last.map_or(FIRST_PAUSE, |last| (last.length * 2).min(LONGEST_PAUSE));
        Self { until: now.checked_add(length).unwrap_or(now), length }
    }
}

/// Why a renewal does not go on.
#[derive(Debug, thiserror::Error)]
enum Stuck {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl Issuer {
    pub(super) fn new(
        authority: Arc<Authority>,
        requests: CertificateRequests,
        (refusal, replicas): (LastRefusal, Replicas),
        clock: Clock,
    ) -> Self {
        Self { authority, requests, refusal, replicas, clock, pause: None, said: None }
    }

    /// Runs until the drain begins.
    pub(super) async fn run(mut self, drain: Drain) -> Result<(), Infallible> {
        loop {
            tokio::select! {
                () = drain.begun() => return Ok(()),
                () = tokio::time::sleep(TICK) => {}
            }
            if !self.replicas.leads() {
                continue;
            }
            tokio::select! {
                () = drain.begun() => return Ok(()),
                done = self.step() => if let Err(error) = done {
                    self.say(with_causes(&error));
                },
            }
        }
    }

    async fn step(&mut self) -> Result<(), Stuck> {
        let (authority, now) = (Arc::clone(&self.authority), self.clock.now());
        let order = match authority.signing_order().map_err(ControlError::from)? {
            Some(order) => order,
            None if authority.enrolment_is_due(now) && self.may_ask(now) => {
                return Ok(blocking(move || authority.enrol(now)).await?);
            }
            None => return Ok(()),
        };
        match look(&self.requests, &order).await? {
            RequestStanding::Missing => Ok(()),
            RequestStanding::Waiting(words) => {
                self.say(format!("CertificateRequest {}: {words}", order.name));
                Ok(())
            }
            RequestStanding::Refused(words) => self.refused(order.name, words).await,
            RequestStanding::Signed { chain, root } => {
                let answer = SignedChain { certificates: chain, root };
                self.answered(order.name, answer).await
            }
        }
    }

    async fn answered(&mut self, name: String, answer: SignedChain) -> Result<(), Stuck> {
        let (authority, now, of) = (Arc::clone(&self.authority), self.clock.now(), name.clone());
        let taken = blocking(move || authority.enrolled(&of, &answer, now)).await;
        match taken {
            Ok(outcome) => {
                self.pause = None;
                self.said = None;
                self.refusal.say(None);
                match outcome {
                    Enrolled::Renewed => {
                        tracing::info!(request = name, "replaced the issuing certificate");
                    }
                    Enrolled::NewRoot => tracing::warn!(
                        request = name,
                        "the issuer signs with another root: a change of the root begins"
                    ),
                }
                Ok(())
            }
            // Not the answer is at fault: it is taken once this is mended, or the change that is under way is over.
            Err(ControlError::Authority(
                error @ (AuthorityError::Store(_)
                | AuthorityError::File(_)
                | AuthorityError::Step(_)
                | AuthorityError::NotOrdered),
            )) => Err(ControlError::from(error).into()),
            Err(error) => self.refused(name, with_causes(&error)).await,
        }
    }

    /// Gives this request up: the next has a new key and a new name.
    async fn refused(&mut self, name: String, words: String) -> Result<(), Stuck> {
        let now = self.clock.now();
        self.pause = Some(Pause::after(self.pause, now));
        tracing::error!(
            request = name,
            reason = words,
            "no new issuing certificate; the one in force stays"
        );
        self.refusal.say(Some(format!("CertificateRequest {name}: {words}")));
        let authority = Arc::clone(&self.authority);
        Ok(blocking(move || authority.give_up_enrolment(&name, now)).await?)
    }

    fn may_ask(&self, now: SystemTime) -> bool {
        self.pause.is_none_or(|pause| now >= pause.until)
    }

    fn say(&mut self, words: String) {
        if self.said.as_ref() != Some(&words) {
            tracing::warn!(reason = words, "waits for a new issuing certificate");
            self.said = Some(words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_followed_by_longer_and_longer_pauses() {
        let now = SystemTime::UNIX_EPOCH;
        let mut pause = Pause::after(None, now);
        assert_eq!(pause.until, now + FIRST_PAUSE);
        for _ in 0..20 {
            let next = Pause::after(Some(pause), now);
            assert!(next.length >= pause.length && next.length <= LONGEST_PAUSE);
            pause = next;
        }
        assert_eq!(pause.length, LONGEST_PAUSE);
    }
}
