//! What both `hopgate check` and `hopgate status` read: pods, and what the control planes know.

use std::collections::BTreeMap;

use serde_json::Value;

use super::metrics::Metrics;
use super::seen::{Replica, Seen, SeenPod};
use crate::kube::{NotSeen, Viewer};
use crate::policy::yaml;

/// The label of everything that belongs to a control plane, encoded for a query.
const CONTROL_PLANES: &str =
    "labelSelector=app.kubernetes.io%2Fname%3Dhopgate%2Capp.kubernetes.io%2Fcomponent%3Dcontrol";
/// The port of the control plane's admin pages where its configuration does not say one.
const ADMIN_PORT: u16 = 15014;

/// Namespaces with their labels.
pub(super) type Labels = BTreeMap<String, BTreeMap<String, String>>;

/// All namespaces.
pub(super) async fn namespaces(viewer: &Viewer) -> Seen<Labels> {
    let labels = viewer.list("/api/v1/namespaces", "", |namespace| labelled(&namespace)).await?;
    Ok(labels.into_iter().collect())
}

fn labelled(namespace: &Value) -> Option<(String, BTreeMap<String, String>)> {
    let metadata = namespace.get("metadata")?;
    let name = metadata.get("name")?.as_str()?.to_owned();
    let labels = metadata.get("labels").cloned().unwrap_or_default();
    Some((name, serde_json::from_value(labels).unwrap_or_default()))
}

/// The pods of one namespace.
pub(super) async fn pods_of(viewer: &Viewer, namespace: &str) -> Seen<Vec<SeenPod>> {
    let found = viewer.get(&format!("/api/v1/namespaces/{namespace}")).await?;
    let labels = labelled(&found).into_iter().collect();
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    viewer.list(&pods, "", |pod| SeenPod::read(pod, &labels)).await
}

/// The pods of all namespaces.
pub(super) async fn pods(viewer: &Viewer, labels: &Labels) -> Seen<Vec<SeenPod>> {
    viewer.list("/api/v1/pods", "", |pod| SeenPod::read(pod, labels)).await
}

/// The Deployments of control planes.
pub(super) async fn deployments(viewer: &Viewer, namespace: &str) -> Seen<Vec<Value>> {
    let deployments = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    viewer.list(&deployments, CONTROL_PLANES, Some).await
}

/// `control.yaml` of the ConfigMap that the Deployment mounts.
pub(super) async fn configuration(
    viewer: &Viewer,
    deployment: &Value,
    namespace: &str,
) -> Seen<Value> {
    let volumes = deployment.pointer("/spec/template/spec/volumes").and_then(Value::as_array);
    let name = volumes.into_iter().flatten().find_map(|volume| volume.pointer("/configMap/name"));
    let Some(name) = name.and_then(Value::as_str) else {
        return Err(NotSeen::Unreached("the Deployment mounts no ConfigMap".to_owned()));
    };
    let text = value_of(viewer, (namespace, name), "control.yaml").await?;
    yaml::parse_one("control.yaml", &text).map_err(|error| NotSeen::Unreached(error.to_string()))
}

pub(super) async fn value_of(
    viewer: &Viewer,
    (namespace, name): (&str, &str),
    key: &str,
) -> Seen<String> {
    let map = viewer.get(&format!("/api/v1/namespaces/{namespace}/configmaps/{name}")).await?;
    let value = map.get("data").and_then(|data| data.get(key)).and_then(Value::as_str);
    value
        .map(str::to_owned)
        .ok_or_else(|| NotSeen::Unreached(format!("the ConfigMap {namespace}/{name} has no {key}")))
}

/// Asks each pod of a control plane for its pages.
pub(super) async fn replicas(
    viewer: &Viewer,
    (deployment, config): (&Value, &Seen<Value>),
    namespace: &str,
) -> Seen<Vec<Replica>> {
    let labels = deployment.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let selector = labels
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)));
    let selector = selector.collect::<Vec<_>>().join(",");
    let selector: String = form_urlencoded::byte_serialize(selector.as_bytes()).collect();
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let selector = format!("labelSelector={selector}");
    let pods = viewer.list(&pods, &selector, |pod| {
        let running = pod.pointer("/status/phase").is_some_and(|phase| phase == "Running");
        let name = pod.pointer("/metadata/name")?.as_str()?.to_owned();
        running.then_some(name)
    });
    let port = config.as_ref().ok().and_then(admin_port).unwrap_or(ADMIN_PORT);
    let mut replicas = Vec::new();
    for pod in pods.await? {
        let at = (namespace, pod.as_str());
        let page = viewer.page(at, port, "/config").await;
        let metrics = viewer.page(at, port, "/metrics").await;
        let clocks = metrics.as_ref().ok().and_then(|page| page.clocks);
        let fleet = page.and_then(|page| {
            let whole: Option<Value> = serde_json::from_str(&page.text).ok();
            let fleet = whole.and_then(|whole| whole.get("discovery").cloned());
            fleet.ok_or_else(|| {
                let status = page.status;
                NotSeen::Unreached(format!("/config answers {status}, and no page of discovery"))
            })
        });
        let metrics = metrics.map(|page| Metrics::read(&page.text));
        replicas.push(Replica { pod, fleet, metrics, clocks });
    }
    Ok(replicas)
}

fn admin_port(config: &Value) -> Option<u16> {
    let listen = config.pointer("/admin/listen")?.as_str()?;
    listen.rsplit_once(':')?.1.parse().ok()
}
