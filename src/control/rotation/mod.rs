//! Drives a change of the root: asks the fleet who has what, and takes the next step once [`crate::ca::rotation`] finds
//! it proven.

mod absent;
mod metrics;
mod pods;
mod standing;
mod view;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};

use crate::ca::rotation::{self, Next};
use crate::ca::{Authority, AuthorityError, Step, StoreError};
use crate::kube;
use crate::runtime::{Clock, Drain};

use super::discovery::{Fleet, Published};
use super::issuer::LastRefusal;
use super::replicas::Replicas;
use absent::Absent;
use pods::Pods;

pub use standing::{
    AwaitedStanding, ChangeStanding, GenerationStanding, ReissueStanding, RequestStanding, Standing,
};

/// How often it is looked whether time alone lets a change go on.
const TICK: Duration = Duration::from_secs(1);
/// How often an order is tried again after another replica was first.
const CONFLICTS: usize = 3;
/// How often a sidecar that holds a change up is named in the log.
const REMIND: Duration = Duration::from_secs(60);

/// The driver, and the operator's end of it. Cloning shares it.
#[derive(Clone)]
pub(super) struct Rotation(Arc<Inner>);

struct Inner {
    authority: Arc<Authority>,
    refusal: LastRefusal,
    replicas: Replicas,
    fleet: Fleet,
    readers: Duration,
    published: watch::Receiver<Arc<Published>>,
    clock: Clock,
    watching_since: SystemTime,
    absent: Mutex<Absent>,
    pods: Pods,
    wake: Notify,
}

impl Rotation {
    pub(super) fn new(
        (authority, refusal, replicas): (Arc<Authority>, LastRefusal, Replicas),
        (fleet, pods, readers): (Fleet, Option<kube::Pods>, Duration),
        published: watch::Receiver<Arc<Published>>,
        clock: Clock,
    ) -> Self {
        Self(Arc::new(Inner {
            authority,
            refusal,
            replicas,
            fleet,
            readers,
            published,
            watching_since: clock.now(),
            clock,
            absent: Mutex::default(),
            pods: Pods::new(pods),
            wake: Notify::new(),
        }))
    }

    /// Runs until the drain begins.
    pub(super) async fn run(self, drain: Drain) -> Result<(), Infallible> {
        let (mut trust, mut fleet) = (self.0.authority.trust(), self.0.fleet.changes());
        let mut published = self.0.published.clone();
        let mut others = self.0.replicas.changes();
        let mut reminded = self.0.clock.now();
        loop {
            if self.go_on().await {
                continue;
            }
            let now = self.0.clock.now();
            if now.duration_since(reminded).is_ok_and(|passed| passed >= REMIND) {
                reminded = now;
                if self.0.replicas.leads() {
                    self.standing().remind();
                }
            }
            tokio::select! {
                () = drain.begun() => return Ok(()),
                _ = trust.changed() => {}
                _ = published.changed() => {}
                _ = fleet.changed() => {}
                () = others.next() => {}
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Asks about the pods of sidecars that hold a change up and are not connected, until the drain begins.
    pub(super) async fn ask_about_pods(self, drain: Drain) -> Result<(), Infallible> {
        self.0.pods.run(drain, &self.0.wake).await
    }

    /// Takes the next step if it is due, and says whether one was taken.
    async fn go_on(&self) -> bool {
        let this = self.clone();
        let taken = tokio::task::spawn_blocking(move || this.0.step()).await;
        match taken {
            Ok(Ok(taken)) => taken,
            // Another replica was first; what it wrote is in force here, and is looked at anew.
            Ok(Err(AuthorityError::Store(StoreError::Conflict(_)))) => false,
            Ok(Err(error)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the change of the root cannot go on; it is tried again"
                );
                false
            }
            Err(_) => false,
        }
    }

    /// How far it is.
    pub(super) fn standing(&self) -> Standing {
        let (state, now) = (self.0.authority.state(), self.0.clock.now());
        let fleet = self.0.view(now);
        let standing = Standing::new(state, &fleet, now).after(self.0.refusal.words());
        standing.said_by(&self.0.replicas)
    }

    /// Begins a change of the root; or, if one is under way, lets it go on without those who are not connected.
    pub(super) fn rotate(
        &self,
        within: Option<Duration>,
        without_absent: bool,
    ) -> Result<(), AuthorityError> {
        let (authority, now) = (&self.0.authority, self.0.clock.now());
        let under_way = authority.state().rotation.is_some();
        if !(under_way && without_absent) {
            let asked_more = within.is_some() || without_absent;
            match again(|| authority.prepare(within, now)) {
                Err(AuthorityError::Elsewhere) if !asked_more => {
                    again(|| authority.enrol(now))?;
                    tracing::warn!("the issuer is asked for another certificate");
                }
                begun => {
                    begun?;
                    tracing::warn!("a change of the root begins");
                }
            }
        }
        if without_absent {
            again(|| authority.without_absent(now))?;
            tracing::warn!(
                "the change of the root goes on without sidecars that are not connected"
            );
        }
        self.0.wake.notify_one();
        Ok(())
    }

    /// Goes back to the old root.
    pub(super) fn abort(&self, within: Option<Duration>) -> Result<(), AuthorityError> {
        let within = self.within(within);
        again(|| self.0.authority.abort(within, self.0.clock.now()))?;
        tracing::warn!("the change of the root goes back");
        self.0.wake.notify_one();
        Ok(())
    }

    /// Has every leaf replaced, under a new issuing key.
    pub(super) fn taint(&self, within: Option<Duration>) -> Result<(), AuthorityError> {
        let within = self.within(within);
        again(|| self.0.authority.taint(within, self.0.clock.now()))?;
        tracing::warn!(within_seconds = within.as_secs(), "every leaf is to be replaced");
        self.0.wake.notify_one();
        Ok(())
    }

    fn within(&self, said: Option<Duration>) -> Duration {
        said.unwrap_or_else(|| self.0.pace())
    }
}

impl Inner {
    fn step(&self) -> Result<bool, AuthorityError> {
        let (state, now) = (self.authority.state(), self.clock.now());
        let fleet = self.view(now);
        if !self.replicas.leads() {
            return Ok(false);
        }
        match rotation::next(&state, &fleet, now) {
            Next::Nothing | Next::Wait(_) => return Ok(false),
            Next::Publish => {
                self.authority.publish(now)?;
                tracing::warn!("the new root is in the bundles");
            }
            Next::Activate => {
                let said = state.rotation.as_ref().and_then(|change| change.within);
                let said = said.map(|seconds| Duration::from_secs(seconds.into()));
                let longest = state.active().map_or(0, |active| active.longest_leaf);
                let pace = rotation::pace(fleet.size(), Duration::from_secs(longest));
                self.authority.activate(said.unwrap_or(pace), now)?;
                tracing::warn!(
                    sidecars = fleet.size(),
                    let_go = rotation::let_go(&state, &fleet, now),
                    "every sidecar trusts the new root: it signs from now on"
                );
            }
            Next::Retire => {
                self.authority.retire(now)?;
                tracing::warn!("no leaf of the old root is left: it is no longer trusted");
            }
            Next::Reissued => {
                self.authority.reissued(now)?;
                tracing::info!("the order to replace leaves is over");
            }
        }
        Ok(true)
    }

    fn pace(&self) -> Duration {
        let state = self.authority.state();
        let longest = state.active().map_or(0, |active| active.longest_leaf);
        let size = self.view(self.clock.now()).size();
        rotation::pace(size, Duration::from_secs(longest))
    }
}

/// An order of the operator holds whatever another replica wrote in the same moment.
fn again(order: impl Fn() -> Result<(), AuthorityError>) -> Result<(), AuthorityError> {
    for _ in 0..CONFLICTS {
        match order() {
            Err(AuthorityError::Store(StoreError::Conflict(_))) => {}
            done => return done,
        }
    }
    order()
}

fn at(seconds: u64) -> SystemTime {
    let moment = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    moment.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// What the steps are called where people read them.
fn word(step: Step) -> &'static str {
    match step {
        Step::Prepared => "prepared",
        Step::Publishing => "publishing",
        Step::Reissuing => "reissuing",
    }
}
