//! Resources: whether they can be used, are in force, and are for anybody.

use serde_json::Value;

use super::count;
use crate::kube::index::Held;
use crate::kube::inject::Standing;
use crate::survey::finding::Finding;
use crate::survey::seen::{Installation, Plane, SeenPod};

pub(super) fn all(installation: &Installation, planes: &[Plane]) -> Vec<Finding> {
    let resources = match &installation.resources {
        Ok(resources) => resources,
        Err(why) => return vec![Finding::unseen("policies/accepted", "the resources", why)],
    };
    let held: Vec<Held> = resources.iter().filter_map(Held::read).collect();
    let mut findings = Vec::new();
    if !planes.is_empty() {
        findings.push(accepted(&held));
        findings.push(programmed(&held));
    }
    if let Ok(pods) = &installation.pods {
        findings.push(selecting(&held, pods, &roots(installation, planes)));
    }
    findings
}

/// The namespaces whose resources are for the whole mesh.
pub(super) fn roots(installation: &Installation, planes: &[Plane]) -> Vec<String> {
    let root = |plane: &Plane| {
        let config = plane.config.as_ref().ok()?;
        config.pointer("/resources/rootNamespace")?.as_str().map(str::to_owned)
    };
    let mut roots: Vec<String> = planes.iter().filter_map(root).collect();
    if roots.is_empty() {
        roots.push(installation.namespace.clone());
    }
    roots.dedup();
    roots
}

/// A condition of a resource: status, reason and message; nothing where what it says now was not judged.
fn condition<'a>(held: &'a Held, name: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let seen = held.status.get("observedGeneration").and_then(Value::as_u64)?;
    if seen != held.generation {
        return None;
    }
    let mut all = held.status.get("conditions").and_then(Value::as_array)?.iter();
    let found = all.find(|one| one.get("type").is_some_and(|of| of == name))?;
    let text = |field: &str| found.get(field).and_then(Value::as_str).unwrap_or_default();
    Some((text("status"), text("reason"), text("message")))
}

fn accepted(held: &[Held]) -> Finding {
    const CHECK: &str = "policies/accepted";
    let (mut refused, mut unjudged) = (Vec::new(), Vec::new());
    for held in held {
        match condition(held, "Accepted") {
            Some(("True", ..)) => {}
            Some((_, reason, message)) => {
                refused.push(format!("{}: {reason}: {message}", held.key))
            }
            // A control plane that follows no resources would not say anything either; the parser does.
            None => match held.problem() {
                Some(words) => refused.push(format!("{}: Invalid: {words}", held.key)),
                None => unjudged.push(held.key.to_string()),
            },
        }
    }
    if !refused.is_empty() {
        let seen = format!(
            "{} cannot be used; sidecars run what they had before",
            count(refused.len(), "resource")
        );
        let next = "change what the message names; `hopgate policy check` shows it in the file";
        return Finding::error(CHECK, seen, next).with(refused);
    }
    if !unjudged.is_empty() {
        let seen = format!(
            "{} as they are now were judged by no control plane",
            count(unjudged.len(), "resource")
        );
        let next = "look again in a moment; if it stays, see whether the control plane has the section resources, and its log";
        return Finding::warning(CHECK, seen, next).with(unjudged);
    }
    Finding::ok(CHECK, format!("{}, all can be used", count(held.len(), "resource")))
}

fn programmed(held: &[Held]) -> Finding {
    const CHECK: &str = "policies/programmed";
    let (mut refused, mut pending, mut running) = (Vec::new(), Vec::new(), 0);
    for held in held {
        match condition(held, "Programmed") {
            Some(("True", ..)) => running += 1,
            Some((_, "Refused", message)) => refused.push(format!("{}: {message}", held.key)),
            Some((_, "Pending", message)) => pending.push(format!("{}: {message}", held.key)),
            // For nobody, displaced, or not judged: told elsewhere.
            Some(_) | None => {}
        }
    }
    if !refused.is_empty() {
        let seen = format!(
            "{} are refused by sidecars, which run what they had before",
            count(refused.len(), "resource")
        );
        let next = "mend what the message names, such as a provider or a file that is missing";
        return Finding::error(CHECK, seen, next).with(refused);
    }
    if !pending.is_empty() {
        let seen = format!("{} are not in force everywhere yet", count(pending.len(), "resource"));
        let next = "look again in a moment; if it stays, see workloads/connected";
        return Finding::warning(CHECK, seen, next).with(pending);
    }
    Finding::ok(
        CHECK,
        format!("{} in force at every sidecar they are for", count(running, "resource")),
    )
}

/// Policies that are for no pod with a gate.
fn selecting(held: &[Held], pods: &[SeenPod], roots: &[String]) -> Finding {
    const CHECK: &str = "policies/selecting";
    let (mut idle, mut policies) = (Vec::new(), 0);
    for held in held.iter().filter(|held| held.key.kind == "AccessPolicy") {
        // Whom it selects is not known of one that cannot be read.
        if held.problem().is_some() {
            continue;
        }
        policies += 1;
        let everywhere = roots.contains(&held.key.namespace);
        let here = |pod: &&SeenPod| everywhere || pod.pod.namespace == held.key.namespace;
        let selected: Vec<&SeenPod> =
            pods.iter().filter(here).filter(|pod| held.selects(&pod.pod)).collect();
        let has_gate = |pod: &&SeenPod| matches!(pod.standing, Ok(Standing::Guarded { .. }));
        if selected.iter().any(has_gate) {
            continue;
        }
        let key = &held.key;
        idle.push(match selected.len() {
            0 => format!("{key}: there is no such pod"),
            pods => format!("{key}: selects {} without a gate", count(pods, "pod")),
        });
    }
    if idle.is_empty() {
        let seen = match policies {
            0 => "there is no AccessPolicy: gates refuse everything".to_owned(),
            _ => format!("AccessPolicies: {policies}, each for a pod with a gate"),
        };
        return Finding::ok(CHECK, seen);
    }
    let seen = format!("{} of {policies} AccessPolicies guard nothing", idle.len());
    let next = "compare their selector with the labels of the pods, or take them away";
    Finding::warning(CHECK, seen, next).with(idle)
}
