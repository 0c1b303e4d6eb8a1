//! What the control plane, and whoever installs it, must be allowed to do in a cluster: one table, which the chart grants and
//! `hopgate check` asks about.

use super::crd::{DEFINITIONS, GROUP};

/// Where a right holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// In the whole cluster.
    Cluster,
    /// In one namespace.
    Namespace(String),
}

/// To be allowed to do one thing to the objects of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The resource, or resource and subresource (`accesspolicies/status`).
    pub resource: &'static str,
    /// What is done.
    pub verb: &'static str,
    /// Where.
    pub scope: Scope,
    /// To the object of this name only.
    pub name: Option<String>,
}

/// What the rights of a control plane depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneNames {
    /// Its namespace.
    pub namespace: String,
    /// The Secret of its authority, if that is kept in one.
    pub secret: Option<String>,
    /// The configurations of its webhooks, mutating and validating.
    pub webhooks: (Vec<String>, Vec<String>),
    /// The ConfigMap with the roots, in each namespace with a gate; none if it injects nothing.
    pub trust_config_map: Option<String>,
    /// cert-manager signs its issuing certificate.
    pub cert_manager: bool,
}

const STATUSES: [&str; 4] = [
    "accesspolicies/status",
    "identityproviders/status",
    "meshpolicies/status",
    "policyengines/status",
];

/// The kinds of objects that the chart makes, and which somebody who installs it must be able to make.
const INSTALLED: [(&str, &str, Where); 15] = [
    ("", "configmaps", Where::Here),
    ("", "secrets", Where::Here),
    ("", "serviceaccounts", Where::Here),
    ("", "services", Where::Here),
    ("apps", "deployments", Where::Here),
    ("networking.k8s.io", "networkpolicies", Where::Here),
    ("policy", "poddisruptionbudgets", Where::Here),
    ("rbac.authorization.k8s.io", "roles", Where::Here),
    ("rbac.authorization.k8s.io", "rolebindings", Where::Here),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", Where::Everywhere),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", Where::Everywhere),
    ("apiextensions.k8s.io", "customresourcedefinitions", Where::Everywhere),
    ("rbac.authorization.k8s.io", "clusterroles", Where::Everywhere),
    ("rbac.authorization.k8s.io", "clusterrolebindings", Where::Everywhere),
    ("scheduling.k8s.io", "priorityclasses", Where::Everywhere),
];
const OF_INSTALLER: [&str; 4] = ["create", "get", "patch", "delete"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Here,
    Everywhere,
}

impl Right {
    fn all(
        scope: &Scope,
        (group, resource): (&'static str, &'static str),
        verbs: &[&'static str],
    ) -> Vec<Self> {
        let right =
            |verb: &&'static str| Self { group, resource, verb, scope: scope.clone(), name: None };
        verbs.iter().map(right).collect()
    }

    fn named(
        scope: &Scope,
        kind: (&'static str, &'static str),
        verbs: &[&'static str],
        names: &[String],
    ) -> Vec<Self> {
        let all = Self::all(scope, kind, verbs);
        let of = |name: &String| {
            all.iter().map(|right| Self { name: Some(name.clone()), ..right.clone() }).collect()
        };
        names.iter().flat_map(|name| -> Vec<Self> { of(name) }).collect()
    }

    /// What it is a right to, for people.
    #[must_use]
    pub fn object(&self) -> String {
        let dot = if self.group.is_empty() { "" } else { "." };
        let name = self.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let place = match &self.scope {
            Scope::Cluster => String::new(),
            Scope::Namespace(namespace) => format!(" in {namespace}"),
        };
        format!("{}{dot}{}{name}{place}", self.resource, self.group)
    }
}

/// What the service account of a control plane must be allowed to do.
#[must_use]
pub fn of_control_plane(names: &ControlPlaneNames) -> Vec<Right> {
    let all = Scope::Cluster;
    let own = Scope::Namespace(names.namespace.clone());
    let mut rights = Vec::new();
    rights.extend(Right::all(&all, ("authentication.k8s.io", "tokenreviews"), &["create"]));
    rights.extend(Right::all(&all, ("", "pods"), &["get", "list", "watch"]));
    rights.extend(Right::all(&all, ("", "services"), &["list", "watch"]));
    rights.extend(Right::all(&all, ("discovery.k8s.io", "endpointslices"), &["list", "watch"]));
    for definition in DEFINITIONS {
        rights.extend(Right::all(&all, (GROUP, definition.plural), &["list", "watch"]));
    }
    for status in STATUSES {
        rights.extend(Right::all(&all, (GROUP, status), &["patch"]));
    }
    let (mutating, validating) = &names.webhooks;
    for (resource, names) in [
        ("mutatingwebhookconfigurations", mutating),
        ("validatingwebhookconfigurations", validating),
    ] {
        let kind = ("admissionregistration.k8s.io", resource);
        rights.extend(Right::named(&all, kind, &["get", "patch"], names));
    }
    if let Some(trust) = &names.trust_config_map {
        rights.extend(Right::all(&all, ("", "namespaces"), &["get"]));
        rights.extend(Right::all(&all, ("", "events"), &["create"]));
        let verbs = ["create", "list", "patch"];
        rights.extend(Right::named(&all, ("", "configmaps"), &verbs, std::slice::from_ref(trust)));
    }
    if let Some(secret) = &names.secret {
        let verbs = ["get", "update", "list", "watch"];
        let beside = |suffix: &str| format!("{secret}{suffix}");
        let secrets = [secret.clone(), beside("-join-tokens")];
        rights.extend(Right::named(&own, ("", "secrets"), &verbs, &secrets));
        let maps = [secret.clone(), beside("-revocations"), beside("-federation")];
        rights.extend(Right::named(&own, ("", "configmaps"), &verbs, &maps));
        rights.extend(Right::all(&own, ("", "secrets"), &["create"]));
        rights.extend(Right::all(&own, ("", "configmaps"), &["create"]));
        let verbs = ["create", "get", "update", "delete", "list", "watch"];
        rights.extend(Right::all(&own, ("coordination.k8s.io", "leases"), &verbs));
    }
    if names.cert_manager {
        let kind = ("cert-manager.io", "certificaterequests");
        rights.extend(Right::all(&own, kind, &["create", "get"]));
    }
    rights
}

/// What somebody must be allowed to do who installs the chart in a namespace, or upgrades it, or takes it away.
#[must_use]
pub fn of_installer(namespace: &str) -> Vec<Right> {
    let own = Scope::Namespace(namespace.to_owned());
    let kinds = INSTALLED.iter().flat_map(|(group, resource, place)| {
        let scope = match place {
            Where::Here => &own,
            Where::Everywhere => &Scope::Cluster,
        };
        Right::all(scope, (group, resource), &OF_INSTALLER)
    });
    kinds.collect()
}

/// The rights by which somebody may give others more than they have themselves.
#[must_use]
pub fn to_give_rights() -> Vec<Right> {
    let kind = |resource| ("rbac.authorization.k8s.io", resource);
    let mut rights = Right::all(&Scope::Cluster, kind("clusterroles"), &["escalate", "bind"]);
    rights.extend(Right::all(&Scope::Cluster, kind("roles"), &["escalate", "bind"]));
    rights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_each_kind_is_written() {
        let expected = DEFINITIONS.map(|definition| format!("{}/status", definition.plural));
        assert_eq!(STATUSES.map(str::to_owned), expected);
    }

    #[test]
    fn a_right_says_what_where() {
        let names = ControlPlaneNames {
            namespace: "mesh".to_owned(),
            secret: Some("ca".to_owned()),
            webhooks: (vec!["w".to_owned()], Vec::new()),
            trust_config_map: None,
            cert_manager: false,
        };
        let rights = of_control_plane(&names);
        let said: Vec<String> =
            rights.iter().map(|right| format!("{} {}", right.verb, right.object())).collect();
        for expected in [
            "list pods",
            "get mutatingwebhookconfigurations.admissionregistration.k8s.io w",
            "update secrets ca-join-tokens in mesh",
            "patch accesspolicies/status.hopgate.dev",
        ] {
            assert!(said.iter().any(|said| said == expected), "{expected}: {said:#?}");
        }
        assert!(!said.iter().any(|said| said.contains("namespaces")));
    }
}
