//! Real Envoys on generated bootstraps: certificates arrive and change by discovery, and what is not a workload of
//! the mesh with the right name gets nowhere.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, TlsCertificate};
use hopgate::identity::{TrustBundle, WorkloadIdentity};
use hopgate::sidecar::sds::{self, SdsStatus};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::service::{Secrets, Service};
use super::workload::{ORDERS, SERVER, WEB, Workload, dial, get, serial};
use crate::support::Scratch;
use crate::support::envoy::eventually;
use crate::support::pki;

#[tokio::test]
async fn the_port_opens_with_the_certificate_and_rotation_is_seen() {
    let ca = pki::ca();
    let sds = Service::start(None).await;
    let server = Workload::start(ORDERS, SERVER, sds.socket()).await;
    let http = server.envoy.listener("inbound|http").await;
    assert!(
        eventually(async || sds.status.streams() >= 2).await,
        "Envoy asks for its secrets:\n{}",
        server.envoy.log()
    );
    assert!(TcpStream::connect(http).await.is_err(), "closed until there is a certificate");

    let first = ca.identity(ORDERS);
    let first_serial = first.svid.leaf().serial().to_owned();
    sds.show(Some(first));
    server.envoy.live().await;
    let web = ca.leaf(WEB);
    let mut kept = dial(http, Some(&web)).await.unwrap();
    assert_eq!(serial(&kept), first_serial);
    let (status, body) = get(&mut kept, "/a//b/../c").await.unwrap();
    assert_eq!(status, 200);
    assert!(body.starts_with("/a/c for ") && body.ends_with(&format!("URI={WEB}")), "{body}");
    assert!(!body.contains("sa/root"), "the forged identity is gone: {body}");

    let second = ca.identity(ORDERS);
    let second_serial = second.svid.leaf().serial().to_owned();
    sds.show(Some(second));
    let renewed =
        async || dial(http, Some(&web)).await.is_ok_and(|stream| serial(&stream) == second_serial);
    assert!(eventually(renewed).await, "the new certificate is not served");
    assert_eq!(get(&mut kept, "/later").await.unwrap().0, 200, "an open connection lives on");
    let names = sds.status.names();
    assert!(names["default"].acked.is_some() && names["ROOTCA"].acked.is_some(), "{names:?}");
    assert_eq!(sds.status.counts().map(|count| count.nacks), [0, 0, 0]);
}

#[tokio::test]
async fn only_a_workload_of_the_mesh_gets_in() {
    let ca = pki::ca();
    let sds = Service::start(Some(ca.identity(ORDERS))).await;
    let server = Workload::start(ORDERS, SERVER, sds.socket()).await;
    server.envoy.live().await;
    let http = server.envoy.listener("inbound|http").await;

    let mut plain = TcpStream::connect(http).await.unwrap();
    assert!(get(&mut plain, "/open").await.is_err(), "plaintext is refused");
    for (why, leaf) in [
        ("without a certificate", None),
        ("a stranger's CA", Some(pki::ca().leaf(WEB))),
        ("another trust domain", Some(ca.leaf("spiffe://demo.mesh.evil/ns/shop/sa/web"))),
        (
            "a DNS name",
            Some(ca.leaf_with(|params| {
                let name = rcgen::string::Ia5String::try_from(WEB).unwrap();
                params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
            })),
        ),
        (
            "expired",
            Some({
                let now = std::time::SystemTime::now();
                let hours = |n: u64| Duration::from_secs(3600 * n);
                ca.leaf_between(WEB, now - hours(2), now - hours(1))
            }),
        ),
    ] {
        // In TLS 1.3 a client learns of the refusal when it reads.
        let refused = match dial(http, leaf.as_ref()).await {
            Ok(mut stream) => get(&mut stream, "/open").await.is_err(),
            Err(_) => true,
        };
        assert!(refused, "{why}");
    }
    let mut other = dial(http, Some(&ca.leaf("spiffe://demo.mesh/ns/shop/sa/mail"))).await.unwrap();
    assert_eq!(get(&mut other, "/").await.unwrap().0, 403, "the gate is asked");
    assert_eq!(get(&mut other, "/open").await.unwrap().0, 200);
    assert_eq!(get(&mut other, "/%2fopen").await.unwrap().0, 400, "an ambiguous path");

    let mut outside = TcpStream::connect(server.envoy.listener("edge|public").await).await.unwrap();
    assert_eq!(get(&mut outside, "/").await.unwrap().0, 403);
    assert_eq!(get(&mut outside, "/open").await.unwrap(), (200, "/open for nobody".to_owned()));
}

#[tokio::test]
async fn a_gate_that_is_down_or_silent_lets_nobody_in() {
    let ca = pki::ca();
    let sds = Service::start(Some(ca.identity(ORDERS))).await;
    let silent = Workload::start(ORDERS, SERVER, sds.socket()).await;
    let down = Workload::without_gate(ORDERS, SERVER, sds.socket(), Scratch::new("envoy")).await;
    let web = ca.leaf(WEB);
    for (server, path) in [(&silent, "/hang"), (&down, "/open")] {
        server.envoy.live().await;
        let mut stream =
            dial(server.envoy.listener("inbound|http").await, Some(&web)).await.unwrap();
        assert_eq!(get(&mut stream, path).await.unwrap().0, 503);
        let logged = async || server.access_log().contains("ext_authz_error");
        assert!(eventually(logged).await, "{}", server.access_log());
    }
    let mut stream = dial(down.envoy.listener("inbound|tcp").await, Some(&web)).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    assert!(stream.read_u8().await.is_err(), "no bytes reach the application");
}

#[tokio::test]
async fn a_restarted_sidecar_is_found_again() {
    let ca = pki::ca();
    let place = Scratch::new("sds");
    let socket = place.path().join("sds.sock");
    let first = Service::start_at(socket.clone(), Some(ca.identity(ORDERS))).await;
    let server = Workload::start(ORDERS, SERVER, socket.clone()).await;
    server.envoy.live().await;
    let http = server.envoy.listener("inbound|http").await;
    first.stop().await;
    let web = ca.leaf(WEB);
    let mut stream = dial(http, Some(&web)).await.unwrap();
    assert_eq!(get(&mut stream, "/").await.unwrap().0, 200, "Envoy keeps what it has");

    let renewed = ca.identity(ORDERS);
    let expected = renewed.svid.leaf().serial().to_owned();
    let _second = Service::start_at(socket, Some(renewed)).await;
    let served = async || dial(http, Some(&web)).await.is_ok_and(|s| serial(&s) == expected);
    assert!(eventually(served).await, "{}", server.envoy.log());
}

#[tokio::test]
async fn a_pair_that_does_not_match_is_refused_once_and_the_old_one_stays() {
    let ca = pki::ca();
    let place = Scratch::new("sds");
    let socket = place.path().join("sds.sock");
    let good = ca.identity(ORDERS);
    let expected = good.svid.leaf().serial().to_owned();
    let (sender, tables) = watch::channel(Some(Arc::new(sds::secrets(&good, &[], None))));
    let status = Arc::new(SdsStatus::default());
    let _secrets = Secrets::start(socket.clone(), tables, Arc::clone(&status)).await;
    let server = Workload::start(ORDERS, SERVER, socket).await;
    server.envoy.live().await;

    let mut bad = sds::secrets(&good, &[], None);
    bad.insert("default", mismatched(&good, &ca.identity(ORDERS)));
    sender.send_replace(Some(Arc::new(bad)));
    let refusals = || status.counts().iter().map(|count| count.nacks).sum::<u64>();
    assert!(eventually(async || refusals() > 0).await, "{}", server.envoy.log());
    let refused = refusals();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(refusals(), refused, "nothing is sent in a loop");
    let reason = status.names()["default"].refused.clone().unwrap();
    assert!(reason.contains("KEY_VALUES_MISMATCH"), "{reason}");
    let http = server.envoy.listener("inbound|http").await;
    assert_eq!(serial(&dial(http, Some(&ca.leaf(WEB))).await.unwrap()), expected);
}

#[tokio::test]
async fn the_application_hears_of_a_connection_only_after_the_verdict() {
    let ca = pki::ca();
    let sds = Service::start(Some(ca.identity(ORDERS))).await;
    let server = Workload::start(ORDERS, SERVER, sds.socket()).await;
    server.envoy.live().await;
    let tcp = server.envoy.listener("inbound|tcp").await;
    let mail = ca.leaf("spiffe://demo.mesh/ns/shop/sa/mail");
    let mut denied = dial(tcp, Some(&mail)).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), denied.read_u8()).await;
    assert!(early.is_err(), "the application spoke to a stranger: {early:?}");
    denied.write_all(b"hello").await.unwrap();
    assert!(denied.read_u8().await.is_err(), "the gate said no");
    assert_eq!(server.envoy.stat("cluster.inbound|tcp.upstream_cx_total").await, 0);

    let mut admitted = dial(tcp, Some(&ca.leaf(WEB))).await.unwrap();
    admitted.write_all(b"hello").await.unwrap();
    let mut answer = [0; 12];
    admitted.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"welcomehello");

    let mut hasty = dial(tcp, Some(&ca.leaf(WEB))).await.unwrap();
    let burst: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_be_bytes()[3]).collect();
    let (mut read, mut write) = tokio::io::split(&mut hasty);
    let mut echoed = vec![0; b"welcome".len() + burst.len()];
    let (sent, received) = tokio::join!(write.write_all(&burst), read.read_exact(&mut echoed));
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    assert!(echoed.ends_with(&burst), "more than is kept early arrives whole");
}

#[tokio::test]
async fn a_new_root_counts_from_the_next_handshake() {
    let (old, new) = (pki::ca(), pki::ca());
    let sds = Service::start(Some(old.identity(ORDERS))).await;
    let server = Workload::start(ORDERS, SERVER, sds.socket()).await;
    server.envoy.live().await;
    let http = server.envoy.listener("inbound|http").await;
    let (by_old, by_new) = (old.leaf(WEB), new.leaf(WEB));
    let enters = async |leaf: &pki::Leaf| match dial(http, Some(leaf)).await {
        Ok(mut stream) => get(&mut stream, "/").await.is_ok_and(|(status, _)| status == 200),
        Err(_) => false,
    };
    assert!(enters(&by_old).await && !enters(&by_new).await);

    let mut both = old.identity(ORDERS);
    let roots = vec![old.root(), new.root()];
    let domain = both.bundles.own().domain().clone();
    both.bundles = both.bundles.with_own(TrustBundle::new(domain, roots).unwrap());
    sds.show(Some(both));
    assert!(eventually(async || enters(&by_new).await).await, "the new root is trusted");
    assert!(enters(&by_old).await, "and the old one still");

    sds.show(Some(new.identity(ORDERS)));
    assert!(eventually(async || !enters(&by_old).await).await, "the old root is gone");
    assert!(enters(&by_new).await);
}

#[tokio::test]
async fn two_gates_speak_to_each_other_and_only_to_whom_they_name() {
    let ca = pki::ca();
    let sds = Service::start(Some(ca.identity(ORDERS))).await;
    let server = Workload::start(ORDERS, SERVER, sds.socket()).await;
    server.envoy.live().await;
    let section = format!(
        r#"
admin: "unix:DIRECTORY/admin.sock"
accessLog: DIRECTORY/access.log
outbound:
  - {{ name: orders, listen: "127.0.0.1:0", upstream: ["{http}"], identities: [ns/shop/sa/orders] }}
  - {{ name: mail, listen: "127.0.0.1:0", upstream: ["{http}"], identities: [ns/shop/sa/mail] }}
  - {{ name: echo, listen: "127.0.0.1:0", upstream: ["{tcp}"], identities: [ns/shop/sa/orders], protocol: tcp }}
"#,
        http = server.envoy.listener("inbound|http").await,
        tcp = server.envoy.listener("inbound|tcp").await,
    );
    let web = Service::start(Some(ca.identity(WEB))).await;
    let client = Workload::start(WEB, &section, web.socket()).await;
    client.envoy.live().await;

    let mut door =
        TcpStream::connect(client.envoy.listener("outbound|orders").await).await.unwrap();
    let (status, body) = get(&mut door, "/cart?token=secret").await.unwrap();
    assert_eq!(status, 200, "{body}");
    assert!(body.contains(&format!("URI={WEB}")), "{body}");
    let hybrid = "cluster.outbound|orders.ssl.curves.X25519MLKEM768";
    assert!(client.envoy.stat(hybrid).await > 0, "the key exchange is hybrid");

    let mut door = TcpStream::connect(client.envoy.listener("outbound|mail").await).await.unwrap();
    assert_eq!(get(&mut door, "/open").await.unwrap().0, 503, "it is not whom we named");

    let mut door = TcpStream::connect(client.envoy.listener("outbound|echo").await).await.unwrap();
    door.write_all(b"hello").await.unwrap();
    let mut answer = [0; 12];
    door.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"welcomehello");

    let logged = async || {
        let log = client.access_log();
        log.contains(ORDERS) && log.contains("\"path\":\"/cart\"") && !log.contains("secret")
    };
    assert!(eventually(logged).await, "{}", client.access_log());
}

/// A secret with the chain of one identity and the key of another.
fn mismatched(chain: &WorkloadIdentity, key: &WorkloadIdentity) -> Zeroizing<Vec<u8>> {
    let inline = |bytes: Vec<u8>| {
        let specifier = Some(Specifier::InlineBytes(bytes));
        Some(DataSource { specifier, ..DataSource::default() })
    };
    let secret = Secret {
        name: "default".to_owned(),
        r#type: Some(Type::TlsCertificate(TlsCertificate {
            certificate_chain: inline(chain.svid.chain_pem().into_bytes()),
            private_key: inline(key.svid.key().to_pem().as_bytes().to_vec()),
            ..TlsCertificate::default()
        })),
    };
    Zeroizing::new(secret.encode_to_vec())
}
