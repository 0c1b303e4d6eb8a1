//! The task: connect, listen, change over to a new certificate, come back.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::certs::{ControlServer, RenewalHandle, Trusted};
use crate::identity::{SpiffeId, WorkloadIdentity};
use crate::runtime::{Clock, Drain, dice, with_causes};
use crate::xds::own::{REVOKED_WORKLOAD_TYPE, TRUST_BUNDLE_TYPE};
use crate::xds::{Follower, Update};

use super::DiscoveryStatus;
use super::assign::{self, Policies};
use super::backoff::{self, Failure};
use super::ledger::Ledger;
use super::link::{self, Link, LinkError};
use super::services::ToldServices;
use super::store::{Kept, Store};
use super::told::Told;
use super::word::Speaker;
use crate::sidecar::sds::SdsStatus;

/// What is not yet stored is stored at the latest after this, and an Envoy that is waited for is looked at.
const TICK: Duration = Duration::from_millis(500);

/// How soon a stream with a new certificate is tried again while the old one is open.
const AGAIN: Duration = Duration::from_secs(5);

/// Follows the control plane.
pub(in crate::sidecar) struct Task {
    pub(super) server: ControlServer,
    pub(super) workload: SpiffeId,
    pub(super) identity: watch::Receiver<Option<Arc<WorkloadIdentity>>>,
    pub(super) renewal: RenewalHandle,
    pub(super) trusted: watch::Receiver<Arc<Trusted>>,
    /// The Envoys of this workload, and how long to wait for one to ask; `None` when none is served here.
    pub(super) envoys: Option<(Arc<SdsStatus>, Duration)>,
    pub(super) clock: Clock,
    pub(super) drain: Drain,
    pub(super) follower: Follower,
    pub(super) ledger: Ledger,
    /// The resources of this workload; `None` when they come from files alone.
    pub(super) policies: Option<Policies>,
    /// The services of the mesh; `None` when this workload needs none of them.
    pub(super) services: Option<ToldServices>,
    /// Of this workload's pod; empty where it has none.
    pub(super) pod_uid: String,
    pub(super) kept: Kept,
    pub(super) store: Option<Store>,
    /// What was told of revocations, and the way into force.
    pub(super) told: Told,
    pub(super) speaker: Speaker,
    /// Answers that are accepted once they are in force.
    pub(super) waiting: VecDeque<(u64, Update)>,
    pub(super) status: Arc<DiscoveryStatus>,
    /// Since when bundles are tried.
    pub(super) attempt: Option<Instant>,
    pub(super) unsaved: bool,
}

type Opening = Pin<Box<dyn Future<Output = Result<Link, LinkError>> + Send>>;

impl Task {
    /// Runs until the drain begins.
    ///
    /// # Errors
    /// Never; the type is that of an essential task.
    pub(in crate::sidecar) async fn run(mut self) -> Result<(), Infallible> {
        let mut failures: u32 = 0;
        while let Some(opening) = self.opening_when_certified().await {
            let before = self.status.heard().accepted;
            let error = match self.opened(opening).await {
                Some(Ok(link)) => match self.follow(link).await {
                    Some(error) => error,
                    None => break,
                },
                Some(Err(error)) => error,
                None => break,
            };
            drop(self.settle_nothing());
            // A stream on which something was heard shows that all is well.
            failures =
                if self.status.heard().accepted > before { 1 } else { failures.saturating_add(1) };
            let text = with_causes(&error);
            if matches!(error, LinkError::Bootstrap) {
                tracing::info!(reason = text, "connecting to the control plane anew");
                continue;
            }
            if error.failure() == Failure::NotOffered {
                self.nobody_tells();
            }
            let wait = backoff::wait(failures, error.failure(), dice());
            tracing::warn!(error = text, failures, retry_in = ?wait, "no word from the control plane");
            self.status.disconnected(text);
            tokio::select! {
                () = self.drain.begun() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.save();
        Ok(())
    }

    /// Waits for a certificate, and begins to connect with it. `None` when the drain begins.
    async fn opening_when_certified(&mut self) -> Option<Opening> {
        loop {
            if self.drain.has_begun() {
                return None;
            }
            let current = self.identity.borrow_and_update().clone();
            if let Some(current) = current {
                return Some(self.opening(current, Duration::ZERO));
            }
            tokio::select! {
                () = self.drain.begun() => return None,
                changed = self.identity.changed() => if changed.is_err() {
                    // Nobody renews any more, which ends the process elsewhere.
                    self.drain.begun().await;
                }
            }
        }
    }

    fn opening(&mut self, current: Arc<WorkloadIdentity>, wait: Duration) -> Opening {
        let roots = self.trusted.borrow_and_update().bundles.own().clone();
        let first = self.follower.begin(&link::node(&current, &self.pod_uid));
        let opening = link::open(self.server.clone(), current, roots, (first, self.clock.clone()));
        Box::pin(async move {
            tokio::time::sleep(wait).await;
            opening.await
        })
    }

    async fn opened(&self, opening: Opening) -> Option<Result<Link, LinkError>> {
        tokio::select! {
            () = self.drain.begun() => None,
            opened = opening => Some(opened),
        }
    }

    /// Listens until the stream ends: says why, or `None` when the drain begins.
    async fn follow(&mut self, mut link: Link) -> Option<LinkError> {
        self.status.connected();
        tracing::info!(certificate.serial = link.serial, "connected to the control plane");
        let mut next: Option<Opening> = None;
        let mut envoys = self.envoys.as_ref().map(|(sds, _)| sds.envoys().changes());
        loop {
            if let Err(error) = self.advance(&link).await {
                return Some(error);
            }
            let busy = self.attempt.is_some() || self.unsaved;
            tokio::select! {
                () = self.drain.begun() => return None,
                answer = link.subscription.next() => match answer {
                    Ok(Some(answer)) => if let Err(error) = self.hear(&link, answer).await {
                        return Some(error);
                    },
                    Ok(None) => return Some(LinkError::Closed),
                    Err(status) => return Some(status.into()),
                },
                Ok(()) = self.identity.changed() => {
                    let current = self.identity.borrow_and_update().clone();
                    // The new stream is open before the old one is closed.
                    next = match current {
                        Some(current) if current.svid.leaf().serial() != link.serial => {
                            Some(self.opening(current, Duration::ZERO))
                        }
                        Some(_) | None => next,
                    };
                }
                opened = pending_or(&mut next), if next.is_some() => {
                    next = None;
                    match opened {
                        Ok(opened) => if let Err(error) = self.change_over(&mut link, opened).await {
                            return Some(error);
                        },
                        Err(error) => {
                            let error = with_causes(&error);
                            tracing::warn!(error, "no stream with the new certificate yet, the old one stays");
                            let current = self.identity.borrow().clone();
                            next = current.map(|current| self.opening(current, AGAIN));
                        }
                    }
                }
                Ok(()) = self.trusted.changed() => {
                    let bootstrap = self.trusted.borrow_and_update().bootstrap.clone();
                    if bootstrap != self.kept.bootstrap {
                        self.forget_bundles(bootstrap);
                        return Some(LinkError::Bootstrap);
                    }
                }
                event = assign::next(&mut self.policies) => {
                    if let Err(error) = self.go_on(&link, event).await {
                        return Some(error);
                    }
                }
                () = changed_or_never(&mut envoys) => {}
                () = self.speaker.progressed() => {}
                () = tokio::time::sleep(TICK), if busy => if self.unsaved {
                    self.save();
                },
            }
        }
    }

    /// Goes on on a stream that was opened with a new certificate. What was tried on the one before may have been told
    /// differently since the new one began: it is asked for again.
    async fn change_over(&mut self, link: &mut Link, opened: Link) -> Result<(), LinkError> {
        tracing::info!(certificate.serial = opened.serial, "changed over to a new certificate");
        let tried = self.settle_nothing();
        self.status.connected();
        *link = opened;
        if tried.is_empty() {
            return Ok(());
        }
        Ok(link.subscription.say(Follower::ask_again(TRUST_BUNDLE_TYPE, tried)).await?)
    }

    /// What was tried on a stream that is gone is neither accepted nor refused: the next stream tells what became of it.
    fn settle_nothing(&mut self) -> Vec<String> {
        self.attempt = None;
        // Not accepted, so the next stream tells it again.
        self.waiting.clear();
        self.policies.iter_mut().for_each(Policies::disconnect);
        let tried = self.ledger.disconnect();
        for name in &tried {
            self.follower.doubt(TRUST_BUNDLE_TYPE, name.clone());
        }
        tried
    }

    /// The operator changed `caFile`: what was told before counts no more.
    fn forget_bundles(&mut self, bootstrap: String) {
        tracing::warn!(
            "caFile has other roots: the bundles that were told are forgotten and asked for anew"
        );
        self.ledger.forget();
        self.follower.forget(TRUST_BUNDLE_TYPE);
        self.kept.resources.remove(TRUST_BUNDLE_TYPE);
        self.kept.bootstrap = bootstrap;
        self.attempt = None;
        self.save();
    }

    /// Whoever gives the certificate tells nothing at all. Then nobody is revoked, as far as can be known here; that is
    /// remembered, because whoever it is may be away at the next start.
    fn nobody_tells(&mut self) {
        // What was told before stands.
        if self.told.knowledge().list().is_some() || self.told.is_all().is_err() {
            return;
        }
        tracing::info!("whoever gives the certificate tells of no revocations");
        self.kept.resources.entry(REVOKED_WORKLOAD_TYPE.to_owned()).or_default();
        self.speaker.say(self.told.knowledge());
        self.save();
    }

    /// Stores what was told. Revocations are stored only once all were told: a start takes what is stored for all there
    /// is. A failure is said and tried again: what is in force stays in force.
    pub(super) fn save(&mut self) {
        let Some(store) = &self.store else {
            self.unsaved = false;
            return;
        };
        let mut kept = Cow::Borrowed(&self.kept);
        if self.told.knowledge().list().is_none() {
            kept.to_mut().resources.remove(REVOKED_WORKLOAD_TYPE);
        }
        match store.save(self.workload.as_str(), &kept) {
            Ok(()) => self.unsaved = false,
            Err(error) => {
                let error = with_causes(&error);
                tracing::error!(error, "what was told is not stored: a restart would not know it");
                self.status.update(|heard| heard.last_error = Some(error));
                self.unsaved = true;
            }
        }
    }
}

async fn pending_or(opening: &mut Option<Opening>) -> Result<Link, LinkError> {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}

async fn changed_or_never(changes: &mut Option<watch::Receiver<u64>>) {
    let changed = match changes {
        Some(changes) => changes.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
    }
}
