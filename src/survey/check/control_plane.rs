//! The control plane: there, ready, of this version, and reached.

use serde_json::Value;

use super::{count, name};
use crate::survey::finding::Finding;
use crate::survey::seen::{Installation, Plane};

/// What this program is.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Nothing if there is one: what is said of it says so.
pub(super) fn installed(installation: &Installation) -> Option<Finding> {
    const CHECK: &str = "control-plane/installed";
    let namespace = &installation.namespace;
    match &installation.planes {
        Ok(planes) if !planes.is_empty() => None,
        Ok(_) => Some(Finding::error(
            CHECK,
            format!("there is none in the namespace {namespace}"),
            "install it (helm install), or say with --namespace where it is; `hopgate check --before-install` tells whether it can be installed",
        )),
        Err(why) => Some(Finding::unseen(CHECK, &format!("the Deployments of {namespace}"), why)),
    }
}

pub(super) fn ready(plane: &Plane) -> Finding {
    const CHECK: &str = "control-plane/ready";
    let number = |pointer: &str| {
        plane.deployment.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
    };
    // Kubernetes' own default.
    let wanted = plane.deployment.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    let available = number("/status/availableReplicas");
    let current = number("/status/observedGeneration") >= number("/metadata/generation");
    let updated = number("/status/updatedReplicas");
    let name = name(plane);
    let seen =
        format!("{name} (revision {}): {available} of {wanted} pods are ready", plane.revision);
    let next = format!(
        "kubectl --namespace {} describe deployment {name}, and the log of its pods",
        plane.names.namespace
    );
    if available == 0 {
        Finding::error(CHECK, seen, next)
    } else if available < wanted || !current || updated < wanted {
        let seen = if available < wanted {
            seen
        } else {
            format!("{seen}, {} of them by the last change", updated.min(wanted))
        };
        Finding::warning(CHECK, seen, next)
    } else {
        Finding::ok(CHECK, seen)
    }
}

pub(super) fn version(plane: &Plane) -> Finding {
    const CHECK: &str = "control-plane/version";
    let labels = plane.deployment.pointer("/metadata/labels");
    let version = labels.and_then(|labels| labels.get("app.kubernetes.io/version"));
    let name = name(plane);
    match version.and_then(Value::as_str) {
        Some(VERSION) => Finding::ok(CHECK, format!("{name} is {VERSION}, as this program is")),
        Some(other) => Finding::warning(
            CHECK,
            format!("{name} is {other}, and this program {VERSION}"),
            "check with the program of the version that is installed: another may expect something else",
        ),
        None => Finding::warning(
            CHECK,
            format!("{name} does not say of which version it is"),
            "give its Deployment the label app.kubernetes.io/version, as the chart does",
        ),
    }
}

/// Nothing if it could be read.
pub(super) fn configuration(plane: &Plane) -> Option<Finding> {
    let why = plane.config.as_ref().err()?;
    let what = format!("control.yaml of {}", name(plane));
    Some(Finding::unseen("control-plane/configuration", &what, why))
}

/// Whether its pods tell what they know.
pub(super) fn reached(plane: &Plane) -> Vec<Finding> {
    const CHECK: &str = "control-plane/reached";
    let name = name(plane);
    let replicas = match &plane.replicas {
        Ok(replicas) => replicas,
        Err(why) => return vec![Finding::unseen(CHECK, &format!("the pods of {name}"), why)],
    };
    let missed: Vec<String> = replicas
        .iter()
        .filter_map(|replica| {
            let why = replica.fleet.as_ref().err().or(replica.metrics.as_ref().err())?;
            Some(format!("{}: {why}", replica.pod))
        })
        .collect();
    if replicas.is_empty() {
        let next = "see control-plane/ready";
        return vec![Finding::warning(CHECK, format!("no pod of {name} runs"), next)];
    }
    if missed.is_empty() {
        let seen =
            format!("{} of {name} told of sidecars and certificates", count(replicas.len(), "pod"));
        return vec![Finding::ok(CHECK, seen)];
    }
    let seen = format!(
        "{} of {name} cannot be asked; what only they know is not checked",
        count(missed.len(), "pod")
    );
    let next = "you need the right to create pods/portforward in its namespace, and its admin pages at port 15014";
    vec![Finding::warning(CHECK, seen, next).with(missed)]
}
