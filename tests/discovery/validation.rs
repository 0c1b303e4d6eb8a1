//! Each form in which roots are served, with a real Envoy: who gets in by it, and who does not.

use std::net::SocketAddr;

use hopgate::identity::WorkloadIdentity;
use hopgate::sidecar::sds::{Crl, Material};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::service::Service;
use super::workload::{ORDERS, SERVER, WEB, Workload, dial, get};
use crate::support::Scratch;
use crate::support::envoy::eventually;
use crate::support::pki::{self, Ca, Leaf};

const PARTNER: &str = "spiffe://other.mesh/ns/shop/sa/partner";

/// An identity of ours that also trusts `other.mesh` by the roots of another authority.
fn federated(ours: &Ca, theirs: &Ca) -> WorkloadIdentity {
    let mut identity = ours.identity(ORDERS);
    identity.bundles = identity.bundles.with_foreign(theirs.bundle(PARTNER));
    identity
}

/// What a connection comes to: the status of a path that the gate opens to anybody, or nothing.
async fn enters(to: SocketAddr, leaf: Option<&Leaf>) -> bool {
    match dial(to, leaf).await {
        Ok(mut stream) => get(&mut stream, "/open").await.is_ok_and(|(status, _)| status == 200),
        Err(_) => false,
    }
}

/// An Envoy that asks for the roots under another name, and lets in whom they vouch for.
async fn server(sds: &Service, roots: &'static str) -> (Workload, SocketAddr) {
    let change = move |bootstrap: Value| {
        let text = bootstrap.to_string();
        assert!(text.contains(r#""name":"ROOTCA""#), "{text}");
        // Both trust domains by name, so that the roots alone decide.
        let text = text.replace(r#""name":"ROOTCA""#, &format!(r#""name":"{roots}""#)).replace(
            r#"{"san_type":"URI","matcher":{"prefix":"spiffe://demo.mesh/"}}"#,
            r#"{"san_type":"URI","matcher":{"prefix":"spiffe://demo.mesh/"}},
               {"san_type":"URI","matcher":{"prefix":"spiffe://old.mesh/"}},
               {"san_type":"URI","matcher":{"prefix":"spiffe://other.mesh/"}}"#,
        );
        assert!(text.contains("spiffe://other.mesh/"), "{text}");
        serde_json::from_str(&text).unwrap()
    };
    let server = Workload::start_changed(ORDERS, SERVER, sds.socket(), change).await;
    server.envoy.live().await;
    let http = server.envoy.listener("inbound|http").await;
    (server, http)
}

#[tokio::test]
async fn all_vouches_for_each_trust_domain_by_its_own_roots_alone() {
    let (ours, theirs, nobody) = (pki::ca(), pki::ca(), pki::ca());
    let sds = Service::start(Some(federated(&ours, &theirs))).await;
    let (_server, http) = server(&sds, "ALL").await;
    assert!(enters(http, Some(&ours.leaf(WEB))).await, "ours by our root");
    assert!(enters(http, Some(&theirs.leaf(PARTNER))).await, "theirs by theirs");
    for (why, leaf) in [
        ("ours by their root", Some(theirs.leaf(WEB))),
        ("theirs by our root", Some(ours.leaf(PARTNER))),
        ("a trust domain that is not known", Some(ours.leaf("spiffe://third.mesh/ns/shop/sa/web"))),
        ("nobody's root", Some(nobody.leaf(WEB))),
        ("no certificate", None),
    ] {
        assert!(!enters(http, leaf.as_ref()).await, "{why}");
    }
    // With two names the validator goes by the first. The gate hears that one and not the other.
    let both = |names: [&str; 2]| {
        theirs.leaf_with(|params| params.subject_alt_names = names.map(pki::uri).to_vec())
    };
    assert!(!enters(http, Some(&both([WEB, PARTNER]))).await);
    if let Ok(mut stream) = dial(http, Some(&both([PARTNER, WEB]))).await {
        let status = get(&mut stream, "/").await.map(|(status, _)| status);
        assert_ne!(status.ok(), Some(200), "taken for a workload of ours");
    }

    // The federation ends: refused from the next handshake on.
    sds.show(Some(ours.identity(ORDERS)));
    let gone = async || !enters(http, Some(&theirs.leaf(PARTNER))).await;
    assert!(eventually(gone).await, "removed roots are still trusted");
    assert!(enters(http, Some(&ours.leaf(WEB))).await);
}

#[tokio::test]
async fn rootca_is_our_roots_and_no_foreign_ones() {
    let (ours, theirs) = (pki::ca(), pki::ca());
    let sds = Service::start(Some(federated(&ours, &theirs))).await;
    let (_server, http) = server(&sds, "ROOTCA").await;
    assert!(enters(http, Some(&ours.leaf(WEB))).await);
    for (why, leaf) in [("theirs", theirs.leaf(PARTNER)), ("ours by theirs", theirs.leaf(WEB))] {
        assert!(!enters(http, Some(&leaf)).await, "{why}");
    }
}

#[tokio::test]
async fn one_trust_domain_by_name_is_that_one() {
    let (ours, theirs) = (pki::ca(), pki::ca());
    let sds = Service::start(Some(federated(&ours, &theirs))).await;
    let (_server, http) = server(&sds, "spiffe://other.mesh").await;
    assert!(enters(http, Some(&theirs.leaf(PARTNER))).await);
    for (why, leaf) in [
        ("ours", ours.leaf(WEB)),
        ("ours by their root", theirs.leaf(WEB)),
        ("theirs by our root", ours.leaf(PARTNER)),
    ] {
        assert!(!enters(http, Some(&leaf)).await, "{why}");
    }
}

#[tokio::test]
async fn an_alias_is_vouched_for_by_our_roots_unless_it_is_a_trust_domain_of_its_own() {
    let (ours, theirs) = (pki::ca(), pki::ca());
    let (identity, receiver) = watch::channel(Some(std::sync::Arc::new(federated(&ours, &theirs))));
    let aliases = ["old.mesh", "other.mesh"];
    let aliases = aliases.map(|name| hopgate::identity::TrustDomain::parse(name).unwrap()).to_vec();
    let aliases = tokio::sync::watch::channel(aliases).1;
    let sds = Service::of(Material { aliases, ..Material::new(receiver) }).await;
    let (_server, http) = server(&sds, "ALL").await;
    assert!(enters(http, Some(&ours.leaf("spiffe://old.mesh/ns/shop/sa/web"))).await);
    assert!(enters(http, Some(&theirs.leaf(PARTNER))).await);
    assert!(!enters(http, Some(&theirs.leaf("spiffe://old.mesh/ns/shop/sa/web"))).await);
    assert!(!enters(http, Some(&ours.leaf(PARTNER))).await, "its own roots alone");
    drop(identity);
}

/// A client Envoy with a door to `upstream`, which verifies it by the roots of that name.
async fn client(
    ours: &Ca,
    theirs: &Ca,
    roots: &'static str,
    upstream: SocketAddr,
) -> (Service, Workload) {
    let section = format!(
        r#"
admin: "unix:DIRECTORY/admin.sock"
outbound:
  - {{ name: orders, listen: "127.0.0.1:0", upstream: ["{upstream}"], identities: [ns/shop/sa/orders] }}
"#
    );
    let sds = Service::start(Some(federated(ours, theirs))).await;
    let change = move |bootstrap: Value| {
        let text = bootstrap.to_string();
        serde_json::from_str(&text.replace("ROOTCA", roots)).unwrap()
    };
    let client = Workload::start_changed(WEB, &section, sds.socket(), change).await;
    client.envoy.live().await;
    (sds, client)
}

async fn status(client: &Workload) -> Option<u16> {
    let door = client.envoy.listener("outbound|orders").await;
    let mut stream = TcpStream::connect(door).await.unwrap();
    get(&mut stream, "/").await.ok().map(|(status, _)| status)
}

/// A server that shows a certificate of the test's making and answers every request with 200.
async fn pretender(leaf: &Leaf) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let key = rustls::pki_types::PrivateKeyDer::try_from(leaf.key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.certificate.clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            if let Ok(mut tls) = acceptor.accept(tcp).await {
                let mut request = [0; 2048];
                drop(tls.read(&mut request).await);
                drop(tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await);
            }
        }
    });
    (address, task)
}

#[tokio::test]
async fn a_foreign_root_does_not_vouch_for_a_server_of_ours() {
    let (ours, theirs) = (pki::ca(), pki::ca());
    // A foreign authority signs a certificate that names a workload of its own first, and one of ours after it.
    let names = [PARTNER, ORDERS].map(pki::uri).to_vec();
    let two = theirs.leaf_with(|params| params.subject_alt_names = names);
    for (why, leaf, roots, expected) in [
        ("the right one", ours.leaf(ORDERS), "ROOTCA", true),
        ("the right one", ours.leaf(ORDERS), "spiffe://demo.mesh", true),
        ("a foreign root", theirs.leaf(ORDERS), "ROOTCA", false),
        ("a foreign root", theirs.leaf(ORDERS), "spiffe://demo.mesh", false),
        ("a foreign root", theirs.leaf(ORDERS), "ALL", false),
        ("two names", two, "ROOTCA", false),
    ] {
        let (upstream, task) = pretender(&leaf).await;
        let (_sds, client) = client(&ours, &theirs, roots, upstream).await;
        let reached = status(&client).await == Some(200);
        assert_eq!(reached, expected, "{why} by {roots}");
        task.abort();
    }
}

/// Why `ALL` is not for calls to one trust domain: this is what Envoy does, and what the bootstrap must not rely on.
#[tokio::test]
async fn by_all_a_second_name_is_taken_for_the_first() {
    let (ours, theirs) = (pki::ca(), pki::ca());
    let names = [PARTNER, ORDERS].map(pki::uri).to_vec();
    let two = theirs.leaf_with(|params| params.subject_alt_names = names);
    let (upstream, task) = pretender(&two).await;
    let (_sds, one) = client(&ours, &theirs, "spiffe://demo.mesh", upstream).await;
    assert_ne!(status(&one).await, Some(200), "one trust domain by name withstands it");
    let (_sds, all) = client(&ours, &theirs, "ALL", upstream).await;
    assert_eq!(status(&all).await, Some(200), "if Envoy refuses this now, the docs may say so");
    task.abort();
}

#[tokio::test]
async fn a_revocation_list_is_checked_in_each_form() {
    let ours = pki::ca_with(rcgen::KeyPair::generate().unwrap(), |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "demo.mesh root");
    });
    let directory = Scratch::new("crl");
    let (good, bad) = (ours.leaf(WEB), ours.leaf(WEB));
    let list = directory.write("crl.pem", &ours.revocations(&[&bad], hours(24)));
    let identity = std::sync::Arc::new(ours.identity(ORDERS));
    assert!(Crl::read(&list).unwrap().uncovered(&identity).is_empty());
    let (_keep, receiver) = watch::channel(Some(identity));
    let (lists, crl) = watch::channel(Some(Crl::read(&list).unwrap()));
    let sds = Service::of(Material { crl, ..Material::new(receiver) }).await;
    for roots in ["ROOTCA", "ALL", "spiffe://demo.mesh"] {
        lists.send_replace(Some(Crl::read(&list).unwrap()));
        let (_server, http) = server(&sds, roots).await;
        assert!(enters(http, Some(&good)).await, "{roots}");
        assert!(!enters(http, Some(&bad)).await, "{roots}");

        // A newer list counts from the next handshake on.
        let newer = directory.write("newer.pem", &ours.revocations(&[&good], hours(24)));
        lists.send_replace(Some(Crl::read(&newer).unwrap()));
        assert!(eventually(async || !enters(http, Some(&good)).await).await, "{roots}");
        assert!(enters(http, Some(&bad)).await, "{roots}");
    }

    // One that is out of date, or somebody else's, lets nobody in.
    let (_server, http) = server(&sds, "ROOTCA").await;
    lists.send_replace(Some(Crl::read(&list).unwrap()));
    assert!(eventually(async || enters(http, Some(&good)).await).await);
    let old = directory.write("old.pem", &ours.revocations(&[], std::time::Duration::ZERO));
    lists.send_replace(Some(Crl::read(&old).unwrap()));
    assert!(eventually(async || !enters(http, Some(&good)).await).await, "out of date");
    lists.send_replace(None);
    assert!(eventually(async || enters(http, Some(&bad)).await).await, "without lists");
}

fn hours(n: u64) -> std::time::Duration {
    std::time::Duration::from_secs(3600 * n)
}

#[test]
fn what_is_no_revocation_list_is_refused_before_envoy_sees_it() {
    let ours = pki::ca_with(rcgen::KeyPair::generate().unwrap(), |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "demo.mesh root");
    });
    let directory = Scratch::new("crl");
    let good = ours.revocations(&[], hours(24));
    let read = |text: &str| Crl::read(&directory.write("crl.pem", text));
    assert!(read(&good).is_ok() && read(&format!("{good}{good}")).is_ok());
    for (text, words) in [
        (String::new(), "no PEM block"),
        (pki::pem(&ours.root()), "no PEM block"),
        (format!("{good}-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"), "list 2"),
        (good[..good.len() / 2].to_owned(), ""),
    ] {
        let refused = read(&text).unwrap_err().to_string();
        assert!(refused.contains(words) && refused.contains("crl.pem"), "{refused}");
    }
    // A list of another authority covers nothing of ours.
    let other = pki::ca_with(rcgen::KeyPair::generate().unwrap(), |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "another");
    });
    let theirs = read(&other.revocations(&[], hours(24))).unwrap();
    assert_eq!(theirs.uncovered(&ours.identity(ORDERS)), ["CN=demo.mesh root"]);
}
