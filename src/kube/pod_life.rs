//! Whether one pod is still there: asked of the API server by name, judged by UID.
//!
//! A watch may be minutes behind without knowing it. What is asked for by name the API server reads as it stands.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use serde::{Deserialize, Serialize};

use super::Cluster;
use super::object::ObjectError;
use super::retry::{Patience, until_answered};

/// Who asks comes again: better soon and anew than long.
const PATIENCE: Patience =
    Patience { attempt: Duration::from_secs(3), whole: Duration::from_secs(4) };

/// One pod out of all that there ever were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PodId {
    /// Its namespace.
    pub namespace: String,
    /// Its name, which another one may have after it.
    pub name: String,
    /// Which of all that ever had this name.
    pub uid: String,
}

/// Whether anything of a pod may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodLife {
    /// It exists, and its containers have not all ended for good.
    There,
    /// It exists no more, or all its containers have ended for good. That does not change again.
    Over,
}

/// Asks an API server about pods. Cloning shares the connections.
#[derive(Clone)]
pub struct Pods(kube::Client);

impl Pods {
    /// The pods of that cluster. Nothing is asked yet.
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        Self(cluster.client())
    }

    /// Whether this pod is there now. It must be one that the API server has shown before: of one that never was, it would
    /// be said that it is over.
    ///
    /// # Errors
    /// When the API server refuses or does not answer: nothing is known then.
    pub async fn look(&self, pod: &PodId) -> Result<PodLife, ObjectError> {
        let PodId { namespace, name, uid } = pod;
        let pods: Api<Pod> = Api::namespaced(self.0.clone(), namespace);
        match until_answered(PATIENCE, || pods.get_opt(name)).await {
            Ok(found) => Ok(life(uid, found.as_ref())),
            Err(error) => Err(ObjectError::of("show", format!("Pod {namespace}/{name}"), error)),
        }
    }
}

/// What became of the pod `uid`, going by the one that has its name now.
fn life(uid: &str, named: Option<&Pod>) -> PodLife {
    let Some(named) = named else { return PodLife::Over };
    match named.metadata.uid.as_deref() {
        // No API server leaves it out; if one does, nothing is told apart.
        None => PodLife::There,
        Some(now) if now != uid => PodLife::Over,
        Some(_) if has_ended(named) => PodLife::Over,
        Some(_) => PodLife::There,
    }
}

/// All its containers have ended, and none is started again.
pub(super) fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_over_when_it_is_gone_or_replaced_or_has_ended_and_only_then() {
        let pod = |uid: &str, phase: &str| -> Pod {
            let pod = json!({ "metadata": { "name": "orders-0", "uid": uid }, "status": { "phase": phase } });
            serde_json::from_value(pod).unwrap()
        };
        let is = |named: Option<Pod>| life("u-1", named.as_ref());
        assert_eq!(is(None), PodLife::Over);
        for phase in ["Running", "Pending", "Unknown", "", "failed"] {
            assert_eq!(is(Some(pod("u-1", phase))), PodLife::There, "{phase}");
            assert_eq!(is(Some(pod("u-2", phase))), PodLife::Over, "{phase}: another pod");
        }
        for phase in ["Succeeded", "Failed"] {
            assert_eq!(is(Some(pod("u-1", phase))), PodLife::Over, "{phase}");
        }
        // One that is being deleted may serve to the last.
        let mut ending = pod("u-1", "Running");
        ending.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(is(Some(ending)), PodLife::There);
        let mut odd = pod("u-1", "Running");
        odd.metadata.uid = None;
        assert_eq!(is(Some(odd)), PodLife::There);
        assert_eq!(is(Some(Pod::default())), PodLife::There);
    }
}
