//! The authority answers what it must not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hopgate::identity::PrivateKey;
use hopgate::runtime::Clock;
use rcgen::{CertificateParams, IsCa, KeyUsagePurpose};

use super::super::impostor::{Asked, Impostor};
use super::super::parts::{Directory, ORDERS, Sidecar, hours, id, sidecar_config, this_second};
use super::authority::named_ca;
use crate::support::pki;

/// Makes an answer: the chain that is sent.
type Answer = Box<dyn Fn(&Authorities, &Asked) -> Vec<String> + Send>;

struct Authorities {
    root: pki::Ca,
    intermediate: pki::Ca,
    stranger: pki::Ca,
}

impl Authorities {
    fn leaf(&self, asked: &Asked, change: impl FnOnce(&mut CertificateParams)) -> String {
        let leaf = self.intermediate.certify(&asked.key, |params| {
            params.subject_alt_names = vec![pki::uri(id(ORDERS).as_str())];
            change(params);
        });
        pki::pem(&leaf)
    }

    /// Leaf, intermediate, root: as it should be but for the change of the leaf.
    fn chain(&self, asked: &Asked, change: impl FnOnce(&mut CertificateParams)) -> Vec<String> {
        let authorities = [self.intermediate.root(), self.root.root()].map(|ca| pki::pem(&ca));
        [vec![self.leaf(asked, change)], authorities.to_vec()].concat()
    }
}

fn good() -> Answer {
    Box::new(|ours, asked| ours.chain(asked, |_| {}))
}

fn changed(change: fn(&mut CertificateParams)) -> Answer {
    Box::new(move |ours, asked| ours.chain(asked, change))
}

fn now() -> std::time::SystemTime {
    Clock::system().now()
}

/// Each with the words in which the sidecar refuses it.
fn bad() -> Vec<(&'static str, &'static str, Answer)> {
    vec![
        (
            "another trust domain",
            "is not in trust domain demo.mesh",
            changed(|params| {
                params.subject_alt_names = vec![pki::uri("spiffe://other.mesh/ns/shop/sa/orders")];
            }),
        ),
        (
            "a trust domain that begins alike",
            "is not in trust domain demo.mesh",
            changed(|params| {
                params.subject_alt_names =
                    vec![pki::uri("spiffe://demo.mesh.evil/ns/shop/sa/orders")];
            }),
        ),
        (
            "another workload",
            "is for spiffe://demo.mesh/ns/shop/sa/payments",
            changed(|params| {
                params.subject_alt_names = vec![pki::uri("spiffe://demo.mesh/ns/shop/sa/payments")];
            }),
        ),
        (
            "the trust domain itself",
            "names a trust domain",
            changed(|params| {
                params.subject_alt_names = vec![pki::uri("spiffe://demo.mesh")];
            }),
        ),
        (
            "two workloads",
            "2 URI SANs",
            changed(|params| {
                params.subject_alt_names.push(pki::uri("spiffe://demo.mesh/ns/shop/sa/payments"));
            }),
        ),
        ("no name", "0 URI SANs", changed(|params| params.subject_alt_names.clear())),
        (
            "expired",
            "expired",
            changed(|params| params.not_after = (now() - hours(1) + Duration::from_secs(1)).into()),
        ),
        (
            "of the future",
            "not valid yet",
            changed(|params| {
                params.not_before = (now() + hours(1)).into();
            }),
        ),
        (
            "a CA certificate for the key",
            "it is a CA certificate",
            changed(|params| {
                params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            }),
        ),
        (
            "a leaf that may sign",
            "key usage",
            changed(|params| {
                params.key_usages.push(KeyUsagePurpose::KeyCertSign);
            }),
        ),
        (
            "the authority's own certificate",
            "it is a CA certificate",
            Box::new(|ours, _| vec![pki::pem(&ours.intermediate.root())]),
        ),
        (
            "another key",
            "does not belong to the private key",
            Box::new(|ours, asked| {
                let other = PrivateKey::generate().unwrap().to_key_pair().unwrap();
                let leaf = ours.intermediate.certify(&other, |params| {
                    params.subject_alt_names = vec![pki::uri(id(ORDERS).as_str())];
                });
                [vec![pki::pem(&leaf)], ours.chain(asked, |_| {})[1..].to_vec()].concat()
            }),
        ),
        (
            "a stranger's certificate",
            "not trusted",
            Box::new(|ours, asked| {
                let leaf = ours.stranger.certify(&asked.key, |params| {
                    params.subject_alt_names = vec![pki::uri(id(ORDERS).as_str())];
                });
                vec![pki::pem(&leaf)]
            }),
        ),
        (
            "a stranger's certificate with its root",
            "foreign root",
            Box::new(|ours, asked| {
                let leaf = ours.stranger.certify(&asked.key, |params| {
                    params.subject_alt_names = vec![pki::uri(id(ORDERS).as_str())];
                });
                vec![pki::pem(&leaf), pki::pem(&ours.stranger.root())]
            }),
        ),
        (
            "a chain with its middle first",
            "it is a CA certificate",
            Box::new(|ours, asked| {
                let mut chain = ours.chain(asked, |_| {});
                chain.swap(0, 1);
                chain
            }),
        ),
        (
            "a chain with its root first",
            "it is a CA certificate",
            Box::new(|ours, asked| {
                let mut chain = ours.chain(asked, |_| {});
                chain.reverse();
                chain
            }),
        ),
        (
            "a chain without its middle",
            "not trusted",
            Box::new(|ours, asked| {
                let mut chain = ours.chain(asked, |_| {});
                chain.remove(1);
                chain
            }),
        ),
        ("nothing", "holds no certificate", Box::new(|_, _| Vec::new())),
        ("no PEM", "no certificate", Box::new(|_, _| vec!["certificate".to_owned()])),
        (
            "PEM that is cut",
            "no certificate chain",
            Box::new(|ours, asked| {
                let mut chain = ours.chain(asked, |_| {});
                chain[0].truncate(300);
                chain
            }),
        ),
        (
            "PEM of no certificate",
            "not a DER certificate",
            Box::new(|_, _| vec![pki::pem(b"certificate")]),
        ),
    ]
}

#[tokio::test]
async fn a_wrong_trust_domain_is_answered() {
    let directory = Directory::new();
    let clock = Clock::manual(this_second());
    let root = named_ca();
    let ours =
        Arc::new(Authorities { intermediate: root.intermediate(), stranger: named_ca(), root });
    directory.write("roots.pem", &pki::pem(&ours.root.root()), 0o644);
    let answer = Arc::new(Mutex::new(good()));
    let impostor = {
        let (server, ours, answer) = (Arc::clone(&ours), Arc::clone(&ours), Arc::clone(&answer));
        let answers = move |asked: Asked| {
            let chain = answer.lock().unwrap()(&ours, &asked);
            std::future::ready(Ok(chain))
        };
        Impostor::start(&server.root, &clock, answers).await
    };
    let config = sidecar_config(&directory, &impostor.server(), Some("any"));
    let mut sidecar = Sidecar::start(&config, &clock);
    let serial = sidecar.other_than(None).await.unwrap();
    let stored = std::fs::read(directory.path("state/identity.pem")).unwrap();
    for (what, words, chain) in bad() {
        *answer.lock().unwrap() = chain;
        println!("{what}");
        sidecar.refuses(words).await;
        assert_eq!(sidecar.serial().as_ref(), Some(&serial), "{what}: the good one is kept");
    }
    assert_eq!(std::fs::read(directory.path("state/identity.pem")).unwrap(), stored);
    *answer.lock().unwrap() = good();
    sidecar.handle.renew_now();
    assert!(sidecar.other_than(Some(&serial)).await.is_some());
    assert_eq!(sidecar.handle.status().last_error, None);

    // Who holds nothing yet gets nothing of it either.
    std::fs::remove_dir_all(directory.path("state")).unwrap();
    for (what, words, chain) in bad() {
        *answer.lock().unwrap() = chain;
        let fresh = Sidecar::start(&config, &clock);
        fresh.error(words).await;
        assert_eq!(fresh.serial(), None, "{what}");
        fresh.stop().await;
    }
    sidecar.stop().await;
}
