//! With a real Envoy: a bundle is acknowledged once Envoy has it, and refused in Envoy's words.

use std::time::Duration;

use hopgate::identity::TrustBundle;
use hopgate::runtime::Clock;
use hopgate::xds::own::TRUST_BUNDLE_TYPE;
use rustls::pki_types::CertificateDer;

use super::parts::{Sidecar, all_have_bundle, joined, root, served_roots};
use crate::certificates::parts::{Directory, Plane, domain};
use crate::discovery::workload::{ORDERS, SERVER, Workload};
use crate::support::Scratch;
use crate::support::envoy::eventually;

// A grace that no test outlives: without an Envoy nothing is acknowledged here.
const SDS: &str = "sds: { listen: \"unix:sds.sock\" }\ndiscovery: { envoyGrace: 1h }\n";

async fn mesh() -> (Directory, Plane, Sidecar, Workload) {
    let (directory, clock) = (Directory::new(), Clock::system());
    let plane = Plane::start(&directory, &clock).await;
    let sidecar = Sidecar::join(&directory, &plane, (SDS, &clock)).await;
    let server =
        Workload::without_gate(ORDERS, SERVER, sidecar.sds.clone(), Scratch::new("told")).await;
    server.envoy.live().await;
    all_have_bundle(&plane, 1).await;
    (directory, plane, sidecar, server)
}

fn lagging(plane: &Plane) -> usize {
    let version = plane.publisher.current().bundle_version(&domain());
    plane.fleet.acknowledged((TRUST_BUNDLE_TYPE, "demo.mesh"), version.as_deref()).lagging.len()
}

#[tokio::test]
async fn a_bundle_is_acknowledged_once_envoy_has_it() {
    let (_directory, plane, sidecar, server) = mesh().await;
    let publish = |bundle: TrustBundle| {
        plane.publisher.change(|published| {
            published.bundles = published.bundles.clone().with_own(bundle);
        });
    };
    publish(joined(&plane.bundle, &root("demo.mesh")));
    all_have_bundle(&plane, 1).await;

    // An Envoy that hangs: the sidecar has the bundle, and says nothing yet.
    server.envoy.freeze(true);
    publish(joined(&plane.bundle, &root("demo.mesh")));
    let waits = async || sidecar.told().await["waitsForEnvoy"] == true;
    assert!(eventually(waits).await, "{}", sidecar.told().await);
    let expected = plane.publisher.current().bundles.own().roots().len();
    assert_eq!(served_roots(&sidecar.sds).await.len(), expected, "it is offered");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(lagging(&plane), 1, "not acknowledged, and named");
    // A newer one is not held back by it.
    publish(joined(&plane.bundle, &joined(&root("demo.mesh"), &root("demo.mesh"))));
    let newest = async || served_roots(&sidecar.sds).await.len() == 3;
    assert!(eventually(newest).await);
    assert_eq!(lagging(&plane), 1);
    server.envoy.freeze(false);
    all_have_bundle(&plane, 1).await;
    assert_eq!(sidecar.told().await["waitsForEnvoy"], false);
    sidecar.stop().await;
    plane.stop().await;
}

#[tokio::test]
async fn what_envoy_refuses_is_refused_in_its_words_and_the_old_stays() {
    let (_directory, plane, sidecar, server) = mesh().await;
    let good = plane.publisher.current();
    // Its first second is written as X.690 allows and RFC 5280 does not.
    let broken = broken_root();
    plane.publisher.change(|published| {
        published.bundles = published.bundles.clone().with_own(joined(&plane.bundle, &broken));
    });
    let version = plane.publisher.current().bundle_version(&domain()).unwrap();
    let refusal = || {
        let answer = plane.fleet.acknowledged((TRUST_BUNDLE_TYPE, "demo.mesh"), Some(&version));
        answer.lagging.into_iter().next().and_then(|lagging| lagging.refused)
    };
    assert!(eventually(async || refusal().is_some()).await, "{}", server.envoy.log());
    let reason = refusal().unwrap().reason;
    println!("{reason}");
    assert!(reason.starts_with("Envoy refuses: ") && reason.len() > 20, "{reason}");
    assert_eq!(served_roots(&sidecar.sds).await.len(), 1, "back to what was good");
    assert!(server.envoy.admin("/ready").await.unwrap().contains("LIVE"));

    plane.publisher.change(|published| published.clone_from(&good));
    all_have_bundle(&plane, 1).await;
    sidecar.stop().await;
    plane.stop().await;
}

/// A root whose first second is a GeneralizedTime without seconds.
fn broken_root() -> TrustBundle {
    let whole = root("demo.mesh");
    let mut der = whole.roots()[0].to_vec();
    // The dates of rcgen's default begin in 1975, as UTCTime "750101000000Z".
    let date = b"750101000000Z";
    let at = der.windows(date.len()).position(|window| window == date).unwrap();
    der[at - 2] = 0x18;
    der[at..at + date.len()].copy_from_slice(b"197501010000Z");
    TrustBundle::new(domain(), vec![CertificateDer::from(der)]).unwrap()
}

#[tokio::test]
async fn without_an_envoy_the_grace_decides() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let plane = Plane::start(&directory, &clock).await;
    let sidecar = Sidecar::join(&directory, &plane, (SDS, &clock)).await;
    let waits = async || sidecar.told().await["waitsForEnvoy"] == true;
    assert!(eventually(waits).await, "{}", sidecar.told().await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(lagging(&plane), 1, "the grace is an hour");
    sidecar.stop().await;
    let short = "sds: { listen: \"unix:sds.sock\" }\ndiscovery: { envoyGrace: 300ms }\n";
    let sidecar = Sidecar::start(&directory, plane.port, short, &clock).await;
    all_have_bundle(&plane, 1).await;
    sidecar.stop().await;
    plane.stop().await;
}
