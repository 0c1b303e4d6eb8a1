//! JOSE vectors that nobody on this project made: Wycheproof, the RFC 7520 cookbook, Istio's samples.

use std::path::Path;

use hopgate::authn::{KeySet, TokenFault, Verifier};
use hopgate::policy::{Algorithm, Keys};
use serde_json::{Value, json};

use super::mint::{at, compile, provider};
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
    Algorithm::ES512,
    Algorithm::EdDSA,
];

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The keys of a group as a provider would have them: public keys as a set, a symmetric one as its shared secret;
/// nothing when we keep none of them.
fn keys_for(group: &Value, jws: &str) -> Option<KeySet> {
    let key = if group["public"].is_null() { &group["private"] } else { &group["public"] };
    let all = key["keys"].as_array().cloned().unwrap_or_else(|| vec![key.clone()]);
    if all.iter().all(|key| key["kty"] == "oct") {
        let kid = &header(jws)["kid"];
        let mut named = all.iter().filter(|key| all.len() == 1 || key["kid"] == *kid);
        return match (named.next(), named.next()) {
            (Some(key), None) => secret(key),
            _ => None,
        };
    }
    KeySet::parse(json!({"keys": all}).to_string().as_bytes(), ALL).ok()
}

/// A symmetric key as the secret of a provider with its one algorithm.
fn secret(key: &Value) -> Option<KeySet> {
    let algorithm = match key["alg"].as_str()? {
        "HS256" => Algorithm::HS256,
        "HS384" => Algorithm::HS384,
        "HS512" => Algorithm::HS512,
        _ => return None,
    };
    KeySet::secret(&unbase64(key["k"].as_str()?), &[algorithm]).ok()
}

fn unbase64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap_or_default()
}

/// A published key has no private parts; some vectors carry them along.
fn public(key: &Value) -> Value {
    let mut key = key.clone();
    for part in ["d", "p", "q", "dp", "dq", "qi"] {
        key.as_object_mut().unwrap().shift_remove(part);
    }
    key
}

fn header(jws: &str) -> Value {
    serde_json::from_slice(&unbase64(jws.split('.').next().unwrap())).unwrap_or_default()
}

/// Valid for Wycheproof and refused here, on purpose. Everything else has to agree.
fn stricter_than_wycheproof(group: &Value, jws: &str) -> Option<&'static str> {
    if jws.contains('?') {
        return Some("characters that base64url has not");
    }
    let alg = header(jws)["alg"].as_str().unwrap_or_default().to_owned();
    let bound = group["public"]["alg"].as_str().unwrap_or(&alg);
    (bound != alg).then_some("a key bound to another algorithm")
}

/// Two cases are called invalid for padding that the file has lost: the same text is valid a few cases before.
fn contradicts_itself(group: &Value, jws: &str) -> bool {
    let mut cases = group["tests"].as_array().unwrap().iter();
    cases.any(|case| case["result"] == "valid" && case["jws"] == jws)
}

#[test]
fn wycheproof_signatures() {
    let Some(folder) = vectors("jose/wycheproof") else { return };
    for (file, least) in [
        ("json_web_signature_test.json", 401),
        ("json_web_key_test.json", 26),
        ("json_web_crypto_test.json", 83),
    ] {
        let (mut cases, mut accepted, mut stricter, mut contradictions) = (0, 0, 0, 0);
        for group in read(&folder.join(file))["testGroups"].as_array().unwrap() {
            for case in group["tests"].as_array().unwrap() {
                cases += 1;
                let what = format!("{file} {}: {}", case["tcId"], case["comment"]);
                let text = if case["jwe"].is_null() { &case["jws"] } else { &case["jwe"] };
                // The JSON serialisation arrives as no token at all.
                let token = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
                let verified =
                    keys_for(group, &token).is_some_and(|keys| keys.verify_compact(&token).is_ok());
                let expected = case["result"] == "valid";
                if verified == expected {
                    accepted += usize::from(verified);
                    continue;
                }
                if !expected {
                    assert!(contradicts_itself(group, &token), "accepted: {what}");
                    contradictions += 1;
                    continue;
                }
                let is_jwe = !case["jwe"].is_null();
                let why = stricter_than_wycheproof(group, &token);
                assert!(is_jwe || why.is_some(), "{what}");
                println!("{what}: {}", why.unwrap_or("encrypted"));
                stricter += 1;
            }
        }
        assert!(cases >= least, "{file}: only {cases}");
        assert!(contradictions <= 2, "{file}: {contradictions}");
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
        ("jws/4_3.ecdsa_signature.json", Ok(())),
        ("jws/4_4.hmac-sha2_integrity_protection.json", Ok(())),
        // The payload is elsewhere, so what arrives is signed for something else.
        ("jws/4_5.signature_with_detached_content.json", Err(TokenFault::BadSignature)),
        ("curve25519/jws.json", Ok(())),
        ("rfc7797/4.2.hmac-sha2_b64_false.json", Err(TokenFault::UnencodedPayload)),
    ] {
        let example = read(&folder.join(file));
        let key = &example["input"]["key"];
        let set = || {
            let set = json!({"keys": [public(key)]});
            KeySet::parse(set.to_string().as_bytes(), ALL).unwrap()
        };
        let keys = if key["kty"] == "oct" { secret(key).unwrap() } else { set() };
        let output = &example["output"];
        let text = |member: &str| output["json_flat"][member].as_str().unwrap();
        let jws = match output["compact"].as_str() {
            Some(compact) => compact.to_owned(),
            None => format!("{}..{}", text("protected"), text("signature")),
        };
        let payload = keys.verify_compact(&jws);
        let wanted = example["input"]["payload"].as_str().unwrap().as_bytes();
        assert_eq!(payload, expected.map(|()| wanted.to_vec()), "{file}");
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
    sample.spec.tokens.as_mut().unwrap().issuers = vec!["testing@secure.istio.io".into()];
    let providers = compile(&[sample]).unwrap();
    let code =
        |now| Verifier::new(1).unwrap().user(&token, &providers, at(now)).unwrap_err().code();
    assert_eq!(code(1_790_000_000), "wrong_audience");
    assert_eq!(code(1_532_389_000), "issued_in_future");
    assert_eq!(code(4_685_989_730), "token_expired");
}
