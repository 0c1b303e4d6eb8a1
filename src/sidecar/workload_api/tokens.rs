//! The workload's JWT-SVIDs: kept by their audiences, replaced from half of their lives on, and asked for once however many
//! wait for it.
//!
//! A token that is good is handed out whether or not its source can be reached. Good is what verifies by the bundles of
//! now and was not got by a certificate that is revoked: it is looked at each time, so that a key or a certificate that is
//! withdrawn takes its tokens with it at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::Holdings;
use super::api::no_identity;
use crate::certs::{Jitter, JwtError, JwtRefused};
use crate::identity::{Audiences, JwtSvid, WorkloadIdentity};
use crate::revocation::Certificate;
use crate::runtime::{
    AskCounts, Asker, Believed, Clock, Ended, Endpoint, Health, NotSent, Questions, Slots, Weight,
    dice,
};

/// Sets of audiences whose tokens are kept.
const MAX_KEPT: usize = 256;
/// Questions that are out.
const MAX_OUT: usize = 64;
/// How long a caller waits for a token where there is none yet.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a token waits for its key: the bundles come by another stream.
const KEY: Duration = Duration::from_secs(3);
/// How soon after a failure it is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest that a source can put it off.
const LONGEST: Duration = Duration::from_secs(60);

/// The tokens of one workload. Cloning shares them.
#[derive(Clone)]
pub(super) struct Tokens(Arc<Inner>);

struct Inner {
    held: Holdings,
    clock: Clock,
    kept: Mutex<BTreeMap<Audiences, Arc<Kept>>>,
    asker: Asker<Answer>,
    source: Endpoint,
}

/// A token that was verified once.
pub(super) struct Kept {
    svid: JwtSvid,
    /// The certificate with which it was got.
    serial: String,
    /// From when on a new one is asked for.
    due: SystemTime,
}

/// What came of a question. Its cause is told in the log.
#[derive(Clone)]
pub(super) enum Answer {
    Token(Arc<Kept>),
    None(NoToken),
}

/// Why there is no token, as far as a caller is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoToken {
    /// The source gives none, ever.
    NotOffered(&'static str),
    /// This workload gets none.
    Refused,
    /// Not now.
    Unavailable,
}

impl Weight for Answer {
    fn weight(&self) -> usize {
        match self {
            Self::Token(kept) => kept.svid.token().len(),
            Self::None(_) => 0,
        }
    }
}

impl From<NoToken> for Status {
    fn from(none: NoToken) -> Self {
        match none {
            NoToken::NotOffered(why) => Self::unimplemented(why),
            NoToken::Refused => no_identity(),
            NoToken::Unavailable => Self::unavailable("no JWT-SVID can be had now"),
        }
    }
}

impl Tokens {
    pub(super) fn new(held: Holdings, clock: Clock) -> Self {
        let source = Endpoint { fingerprint: [0; 32], slots: Slots::new(MAX_OUT) };
        let (kept, asker) = (Mutex::default(), Asker::default());
        Self(Arc::new(Inner { held, clock, kept, asker, source }))
    }

    /// Carries questions to their end, whoever still waits for them.
    pub(super) fn questions(&self) -> Option<Questions<Answer>> {
        self.0.asker.questions()
    }

    pub(super) fn counts(&self) -> AskCounts {
        self.0.asker.counts()
    }

    /// A token of the workload for these audiences. `identity` is what the workload holds now.
    pub(super) async fn get(
        &self,
        audiences: &Audiences,
        identity: &Arc<WorkloadIdentity>,
    ) -> Result<String, NoToken> {
        let now = self.0.clock.now();
        let good = self.0.good(audiences, identity, now);
        if let Some(fresh) = good.as_ref().filter(|kept| now < kept.due) {
            return Ok(fresh.svid.token().to_owned());
        }
        // Whoever has a good one does not wait for a better one.
        let patience = if good.is_some() { Duration::ZERO } else { PATIENCE };
        let question = (key(audiences), &self.0.source);
        let send = || Arc::clone(&self.0).ask(audiences.clone(), Arc::clone(identity));
        let asked = self.0.asker.ask(question, send, (now, Instant::now() + patience)).await;
        match (asked, good) {
            (Ok(Answer::None(NoToken::Refused)), _) => Err(NoToken::Refused),
            (Ok(Answer::Token(kept)), _) | (_, Some(kept)) => Ok(kept.svid.token().to_owned()),
            (Ok(Answer::None(none)), None) => Err(none),
            (Err(NotSent::Timeout | NotSent::Overloaded | NotSent::Resting), None) => {
                Err(NoToken::Unavailable)
            }
        }
    }
}

impl Inner {
    /// What is kept, if it may be handed out.
    fn good(
        &self,
        audiences: &Audiences,
        identity: &WorkloadIdentity,
        now: SystemTime,
    ) -> Option<Arc<Kept>> {
        let kept = self.kept().get(audiences).cloned()?;
        let Holdings { revoked, tokens, .. } = &self.held;
        let revoked = Arc::clone(&revoked.borrow());
        let got_by = Certificate::Serial(&kept.serial);
        let standing = revoked.find(identity.svid.id(), got_by, now).is_clear();
        let verified = tokens.verify(kept.svid.token(), (audiences, identity), now);
        if standing && verified.is_ok() {
            return Some(kept);
        }
        let mut all = self.kept();
        if all.get(audiences).is_some_and(|held| Arc::ptr_eq(held, &kept)) {
            all.remove(audiences);
        }
        None
    }

    async fn ask(
        self: Arc<Self>,
        audiences: Audiences,
        identity: Arc<WorkloadIdentity>,
    ) -> Ended<Answer> {
        let now = self.clock.now();
        // One that landed a moment ago is good enough.
        if let Some(fresh) = self.good(&audiences, &identity, now).filter(|kept| now < kept.due) {
            return landed(fresh);
        }
        let token = match self.held.tokens.fetch(&audiences, &identity).await {
            Ok(token) => token,
            Err(error) => {
                let none = failed(&error);
                if matches!(none.answer, Answer::None(NoToken::Refused)) {
                    // Whoever signs them trusts this workload no longer, whether or not that was heard here.
                    self.kept().clear();
                }
                return none;
            }
        };
        let serial = identity.svid.leaf().serial().to_owned();
        match self.believe(&token, &audiences, identity).await {
            Ok(svid) => {
                let kept = Arc::new(Kept { due: self.due(&svid), svid, serial });
                self.keep(audiences, Arc::clone(&kept));
                landed(kept)
            }
            Err(refused) => {
                tracing::error!(error = %refused, "a JWT-SVID is not handed out");
                missed(NoToken::Unavailable, (AGAIN, Health::Up), "refused_here")
            }
        }
    }

    /// Verifies a token. Its key may be younger than the bundles that are held.
    async fn believe(
        &self,
        token: &str,
        audiences: &Audiences,
        mut held: Arc<WorkloadIdentity>,
    ) -> Result<JwtSvid, JwtRefused> {
        let mut identity: watch::Receiver<_> = self.held.identity.clone();
        let end = Instant::now() + KEY;
        loop {
            let verified = self.held.tokens.verify(token, (audiences, &held), self.clock.now());
            match &verified {
                Err(refused) if refused.is_unknown_key() => {}
                Ok(_) | Err(_) => return verified,
            }
            match tokio::time::timeout_at(end, identity.changed()).await {
                Ok(Ok(())) => {
                    if let Some(now) = identity.borrow_and_update().clone() {
                        held = now;
                    }
                }
                Ok(Err(_)) | Err(_) => return verified,
            }
        }
    }

    /// After 45 % to 55 % of what is left of its life.
    fn due(&self, svid: &JwtSvid) -> SystemTime {
        let now = self.clock.now();
        let left = svid.expires().duration_since(now).unwrap_or(Duration::ZERO);
        now.checked_add(left.mul_f64(0.45 + 0.1 * dice().clamp(0.0, 1.0))).unwrap_or(now)
    }

    fn keep(&self, audiences: Audiences, kept: Arc<Kept>) {
        let now = self.clock.now();
        let mut all = self.kept();
        if all.len() >= MAX_KEPT && !all.contains_key(&audiences) {
            all.retain(|_, kept| now < kept.svid.expires());
            let first = all.iter().min_by_key(|(_, kept)| kept.svid.expires());
            let first = first.map(|(audiences, _)| audiences.clone());
            if let Some(first) = first.filter(|_| all.len() >= MAX_KEPT) {
                all.remove(&first);
            }
        }
        all.insert(audiences, kept);
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Audiences, Arc<Kept>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By what a question is known: its audiences, each after its length.
fn key(audiences: &Audiences) -> [u8; 32] {
    let mut text = Vec::new();
    for audience in audiences.as_slice() {
        text.extend_from_slice(&audience.len().to_be_bytes());
        text.extend_from_slice(audience.as_bytes());
    }
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, &text).as_ref());
    key
}

/// A token is believed by what is kept alone, which is looked at each time.
fn landed(kept: Arc<Kept>) -> Ended<Answer> {
    let believed = Believed::Until(SystemTime::UNIX_EPOCH);
    Ended { answer: Answer::Token(kept), believed, health: Health::Up, failed: None }
}

fn missed(none: NoToken, (again, health): (Duration, Health), code: &'static str) -> Ended<Answer> {
    let believed = Believed::SinceAnswered(again);
    Ended { answer: Answer::None(none), believed, health, failed: Some(code) }
}

fn failed(error: &JwtError) -> Ended<Answer> {
    let (none, health, code) = match error {
        JwtError::NotOffered(why) => (NoToken::NotOffered(why), Health::Up, "not_offered"),
        JwtError::Refused { code: Code::PermissionDenied, .. } => {
            (NoToken::Refused, Health::Up, "denied")
        }
        JwtError::Refused { .. } => (NoToken::Unavailable, Health::Up, "refused"),
        JwtError::Absent(_) => (NoToken::Unavailable, Health::Up, "absent"),
        JwtError::Connect(_) => (NoToken::Unavailable, Health::Down, "unreachable"),
        JwtError::TimedOut => (NoToken::Unavailable, Health::Down, "timeout"),
    };
    tracing::warn!(%error, "no JWT-SVID");
    let again = match error {
        JwtError::Refused { retry_after: Some(told), .. } => {
            told.wait(Jitter::new(dice())).min(LONGEST)
        }
        _ => AGAIN,
    };
    missed(none, (again, health), code)
}
