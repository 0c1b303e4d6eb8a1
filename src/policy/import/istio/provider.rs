//! Which identity providers surely hold for the workloads of a policy.

use std::collections::BTreeMap;

use super::super::out::Selector;

/// A translated provider, and for which workloads the original held.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) issuer: String,
    pub(super) namespace: String,
    pub(super) selector: Option<Selector>,
}

/// The providers of one policy.
#[derive(Clone, Copy)]
pub(super) struct Providers<'a> {
    pub(super) known: &'a [Known],
    pub(super) namespace: &'a str,
    pub(super) labels: Option<&'a BTreeMap<String, String>>,
}

impl Providers<'_> {
    /// The names alone.
    pub(super) fn names(&self) -> Vec<String> {
        self.all().into_iter().map(|(name, _)| name).collect()
    }

    /// Names and issuers of those that hold for every workload that the policy can select.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let surely = |known: &&Known| {
            known.namespace == self.namespace
                && known.selector.as_ref().is_none_or(|selector| {
                    let labels = |labels: &BTreeMap<String, String>| {
                        selector
                            .match_labels
                            .iter()
                            .all(|(name, value)| labels.get(name) == Some(value))
                    };
                    self.labels.is_some_and(labels)
                })
        };
        let pair = |known: &Known| (known.name.clone(), known.issuer.clone());
        self.known.iter().filter(surely).map(pair).collect()
    }
}
