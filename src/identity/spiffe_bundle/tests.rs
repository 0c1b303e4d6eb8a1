mod written;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
    SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use super::*;

fn domain() -> TrustDomain {
    TrustDomain::parse("partner.example").unwrap()
}

/// A certificate of the key, as `change` makes it out of a root's.
fn certificate(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    change(&mut params);
    params.self_signed(key).unwrap().der().to_vec()
}

/// A root's entry as another program would write it: the coordinates are cut out of the key, not asked of our writer.
fn root_entry(key: &KeyPair, der: &[u8]) -> Value {
    let point = key.public_key_raw();
    let (x, y) = point[1..].split_at(32);
    json!({
        "use": "x509-svid", "kty": "EC", "crv": "P-256",
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        "x5c": [STANDARD.encode(der)],
    })
}

fn root() -> Value {
    let key = KeyPair::generate().unwrap();
    root_entry(&key, &certificate(&key, |_| {}))
}

fn jwt_key(kid: &str) -> Value {
    let point = KeyPair::generate().unwrap();
    let point = point.public_key_raw();
    let (x, y) = point[1..].split_at(32);
    json!({
        "use": "jwt-svid", "kty": "EC", "crv": "P-256", "kid": kid,
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    })
}

/// The object with other members; `null` takes one away.
fn with(mut object: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("an object") };
    for (name, value) in changes {
        match value {
            Value::Null => object.as_object_mut().unwrap().remove(&name),
            value => object.as_object_mut().unwrap().insert(name, value),
        };
    }
    object
}

enum Expected {
    /// So many X.509 authorities and JWT keys, and nothing ignored.
    Taken(usize, usize),
    /// So many X.509 authorities and JWT keys, and this is said of what was ignored.
    Ignored(usize, usize, &'static str),
    /// The document is refused, and this is said.
    Refused(&'static str),
}
use Expected::{Ignored as Left, Refused, Taken};

fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn check(rule: &str, document: &str, expected: &Expected) {
    match (SpiffeBundle::parse(&domain(), document), expected) {
        (Ok(bundle), Taken(x509, jwt)) => {
            assert_eq!(bundle.ignored(), [], "{rule}");
            assert_eq!(count(&bundle), (*x509, *jwt), "{rule}");
        }
        (Ok(bundle), Left(x509, jwt, words)) => {
            assert_eq!(count(&bundle), (*x509, *jwt), "{rule}");
            let ignored: Vec<String> = bundle.ignored().iter().map(|i| i.why.to_string()).collect();
            assert_eq!(ignored, [(*words).to_owned()], "{rule}");
        }
        (Err(error), Refused(words)) => {
            assert!(said(&error).contains(words), "{rule}: {}", said(&error))
        }
        (Ok(bundle), Refused(_)) => panic!("{rule}: taken as {bundle:?}"),
        (Err(error), _) => panic!("{rule}: {}", said(&error)),
    }
}

fn count(bundle: &SpiffeBundle) -> (usize, usize) {
    (bundle.x509().map_or(0, |x509| x509.roots().len()), bundle.jwt().keys().len())
}

/// SPIFFE Trust Domain and Bundle (TDB), X509-SVID and JWT-SVID, RFC 7517 and RFC 7518.
#[test]
#[expect(clippy::too_many_lines, reason = "one table of rules")]
fn what_the_standards_say_of_a_bundle() {
    let none = json!(null);
    for (rule, document, expected) in [
        ("TDB 4: a bundle is a JWK Set", json!([]), Refused("an object with an array `keys`")),
        (
            "TDB 4.1: parameters not defined MAY be included",
            json!({"keys": [], "more": {"a": 1}}),
            Taken(0, 0),
        ),
        ("TDB 4.1: nor is any of them required", json!({"keys": []}), Taken(0, 0)),
        (
            "TDB 4.1.1: the sequence MUST be an integer",
            json!({"keys": [], "spiffe_sequence": "1"}),
            Refused("`spiffe_sequence`"),
        ),
        (
            "TDB 4.1.1: not a fraction",
            json!({"keys": [], "spiffe_sequence": 1.5}),
            Refused("`spiffe_sequence`"),
        ),
        (
            "TDB 4.1.1: not negative",
            json!({"keys": [], "spiffe_sequence": -1}),
            Refused("`spiffe_sequence`"),
        ),
        (
            "TDB 4.1.1: not nothing",
            json!({"keys": [], "spiffe_sequence": none}),
            Refused("`spiffe_sequence`"),
        ),
        (
            "TDB 4.1.1: at least 64 bits of precision",
            json!({"keys": [], "spiffe_sequence": u64::MAX}),
            Taken(0, 0),
        ),
        (
            "TDB 4.1.2: the hint MUST be an integer",
            json!({"keys": [], "spiffe_refresh_hint": "5m"}),
            Refused("`spiffe_refresh_hint`"),
        ),
        (
            "TDB 4.1.3: keys MUST be present",
            json!({"spiffe_sequence": 1}),
            Refused("an array `keys`"),
        ),
        ("TDB 4.1.3: an array", json!({"keys": {}}), Refused("an array `keys`")),
        (
            "TDB 4.1.3: of JWKs",
            json!({"keys": ["x"]}),
            Refused("key 1 of the bundle: it is no JSON object"),
        ),
        (
            "TDB 4.2.1: kty MUST be set",
            json!({"keys": [with(root(), json!({"kty": none}))]}),
            Refused("`kty`"),
        ),
        (
            "TDB 4.2.1: an unknown key type MUST be ignored",
            json!({"keys": [root(), with(root(), json!({"kty": "AKP"}))]}),
            Left(1, 0, "its key type \"AKP\" is unknown for this use"),
        ),
        (
            "TDB 4.2.1: for JWT-SVIDs too",
            json!({"keys": [with(jwt_key("a"), json!({"kty": "oct", "k": "AAAA"}))]}),
            Left(0, 0, "its key type \"oct\" is unknown for this use"),
        ),
        (
            "JWT-SVID 2.1: EdDSA signs none",
            json!({"keys": [with(jwt_key("a"), json!({"kty": "OKP", "crv": "Ed25519"}))]}),
            Left(0, 0, "its key type \"OKP\" is unknown for this use"),
        ),
        (
            "JWT-SVID 2.1: nor does another curve",
            json!({"keys": [with(jwt_key("a"), json!({"crv": "secp256k1"}))]}),
            Left(0, 0, "its key type \"secp256k1\" is unknown for this use"),
        ),
        (
            "TDB 4.2.2: use MUST be set",
            json!({"keys": [with(root(), json!({"use": none}))]}),
            Refused("`use`"),
        ),
        (
            "TDB 4.2.2: an unknown use MUST be ignored",
            json!({"keys": [with(jwt_key("w"), json!({"use": "wit-svid"})), root()]}),
            Left(1, 0, "its use \"wit-svid\" is unknown"),
        ),
        (
            "TDB 4.2.2: use is case sensitive",
            json!({"keys": [with(root(), json!({"use": "X509-SVID"}))]}),
            Left(0, 0, "its use \"X509-SVID\" is unknown"),
        ),
        (
            "X509-SVID 6.2: without x5c it MUST be ignored",
            json!({"keys": [with(root(), json!({"x5c": none}))]}),
            Left(0, 0, "it has no certificate in x5c"),
        ),
        (
            "X509-SVID 6.2: with an empty x5c too",
            json!({"keys": [with(root(), json!({"x5c": []}))]}),
            Left(0, 0, "it has no certificate in x5c"),
        ),
        (
            "X509-SVID 6.2: all certificates but the first MUST be ignored",
            two_certificates(),
            Left(1, 0, "of its 2 certificates all but the first"),
        ),
        (
            "X509-SVID 6.1: x5c holds DER in Base64",
            json!({"keys": [with(root(), json!({"x5c": ["!"]}))]}),
            Refused("no certificate in Base64"),
        ),
        (
            "X509-SVID 6.1: of a certificate",
            json!({"keys": [with(root(), json!({"x5c": ["AAAA"]}))]}),
            Refused("no certificate in Base64"),
        ),
        (
            "RFC 7517 4.7: x5c is an array",
            json!({"keys": [with(root(), json!({"x5c": "AAAA"}))]}),
            Refused("`x5c`"),
        ),
        (
            "RFC 7517 4.7: of the key that the members say",
            json!({"keys": [with(root(), json!({"x": jwt_key("a")["x"]}))]}),
            Refused("of another key"),
        ),
        (
            "RFC 7518 6.2.1: whose members MUST be present",
            json!({"keys": [with(root(), json!({"x": none}))]}),
            Refused("of another key"),
        ),
        (
            "X509-SVID 6.2: the union of all entries",
            json!({"keys": [root(), root(), root()]}),
            Taken(3, 0),
        ),
        (
            "TDB 4.2.2: each kind by its own",
            json!({"keys": [root(), jwt_key("a"), jwt_key("b")]}),
            Taken(1, 2),
        ),
        (
            "JWT-SVID in bundles: kid MUST be set",
            json!({"keys": [with(jwt_key("a"), json!({"kid": none}))]}),
            Refused("`kid`"),
        ),
        (
            "JWT-SVID in bundles: and says something",
            json!({"keys": [jwt_key("")]}),
            Refused("`kid`"),
        ),
        (
            "RFC 7517 4.5: keys of one set have different kids",
            json!({"keys": [jwt_key("a"), jwt_key("a")]}),
            Refused("two keys are named \"a\""),
        ),
        (
            "RFC 7518 6.2.1.2: coordinates have full length",
            json!({"keys": [with(jwt_key("a"), json!({"x": "AAAA"}))]}),
            Refused("`x`"),
        ),
        (
            "RFC 7518 6.3.1: RSA has n and e",
            json!({"keys": [{"use": "jwt-svid", "kty": "RSA", "kid": "r", "n": "AQAB"}]}),
            Refused("`e`"),
        ),
        (
            "RFC 7517 9.2: a private key is for nobody's eyes",
            json!({"keys": [with(jwt_key("a"), json!({"d": "AAAA"}))]}),
            Refused("`d` is private"),
        ),
        (
            "and not beside a certificate",
            json!({"keys": [with(root(), json!({"d": "AAAA"}))]}),
            Refused("`d` is private"),
        ),
        (
            "X509-SVID 4.1: an authority has CA true",
            leaf(|params| params.is_ca = IsCa::ExplicitNoCa),
            Refused("not one of an authority"),
        ),
        (
            "X509-SVID 4.3: and keyCertSign",
            leaf(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
            Refused("not one of an authority"),
        ),
        (
            "X509-SVID 3.2: and no path in its SPIFFE ID",
            leaf(|params| name(params, "spiffe://partner.example/a")),
            Refused("names a workload"),
        ),
        (
            "X509-SVID 3.2: its SPIFFE ID without path is well",
            leaf(|params| name(params, "spiffe://partner.example")),
            Taken(1, 0),
        ),
    ] {
        check(rule, &document.to_string(), &expected);
    }
    check("TDB 4: JSON", "keys: []", &Refused("not JSON"));
    check("TDB 4: one document", "{\"keys\":[]} {}", &Refused("not JSON"));
    check(
        "TDB 4.1.1: 2^64",
        "{\"keys\":[],\"spiffe_sequence\":18446744073709551616}",
        &Refused("`spiffe_sequence`"),
    );
}

fn two_certificates() -> Value {
    let (first, second) = (root(), root());
    json!({"keys": [with(first.clone(), json!({"x5c": [first["x5c"][0], second["x5c"][0]]}))]})
}

fn leaf(change: impl FnOnce(&mut CertificateParams)) -> Value {
    let key = KeyPair::generate().unwrap();
    json!({"keys": [root_entry(&key, &certificate(&key, change))]})
}

fn name(params: &mut CertificateParams, uri: &str) {
    params.subject_alt_names = vec![SanType::URI(uri.to_owned().try_into().unwrap())];
}
