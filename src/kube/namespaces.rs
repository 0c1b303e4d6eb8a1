//! What is asked of, and written into, namespaces: their labels, events, and the roots of the mesh.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, GetParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::Cluster;

/// The ConfigMaps that this process keeps have this label; its value is the name of the ConfigMap.
const KEPT: &str = "hopgate.dev/trust";
const MANAGER: &str = "hopgate-control";
/// The API server takes no longer messages.
const MESSAGE: usize = 1024;

/// The namespaces of a cluster.
#[derive(Debug, Clone)]
pub struct Namespaces(Cluster);

/// The API server does not do as asked.
#[derive(Debug, thiserror::Error)]
#[error(
    "the API server does not {action} {what}; may the control plane's service account do this?"
)]
pub struct NotDone {
    action: &'static str,
    what: String,
    #[source]
    source: Box<kube::Error>,
}

/// Something that the owner of a pod should hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Of what.
    pub subject: Subject,
    /// A word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
    /// Whether something is wrong.
    pub weight: NoticeWeight,
}

/// Whether something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeWeight {
    /// No.
    Normal,
    /// Yes.
    Warning,
}

/// An object, by its names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
    uid: Option<String>,
}

impl Subject {
    /// Whoever makes this pod, or the pod where nobody does. Nothing if neither has a name.
    ///
    /// A pod that is being made has no UID, and often no name; what made it has both.
    #[must_use]
    pub fn of_pod(pod: &Value, namespace: &str) -> Option<Self> {
        let text = |value: &Value, field: &str| Some(value.get(field)?.as_str()?.to_owned());
        let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let controller = owners
            .into_iter()
            .flatten()
            .find(|owner| owner.get("controller").and_then(Value::as_bool).unwrap_or(false));
        let namespace = namespace.to_owned();
        if let Some(owner) = controller {
            return Some(Self {
                api_version: text(owner, "apiVersion")?,
                kind: text(owner, "kind")?,
                namespace,
                name: text(owner, "name")?,
                uid: text(owner, "uid"),
            });
        }
        let name = text(pod.get("metadata")?, "name")?;
        let (api_version, kind) = ("v1".to_owned(), "Pod".to_owned());
        Some(Self { api_version, kind, namespace, name, uid: None })
    }
}

impl Namespaces {
    /// Those of this cluster.
    #[must_use]
    pub fn new(cluster: Cluster) -> Self {
        Self(cluster)
    }

    /// The labels of a namespace, as they are now.
    ///
    /// # Errors
    /// When the API server does not tell, or there is no such namespace.
    pub async fn labels(&self, name: &str) -> Result<BTreeMap<String, String>, NotDone> {
        let api: Api<Namespace> = Api::all(self.0.client());
        let found = api.get_metadata_with(name, &GetParams::default()).await;
        let found = found.map_err(not_done("show", || format!("the namespace {name}")))?;
        Ok(found.metadata.labels.unwrap_or_default())
    }

    /// Makes an event.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub async fn tell(&self, notice: &Notice, now: SystemTime) -> Result<(), NotDone> {
        let Notice { subject, reason, message, weight } = notice;
        let api: Api<Event> = Api::namespaced(self.0.client(), &subject.namespace);
        let now = k8s_openapi::jiff::Timestamp::try_from(now).ok().map(Time);
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!(
                    "{}-",
                    subject.name.chars().take(200).collect::<String>()
                )),
                namespace: Some(subject.namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some(subject.api_version.clone()),
                kind: Some(subject.kind.clone()),
                namespace: Some(subject.namespace.clone()),
                name: Some(subject.name.clone()),
                uid: subject.uid.clone(),
                ..ObjectReference::default()
            },
            reason: Some((*reason).to_owned()),
            message: Some(message.chars().take(MESSAGE).collect()),
            type_: Some(weight.word().to_owned()),
            count: Some(1),
            first_timestamp: now.clone(),
            last_timestamp: now,
            source: Some(k8s_openapi::api::core::v1::EventSource {
                component: Some(MANAGER.to_owned()),
                host: None,
            }),
            ..Event::default()
        };
        let made = api.create(&PostParams::default(), &event).await;
        made.map(drop).map_err(not_done("take", || format!("an event in {}", subject.namespace)))
    }

    /// Puts values into a ConfigMap of this process's own, which is made if it is not there.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub async fn keep(
        &self,
        (namespace, name): (&str, &str),
        values: &BTreeMap<String, String>,
    ) -> Result<(), NotDone> {
        let api: Api<ConfigMap> = Api::namespaced(self.0.client(), namespace);
        let labels = json!({ KEPT: name, "app.kubernetes.io/managed-by": "hopgate" });
        let wanted = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": name, "labels": labels },
            "data": values,
        });
        let apply = PatchParams::apply(MANAGER).force();
        let done = api.patch(name, &apply, &Patch::Apply(&wanted)).await;
        done.map(drop).map_err(not_done("keep", || format!("the ConfigMap {namespace}/{name}")))
    }

    /// The namespaces in which a ConfigMap of this name is kept and holds something else.
    ///
    /// # Errors
    /// When the API server does not tell.
    pub async fn kept_otherwise(
        &self,
        name: &str,
        values: &BTreeMap<String, String>,
    ) -> Result<Vec<String>, NotDone> {
        let api: Api<ConfigMap> = Api::all(self.0.client());
        // By name too: so no right is needed for any other ConfigMap.
        let list = ListParams::default().labels(&format!("{KEPT}={name}"));
        let list = list.fields(&format!("metadata.name={name}"));
        let found = api.list(&list).await;
        let found = found.map_err(not_done("list", || format!("the ConfigMaps {name}")))?;
        let other = found.items.into_iter().filter(|map| map.data.as_ref() != Some(values));
        Ok(other.filter_map(|map| map.metadata.namespace).collect())
    }
}

impl NoticeWeight {
    fn word(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

pub(super) fn not_done(
    action: &'static str,
    what: impl FnOnce() -> String,
) -> impl FnOnce(kube::Error) -> NotDone {
    move |source| NotDone { action, what: what(), source: source.into() }
}

impl NotDone {
    /// What it could not do.
    pub(super) fn new(action: &'static str, what: String, source: kube::Error) -> Self {
        Self { action, what, source: source.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_of_whoever_makes_the_pod() {
        let owner = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "a-1", "uid": "u", "controller": true });
        let other = json!({ "apiVersion": "v1", "kind": "Node", "name": "n", "uid": "v" });
        let pod =
            json!({ "metadata": { "generateName": "a-1-", "ownerReferences": [other, owner] } });
        let subject = Subject::of_pod(&pod, "shop").unwrap();
        assert_eq!((subject.kind.as_str(), subject.name.as_str()), ("ReplicaSet", "a-1"));
        assert_eq!(subject.uid.as_deref(), Some("u"));
        let named = json!({ "metadata": { "name": "debug" } });
        assert_eq!(Subject::of_pod(&named, "shop").unwrap().kind, "Pod");
        for nameless in [json!({ "metadata": { "generateName": "a-" } }), json!({}), json!([])] {
            assert_eq!(Subject::of_pod(&nameless, "shop"), None);
        }
    }
}
