//! Before the control plane told who is revoked, nobody knows, and nothing passes; a word that was said is in force before
//! it is acknowledged.

use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use hopgate::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use hopgate::proto::workload::{JwtBundlesRequest, JwtsvidRequest};
use hopgate::runtime::{Address, Clock};
use hopgate::xds::own::{REISSUE_ORDER_TYPE, REVOKED_WORKLOAD_TYPE, TRUST_BUNDLE_TYPE};
use serde_json::Value;
use tonic::Code;

use super::parts::{Sidecar, Subscriber, all_have, all_have_bundle, certificates, revocations};
use crate::certificates::impostor::{Asked, Impostor};
use crate::certificates::parts::{Directory, ORDERS, Plane, id};
use crate::support::envoy::eventually;
use crate::support::{ask, pki};

const API: &str = "workloadApi: { listen: \"unix:api.sock\" }\n";

/// `allow`, or the code of the refusal and its status.
async fn judged(directory: &Directory, request: CheckRequest) -> (String, i32) {
    let mut client =
        AuthorizationClient::new(ask::channel(&Address::Unix(directory.path("authz.sock"))));
    let meaning = ask::meaning(client.check(request).await.unwrap().into_inner());
    let code = meaning.metadata.get("code").cloned().unwrap_or_default();
    (if meaning.allowed { "allow".to_owned() } else { code }, meaning.status)
}

async fn open(directory: &Directory) -> String {
    judged(directory, ask::get("/open", &[])).await.0
}

fn unknown() -> (String, i32) {
    ("revocation_unknown".to_owned(), 503)
}

/// What is known, by `/config`.
async fn known(sidecar: &Sidecar) -> Value {
    sidecar.config().await["revocations"]["known"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_passes_before_the_first_word_and_an_outage_after_it_changes_nothing() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let plane = Plane::start(&directory, &clock).await;
    let began = Instant::now();
    let sidecar = Sidecar::join(&directory, &plane, (API, &clock)).await;
    assert!(eventually(async || open(&directory).await == "allow").await);
    println!("the first word came {:?} after the start", began.elapsed());
    assert_eq!(known(&sidecar).await, 0, "nobody is revoked, which was told");
    let remembered = async || {
        let told = std::fs::read_to_string(directory.path("state/told.json")).unwrap_or_default();
        told.contains(REVOKED_WORKLOAD_TYPE)
    };
    assert!(eventually(remembered).await);
    let port = plane.port;
    plane.stop().await;
    let silent = async || sidecar.told().await["connectedSince"].is_null();
    assert!(eventually(silent).await);
    assert_eq!(open(&directory).await, "allow", "an outage changes nothing");
    sidecar.stop().await;

    // A restart in the outage knows what was told.
    let sidecar = Sidecar::start(&directory, port, API, &clock).await;
    assert_eq!(open(&directory).await, "allow");
    assert!(!sidecar.request("GET /readyz").await.contains("revoked"));
    sidecar.stop().await;

    // One that remembers nothing of it does not.
    std::fs::remove_file(directory.path("state/told.json")).unwrap();
    let sidecar = Sidecar::start(&directory, port, API, &clock).await;
    assert!(sidecar.serial().await.is_some(), "its certificate is there");
    for request in [
        ask::get("/open", &[]),
        ask::get("/closed", &[]),
        ask::from_peer(ask::get("/open", &[]), id(ORDERS).as_str()),
    ] {
        assert_eq!(judged(&directory, request).await, unknown());
    }
    assert_eq!(known(&sidecar).await, Value::Null);
    let ready = sidecar.request("GET /readyz").await;
    assert!(
        ready.contains("revocation: the control plane has not yet told who is revoked"),
        "{ready}"
    );
    let metrics = sidecar.request("GET /metrics").await;
    assert!(metrics.contains("hopgate_revocation_known 0"), "{metrics}");
    // Nor is the identity handed out: the workload itself may be revoked.
    let channel = ask::channel(&Address::Unix(directory.path("api.sock")));
    let mut api = SpiffeWorkloadApiClient::new(channel);
    let dressed = |message| {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
        request
    };
    let asked = JwtsvidRequest { audience: vec!["a".to_owned()], spiffe_id: String::new() };
    let refused = api.fetch_jwtsvid(dressed(asked)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unavailable, "there is no identity yet")
    );
    let mut request = tonic::Request::new(JwtBundlesRequest {});
    request.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
    let mut waiting = api.fetch_jwt_bundles(request).await.unwrap().into_inner();

    // It comes back, and tells.
    let plane = Plane::start_at(&directory, &clock, &format!("127.0.0.1:{port}")).await;
    assert!(
        eventually(async || open(&directory).await == "allow").await,
        "{}",
        sidecar.told().await
    );
    assert!(waiting.message().await.unwrap().is_some(), "who waited gets it");
    assert_eq!(known(&sidecar).await, 0);
    let metrics = sidecar.request("GET /metrics").await;
    assert!(metrics.contains("hopgate_revocation_known 1"), "{metrics}");
    sidecar.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sidecar_acknowledges_is_in_force() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let plane = Plane::start(&directory, &clock).await;
    let sidecar = Sidecar::join(&directory, &plane, ("", &clock)).await;
    all_have_bundle(&plane, 1).await;
    let peer = "spiffe://demo.mesh/ns/shop/sa/gone-00000";
    let asks = async || {
        let request = ask::from_peer(ask::get("/open", &[]), peer);
        judged(&directory, request).await.0
    };
    assert!(eventually(async || asks().await == "allow").await, "{}", asks().await);
    for round in 0..20 {
        plane.publisher.change(|published| {
            published.revoked = revocations(1, &format!("round {round}"));
        });
        let current = plane.publisher.current();
        let one = current.revoked.values().next().unwrap().encode();
        let resource = (REVOKED_WORKLOAD_TYPE, one.name.as_str());
        all_have(&plane.fleet, resource, Some(&one.version()), 1).await;
        assert_eq!(asks().await, "peer_revoked", "round {round}");
        plane.publisher.change(|published| published.revoked.clear());
        all_have(&plane.fleet, resource, None, 1).await;
        assert_eq!(asks().await, "allow", "round {round}");
    }
    sidecar.stop().await;
    plane.stop().await;
}

/// Whoever asks is answered first, so that nobody has to guess whether there is nothing.
#[tokio::test]
async fn each_type_is_answered_once_whole_be_it_empty() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let identity = certificates(&directory, &[ORDERS], &clock).remove(0);
    let plane = Plane::start(&directory, &clock).await;
    let mut subscriber = Subscriber::connect(&plane, &identity, &clock).await;
    // First with nothing in hand, then with all of it.
    for resources in [1, 0] {
        let mut answered = Vec::new();
        for _ in 0..3 {
            let update = subscriber.update().await;
            assert!(!update.revision.is_empty() && update.removed.is_empty(), "{update:?}");
            let expected = if update.type_url == TRUST_BUNDLE_TYPE { resources } else { 0 };
            assert_eq!(update.resources.len(), expected, "{update:?}");
            subscriber.accept(&update).await;
            answered.push(update.type_url);
        }
        answered.sort_unstable();
        assert_eq!(answered, [REISSUE_ORDER_TYPE, REVOKED_WORKLOAD_TYPE, TRUST_BUNDLE_TYPE]);
        let more = tokio::time::timeout(Duration::from_millis(300), subscriber.whenever()).await;
        assert!(more.is_err(), "and nothing more: {more:?}");
        let follower = subscriber.follower;
        let resumed = Subscriber::resume(&plane, &identity, (follower, &clock)).await;
        subscriber = resumed.unwrap();
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_istiod_tells_nothing_and_nobody_waits_for_it() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let ca = std::sync::Arc::new(pki::ca());
    let signer = std::sync::Arc::clone(&ca);
    let istiod = Impostor::start(&ca, &clock, move |asked: Asked| {
        let leaf = signer.certify(&asked.key, |params| {
            params.subject_alt_names = vec![pki::uri(id(ORDERS).as_str())];
        });
        std::future::ready(Ok(vec![pki::pem(&leaf), pki::pem(&signer.root())]))
    })
    .await;
    directory.write("roots.pem", &pki::pem(&ca.root()), 0o644);
    directory.write("join.token", "anything", 0o600);
    let port = istiod.port;
    let sidecar = Sidecar::start(&directory, port, "", &clock).await;
    assert!(
        eventually(async || open(&directory).await == "allow").await,
        "{}",
        sidecar.told().await
    );
    assert_eq!(known(&sidecar).await, 0);
    let says = sidecar.told().await["lastError"].as_str().unwrap_or_default().to_owned();
    assert!(says.contains("no control plane of hopgate"), "{says}");
    sidecar.stop().await;
    // And it need not be there at the next start.
    drop(istiod);
    let sidecar = Sidecar::start(&directory, port, "", &clock).await;
    assert_eq!(open(&directory).await, "allow");
    sidecar.stop().await;
}
