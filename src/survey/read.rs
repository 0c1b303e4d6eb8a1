//! Asks a cluster for everything that is looked at.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt as _};
use serde_json::Value;

use super::parts::{self, Labels};
use super::seen::{Cluster, Installation, Plane, Seen, names_in};
use super::tried;
use crate::kube::crd::{DEFINITIONS, GROUP, VERSION};
use crate::kube::inject::{DEFAULT_REVISION, INJECT, REVISION};
use crate::kube::rights::{self, ControlPlaneNames, Right};
use crate::kube::{NotSeen, Viewer, Whose};
use crate::runtime::Clock;

/// So many questions are out at a time.
const AT_ONCE: usize = 8;
/// Reads the cluster itself. `installer`: the namespace where whoever asks wants to install.
pub async fn cluster(viewer: &Viewer, installer: Option<&str>) -> Cluster {
    let version = viewer.get_timed("/version").await;
    let clocks = version.as_ref().ok().and_then(|(_, clocks)| *clocks);
    let groups = viewer.get("/apis").await.map(|apis| {
        let groups = apis.get("groups").and_then(Value::as_array).into_iter().flatten();
        let versions = groups.filter_map(|group| group.get("versions")?.as_array()).flatten();
        versions.filter_map(|one| Some(one.get("groupVersion")?.as_str()?.to_owned())).collect()
    });
    let mut definitions = Vec::new();
    for definition in DEFINITIONS {
        let name = format!("{}.{GROUP}", definition.plural);
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        definitions.push((definition.kind, viewer.get(&path).await));
    }
    let installer = match installer {
        Some(namespace) => installers(viewer, namespace).await,
        None => Vec::new(),
    };
    Cluster { version: version.map(|(version, _)| version), clocks, groups, definitions, installer }
}

/// What whoever installs must be allowed: to make all that is made, and to give the control plane its rights, either as
/// somebody who may give any, or as somebody who has them.
async fn installers(viewer: &Viewer, namespace: &str) -> Vec<(Right, Seen<bool>)> {
    let mut all = asked(viewer, Whose::Mine, rights::of_installer(namespace)).await;
    let giving = asked(viewer, Whose::Mine, rights::to_give_rights()).await;
    if giving.iter().all(|(_, has)| *has == Ok(true)) {
        return all;
    }
    let names = usual_names(namespace);
    all.extend(asked(viewer, Whose::Mine, rights::of_control_plane(&names)).await);
    all
}

/// What the chart calls the control plane's own where nobody says otherwise.
fn usual_names(namespace: &str) -> ControlPlaneNames {
    let configuration = vec![format!("hopgate-control-{namespace}")];
    ControlPlaneNames {
        namespace: namespace.to_owned(),
        secret: Some("hopgate-ca".to_owned()),
        webhooks: (configuration.clone(), configuration),
        trust_config_map: Some("hopgate-trust".to_owned()),
        cert_manager: false,
    }
}

async fn asked(viewer: &Viewer, whose: Whose<'_>, rights: Vec<Right>) -> Vec<(Right, Seen<bool>)> {
    let questions = stream::iter(rights).map(|right| async move {
        let has = viewer.has(whose, &right).await;
        (right, has)
    });
    questions.buffered(AT_ONCE).collect().await
}

/// Reads what is installed.
pub async fn installation(viewer: &Viewer, namespace: &str, clock: &Clock) -> Installation {
    let labels = parts::namespaces(viewer).await;
    let pods = match &labels {
        Ok(labels) => parts::pods(viewer, labels).await,
        Err(why) => Err(why.clone()),
    };
    let planes = match parts::deployments(viewer, namespace).await {
        Ok(deployments) => {
            let mut planes = Vec::new();
            for deployment in deployments {
                planes.push(plane(viewer, deployment, (namespace, labels.as_ref().ok())).await);
            }
            Ok(planes)
        }
        Err(why) => Err(why),
    };
    let resources = resources(viewer).await;
    let (namespace, now) = (namespace.to_owned(), clock.now());
    Installation { namespace, now, planes, pods, resources }
}

async fn resources(viewer: &Viewer) -> Seen<Vec<Value>> {
    let mut all = Vec::new();
    for definition in DEFINITIONS {
        let path = format!("/apis/{GROUP}/{VERSION}/{}", definition.plural);
        all.extend(viewer.list(&path, "", Some).await?);
    }
    Ok(all)
}

async fn plane(
    viewer: &Viewer,
    deployment: Value,
    (namespace, labels): (&str, Option<&Labels>),
) -> Plane {
    let revision = deployment.pointer("/metadata/labels").and_then(|labels| labels.get(REVISION));
    let revision = revision.and_then(Value::as_str).unwrap_or(DEFAULT_REVISION).to_owned();
    let config = parts::configuration(viewer, &deployment, namespace).await;
    let names = match &config {
        Ok(config) => names_in(config, namespace),
        Err(_) => usual_names(namespace),
    };
    let account = deployment.pointer("/spec/template/spec/serviceAccountName");
    let account = account.and_then(Value::as_str).unwrap_or("default");
    let whose = Whose::Account(namespace, account);
    let rights = asked(viewer, whose, rights::of_control_plane(&names)).await;
    let roots = match &names.secret {
        Some(secret) => parts::value_of(viewer, (&names.namespace, secret), "root.pem").await,
        None => Err(NotSeen::Unreached("its authority is not kept in the cluster".to_owned())),
    };
    let mut webhooks = Vec::new();
    let (mutating, validating) = &names.webhooks;
    for (kind, resource, names) in [
        ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", mutating),
        ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", validating),
    ] {
        for name in names {
            let path = format!("/apis/admissionregistration.k8s.io/v1/{resource}/{name}");
            webhooks.push((kind, name.clone(), viewer.get(&path).await));
        }
    }
    let asking = labels.and_then(|labels| asking(labels, &revision, namespace));
    let judged = asking.clone().or((revision == DEFAULT_REVISION).then(|| namespace.to_owned()));
    let policy_tried = match judged {
        Some(namespace) if !validating.is_empty() => Some(tried::policy(viewer, &namespace).await),
        Some(_) | None => None,
    };
    let pod_tried = match asking {
        Some(namespace) if !mutating.is_empty() => {
            let tried = tried::pod(viewer, &namespace).await;
            Some((namespace, tried))
        }
        Some(_) | None => None,
    };
    let replicas = parts::replicas(viewer, (&deployment, &config), namespace).await;
    Plane {
        deployment,
        revision,
        config,
        names,
        rights,
        roots,
        webhooks,
        policy_tried,
        pod_tried,
        replicas,
    }
}

/// A namespace that asks for gates of a revision, other than the control plane's.
fn asking(labels: &Labels, revision: &str, own: &str) -> Option<String> {
    let asks = |labels: &BTreeMap<String, String>| {
        let named = labels.get(REVISION).map_or(DEFAULT_REVISION, String::as_str);
        labels.get(INJECT).is_some_and(|value| value == "enabled") && named == revision
    };
    let mut found = labels.iter().filter(|(name, labels)| *name != own && asks(labels));
    found.next().map(|(name, _)| name.clone())
}
