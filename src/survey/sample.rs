//! Looks at the sidecars of a mesh, twice, so that what they decide in between is known.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::fleet::Fleet;
use super::metrics::Metrics;
use super::parts;
use super::seen::{Seen, SeenPod};
use super::workload::{Look, Workload};
use crate::kube::inject::Standing;
use crate::kube::{NotSeen, Viewer};
use crate::mesh::pod::SIDECAR_PORT;
use crate::runtime::Clock;

/// So many sidecars are asked at a time.
const AT_ONCE: usize = 16;

/// Whose workloads are looked at.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where the control planes are.
    pub control_namespace: String,
    /// The namespace of the workloads; all of them if there is none.
    pub namespace: Option<String>,
    /// How long decisions are counted.
    pub pause: Duration,
}

/// The workloads of a mesh.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mesh {
    /// Each pod with a gate, and each that should have one.
    pub workloads: Vec<Workload>,
    /// What could not be learnt of the control planes, each a sentence.
    pub missing: Vec<String>,
}

impl Mesh {
    /// True when nothing is wrong, and everything is known.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.missing.is_empty() && self.workloads.iter().all(|one| one.problems.is_empty())
    }
}

/// Looks at the workloads of a mesh.
///
/// # Errors
/// When it is not known which pods there are.
pub async fn workloads(viewer: &Viewer, wanted: &Wanted, clock: &Clock) -> Result<Mesh, NotSeen> {
    let pods = match &wanted.namespace {
        Some(namespace) => parts::pods_of(viewer, namespace).await?,
        None => parts::pods(viewer, &parts::namespaces(viewer).await?).await?,
    };
    let (fleet, missing) = fleet(viewer, &wanted.control_namespace).await;
    let began = Instant::now();
    let first = looks(viewer, &pods, began).await;
    tokio::time::sleep(wanted.pause).await;
    let last = looks(viewer, &pods, began).await;
    let now = clock.now();
    let looks = first.iter().zip(&last);
    let workloads = pods.iter().zip(looks);
    let mut workloads: Vec<Workload> =
        workloads.filter_map(|(pod, looks)| Workload::of(pod, &fleet, looks, now)).collect();
    let outside = fleet.outside().iter();
    workloads.extend(
        outside.filter_map(|sidecar| Workload::outside(sidecar, wanted.namespace.as_deref())),
    );
    workloads.sort_by(|one, other| (&one.namespace, &one.pod).cmp(&(&other.namespace, &other.pod)));
    Ok(Mesh { workloads, missing })
}

/// Who is connected, and which control planes did not say.
async fn fleet(viewer: &Viewer, namespace: &str) -> (Fleet, Vec<String>) {
    let planes = match parts::deployments(viewer, namespace).await {
        Ok(planes) if planes.is_empty() => {
            let none = format!(
                "there is no control plane in {namespace}: say with --control-namespace where it is"
            );
            return (Fleet::default(), vec![none]);
        }
        Ok(planes) => planes,
        Err(why) => {
            return (Fleet::default(), vec![format!("the control planes of {namespace}: {why}")]);
        }
    };
    let (mut pages, mut missing) = (Vec::new(), Vec::new());
    for deployment in planes {
        let config = parts::configuration(viewer, &deployment, namespace).await;
        match parts::replicas(viewer, (&deployment, &config), namespace).await {
            Ok(replicas) => {
                for replica in replicas {
                    if let Err(why) = &replica.fleet {
                        missing.push(format!(
                            "the control plane's pod {} is not reached: {why}",
                            replica.pod
                        ));
                    }
                    pages.push(replica.fleet);
                }
            }
            Err(why) => {
                let name = deployment.pointer("/metadata/name").and_then(Value::as_str);
                missing.push(format!("the pods of {}: {why}", name.unwrap_or("the control plane")));
                pages.push(Err(why));
            }
        }
    }
    if pages.is_empty() {
        missing.push(format!("no pod of a control plane runs in {namespace}"));
    }
    (Fleet::of(&pages), missing)
}

async fn looks(viewer: &Viewer, pods: &[SeenPod], began: Instant) -> Vec<Seen<Look>> {
    let looks = stream::iter(pods).map(|pod| async move {
        if !pod.placed || !matches!(pod.standing, Ok(Standing::Guarded { .. })) {
            return Err(NotSeen::Unreached("it has no sidecar that runs".to_owned()));
        }
        let at = (pod.pod.namespace.as_str(), pod.name.as_str());
        let page = viewer.page(at, SIDECAR_PORT, "/metrics").await?;
        if page.status != 200 {
            return Err(NotSeen::Unreached(format!("/metrics answers {}", page.status)));
        }
        let (metrics, at) = (Metrics::read(&page.text), began.elapsed());
        Ok(Look { metrics, clocks: page.clocks, at })
    });
    looks.buffered(AT_ONCE).collect().await
}
