//! The signing server over real TLS.

use std::time::Duration;

use hopgate::identity::{Leaf, PrivateKey, X509Svid};
use hopgate::runtime::Clock;
use tokio::io::AsyncReadExt as _;
use tonic::Code;

use super::parts::{
    Call, Directory, ORDERS, Office, PAYMENTS, Plane, csr, ders, domain, hours, id, start_of_time,
    uri,
};

struct Asked {
    key: PrivateKey,
    answer: Result<Vec<String>, tonic::Status>,
}

impl Asked {
    fn svid(self, plane: &Plane, clock: &Clock) -> X509Svid {
        let chain = ders(&self.answer.unwrap()[..2]);
        X509Svid::new(chain, self.key, &plane.bundle, clock.now()).unwrap()
    }

    fn refusal(self) -> (Code, String) {
        let status = self.answer.expect_err("a refusal");
        (status.code(), status.message().to_owned())
    }
}

async fn ask(
    plane: &Plane,
    clock: &Clock,
    certificate: Option<&X509Svid>,
    tokens: &[&str],
) -> Asked {
    let key = PrivateKey::generate().unwrap();
    let authorization: Vec<_> = tokens.iter().map(|token| format!("Bearer {token}")).collect();
    let call = Call {
        port: plane.port,
        trusts: &plane.bundle,
        certificate,
        authorization: &authorization,
        csr: csr(&key, |_| {}),
        seconds: 0,
    };
    let answer = call.send(clock).await;
    Asked { key, answer }
}

#[tokio::test]
async fn a_token_then_the_certificate_itself() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let token = plane.token(ORDERS, &clock);
    let first = ask(&plane, &clock, None, &[&token]).await;
    let answer = first.answer.clone().unwrap();
    assert_eq!(answer.len(), 3, "leaf, issuing, root");
    assert_eq!(ders(&answer)[2], plane.bundle.roots()[0]);
    let first = first.svid(&plane, &clock);
    assert_eq!(*first.id(), id(ORDERS));
    assert_eq!(first.leaf().not_after(), clock.now() + hours(1));

    let second = ask(&plane, &clock, None, &[&token]).await.refusal();
    assert_eq!(second, (Code::Unauthenticated, "join token already used".to_owned()));
    clock.advance(Duration::from_secs(1800));
    let renewed = ask(&plane, &clock, Some(&first), &[]).await.svid(&plane, &clock);
    assert_eq!(*renewed.id(), id(ORDERS));
    assert_eq!(renewed.leaf().not_after(), clock.now() + hours(1));
    plane.stop().await;
}

#[tokio::test]
async fn whoever_proves_nothing_gets_nothing() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let (code, text) = ask(&plane, &clock, None, &[]).await.refusal();
    assert_eq!(code, Code::Unauthenticated, "{text}");
    let unknown = "A".repeat(43);
    let (code, text) = ask(&plane, &clock, None, &[&unknown]).await.refusal();
    assert_eq!((code, text.as_str()), (Code::Unauthenticated, "join token unknown"));
    let token = plane.token(ORDERS, &clock);
    let (code, _) = ask(&plane, &clock, None, &[&token, &token]).await.refusal();
    assert_eq!(code, Code::Unauthenticated, "two tokens");
    clock.advance(Duration::from_secs(600));
    let (code, text) = ask(&plane, &clock, None, &[&token]).await.refusal();
    assert_eq!((code, text.as_str()), (Code::Unauthenticated, "join token expired"));
    plane.stop().await;
}

#[tokio::test]
async fn foreign_and_expired_certificates_are_refused() {
    let (directory, elsewhere) = (Directory::new(), Directory::new());
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let foreign = Office::open(&elsewhere.path("ca"), clock.now());
    let foreign = foreign.issue(ORDERS, hours(1), clock.now());
    let (code, text) = ask(&plane, &clock, Some(&foreign), &[]).await.refusal();
    println!("a foreign client certificate shows as {code:?}: {text}");
    // Even a good token does not make up for it.
    let token = plane.token(ORDERS, &clock);
    assert!(ask(&plane, &clock, Some(&foreign), &[&token]).await.answer.is_err());
    let own = ask(&plane, &clock, None, &[&token]).await.svid(&plane, &clock);
    // The server's own certificate must not end in this jump as well.
    for _ in 0..2 {
        clock.advance(Duration::from_secs(1900));
        tokio::time::sleep(Duration::from_millis(2500)).await;
    }
    assert!(ask(&plane, &clock, Some(&own), &[]).await.answer.is_err());
    let token = plane.token(ORDERS, &clock);
    assert!(ask(&plane, &clock, None, &[&token]).await.answer.is_ok(), "the server serves on");
    plane.stop().await;
}

#[tokio::test]
async fn token_and_certificate_must_agree_on_the_wire() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let token = plane.token(ORDERS, &clock);
    let orders = ask(&plane, &clock, None, &[&token]).await.svid(&plane, &clock);
    let other = plane.token(PAYMENTS, &clock);
    let (code, _) = ask(&plane, &clock, Some(&orders), &[&other]).await.refusal();
    assert_eq!(code, Code::PermissionDenied);
    let own = plane.token(ORDERS, &clock);
    assert!(ask(&plane, &clock, Some(&orders), &[&own]).await.answer.is_ok());
    assert!(ask(&plane, &clock, None, &[&own]).await.answer.is_err(), "it was used up");
    assert!(ask(&plane, &clock, None, &[&other]).await.answer.is_ok(), "it was not");
    plane.stop().await;
}

#[tokio::test]
async fn bad_requests_have_their_codes_and_leave_the_token() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let token = plane.token(ORDERS, &clock);
    let authorization = [format!("Bearer {token}")];
    let send = async |csr: String, seconds: i64| {
        let call = Call {
            port: plane.port,
            trusts: &plane.bundle,
            certificate: None,
            authorization: &authorization,
            csr,
            seconds,
        };
        call.send(&clock).await
    };
    let key = PrivateKey::generate().unwrap();
    let named = |name: &str| csr(&key, |params| params.subject_alt_names = vec![uri(name)]);
    for (csr, seconds, code) in [
        (named(id(PAYMENTS).as_str()), 0, Code::PermissionDenied),
        (
            csr(&key, |p| p.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign]),
            0,
            Code::PermissionDenied,
        ),
        ("garbage".to_owned(), 0, Code::InvalidArgument),
        (String::new(), 0, Code::InvalidArgument),
        (csr(&key, |_| {}), -1, Code::InvalidArgument),
    ] {
        assert_eq!(send(csr, seconds).await.unwrap_err().code(), code);
    }
    assert!(send("a".repeat(100_000), 0).await.is_err());
    // A longer life than configured cannot be had; a shorter one can.
    let answer = send(named(id(ORDERS).as_str()), 600).await.unwrap();
    let leaf = Leaf::parse(&ders(&answer)[0]).unwrap();
    assert_eq!(leaf.not_after(), clock.now() + Duration::from_secs(600));
    let token = plane.token(ORDERS, &clock);
    let call = Call {
        port: plane.port,
        trusts: &plane.bundle,
        certificate: None,
        authorization: &[format!("Bearer {token}")],
        csr: csr(&key, |_| {}),
        seconds: i64::MAX,
    };
    let leaf = Leaf::parse(&ders(&call.send(&clock).await.unwrap())[0]).unwrap();
    assert_eq!(leaf.not_after(), clock.now() + hours(1));
    plane.stop().await;
}

#[tokio::test]
async fn a_silent_connection_is_closed_and_hinders_nobody() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let mut silent = tokio::net::TcpStream::connect(("127.0.0.1", plane.port)).await.unwrap();
    let token = plane.token(ORDERS, &clock);
    assert!(ask(&plane, &clock, None, &[&token]).await.answer.is_ok());
    let mut bytes = [0; 16];
    let closed = tokio::time::timeout(Duration::from_secs(8), silent.read(&mut bytes)).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
    plane.stop().await;
}

#[tokio::test]
async fn two_control_planes_cannot_share_an_address_or_a_directory() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let again = hopgate::control::Control::bind(&plane.config, clock.clone()).await;
    assert!(again.is_err(), "the directory");
    let elsewhere = Directory::new();
    let mut config = plane.config.clone();
    config.directory = Some(elsewhere.path("ca"));
    config.listen = format!("127.0.0.1:{}", plane.port).parse().unwrap();
    let again = hopgate::control::Control::bind(&config, clock.clone()).await;
    assert!(again.is_err(), "the address");
    assert_eq!(config.trust_domain, domain());
    plane.stop().await;
}
