//! What is written, and what is made of parts.

use super::*;

#[test]
fn of_several_certificates_the_first_is_the_one_that_counts() {
    let document = two_certificates();
    let bundle = SpiffeBundle::parse(&domain(), &document.to_string()).unwrap();
    let first = STANDARD.decode(document["keys"][0]["x5c"][0].as_str().unwrap()).unwrap();
    assert_eq!(bundle.x509().unwrap().roots(), [CertificateDer::from(first)]);
}

fn root_of(algorithm: &'static SignatureAlgorithm) -> CertificateDer<'static> {
    let key = KeyPair::generate_for(algorithm).unwrap();
    CertificateDer::from(certificate(&key, |_| {}))
}

#[test]
fn what_is_written_is_read_again_for_each_kind_of_key() {
    let roots = vec![
        root_of(&rcgen::PKCS_ECDSA_P256_SHA256),
        root_of(&rcgen::PKCS_ECDSA_P384_SHA384),
        root_of(&rcgen::PKCS_ECDSA_P521_SHA512),
        root_of(&rcgen::PKCS_ED25519),
        root_of(&rcgen::PKCS_RSA_SHA256),
    ];
    let x509 = TrustBundle::new(domain(), roots).unwrap();
    let keys = json!({"keys": [jwt_key("b"), jwt_key("a")]}).to_string();
    let jwt = JwtBundle::from_jwks(domain(), &keys).unwrap();
    let bundle = SpiffeBundle::new(x509.clone(), &jwt).unwrap();
    let bundle = bundle.with_sequence(u64::MAX).with_refresh_hint(Duration::from_millis(300_900));
    let read = SpiffeBundle::parse(&domain(), &bundle.to_json()).unwrap();
    assert!(read.same_keys(&bundle));
    assert_eq!((read.sequence(), read.ignored().len()), (Some(u64::MAX), 0));
    assert_eq!(read.refresh_hint(), Some(Duration::from_secs(300)));
    assert_eq!(read.to_json(), bundle.to_json());

    // The order in which keys came makes no difference, and a missing key does.
    let turned = TrustBundle::new(domain(), x509.roots().iter().rev().cloned().collect()).unwrap();
    let turned = SpiffeBundle::new(turned, &jwt).unwrap();
    assert!(turned.same_keys(&bundle) && !turned.to_json().contains("spiffe_sequence"));
    let fewer = TrustBundle::new(domain(), x509.roots()[1..].to_vec()).unwrap();
    assert!(!SpiffeBundle::new(fewer, &jwt).unwrap().same_keys(&bundle));
    let none = SpiffeBundle::new(x509, &JwtBundle::empty(domain())).unwrap();
    assert!(!none.same_keys(&bundle));
}

#[test]
fn a_published_entry_has_what_readers_demand_and_nothing_else() {
    let x509 = TrustBundle::new(domain(), vec![root_of(&rcgen::PKCS_ECDSA_P256_SHA256)]).unwrap();
    let more = with(jwt_key("a"), json!({"alg": "ES256", "key_ops": ["verify"], "use": "sig"}));
    let jwt = JwtBundle::from_jwks(domain(), &json!({"keys": [more]}).to_string()).unwrap();
    let written: Value =
        serde_json::from_str(&SpiffeBundle::new(x509, &jwt).unwrap().to_json()).unwrap();
    let names = |key: &Value| key.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&written), ["keys"]);
    assert_eq!(names(&written["keys"][0]), ["kty", "crv", "x", "y", "use", "x5c"]);
    assert_eq!(written["keys"][0]["x5c"].as_array().unwrap().len(), 1);
    assert_eq!(names(&written["keys"][1]), ["kty", "crv", "x", "y", "use", "kid"]);
    assert_eq!(written["keys"][1]["use"], "jwt-svid");
}

#[test]
fn parts_of_different_trust_domains_make_no_bundle() {
    let x509 = TrustBundle::new(domain(), vec![root_of(&rcgen::PKCS_ED25519)]).unwrap();
    let other = JwtBundle::empty(TrustDomain::parse("other.example").unwrap());
    assert!(matches!(SpiffeBundle::new(x509, &other), Err(InvalidSpiffeBundle::Domains { .. })));
}

/// An authority that another authority signed is a trust anchor like any other; it need not sign itself.
#[test]
fn an_authority_need_not_be_its_own_issuer() {
    let (upper, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::new(CertificateParams::default(), upper);
    let der = params.signed_by(&key, &issuer).unwrap().der().to_vec();
    let document = json!({"keys": [root_entry(&key, &der)]}).to_string();
    assert_eq!(count(&SpiffeBundle::parse(&domain(), &document).unwrap()), (1, 0));
}
