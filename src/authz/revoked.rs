//! What is revoked, as one gate sees it: who calls, and the workload that it guards.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::verdict::Denial;
use crate::authn::Principals;
use crate::identity::{Members, SpiffeId};
use crate::revocation::{Certificate, Knowledge, Revocation, RevocationList, Subject};

/// Why nothing passes before the first word.
const UNKNOWN: &str = "the control plane has not yet told this sidecar who is revoked";

/// What is in force, beside the snapshot: it changes more often, and without a look at the rules.
pub(super) struct Revoked {
    told: ArcSwap<Told>,
    /// The workload that is guarded; nothing where that is not known.
    own: Option<SpiffeId>,
    /// The serial number of its certificate; nothing as long as it has none.
    own_serial: ArcSwapOption<String>,
}

struct Told {
    knowledge: Knowledge,
    /// Whether anything in it could be about the workload that is guarded. Asked once, when the list comes.
    about_own: bool,
}

impl Revoked {
    /// What is known at the start.
    pub(super) fn new(knowledge: Knowledge) -> Self {
        let told = Told { knowledge, about_own: false };
        Self { told: ArcSwap::from_pointee(told), own: None, own_serial: ArcSwapOption::empty() }
    }

    /// The workload that is guarded is this one.
    pub(super) fn guarding(self, own: SpiffeId) -> Self {
        let knowledge = self.knowledge();
        let guarding = Self { own: Some(own), ..self };
        guarding.take(knowledge);
        guarding
    }

    /// From now on this list is known. What is known once is never unknown again.
    pub(super) fn replace(&self, list: Arc<RevocationList>) {
        self.take(Knowledge::Known(list));
    }

    fn take(&self, knowledge: Knowledge) {
        let about = |own: &SpiffeId| {
            knowledge.list().into_iter().flat_map(|list| list.entries()).any(|entry| {
                match &entry.subject {
                    // Under whatever name of the mesh; which those are is known at each request.
                    Subject::Workload(workload) => workload.id.path() == own.path(),
                }
            })
        };
        let about_own = self.own.as_ref().is_some_and(about);
        self.told.store(Arc::new(Told { knowledge, about_own }));
    }

    pub(super) fn knowledge(&self) -> Knowledge {
        self.told.load().knowledge.clone()
    }

    /// The workload that is guarded has this certificate now.
    pub(super) fn hold(&self, serial: &str) {
        self.own_serial.store(Some(Arc::new(serial.to_owned())));
    }

    /// Nothing passes the gate of a workload that is revoked itself, and nothing while nobody can say who is revoked.
    pub(super) fn own(&self, members: Members<'_>, now: SystemTime) -> Option<Denial<'static>> {
        let told = self.told.load();
        let Knowledge::Known(list) = &told.knowledge else {
            return Some(Denial::new("revocation_unknown", UNKNOWN));
        };
        let own = self.own.as_ref().filter(|_| told.about_own)?;
        let serial = self.own_serial.load();
        let certificate = match serial.as_deref() {
            Some(serial) => Certificate::Serial(serial),
            None => Certificate::Unseen,
        };
        let entry = list.find(own.as_str(), certificate, members, now)?;
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
        let told = self.told.load();
        // It may have changed since the request was begun with, but never back to this.
        let Knowledge::Known(list) = &told.knowledge else {
            return Some(Denial::new("revocation_unknown", UNKNOWN));
        };
        if list.is_empty() {
            return None;
        }
        principals.workloads().find_map(|(id, serial)| {
            let certificate = serial.map_or(Certificate::Unseen, Certificate::Serial);
            let entry = list.find(id, certificate, members, now)?;
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
