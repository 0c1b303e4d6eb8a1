//! Many sidecars at once. The bench `discovery` measures a thousand in an optimised build.

use std::time::Instant;

use hopgate::runtime::Clock;
use hopgate::xds::own::{REVOKED_WORKLOAD_TYPE, TRUST_BUNDLE_TYPE};
use tokio::task::JoinSet;

use super::parts::{
    Subscriber, all_have, all_have_bundle, certificates, joined, revocations, root,
};
use crate::certificates::parts::{Directory, Plane, domain, start_of_time};

const SIDECARS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn everybody_hears_of_a_change_and_is_counted() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let workloads: Vec<String> = (0..SIDECARS).map(|n| format!("ns/shop/sa/s-{n}")).collect();
    let workloads: Vec<&str> = workloads.iter().map(String::as_str).collect();
    let identities = certificates(&directory, &workloads, &clock);
    let plane = Plane::start(&directory, &clock).await;
    let mut listening = JoinSet::new();
    for identity in identities {
        let mut subscriber = Subscriber::connect(&plane, &identity, &clock).await;
        listening.spawn(async move {
            while let Ok(Some(update)) = subscriber.whenever().await {
                subscriber.accept(&update).await;
            }
        });
    }
    all_have_bundle(&plane, SIDECARS).await;
    let since = Instant::now();
    plane.publisher.change(|published| {
        published.bundles =
            published.bundles.clone().with_own(joined(&plane.bundle, &root("demo.mesh")));
        published.revoked = revocations(1, "stolen");
    });
    let version = plane.publisher.current().bundle_version(&domain());
    all_have(&plane.fleet, (TRUST_BUNDLE_TYPE, "demo.mesh"), version.as_deref(), SIDECARS).await;
    let one = plane.publisher.current().revoked.values().next().unwrap().encode();
    let resource = (REVOKED_WORKLOAD_TYPE, one.name.as_str());
    all_have(&plane.fleet, resource, Some(&one.version()), SIDECARS).await;
    println!(
        "{SIDECARS} sidecars acknowledged a bundle and a revocation after {:?}",
        since.elapsed()
    );
    assert_eq!(plane.fleet.connected().len(), SIDECARS);
    listening.abort_all();
    plane.stop().await;
}
