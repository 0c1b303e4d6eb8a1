//! Streams over time: waiting, change, loss, slow readers, many of them, and the end of the process.

use std::time::{Duration, SystemTime};

use hopgate::identity::Leaf;
use hopgate::proto::workload::{
    JwtBundlesRequest, X509BundlesRequest, X509svidRequest, X509svidResponse,
};
use hopgate::runtime::Clock;
use hopgate::sidecar::workload_api::Callers;
use tonic::{Code, Status, Streaming};

use super::endpoint::{Client, Endpoint, ORDERS, asked};
use crate::support::envoy::eventually;
use crate::support::jwt::JwtKey;
use crate::support::pki;

async fn svids(client: &mut Client) -> Result<Streaming<X509svidResponse>, Status> {
    let stream = client.fetch_x509svid(asked(X509svidRequest {})).await;
    stream.map(tonic::Response::into_inner)
}

/// The serial of the next message; a stream that says nothing for 20 s fails the test.
async fn serial(stream: &mut Streaming<X509svidResponse>) -> Result<String, Status> {
    let message = tokio::time::timeout(Duration::from_secs(20), stream.message()).await;
    let message = message.expect("a message in time")?.expect("streams end with a status");
    Ok(Leaf::parse(&message.svids[0].x509_svid).unwrap().serial().to_owned())
}

async fn silent<M>(stream: &mut Streaming<M>) -> bool {
    tokio::time::timeout(Duration::from_millis(300), stream.message()).await.is_err()
}

fn is_no_identity(status: &Status) -> bool {
    status.code() == Code::PermissionDenied && status.message() == "no identity issued"
}

#[tokio::test]
async fn a_caller_that_comes_early_waits_for_the_first_identity() {
    let endpoint = Endpoint::start(None).await;
    let mut client = endpoint.client().await;
    let mut stream = svids(&mut client).await.unwrap();
    assert!(silent(&mut stream).await);
    endpoint.show(Some(pki::ca().identity(ORDERS)));
    assert_eq!(serial(&mut stream).await.unwrap(), endpoint.serial());
}

#[tokio::test]
async fn each_stream_hears_of_what_changed_for_it_and_of_nothing_else() {
    let ca = pki::ca();
    let endpoint = Endpoint::start(Some(ca.identity(ORDERS))).await;
    let mut client = endpoint.client().await;
    let mut stream = svids(&mut client).await.unwrap();
    let roots = client.fetch_x509_bundles(asked(X509BundlesRequest {})).await.unwrap();
    let keys = client.fetch_jwt_bundles(asked(JwtBundlesRequest {})).await.unwrap();
    let (mut roots, mut keys) = (roots.into_inner(), keys.into_inner());
    let first = serial(&mut stream).await.unwrap();
    assert_eq!(roots.message().await.unwrap().unwrap().bundles.len(), 1);
    assert_eq!(keys.message().await.unwrap().unwrap().bundles.len(), 1);

    endpoint.show(Some(ca.identity(ORDERS)));
    let second = serial(&mut stream).await.unwrap();
    assert_ne!(first, second);
    assert!(silent(&mut roots).await && silent(&mut keys).await, "only the certificate is new");

    let mut federated = ca.identity(ORDERS);
    let partner = pki::ca().bundle("spiffe://partner.mesh/x");
    federated.bundles = federated.bundles.with_foreign(partner);
    endpoint.show(Some(federated));
    assert_ne!(serial(&mut stream).await.unwrap(), second);
    assert_eq!(roots.message().await.unwrap().unwrap().bundles.len(), 2);
    assert!(silent(&mut keys).await);

    let mut signing = ca.identity(ORDERS);
    signing.bundles = signing.bundles.with_jwt(JwtKey::new("one").bundle("demo.mesh"));
    endpoint.show(Some(signing));
    let told = keys.message().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&told.bundles["spiffe://demo.mesh"]).contains("one"));
    let told = roots.message().await.unwrap().unwrap();
    assert_eq!(told.bundles.len(), 1, "a federation that ended is not told any more");
}

#[tokio::test]
async fn an_identity_that_is_lost_is_taken_back() {
    let ca = pki::ca();
    let endpoint = Endpoint::start(Some(ca.identity(ORDERS))).await;
    let mut client = endpoint.client().await;
    let mut stream = svids(&mut client).await.unwrap();
    serial(&mut stream).await.unwrap();
    endpoint.show(None);
    assert!(is_no_identity(&serial(&mut stream).await.unwrap_err()));
    assert!(is_no_identity(&svids(&mut client).await.unwrap_err()));
    let keys = client.fetch_jwt_bundles(asked(JwtBundlesRequest {})).await;
    assert!(is_no_identity(&keys.unwrap_err()));
    endpoint.show(Some(ca.identity(ORDERS)));
    let mut stream = svids(&mut client).await.unwrap();
    assert_eq!(serial(&mut stream).await.unwrap(), endpoint.serial());
}

#[tokio::test]
async fn an_identity_that_is_over_is_not_handed_out() {
    let clock = Clock::manual(SystemTime::now());
    let identity = pki::ca().identity(ORDERS);
    let callers = Callers::own_user().unwrap();
    let endpoint = Endpoint::with(Some(identity), callers, clock.clone()).await;
    let mut client = endpoint.client().await;
    serial(&mut svids(&mut client).await.unwrap()).await.unwrap();
    clock.advance(Duration::from_secs(86_401));
    assert!(is_no_identity(&svids(&mut client).await.unwrap_err()));
}

#[tokio::test]
async fn a_slow_reader_skips_what_was_replaced_and_ends_at_the_latest() {
    const CHANGES: usize = 400;
    let ca = pki::ca();
    let endpoint = Endpoint::start(Some(ca.identity(ORDERS))).await;
    let mut client = endpoint.client().await;
    let mut stream = svids(&mut client).await.unwrap();
    for _ in 0..CHANGES {
        endpoint.show(Some(ca.identity(ORDERS)));
        // Lets the server send as much as it will.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (latest, mut read) = (endpoint.serial(), 1);
    while serial(&mut stream).await.unwrap() != latest {
        read += 1;
    }
    // What fits the windows of the connection was on its way already; the rest was never made.
    assert!(read < CHANGES / 2, "{read} of {CHANGES} were kept");
    assert!(silent(&mut stream).await);
}

#[tokio::test]
async fn streams_are_bounded_in_number() {
    let endpoint = Endpoint::start(Some(pki::ca().identity(ORDERS))).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut client = endpoint.client().await;
        for _ in 0..60 {
            match svids(&mut client).await {
                Ok(stream) => held.push((client.clone(), stream)),
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
            }
        }
    }
    assert_eq!(held.len(), 256);
    assert!(endpoint.metrics.text().contains("workload_api_streams 256"));
    held.truncate(10);
    let mut client = endpoint.client().await;
    assert!(eventually(async || svids(&mut client).await.is_ok()).await, "places come back");
    let few = async || !endpoint.metrics.text().contains("workload_api_streams 256");
    assert!(eventually(few).await);
}

#[tokio::test]
async fn streams_end_when_the_process_drains() {
    let endpoint = Endpoint::start(Some(pki::ca().identity(ORDERS))).await;
    let mut client = endpoint.client().await;
    let mut open = svids(&mut client).await.unwrap();
    serial(&mut open).await.unwrap();
    let ended = tokio::spawn(async move { serial(&mut open).await });
    endpoint.stop().await;
    assert_eq!(ended.await.unwrap().unwrap_err().code(), Code::Unavailable);
}
