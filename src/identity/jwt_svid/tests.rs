use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::EncodingKey;
use serde_json::json;

use super::*;
use crate::identity::{PrivateKey, TrustBundle};

const ID: &str = "spiffe://demo.mesh/ns/shop/sa/orders";
const NOW: u64 = 1_790_000_000;

/// A key that signs for a trust domain.
struct Signer {
    key: EncodingKey,
    public: Jwk,
}

impl Signer {
    fn new(key: EncodingKey, algorithm: Algorithm, kid: &str) -> Self {
        let mut public = Jwk::from_encoding_key(&key, algorithm).unwrap();
        public.common.key_id = Some(kid.to_owned());
        public.common.key_algorithm = None;
        Self { key, public }
    }

    fn p256(kid: &str) -> Self {
        let pem = PrivateKey::generate().unwrap().to_pem();
        Self::new(EncodingKey::from_ec_pem(pem.as_bytes()).unwrap(), Algorithm::ES256, kid)
    }

    fn p384(kid: &str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let pem = pair.serialize_pem();
        Self::new(EncodingKey::from_ec_pem(pem.as_bytes()).unwrap(), Algorithm::ES384, kid)
    }

    fn rsa(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let body = STANDARD.encode(der.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        Self::new(EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(), Algorithm::RS256, kid)
    }

    fn sign(&self, header: &str, claims: &str, algorithm: Algorithm) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, algorithm);
        format!("{signed}.{}", signature.unwrap())
    }

    /// Signs with the usual header.
    fn claims(&self, claims: &Value) -> String {
        let header = r#"{"alg":"ES256","kid":"one","typ":"JWT"}"#;
        self.sign(header, &claims.to_string(), Algorithm::ES256)
    }

    /// Signs the usual claims.
    fn header(&self, header: &str) -> String {
        self.sign(header, &good().to_string(), Algorithm::ES256)
    }
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn good() -> Value {
    json!({ "sub": ID, "aud": ["payments"], "exp": NOW + 300, "iat": NOW })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn domain() -> TrustDomain {
    TrustDomain::parse("demo.mesh").unwrap()
}

fn bundle(keys: &[&Signer]) -> JwtBundle {
    JwtBundle::new(domain(), keys.iter().map(|signer| signer.public.clone()).collect()).unwrap()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn verify(token: &str, bundle: &JwtBundle) -> Result<JwtSvid, InvalidJwtSvid> {
    UnverifiedJwtSvid::parse(token)?.verify(bundle, "payments", at(NOW))
}

#[test]
fn a_good_token_says_who_for_whom_and_until_when() {
    let signer = Signer::p256("one");
    let token = signer.claims(&with("team", json!({ "name": "shop" })));
    let svid = verify(&token, &bundle(&[&signer])).unwrap();
    assert_eq!((svid.id().as_str(), svid.token()), (ID, token.as_str()));
    assert_eq!(svid.audiences(), ["payments"]);
    assert_eq!((svid.issued(), svid.expires()), (Some(at(NOW)), at(NOW + 300)));
    assert_eq!(svid.claims()["team"]["name"], "shop");
    assert!(!format!("{svid:?}").contains(&token), "a token is not shown");
}

#[test]
fn every_allowed_algorithm_verifies_with_a_key_of_its_kind() {
    let (p256, p384, rsa) = (Signer::p256("one"), Signer::p384("two"), Signer::rsa("three"));
    let keys = bundle(&[&p256, &p384, &rsa]);
    for (signer, kid, algorithm, name) in [
        (&p256, "one", Algorithm::ES256, "ES256"),
        (&p384, "two", Algorithm::ES384, "ES384"),
        (&rsa, "three", Algorithm::RS256, "RS256"),
        (&rsa, "three", Algorithm::RS384, "RS384"),
        (&rsa, "three", Algorithm::RS512, "RS512"),
        (&rsa, "three", Algorithm::PS256, "PS256"),
        (&rsa, "three", Algorithm::PS384, "PS384"),
        (&rsa, "three", Algorithm::PS512, "PS512"),
    ] {
        let header = format!(r#"{{"alg":"{name}","kid":"{kid}"}}"#);
        let token = signer.sign(&header, &good().to_string(), algorithm);
        assert!(verify(&token, &keys).is_ok(), "{name}");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[20] ^= 1;
        let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes));
        assert!(matches!(verify(&forged, &keys), Err(InvalidJwtSvid::Signature)), "{name}");
    }
}

#[test]
fn the_algorithm_is_one_of_the_list_and_fits_the_key() {
    let (p256, rsa) = (Signer::p256("one"), Signer::rsa("three"));
    let keys = bundle(&[&p256, &rsa]);
    for name in ["none", "HS256", "HS512", "EdDSA", "ES512", "es256", ""] {
        let token = p256.header(&format!(r#"{{"alg":"{name}","kid":"one"}}"#));
        assert!(matches!(verify(&token, &keys), Err(InvalidJwtSvid::Algorithm(_))), "{name}");
    }
    for header in [r#"{"kid":"one"}"#, r#"{"alg":["ES256"],"kid":"one"}"#] {
        assert!(matches!(verify(&p256.header(header), &keys), Err(InvalidJwtSvid::Algorithm(_))));
    }
    for (name, kid) in [("RS256", "one"), ("ES384", "one"), ("ES256", "three"), ("PS256", "one")] {
        let token = p256.header(&format!(r#"{{"alg":"{name}","kid":"{kid}"}}"#));
        assert!(matches!(verify(&token, &keys), Err(InvalidJwtSvid::KeyKind(_))), "{name} {kid}");
    }
}

#[test]
fn a_key_for_something_else_verifies_nothing() {
    let mut signer = Signer::p256("one");
    let token = signer.claims(&good());
    for (purpose, good) in [("sig", true), ("jwt-svid", true), ("x509-svid", false), ("enc", false)]
    {
        signer.public.common.public_key_use = Some(serde_json::from_value(json!(purpose)).unwrap());
        assert_eq!(verify(&token, &bundle(&[&signer])).is_ok(), good, "{purpose}");
    }
    signer.public.common.public_key_use = None;
    for (named, good) in [("ES256", true), ("ES384", false), ("RS256", false)] {
        signer.public.common.key_algorithm = Some(serde_json::from_value(json!(named)).unwrap());
        assert_eq!(verify(&token, &bundle(&[&signer])).is_ok(), good, "{named}");
    }
}

#[test]
fn the_header_is_a_closed_set() {
    let signer = Signer::p256("one");
    let keys = bundle(&[&signer]);
    for typ in ["JWT", "JOSE"] {
        let header = format!(r#"{{"alg":"ES256","kid":"one","typ":"{typ}"}}"#);
        assert!(verify(&signer.header(&header), &keys).is_ok(), "{typ}");
    }
    for typ in [r#""jwt""#, r#""at+jwt""#, r#""""#, "null", "1"] {
        let header = format!(r#"{{"alg":"ES256","kid":"one","typ":{typ}}}"#);
        let refused = verify(&signer.header(&header), &keys);
        assert!(matches!(refused, Err(InvalidJwtSvid::Type(_))), "{typ}");
    }
    for member in [r#""crit":["exp"]"#, r#""jku":"https://x""#, r#""b64":false"#, r#""x":1"#] {
        let header = format!(r#"{{"alg":"ES256","kid":"one",{member}}}"#);
        let refused = verify(&signer.header(&header), &keys);
        assert!(matches!(refused, Err(InvalidJwtSvid::HeaderMember(_))), "{member}");
    }
    for header in
        [r#"{"alg":"ES256"}"#, r#"{"alg":"ES256","kid":""}"#, r#"{"alg":"ES256","kid":1}"#]
    {
        let refused = verify(&signer.header(header), &keys);
        assert!(matches!(refused, Err(InvalidJwtSvid::NoKeyId)), "{header}");
    }
    for header in [r#"{"alg":"ES256","kid":"one","kid":"one"}"#, "[]", "x"] {
        let refused = verify(&signer.header(header), &keys);
        assert!(matches!(refused, Err(InvalidJwtSvid::Header(_))), "{header}");
    }
}

#[test]
fn only_a_key_of_the_subject_s_trust_domain_counts() {
    let (signer, other) = (Signer::p256("one"), Signer::p256("two"));
    let token = signer.claims(&good());
    let refused = verify(&token, &bundle(&[&other]));
    assert!(matches!(refused, Err(InvalidJwtSvid::UnknownKey { .. })));
    let impostor = Signer { key: other.key, public: signer.public.clone() };
    let refused = verify(&impostor.claims(&good()), &bundle(&[&signer]));
    assert!(matches!(refused, Err(InvalidJwtSvid::Signature)));
    let foreign = signer.claims(&with("sub", json!("spiffe://other.mesh/ns/shop/sa/orders")));
    let refused = verify(&foreign, &bundle(&[&signer]));
    assert!(matches!(refused, Err(InvalidJwtSvid::Foreign { .. })));
    assert!(matches!(
        verify(&token, &JwtBundle::empty(domain())),
        Err(InvalidJwtSvid::UnknownKey { .. })
    ));
}

#[test]
fn the_keys_are_found_by_the_trust_domain_that_the_token_names() {
    let signer = Signer::p256("one");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let root = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let own = TrustBundle::new(TrustDomain::parse("own.mesh").unwrap(), vec![root.der().clone()]);
    let bundles = Bundles::new(own.unwrap());
    let token = signer.claims(&good());
    let refused = JwtSvid::verify(&token, &bundles, "payments", at(NOW));
    assert!(matches!(refused, Err(InvalidJwtSvid::UnknownDomain(named)) if named == domain()));
    let bundles = bundles.with_jwt(bundle(&[&signer]));
    assert!(JwtSvid::verify(&token, &bundles, "payments", at(NOW)).is_ok());
}

#[test]
fn the_subject_is_a_workload() {
    let signer = Signer::p256("one");
    let keys = bundle(&[&signer]);
    for subject in
        ["", "orders", "spiffe://demo.mesh", "spiffe://Demo.mesh/x", "https://demo.mesh/x"]
    {
        let refused = verify(&signer.claims(&with("sub", json!(subject))), &keys);
        assert!(matches!(refused, Err(InvalidJwtSvid::Subject(_))), "{subject}");
    }
    for claims in [without("sub"), with("sub", json!([ID])), with("sub", Value::Null)] {
        let refused = verify(&signer.claims(&claims), &keys);
        assert!(matches!(refused, Err(InvalidJwtSvid::Claim("sub"))), "{claims}");
    }
}

#[test]
fn the_audience_is_there_and_exactly_ours() {
    let signer = Signer::p256("one");
    let keys = bundle(&[&signer]);
    for audience in [json!("payments"), json!(["payments"]), json!(["orders", "payments"])] {
        assert!(verify(&signer.claims(&with("aud", audience)), &keys).is_ok());
    }
    for audience in [json!("payment"), json!(["Payments"]), json!(["payments2", "x"]), json!("*")] {
        let refused = verify(&signer.claims(&with("aud", audience.clone())), &keys);
        assert!(matches!(refused, Err(InvalidJwtSvid::Audience(_))), "{audience}");
    }
    for audience in [json!([]), json!(""), json!([1, "payments"]), json!({}), Value::Null] {
        let refused = verify(&signer.claims(&with("aud", audience.clone())), &keys);
        assert!(matches!(refused, Err(InvalidJwtSvid::Claim("aud"))), "{audience}");
    }
    let refused = verify(&signer.claims(&without("aud")), &keys);
    assert!(matches!(refused, Err(InvalidJwtSvid::Claim("aud"))));
    let asked_for_nothing =
        UnverifiedJwtSvid::parse(&signer.claims(&good())).unwrap().verify(&keys, "", at(NOW));
    assert!(matches!(asked_for_nothing, Err(InvalidJwtSvid::Audience(_))));
}

#[test]
fn the_end_is_there_and_has_no_grace() {
    let signer = Signer::p256("one");
    let keys = bundle(&[&signer]);
    let ends = |end: Value| verify(&signer.claims(&with("exp", end)), &keys).map(drop);
    assert!(ends(json!(NOW + 1)).is_ok());
    assert!(ends(json!(1_790_000_001.5)).is_ok());
    for over in [json!(NOW), json!(NOW - 1), json!(0), json!(1_790_000_000.9)] {
        assert!(matches!(ends(over.clone()), Err(InvalidJwtSvid::Expired)), "{over}");
    }
    for odd in [json!("1790000300"), json!(-1), json!([]), Value::Null, json!(1e300)] {
        assert!(matches!(ends(odd.clone()), Err(InvalidJwtSvid::Claim("exp"))), "{odd}");
    }
    let refused = verify(&signer.claims(&without("exp")), &keys);
    assert!(matches!(refused, Err(InvalidJwtSvid::Claim("exp"))));
}

#[test]
fn a_token_from_the_future_is_refused_beyond_a_minute() {
    let signer = Signer::p256("one");
    let keys = bundle(&[&signer]);
    for name in ["nbf", "iat"] {
        assert!(verify(&signer.claims(&with(name, json!(NOW + 60))), &keys).is_ok());
        let refused = verify(&signer.claims(&with(name, json!(NOW + 61))), &keys);
        assert!(matches!(refused, Err(InvalidJwtSvid::NotYetValid)), "{name}");
        let refused = verify(&signer.claims(&with(name, json!("soon"))), &keys);
        assert!(matches!(refused, Err(InvalidJwtSvid::Claim(_))), "{name}");
    }
    assert!(verify(&signer.claims(&without("iat")), &keys).is_ok(), "iat is optional");
}

#[test]
fn what_is_no_token_is_refused() {
    let signer = Signer::p256("one");
    let (keys, good) = (bundle(&[&signer]), signer.claims(&good()));
    for bad in ["", ".", "..", "a.b", "a.b.c.d", &format!("{good}="), &format!(" {good}")] {
        assert!(verify(bad, &keys).is_err(), "{bad:?}");
    }
    for bad in [format!("{good}.x"), format!("x.{good}"), good.replace('.', ",")] {
        assert!(matches!(verify(&bad, &keys), Err(InvalidJwtSvid::Form)), "{bad}");
    }
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    assert!(matches!(verify(&unsigned, &keys), Err(InvalidJwtSvid::Signature)));
    let long = signer.claims(&with("pad", json!("x".repeat(16 * 1024))));
    assert!(matches!(verify(&long, &keys), Err(InvalidJwtSvid::TooLong)));
    let twice = format!(r#"{{"sub":"{ID}","sub":"{ID}","aud":"payments","exp":{}}}"#, NOW + 9);
    let twice = signer.sign(r#"{"alg":"ES256","kid":"one"}"#, &twice, Algorithm::ES256);
    assert!(matches!(verify(&twice, &keys), Err(InvalidJwtSvid::Claims(_))));
}
