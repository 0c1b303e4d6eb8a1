//! JOSE vectors that nobody on this project made: Wycheproof, the RFC 7520 cookbook, Istio's samples.

use std::path::Path;

use hopgate::authn::{KeySet, Providers, TokenFault, Verifier};
use hopgate::policy::{Algorithm, Keys};
use serde_json::{Value, json};

use super::mint::{at, provider};
use super::peers::vectors;

const ALL: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The keys of a group as a set; nothing when we keep none of them.
fn key_set(group: &Value) -> Option<KeySet> {
    let key = if group["public"].is_null() { &group["private"] } else { &group["public"] };
    let set = if key["keys"].is_array() { key.clone() } else { json!({"keys": [key]}) };
    KeySet::parse(set.to_string().as_bytes(), ALL).ok()
}

fn header(jws: &str) -> Value {
    use base64::Engine as _;
    let first = jws.split('.').next().unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(first).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Valid for Wycheproof and refused here, on purpose. Everything else has to agree.
fn stricter_than_wycheproof(group: &Value, jws: &str) -> Option<&'static str> {
    let alg = header(jws)["alg"].as_str().unwrap_or_default().to_owned();
    if group["private"]["kty"] == "oct" || group["private"]["keys"][0]["kty"] == "oct" {
        return Some("a MAC");
    }
    if alg == "ES512" {
        return Some("P-521");
    }
    let bound = group["public"]["alg"].as_str().unwrap_or(&alg);
    (bound != alg).then_some("a key bound to another algorithm")
}

#[test]
fn wycheproof_signatures() {
    let Some(folder) = vectors("jose/wycheproof") else { return };
    for (file, least) in [
        ("json_web_signature_test.json", 401),
        ("json_web_key_test.json", 26),
        ("json_web_crypto_test.json", 83),
    ] {
        let (mut cases, mut accepted, mut stricter) = (0, 0, 0);
        for group in read(&folder.join(file))["testGroups"].as_array().unwrap() {
            let keys = key_set(group);
            for case in group["tests"].as_array().unwrap() {
                cases += 1;
                let what = format!("{file} {}: {}", case["tcId"], case["comment"]);
                let text = if case["jwe"].is_null() { &case["jws"] } else { &case["jwe"] };
                // The JSON serialisation arrives as no token at all.
                let token = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
                let verified = keys
                    .as_ref()
                    .map(|keys| keys.verify_compact(&token))
                    .is_some_and(|v| v.is_ok());
                let expected = case["result"] == "valid";
                if verified == expected {
                    accepted += usize::from(verified);
                    continue;
                }
                assert!(expected, "accepted: {what}");
                let is_jwe = !case["jwe"].is_null();
                assert!(is_jwe || stricter_than_wycheproof(group, &token).is_some(), "{what}");
                stricter += 1;
            }
        }
        assert!(cases >= least, "{file}: only {cases}");
        println!("{file}: {cases} cases, {accepted} accepted, {stricter} refused beyond it");
    }
}

#[test]
fn wycheproof_encryption_is_refused_whole() {
    let Some(folder) = vectors("jose/wycheproof") else { return };
    let key = json!({"keys": [ed25519("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]});
    let keys = KeySet::parse(key.to_string().as_bytes(), ALL).unwrap();
    let mut cases = 0;
    for group in
        read(&folder.join("json_web_encryption_test.json"))["testGroups"].as_array().unwrap()
    {
        for case in group["tests"].as_array().unwrap() {
            let text = &case["jwe"];
            let token = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
            let fault = keys.verify_compact(&token).unwrap_err();
            if case["result"] == "valid" && text.is_string() {
                assert_eq!(fault, TokenFault::Encrypted, "{}", case["tcId"]);
            }
            cases += 1;
        }
    }
    assert!(cases >= 139);
    println!("{cases} encrypted tokens refused");
}

fn ed25519(x: &str) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": x})
}

#[test]
fn rfc_7520_cookbook() {
    let Some(folder) = vectors("jose/rfc7520-cookbook") else { return };
    for (file, expected) in [
        ("jws/4_1.rsa_v15_signature.json", Ok(())),
        ("jws/4_2.rsa-pss_signature.json", Ok(())),
        // P-521.
        ("jws/4_3.ecdsa_signature.json", Err("no usable key")),
        ("jws/4_4.hmac-sha2_integrity_protection.json", Err("no usable key")),
        ("curve25519/jws.json", Ok(())),
        ("rfc7797/4.2.hmac-sha2_b64_false.json", Err("no usable key")),
    ] {
        let example = read(&folder.join(file));
        let key = example["input"]["key"].clone();
        let set = json!({"keys": [key]});
        let Ok(keys) = KeySet::parse(set.to_string().as_bytes(), ALL) else {
            assert_eq!(expected, Err("no usable key"), "{file}");
            continue;
        };
        assert_eq!(expected, Ok(()), "{file}");
        let jws = example["output"]["compact"].as_str().unwrap();
        let payload = keys.verify_compact(jws).unwrap();
        assert_eq!(payload, example["input"]["payload"].as_str().unwrap().as_bytes(), "{file}");
    }
    let keys = json!({"keys": [ed25519("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]});
    let keys = KeySet::parse(keys.to_string().as_bytes(), ALL).unwrap();
    // A MAC, an unencoded payload, a detached one: each refused before any key matters.
    for (file, fault) in [
        ("jws/4_4.hmac-sha2_integrity_protection.json", TokenFault::Algorithm),
        ("jws/4_5.signature_with_detached_content.json", TokenFault::Algorithm),
        ("rfc7797/4.2.hmac-sha2_b64_false.json", TokenFault::CriticalExtension),
    ] {
        let example = read(&folder.join(file));
        let compact = example["output"]["compact"].as_str();
        let Some(jws) = compact else { continue };
        assert_eq!(keys.verify_compact(jws).unwrap_err(), fault, "{file}");
    }
}

#[test]
fn istio_samples() {
    let Some(folder) = vectors("jose/istio-samples") else { return };
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap().trim().to_owned();
    let (token, jwks) = (text("demo.jwt"), text("jwks.json"));
    let keys = KeySet::parse(jwks.as_bytes(), &[Algorithm::RS256]).unwrap();
    let payload: Value = serde_json::from_slice(&keys.verify_compact(&token).unwrap()).unwrap();
    assert_eq!(payload["iss"], "testing@secure.istio.io");
    assert!(keys.verify_compact(&text("groups-scope.jwt")).is_ok());

    // One bit anywhere, and it is no longer that token.
    let (mut flipped, mut refused) = (0, 0);
    for position in (0..token.len()).step_by(7) {
        let mut bytes = token.clone().into_bytes();
        bytes[position] ^= 1;
        let Ok(bad) = String::from_utf8(bytes) else { continue };
        flipped += 1;
        refused += usize::from(keys.verify_compact(&bad).is_err());
    }
    assert_eq!(flipped, refused);
    println!("{refused} flipped bits refused");

    // The sample has no audience, so as a user's token it is refused, and for that alone.
    let mut sample =
        provider("istio", &[Algorithm::RS256], Keys::Inline(serde_json::from_str(&jwks).unwrap()));
    sample.spec.issuer = "testing@secure.istio.io".into();
    let providers = Providers::new(&[sample]).unwrap();
    let code = |now| Verifier::new(1).user(&token, &providers, at(now)).unwrap_err().code();
    assert_eq!(code(1_790_000_000), "wrong_audience");
    assert_eq!(code(1_532_389_000), "issued_in_future");
    assert_eq!(code(4_685_989_730), "token_expired");
}
