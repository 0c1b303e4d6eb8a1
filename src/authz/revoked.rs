//! What is revoked, as one gate sees it: who calls, and the workload that it guards.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::verdict::Denial;
use crate::authn::Principals;
use crate::identity::{Members, SpiffeId};
use crate::revocation::{Certificate, Revocation, RevocationList, Subject};

/// The list in force, beside the snapshot: it changes more often, and without a look at the rules.
pub(super) struct Revoked {
    list: ArcSwap<Told>,
    /// The workload that is guarded; nothing where that is not known.
    own: Option<SpiffeId>,
    /// The serial number of its certificate; nothing as long as it has none.
    own_serial: ArcSwapOption<String>,
}

struct Told {
    list: Arc<RevocationList>,
    /// Whether anything in it could be about the workload that is guarded. Asked once, when the list comes.
    about_own: bool,
}

impl Revoked {
    /// Nothing is revoked.
    pub(super) fn nothing() -> Self {
        let told = Told { list: Arc::default(), about_own: false };
        Self { list: ArcSwap::from_pointee(told), own: None, own_serial: ArcSwapOption::empty() }
    }

    /// The workload that is guarded is this one.
    pub(super) fn guarding(self, own: SpiffeId) -> Self {
        let list = Arc::clone(&self.list.load().list);
        let guarding = Self { own: Some(own), ..self };
        guarding.replace(list);
        guarding
    }

    pub(super) fn replace(&self, list: Arc<RevocationList>) {
        let about = |own: &SpiffeId| {
            list.entries().any(|entry| match &entry.subject {
                // Under whatever name of the mesh; which those are is known at each request.
                Subject::Workload(workload) => workload.id.path() == own.path(),
            })
        };
        let about_own = self.own.as_ref().is_some_and(about);
        self.list.store(Arc::new(Told { list, about_own }));
    }

    pub(super) fn list(&self) -> Arc<RevocationList> {
        Arc::clone(&self.list.load().list)
    }

    /// The workload that is guarded has this certificate now.
    pub(super) fn hold(&self, serial: &str) {
        self.own_serial.store(Some(Arc::new(serial.to_owned())));
    }

    /// Nothing passes the gate of a workload that is revoked itself.
    pub(super) fn own(&self, members: Members<'_>, now: SystemTime) -> Option<Denial<'static>> {
        let told = self.list.load();
        let own = self.own.as_ref().filter(|_| told.about_own)?;
        let serial = self.own_serial.load();
        let certificate = match serial.as_deref() {
            Some(serial) => Certificate::Serial(serial),
            None => Certificate::Unseen,
        };
        let entry = told.list.find(own.as_str(), certificate, members, now)?;
        let reason = format!("this workload is revoked itself: {}", said(entry));
        Some(Denial::workload_revoked(own.as_str(), reason))
    }

    /// Whoever calls, the proxy that speaks for it, and the workloads for which its tokens speak.
    pub(super) fn caller(
        &self,
        principals: &Principals,
        members: Members<'_>,
        now: SystemTime,
    ) -> Option<Denial<'static>> {
        let told = self.list.load();
        if told.list.is_empty() {
            return None;
        }
        principals.workloads().find_map(|(id, serial)| {
            let certificate = serial.map_or(Certificate::Unseen, Certificate::Serial);
            let entry = told.list.find(id, certificate, members, now)?;
            let reason = match (&entry.subject, certificate) {
                (Subject::Workload(workload), Certificate::Unseen) if workload.serial.is_some() => {
                    format!(
                        "a certificate of {id} is revoked, and a token does not show by which it was got: {}",
                        said(entry)
                    )
                }
                (Subject::Workload(_), _) => format!("{} is revoked: {}", entry.subject, said(entry)),
            };
            Some(Denial::peer_revoked(id, reason))
        })
    }
}

/// What the operator said.
fn said(entry: &Revocation) -> String {
    let Revocation { subject: _, since: _, until, reason, by } = entry;
    format!("{reason} (by {by}, {until})")
}
