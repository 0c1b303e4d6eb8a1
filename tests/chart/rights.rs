//! What `hopgate check` asks about is what the chart grants, right by right.

use std::collections::BTreeSet;

use hopgate::kube::rights::{ControlPlaneNames, Right, Scope, of_control_plane, of_installer};
use serde_json::Value;

use super::{objects, rendered};
use crate::support::helm::Helm;

/// Group, resource, verb, namespace and name.
type Entry = (String, String, String, Option<String>, Option<String>);

fn entry(right: &Right) -> Entry {
    let namespace = match &right.scope {
        Scope::Cluster => None,
        Scope::Namespace(namespace) => Some(namespace.clone()),
    };
    let text = str::to_owned;
    (text(right.group), text(right.resource), text(right.verb), namespace, right.name.clone())
}

/// What the roles among these objects grant.
fn granted(objects: &[Value]) -> BTreeSet<Entry> {
    let mut all = BTreeSet::new();
    for role in objects.iter().filter(|one| one["kind"] == "ClusterRole" || one["kind"] == "Role") {
        let namespace = role["metadata"]["namespace"].as_str().map(str::to_owned);
        for rule in role["rules"].as_array().unwrap() {
            let list = |field: &str| -> Vec<String> {
                let all = rule[field].as_array().into_iter().flatten();
                all.map(|one| one.as_str().unwrap().to_owned()).collect()
            };
            let mut names: Vec<Option<String>> =
                list("resourceNames").into_iter().map(Some).collect();
            if names.is_empty() {
                names.push(None);
            }
            for group in list("apiGroups") {
                for resource in list("resources") {
                    for verb in list("verbs") {
                        for name in &names {
                            let entry = (group.clone(), resource.clone(), verb.clone());
                            all.insert((
                                entry.0,
                                entry.1,
                                entry.2,
                                namespace.clone(),
                                name.clone(),
                            ));
                        }
                    }
                }
            }
        }
    }
    all
}

#[test]
fn the_table_of_rights_is_what_the_chart_grants() {
    let helm = Helm::new();
    let names = |webhooks: &[&str], cert_manager| ControlPlaneNames {
        namespace: "mesh".to_owned(),
        secret: Some("hopgate-ca".to_owned()),
        webhooks: (
            webhooks.iter().map(|name| (*name).to_owned()).collect(),
            webhooks.iter().map(|name| (*name).to_owned()).collect(),
        ),
        trust_config_map: (!webhooks.is_empty()).then(|| "hopgate-trust".to_owned()),
        cert_manager,
    };
    let issuer = ["--set", "authority.certManager.issuer.name=corp"];
    for (choice, names) in [
        (&[][..], names(&["hopgate-control-mesh"], false)),
        (&["--set", "revision=canary"], names(&["hopgate-control-canary-mesh"], false)),
        (&["--set", "webhooks.enabled=false"], names(&[], false)),
        (&issuer, names(&["hopgate-control-mesh"], true)),
    ] {
        let granted = granted(&objects(&rendered(&helm, "mesh", choice)));
        let table: BTreeSet<Entry> = of_control_plane(&names).iter().map(entry).collect();
        let more: Vec<_> = granted.difference(&table).collect();
        let less: Vec<_> = table.difference(&granted).collect();
        assert!(
            more.is_empty() && less.is_empty(),
            "{choice:?}: not in the table {more:#?}, not granted {less:#?}"
        );
    }
}

#[test]
fn whoever_installs_is_asked_about_every_kind_that_the_chart_makes() {
    let made = objects(&rendered(&Helm::new(), "mesh", &[]));
    let made: BTreeSet<(String, String)> = made
        .iter()
        // That of `helm test`.
        .filter(|object| object["kind"] != "Pod")
        .map(|object| {
            let kind = object["kind"].as_str().unwrap().to_lowercase();
            let plural = match kind.strip_suffix('y') {
                Some(stem) => format!("{stem}ies"),
                None if kind.ends_with('s') => format!("{kind}es"),
                None => format!("{kind}s"),
            };
            let version = object["apiVersion"].as_str().unwrap();
            let group = version.split_once('/').map_or("", |(group, _)| group);
            (group.to_owned(), plural)
        })
        // In which Helm keeps its releases.
        .chain([(String::new(), "secrets".to_owned())])
        .collect();
    let rights = of_installer("mesh");
    let asked: BTreeSet<(String, String)> =
        rights.iter().map(|right| (right.group.to_owned(), right.resource.to_owned())).collect();
    assert_eq!(made, asked);
}
