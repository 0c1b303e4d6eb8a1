//! Where plaintext is still taken: by the MeshPolicy, and past the gates.

use std::collections::BTreeMap;

use super::policies::roots;
use crate::kube::index::{Change, Heard, Held, Index};
use crate::kube::inject::Standing;
use crate::policy::{Mtls, MtlsMode};
use crate::survey::finding::Finding;
use crate::survey::seen::{Installation, Plane, SeenPod};

const STRICT: &str = "once every caller has a gate, set it to Strict";

pub(super) fn all(installation: &Installation, planes: &[Plane]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Ok(resources) = &installation.resources {
        for root in roots(installation, planes) {
            let held = resources.iter().filter_map(Held::read);
            let policies = held.filter(|held| held.key.kind == "MeshPolicy").collect();
            let mut index = Index::new(&root);
            index.apply(Change::Resources("MeshPolicy", Heard::All(policies)));
            findings.push(by_policy(index.mtls().as_ref()));
        }
    }
    if let Ok(pods) = &installation.pods {
        findings.push(past_gates(pods));
    }
    findings
}

fn by_policy(mtls: Option<&Mtls>) -> Finding {
    const CHECK: &str = "plaintext/mesh-policy";
    let Some(mtls) = mtls else {
        let next = "see policies/accepted; sidecars run the last MeshPolicy that could be used";
        return Finding::error(
            CHECK,
            "the MeshPolicy cannot be used: who may come in plaintext is not known",
            next,
        );
    };
    let exceptions = mtls.exceptions.iter().filter(|one| one.mode != MtlsMode::Strict);
    let items: Vec<String> = exceptions
        .map(|one| match one.port {
            Some(port) => format!("{} port {port}: {:?}", one.namespace, one.mode),
            None => format!("{}: {:?}", one.namespace, one.mode),
        })
        .collect();
    match mtls.mode {
        MtlsMode::Strict if items.is_empty() => {
            Finding::ok(CHECK, "every port of a gate asks for a certificate of the mesh")
        }
        MtlsMode::Strict => {
            Finding::warning(CHECK, "some namespaces or ports take plaintext", STRICT).with(items)
        }
        mode @ (MtlsMode::Permissive | MtlsMode::Disabled) => {
            let seen = format!("the mesh takes plaintext: mtls.mode is {mode:?}");
            Finding::warning(CHECK, seen, STRICT).with(items)
        }
    }
}

/// Ports to which connections go past the gate.
fn past_gates(pods: &[SeenPod]) -> Finding {
    const CHECK: &str = "plaintext/excluded-ports";
    let mut by_owner: BTreeMap<String, usize> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| matches!(pod.standing, Ok(Standing::Guarded { .. }))) {
        let excluded = pod.pod.gate.iter().flat_map(|gate| &gate.excluded);
        let ports: Vec<String> = excluded.map(ToString::to_string).collect();
        if !ports.is_empty() {
            let key = format!("{} {}: {}", pod.pod.namespace, pod.owner, ports.join(", "));
            *by_owner.entry(key).or_default() += 1;
        }
    }
    if by_owner.is_empty() {
        return Finding::ok(CHECK, "no port of a pod with a gate goes past it");
    }
    let items: Vec<String> = by_owner.into_keys().collect();
    let next = "take the port out of hopgate.dev/exclude-inbound-ports (or injection.exclude) where it need not be open to everybody";
    Finding::warning(CHECK, "some ports are excluded: in plaintext, for everybody, unjudged", next)
        .with(items)
}
