//! Following objects: whoever follows is shown all of them as they are, again after each change.
//!
//! Only their metadata comes over the wire, so nothing that a Secret holds does. What was missed while the API server was not
//! heard shows once it is.

use std::collections::BTreeMap;
use std::fmt;

use futures_util::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, watcher};
use serde::de::DeserializeOwned;

use super::index::Heard;
use super::watch::follow_events;
use super::{Cluster, ObjectName};

/// The longest that one watch is heard, in seconds: a connection that died in silence is noticed soon after.
const ROUND: u32 = 30;

/// Objects of one kind in one namespace, to be followed.
pub struct Followed<K> {
    api: Api<PartialObjectMeta<K>>,
    which: watcher::Config,
    place: String,
}

impl<K> Followed<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + fmt::Debug
        + Send
        + 'static,
{
    /// The one object of that name, whether it is there or not.
    #[must_use]
    pub fn named(cluster: &Cluster, name: &ObjectName) -> Self {
        let which = watcher::Config::default().fields(&format!("metadata.name={}", name.name));
        Self::new(cluster, name, which)
    }

    /// All objects in the namespace of `beside` that have this label.
    #[must_use]
    pub fn labelled(cluster: &Cluster, beside: &ObjectName, (key, value): (&str, &str)) -> Self {
        Self::new(cluster, beside, watcher::Config::default().labels(&format!("{key}={value}")))
    }

    fn new(cluster: &Cluster, beside: &ObjectName, which: watcher::Config) -> Self {
        let client = cluster.client();
        let namespace = beside.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        let place = format!("{}s of {namespace}", K::kind(&()));
        Self { api: Api::namespaced(client, &namespace), which: which.timeout(ROUND), place }
    }

    /// Shows them, and again after each change, for ever. What the API server does not tell is waited for.
    pub async fn follow(self, mut show: impl FnMut(&BTreeMap<String, ObjectMeta>)) {
        let Self { api, which, place } = self;
        let open = move || watcher(api.clone(), which.clone()).boxed();
        let mut heard = std::pin::pin!(follow_events(open, named));
        let mut known = BTreeMap::new();
        let mut deaf = false;
        while let Some(heard) = heard.next().await {
            let failed = matches!(heard, Heard::Failed(_));
            match heard {
                Heard::All(all) => known = all.into_iter().collect(),
                Heard::Put((name, metadata)) => drop(known.insert(name, metadata)),
                Heard::Gone((name, _)) => drop(known.remove(&name)),
                Heard::Failed(error) if deaf => {
                    tracing::debug!(objects = place, error, "not heard")
                }
                Heard::Failed(error) => tracing::warn!(objects = place, error, "not heard"),
            }
            if deaf && !failed {
                tracing::info!(objects = place, "heard again");
            }
            deaf = failed;
            if !failed {
                show(&known);
            }
        }
    }
}

fn named<K>(object: PartialObjectMeta<K>) -> Option<(String, ObjectMeta)> {
    let metadata = object.metadata;
    metadata.name.clone().map(|name| (name, metadata))
}
