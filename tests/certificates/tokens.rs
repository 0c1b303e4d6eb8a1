//! Join tokens, and who is attested by what.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hopgate::ca::{
    AttestRefused, Attestation, Credentials, Issued, Lifetime, SignError, SigningRequest, Token,
    TokenRefused, workload_id,
};
use hopgate::control::ControlError;
use hopgate::identity::{PrivateKey, SpiffeId, X509Svid};
use hopgate::runtime::Clock;

use super::parts::{
    Directory, ORDERS, Office, PAYMENTS, Plane, csr, domain, hours, id, start_of_time, uri,
};

const MINUTE: Duration = Duration::from_secs(60);

fn office(directory: &Directory) -> Office {
    Office::open(&directory.path("ca"), start_of_time())
}

fn redeem(office: &Office, token: &str, now: SystemTime) -> Result<Issued, TokenRefused> {
    let credentials = Credentials { token: Some(Token::Join(token)), certificates: None };
    let attested = match office.attestor.attest(&credentials, now) {
        Ok(attested) => attested,
        Err(AttestRefused::Token(refused)) => return Err(refused),
        Err(other) => panic!("{other}"),
    };
    let request = SigningRequest::parse(&csr(&PrivateKey::generate().unwrap(), |_| {})).unwrap();
    let unreleased = office.authority.sign(attested, &request, Lifetime::DEFAULT, now).unwrap();
    unreleased.release(&office.tokens)
}

fn attest(
    office: &Office,
    token: Option<&str>,
    svid: Option<&X509Svid>,
    now: SystemTime,
) -> Result<(SpiffeId, Attestation), AttestRefused> {
    let credentials =
        Credentials { token: token.map(Token::Join), certificates: svid.map(X509Svid::chain) };
    office.attestor.attest(&credentials, now).map(|a| (a.id().clone(), a.by()))
}

#[test]
fn a_token_works_once_for_its_workload() {
    let directory = Directory::new();
    let office = office(&directory);
    let now = start_of_time();
    let token = office.tokens.create(&id(ORDERS), MINUTE, now).unwrap();
    assert_eq!(token.expose().len(), 43);
    let issued = redeem(&office, token.expose(), now).unwrap();
    assert_eq!(*issued.leaf().id(), id(ORDERS));
    assert_eq!(issued.attestation(), Attestation::JoinToken);
    assert!(matches!(redeem(&office, token.expose(), now), Err(TokenRefused::AlreadyUsed)));
}

#[test]
fn only_the_hash_of_a_token_is_stored() {
    let directory = Directory::new();
    let office = office(&directory);
    let token = office.tokens.create(&id(ORDERS), MINUTE, start_of_time()).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(directory.path("ca/join-tokens")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        seen += 1;
        assert!(!path.to_string_lossy().contains(token.expose()));
        assert!(!fs::read_to_string(&path).unwrap().contains(token.expose()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(seen, 1);
}

#[test]
fn bad_tokens_are_refused_by_name() {
    let directory = Directory::new();
    let office = office(&directory);
    let now = start_of_time();
    let token = office.tokens.create(&id(ORDERS), MINUTE, now).unwrap();
    let late = redeem(&office, token.expose(), now + MINUTE);
    assert!(matches!(late, Err(TokenRefused::Expired)));
    assert!(redeem(&office, token.expose(), now + MINUTE - Duration::from_secs(1)).is_ok());
    let unknown = "A".repeat(43);
    assert!(matches!(redeem(&office, &unknown, now), Err(TokenRefused::Unknown)));
    for malformed in ["", "short", &"A".repeat(44), &format!("../{}", "A".repeat(40)), "é"] {
        let refused = redeem(&office, malformed, now);
        assert!(matches!(refused, Err(TokenRefused::Malformed)), "{malformed}");
    }
    let foreign = SpiffeId::parse("spiffe://other.mesh/ns/shop/sa/orders").unwrap();
    let foreign = office.tokens.create(&foreign, MINUTE, now).unwrap();
    assert!(matches!(redeem(&office, foreign.expose(), now), Err(TokenRefused::Foreign)));
    for ttl in [Duration::ZERO, hours(24 * 8)] {
        assert!(office.tokens.create(&id(ORDERS), ttl, now).is_err());
    }
}

#[test]
fn a_damaged_or_exposed_record_proves_nothing() {
    let directory = Directory::new();
    let office = office(&directory);
    let now = start_of_time();
    let token = office.tokens.create(&id(ORDERS), MINUTE, now).unwrap();
    let tokens = directory.path("ca/join-tokens");
    let record = fs::read_dir(&tokens)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_file())
        .unwrap();
    let text = fs::read_to_string(&record).unwrap();
    for content in ["", "{}", &text.replace("orders", "orders/.."), &text.replace('}', ",\"x\":1}")]
    {
        fs::write(&record, content).unwrap();
        let refused = redeem(&office, token.expose(), now);
        assert!(matches!(refused, Err(TokenRefused::Unreadable(_))), "{content}");
    }
    fs::write(&record, &text).unwrap();
    fs::set_permissions(&record, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(redeem(&office, token.expose(), now), Err(TokenRefused::Unreadable(_))));
    fs::set_permissions(&record, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(redeem(&office, token.expose(), now).is_ok());
}

#[test]
fn of_many_uses_at_once_one_wins() {
    let directory = Directory::new();
    let office = Arc::new(office(&directory));
    let now = start_of_time();
    let token = office.tokens.create(&id(ORDERS), MINUTE, now).unwrap();
    let barrier = Arc::new(std::sync::Barrier::new(8));
    let uses: Vec<_> = (0..8)
        .map(|_| {
            let (office, barrier) = (Arc::clone(&office), Arc::clone(&barrier));
            let token = token.expose().to_owned();
            std::thread::spawn(move || {
                let credentials =
                    Credentials { token: Some(Token::Join(&token)), certificates: None };
                let attested = office.attestor.attest(&credentials, now).unwrap();
                let key = PrivateKey::generate().unwrap();
                let request = SigningRequest::parse(&csr(&key, |_| {})).unwrap();
                let signed = office.authority.sign(attested, &request, Lifetime::DEFAULT, now);
                barrier.wait();
                signed.unwrap().release(&office.tokens).map(drop)
            })
        })
        .collect();
    let results: Vec<_> = uses.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let used = |r: &Result<(), TokenRefused>| matches!(r, Err(TokenRefused::AlreadyUsed));
    assert_eq!(results.iter().filter(|result| used(result)).count(), 7);
}

#[test]
fn a_failed_signing_does_not_burn_the_token() {
    let directory = Directory::new();
    let office = office(&directory);
    let now = start_of_time();
    let token = office.tokens.create(&id(ORDERS), MINUTE, now).unwrap();
    let credentials = Credentials { token: Some(Token::Join(token.expose())), certificates: None };
    let attested = office.attestor.attest(&credentials, now).unwrap();
    let greedy = csr(&PrivateKey::generate().unwrap(), |params| {
        params.subject_alt_names = vec![uri(id(PAYMENTS).as_str())];
    });
    let greedy = SigningRequest::parse(&greedy).unwrap();
    let signed = office.authority.sign(attested, &greedy, Lifetime::DEFAULT, now);
    assert!(matches!(signed, Err(SignError::Request(_))));
    assert!(redeem(&office, token.expose(), now).is_ok());
}

#[test]
fn expired_tokens_are_swept() {
    let directory = Directory::new();
    let office = office(&directory);
    let now = start_of_time();
    let (short, long) = (
        office.tokens.create(&id(ORDERS), MINUTE, now).unwrap(),
        office.tokens.create(&id(ORDERS), hours(1), now).unwrap(),
    );
    let used = office.tokens.create(&id(ORDERS), MINUTE, now).unwrap();
    redeem(&office, used.expose(), now).unwrap();
    assert_eq!(office.tokens.sweep(now).unwrap(), 0);
    let later = now + 2 * MINUTE;
    assert_eq!(office.tokens.sweep(later).unwrap(), 1);
    assert!(matches!(redeem(&office, short.expose(), later), Err(TokenRefused::Unknown)));
    assert!(matches!(redeem(&office, used.expose(), later), Err(TokenRefused::AlreadyUsed)));
    assert!(redeem(&office, long.expose(), later).is_ok());
    assert_eq!(office.tokens.sweep(now + hours(24 * 8)).unwrap(), 2);
}

#[test]
fn workloads_are_named_in_one_way() {
    assert_eq!(workload_id(&domain(), ORDERS).unwrap(), id(ORDERS));
    for bad in [
        "",
        "orders",
        "ns/shop/sa",
        "ns/shop/sa/orders/x",
        "/ns/shop/sa/orders",
        "ns//sa/orders",
        "ns/shop/sa/..",
        "ns/shop/sa/a b",
        "spiffe://demo.mesh/ns/shop/sa/orders",
    ] {
        assert!(workload_id(&domain(), bad).is_err(), "{bad}");
    }
}

#[test]
fn a_certificate_attests_while_it_is_valid_and_ours() {
    let directory = Directory::new();
    let office = office(&directory);
    let now = start_of_time();
    let svid = office.issue(ORDERS, hours(1), now);
    let expected = (id(ORDERS), Attestation::Certificate);
    assert_eq!(attest(&office, None, Some(&svid), now).unwrap(), expected);
    let late = attest(&office, None, Some(&svid), now + hours(1) + Duration::from_secs(1));
    assert!(matches!(late, Err(AttestRefused::Certificate(_))), "an old connection");
    let elsewhere = Directory::new();
    let foreign = self::office(&elsewhere).issue(ORDERS, hours(1), now);
    let refused = attest(&office, None, Some(&foreign), now);
    assert!(matches!(refused, Err(AttestRefused::Certificate(_))));
    assert!(matches!(attest(&office, None, None, now), Err(AttestRefused::NoCredentials)));
}

#[test]
fn token_and_certificate_must_agree() {
    let directory = Directory::new();
    let office = office(&directory);
    let now = start_of_time();
    let svid = office.issue(ORDERS, hours(1), now);
    let own = office.tokens.create(&id(ORDERS), MINUTE, now).unwrap();
    let (_, by) = attest(&office, Some(own.expose()), Some(&svid), now).unwrap();
    assert_eq!(by, Attestation::Both);
    let other = office.tokens.create(&id(PAYMENTS), MINUTE, now).unwrap();
    let refused = attest(&office, Some(other.expose()), Some(&svid), now);
    assert!(matches!(refused, Err(AttestRefused::Disagree)));
    let bad = attest(&office, Some(&"A".repeat(43)), Some(&svid), now);
    assert!(matches!(bad, Err(AttestRefused::Token(TokenRefused::Unknown))), "no fallback");
}

#[tokio::test]
async fn the_control_planes_identity_is_nobody_elses() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let reserved = "ns/hopgate-system/sa/hopgate-control";
    let refused =
        crate::certificates::parts::join_token(&plane.config, reserved, MINUTE, clock.now());
    assert!(matches!(refused, Err(ControlError::Reserved)));
    plane.stop().await;
    // Not even a record written by hand, or the control plane's own certificate.
    let office = office(&directory);
    let token = office.tokens.create(&id(reserved), MINUTE, clock.now()).unwrap();
    let refused = attest(&office, Some(token.expose()), None, clock.now());
    assert!(matches!(refused, Err(AttestRefused::Reserved)));
    let own = office.authority.own_certificate(&[], Lifetime::DEFAULT, clock.now()).unwrap();
    let refused = attest(&office, None, Some(&own), clock.now());
    assert!(matches!(refused, Err(AttestRefused::Reserved)));
}
