use base64::Engine as _;
use serde_json::json;

use super::*;
use crate::authn::json::InvalidJson;

mod forms;

const ALL: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES512, Algorithm::EdDSA];
/// RFC 7520, section 3.3.
const N: &str = "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw";
/// RFC 7520, section 3.1.
const P521: (&str, &str) = (
    "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt",
    "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1",
);
/// RFC 8037, appendix A.2.
const ED: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
/// RFC 7517, appendix A.1.
const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;

fn reason(key: &str) -> Option<SkipReason> {
    let set = format!("{{\"keys\":[{key},{ED}]}}");
    let set = KeySet::parse(set.as_bytes(), ALL).unwrap();
    assert_eq!(set.skipped().len() + set.usable(), 2);
    set.skipped().first().map(|skipped| skipped.reason)
}

#[test]
fn usable_keys_are_kept() {
    for key in [
        format!(r#"{{"kty":"RSA","n":"{N}","e":"AQAB","kid":"a","use":"sig","alg":"RS256"}}"#),
        format!(r#"{{"kty":"RSA","n":"{N}","e":"Aw"}}"#),
        format!(r#"{{"kty":"RSA","n":"{N}","e":"AQAB","use":"jwt-svid","key_ops":["verify"]}}"#),
        EC.to_owned(),
        format!(r#"{{"kty":"EC","crv":"P-521","x":"{}","y":"{}"}}"#, P521.0, P521.1),
    ] {
        assert_eq!(reason(&key), None, "{key}");
    }
}

#[test]
fn unusable_keys_are_skipped_without_failing_the_set() {
    let rsa = |members: &str| format!(r#"{{"kty":"RSA","n":"{N}","e":"AQAB",{members}}}"#);
    let exponent = |e: &str| format!(r#"{{"kty":"RSA","n":"{N}","e":"{e}"}}"#);
    let even = N.replace("5zw", "5zg");
    for (key, why) in [
        (rsa(r#""use":"enc""#), SkipReason::NotForSignatures),
        (rsa(r#""use":"x509-svid""#), SkipReason::NotForSignatures),
        (rsa(r#""use":null"#), SkipReason::NotForSignatures),
        (rsa(r#""key_ops":["encrypt"]"#), SkipReason::NotForSignatures),
        (rsa(r#""key_ops":[]"#), SkipReason::NotForSignatures),
        (rsa(r#""alg":"RSA-OAEP""#), SkipReason::UnknownAlgorithm),
        (rsa(r#""alg":"HS256""#), SkipReason::AlgorithmOfAnotherKind),
        (rsa(r#""d":"AAAA""#), SkipReason::Private),
        (rsa(r#""alg":"ES256""#), SkipReason::AlgorithmOfAnotherKind),
        (rsa(r#""alg":"RS512""#), SkipReason::AlgorithmNotAllowed),
        (rsa(r#""kid":7"#), SkipReason::Member("kid")),
        (exponent("AQ"), SkipReason::Exponent),
        (exponent("AA"), SkipReason::Exponent),
        (exponent(""), SkipReason::Exponent),
        (exponent("AQAA"), SkipReason::Exponent),
        (exponent("AQAAAAE"), SkipReason::Exponent),
        (format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, N.split_at(340).0), SkipReason::Size),
        (format!(r#"{{"kty":"RSA","n":"{even}","e":"AQAB"}}"#), SkipReason::Invalid),
        (r#"{"kty":"oct","k":"AAAA"}"#.to_owned(), SkipReason::Symmetric),
        (r#"{"kty":"EC","crv":"P-521","x":"","y":""}"#.to_owned(), SkipReason::Member("x")),
        (r#"{"kty":"EC","crv":"secp256k1"}"#.to_owned(), SkipReason::UnknownCurve),
        (EC.replace("IFyM", "IFyA"), SkipReason::Invalid),
        (EC.replace("IFyM", ""), SkipReason::Member("y")),
        (ED.replace("Ed25519", "Ed448"), SkipReason::UnknownCurve),
        (ED.replace("HURo", ""), SkipReason::Member("x")),
        (r#"{"kty":"quantum"}"#.to_owned(), SkipReason::UnknownType),
        ("{}".to_owned(), SkipReason::Member("kty")),
        ("7".to_owned(), SkipReason::NotAnObject),
    ] {
        assert_eq!(reason(&key), Some(why), "{key}");
    }
}

#[test]
fn a_set_without_a_usable_key_is_an_error_that_says_why() {
    let parse = |text: &str| KeySet::parse(text.as_bytes(), ALL).unwrap_err();
    assert_eq!(
        parse(r#"{"keys":[{"kty":"oct","kid":"shared","k":"AAAA"},{}]}"#).to_string(),
        "the key set has no usable key; shared: is a symmetric key; #2: its member \"kty\" cannot be read"
    );
    assert_eq!(parse(r#"{"keys":[]}"#).to_string(), "the key set has no usable key");
    assert_eq!(parse(r#"{"keys":{}}"#), InvalidKeySet::NoKeys);
    assert_eq!(
        parse(r#"{"keys":[],"keys":[]}"#),
        InvalidKeySet::Json(InvalidJson::DuplicateMember)
    );
    assert_eq!(parse("<html>"), InvalidKeySet::Json(InvalidJson::Syntax));
    let many = vec!["{}"; MAX_KEYS + 1].join(",");
    assert_eq!(parse(&format!("{{\"keys\":[{many}]}}")), InvalidKeySet::TooManyKeys);
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks_exact(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes)
}

/// A hexadecimal number as JWK coordinates have it: full length, without a sign byte.
fn coordinate(text: &str, size: usize) -> String {
    let number: Vec<u8> = unhex(text).into_iter().skip_while(|byte| *byte == 0).collect();
    base64(&[vec![0; size - number.len()], number].concat())
}

fn wycheproof_jwk(group: &Value, algorithm: Algorithm) -> Value {
    let key = &group["publicKey"];
    let text = |name: &str| key[name].as_str().unwrap_or_default();
    match Family::of(algorithm) {
        Family::P256 => json!({"kty": "EC", "crv": "P-256",
            "x": coordinate(text("wx"), 32), "y": coordinate(text("wy"), 32)}),
        Family::P384 => json!({"kty": "EC", "crv": "P-384",
            "x": coordinate(text("wx"), 48), "y": coordinate(text("wy"), 48)}),
        Family::P521 => json!({"kty": "EC", "crv": "P-521",
            "x": coordinate(text("wx"), 66), "y": coordinate(text("wy"), 66)}),
        Family::Ed25519 => json!({"kty": "OKP", "crv": "Ed25519",
            "x": base64(&unhex(text("pk")))}),
        Family::Secret => panic!("no public key"),
        Family::Rsa => {
            let modulus = unhex(text("modulus"));
            let exponent = unhex(text("publicExponent"));
            json!({"kty": "RSA", "n": base64(&modulus), "e": base64(&exponent)})
        }
    }
}

/// The primitives themselves, over messages that no token could have.
#[test]
fn wycheproof_raw_signatures_agree() {
    let beside = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors");
    #[expect(
        clippy::disallowed_methods,
        reason = "where the vectors are is for whoever runs tests"
    )]
    let root = std::env::var_os("HOPGATE_VECTORS").map_or(beside, std::path::PathBuf::from);
    let folder = root.join("jose/wycheproof");
    if !folder.exists() {
        println!("skipped: needs {} (or HOPGATE_VECTORS)", folder.display());
        return;
    }
    for (file, algorithm, least) in [
        ("ecdsa_secp256r1_sha256_p1363_test.json", Algorithm::ES256, 262),
        ("ecdsa_secp384r1_sha384_p1363_test.json", Algorithm::ES384, 280),
        ("ed25519_test.json", Algorithm::EdDSA, 151),
        ("rsa_signature_2048_sha256_test.json", Algorithm::RS256, 259),
        ("rsa_pss_2048_sha256_mgf1_32_test.json", Algorithm::PS256, 108),
    ] {
        let text = std::fs::read(folder.join(file)).unwrap();
        let vectors: Value = serde_json::from_slice(&text).unwrap();
        let (mut cases, mut valid) = (0, 0);
        for group in vectors["testGroups"].as_array().unwrap() {
            let jwk = wycheproof_jwk(group, algorithm);
            let key = Key::read(&jwk, &[algorithm], jwk::refuse_other_uses)
                .unwrap_or_else(|why| panic!("{why}: {group}"));
            for case in group["tests"].as_array().unwrap() {
                let message = unhex(case["msg"].as_str().unwrap());
                let signature = unhex(case["sig"].as_str().unwrap());
                let check = key.check(algorithm).unwrap();
                let what = format!("{file} {}: {}", case["tcId"], case["comment"]);
                // "acceptable" is legacy leniency: either answer is right.
                if case["result"] != "acceptable" {
                    assert_eq!(
                        check.signed(&message, &signature),
                        case["result"] == "valid",
                        "{what}"
                    );
                }
                cases += 1;
                valid += usize::from(case["result"] == "valid");
            }
        }
        assert!(cases >= least, "{file}: only {cases}");
        println!("{file}: {cases} cases agree, {valid} of them valid");
    }
}
