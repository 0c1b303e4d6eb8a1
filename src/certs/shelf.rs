//! What the workload's proxy gets to see: the current identity, and how it stands.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;

use crate::identity::WorkloadIdentity;
use crate::runtime::with_causes;

/// How a workload's certificate stands, for the admin page and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Serial number of the served certificate; `None` while none is served.
    pub serial: Option<String>,
    /// Its last second.
    pub not_after: Option<SystemTime>,
    /// When the next renewal is planned; `None` when that is not ours to plan.
    pub next_renewal: Option<SystemTime>,
    /// What went wrong since the last success.
    pub last_error: Option<String>,
    /// Certificates served so far.
    pub renewals: u64,
    /// Failed attempts so far.
    pub failures: u64,
    /// The file system of the state directory, where it is one that is written to a disk.
    pub state_on_disk: Option<String>,
    /// The moment at which it was last looked whether what is served may be served.
    pub checked_at: Option<SystemTime>,
}

/// The one writer of the identity.
pub(super) struct Shelf {
    identity: watch::Sender<Option<Arc<WorkloadIdentity>>>,
    status: Arc<Mutex<Status>>,
}

impl Shelf {
    pub(super) fn new() -> Self {
        Self { identity: watch::Sender::new(None), status: Arc::default() }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Arc<WorkloadIdentity>>> {
        self.identity.subscribe()
    }

    pub(super) fn status(&self) -> Arc<Mutex<Status>> {
        Arc::clone(&self.status)
    }

    pub(super) fn current(&self) -> Option<Arc<WorkloadIdentity>> {
        self.identity.borrow().clone()
    }

    /// Serves a verified identity from now on. The one that is served already is served on.
    pub(super) fn show(&self, identity: &Arc<WorkloadIdentity>, next_renewal: Option<SystemTime>) {
        if self.identity.borrow().as_ref().is_some_and(|shown| Arc::ptr_eq(shown, identity)) {
            // An order may have changed the plan.
            lock(&self.status).next_renewal = next_renewal;
            return;
        }
        let leaf = identity.svid.leaf();
        tracing::info!(
            workload.id = %leaf.id(),
            certificate.serial = leaf.serial(),
            certificate.not_after = %rfc3339(leaf.not_after()),
            "serving a certificate"
        );
        let mut status = lock(&self.status);
        status.serial = Some(leaf.serial().to_owned());
        status.not_after = Some(leaf.not_after());
        status.next_renewal = next_renewal;
        status.last_error = None;
        status.renewals = status.renewals.saturating_add(1);
        drop(status);
        self.identity.send_replace(Some(Arc::clone(identity)));
    }

    /// The stored key is kept on a disk.
    pub(super) fn state_on_disk(&self, file_system: String) {
        lock(&self.status).state_on_disk = Some(file_system);
    }

    /// At `now` it was looked whether what is served may be served.
    pub(super) fn checked(&self, now: SystemTime) {
        lock(&self.status).checked_at = Some(now);
    }

    /// What is served was found good again.
    pub(super) fn well(&self) {
        lock(&self.status).last_error = None;
    }

    /// Serves nothing from now on. Says so once.
    pub(super) fn clear(&self, reason: &str) {
        if self.identity.borrow().is_none() {
            return;
        }
        tracing::error!(reason, "the certificate is no longer served");
        let mut status = lock(&self.status);
        status.serial = None;
        status.not_after = None;
        status.next_renewal = None;
        status.last_error = Some(reason.to_owned());
        drop(status);
        self.identity.send_replace(None);
    }

    /// Clears when the served certificate is over.
    pub(super) fn clear_if_expired(&self, now: SystemTime) {
        let over = self.current().is_some_and(|held| now > held.svid.leaf().not_after());
        if over {
            self.clear("the certificate expired before a new one could be had");
        }
    }

    /// Records a failure; what is served stays.
    pub(super) fn failed(&self, what: &'static str, error: &dyn Error) {
        let reason = with_causes(error);
        tracing::warn!(error = %reason, still_serving = self.current().is_some(), "{what}");
        let mut status = lock(&self.status);
        status.failures = status.failures.saturating_add(1);
        status.last_error = Some(format!("{what}: {reason}"));
    }
}

pub(super) fn lock(status: &Mutex<Status>) -> std::sync::MutexGuard<'_, Status> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

fn rfc3339(time: SystemTime) -> String {
    time::OffsetDateTime::from(time)
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_else(|_| "out of range".to_owned())
}
