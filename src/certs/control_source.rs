//! Renewal from a control plane.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, mpsc, watch};

use crate::identity::{Bundles, PrivateKey, SpiffeId, TrustBundle, WorkloadIdentity, X509Svid};
use crate::runtime::{Clock, Drain, FileWatch, Moves};

use super::config::ControlSource;
use super::issuer::Issuer;
use super::plan::Plan;
use super::renewal::{RenewalError, draw};
use super::schedule::{Next, Reissue, Schedule};
use super::server::ControlServer;
use super::shelf::Shelf;
use super::store::{StateError, Store};
use super::trust::{Offer, Told, Trust, TrustHandle, TrustRefused};

/// The clock is looked at at least this often, because it may have been set or the machine slept.
const TICK: Duration = Duration::from_secs(2);

pub(super) struct ControlTask {
    issuer: Issuer,
    workload: SpiffeId,
    clock: Clock,
    moves: Moves,
    store: Option<Store>,
    trust: Trust,
    watch: FileWatch,
    offers: mpsc::Receiver<Offer>,
    orders: watch::Receiver<Option<Reissue>>,
    /// The order under which the held certificate was obtained: it has been obeyed.
    obeyed: Option<Reissue>,
    plan: Plan<Arc<WorkloadIdentity>>,
}

impl ControlTask {
    pub(super) fn new(
        source: &ControlSource,
        (state, told): (Option<&Path>, Option<Told>),
        orders: watch::Receiver<Option<Reissue>>,
        (workload, clock): (SpiffeId, Clock),
    ) -> Result<(Self, TrustHandle), RenewalError> {
        let ControlSource { server, ca_file, token } = source;
        let server = ControlServer::parse(server)?;
        let issuer = Issuer::new(server, token.clone(), workload.clone(), clock.clone());
        let trust = Trust::new(ca_file, &workload, told)?;
        let store = state.map(Store::open).transpose().map_err(RenewalError::State)?;
        let (sender, offers) = mpsc::channel(1);
        let handle = TrustHandle { offers: sender, state: trust.subscribe() };
        let task = Self {
            issuer,
            workload,
            moves: clock.moves(),
            clock,
            store,
            trust,
            watch: FileWatch::new(std::slice::from_ref(ca_file))?,
            offers,
            orders,
            obeyed: None,
            plan: Plan::new(),
        };
        Ok((task, handle))
    }

    /// Serves the stored certificate if it is still good under the roots trusted now.
    pub(super) fn restore(&mut self, shelf: &Shelf) {
        if let Err(error) = self.take_stored() {
            shelf.failed("the stored certificate is not used", &error);
        }
        self.show(shelf);
    }

    fn take_stored(&mut self) -> Result<(), StateError> {
        let Some(store) = &self.store else { return Ok(()) };
        let bundles = self.trust.bundles();
        if let Some((svid, obtained)) =
            store.load(&self.workload, bundles.own(), self.clock.now())?
        {
            self.hold(svid, obtained);
        }
        Ok(())
    }

    pub(super) async fn run(&mut self, shelf: &Shelf, trigger: &Notify, drain: &Drain) {
        let mut watching = true;
        while !drain.has_begun() {
            let now = self.show(shelf);
            let wait = match self.plan.next(now) {
                Next::Attempt => {
                    self.renew(shelf).await;
                    continue;
                }
                Next::Wait(wait) => wait.min(TICK),
            };
            tokio::select! {
                () = drain.begun() => return,
                () = trigger.notified() => self.renew(shelf).await,
                changed = self.watch.changed(), if watching => {
                    watching = changed.is_some();
                    self.reload_roots(shelf);
                }
                Some(Offer { bundles, answer }) = self.offers.recv() => {
                    // Who asked may be gone; what was decided stands.
                    drop(answer.send(self.consider(bundles, shelf)));
                }
                Ok(()) = self.orders.changed() => self.hear_order(),
                () = self.moves.next() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Serves what may be served at this moment, and nothing else. Says which moment that is.
    fn show(&self, shelf: &Shelf) -> SystemTime {
        let now = self.clock.now();
        match self.plan.servable(now) {
            Some((identity, schedule)) => shelf.show(identity, Some(schedule.renew_at())),
            None => shelf.clear("the certificate expired before a new one could be had"),
        }
        shelf.checked(now);
        now
    }

    async fn renew(&mut self, shelf: &Shelf) {
        // Not every volume tells of changes; the roots must be current at least when they count.
        self.reload_roots(shelf);
        let order = *self.orders.borrow();
        match self.attempt(shelf).await {
            Ok(svid) => {
                let now = self.clock.now();
                self.obeyed = order;
                let stored = self.store.as_ref().map(|store| store.save(&svid, now));
                self.hold(svid, now);
                self.show(shelf);
                // Said last, so that it stands in the status until the next success.
                if let Some(Err(error)) = stored {
                    shelf.failed("the new certificate cannot be stored", &error);
                }
            }
            Err(error) => {
                let told = error.retry_after().map_or(Duration::ZERO, |told| told.wait(draw()));
                self.plan.failed(self.clock.now(), draw(), told);
                shelf.failed("no new certificate", &error);
                if self.plan.held().is_none() {
                    // Refused at the start, perhaps only because the clock was wrong then. Why was said at the start.
                    drop(self.take_stored());
                    self.show(shelf);
                }
            }
        }
    }

    /// One attempt. While it is under way what is served is looked at as ever: a slow authority must not keep an
    /// expired certificate served.
    async fn attempt(&mut self, shelf: &Shelf) -> Result<X509Svid, super::IssueError> {
        let held = self.plan.held().cloned();
        let mut moves = self.clock.moves();
        let bundles = self.trust.bundles();
        let mut attempt = std::pin::pin!(self.issuer.issue(held.as_deref(), bundles.own()));
        loop {
            tokio::select! {
                outcome = &mut attempt => return outcome,
                () = moves.next() => {}
                () = tokio::time::sleep(TICK) => {}
            }
            self.show(shelf);
        }
    }

    fn hold(&mut self, svid: X509Svid, obtained: SystemTime) {
        let leaf = svid.leaf();
        let validity = (leaf.not_before(), leaf.not_after());
        let schedule = Schedule::new(validity, obtained, draw());
        let bundles = self.trust.bundles();
        self.plan.hold(Arc::new(WorkloadIdentity { svid, bundles }), schedule);
        self.hear_order();
    }

    /// Plans the renewal anew when an order came, changed or was taken back. One that was obeyed is obeyed once.
    fn hear_order(&mut self) {
        let order = *self.orders.borrow_and_update();
        let order = order.filter(|order| self.obeyed != Some(*order));
        self.plan.order(order.as_ref(), self.clock.now(), draw());
    }

    /// Takes bundles that the control plane told, unless they would make the held certificate foreign.
    fn consider(&mut self, bundles: Bundles, shelf: &Shelf) -> Result<(), TrustRefused> {
        if bundles.own().domain() != &self.workload.trust_domain() {
            return Err(TrustRefused::OtherDomain);
        }
        if bundles == self.trust.bundles() {
            return Ok(());
        }
        // What is over is nobody's concern; a clock that was put right finds it verified anew.
        let served = self.plan.servable(self.clock.now()).map(|(held, _)| Arc::clone(held));
        let rebuilt = match served {
            Some(held) => Some(
                rebuild(&held.svid, bundles.own(), &self.clock)
                    .map_err(TrustRefused::HeldForeign)?,
            ),
            None => None,
        };
        self.trust.take(bundles.clone());
        match rebuilt {
            Some(svid) => self.plan.replace(Arc::new(WorkloadIdentity { svid, bundles })),
            None => self.plan.give_up(),
        }
        self.show(shelf);
        Ok(())
    }

    /// Takes changed roots from `caFile`. The held certificate is verified anew: under roots that do not carry it any
    /// more it is foreign, and a new one is asked for at once.
    fn reload_roots(&mut self, shelf: &Shelf) {
        let bundles = match self.trust.reload() {
            Ok(None) => return,
            Ok(Some(bundles)) => bundles,
            Err(error) => {
                shelf.failed("changed roots are refused, the old ones stay", &error);
                return;
            }
        };
        // Perhaps it was the roots that stood in the way.
        self.plan.forget_failures();
        let Some(held) = self.plan.held() else { return };
        match rebuild(&held.svid, bundles.own(), &self.clock) {
            Ok(svid) => {
                self.plan.replace(Arc::new(WorkloadIdentity { svid, bundles }));
                self.show(shelf);
            }
            Err(reason) => {
                self.plan.give_up();
                shelf.clear(&format!("under the changed roots {reason}"));
            }
        }
    }
}

fn rebuild(svid: &X509Svid, bundle: &TrustBundle, clock: &Clock) -> Result<X509Svid, String> {
    let key = PrivateKey::from_pem(&svid.key().to_pem()).map_err(|error| error.to_string())?;
    X509Svid::new(svid.chain().to_vec(), key, bundle, clock.now())
        .map_err(|error| error.to_string())
}
