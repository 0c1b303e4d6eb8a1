//! The secret discovery service as a client on its unix socket sees it.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    Secret, SpiffeCertValidatorConfig,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::rpc::Status;
use hopgate::identity::WorkloadIdentity;
use hopgate::xds::{SECRET_TYPE, Table};
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use zeroize::Zeroizing;

use super::service::{Secrets, Service, client};
use crate::support::Scratch;
use crate::support::envoy::eventually;
use crate::support::pki;

const ORDERS: &str = "spiffe://demo.mesh/ns/shop/sa/orders";

/// A stream of either kind.
struct Stream<Q, A> {
    requests: mpsc::Sender<Q>,
    answers: tonic::Streaming<A>,
}

impl<Q, A> Stream<Q, A> {
    async fn send(&self, request: Q) {
        self.requests.send(request).await.unwrap();
    }

    async fn answer(&mut self) -> A {
        let answer = tokio::time::timeout(Duration::from_secs(10), self.answers.message()).await;
        answer.expect("an answer in time").unwrap().expect("the stream goes on")
    }

    /// Nothing comes for a while.
    async fn quiet(&mut self) {
        let answer = tokio::time::timeout(Duration::from_millis(200), self.answers.message()).await;
        assert!(answer.is_err(), "an answer that nobody is owed");
    }
}

async fn whole(service: &Service) -> Stream<DiscoveryRequest, DiscoveryResponse> {
    let (requests, receiver) = mpsc::channel(8);
    let answers = service.client().await.stream_secrets(ReceiverStream::new(receiver)).await;
    Stream { requests, answers: answers.unwrap().into_inner() }
}

async fn delta(service: &Service) -> Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> {
    let (requests, receiver) = mpsc::channel(8);
    let answers = service.client().await.delta_secrets(ReceiverStream::new(receiver)).await;
    Stream { requests, answers: answers.unwrap().into_inner() }
}

fn wants(names: &[&str], nonce: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        type_url: SECRET_TYPE.to_owned(),
        response_nonce: nonce.to_owned(),
        ..DiscoveryRequest::default()
    }
}

fn subscribes(names: &[&str], nonce: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        type_url: SECRET_TYPE.to_owned(),
        response_nonce: nonce.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn refusal() -> Option<Status> {
    Some(Status { code: 13, message: "KEY_VALUES_MISMATCH".to_owned(), details: vec![] })
}

/// Name and PEM of a secret: the chain with its key, or the roots, each after the name of its trust domain where the
/// SPIFFE validator goes by it.
fn content(any: &Any) -> (String, String) {
    assert_eq!(any.type_url, SECRET_TYPE);
    let secret = Secret::decode(any.value.as_slice()).unwrap();
    let text = |source: Option<envoy_types::pb::envoy::config::core::v3::DataSource>| {
        let Some(Specifier::InlineBytes(bytes)) = source.unwrap().specifier else {
            panic!("inline bytes")
        };
        String::from_utf8(bytes).unwrap()
    };
    let pem = match secret.r#type.unwrap() {
        Type::TlsCertificate(pair) => {
            text(pair.certificate_chain) + text(pair.private_key).as_str()
        }
        Type::ValidationContext(context) => {
            assert!(context.match_typed_subject_alt_names.is_empty(), "Envoy would add them up");
            match context.custom_validator_config {
                None => text(context.trusted_ca),
                Some(validator) => {
                    assert_eq!(validator.name, "envoy.tls.cert_validator.spiffe");
                    assert!(context.trusted_ca.is_none());
                    let config = validator.typed_config.unwrap();
                    let config =
                        SpiffeCertValidatorConfig::decode(config.value.as_slice()).unwrap();
                    let entries = config.trust_domains.into_iter();
                    entries.map(|e| format!("{}\n{}", e.name, text(e.trust_bundle))).collect()
                }
            }
        }
        other => panic!("{other:?}"),
    };
    (secret.name, pem)
}

fn pair(identity: &WorkloadIdentity) -> String {
    identity.svid.chain_pem() + identity.svid.key().to_pem().as_str()
}

#[tokio::test]
async fn every_name_is_served_in_its_own_answer() {
    let (ca, theirs) = (pki::ca(), pki::ca());
    let mut identity = ca.identity(ORDERS);
    identity.bundles = identity.bundles.with_foreign(theirs.bundle("spiffe://other.mesh/a"));
    let (own, roots) = (pair(&identity), identity.bundles.own().to_pem());
    let one = format!("demo.mesh\n{roots}");
    let foreign = format!("other.mesh\n{}", theirs.bundle("spiffe://other.mesh/a").to_pem());
    let all = format!("{one}{foreign}");
    let service = Service::start(Some(identity)).await;
    let mut stream = whole(&service).await;
    let (home, abroad) = ("spiffe://demo.mesh", "spiffe://other.mesh");
    let names = ["nobody", "default", "ROOTCA", "ALL", ORDERS, home, abroad, "*"];
    stream.send(wants(&names, "")).await;
    let mut found = std::collections::BTreeMap::new();
    for _ in 0..6 {
        let answer = stream.answer().await;
        assert_eq!(answer.resources.len(), 1);
        let (name, pem) = content(&answer.resources[0]);
        found.insert(name, pem);
        stream
            .send(DiscoveryRequest {
                version_info: answer.version_info,
                ..wants(&names, &answer.nonce)
            })
            .await;
    }
    for (name, expected) in [
        ("default", &own),
        (ORDERS, &own),
        ("ROOTCA", &roots),
        ("ALL", &all),
        (home, &one),
        (abroad, &foreign),
    ] {
        assert_eq!(&found[name], expected, "{name}");
    }
    stream.quiet().await;
    assert!(eventually(async || service.totals() == (6, 0)).await, "{:?}", service.status.counts());
}

#[tokio::test]
async fn nothing_is_sent_before_a_certificate_and_nothing_taken_back_after() {
    let ca = pki::ca();
    let service = Service::start(None).await;
    let mut sotw = whole(&service).await;
    let mut incremental = delta(&service).await;
    sotw.send(wants(&["default"], "")).await;
    incremental.send(subscribes(&["default", "nobody"], "")).await;
    sotw.quiet().await;
    incremental.quiet().await;
    let fetched = service.client().await.fetch_secrets(wants(&["default"], "")).await;
    assert_eq!(fetched.unwrap_err().code(), tonic::Code::Unavailable);

    let identity = ca.identity(ORDERS);
    let own = pair(&identity);
    service.show(Some(identity));
    assert_eq!(content(&sotw.answer().await.resources[0]).1, own);
    let answer = incremental.answer().await;
    assert_eq!(content(answer.resources[0].resource.as_ref().unwrap()).1, own);
    assert_eq!(incremental.answer().await.removed_resources, ["nobody"]);

    service.show(None);
    sotw.quiet().await;
    incremental.quiet().await;
    let mut late = whole(&service).await;
    late.send(wants(&["default"], "")).await;
    late.quiet().await;
    let fetched = service.client().await.fetch_secrets(wants(&["default"], "")).await;
    assert_eq!(fetched.unwrap_err().code(), tonic::Code::Unavailable, "what is over is not given");
    let renewed = ca.identity(ORDERS);
    let own = pair(&renewed);
    service.show(Some(renewed));
    assert_eq!(content(&late.answer().await.resources[0]).1, own);
}

#[tokio::test]
async fn a_new_certificate_is_pushed_once_and_unchanged_roots_are_not() {
    let ca = pki::ca();
    let service = Service::start(Some(ca.identity(ORDERS))).await;
    let mut stream = delta(&service).await;
    stream.send(subscribes(&["ROOTCA", "default"], "")).await;
    let (roots, first) = (stream.answer().await, stream.answer().await);
    assert_eq!(
        (roots.resources[0].name.as_str(), first.resources[0].name.as_str()),
        ("ROOTCA", "default")
    );

    let renewed = ca.identity(ORDERS);
    let own = pair(&renewed);
    service.show(Some(renewed));
    let second = stream.answer().await;
    assert_eq!(
        content(second.resources[0].resource.as_ref().unwrap()),
        ("default".to_owned(), own)
    );
    assert_ne!(second.resources[0].version, first.resources[0].version);
    stream.quiet().await;
}

#[tokio::test]
async fn a_refused_secret_is_counted_and_not_sent_again() {
    let ca = pki::ca();
    let service = Service::start(Some(ca.identity(ORDERS))).await;
    let mut sotw = whole(&service).await;
    sotw.send(wants(&["default"], "")).await;
    let answer = sotw.answer().await;
    sotw.send(DiscoveryRequest { error_detail: refusal(), ..wants(&["default"], &answer.nonce) })
        .await;
    let mut incremental = delta(&service).await;
    incremental.send(subscribes(&["ROOTCA"], "")).await;
    let answer = incremental.answer().await;
    incremental
        .send(DeltaDiscoveryRequest { error_detail: refusal(), ..subscribes(&[], &answer.nonce) })
        .await;
    sotw.quiet().await;
    incremental.quiet().await;
    assert!(eventually(async || service.totals() == (0, 2)).await);
    let refused = Some("KEY_VALUES_MISMATCH".to_owned());
    assert_eq!(service.status.names()["default"].refused, refused);

    service.show(Some(ca.identity(ORDERS)));
    let answer = sotw.answer().await;
    sotw.send(wants(&["default"], &answer.nonce)).await;
    assert!(eventually(async || service.totals() == (1, 2)).await);
    assert_eq!(service.status.names()["default"].refused, None);
}

#[tokio::test]
async fn a_client_that_comes_back_is_answered_by_its_kind() {
    let ca = pki::ca();
    let service = Service::start(Some(ca.identity(ORDERS))).await;
    let mut first = delta(&service).await;
    first.send(subscribes(&["default"], "")).await;
    let version = first.answer().await.resources[0].version.clone();
    drop(first);

    let mut again = delta(&service).await;
    let brought = [("default".to_owned(), version.clone())].into();
    again
        .send(DeltaDiscoveryRequest {
            initial_resource_versions: brought,
            ..subscribes(&["default"], "")
        })
        .await;
    again.quiet().await;
    again.send(subscribes(&["default"], "")).await;
    assert_eq!(again.answer().await.resources[0].version, version, "asked again, answered again");

    let mut sotw = whole(&service).await;
    sotw.send(DiscoveryRequest { version_info: version.clone(), ..wants(&["default"], "") }).await;
    assert_eq!(sotw.answer().await.version_info, version);
}

#[tokio::test]
async fn fetch_answers_what_is_known() {
    let ca = pki::ca();
    let service = Service::start(Some(ca.identity(ORDERS))).await;
    let mut client = service.client().await;
    let answer = client.fetch_secrets(wants(&["default", "nobody", "ROOTCA"], "")).await.unwrap();
    let names: Vec<String> =
        answer.into_inner().resources.iter().map(|any| content(any).0).collect();
    assert_eq!(names, ["default", "ROOTCA"]);
    let unknown = client.fetch_secrets(wants(&["nobody"], "")).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    let other =
        DiscoveryRequest { type_url: "type.example/Other".to_owned(), ..wants(&["default"], "") };
    assert_eq!(client.fetch_secrets(other).await.unwrap_err().code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn a_wrong_type_ends_the_stream() {
    let ca = pki::ca();
    let service = Service::start(Some(ca.identity(ORDERS))).await;
    let mut stream = whole(&service).await;
    let other = "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned();
    stream.send(DiscoveryRequest { type_url: other, ..wants(&["default"], "") }).await;
    let status = stream.answers.message().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn draining_ends_the_streams_and_they_are_counted() {
    let ca = pki::ca();
    let service = Service::start(Some(ca.identity(ORDERS))).await;
    let (mut one, two) = (whole(&service).await, delta(&service).await);
    assert!(eventually(async || service.status.streams() == 2).await);
    drop(two);
    assert!(eventually(async || service.status.streams() == 1).await);
    service.drain();
    let end = tokio::time::timeout(Duration::from_secs(10), one.answers.message()).await.unwrap();
    assert!(end.unwrap().is_none(), "a clean end");
    assert!(eventually(async || service.status.streams() == 0).await);
}

/// A client that stops reading costs what the transport holds, not one answer for each change.
#[tokio::test]
async fn a_client_that_does_not_read_gets_the_latest_in_the_end() {
    const CHANGES: usize = 500;
    let table = |round: usize| {
        let mut table = Table::new(SECRET_TYPE);
        let mut content = vec![0; 16 * 1024];
        content[..8].copy_from_slice(&(round as u64).to_be_bytes());
        table.insert("default", Zeroizing::new(content));
        Some(Arc::new(table))
    };
    let (sender, tables) = watch::channel(table(0));
    let directory = Scratch::new("sds");
    let socket = directory.path().join("sds.sock");
    let _secrets = Secrets::start(socket.clone(), tables, Arc::default()).await;
    let (requests, receiver) = mpsc::channel(8);
    let answers = client(&socket).await.stream_secrets(ReceiverStream::new(receiver)).await;
    let mut stream = Stream { requests, answers: answers.unwrap().into_inner() };
    stream.send(wants(&["default"], "")).await;
    stream.answer().await;
    for round in 1..=CHANGES {
        sender.send_replace(table(round));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut received = 0;
    loop {
        received += 1;
        let answer = stream.answer().await;
        let round: [u8; 8] = answer.resources[0].value[..8].try_into().unwrap();
        if u64::from_be_bytes(round) == CHANGES as u64 {
            break;
        }
    }
    assert!(received < CHANGES / 2, "{received} answers were queued");
}
