//! The resources as they were heard last, for whoever reports on them.

use std::sync::Arc;

use crate::kube::index::{Held, Index, Neighbours, Verdict};

use super::groups::{Groups, resource_name};

/// All resources, and what is made of each.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) resources: Vec<KnownResource>,
    /// For those that are about to be written.
    pub(super) neighbours: Neighbours,
}

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct KnownResource {
    pub(super) held: Arc<Held>,
    pub(super) verdict: Verdict,
    /// Its name on the way to sidecars.
    pub(super) name: String,
    /// Its version there.
    pub(super) version: Arc<str>,
}

impl Known {
    /// Nothing was heard yet.
    pub(super) fn nothing(root: &str) -> Self {
        let neighbours = Neighbours::new(root, std::iter::empty(), None);
        Self { resources: Vec::new(), neighbours }
    }

    pub(super) fn of(index: &Index, groups: &Groups) -> Self {
        let neighbours = index.neighbours();
        let resources = index.resources().filter_map(|held| {
            Some(KnownResource {
                held: Arc::clone(held),
                verdict: Index::verdict(held, &neighbours),
                name: resource_name(&held.key),
                version: Arc::clone(groups.version(&held.key)?),
            })
        });
        let resources = resources.collect();
        Self { resources, neighbours }
    }
}
