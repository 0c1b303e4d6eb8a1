//! Which resources are for which pod: a value that is told what there is, in whatever order.
//!
//! Promised here:
//! - nothing is answered before every kind was heard in full;
//! - a resource that does not parse is for every pod of its namespace: whom it selects is not known, and whoever has an
//!   earlier version must be told of this one to keep that;
//! - of a pod that is not known, or runs as somebody else, nothing is said, which is not the same as that nothing is for it.

mod held;
mod neighbours;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) use held::document;
pub use held::{GateOfPod, Held, Pod, ResourceKey};
pub use neighbours::Neighbours;
pub use services::{ClusterService, EndpointSlice};

use services::Services;

use super::crd::DEFINITIONS;
use crate::identity::TrustDomain;
use crate::mesh::captured::Service;
use crate::policy::{self, Mtls, Resource};

/// What was heard of the objects of one kind.
#[derive(Debug, Clone)]
pub enum Heard<T> {
    /// All there are: whatever is not among them is gone.
    All(Vec<T>),
    /// One was added or changed.
    Put(T),
    /// One is gone.
    Gone(T),
    /// Nothing could be heard. Nothing is known to have changed.
    Failed(String),
}

impl<T> Heard<T> {
    /// Why nothing could be heard, if so.
    #[must_use]
    pub fn failure(&self) -> Option<&String> {
        match self {
            Self::Failed(words) => Some(words),
            Self::All(_) | Self::Put(_) | Self::Gone(_) => None,
        }
    }
}

/// What was heard.
#[derive(Debug, Clone)]
pub enum Change {
    /// Of the resources of one kind.
    Resources(&'static str, Heard<Held>),
    /// Of pods.
    Pods(Heard<Pod>),
    /// Of services.
    Services(Heard<ClusterService>),
    /// Of endpoints.
    Slices(Heard<EndpointSlice>),
}

/// What the control plane makes of a resource among the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Accepted,
    /// It cannot be used: the parser's words.
    Invalid(String),
    /// It can be used, and another one counts instead.
    Displaced(String),
}

/// Everything there is.
#[derive(Debug)]
pub struct Index {
    /// The namespace whose resources are for the whole mesh.
    root: String,
    resources: BTreeMap<ResourceKey, Arc<Held>>,
    /// By UID.
    pods: BTreeMap<String, Pod>,
    services: Services,
    /// Which kinds were heard in full; pods under their own name.
    heard: BTreeSet<&'static str>,
}

const PODS: &str = "Pod";

impl Index {
    /// Nothing was heard yet. The resources of the namespace `root` are for the whole mesh.
    #[must_use]
    pub fn new(root: &str) -> Self {
        Self {
            root: root.to_owned(),
            resources: BTreeMap::new(),
            pods: BTreeMap::new(),
            services: Services::default(),
            heard: BTreeSet::new(),
        }
    }

    /// True once every kind was heard in full.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing().is_empty()
    }

    /// The kinds of which not all was heard yet.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let all = DEFINITIONS.iter().map(|definition| definition.kind).chain([PODS]);
        all.filter(|kind| !self.heard.contains(kind)).collect()
    }

    /// Takes what was heard.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Resources(kind, Heard::All(all)) => {
                self.heard.insert(kind);
                self.resources.retain(|key, _| key.kind != kind);
                self.resources
                    .extend(all.into_iter().map(|held| (held.key.clone(), Arc::new(held))));
            }
            Change::Resources(_, Heard::Put(held)) => {
                self.resources.insert(held.key.clone(), Arc::new(held));
            }
            Change::Resources(_, Heard::Gone(held)) => {
                self.resources.remove(&held.key);
            }
            Change::Pods(Heard::All(all)) => {
                self.heard.insert(PODS);
                self.pods = all.into_iter().map(|pod| (pod.uid.clone(), pod)).collect();
            }
            Change::Pods(Heard::Put(pod)) => {
                self.pods.insert(pod.uid.clone(), pod);
            }
            Change::Pods(Heard::Gone(pod)) => {
                self.pods.remove(&pod.uid);
            }
            Change::Resources(_, Heard::Failed(_)) | Change::Pods(Heard::Failed(_)) => {}
            Change::Services(heard) => self.services.hear_services(heard),
            Change::Slices(heard) => self.services.hear_slices(heard),
        }
    }

    /// The services that are part of the mesh; `None` while not everything about them was heard. Resources do not wait for
    /// that.
    #[must_use]
    pub fn meshed(&self, domain: &TrustDomain, mtls: &Mtls) -> Option<Vec<Service>> {
        let whole = self.services.is_whole() && self.heard.contains(PODS);
        whole.then(|| self.services.meshed(&self.pods, (domain, mtls)))
    }

    /// What the MeshPolicy says of the ports of workloads; `None` while that is not known, or cannot be read.
    #[must_use]
    pub fn mtls(&self) -> Option<Mtls> {
        if !self.heard.contains("MeshPolicy") {
            return None;
        }
        let Some(held) = self.mesh_policy() else { return Some(Mtls::strict()) };
        let mut read = policy::parse(&held.key.to_string(), &held.document).ok()?;
        match (read.pop(), read.pop()) {
            (Some(Resource::MeshPolicy(policy)), None) => Some(policy.spec.mtls),
            _ => None,
        }
    }

    /// Every resource, by namespace.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Held>> {
        self.resources.values()
    }

    /// How many pods there are.
    #[must_use]
    pub fn pods(&self) -> usize {
        self.pods.len()
    }

    /// What other resources mean for one.
    #[must_use]
    pub fn neighbours(&self) -> Neighbours {
        let of_root = self.of_namespace(&self.root);
        Neighbours::new(
            &self.root,
            of_root.map(|held| &held.key),
            self.mesh_policy().map(|held| held.key.name.as_str()),
        )
    }

    /// What becomes of a resource among `neighbours`.
    #[must_use]
    pub fn verdict(held: &Held, neighbours: &Neighbours) -> Verdict {
        if let Some(displaced) = neighbours.displaced(&held.key) {
            return Verdict::Displaced(displaced);
        }
        match held.problem() {
            None => Verdict::Accepted,
            Some(words) => Verdict::Invalid(words.to_owned()),
        }
    }

    /// The pod that says to be this one and to run as `(namespace, account)`; `None` when there is no such pod.
    #[must_use]
    pub fn pod(&self, uid: &str, (namespace, account): (&str, &str)) -> Option<&Pod> {
        let pod = self.pods.get(uid)?;
        (pod.namespace == namespace && pod.service_account == account).then_some(pod)
    }

    /// The resources that are for a pod that says to run as `(namespace, account)`, in order; `None` while not everything
    /// was heard, or when there is no such pod.
    #[must_use]
    pub fn selected(
        &self,
        uid: &str,
        (namespace, account): (&str, &str),
    ) -> Option<Vec<&ResourceKey>> {
        if !self.is_whole() {
            return None;
        }
        let pod = self.pod(uid, (namespace, account))?;
        let mut namespaces = vec![namespace];
        if namespace != self.root {
            namespaces.push(&self.root);
        }
        let neighbours = self.neighbours();
        let here = namespaces.into_iter().flat_map(|namespace| self.of_namespace(namespace));
        let here = here.filter(|held| held.selects(pod));
        let selected = here.map(|held| &held.key).filter(|key| neighbours.displaced(key).is_none());
        let mut selected: Vec<&ResourceKey> = selected.collect();
        selected.sort_unstable();
        Some(selected)
    }

    fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<Held>> {
        let first = ResourceKey { namespace: namespace.to_owned(), kind: "", name: String::new() };
        let rest = self.resources.range(first..);
        rest.take_while(move |(key, _)| key.namespace == namespace).map(|(_, held)| held)
    }

    /// The one MeshPolicy that counts: the oldest.
    fn mesh_policy(&self) -> Option<&Arc<Held>> {
        self.of_namespace(&self.root)
            .filter(|held| held.key.kind == "MeshPolicy")
            .min_by_key(|held| (&held.created, &held.key.name))
    }
}

#[cfg(test)]
mod tests;
