//! Pods: whether those that should have a gate have one, by whom, and whether their sidecars are heard of.

use std::collections::BTreeSet;

use serde_json::Value;

use super::count;
use crate::kube::inject::Standing;
use crate::survey::finding::Finding;
use crate::survey::fleet::Fleet;
use crate::survey::seen::{Installation, Plane, SeenPod};

const RESTART: &str =
    "kubectl rollout restart their workloads: a gate is put in when a pod is made";

pub(super) fn all(installation: &Installation, planes: &[Plane]) -> Vec<Finding> {
    let pods = match &installation.pods {
        Ok(pods) => pods.as_slice(),
        Err(why) => return vec![Finding::unseen("workloads/gates", "namespaces and pods", why)],
    };
    let mut findings = gates(pods, &installation.namespace);
    if !planes.is_empty() {
        findings.extend(revisions(pods, planes));
        findings.extend(versions(pods, planes));
        findings.extend(connected(pods, planes));
    }
    findings
}

fn gates(pods: &[SeenPod], own: &str) -> Vec<Finding> {
    const CHECK: &str = "workloads/gates";
    let (mut guarded, mut unguarded, mut impossible, mut wrong) = (0, vec![], vec![], vec![]);
    for pod in pods.iter().filter(|pod| pod.pod.namespace != own) {
        match &pod.standing {
            Ok(Standing::Guarded { .. }) => guarded += 1,
            Ok(Standing::Unwanted(_)) => {}
            Ok(Standing::Unguarded { .. }) => unguarded.push(pod.full_name()),
            Ok(Standing::Impossible(skip)) => {
                impossible.push(format!("{}: {}: {skip}", pod.full_name(), skip.reason()));
            }
            Err(why) => wrong.push(format!("{}: {why}", pod.full_name())),
        }
    }
    let mut findings = Vec::new();
    if !unguarded.is_empty() {
        let seen = format!(
            "{} should have a gate and run without one: in plaintext, for everybody",
            count(unguarded.len(), "pod")
        );
        findings.push(Finding::error(CHECK, seen, RESTART).with(unguarded));
    }
    if !wrong.is_empty() {
        let seen = format!("{} say of gates what is not understood", count(wrong.len(), "pod"));
        let next = "write hopgate.dev/inject: enabled or disabled";
        findings.push(Finding::error(CHECK, seen, next).with(wrong));
    }
    if !impossible.is_empty() {
        let seen =
            format!("{} should have a gate and can have none", count(impossible.len(), "pod"));
        let next = "change the pod as is said, or label it hopgate.dev/inject: disabled; with injection.unguarded: Refuse such pods do not run";
        findings.push(Finding::warning(CHECK, seen, next).with(impossible));
    }
    if findings.is_empty() {
        let seen = match guarded {
            0 => "no pod has a gate, and none should".to_owned(),
            _ => format!("pods with a gate: {guarded}; none lacks one"),
        };
        findings.push(Finding::ok(CHECK, seen));
    }
    findings
}

/// Those that have a gate, with the revision and version of whoever put it there.
fn guarded(pods: &[SeenPod]) -> impl Iterator<Item = (&SeenPod, &str, &str, Option<&str>)> {
    pods.iter().filter_map(|pod| match &pod.standing {
        Ok(Standing::Guarded { by, asked }) => {
            Some((pod, by.revision.as_str(), by.version.as_str(), asked.as_deref()))
        }
        Ok(Standing::Unwanted(_) | Standing::Impossible(_) | Standing::Unguarded { .. })
        | Err(_) => None,
    })
}

fn revisions(pods: &[SeenPod], planes: &[Plane]) -> Vec<Finding> {
    const CHECK: &str = "workloads/revisions";
    let installed: BTreeSet<&str> = planes.iter().map(|plane| plane.revision.as_str()).collect();
    let names = installed.iter().copied().collect::<Vec<_>>().join(", ");
    let (mut orphans, mut moved, mut unanswered) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (pod, revision, _, asked) in guarded(pods) {
        if !installed.contains(revision) {
            orphans.push(format!("{}: {revision:?}", pod.full_name()));
        } else if let Some(asked) = asked.filter(|asked| *asked != revision) {
            moved.push(format!("{}: has {revision}, asks for {asked}", pod.full_name()));
        }
    }
    for pod in pods {
        let Ok(Standing::Unguarded { asked } | Standing::Guarded { asked: Some(asked), .. }) =
            &pod.standing
        else {
            continue;
        };
        if !installed.contains(asked.as_str()) {
            unanswered.insert(format!("{}: {asked}", pod.pod.namespace));
        }
    }
    let mut findings = Vec::new();
    if !unanswered.is_empty() {
        let seen =
            format!("gates are asked for of revisions that nobody gives (there are: {names})");
        let next = "name a revision that is installed in the label hopgate.dev/revision; until then such pods run without a gate";
        let unanswered = unanswered.into_iter().collect();
        findings.push(Finding::error(CHECK, seen, next).with(unanswered));
    }
    if !orphans.is_empty() {
        let seen = format!(
            "{} have gates of revisions that are gone (there are: {names})",
            count(orphans.len(), "pod")
        );
        findings.push(Finding::error(CHECK, seen, RESTART).with(orphans));
    }
    if !moved.is_empty() {
        let seen = format!(
            "{} have gates of another revision than they ask for",
            count(moved.len(), "pod")
        );
        findings.push(Finding::warning(CHECK, seen, RESTART).with(moved));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            CHECK,
            format!("all gates are of revisions that are installed ({names})"),
        ));
    }
    findings
}

fn versions(pods: &[SeenPod], planes: &[Plane]) -> Vec<Finding> {
    const CHECK: &str = "workloads/versions";
    let version = |revision: &str| {
        let plane = planes.iter().find(|plane| plane.revision == revision)?;
        let labels = plane.deployment.pointer("/metadata/labels")?;
        labels.get("app.kubernetes.io/version")?.as_str()
    };
    let other: Vec<String> = guarded(pods)
        .filter_map(|(pod, revision, has, _)| {
            let now = version(revision).filter(|now| *now != has)?;
            Some(format!("{}: {has}, and its control plane is {now}", pod.full_name()))
        })
        .collect();
    if other.is_empty() {
        return vec![Finding::ok(CHECK, "all gates are of their control plane's version")];
    }
    let seen =
        format!("{} are of another version than their control plane", count(other.len(), "gate"));
    vec![Finding::warning(CHECK, seen, RESTART).with(other)]
}

/// Sidecars that are connected to no control plane, if all control planes could be asked.
fn connected(pods: &[SeenPod], planes: &[Plane]) -> Option<Finding> {
    const CHECK: &str = "workloads/connected";
    let mut pages = Vec::new();
    for plane in planes {
        pages.extend(plane.replicas.as_ref().ok()?.iter().map(|replica| &replica.fleet));
    }
    let fleet = Fleet::of(pages);
    if !fleet.is_whole() {
        return None;
    }
    let refuses = |pod: &SeenPod| {
        let refused = fleet.sidecar(&pod.pod.uid).and_then(|sidecar| sidecar.get("refused"));
        refused.and_then(Value::as_array).is_some_and(|refused| !refused.is_empty())
    };
    let named = |which: &dyn Fn(&SeenPod) -> bool| -> Vec<String> {
        let all = guarded(pods).map(|(pod, ..)| pod).filter(|pod| pod.placed);
        all.filter(|pod| which(pod)).map(SeenPod::full_name).collect()
    };
    let missing = named(&|pod| fleet.sidecar(&pod.pod.uid).is_none());
    if !missing.is_empty() {
        let seen = format!(
            "{} are connected to no control plane and run what they were told last",
            count(missing.len(), "gate")
        );
        let next =
            "see the log of their container hopgate; they need port 15012 of the control plane";
        return Some(Finding::warning(CHECK, seen, next).with(missing));
    }
    let refusing = named(&refuses);
    if !refusing.is_empty() {
        let seen = format!("{} refuse something that they are told", count(refusing.len(), "gate"));
        let next = "the message of the condition Programmed says what: see policies/programmed";
        return Some(Finding::warning(CHECK, seen, next).with(refusing));
    }
    Some(Finding::ok(CHECK, "all gates are connected, and refuse nothing"))
}
