//! Tokens: every algorithm, every rule on claims, and the memory of what was proven.

use std::sync::Arc;

use hopgate::authn::{KeySet, Providers, Verifier};
use hopgate::policy::{Algorithm, ClaimRules, KeyLife, Keys};
use serde_json::json;

use super::mint::{self, Signer, at, base64, claims, compile, inline, provider, with};

const NOW: u64 = mint::NOW;
const ES: &[Algorithm] = &[Algorithm::ES256];

fn one(signer: &Signer) -> Providers {
    compile(&[provider("sso", ES, inline(&[signer]))]).unwrap()
}

fn refusal(token: &str, providers: &Providers) -> &'static str {
    match Verifier::new(100).unwrap().user(token, providers, at(NOW)) {
        Ok(_) => "accepted",
        Err(refused) => refused.code(),
    }
}

#[test]
fn every_algorithm_is_proven_and_a_flipped_bit_is_not() {
    for (name, algorithm) in [
        ("RS256", Algorithm::RS256),
        ("RS384", Algorithm::RS384),
        ("RS512", Algorithm::RS512),
        ("PS256", Algorithm::PS256),
        ("PS384", Algorithm::PS384),
        ("PS512", Algorithm::PS512),
        ("ES256", Algorithm::ES256),
        ("ES384", Algorithm::ES384),
        ("ES512", Algorithm::ES512),
        ("EdDSA", Algorithm::EdDSA),
    ] {
        let signer = Signer::new(name, "k");
        let keys = inline(&[&signer]);
        let providers = compile(&[provider("sso", &[algorithm], keys)]).unwrap();
        let user =
            Verifier::new(10).unwrap().user(&signer.token(&claims()), &providers, at(NOW)).unwrap();
        assert_eq!(user.facts().subject(), "alice", "{name}");

        let signed = signer.token(&claims());
        let signed = signed.rsplit_once('.').unwrap().0;
        let good = signer.signature(signed.as_bytes());
        for position in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[position] ^= 1;
            let token = format!("{signed}.{}", base64(bad));
            assert_eq!(refusal(&token, &providers), "bad_signature", "{name} {position}");
        }
        for bad in [vec![], good[1..].to_vec(), [&good[..], &[0]].concat(), vec![0; good.len()]] {
            let token = format!("{signed}.{}", base64(bad));
            assert_eq!(refusal(&token, &providers), "bad_signature", "{name}");
        }
    }
}

#[test]
fn what_a_user_is_comes_from_the_token() {
    let signer = Signer::new("ES256", "k");
    let mut said = claims();
    said["realm_access"] = json!({"roles": ["support"]});
    said["scp"] = json!(["refunds"]);
    said["aud"] = json!(["other", "payments"]);
    let user =
        Verifier::new(10).unwrap().user(&signer.token(&said), &one(&signer), at(NOW)).unwrap();
    assert_eq!(user.facts().provider(), "sso");
    assert_eq!(user.facts().subject(), "alice");
    assert_eq!(user.facts().roles(), ["support", "customer"]);
    assert_eq!(user.facts().scopes(), ["orders:read", "orders:write", "refunds"]);
    assert_eq!(user.facts().claims().get("jti"), Some(&json!("t-1")));
    assert_eq!(user.token_id(), Some("t-1"));
    assert_eq!(user.expires_at(), Some(at(NOW + 300)));
    // A log line of a user does not spill the claims.
    assert_eq!(format!("{user:?}"), "User { provider: \"sso\", subject: \"alice\", .. }");
}

#[test]
fn claims_are_judged_at_their_edges() {
    let signer = Signer::new("ES256", "k");
    let providers = one(&signer);
    for (name, value, code) in [
        ("exp", json!(NOW - 29), "accepted"),
        ("exp", json!(NOW - 30), "token_expired"),
        ("exp", json!(NOW - 29), "accepted"),
        ("exp", json!(f64::from(u32::try_from(NOW).unwrap()) - 29.5), "accepted"),
        ("exp", json!(0), "token_expired"),
        ("exp", json!(null), "missing_expiry"),
        ("exp", json!("1790000300"), "invalid_claim"),
        ("exp", json!(1e20), "invalid_claim"),
        ("exp", json!(-1), "invalid_claim"),
        ("nbf", json!(NOW + 30), "accepted"),
        ("nbf", json!(NOW + 31), "token_not_yet_valid"),
        ("nbf", json!(null), "accepted"),
        ("nbf", json!("soon"), "invalid_claim"),
        ("iat", json!(NOW + 30), "accepted"),
        ("iat", json!(NOW + 31), "issued_in_future"),
        ("iat", json!(null), "accepted"),
        ("aud", json!("payments"), "accepted"),
        ("aud", json!(["x", "orders"]), "accepted"),
        ("aud", json!("Orders"), "wrong_audience"),
        ("aud", json!("orders "), "wrong_audience"),
        ("aud", json!("orders payments"), "wrong_audience"),
        ("aud", json!([]), "wrong_audience"),
        ("aud", json!(null), "wrong_audience"),
        ("aud", json!(["orders", 7]), "invalid_claim"),
        ("aud", json!({"orders": true}), "invalid_claim"),
        ("iss", json!("https://sso.example"), "unknown_issuer"),
        ("iss", json!("https://SSO.example/"), "unknown_issuer"),
        ("iss", json!(null), "missing_issuer"),
        ("iss", json!([mint::ISSUER]), "invalid_claim"),
        ("sub", json!(""), "missing_subject"),
        ("sub", json!(null), "missing_subject"),
        ("sub", json!(7), "invalid_claim"),
        ("jti", json!(7), "invalid_claim"),
        ("roles", json!("customer admin"), "accepted"),
        ("roles", json!({"admin": true}), "invalid_claim"),
        ("roles", json!(["admin", 7]), "invalid_claim"),
        ("realm_access", json!("admin"), "invalid_claim"),
        ("scope", json!(7), "invalid_claim"),
        ("scp", json!([["a"]]), "invalid_claim"),
    ] {
        let claims = with(name, value);
        assert_eq!(refusal(&signer.token(&claims), &providers), code, "{claims}");
    }
}

#[test]
fn a_payload_is_read_in_one_way_only() {
    let signer = Signer::new("ES256", "k");
    let providers = one(&signer);
    let header = r#"{"alg":"ES256","kid":"k"}"#;
    let good = claims().to_string();
    assert_eq!(refusal(&signer.raw(header, &good), &providers), "accepted");
    for payload in [
        good.replacen('{', r#"{"sub":"mallory","#, 1),
        good.replacen('{', r#"{"x":{"a":1,"a":2},"#, 1),
        format!("{good}x"),
        format!("[{good}]"),
        String::new(),
    ] {
        assert_eq!(refusal(&signer.raw(header, &payload), &providers), "token_malformed");
    }
}

#[test]
fn algorithm_confusion_is_refused() {
    let ec = Signer::new("ES256", "ec");
    let rsa = Signer::new("RS256", "rsa");
    let allowed = [Algorithm::ES256, Algorithm::RS256];
    let providers = compile(&[provider("sso", &allowed, inline(&[&ec, &rsa]))]).unwrap();
    let payload = claims().to_string();
    // A MAC keyed with the public key, as text anyone can fetch.
    let jwk = rsa.jwk().to_string();
    for secret in [jwk.as_bytes(), rsa.jwk()["n"].as_str().unwrap().as_bytes()] {
        let signed = format!("{}.{}", base64(r#"{"alg":"HS256","kid":"rsa"}"#), base64(&payload));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        let token = format!("{signed}.{}", base64(tag.as_ref()));
        assert_eq!(refusal(&token, &providers), "algorithm_not_allowed");
    }
    let none = format!("{}.{}.", base64(r#"{"alg":"none"}"#), base64(&payload));
    assert_eq!(refusal(&none, &providers), "algorithm_not_allowed");
    for (signer, header, code) in [
        (&ec, r#"{"alg":"ES256","kid":"rsa"}"#, "key_not_for_algorithm"),
        (&ec, r#"{"alg":"RS256","kid":"ec"}"#, "key_not_for_algorithm"),
        (&ec, r#"{"alg":"RS256","kid":"rsa"}"#, "bad_signature"),
        (&rsa, r#"{"alg":"PS256","kid":"rsa"}"#, "algorithm_not_allowed"),
        (&ec, r#"{"alg":"ES256","kid":"EC"}"#, "unknown_key"),
        (&ec, r#"{"alg":"ES256","kid":""}"#, "unknown_key"),
        (&ec, r#"{"alg":"ES256"}"#, "accepted"),
        (&rsa, r#"{"alg":"RS256"}"#, "accepted"),
        (&rsa, r#"{"alg":"ES256"}"#, "bad_signature"),
    ] {
        assert_eq!(refusal(&signer.raw(header, &payload), &providers), code, "{header}");
    }
}

#[test]
fn a_der_signature_is_no_jose_signature() {
    let signer = Signer::new("ES256", "k");
    let token = signer.token(&claims());
    let (signed, _) = token.rsplit_once('.').unwrap();
    let raw = signer.signature(signed.as_bytes());
    let number = |half: &[u8]| {
        let mut value: Vec<u8> = half.iter().copied().skip_while(|byte| *byte == 0).collect();
        if value[0] >= 0x80 {
            value.insert(0, 0);
        }
        [vec![2, u8::try_from(value.len()).unwrap()], value].concat()
    };
    let body = [number(&raw[..32]), number(&raw[32..])].concat();
    let der = [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat();
    // The encoding itself is right: another library takes it.
    let public = signer.jwk();
    let point = [
        &[4][..],
        &unbase64(public["x"].as_str().unwrap()),
        &unbase64(public["y"].as_str().unwrap()),
    ]
    .concat();
    aws_lc_rs::signature::UnparsedPublicKey::new(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1,
        &point,
    )
    .verify(signed.as_bytes(), &der)
    .unwrap();
    let token = format!("{signed}.{}", base64(der));
    assert_eq!(refusal(&token, &one(&signer)), "bad_signature");
}

fn unbase64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[test]
fn keys_with_one_name_or_none_are_all_tried_up_to_a_bound() {
    let twins = [Signer::new("ES256", "k"), Signer::new("ES256", "k")];
    let providers = compile(&[provider("sso", ES, inline(&[&twins[0], &twins[1]]))]).unwrap();
    for twin in &twins {
        assert_eq!(refusal(&twin.token(&claims()), &providers), "accepted");
    }
    let many: Vec<Signer> = (0..9).map(|_| Signer::new("ES256", "k")).collect();
    let all: Vec<&Signer> = many.iter().collect();
    let providers = compile(&[provider("sso", ES, inline(&all))]).unwrap();
    let header = r#"{"alg":"ES256"}"#;
    let token = |signer: &Signer| signer.raw(header, &claims().to_string());
    assert_eq!(refusal(&token(&many[7]), &providers), "accepted");
    assert_eq!(refusal(&token(&many[8]), &providers), "bad_signature");
}

#[test]
fn the_issuer_chooses_the_keys() {
    let ours = Signer::new("ES256", "k");
    let theirs = Signer::new("ES256", "k");
    let mut other = provider("partner", ES, inline(&[&theirs]));
    other.spec.tokens.as_mut().unwrap().issuers = vec!["https://partner.example".into()];
    let providers = compile(&[provider("sso", ES, inline(&[&ours])), other]).unwrap();
    assert_eq!(refusal(&ours.token(&claims()), &providers), "accepted");
    // A partner cannot speak for our users, nor under our name.
    assert_eq!(refusal(&theirs.token(&claims()), &providers), "bad_signature");
    let forged = with("iss", json!("https://partner.example"));
    assert_eq!(refusal(&ours.token(&forged), &providers), "bad_signature");
    let user = Verifier::new(1).unwrap().user(&theirs.token(&forged), &providers, at(NOW)).unwrap();
    assert_eq!(user.facts().provider(), "partner");
}

#[test]
fn a_remembered_token_is_the_same_user_until_it_expires() {
    let signer = Signer::new("ES256", "k");
    let providers = one(&signer);
    let verifier = Verifier::new(100).unwrap();
    let token = signer.token(&claims());
    let first = verifier.user(&token, &providers, at(NOW)).unwrap();
    let again = verifier.user(&token, &providers, at(NOW + 329)).unwrap();
    assert!(Arc::ptr_eq(&first, &again), "proven once");
    for _ in 0..2 {
        let refused = verifier.user(&token, &providers, at(NOW + 330)).unwrap_err();
        assert_eq!((refused.code(), refused.provider()), ("token_expired", Some("sso")));
    }
    // A clock that went back: judged anew, and refused for what it then is.
    let early = verifier.user(&token, &providers, at(NOW - 31)).unwrap_err();
    assert_eq!(early.code(), "token_not_yet_valid");
}

#[test]
fn a_token_pushed_out_of_the_first_table_is_still_known() {
    let signer = Signer::new("ES256", "k");
    let providers = one(&signer);
    let verifier = Verifier::new(10_000).unwrap();
    let mut known = Vec::new();
    for n in 0..400 {
        let token = signer.token(&with("sub", json!(format!("user-{n}"))));
        known.push((verifier.user(&token, &providers, at(NOW)).unwrap(), token));
    }
    for (user, token) in &known {
        assert!(Arc::ptr_eq(user, &verifier.user(token, &providers, at(NOW)).unwrap()));
    }
    for (_, token) in &known {
        let late = verifier.user(token, &providers, at(NOW + 330)).unwrap_err();
        assert_eq!(late.code(), "token_expired");
    }
}

#[test]
fn a_change_of_keys_or_rules_undoes_what_was_remembered() {
    let old = Signer::new("ES256", "old");
    let new = Signer::new("ES256", "new");
    let source = Keys::JwksUri { uri: "https://sso.example/keys".into(), life: KeyLife::default() };
    let set = |signers: &[&Signer]| {
        let Keys::Inline(set) = inline(signers) else { panic!("inline") };
        Arc::new(KeySet::parse(set.to_string().as_bytes(), ES).unwrap())
    };
    let verifier = Verifier::new(100).unwrap();
    let token = old.token(&claims());

    let empty = compile(&[provider("sso", ES, source.clone())]).unwrap();
    assert_eq!(empty.missing_keys(), ["sso"]);
    assert_eq!(verifier.user(&token, &empty, at(NOW)).unwrap_err().code(), "keys_unavailable");

    let both = empty.with_keys("sso", set(&[&old, &new]));
    assert!(both.missing_keys().is_empty());
    assert!(verifier.user(&token, &both, at(NOW)).is_ok());

    let rotated = both.with_keys("sso", set(&[&new]));
    assert_eq!(verifier.user(&token, &rotated, at(NOW)).unwrap_err().code(), "unknown_key");

    // Rules that changed, with the keys taken over.
    let mut narrower = provider("sso", ES, source);
    narrower.spec.rules = ClaimRules::for_audiences(vec!["payments".into()]);
    let narrowed = compile(&[narrower.clone()]).unwrap().inherit_keys(&both);
    assert!(narrowed.missing_keys().is_empty());
    assert_eq!(verifier.user(&token, &narrowed, at(NOW)).unwrap_err().code(), "wrong_audience");

    // A provider that is gone.
    let nobody = compile(&[]).unwrap();
    assert_eq!(verifier.user(&token, &nobody, at(NOW)).unwrap_err().code(), "unknown_issuer");

    // Keys fetched from elsewhere, or for other algorithms, are not taken over.
    let mut moved = narrower.clone();
    moved.spec.tokens.as_mut().unwrap().keys =
        Some(Keys::JwksUri { uri: "https://sso.example/other".into(), life: KeyLife::default() });
    let mut widened = narrower;
    widened.spec.tokens.as_mut().unwrap().algorithms = vec![Algorithm::ES256, Algorithm::RS256];
    for spec in [moved, widened] {
        let inherited = compile(&[spec]).unwrap().inherit_keys(&both);
        assert_eq!(inherited.missing_keys(), ["sso"]);
    }
}

#[test]
fn providers_that_cannot_be_told_apart_or_trust_too_much_are_refused() {
    let signer = Signer::new("ES256", "k");
    let good = provider("sso", ES, inline(&[&signer]));
    let mut namesake = good.clone();
    namesake.spec.tokens.as_mut().unwrap().issuers = vec!["https://other.example".into()];
    let mut twin = good.clone();
    twin.metadata.name = "twin".into();
    let change = |change: &dyn Fn(&mut hopgate::policy::TokenRules)| {
        let mut changed = good.clone();
        change(changed.spec.tokens.as_mut().unwrap());
        compile(&[changed]).unwrap_err().to_string()
    };
    let audiences = |audiences: Vec<String>| {
        let mut changed = good.clone();
        changed.spec.rules = ClaimRules::for_audiences(audiences);
        compile(&[changed]).unwrap_err().to_string()
    };
    let error = compile(&[good.clone(), namesake]).unwrap_err().to_string();
    assert_eq!(error, "identity provider sso: another one has this name");
    let error = compile(&[good.clone(), twin]).unwrap_err().to_string();
    assert_eq!(
        error,
        "identity provider twin: another one has the issuer \"https://sso.example/\""
    );
    for (error, part) in [
        (audiences(vec![]), "an audience is needed"),
        (audiences(vec![String::new()]), "an audience is needed"),
        (change(&|spec| spec.algorithms.clear()), "an algorithm is needed"),
        (change(&|spec| spec.issuers.clear()), "the issuer is empty"),
        (change(&|spec| spec.issuers = vec![String::new()]), "the issuer is empty"),
        (change(&|spec| spec.algorithms = vec![Algorithm::RS256]), "no usable key"),
        (change(&|spec| spec.keys = Some(Keys::Inline(json!({})))), "no array \"keys\""),
        (
            change(&|spec| {
                spec.keys = Some(Keys::JwksUri {
                    uri: "http://sso.example/keys".into(),
                    life: KeyLife::default(),
                });
            }),
            "allowed only to loopback addresses",
        ),
    ] {
        assert!(error.contains(part), "{error}");
    }
}
