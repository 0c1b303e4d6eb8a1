//! Certificates: ours, made by the way, and those a real Envoy recorded.

mod bench;
mod clients;
mod foreign;
mod forwarded;
mod pki;
mod revoked;

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hopgate::authn::Verifier;
use hopgate::identity::TrustDomain;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, KeyUsagePurpose, SanType};
use serde_json::Value;

use super::mint::{self, at};

pub const PRINCIPAL: &str = "spiffe://demo.mesh/ns/shop/sa/orders";

pub fn domain() -> TrustDomain {
    TrustDomain::parse("demo.mesh").unwrap()
}

/// Where the shared vectors are, if they are there.
pub fn vectors(part: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors");
    let root = std::env::var_os("HOPGATE_VECTORS").map_or(beside, PathBuf::from);
    let found = root.join(part);
    if found.exists() {
        return Some(found);
    }
    println!("skipped: needs {} (or HOPGATE_VECTORS)", found.display());
    None
}

/// A certificate as PEM, valid around [`mint::NOW`].
pub fn pem(change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.not_before = at(mint::NOW - 60).into();
    params.not_after = at(mint::NOW + 60).into();
    params.subject_alt_names = vec![uri(PRINCIPAL)];
    change(&mut params);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// As Envoy encodes it.
pub fn encoded(pem: &str) -> String {
    utf8_percent_encode(pem, NON_ALPHANUMERIC).to_string()
}

fn judged(principal: &str, certificate: &str) -> String {
    match Verifier::new(1).unwrap().peer(principal, certificate, &domain(), at(mint::NOW)) {
        Ok(peer) => peer.id().to_string(),
        Err(refused) => refused.code().to_owned(),
    }
}

#[test]
fn one_uri_that_is_the_principal_proves_the_peer() {
    let pem = pem(|_| {});
    let certificate = encoded(&pem);
    let verifier = Verifier::new(1).unwrap();
    let prove =
        |now| verifier.peer(PRINCIPAL, &certificate, &domain(), at(now)).map_err(|e| e.code());
    let peer = prove(mint::NOW).unwrap();
    assert_eq!(peer.id().as_str(), PRINCIPAL);
    assert_eq!(peer.expires_at(), at(mint::NOW + 60));
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(body).unwrap();
    assert_eq!(peer.thumbprint(), digest(&SHA256, &der).as_ref());
    assert!(Arc::ptr_eq(&peer, &prove(mint::NOW + 60).unwrap()), "read once");
    // Known or not, it is judged each time.
    assert_eq!(prove(mint::NOW + 61).unwrap_err(), "certificate_expired");
    assert_eq!(prove(mint::NOW - 61).unwrap_err(), "certificate_not_yet_valid");
    let other = "spiffe://demo.mesh/ns/shop/sa/payments";
    let refused = verifier.peer(other, &certificate, &domain(), at(mint::NOW)).unwrap_err();
    assert_eq!(refused.code(), "principal_mismatch");
    let foreign = TrustDomain::parse("other.mesh").unwrap();
    let refused = verifier.peer(PRINCIPAL, &certificate, &foreign, at(mint::NOW)).unwrap_err();
    assert_eq!(refused.code(), "foreign_trust_domain");
}

#[test]
fn no_other_certificate_does() {
    let good = pem(|_| {});
    let two = pem(|p| p.subject_alt_names = vec![uri(PRINCIPAL), uri("spiffe://demo.mesh/x")]);
    let dns = pem(|p| p.subject_alt_names = vec![SanType::DnsName(PRINCIPAL.try_into().unwrap())]);
    let none = pem(|p| p.subject_alt_names = Vec::new());
    let https = pem(|p| p.subject_alt_names = vec![uri("https://demo.mesh/ns/shop/sa/orders")]);
    let ca = pem(|p| p.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    let signing = pem(|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign));
    let no_usage = pem(|p| p.key_usages.clear());
    for certificate in [two, dns, none, https, ca, signing, no_usage] {
        assert_eq!(judged(PRINCIPAL, &encoded(&certificate)), "certificate_invalid");
    }
    let whole = encoded(&good);
    let cut = &whole[..whole.len() - 100];
    for unreadable in [
        "x".to_owned(),
        cut.to_owned(),
        format!("{whole}%"),
        format!("{whole}%zz"),
        format!("{whole}x"),
        format!("x{whole}"),
        format!("{whole}{whole}"),
        whole.replace("CERTIFICATE", "CERTIFICATE%20REQUEST"),
        encoded(&good.replace("CERTIFICATE", "PRIVATE KEY")),
        format!("{whole}{}", "%0A".repeat(20_000)),
    ] {
        assert_eq!(judged(PRINCIPAL, &unreadable), "certificate_unreadable", "{unreadable:.80}");
    }
    for principal in ["spiffe://demo.mesh/ns/shop/sa/Orders", "CN=orders", " ", "demo.mesh"] {
        assert_eq!(judged(principal, &whole), "principal_mismatch");
    }
    assert_eq!(judged("", &whole), "principal_missing");
    assert_eq!(judged(PRINCIPAL, ""), "certificate_missing");
}

#[test]
fn certificates_recorded_from_envoy() {
    let Some(folder) = vectors("checkrequests") else { return };
    let corp = TrustDomain::parse("corp.example").unwrap();
    let mut seen = 0;
    for (name, expected) in [
        ("mtls-set-frontend", "spiffe://corp.example/ns/prod/sa/frontend"),
        ("mtls-append", "spiffe://corp.example/ns/prod/sa/frontend"),
        ("mtls-set-dns-only", "certificate_invalid"),
        ("mtls-set-dns-spiffe", "certificate_invalid"),
        ("mtls-set-two-uri", "certificate_invalid"),
        ("tcp-mtls", "spiffe://corp.example/ns/prod/sa/frontend"),
    ] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let request: Value = serde_json::from_str(&text).unwrap();
        let source = &request["attributes"]["source"];
        let part = |name: &str| source[name].as_str().unwrap_or_default();
        let (principal, certificate) = (part("principal"), part("certificate"));
        let recorded = at(1_795_000_000);
        let outcome = match Verifier::new(1).unwrap().peer(principal, certificate, &corp, recorded)
        {
            Ok(peer) => peer.id().to_string(),
            Err(refused) => refused.code().to_owned(),
        };
        // Where Envoy was not told to send the certificate, the principal alone proves nothing.
        let expected = if certificate.is_empty() { "certificate_missing" } else { expected };
        assert_eq!(outcome, expected, "{name}");
        let elsewhere = Verifier::new(1).unwrap().peer(principal, certificate, &domain(), recorded);
        assert!(elsewhere.is_err(), "{name} in another mesh");
        seen += 1;
    }
    println!("{seen} recorded peers judged");
}
