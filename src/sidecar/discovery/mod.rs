//! What the control plane tells this sidecar: whom to trust, whom no more, and when to replace its certificate.
//!
//! Promised here:
//! - bundles reach the workload only if its own certificate stays good under them, and only whole;
//! - the control plane hears "accepted" once the workload's Envoy has what follows from it, and "refused" in Envoy's words;
//! - without the control plane everything stays as it was told last, also over a restart; a memory that is damaged stops it;
//! - before the control plane told who is revoked, that is not known, which is not to say that nobody is;
//! - what cannot be read is refused aloud; a revocation beside one that cannot be read is heeded;
//! - nothing is known of services before all were told;
//! - resources come into force whole the first time, and then each that can be used: of one that cannot, what was before stays.

mod assign;
mod backoff;
mod hear;
mod ledger;
mod link;
mod policies;
mod services;
mod status;
mod store;
mod task;
mod told;
mod word;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::{mpsc, watch};

use crate::certs::{self, ControlServer, InvalidServer, RenewalHandle};
use crate::identity::{SpiffeId, WorkloadIdentity};
use crate::mesh::captured::Service;
use crate::runtime::{Clock, Drain, with_causes};
use crate::xds::own::{
    DomainBundle, KINDS, POLICY_KIND, POLICY_RESOURCE_TYPE, PolicyResource, REISSUE_ORDER_TYPE,
    REVOKED_WORKLOAD_TYPE, ReissueOrder, RevokedWorkload, SERVICE_KIND, SERVICE_TYPE,
    TRUST_BUNDLE_TYPE,
};
use crate::xds::{Follower, content_version};

use super::Config;
use super::assigned::{Assigned, AssignedSet, Proposal};
use super::sds::SdsStatus;
use super::sources::Sources;

pub(super) use status::count_discovery;
pub use status::{DiscoveryStatus, Heard};
pub use store::StoredError;

use assign::Policies;
use ledger::Ledger;
use services::ToldServices;
pub(super) use services::{Services, Wanted};
use store::{Kept, Store};
pub(super) use task::Task;
use told::Told;
pub(super) use word::Words;

/// The section `discovery` of a sidecar's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct DiscoveryConfig {
    /// How long a bundle waits for an Envoy to ask for its secrets before it is accepted without one.
    #[serde(with = "humantime_serde")]
    pub envoy_grace: Duration,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self { envoy_grace: Duration::from_secs(5) }
    }
}

impl DiscoveryConfig {
    pub(super) fn to_json(&self) -> serde_json::Value {
        let grace = humantime_serde::re::humantime::format_duration(self.envoy_grace);
        serde_json::json!({ "envoyGrace": grace.to_string() })
    }
}

/// What a sidecar was told before it starts: read from its state directory.
#[derive(Debug)]
pub(super) struct Memory {
    workload: SpiffeId,
    store: Option<Store>,
    kept: Kept,
    bundles: Vec<DomainBundle>,
    told: Told,
    reissue: Option<ReissueOrder>,
    /// The resources that were in force; `None` when no whole set ever was.
    assigned: Option<AssignedSet>,
}

/// How resources come into force: what is now, where more is proposed, the UID of the workload's pod, and what else it needs.
pub(super) struct Assignment {
    pub(super) assigned: Assigned,
    pub(super) proposals: mpsc::Sender<Proposal>,
    pub(super) pod_uid: String,
    pub(super) wanted: Wanted,
}

/// The parts that the sidecar's process uses.
pub(super) struct Discovery {
    pub(super) task: Task,
    pub(super) status: Arc<DiscoveryStatus>,
    /// What is said of revocations.
    pub(super) words: Words,
    /// The services of the mesh, where they are wanted.
    pub(super) services: Option<Services>,
}

impl Memory {
    /// What a sidecar of this configuration was told.
    ///
    /// # Errors
    /// As [`Memory::open`].
    pub(super) fn of(config: &Config, workload: &SpiffeId) -> Result<Self, StoredError> {
        let certificates = config.certificates.as_ref();
        Self::open(certificates.and_then(|c| c.state_directory.as_deref()), workload)
    }

    /// Reads the state directory.
    ///
    /// # Errors
    /// When something is there that cannot be read: whoever was revoked in it would be trusted again.
    pub(super) fn open(directory: Option<&Path>, workload: &SpiffeId) -> Result<Self, StoredError> {
        let store = directory.map(Store::new);
        let loaded = store.as_ref().map(|store| store.load(workload.as_str())).transpose()?;
        let kept = loaded.flatten().unwrap_or_default();
        let mut memory = Self {
            workload: workload.clone(),
            store,
            kept: Kept { bootstrap: kept.bootstrap, resources: BTreeMap::new() },
            bundles: Vec::new(),
            told: Told::nothing(),
            reissue: None,
            assigned: None,
        };
        for (type_url, of_type) in kept.resources {
            if type_url == POLICY_RESOURCE_TYPE {
                // That there was none is something else than that none was told.
                memory.assigned = Some(AssignedSet::new());
            }
            memory.kept.resources.entry(type_url.clone()).or_default();
            // That nobody is revoked was told, too.
            let all = type_url == REVOKED_WORKLOAD_TYPE;
            for (name, content) in of_type {
                if let Err(what) = memory.recall(&type_url, &name, &content) {
                    return Err(memory.foreign(format!("{name:?}: {what}")));
                }
                memory.kept.resources.entry(type_url.clone()).or_default().insert(name, content);
            }
            if all {
                memory.kept.resources.entry(type_url).or_default();
                memory.told.is_all().map_err(|too_many| memory.foreign(too_many.to_string()))?;
            }
        }
        Ok(memory)
    }

    fn foreign(&self, what: String) -> StoredError {
        let path = self.store.as_ref().map(|store| store.path().to_owned()).unwrap_or_default();
        StoredError::Foreign { path, what }
    }

    fn recall(&mut self, type_url: &str, name: &str, content: &[u8]) -> Result<(), String> {
        match type_url {
            TRUST_BUNDLE_TYPE => self
                .bundles
                .push(DomainBundle::decode(name, content).map_err(|error| with_causes(&error))?),
            REVOKED_WORKLOAD_TYPE => {
                let revoked = RevokedWorkload::decode(name, content);
                let revoked = revoked.map_err(|error| with_causes(&error))?;
                self.told.restore(name.to_owned(), revoked);
            }
            REISSUE_ORDER_TYPE => {
                let order = ReissueOrder::decode(name, content);
                self.reissue = Some(order.map_err(|error| with_causes(&error))?);
            }
            POLICY_RESOURCE_TYPE => {
                let resource = PolicyResource::decode(name, content);
                let resource = resource.map_err(|error| with_causes(&error))?;
                self.assigned.get_or_insert_default().insert(name.to_owned(), resource);
            }
            // Read once more where they are wanted.
            SERVICE_TYPE => {
                Service::decode(name, content).map_err(|error| with_causes(&error))?;
            }
            _ => return Err("of a type that this version does not know".to_owned()),
        }
        Ok(())
    }

    /// The bundles that were told, for [`certs::Renewal::trusting`]; `None` when the own one was not.
    pub(super) fn trusted(&self) -> Option<certs::Told> {
        let domain = self.workload.trust_domain();
        let own = self.bundles.iter().find(|bundle| *bundle.domain() == domain)?;
        let bundles = ledger::compose(own.roots()?, self.bundles.iter());
        Some(certs::Told { bundles, bootstrap: self.kept.bootstrap.clone() })
    }

    /// The resources that were in force, for a workload whose resources the control plane assigns.
    pub(super) fn assigned(&self, sources: &Sources) -> Assigned {
        match (&sources.control, &self.assigned) {
            (None, _) => Assigned::NotAsked,
            (Some(_), None) => Assigned::NotYet,
            (Some(_), Some(set)) => Assigned::All(Arc::new(set.clone())),
        }
    }

    /// Everything ready to run. `None` when the workload takes its roots from files: nothing is told for it.
    pub(super) fn start(
        self,
        (source, assignment): (&certs::Source, Assignment),
        (identity, renewal): (watch::Receiver<Option<Arc<WorkloadIdentity>>>, RenewalHandle),
        envoys: Option<(Arc<SdsStatus>, Duration)>,
        (clock, drain): (Clock, Drain),
    ) -> Result<Option<Discovery>, InvalidServer> {
        let certs::Source::Control(control) = source else { return Ok(None) };
        let Some(trusted) = renewal.trusted() else { return Ok(None) };
        let server = ControlServer::parse(&control.server)?;
        let Assignment { assigned, proposals, pod_uid, wanted } = assignment;
        let policies = Policies::new(&assigned, proposals);
        let services = match wanted {
            // Never an error: what was kept was read when the memory was opened.
            Wanted::Services => ToldServices::new(self.kept.resources.get(SERVICE_TYPE)).ok(),
            Wanted::Nothing => None,
        };
        let types = KINDS.into_iter().chain(policies.is_some().then_some(POLICY_KIND));
        let types = types.chain(services.is_some().then_some(SERVICE_KIND));
        let mut follower = Follower::new(types.map(|kind| kind.type_url));
        let mut ledger = Ledger::new(self.workload.trust_domain());
        let mut kept = self.kept;
        if kept.bootstrap == trusted.borrow().bootstrap {
            // Not held: they are told once more, and then acknowledged by the Envoys that are there then.
            self.bundles.into_iter().for_each(|bundle| ledger.restore(bundle));
        } else {
            kept.resources.remove(TRUST_BUNDLE_TYPE);
        }
        for (name, content) in kept.resources.get(REVOKED_WORKLOAD_TYPE).into_iter().flatten() {
            follower.hold(REVOKED_WORKLOAD_TYPE, name.clone(), content_version(content));
        }
        if matches!(assigned, Assigned::NotAsked | Assigned::NotYet) {
            kept.resources.remove(POLICY_RESOURCE_TYPE);
        }
        if services.is_none() {
            kept.resources.remove(SERVICE_TYPE);
        }
        for type_url in [POLICY_RESOURCE_TYPE, SERVICE_TYPE] {
            for (name, content) in kept.resources.get(type_url).into_iter().flatten() {
                follower.hold(type_url, name.clone(), content_version(content));
            }
        }
        renewal.reissue(self.reissue.as_ref().map(hear::reissue));
        let status = Arc::new(DiscoveryStatus::new(clock.clone()));
        let types = KINDS.into_iter().chain([POLICY_KIND, SERVICE_KIND]);
        for type_url in types.map(|kind| kind.type_url) {
            let held = kept.resources.get(type_url).map_or(0, BTreeMap::len);
            let held = u64::try_from(held).unwrap_or(u64::MAX);
            status.update(|heard| {
                heard.resources.insert(type_url, held);
            });
        }
        let (speaker, words) = word::words(self.told.knowledge());
        let told_services = services.as_ref().map(ToldServices::subscribe);
        let task = Task {
            server,
            workload: self.workload,
            identity,
            renewal,
            trusted,
            envoys,
            clock,
            drain,
            follower,
            ledger,
            policies,
            services,
            pod_uid,
            kept,
            store: self.store,
            told: self.told,
            speaker,
            waiting: VecDeque::new(),
            status: Arc::clone(&status),
            attempt: None,
            unsaved: false,
        };
        Ok(Some(Discovery { task, status, words, services: told_services }))
    }
}

#[cfg(test)]
mod tests;
