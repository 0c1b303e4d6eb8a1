//! What is shown to the API server as a dry run, so that it asks the webhooks.

use serde_json::{Value, json};

use super::seen::Seen;
use crate::kube::Viewer;
use crate::kube::crd::{GROUP, VERSION};

/// The name of whatever is shown.
const TRIED: &str = "hopgate-check";

/// A rule with a field that nobody knows: the schema keeps it, and the parser behind the webhook refuses it.
pub(super) async fn policy(viewer: &Viewer, namespace: &str) -> Seen<Value> {
    let rule = json!({ "name": "nobody", "deny": { "hopgate-check": true } });
    let policy = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "AccessPolicy",
        "metadata": { "name": TRIED, "namespace": namespace },
        "spec": { "rules": [rule] },
    });
    let path = format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/accesspolicies");
    viewer.try_create(&path, &policy).await
}

/// A pod to which no policy of a namespace should object, but for what its gate needs.
pub(super) async fn pod(viewer: &Viewer, namespace: &str) -> Seen<Value> {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": TRIED, "namespace": namespace },
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "app",
                "image": "registry.k8s.io/pause:3.10",
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "runAsUser": 65534,
                    "capabilities": { "drop": ["ALL"] },
                },
                "resources": {
                    "requests": { "cpu": "1m", "memory": "1Mi" },
                    "limits": { "cpu": "10m", "memory": "16Mi" },
                },
            }],
        },
    });
    viewer.try_create(&format!("/api/v1/namespaces/{namespace}/pods"), &pod).await
}
