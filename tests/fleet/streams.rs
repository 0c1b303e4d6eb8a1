//! The server's end: who may listen, what is told, what is known of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hopgate::certs::ControlServer;
use hopgate::identity::WorkloadIdentity;
use hopgate::runtime::Clock;
use hopgate::xds::own::{
    KINDS, REISSUE_ORDER_TYPE, REVOKED_WORKLOAD_TYPE, ReissueOrder, RevokedWorkload,
    TRUST_BUNDLE_TYPE,
};
use hopgate::xds::{Follower, Subscription};
use tonic::Code;

use super::parts::{Subscriber, all_have, certificates, joined, revocations, root};
use crate::certificates::parts::{
    Directory, ORDERS, PAYMENTS, Plane, domain, hours, id, start_of_time,
};
use crate::support::envoy::eventually;

/// A running control plane, and a certificate of its authority for each of these workloads.
async fn plane(
    workloads: &[&str],
) -> (Directory, Clock, Plane, std::vec::IntoIter<WorkloadIdentity>) {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let identities = certificates(&directory, workloads, &clock);
    let plane = Plane::start(&directory, &clock).await;
    (directory, clock, plane, identities.into_iter())
}

async fn refusal(plane: &Plane, identity: &WorkloadIdentity, clock: &Clock) -> Code {
    let follower = Follower::new(KINDS.map(|kind| kind.type_url));
    match Subscriber::resume(plane, identity, (follower, clock)).await {
        Err(status) => status.code(),
        Ok(mut subscriber) => match subscriber.next().await {
            Err(status) => status.code(),
            Ok(update) => panic!("told: {update:?}"),
        },
    }
}

#[tokio::test]
async fn whoever_listens_proves_itself_and_is_seen() {
    let (_directory, clock, plane, mut all) = plane(&[ORDERS, ORDERS]).await;
    let identity = all.next().unwrap();
    let mut subscriber = Subscriber::connect(&plane, &identity, &clock).await;
    let update = subscriber.update().await;
    assert_eq!((update.type_url, &*update.resources[0].name), (TRUST_BUNDLE_TYPE, "demo.mesh"));
    let version = plane.publisher.current().bundle_version(&domain()).unwrap();
    assert_eq!(update.resources[0].version, version);

    let resource = (TRUST_BUNDLE_TYPE, "demo.mesh");
    let lagging = plane.fleet.acknowledged(resource, Some(&version));
    assert_eq!((lagging.acknowledged, lagging.lagging[0].id.as_str()), (0, id(ORDERS).as_str()));
    subscriber.accept(&update).await;
    all_have(&plane.fleet, resource, Some(&version), 1).await;

    let connected = plane.fleet.connected().remove(0);
    let leaf = identity.svid.leaf();
    assert_eq!((&connected.certificate.id, connected.since), (leaf.id(), clock.now()));
    assert_eq!(connected.certificate.serial, leaf.serial());
    assert_eq!(connected.running.serial, leaf.serial());
    assert_eq!(connected.running.authority_key_id, leaf.authority_key_id().unwrap());
    assert_eq!(connected.running.version, "test");

    // A replica of the same workload is another connection; who leaves is gone.
    let second = all.next().unwrap();
    let other = Subscriber::connect(&plane, &second, &clock).await;
    assert!(eventually(async || plane.fleet.size() == 2).await);
    drop((subscriber, other));
    assert!(eventually(async || plane.fleet.size() == 0).await);
    plane.stop().await;
}

#[tokio::test]
async fn nobody_listens_without_a_good_certificate_of_the_mesh() {
    let (_directory, clock, plane, mut all) = plane(&[ORDERS, ORDERS]).await;
    let (first, second) = (all.next().unwrap(), all.next().unwrap());
    let server = ControlServer::parse(&format!("https://localhost:{}", plane.port)).unwrap();
    let channel = server.connect(None, &plane.bundle, &clock).await.unwrap();
    let requests = Follower::new([TRUST_BUNDLE_TYPE]).begin(&Default::default());
    let refused = Subscription::open(channel, requests).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");

    // Of another authority: not even a handshake, or one that is broken off.
    let elsewhere = Directory::new();
    let stranger = certificates(&elsewhere, &[ORDERS], &clock).remove(0);
    let follower = Follower::new([TRUST_BUNDLE_TYPE]);
    let refused = Subscriber::resume(&plane, &stranger, (follower, &clock)).await.err().unwrap();
    assert!(matches!(refused.code(), Code::Unavailable | Code::Unknown), "{refused:?}");

    // Revoked, by workload and by serial number.
    let by = |serial: Option<String>| {
        let (reason, by) = (String::new(), String::new());
        let revoked = RevokedWorkload { id: id(ORDERS), serial, until: None, reason, by };
        [(revoked.name(), revoked)].into()
    };
    plane.publisher.change(|published| published.revoked = by(None));
    assert_eq!(refusal(&plane, &first, &clock).await, Code::PermissionDenied);
    let serial = first.svid.leaf().serial().to_owned();
    plane.publisher.change(|published| published.revoked = by(Some(serial)));
    assert_eq!(refusal(&plane, &first, &clock).await, Code::PermissionDenied);
    Subscriber::connect(&plane, &second, &clock).await.update().await;

    // Once the root is no longer published, nothing that it signed is heard.
    plane.publisher.change(|published| {
        published.bundles = published.bundles.clone().with_own(root("demo.mesh"));
    });
    assert_eq!(refusal(&plane, &second, &clock).await, Code::Unauthenticated);
    plane.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_certificate_and_with_its_revocation() {
    let (_directory, clock, plane, mut all) = plane(&[ORDERS, PAYMENTS]).await;
    let (orders, payments) = (all.next().unwrap(), all.next().unwrap());
    let mut orders = Subscriber::connect(&plane, &orders, &clock).await;
    let mut payments = Subscriber::connect(&plane, &payments, &clock).await;
    let end = async |subscriber: &mut Subscriber| loop {
        match subscriber.next().await {
            Ok(Some(update)) => subscriber.accept(&update).await,
            Ok(None) => panic!("without a word"),
            Err(status) => return status.code(),
        }
    };
    assert!(eventually(async || plane.fleet.size() == 2).await);
    plane.publisher.change(|published| {
        let (until, reason, by) = (None, "stolen".to_owned(), "uid 0".to_owned());
        let revoked = RevokedWorkload { id: id(ORDERS), serial: None, until, reason, by };
        published.revoked.insert(revoked.name(), revoked);
    });
    assert_eq!(end(&mut orders).await, Code::PermissionDenied);
    assert_eq!(plane.fleet.size(), 1);
    clock.advance(hours(1) + Duration::from_secs(1));
    assert_eq!(end(&mut payments).await, Code::Unauthenticated);
    assert_eq!(plane.fleet.size(), 0);
    plane.stop().await;
}

#[tokio::test]
async fn one_certificate_does_not_take_all_places() {
    let (_directory, clock, plane, mut all) = plane(&[ORDERS]).await;
    let identity = all.next().unwrap();
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut subscriber = Subscriber::connect(&plane, &identity, &clock).await;
        subscriber.update().await;
        open.push(subscriber);
    }
    let follower = Follower::new([TRUST_BUNDLE_TYPE]);
    let refused = Subscriber::resume(&plane, &identity, (follower, &clock)).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    plane.stop().await;
}

#[tokio::test]
async fn a_refusal_is_known_by_name_with_its_reason() {
    let (_directory, clock, plane, mut all) = plane(&[ORDERS]).await;
    let identity = all.next().unwrap();
    let mut subscriber = Subscriber::connect(&plane, &identity, &clock).await;
    let update = subscriber.update().await;
    let said = Follower::refuse(&update, "not these roots");
    subscriber.subscription.say(said).await.unwrap();
    let version = plane.publisher.current().bundle_version(&domain()).unwrap();
    let resource = (TRUST_BUNDLE_TYPE, "demo.mesh");
    let refused = async || {
        let answer = plane.fleet.acknowledged(resource, Some(&version));
        answer.lagging[0].refused.as_ref().is_some_and(|r| &*r.reason == "not these roots")
    };
    assert!(eventually(refused).await, "{:?}", plane.fleet.acknowledged(resource, Some(&version)));
    assert_eq!(plane.fleet.connected()[0].refused.len(), 1);
    plane.stop().await;
}

#[tokio::test]
async fn whoever_comes_back_is_sent_what_changed_and_no_more() {
    let (_directory, clock, plane, mut all) = plane(&[ORDERS]).await;
    plane.publisher.change(|published| {
        published.revoked = revocations(3000, "first");
        published.reissue =
            Some(ReissueOrder { issued_before: start_of_time(), within: Duration::from_secs(60) });
    });
    let identity = all.next().unwrap();
    let mut subscriber = Subscriber::connect(&plane, &identity, &clock).await;
    let (mut resources, mut types) = (0, Vec::new());
    while !types.contains(&REISSUE_ORDER_TYPE) {
        let update = subscriber.update().await;
        subscriber.accept(&update).await;
        resources += update.resources.len();
        types.push(update.type_url);
    }
    assert_eq!(resources, 3002);
    assert_eq!(types[0], TRUST_BUNDLE_TYPE, "whom to trust comes first");
    let Subscriber { subscription, follower } = subscriber;
    drop(subscription);

    plane.publisher.change(|published| {
        published.revoked = revocations(3000, "first");
        let one = revocations(1, "changed");
        published.revoked.extend(one);
        published.revoked.remove(&id("ns/shop/sa/gone-02999").to_string());
    });
    let resumed = Subscriber::resume(&plane, &identity, (follower, &clock)).await;
    let mut subscriber = resumed.unwrap();
    let (mut resources, mut removed, mut bytes) = (0, 0, 0);
    for _ in KINDS {
        let update = subscriber.update().await;
        subscriber.accept(&update).await;
        resources += update.resources.len();
        removed += update.removed.len();
        bytes += update.resources.iter().map(|resource| resource.content.len()).sum::<usize>();
    }
    assert_eq!((resources, removed), (1, 1), "of 3,002");
    assert!(bytes < 200, "{bytes} bytes");
    plane.stop().await;
}

/// What would be sent to a sidecar that does not read is far more than its connection takes. The others hear of every
/// change meanwhile, and it gets the last one when it reads.
#[tokio::test]
async fn a_sidecar_that_does_not_read_delays_nobody() {
    const ROUNDS: usize = 12;
    const EACH: usize = 4000;
    let (_directory, clock, plane, mut all) = plane(&[PAYMENTS, ORDERS]).await;
    let slow = all.next().unwrap();
    let mut slow = Subscriber::connect(&plane, &slow, &clock).await;
    let fast = all.next().unwrap();
    let mut fast = Subscriber::connect(&plane, &fast, &clock).await;
    assert!(eventually(async || plane.fleet.size() == 2).await);
    let revision = || async {
        // The server makes its resources of what is published a moment later; this is how they are named.
        let published = plane.publisher.current();
        let contents = published.revoked.values().map(|one| {
            let encoded = one.encode();
            (encoded.name, encoded.content)
        });
        let table = hopgate::xds::SharedTable::empty();
        let table = table.followed_by(&KINDS[1], contents.collect()).unwrap();
        table.revision().to_owned()
    };
    let mut longest = Duration::ZERO;
    for round in 0..ROUNDS {
        let reason = format!("{round} {}", "x".repeat(150));
        plane.publisher.change(|published| published.revoked = revocations(EACH, &reason));
        let revision = revision().await;
        let since = Instant::now();
        let (resources, _) = fast.until(REVOKED_WORKLOAD_TYPE, &revision).await;
        assert!(resources >= EACH);
        longest = longest.max(since.elapsed());
    }
    let lagging = plane.fleet.connected();
    let lagging = lagging.iter().find(|connected| connected.certificate.id == id(PAYMENTS));
    assert!(lagging.unwrap().unanswered > 0, "it has said nothing");
    let (resources, bytes) = slow.until(REVOKED_WORKLOAD_TYPE, &revision().await).await;
    println!(
        "{ROUNDS} changes of {EACH} revocations: the reader waited {longest:?} at most for one; the other was sent \
         {resources} resources, {bytes} bytes, when it read"
    );
    assert!(
        resources < ROUNDS * EACH * 3 / 4,
        "nothing was queued for it: {resources} of {}",
        ROUNDS * EACH
    );
    plane.stop().await;
}

#[tokio::test]
async fn a_change_that_changes_nothing_wakes_nobody() {
    let (_directory, clock, plane, mut all) = plane(&[ORDERS]).await;
    let identity = all.next().unwrap();
    let mut subscriber = Subscriber::connect(&plane, &identity, &clock).await;
    for _ in KINDS {
        let update = subscriber.update().await;
        subscriber.accept(&update).await;
    }
    let before = plane.publisher.subscribe();
    plane.publisher.change(|published| published.revoked.clear());
    assert!(!before.has_changed().unwrap());
    let foreign = root("other.mesh");
    plane.publisher.change(|published| {
        published.bundles = published.bundles.clone().with_foreign(foreign.clone());
    });
    assert_eq!(subscriber.update().await.resources[0].name, "other.mesh");
    let both = joined(&plane.bundle, &root("demo.mesh"));
    plane.publisher.change(|published| {
        published.bundles = published.bundles.clone().with_own(both);
        published.sequences.insert(domain(), 2);
    });
    let update = subscriber.update().await;
    assert_eq!(update.resources[0].name, "demo.mesh");
    let told =
        hopgate::xds::own::DomainBundle::decode("demo.mesh", &update.resources[0].content).unwrap();
    assert_eq!((told.sequence(), told.roots().unwrap().roots().len()), (2, 2));
    drop(Arc::new(subscriber));
    plane.stop().await;
}

#[tokio::test]
async fn the_metrics_of_the_control_plane_have_fixed_names() {
    let directory = Directory::new();
    let plane = Plane::start(&directory, &Clock::system()).await;
    let config = plane.config.clone();
    plane.stop().await;
    let control = hopgate::control::Control::bind(&config, Clock::system()).await.unwrap();
    let text = control.metrics().text();
    let discovery = |line: &&str| line.starts_with("# ") && line.contains(" hopgate_discovery_");
    let mut names: Vec<&str> = text.lines().filter(discovery).collect();
    names.sort_unstable();
    crate::support::golden("metrics-control-discovery.txt", &(names.join("\n") + "\n"));
    assert!(text.contains("hopgate_discovery_sidecars 0"), "{text}");
    let page = control.fleet_page().to_json();
    assert_eq!((&page["connected"], &page["behind"]), (&0.into(), &0.into()), "{page}");
}
