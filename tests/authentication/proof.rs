//! The proof told step by step, rules of single providers, and keys that are no key set.

use std::path::PathBuf;
use std::sync::Arc;

use hopgate::authn::{Files, KeySet, Outcome, Providers, Step, ToldSteps, Verifier, inspect};
use hopgate::policy::{AbsentType, Algorithm, FileRef, HeaderTypes, KeyLife, Keys, Quirk};
use serde_json::{Value, json};

use super::mint::{self, Signer, at, claims, compile, inline, provider, with};

const NOW: u64 = mint::NOW;

/// What became of each step, as one letter: passed, failed, not reached.
fn letters(token: &str, providers: &Providers) -> (String, Option<Step>) {
    let mut steps = ToldSteps::new();
    let told = inspect(token, providers, at(NOW), &mut steps);
    // The same code as production, so the same answer.
    let proven = Verifier::new(1).unwrap().user(token, providers, at(NOW));
    assert_eq!(told.as_ref().err(), proven.as_ref().err());
    let mut failed = None;
    let letters = steps.outcomes().map(|(step, outcome)| match outcome {
        Outcome::Passed => 'p',
        Outcome::NotReached => '-',
        Outcome::Failed(fault) => {
            assert_eq!(Some(fault), told.as_ref().err().map(|refused| refused.fault()));
            failed = Some(step);
            'f'
        }
    });
    (letters.collect(), failed)
}

#[test]
fn each_step_is_told_and_nothing_after_a_failure_is_reached() {
    let signer = Signer::new("ES256", "k");
    let mut sso = provider("sso", &[Algorithm::ES256], inline(&[&signer]));
    sso.spec.rules.require =
        vec![hopgate::policy::ClaimTest { names: vec!["token_use".into()], values: None }];
    sso.spec.rules.refuse =
        vec![hopgate::policy::ClaimTest { names: vec!["nonce".into()], values: None }];
    let providers = compile(&[sso]).unwrap();
    let with = |name: &str, value: Value| {
        let mut all = with(name, value);
        if name != "token_use" {
            all["token_use"] = json!("access");
        }
        all
    };
    let header = |header: &str| signer.raw(header, &with("x", json!(1)).to_string());
    let good = signer.token(&with("x", json!(1)));
    assert_eq!(letters(&good, &providers), ("p".repeat(Step::ALL.len()), None));
    let signature = good.rsplit_once('.').unwrap().1;
    let other = signer.token(&with("sub", json!("carol")));
    let forged = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
    for (token, step) in [
        ("a.b.c".to_owned(), Step::Form),
        (header(r#"{"alg":"ES256","crit":["x"]}"#), Step::Form),
        (signer.token(&with("iss", json!("https://evil.example"))), Step::Issuer),
        (header(r#"{"alg":"ES256","kid":"k","typ":"dpop+jwt"}"#), Step::HeaderType),
        (header(r#"{"alg":"none"}"#), Step::Algorithm),
        (header(r#"{"alg":"HS256","kid":"k"}"#), Step::Algorithm),
        (header(r#"{"alg":"ES256","kid":"x"}"#), Step::Key),
        (forged, Step::Signature),
        (signer.token(&with("exp", json!(1))), Step::Expiry),
        (signer.token(&with("nbf", json!(NOW + 60))), Step::NotBefore),
        (signer.token(&with("iat", json!(NOW + 60))), Step::IssuedAt),
        (signer.token(&with("aud", json!("x"))), Step::Audience),
        (signer.token(&with("token_use", Value::Null)), Step::RequiredClaims),
        (signer.token(&with("nonce", json!("n"))), Step::Kind),
        (signer.token(&with("cnf", json!({}))), Step::Confirmation),
        (signer.token(&with("roles", json!(7))), Step::Mapping),
    ] {
        let before = Step::ALL.iter().position(|other| *other == step).unwrap();
        let after = Step::ALL.len() - before - 1;
        let wanted = format!("{}f{}", "p".repeat(before), "-".repeat(after));
        assert_eq!(letters(&token, &providers), (wanted, Some(step)), "{}", step.name());
    }
}

#[test]
fn no_refusal_repeats_what_the_token_says() {
    const MARK: &str = "s3cr3t-m4rk";
    let signer = Signer::new("ES256", "k");
    let providers = compile(&[provider("sso", &[Algorithm::ES256], inline(&[&signer]))]).unwrap();
    let mut tokens = vec![
        format!("{MARK}.{MARK}.{MARK}"),
        signer.raw(&json!({"alg": MARK}).to_string(), &claims().to_string()),
        signer.raw(&json!({"alg": "ES256", "kid": MARK}).to_string(), &claims().to_string()),
        signer.raw(&json!({"alg": "ES256", "typ": MARK}).to_string(), &claims().to_string()),
        signer.raw(&format!("{{\"alg\":\"ES256\",\"{MARK}\":1,\"{MARK}\":1}}"), "{}"),
        signer.raw(r#"{"alg":"ES256"}"#, &format!("{{\"a\":\"{MARK}\"]")),
    ];
    for name in ["iss", "aud", "exp", "nbf", "iat", "cnf"] {
        tokens.push(signer.token(&with(name, json!(MARK))));
    }
    for name in ["sub", "roles", "scope", "jti", "groups", "email"] {
        tokens.push(signer.token(&with(name, json!({MARK: MARK}))));
    }
    for token in tokens {
        let refused = inspect(&token, &providers, at(NOW), &mut ToldSteps::new()).unwrap_err();
        let said = format!("{refused} {refused:?} {:?}", refused.hint());
        assert!(!said.contains(MARK), "{said}");
    }
}

#[test]
fn the_kind_in_the_header_is_a_rule_of_the_provider() {
    let signer = Signer::new("ES256", "k");
    let judge = |named: &[&str], absent, typ: Option<&str>| {
        let mut sso = provider("sso", &[Algorithm::ES256], inline(&[&signer]));
        sso.spec.tokens.as_mut().unwrap().types =
            HeaderTypes { named: named.iter().map(|name| (*name).into()).collect(), absent };
        let mut header = json!({"alg": "ES256"});
        if let Some(typ) = typ {
            header["typ"] = json!(typ);
        }
        let token = signer.raw(&header.to_string(), &claims().to_string());
        let user = Verifier::new(1).unwrap().user(&token, &compile(&[sso]).unwrap(), at(NOW));
        user.map_or_else(|refused| refused.code(), |_| "accepted")
    };
    let (yes, no) = ("accepted", "token_type_not_allowed");
    for (named, absent, typ, expected) in [
        (&["jwt", "at+jwt"][..], AbsentType::Accepted, None, yes),
        (&["jwt", "at+jwt"], AbsentType::Refused, None, no),
        (&["jwt", "at+jwt"], AbsentType::Refused, Some("AT+JWT"), yes),
        (&["at+jwt"], AbsentType::Refused, Some("application/at+jwt"), yes),
        (&["at+jwt"], AbsentType::Accepted, Some("JWT"), no),
        (&["jose"], AbsentType::Accepted, Some("JOSE"), yes),
        (&["jwt"], AbsentType::Accepted, Some(""), no),
        (&["jwt"], AbsentType::Accepted, Some("application/application/jwt"), no),
        (&["jwt"], AbsentType::Accepted, Some("logout+jwt"), no),
    ] {
        assert_eq!(judge(named, absent, typ), expected, "{typ:?} of {named:?}");
    }
}

#[test]
fn tokens_for_okta_and_graph_themselves_say_what_to_ask_for() {
    let signer = Signer::new("ES256", "k");
    let issued = |issuer: &str, quirk, token: &str| {
        let mut sso = provider("sso", &[Algorithm::ES256], inline(&[&signer]));
        let tokens = sso.spec.tokens.as_mut().unwrap();
        (tokens.issuers, tokens.quirk) = (vec![issuer.to_owned()], quirk);
        let providers = compile(&[sso]).unwrap();
        let refused = Verifier::new(1).unwrap().user(token, &providers, at(NOW)).unwrap_err();
        (refused.code(), refused.hint().is_some())
    };
    let okta = "https://acme.okta.com";
    let custom = "https://acme.okta.com/oauth2/default";
    let organization = signer.token(&with("iss", json!(okta)));
    let another = ("token_for_another_api", true);
    assert_eq!(issued(custom, Quirk::OktaOrganization, &organization), another);
    assert_eq!(issued(custom, Quirk::None, &organization), ("unknown_issuer", false));
    let near = signer.token(&with("iss", json!("https://acme.okta.co")));
    assert_eq!(issued(custom, Quirk::OktaOrganization, &near), ("unknown_issuer", false));
    let (signed, _) = organization.rsplit_once('.').unwrap();
    let unverifiable = format!("{signed}.{}", mint::base64([7; 64]));
    assert_eq!(issued(okta, Quirk::OktaOrganization, &unverifiable), another);
    assert_eq!(issued(okta, Quirk::None, &unverifiable), ("bad_signature", false));
    let header = json!({"alg": "ES256", "kid": "k", "nonce": "n"}).to_string();
    let graph = signer.raw(&header, &with("aud", json!("x")).to_string());
    assert_eq!(issued(mint::ISSUER, Quirk::EntraGraph, &graph), another);
    assert_eq!(issued(mint::ISSUER, Quirk::None, &graph), ("wrong_audience", true));
}

/// A provider with these keys, whatever its resource says of them.
fn with_keys(algorithms: &[Algorithm], keys: KeySet) -> Providers {
    let uri = "https://sso.example/keys".to_owned();
    let waiting = provider("sso", algorithms, Keys::JwksUri { uri, life: KeyLife::default() });
    compile(&[waiting]).unwrap().with_keys("sso", Arc::new(keys))
}

fn judge(token: &str, providers: &Providers) -> &'static str {
    let user = Verifier::new(1).unwrap().user(token, providers, at(NOW));
    user.map_or_else(|refused| refused.code(), |_| "accepted")
}

#[test]
fn macs_count_only_under_a_shared_secret() {
    for (name, algorithm) in
        [("HS256", Algorithm::HS256), ("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)]
    {
        let signer = Signer::new(name, "whatever");
        let keys = KeySet::secret(signer.secret(), &[algorithm]).unwrap();
        let providers = with_keys(&[algorithm], keys);
        let token = signer.token(&claims());
        assert_eq!(judge(&token, &providers), "accepted", "{name}");
        let unnamed = signer.raw(&format!("{{\"alg\":\"{name}\"}}"), &claims().to_string());
        assert_eq!(judge(&unnamed, &providers), "accepted", "{name}");

        let stranger = Signer::new(name, "whatever");
        assert_eq!(judge(&stranger.token(&claims()), &providers), "bad_signature", "{name}");
        let (signed, _) = token.rsplit_once('.').unwrap();
        let mac = signer.signature(signed.as_bytes());
        for bad in [vec![], mac[1..].to_vec(), [&mac[..], &[0]].concat(), vec![0; mac.len()]] {
            let token = format!("{signed}.{}", mint::base64(bad));
            assert_eq!(judge(&token, &providers), "bad_signature", "{name}");
        }
        // The other algorithms of the same secret do not count.
        let other = if name == "HS256" { "HS512" } else { "HS256" };
        let confused = signer.raw(&format!("{{\"alg\":\"{other}\"}}"), &claims().to_string());
        assert_eq!(judge(&confused, &providers), "algorithm_not_allowed", "{name}");

        // In a set that anyone may fetch it is no secret.
        let set = json!({"keys": [signer.jwk()]}).to_string();
        let error = KeySet::parse(set.as_bytes(), &[algorithm]).unwrap_err().to_string();
        assert!(error.ends_with("is a symmetric key"), "{error}");
    }
}

#[test]
fn pem_keys_verify_whatever_the_token_calls_them() {
    for (name, algorithm) in [
        ("RS256", Algorithm::RS256),
        ("PS384", Algorithm::PS384),
        ("ES256", Algorithm::ES256),
        ("ES384", Algorithm::ES384),
        ("ES512", Algorithm::ES512),
        ("EdDSA", Algorithm::EdDSA),
    ] {
        let (signer, second) = (Signer::new(name, "a"), Signer::new(name, "b"));
        let text = [&signer, &second].map(|signer| pem(&signer.public_der())).concat();
        let providers = with_keys(&[algorithm], KeySet::pem(&text, &[algorithm]).unwrap());
        for signer in [&signer, &second] {
            assert_eq!(judge(&signer.token(&claims()), &providers), "accepted", "{name}");
        }
        let stranger = Signer::new(name, "a").token(&claims());
        assert_eq!(judge(&stranger, &providers), "bad_signature", "{name}");
    }
}

#[test]
fn keys_may_stand_in_files() {
    let mac = Signer::new("HS256", "k");
    let ec = Signer::new("ES256", "k");
    let mut svid_key = ec.jwk();
    svid_key["use"] = json!("jwt-svid");
    let secret = [mac.secret(), b"\n"].concat();
    let bundle = json!({"keys": [svid_key], "spiffe_sequence": 1}).to_string().into_bytes();
    let text = pem(&ec.public_der());
    let file = || FileRef::from(PathBuf::from("keys"));
    let (es, hs) = ([Algorithm::ES256], [Algorithm::HS256]);
    for (signer, allowed, keys, content) in [
        (&mac, &hs, Keys::SecretFile(file()), secret.clone()),
        (&ec, &es, Keys::PemFile(file()), text.clone().into_bytes()),
        (&ec, &es, Keys::Pem(text), Vec::new()),
        (&ec, &es, Keys::BundleFile(file()), bundle),
    ] {
        let mut files = Files::none();
        files.insert("keys".into(), content.into());
        let sso = [provider("sso", allowed, keys)];
        let providers = Providers::new(&sso, &files).unwrap();
        assert_eq!(judge(&signer.token(&claims()), &providers), "accepted", "{sso:?}");
        if sso[0].spec.tokens.as_ref().unwrap().keys.as_ref().unwrap().file().is_some() {
            let error = Providers::new(&sso, &Files::none()).unwrap_err().to_string();
            assert_eq!(error, "identity provider sso: the file keys was not read");
            let mut empty = Files::none();
            empty.insert("keys".into(), Vec::new().into());
            let error = Providers::new(&sso, &empty).unwrap_err().to_string();
            assert!(error.starts_with("identity provider sso: keys: the "), "{error}");
        }
    }
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}

#[test]
fn several_spellings_of_an_issuer_are_one_provider() {
    let signer = Signer::new("ES256", "k");
    let mut sso = provider("sso", &[Algorithm::ES256], inline(&[&signer]));
    let tokens = sso.spec.tokens.as_mut().unwrap();
    tokens.issuers = vec!["https://a.example".into(), "accounts.example".into()];
    let providers = compile(&[sso]).unwrap();
    for (issuer, expected) in [
        ("https://a.example", "accepted"),
        ("accounts.example", "accepted"),
        ("https://a.example/", "unknown_issuer"),
        ("https://A.example", "unknown_issuer"),
        ("https://a.exampl", "unknown_issuer"),
    ] {
        assert_eq!(judge(&signer.token(&with("iss", json!(issuer))), &providers), expected);
    }
}
