//! Worlds that no API server of a test is.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::*;
use crate::kube::rights::{ControlPlaneNames, Right, Scope};
use crate::kube::{Clocks, NotSeen};
use crate::survey::Level;
use crate::survey::metrics::Metrics;
use crate::survey::seen::Replica;
use crate::survey::seen::Seen;

const NOW: u64 = 1_790_000_000;
const DAY: u64 = 24 * 3600;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn gone<T>() -> Seen<T> {
    Err(NotSeen::Unreached("gone".to_owned()))
}

fn bare(version: Seen<Value>) -> Cluster {
    Cluster {
        version,
        clocks: None,
        groups: Ok(Vec::new()),
        definitions: Vec::new(),
        installer: Vec::new(),
    }
}

fn replica(metrics: &str, ahead: u64) -> Replica {
    let clocks = Clocks { theirs: at(NOW + ahead), ours: at(NOW) };
    Replica {
        pod: "control-1".to_owned(),
        fleet: Ok(json!({ "connected": 0, "sidecars": [] })),
        metrics: Ok(Metrics::read(metrics)),
        clocks: Some(clocks),
    }
}

fn plane(replicas: Seen<Vec<Replica>>, config: Seen<Value>) -> Plane {
    Plane {
        deployment: json!({
            "metadata": { "name": "hopgate-control", "generation": 2 },
            "spec": { "replicas": 2 },
            "status": { "availableReplicas": 2, "updatedReplicas": 2, "observedGeneration": 2 },
        }),
        revision: "default".to_owned(),
        config,
        names: ControlPlaneNames {
            namespace: "mesh".to_owned(),
            secret: None,
            webhooks: (Vec::new(), Vec::new()),
            trust_config_map: None,
            cert_manager: false,
        },
        rights: Vec::new(),
        roots: gone(),
        webhooks: Vec::new(),
        policy_tried: None,
        pod_tried: None,
        replicas,
    }
}

#[test]
fn an_old_api_server_is_told_of() {
    let of = |major: &str, minor: &str| {
        let version = json!({ "major": major, "minor": minor, "gitVersion": "v" });
        cluster::version(&bare(Ok(version))).level
    };
    assert_eq!(of("1", "28"), Level::Error);
    assert_eq!(of("1", "29+"), Level::Warning);
    assert_eq!(of("1", "30"), Level::Ok);
    assert_eq!(of("2", "0"), Level::Ok);
    assert_eq!(of("", "next"), Level::Error);
    assert_eq!(cluster::version(&bare(gone())).level, Level::Error);
    let missing = cluster::groups(&bare(gone()));
    assert_eq!(missing.level, Level::Error);
    let missing = cluster::groups(&bare(Ok(json!({}))));
    assert_eq!((missing.level, missing.items.len()), (Level::Error, 12));
}

#[test]
fn clocks_that_differ_are_told_of() {
    let of = |theirs: u64, ours: u64| {
        clock::of_api_server(Some(Clocks { theirs: at(theirs), ours: at(ours) })).level
    };
    assert_eq!(of(NOW, NOW), Level::Ok);
    assert_eq!(of(NOW + 5, NOW), Level::Warning);
    assert_eq!(of(NOW, NOW + 7), Level::Warning);
    assert_eq!(of(NOW + 60, NOW), Level::Error);
    assert_eq!(of(NOW, NOW + 62), Level::Error);
    assert_eq!(clock::of_api_server(None).level, Level::Warning);
    // Of several pods the worst.
    let both = vec![replica("", 90), replica("", 0)];
    let told = clock::of_control_plane(&plane(Ok(both), gone()));
    assert_eq!(told[0].level, Level::Error);
    assert!(clock::of_control_plane(&plane(gone(), gone())).is_empty());
}

#[test]
fn a_control_plane_that_lags_is_told_of() {
    let level = |change: &dyn Fn(&mut Value)| {
        let mut plane = plane(gone(), gone());
        change(&mut plane.deployment);
        control_plane::ready(&plane).level
    };
    assert_eq!(level(&|_| ()), Level::Ok);
    assert_eq!(level(&|it| it["status"]["availableReplicas"] = 1.into()), Level::Warning);
    assert_eq!(level(&|it| it["status"]["updatedReplicas"] = 1.into()), Level::Warning);
    assert_eq!(level(&|it| it["status"]["observedGeneration"] = 1.into()), Level::Warning);
    assert_eq!(level(&|it| it["status"] = Value::Null), Level::Error);
    let other = |version: &str| {
        let mut plane = plane(gone(), gone());
        plane.deployment["metadata"]["labels"] = json!({ "app.kubernetes.io/version": version });
        control_plane::version(&plane).level
    };
    assert_eq!(other(env!("CARGO_PKG_VERSION")), Level::Ok);
    assert_eq!(other("0.0.1"), Level::Warning);
    assert_eq!(control_plane::reached(&plane(Ok(Vec::new()), gone()))[0].level, Level::Warning);
    assert_eq!(control_plane::reached(&plane(gone(), gone()))[0].level, Level::Error);
}

#[test]
fn an_issuing_certificate_that_ends_is_told_of() {
    let of = |days: u64, config: Seen<Value>| {
        let line =
            format!("hopgate_control_issuing_left_seconds{{phase=\"active\"}} {}\n", days * DAY);
        let plane = plane(Ok(vec![replica(&line, 0)]), config);
        certificates::all(&plane, at(NOW)).pop().map(|finding| finding.level)
    };
    assert_eq!(of(31, gone()), Some(Level::Ok));
    assert_eq!(of(30, gone()), Some(Level::Warning));
    assert_eq!(of(7, gone()), Some(Level::Error));
    // A certificate of cert-manager may be short, and is renewed when a third is left.
    let by_cert_manager = || Ok(json!({ "authority": { "certManager": { "duration": "720h" } } }));
    assert_eq!(of(8, by_cert_manager()), Some(Level::Ok));
    assert_eq!(of(7, by_cert_manager()), Some(Level::Warning));
    assert_eq!(of(3, by_cert_manager()), Some(Level::Error));
}

#[test]
fn rights_that_are_not_known_are_not_taken_for_had() {
    let right =
        Right { group: "", resource: "pods", verb: "get", scope: Scope::Cluster, name: None };
    let level = |has: Seen<bool>| rights::of_installer(&[(right.clone(), has)]).level;
    assert_eq!(level(Ok(true)), Level::Ok);
    assert_eq!(level(Ok(false)), Level::Error);
    assert_eq!(level(gone()), Level::Error);
}

#[test]
fn a_cluster_of_which_nothing_can_be_read_is_not_well() {
    let installation = Installation {
        namespace: "mesh".to_owned(),
        now: at(NOW),
        planes: gone(),
        pods: gone(),
        resources: gone(),
    };
    let definitions = vec![("AccessPolicy", gone())];
    let cluster = Cluster { groups: gone(), definitions, ..bare(gone()) };
    for finding in after(&cluster, &installation) {
        assert_ne!(finding.level, Level::Ok, "{finding:?}");
        assert!(finding.next.is_some(), "{finding:?}");
    }
    let mut unread = plane(gone(), gone());
    unread.rights.push((
        Right { group: "", resource: "pods", verb: "get", scope: Scope::Cluster, name: None },
        gone(),
    ));
    unread.deployment = json!({});
    for finding in of_plane(&unread, &installation) {
        assert_ne!(finding.level, Level::Ok, "{finding:?}");
    }
}
