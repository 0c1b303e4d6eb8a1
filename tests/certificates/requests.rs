//! Signing requests of attackers.

use hopgate::ca::{InvalidRequest, SigningRequest};
use hopgate::identity::PrivateKey;
use rcgen::{IsCa, KeyUsagePurpose, SanType};

use super::parts::{ORDERS, PAYMENTS, csr, id, uri};

const RSA_1024: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIIBSzCBtQIBADAMMQowCAYDVQQKDAF4MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCB
iQKBgQC0hyxz+eZvvuJpF/ScuCONAi5oLdXb3Iy8+jm9g11v4NgA1WkR2HK7eSwr
fQ0zJ4L5MNrq88XUUpiR2mpO6MzueJTB+kWXnEA/Degk85XYRFS+FJY1pjYyYeJC
wFuqdhWwUebF92Svheo5x3ibjqd0v6Hiusy1TJV9FMjZfzdpHwIDAQABoAAwDQYJ
KoZIhvcNAQELBQADgYEAmUZnqQqL7mBp0tdTCtJHWn7BXUgov2SIBdjaby/dPYAb
orDvXT7/9TZEUVQLV6rbX2Zyx2dNGx0FKmvmILSOYih2Maf6Hy8o4gmLKDnAWHvH
pgcu7cT/jgsLvkT74kESW9zjmx6ZVfu2saEgl2b2/upiQg6uGJdjlyPLwyFSTGI=
-----END CERTIFICATE REQUEST-----
";
const SECP256K1: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIHEMGsCAQAwDDEKMAgGA1UECgwBeDBWMBAGByqGSM49AgEGBSuBBAAKA0IABOqO
ds1oFKufyst/ih+TfOv6/L9W/sKr9G/hfSIy8UqfxrsyBy0sUX/qPQY2atWEmSRj
ptcZZ+mcTrir+K3xqyqgADAKBggqhkjOPQQDAgNJADBGAiEA/P+KRq1N4ZCgj+94
ho0OEje73KCJHFa7xRM+BgayIiACIQCS36TNqrvfTlvGCdk2dCyyx960clDt0I/T
p2ybrgdq6A==
-----END CERTIFICATE REQUEST-----
";
/// Made by openssl with `basicConstraints=critical,CA:TRUE`.
const AUTHORITY: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIHpMIGQAgEAMAwxCjAIBgNVBAoMAXgwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAR7oyXlBRaZBMt3jqdbV8imO+WEpU9b7NrTQ8bLGV0v6tX19f5iP/aZdiaLCi65
EQV7oalofWnYTWdBWM1w49GSoCIwIAYJKoZIhvcNAQkOMRMwETAPBgNVHRMBAf8E
BTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQDDfpx71IJ522vlpzRQjDQKgG7v6TfI
N7hBGLOQsaqBXwIgEB6BYzYKS0dDwEnn8VziSEI0SGcuGfik0OQ5x4hsu68=
-----END CERTIFICATE REQUEST-----
";
/// Made by openssl with `nameConstraints=permitted;DNS:x`.
const NAME_CONSTRAINTS: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIHqMIGRAgEAMAwxCjAIBgNVBAoMAXgwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AARQIzBsQtsS0avJvrM1A7E+bisfTrWQH+YI09hDD9xgBQgFvm+jyhKLPRsSi0HM
f9aQ/DzMPzm7zt7o2GJHhodXoCMwIQYJKoZIhvcNAQkOMRQwEjAQBgNVHR4ECTAH
oAUwA4IBeDAKBggqhkjOPQQDAgNIADBFAiEAggyqwviAE2w3fsH9IPZcAr8Ry9ZV
cTBjGGdt3oz4HLkCIA1mTrmQ7ns28WwrbUVWm+TNdRTGVuF0jWAzTmH5A4Gw
-----END CERTIFICATE REQUEST-----
";

fn key() -> PrivateKey {
    PrivateKey::generate().unwrap()
}

fn refusal(pem: &str) -> InvalidRequest {
    match SigningRequest::parse(pem) {
        Ok(_) => panic!("taken: {pem}"),
        Err(refusal) => refusal,
    }
}

#[test]
fn honest_requests_are_taken() {
    let orders = id(ORDERS);
    let plain = csr(&key(), |_| {});
    SigningRequest::parse(&plain).unwrap().check_names(&orders, &[]).unwrap();
    let istio = csr(&key(), |params| {
        params.subject_alt_names = vec![uri(orders.as_str())];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    SigningRequest::parse(&format!("\n{istio}\n\n")).unwrap().check_names(&orders, &[]).unwrap();
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let pem = params.serialize_request(&pair).unwrap().pem().unwrap();
        assert!(SigningRequest::parse(&pem).is_ok());
    }
}

#[test]
fn another_identity_is_refused_not_dropped() {
    let ask = |names: Vec<SanType>| csr(&key(), |params| params.subject_alt_names = names);
    let (orders, payments) = (id(ORDERS), id(PAYMENTS));
    for names in [
        vec![uri(payments.as_str())],
        vec![uri(orders.as_str()), uri(payments.as_str())],
        vec![uri(orders.as_str()), uri(orders.as_str())],
        vec![uri("spiffe://demo.mesh/ns/shop/sa/orders/")],
        vec![uri("spiffe://DEMO.mesh/ns/shop/sa/orders")],
        vec![uri("spiffe://other.mesh/ns/shop/sa/orders")],
    ] {
        let request = SigningRequest::parse(&ask(names)).unwrap();
        assert_eq!(request.check_names(&orders, &[]), Err(InvalidRequest::ForeignName));
    }
    let dns = ask(vec![SanType::DnsName("orders.shop".try_into().unwrap())]);
    let refused = SigningRequest::parse(&dns).unwrap().check_names(&orders, &[]);
    assert_eq!(refused, Err(InvalidRequest::DnsName("orders.shop".to_owned())));
    for name in
        [SanType::Rfc822Name("a@b".try_into().unwrap()), SanType::IpAddress([127, 0, 0, 1].into())]
    {
        assert_eq!(refusal(&ask(vec![name])), InvalidRequest::NameKind);
    }
}

#[test]
fn the_rights_of_an_authority_are_refused() {
    assert_eq!(refusal(AUTHORITY), InvalidRequest::Authority);
    for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
        let pem = csr(&key(), |params| params.key_usages = vec![usage]);
        assert_eq!(refusal(&pem), InvalidRequest::Authority);
    }
    assert_eq!(refusal(NAME_CONSTRAINTS), InvalidRequest::Extension("2.5.29.30".to_owned()));
}

#[test]
fn other_keys_are_refused() {
    assert_eq!(refusal(RSA_1024), InvalidRequest::KeyKind);
    assert_eq!(refusal(SECP256K1), InvalidRequest::KeyKind);
    let p521 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    let params = rcgen::CertificateParams::default();
    let pem = params.serialize_request(&p521).unwrap().pem().unwrap();
    assert_eq!(refusal(&pem), InvalidRequest::KeyKind);
}

#[test]
fn who_does_not_hold_the_key_is_refused() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let pem = csr(&key(), |_| {});
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(body).unwrap();
    let wrap = |der: &[u8]| {
        format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            STANDARD.encode(der)
        )
    };
    assert!(SigningRequest::parse(&wrap(&der)).is_ok());
    let mut forged = der.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(refusal(&wrap(&forged)), InvalidRequest::Signature);
    let mut trailing = der.clone();
    trailing.push(0);
    assert_eq!(refusal(&wrap(&trailing)), InvalidRequest::Unreadable);
    // No change of one byte is taken, wherever it is in what the signature covers.
    let covered = {
        use x509_parser::prelude::FromDer as _;
        let (_, request) =
            x509_parser::certification_request::X509CertificationRequest::from_der(&der).unwrap();
        request.certification_request_info.raw.len()
    };
    for at in 0..3 + covered {
        let mut changed = der.clone();
        changed[at] ^= 0x40;
        let taken = SigningRequest::parse(&wrap(&changed));
        assert!(taken.is_err(), "byte {at}, {:#04x}", der[at]);
    }
}

#[test]
fn exactly_one_block_is_read() {
    let pem = csr(&key(), |_| {});
    for bad in [
        String::new(),
        "garbage".to_owned(),
        format!("{pem}{pem}"),
        format!("text\n{pem}"),
        format!("{pem}text"),
        pem.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
        format!("{pem}{}", key().to_pem().as_str()),
    ] {
        assert_eq!(refusal(&bad), InvalidRequest::NotOnePemBlock, "{bad}");
    }
    let long = csr(&key(), |params| {
        params.subject_alt_names = vec![uri(&"a".repeat(8000))];
    });
    assert_eq!(refusal(&long), InvalidRequest::TooLong);
}
