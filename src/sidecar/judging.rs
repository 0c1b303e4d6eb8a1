//! Everything that judges: the gate with its rules and keys, and the tasks that keep them up to date.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::assigned::Assigned;
use super::certificates::Certificates;
use super::discovery::{Assignment, Memory};
use super::reload::{Incoming, Origin, Reload, ReloadStatus};
use super::{
    Config, Counts, Identity, InvalidResources, Resources, StartError, authn_metrics,
    running_metrics,
};
use crate::authn::{
    self, HttpClient, HttpOptions, InvalidAnchor, KeyHandle, KeyRefresh, KeyStore, Verifier,
    WorkloadRoots,
};
use crate::authz::{Descriptors, Gate, Resolver};
use crate::identity::{TrustDomain, WorkloadIdentity};
use crate::policy;
use crate::revocation::Knowledge;
use crate::runtime::{Clock, Drain, FileWatch, Ready, Tasks, read_bytes, with_causes};
use crate::telemetry::Metrics;

/// Verified credentials kept, at most.
const CREDENTIAL_CACHE: u64 = 100_000;

/// Everything that judges.
pub(super) struct Judging {
    pub(super) gate: Arc<Gate>,
    pub(super) keys: KeyHandle,
    pub(super) resolver: Resolver,
    pub(super) status: ReloadStatus,
    /// Of the resources at the start.
    pub(super) counts: Counts,
    pub(super) aliases: Aliases,
}

/// Other names of the mesh, for which its own roots vouch, as the MeshPolicy in force says.
pub(super) type Aliases = watch::Receiver<Vec<TrustDomain>>;

impl Judging {
    /// Loads rules and keys, and starts the tasks that follow them. `memory` holds what the control plane assigned before a
    /// restart.
    pub(super) fn start(
        config: &Config,
        (own, memory, clock): (Identity, &Memory, &Clock),
        (ready, metrics): (&Ready, &Metrics),
        tasks: &mut Tasks,
    ) -> Result<(Self, Assignment), StartError> {
        let Identity { id, workload } = own;
        // Watched before they are read, so that no change falls between.
        let files = FileWatch::new(&config.resources.files)?;
        let store = open_store(config)?;
        let (resources, assigned) = load(config, memory.assigned(&config.resources), &workload)?;
        let mut resources = resources.with_descriptors(descriptors(config)?);
        if let Some(store) = &store {
            resources = resources.restore(store, clock.now());
        }
        let verifier = Arc::new(verifier(config)?);
        let domain = workload.trust_domain.clone();
        // What is known is put in force before anything is served.
        let begin = (resources.snapshot(), Knowledge::Unknown);
        let gate = Gate::new(begin, Arc::clone(&verifier), domain, clock.clone());
        let attributes = config.decision_log.caller_attributes.into();
        let gate = gate.with_forward(config.forward_rules()?).with_attributes(attributes);
        let gate = gate.guarding(id);
        let gate = Arc::new(gate);
        let (new_keys, keys_received) = mpsc::channel(16);
        let client = HttpClient::new(&HttpOptions::system())?;
        let (key_task, keys) = KeyRefresh::new(clock.clone(), client, store.clone(), new_keys);
        keys.update(resources.providers());
        let callers = authn::Resolver::new(keys.clone(), &verifier, clock.clone());
        let resolver = Resolver::new(callers, &gate);
        authn_metrics::register(metrics, &keys, &resolver, clock);
        running_metrics::register(metrics, &gate);
        tasks.spawn("keys", key_task.run(tasks.drain()));
        if let Some(questions) = resolver.callers().questions() {
            tasks.spawn("questions", questions.run(tasks.drain()));
        }
        if let Some(questions) = resolver.engine_questions() {
            tasks.spawn("engine questions", questions.run(tasks.drain()));
        }

        let status = ReloadStatus::new(metrics);
        let counts = resources.counts();
        let reload = Reload::new(
            (Origin { sources: config.resources.clone(), assigned: assigned.clone() }, workload),
            resources,
            (Arc::clone(&gate), keys.clone()),
            (ready.require("policy"), ready.require("keys"), status.clone()),
            (store, clock.clone()),
        );
        let aliases = reload.aliases();
        let (proposals, proposed) = mpsc::channel(1);
        let incoming = Incoming { files, keys: keys_received, proposals: proposed };
        tasks.spawn("resources", reload.run(incoming, tasks.drain()));
        let pod_uid = config.workload.pod_uid.clone().unwrap_or_default();
        let wanted = config.wanted();
        let assignment = Assignment { assigned, proposals, pod_uid, wanted };
        Ok((Self { gate, keys, resolver, status, counts, aliases }, assignment))
    }

    /// The gate trusts the roots that came with this workload's certificate, and knows which one that is.
    pub(super) fn follow_roots(
        &self,
        certificates: &Certificates,
        drain: Drain,
    ) -> impl Future<Output = Result<(), Infallible>> + use<> {
        let gate = Arc::clone(&self.gate);
        let mut identity = certificates.identity.clone();
        async move {
            loop {
                let identity_now = identity.borrow_and_update().clone();
                if let Some(identity) = identity_now.as_deref() {
                    gate.hold(identity.svid.leaf().serial());
                }
                let roots = identity_now.as_deref().map(workload_roots);
                match roots {
                    Some(Ok(roots)) => gate.trust(roots),
                    Some(Err(error)) => tracing::error!(%error, "the mesh's roots cannot be used"),
                    None => {}
                }
                tokio::select! {
                    changed = identity.changed() => if changed.is_err() {
                        drain.begun().await;
                        return Ok(());
                    },
                    () = drain.begun() => return Ok(()),
                }
            }
        }
    }
}

/// The resources to begin with. What was assigned before a restart and cannot be used any more (a file that it names is gone)
/// is not used in part: all is refused until the control plane assigns again.
fn load(
    config: &Config,
    assigned: Assigned,
    workload: &policy::Workload,
) -> Result<(Resources, Assigned), InvalidResources> {
    match (Resources::load_all(&config.resources, &assigned, workload), &assigned) {
        (Ok(resources), _) => Ok((resources, assigned)),
        (Err(error), Assigned::NotAsked | Assigned::NotYet) => Err(error),
        (Err(error), Assigned::All(_)) => {
            let closed = Resources::load_all(&config.resources, &Assigned::NotYet, workload)?;
            tracing::error!(
                error = with_causes(&error),
                "the resources of before the restart cannot be used; all requests are refused until the control plane tells which there are"
            );
            Ok((closed, Assigned::NotYet))
        }
    }
}

/// The roots of this mesh and of those it federates with. A foreign bundle that cannot be used is left out: its workloads
/// are refused then, and nobody else is.
fn workload_roots(identity: &WorkloadIdentity) -> Result<WorkloadRoots, InvalidAnchor> {
    let intermediates = identity.svid.chain().get(1..).unwrap_or_default();
    let mut roots =
        WorkloadRoots::compile(identity.bundles.own())?.with_intermediates(intermediates);
    for foreign in identity.bundles.foreign() {
        if let Err(error) = roots.add_foreign(foreign) {
            tracing::error!(%error, trust_domain = %foreign.domain(), "its roots cannot be used");
        }
    }
    Ok(roots)
}

/// Where fetched keys are kept over restarts.
fn open_store(config: &Config) -> Result<Option<KeyStore>, StartError> {
    let directory = config.state_dir.as_ref().map(|directory| directory.join("keys"));
    Ok(directory.map(|directory| KeyStore::open(&directory)).transpose()?)
}

/// The most bytes of a file of descriptors.
const MAX_DESCRIPTORS: u64 = 64 * 1024 * 1024;

fn descriptors(config: &Config) -> Result<Option<Arc<Descriptors>>, StartError> {
    let Some(path) = &config.ext_authz.grpc_descriptors else { return Ok(None) };
    let bytes = read_bytes(path, MAX_DESCRIPTORS)?;
    Ok(Some(Arc::new(Descriptors::parse(path.clone(), &bytes)?)))
}

fn verifier(config: &Config) -> Result<Verifier, StartError> {
    Ok(Verifier::new(CREDENTIAL_CACHE)?.with_brakes(config.brake_rules()))
}
