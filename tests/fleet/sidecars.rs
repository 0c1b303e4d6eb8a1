//! The sidecar's end, as a whole process: what it does with what it is told, over restarts of either side.

use std::time::Duration;

use hopgate::runtime::Clock;
use hopgate::xds::own::{
    REISSUE_ORDER_TYPE, REVOKED_WORKLOAD_TYPE, ReissueOrder, TRUST_BUNDLE_TYPE,
};

use super::parts::{Sidecar, all_have, all_have_bundle, joined, revocations, root, served_roots};
use crate::certificates::parts::{Directory, Plane, domain};
use crate::support::envoy::eventually;

const SDS: &str = "sds: { listen: \"unix:sds.sock\" }\ndiscovery: { envoyGrace: 100ms }\n";

#[tokio::test]
async fn what_is_told_is_in_force_and_acknowledged() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let plane = Plane::start(&directory, &clock).await;
    let sidecar = Sidecar::join(&directory, &plane, (SDS, &clock)).await;
    all_have_bundle(&plane, 1).await;
    let both = joined(&plane.bundle, &root("demo.mesh"));
    plane.publisher.change(|published| {
        published.bundles =
            published.bundles.clone().with_own(both.clone()).with_foreign(root("other.mesh"));
        published.revoked = revocations(3, "gone");
    });
    all_have_bundle(&plane, 1).await;
    let served = served_roots(&sidecar.sds).await;
    assert_eq!(served.len(), 2);
    let other = plane.publisher.current();
    let name = "other.mesh";
    let version = other.bundle_version(&hopgate::identity::TrustDomain::parse(name).unwrap());
    all_have(&plane.fleet, (TRUST_BUNDLE_TYPE, name), version.as_deref(), 1).await;
    let one = other.revoked.values().next().unwrap().encode();
    let resource = (REVOKED_WORKLOAD_TYPE, one.name.as_str());
    all_have(&plane.fleet, resource, Some(&one.version()), 1).await;
    let told = sidecar.told().await;
    assert!(told["connectedSince"].is_string(), "{told}");
    assert_eq!((&told["stalenessSeconds"], &told["refused"]), (&0.into(), &0.into()), "{told}");
    assert_eq!(told["resources"][REVOKED_WORKLOAD_TYPE], 3, "{told}");
    assert_eq!(told["resources"][TRUST_BUNDLE_TYPE], 2, "{told}");

    // What is taken back is gone, and that is acknowledged too.
    plane.publisher.change(|published| {
        published.revoked.clear();
        published.bundles = hopgate::identity::Bundles::new(both.clone());
    });
    all_have(&plane.fleet, resource, None, 1).await;
    all_have(&plane.fleet, (TRUST_BUNDLE_TYPE, name), None, 1).await;
    assert_eq!(sidecar.told().await["resources"][REVOKED_WORKLOAD_TYPE], 0);
    sidecar.stop().await;
    plane.stop().await;
}

#[tokio::test]
async fn a_bundle_that_would_make_the_held_certificate_foreign_is_refused() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let plane = Plane::start(&directory, &clock).await;
    let sidecar = Sidecar::join(&directory, &plane, (SDS, &clock)).await;
    all_have_bundle(&plane, 1).await;
    let serial = sidecar.serial().await.unwrap();
    let good = plane.publisher.current();
    plane.publisher.change(|published| {
        published.bundles = published.bundles.clone().with_own(root("demo.mesh"));
    });
    let version = plane.publisher.current().bundle_version(&domain()).unwrap();
    let refused = async || {
        let answer = plane.fleet.acknowledged((TRUST_BUNDLE_TYPE, "demo.mesh"), Some(&version));
        answer.lagging.first().and_then(|lagging| lagging.refused.clone()).is_some_and(|refusal| {
            assert!(refusal.reason.contains("own certificate does not chain"), "{refusal:?}");
            true
        })
    };
    assert!(eventually(refused).await, "{:?}", plane.fleet.connected());
    assert_eq!(served_roots(&sidecar.sds).await.len(), 1);
    assert_eq!(&served_roots(&sidecar.sds).await[0], &plane.bundle.roots()[0].to_vec());
    assert_eq!(sidecar.serial().await, Some(serial), "the certificate is served as before");
    let told = sidecar.told().await;
    assert!(told["lastRefusal"].as_str().unwrap().contains("does not chain"), "{told}");

    plane.publisher.change(|published| published.clone_from(&good));
    let well = async || sidecar.told().await["lastRefusal"].is_null();
    assert!(eventually(well).await, "{}", sidecar.told().await);
    all_have_bundle(&plane, 1).await;
    sidecar.stop().await;
    plane.stop().await;
}

#[tokio::test]
async fn a_restart_during_an_outage_trusts_what_it_was_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let (directory, clock) = (Directory::new(), Clock::system());
    let plane = Plane::start(&directory, &clock).await;
    let sidecar = Sidecar::join(&directory, &plane, (SDS, &clock)).await;
    let both = joined(&plane.bundle, &root("demo.mesh"));
    plane.publisher.change(|published| {
        published.bundles = published.bundles.clone().with_own(both);
        published.revoked = revocations(5, "gone");
    });
    all_have_bundle(&plane, 1).await;
    let one = plane.publisher.current().revoked.values().next().unwrap().encode();
    let resource = (REVOKED_WORKLOAD_TYPE, one.name.as_str());
    all_have(&plane.fleet, resource, Some(&one.version()), 1).await;
    let serial = sidecar.serial().await;
    let (port, published) = (plane.port, plane.publisher.current());
    plane.stop().await;
    sidecar.stop().await;
    let stored = std::fs::metadata(directory.path("state/told.json")).unwrap();
    assert_eq!(stored.permissions().mode() & 0o777, 0o600);

    let sidecar = Sidecar::start(&directory, port, SDS, &clock).await;
    assert_eq!(sidecar.serial().await, serial, "at once");
    assert_eq!(served_roots(&sidecar.sds).await.len(), 2, "not only those of caFile");
    let told = sidecar.told().await;
    assert!(told["connectedSince"].is_null(), "{told}");
    assert_eq!(told["resources"][REVOKED_WORKLOAD_TYPE], 5, "{told}");
    assert!(eventually(async || sidecar.told().await["stalenessSeconds"].as_u64() > Some(0)).await);
    assert!(sidecar.request("GET /metrics").await.contains("hopgate_discovery_connected 0"));

    // The control plane is back: nothing that is held is sent again but the bundle, for the Envoys that are there now.
    let plane = Plane::start_at(&directory, &clock, &format!("127.0.0.1:{port}")).await;
    plane.publisher.change(|now| now.clone_from(&published));
    all_have_bundle(&plane, 1).await;
    all_have(&plane.fleet, resource, Some(&one.version()), 1).await;
    assert_eq!(sidecar.told().await["stalenessSeconds"], 0);
    sidecar.stop().await;
    plane.stop().await;
}

#[tokio::test]
async fn the_control_plane_comes_back_and_sends_only_what_changed() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let plane = Plane::start(&directory, &clock).await;
    plane.publisher.change(|published| published.revoked = revocations(500, "gone"));
    let sidecar = Sidecar::join(&directory, &plane, ("", &clock)).await;
    let last = |plane: &Plane| plane.publisher.current().revoked.values().last().unwrap().encode();
    let one = last(&plane);
    all_have(&plane.fleet, (REVOKED_WORKLOAD_TYPE, &one.name), Some(&one.version()), 1).await;
    all_have_bundle(&plane, 1).await;
    let before = sidecar.told().await;
    assert_eq!(before["received"], 501, "{before}");
    let (port, mut published) =
        (plane.port, hopgate::control::discovery::Published::clone(&plane.publisher.current()));
    plane.stop().await;
    assert!(eventually(async || sidecar.told().await["connectedSince"].is_null()).await);

    // The sidecar may come back before everything is published again. What it is told then is what there is.
    published.revoked.extend(revocations(1, "for another reason"));
    let plane = Plane::start_at(&directory, &clock, &format!("127.0.0.1:{port}")).await;
    plane.publisher.change(|now| *now = published);
    let changed = plane.publisher.current().revoked.values().next().unwrap().encode();
    let resource = (REVOKED_WORKLOAD_TYPE, changed.name.as_str());
    all_have(&plane.fleet, resource, Some(&changed.version()), 1).await;
    let after = sidecar.told().await;
    assert_eq!(after["resources"][REVOKED_WORKLOAD_TYPE], 500, "{after}");
    assert_eq!(after["connections"], 2, "{after}");
    sidecar.stop().await;
    plane.stop().await;
}

#[tokio::test]
async fn a_new_certificate_gets_a_new_stream_before_the_old_one_closes() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let plane = Plane::start(&directory, &clock).await;
    let sidecar = Sidecar::join(&directory, &plane, ("", &clock)).await;
    all_have_bundle(&plane, 1).await;
    let before = sidecar.serial().await.unwrap();
    let (mut changes, fleet, old) = (plane.fleet.changes(), plane.fleet.clone(), before.clone());
    let watched = tokio::spawn(async move {
        let mut sizes = Vec::new();
        loop {
            changes.changed().await.unwrap();
            let connected = fleet.connected();
            sizes.push(connected.len());
            let serials = connected.iter().map(|one| &one.running.serial);
            if serials.into_iter().all(|serial| *serial != old && !serial.is_empty()) {
                return (sizes, connected);
            }
        }
    });
    sidecar.request("POST /renew").await;
    let watched = tokio::time::timeout(Duration::from_secs(20), watched).await;
    let (sizes, connected) = watched.expect("a new stream").unwrap();
    assert!(sizes.iter().all(|size| (1..=2).contains(size)) && sizes.contains(&2), "{sizes:?}");
    assert_eq!(connected.len(), 1);
    assert_eq!(connected[0].running.serial, connected[0].certificate.serial);
    all_have_bundle(&plane, 1).await;
    sidecar.stop().await;
    plane.stop().await;
}

#[tokio::test]
async fn an_order_replaces_the_certificate_within_its_window_and_once() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let plane = Plane::start(&directory, &clock).await;
    let sidecar = Sidecar::join(&directory, &plane, ("", &clock)).await;
    all_have_bundle(&plane, 1).await;
    let before = sidecar.serial().await.unwrap();
    let order = ReissueOrder { issued_before: clock.now(), within: Duration::from_secs(2) };
    plane.publisher.change(|published| published.reissue = Some(order));
    let version = order.encode().version();
    all_have(&plane.fleet, (REISSUE_ORDER_TYPE, ReissueOrder::NAME), Some(&version), 1).await;
    let replaced = async || sidecar.serial().await.is_some_and(|serial| serial != before);
    assert!(eventually(replaced).await, "{}", sidecar.config().await["certificate"]);
    let second = sidecar.serial().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(sidecar.serial().await, second, "an order is obeyed once");
    // The fleet shows it.
    let shown = async || {
        let connected = plane.fleet.connected();
        connected.len() == 1 && Some(&connected[0].running.serial) == second.as_ref()
    };
    assert!(eventually(shown).await, "{:?}", plane.fleet.connected());
    sidecar.stop().await;
    plane.stop().await;
}

#[tokio::test]
async fn a_changed_ca_file_is_the_operators_word() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let plane = Plane::start(&directory, &clock).await;
    let sidecar = Sidecar::join(&directory, &plane, (SDS, &clock)).await;
    let both = joined(&plane.bundle, &root("demo.mesh"));
    plane.publisher.change(|published| {
        published.bundles = published.bundles.clone().with_own(both);
    });
    all_have_bundle(&plane, 1).await;
    assert_eq!(served_roots(&sidecar.sds).await.len(), 2);
    let connections = sidecar.told().await["connections"].as_u64();
    let third = joined(&plane.bundle, &root("demo.mesh"));
    directory.write("roots.pem", &third.to_pem(), 0o644);
    // What was told is forgotten, and told again.
    let again = async || sidecar.told().await["connections"].as_u64() > connections;
    assert!(eventually(again).await, "{}", sidecar.told().await);
    all_have_bundle(&plane, 1).await;
    let expected: Vec<_> =
        plane.publisher.current().bundles.own().roots().iter().map(|r| r.to_vec()).collect();
    let told = async || served_roots(&sidecar.sds).await.to_vec() == expected;
    assert!(eventually(told).await);
    sidecar.stop().await;

    // With other roots than when it was told, a restarted sidecar without control plane trusts the file.
    let port = plane.port;
    plane.stop().await;
    directory.write("roots.pem", &joined(&third, &root("demo.mesh")).to_pem(), 0o644);
    let sidecar = Sidecar::start(&directory, port, SDS, &clock).await;
    assert_eq!(served_roots(&sidecar.sds).await.len(), 3);
    sidecar.stop().await;
}
