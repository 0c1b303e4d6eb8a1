//! The API server: its version, and the groups that hopgate uses.

use serde_json::Value;

use crate::survey::finding::Finding;
use crate::survey::seen::Cluster;

/// Native sidecars are on by default from here.
const OLDEST: (u32, u32) = (1, 29);
/// The hook that lets an application live on for a moment (`stopDelay`) is there from here.
const SLEEP: (u32, u32) = (1, 30);

/// What is used of the API.
const GROUPS: [&str; 12] = [
    "admissionregistration.k8s.io/v1",
    "apiextensions.k8s.io/v1",
    "apps/v1",
    "authentication.k8s.io/v1",
    "authorization.k8s.io/v1",
    "coordination.k8s.io/v1",
    "discovery.k8s.io/v1",
    "events.k8s.io/v1",
    "networking.k8s.io/v1",
    "policy/v1",
    "rbac.authorization.k8s.io/v1",
    "scheduling.k8s.io/v1",
];

pub(super) fn version(cluster: &Cluster) -> Finding {
    const CHECK: &str = "cluster/version";
    let told = match &cluster.version {
        Ok(told) => told,
        Err(why) => return Finding::unseen(CHECK, "the API server's version", why),
    };
    let text = |field: &str| told.get(field).and_then(Value::as_str).unwrap_or_default();
    let said = text("gitVersion");
    match (number(text("major")), number(text("minor"))) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST => Finding::error(
            CHECK,
            format!("Kubernetes {said}: gates are native sidecars, which it does not have"),
            "upgrade the cluster to 1.29 or newer",
        ),
        (Some(major), Some(minor)) if (major, minor) < SLEEP => Finding::warning(
            CHECK,
            format!("Kubernetes {said}: it refuses the hook by which applications stop later"),
            "set injection.stopDelay to 0s, or upgrade the cluster to 1.30",
        ),
        (Some(_), Some(_)) => Finding::ok(CHECK, format!("Kubernetes {said}")),
        (None, _) | (_, None) => Finding::error(
            CHECK,
            format!("the API server calls its version {said:?}, which is not understood"),
            "see that the kubeconfig names a Kubernetes API server, of 1.29 or newer",
        ),
    }
}

/// Some providers write `29+`.
fn number(text: &str) -> Option<u32> {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

pub(super) fn groups(cluster: &Cluster) -> Finding {
    const CHECK: &str = "cluster/api-groups";
    let there = match &cluster.groups {
        Ok(there) => there,
        Err(why) => return Finding::unseen(CHECK, "the API groups", why),
    };
    let missing: Vec<String> = GROUPS
        .iter()
        .filter(|group| !there.iter().any(|there| there == *group))
        .map(|group| (*group).to_owned())
        .collect();
    if missing.is_empty() {
        return Finding::ok(CHECK, format!("all {} that are used are served", GROUPS.len()));
    }
    Finding::error(
        CHECK,
        format!("{} of {} that are used are not served", missing.len(), GROUPS.len()),
        "see --runtime-config of the API server: it has these groups unless they are turned off",
    )
    .with(missing)
}
