use super::*;
use crate::xds::NewContent;

fn domain(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

/// A new root of a trust domain.
fn root(name: &str) -> TrustBundle {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    TrustBundle::new(domain(name), vec![certificate.der().clone()]).unwrap()
}

fn update(nonce: &str, bundles: &[&TrustBundle], removed: &[&str]) -> Update {
    let resources = bundles.iter().map(|bundle| {
        let encoded = DomainBundle::new((*bundle).clone(), None, 1).encode().unwrap();
        let version = encoded.version();
        NewContent { name: encoded.name, version, content: encoded.content }
    });
    Update {
        type_url: TRUST_BUNDLE_TYPE,
        nonce: nonce.to_owned(),
        revision: String::new(),
        resources: resources.collect(),
        removed: removed.iter().map(ToString::to_string).collect(),
    }
}

fn ledger() -> Ledger {
    Ledger::new(domain("demo.mesh"))
}

#[test]
fn what_is_told_is_tried_together_and_accepted_together() {
    let (bootstrap, new, foreign) = (root("demo.mesh"), root("demo.mesh"), root("other.mesh"));
    let mut ledger = ledger();
    assert!(!ledger.is_due());
    let (own, other) = (update("1", &[&new], &[]), update("2", &[&foreign], &[]));
    ledger.push(other.clone()).unwrap();
    ledger.push(own.clone()).unwrap();
    assert!(ledger.is_due());
    let tried = ledger.attempt(&bootstrap);
    assert_eq!((tried.own(), tried.of(foreign.domain())), (&new, Some(&foreign)));
    assert!(!ledger.is_due());
    assert_eq!(ledger.good(&bootstrap), Bundles::new(bootstrap.clone()), "not yet");
    assert_eq!(ledger.accept(), [other, own]);
    assert_eq!(ledger.good(&bootstrap), tried);

    ledger.push(update("3", &[], &["other.mesh"])).unwrap();
    assert_eq!(ledger.attempt(&bootstrap).of(foreign.domain()), None);
}

#[test]
fn the_newest_word_is_tried_at_once_while_an_older_one_waits_for_envoy() {
    let (bootstrap, first, second) = (root("demo.mesh"), root("demo.mesh"), root("demo.mesh"));
    let mut ledger = ledger();
    ledger.push(update("1", &[&first], &[])).unwrap();
    assert_eq!(ledger.attempt(&bootstrap).own(), &first);
    ledger.push(update("2", &[&second], &[])).unwrap();
    assert!(ledger.is_due());
    assert_eq!(ledger.attempt(&bootstrap).own(), &second);
    assert_eq!(ledger.accept().len(), 2);
    assert_eq!(ledger.good(&bootstrap).own(), &second);
}

#[test]
fn nobody_is_refused_for_anothers_fault() {
    let (bootstrap, good, bad) = (root("demo.mesh"), root("good.mesh"), root("bad.mesh"));
    let mut ledger = ledger();
    ledger.push(update("1", &[&bad], &[])).unwrap();
    ledger.push(update("2", &[&good], &[])).unwrap();
    ledger.attempt(&bootstrap);
    assert_eq!(ledger.refuse(), Fate::OneByOne);
    assert_eq!(ledger.attempt(&bootstrap).foreign().count(), 1);
    assert!(!ledger.is_due(), "the second waits until the first is settled");
    assert_eq!(ledger.refuse(), Fate::Refused(update("1", &[&bad], &[])));
    assert!(ledger.is_due());
    assert_eq!(ledger.attempt(&bootstrap).of(good.domain()), Some(&good));
    assert_eq!(ledger.accept(), [update("2", &[&good], &[])]);
    assert_eq!(ledger.good(&bootstrap).of(bad.domain()), None);
    // And later ones are tried together again.
    ledger.push(update("3", &[&bad], &[])).unwrap();
    ledger.push(update("4", &[&root("demo.mesh")], &[])).unwrap();
    ledger.attempt(&bootstrap);
    assert!(!ledger.is_due());
}

#[test]
fn a_bundle_that_would_leave_nobody_to_trust_is_refused_at_once() {
    let mut ledger = ledger();
    let refused = |ledger: &mut Ledger, update: Update| ledger.push(update).unwrap_err().1;
    let content = |name: &str, content: &[u8]| {
        let content = content.to_vec();
        let resource = NewContent { name: name.to_owned(), version: "1".to_owned(), content };
        Update { resources: vec![resource], ..update("1", &[], &[]) }
    };
    assert!(refused(&mut ledger, content("demo.mesh", b"")).contains("is empty"));
    assert!(refused(&mut ledger, content("demo.mesh", b"\xff\xff")).contains("no TrustBundle"));
    assert!(refused(&mut ledger, content("Not A Domain", b"")).contains("no trust domain"));
    let gone = refused(&mut ledger, update("1", &[], &["demo.mesh"]));
    assert!(gone.contains("cannot be taken away"), "{gone}");
    let message = crate::proto::discovery::TrustBundle {
        jwt_authorities: r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"one","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#.to_owned(),
        ..crate::proto::discovery::TrustBundle::default()
    };
    let keys_only = prost::Message::encode_to_vec(&message);
    let words = refused(&mut ledger, content("demo.mesh", &keys_only));
    assert!(words.contains("holds no certificate"), "{words}");
    // A foreign domain may have keys alone.
    ledger.push(content("other.mesh", &keys_only)).unwrap();
    let tried = ledger.attempt(&root("demo.mesh"));
    assert!(tried.jwt_of(&domain("other.mesh")).is_some() && tried.foreign().count() == 0);
}

#[test]
fn a_broken_stream_forgets_what_waits_but_not_what_is_good() {
    let (bootstrap, new) = (root("demo.mesh"), root("demo.mesh"));
    let mut ledger = ledger();
    ledger.push(update("1", &[&new], &[])).unwrap();
    ledger.attempt(&bootstrap);
    ledger.accept();
    ledger.push(update("2", &[&root("other.mesh")], &["gone.mesh"])).unwrap();
    assert!(ledger.disconnect().is_empty(), "nothing was tried");
    assert!(!ledger.is_due());
    ledger.push(update("3", &[&root("other.mesh")], &["gone.mesh"])).unwrap();
    ledger.attempt(&bootstrap);
    assert_eq!(ledger.disconnect(), ["other.mesh", "gone.mesh"]);
    assert!(ledger.disconnect().is_empty(), "forgotten");
    assert_eq!(ledger.good(&bootstrap).own(), &new);
    ledger.forget();
    assert_eq!(ledger.good(&bootstrap).own(), &bootstrap);
}
