//! Renewal from a control plane.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Notify;

use crate::identity::{Bundles, PrivateKey, SpiffeId, TrustBundle, WorkloadIdentity, X509Svid};
use crate::runtime::{Clock, Drain, FileWatch, read_limited};

use super::config::ControlSource;
use super::issuer::Issuer;
use super::renewal::{RenewalError, draw};
use super::schedule::{Next, Retry, Schedule, next};
use super::shelf::Shelf;
use super::store::Store;

/// The clock is looked at at least this often, because it may have been set or the machine slept.
const TICK: Duration = Duration::from_secs(2);
const MAX_ROOTS: u64 = 1024 * 1024;

pub(super) struct ControlTask {
    issuer: Issuer,
    workload: SpiffeId,
    clock: Clock,
    store: Option<Store>,
    ca_file: PathBuf,
    bundle: TrustBundle,
    watch: FileWatch,
    held: Option<Schedule>,
    retry: Option<Retry>,
}

impl ControlTask {
    pub(super) fn new(
        source: &ControlSource,
        state: Option<&Path>,
        workload: SpiffeId,
        clock: Clock,
    ) -> Result<Self, RenewalError> {
        let ControlSource { server, ca_file, join_token } = source;
        let issuer = Issuer::new(server, join_token.clone(), workload.clone(), clock.clone())?;
        let bundle = read_bundle(ca_file, &workload)?;
        let store = state.map(Store::open).transpose().map_err(RenewalError::State)?;
        Ok(Self {
            issuer,
            workload,
            clock,
            store,
            ca_file: ca_file.clone(),
            bundle,
            watch: FileWatch::new(std::slice::from_ref(ca_file))?,
            held: None,
            retry: None,
        })
    }

    /// Serves the stored certificate if it is still good under the roots trusted now.
    pub(super) fn restore(&mut self, shelf: &Shelf) {
        let Some(store) = &self.store else { return };
        match store.load(&self.workload, &self.bundle, self.clock.now()) {
            Ok(Some((svid, obtained))) => {
                let leaf = svid.leaf();
                let validity = (leaf.not_before(), leaf.not_after());
                let schedule = Schedule::new(validity, obtained, draw());
                self.serve(svid, schedule, shelf);
            }
            Ok(None) => {}
            Err(error) => shelf.failed("the stored certificate is not used", &error),
        }
    }

    pub(super) async fn run(&mut self, shelf: &Shelf, trigger: &Notify, drain: &Drain) {
        let mut watching = true;
        while !drain.has_begun() {
            let now = self.clock.now();
            shelf.clear_if_expired(now);
            let wait = match next(self.held.as_ref(), self.retry.as_ref(), now) {
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
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn renew(&mut self, shelf: &Shelf) {
        // Not every volume tells of changes; the roots must be current at least when they count.
        self.reload_roots(shelf);
        let current = shelf.current();
        match self.issuer.issue(current.as_deref(), &self.bundle).await {
            Ok(svid) => {
                let now = self.clock.now();
                if let Some(Err(error)) = self.store.as_ref().map(|store| store.save(&svid, now)) {
                    shelf.failed("the new certificate cannot be stored", &error);
                }
                let leaf = svid.leaf();
                let validity = (leaf.not_before(), leaf.not_after());
                let schedule = Schedule::new(validity, now, draw());
                self.serve(svid, schedule, shelf);
            }
            Err(error) => {
                let now = self.clock.now();
                let told = error.retry_after().map_or(Duration::ZERO, |told| told.wait(draw()));
                let retry = Retry::after(self.retry.as_ref(), now, draw()).not_before(told);
                self.retry = Some(retry);
                shelf.failed("no new certificate", &error);
            }
        }
    }

    fn serve(&mut self, svid: X509Svid, schedule: Schedule, shelf: &Shelf) {
        self.held = Some(schedule);
        self.retry = None;
        let identity = WorkloadIdentity { svid, bundles: Bundles::new(self.bundle.clone()) };
        shelf.serve(identity, Some(schedule.renew_at()));
    }

    /// Takes changed roots. The held certificate is verified anew: under roots that do not carry it any
    /// more it is foreign, and a new one is asked for at once.
    fn reload_roots(&mut self, shelf: &Shelf) {
        let bundle = match read_bundle(&self.ca_file, &self.workload) {
            Ok(bundle) if bundle == self.bundle => return,
            Ok(bundle) => bundle,
            Err(error) => {
                shelf.failed("changed roots are refused, the old ones stay", &error);
                return;
            }
        };
        tracing::info!(roots = bundle.roots().len(), "the trusted roots changed");
        self.bundle = bundle;
        let (Some(current), Some(schedule)) = (shelf.current(), self.held) else {
            // Perhaps it was the roots that stood in the way.
            self.retry = None;
            return;
        };
        match rebuild(&current.svid, &self.bundle, &self.clock) {
            Ok(svid) => self.serve(svid, schedule, shelf),
            Err(reason) => {
                self.held = None;
                self.retry = None;
                shelf.clear(&reason);
            }
        }
    }
}

fn rebuild(svid: &X509Svid, bundle: &TrustBundle, clock: &Clock) -> Result<X509Svid, String> {
    let key = PrivateKey::from_pem(&svid.key().to_pem()).map_err(|error| error.to_string())?;
    X509Svid::new(svid.chain().to_vec(), key, bundle, clock.now())
        .map_err(|error| format!("under the changed roots {error}"))
}

fn read_bundle(path: &Path, workload: &SpiffeId) -> Result<TrustBundle, RenewalError> {
    let text = read_limited(path, MAX_ROOTS)?;
    Ok(TrustBundle::from_pem(workload.trust_domain(), &text)?)
}
