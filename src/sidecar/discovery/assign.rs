//! Resources that were told: proposed to whoever compiles them, and answered once that is done.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::sidecar::assigned::{Assigned, Proposal};
use crate::xds::own::POLICY_RESOURCE_TYPE;
use crate::xds::{Follower, Update};

use super::link::{Link, LinkError};
use super::policies::{PolicyLedger, Word};
use super::task::Task;

/// What was refused is tried again after this: a file that it names may be there now.
const AGAIN: Duration = Duration::from_secs(60);
/// What is said when whoever compiles is gone; so is the process, soon.
const GONE: &str = "nobody compiles resources any more";

/// Resources on their way into force.
pub(super) struct Policies {
    ledger: PolicyLedger,
    proposals: mpsc::Sender<Proposal>,
    verdict: Option<oneshot::Receiver<Result<(), String>>>,
    /// When something was last refused on this stream.
    refused: Option<Instant>,
}

impl Policies {
    /// Begins with what is in force; `None` when the control plane is not asked for resources.
    pub(super) fn new(assigned: &Assigned, proposals: mpsc::Sender<Proposal>) -> Option<Self> {
        let in_force = match assigned {
            Assigned::NotAsked => return None,
            Assigned::NotYet => None,
            Assigned::All(set) => Some(set.as_ref().clone()),
        };
        let ledger = PolicyLedger::new(in_force);
        Some(Self { ledger, proposals, verdict: None, refused: None })
    }

    /// Goes to another stream.
    pub(super) fn disconnect(&mut self) {
        self.ledger.disconnect();
        self.refused = None;
    }
}

/// Something is to be done about resources.
pub(super) enum Event {
    /// The last proposal came to this.
    Judged(Result<(), String>),
    /// What was refused is to be tried again.
    Again,
}

/// What is to be done next; never, where nothing is.
pub(super) async fn next(policies: &mut Option<Policies>) -> Event {
    let Some(policies) = policies else { return std::future::pending().await };
    if let Some(verdict) = &mut policies.verdict {
        return Event::Judged(verdict.await.unwrap_or_else(|_| Err(GONE.to_owned())));
    }
    match policies.refused {
        Some(refused) => tokio::time::sleep_until(refused + AGAIN).await,
        None => std::future::pending().await,
    }
    Event::Again
}

impl Task {
    pub(super) async fn hear_policies(
        &mut self,
        link: &Link,
        update: Update,
    ) -> Result<(), LinkError> {
        let Some(policies) = &mut self.policies else { return self.accept(link, update).await };
        match policies.ledger.push(update) {
            Ok(()) => self.propose(link).await,
            Err(refused) => {
                let (update, words) = *refused;
                self.refuse(link, &update, &words).await
            }
        }
    }

    pub(super) async fn go_on(&mut self, link: &Link, event: Event) -> Result<(), LinkError> {
        match event {
            Event::Judged(outcome) => self.judged(link, outcome).await,
            Event::Again => self.try_again(link).await,
        }
    }

    /// What was proposed is in force, or is not.
    async fn judged(&mut self, link: &Link, outcome: Result<(), String>) -> Result<(), LinkError> {
        let Some(policies) = &mut self.policies else { return Ok(()) };
        policies.verdict = None;
        let words = policies.ledger.judged(outcome);
        self.say(link, words).await?;
        self.propose(link).await
    }

    /// Asks once more for what was refused.
    async fn try_again(&mut self, link: &Link) -> Result<(), LinkError> {
        let Some(policies) = &mut self.policies else { return Ok(()) };
        policies.refused = None;
        let word = policies.ledger.ask_again();
        self.say(link, word.into_iter().collect()).await
    }

    /// Proposes what is due.
    async fn propose(&mut self, link: &Link) -> Result<(), LinkError> {
        loop {
            let Some(policies) = &mut self.policies else { return Ok(()) };
            if policies.verdict.is_some() {
                return Ok(());
            }
            let due = policies.ledger.next_attempt().or_else(|| policies.ledger.attempt());
            let Some(set) = due else { return Ok(()) };
            let words = if policies.ledger.in_force() == Some(&set) {
                policies.ledger.judged(Ok(()))
            } else {
                let (answer, verdict) = oneshot::channel();
                let proposal = Proposal { assigned: set.into(), answer };
                if policies.proposals.try_send(proposal).is_ok() {
                    policies.verdict = Some(verdict);
                    return Ok(());
                }
                policies.ledger.judged(Err(GONE.to_owned()))
            };
            self.say(link, words).await?;
        }
    }

    async fn say(&mut self, link: &Link, words: Vec<Word>) -> Result<(), LinkError> {
        // Stored before it is said: what was acknowledged must be there after a restart.
        self.keep_policies();
        for word in words {
            match word {
                Word::Accept(update) => self.accept(link, update).await?,
                Word::Refuse(update, reason) => {
                    if let Some(policies) = &mut self.policies {
                        policies.refused = Some(Instant::now());
                    }
                    self.refuse(link, &update, &reason).await?;
                }
                Word::AskAgain(names) => {
                    let again = Follower::ask_again(POLICY_RESOURCE_TYPE, names);
                    link.subscription.say(again).await?;
                }
            }
        }
        Ok(())
    }

    /// Keeps all that is in force, and nothing else: a part of it could admit more.
    fn keep_policies(&mut self) {
        let in_force = self.policies.as_ref().and_then(|policies| policies.ledger.in_force());
        let Some(in_force) = in_force else { return };
        let encoded = in_force.values().map(|resource| {
            let encoded = resource.encode();
            (encoded.name, encoded.content)
        });
        let kept = encoded.collect();
        if self.kept.resources.get(POLICY_RESOURCE_TYPE) == Some(&kept) {
            return;
        }
        let held = u64::try_from(kept.len()).unwrap_or(u64::MAX);
        self.kept.resources.insert(POLICY_RESOURCE_TYPE.to_owned(), kept);
        self.status.update(|heard| {
            heard.resources.insert(POLICY_RESOURCE_TYPE, held);
        });
        self.save();
    }
}
