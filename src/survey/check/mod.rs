//! Judges what was seen. Each file is one part of the cluster.

mod certificates;
mod clock;
mod cluster;
mod control_plane;
mod definitions;
mod plaintext;
mod policies;
mod rights;
mod webhooks;
mod workloads;

#[cfg(test)]
mod tests;

use super::finding::Finding;
use super::seen::{Cluster, Installation, Plane};

/// Whether hopgate can be installed, by whoever asks.
#[must_use]
pub fn before(cluster: &Cluster) -> Vec<Finding> {
    let mut findings = vec![cluster::version(cluster), cluster::groups(cluster)];
    findings.push(clock::of_api_server(cluster.clocks));
    findings.push(rights::of_installer(&cluster.installer));
    findings.push(definitions::before(&cluster.definitions));
    findings
}

/// Whether what is installed is well.
#[must_use]
pub fn after(cluster: &Cluster, installation: &Installation) -> Vec<Finding> {
    let mut findings = vec![cluster::version(cluster), cluster::groups(cluster)];
    findings.push(clock::of_api_server(cluster.clocks));
    findings.push(definitions::after(&cluster.definitions));
    let installed = control_plane::installed(installation);
    let planes = match &installation.planes {
        Ok(planes) => planes.as_slice(),
        Err(_) => &[],
    };
    findings.extend(installed);
    for plane in planes {
        findings.extend(of_plane(plane, installation));
    }
    findings.extend(workloads::all(installation, planes));
    findings.extend(policies::all(installation, planes));
    findings.extend(plaintext::all(installation, planes));
    findings
}

fn of_plane(plane: &Plane, installation: &Installation) -> Vec<Finding> {
    let mut findings = vec![control_plane::ready(plane), control_plane::version(plane)];
    findings.extend(control_plane::configuration(plane));
    findings.push(rights::of_control_plane(plane));
    findings.extend(control_plane::reached(plane));
    findings.extend(clock::of_control_plane(plane));
    findings.extend(webhooks::all(plane));
    findings.extend(certificates::all(plane, installation.now));
    findings
}

/// The name of a control plane, for its findings.
fn name(plane: &Plane) -> &str {
    let name = plane.deployment.pointer("/metadata/name").and_then(serde_json::Value::as_str);
    name.unwrap_or("control plane")
}

/// `1 pod`, `2 pods`.
fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
