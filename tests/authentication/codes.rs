//! Every code of a refusal and what brings it about. The list is part of the product: logs, metrics and alerts rest on
//! it, so it changes only on purpose.

use std::collections::BTreeSet;

use hopgate::authn::{
    Evidence, ForwardRules, HttpEvidence, Learned, PeerEvidence, PeerRules, Providers, Unproven,
    Verifier, authenticate,
};
use hopgate::identity::Members;
use hopgate::policy::{Algorithm, ClaimTest, ClaimValue, KeyLife, Keys, Quirk};
use serde_json::{Value, json};

use super::mint::{self, Signer, at, base64, claims, inline, provider, with};
use super::peers::{self, PRINCIPAL, domain, encoded, pem};

const NOBODY: PeerEvidence<'_> = PeerEvidence { principal: "", certificate: "" };

const GOLDEN: &[&str] = &[
    "algorithm_not_allowed",
    "bad_signature",
    "certificate_expired",
    "certificate_invalid",
    "certificate_missing",
    "certificate_not_yet_valid",
    "certificate_unreadable",
    "confirmation_unknown",
    "credentials_ambiguous",
    "credentials_empty",
    "credentials_unreadable",
    "critical_extension",
    "foreign_trust_domain",
    "header_member_not_allowed",
    "invalid_claim",
    "issued_in_future",
    "key_not_for_algorithm",
    "keys_unavailable",
    "missing_expiry",
    "missing_issued_at",
    "missing_issuer",
    "missing_subject",
    "principal_mismatch",
    "principal_missing",
    "refused_claim",
    "required_claim_missing",
    "required_claim_other",
    "subject_not_allowed",
    "token_encrypted",
    "token_expired",
    "token_for_another_api",
    "token_malformed",
    "token_nested",
    "token_not_yet_valid",
    "token_opaque",
    "token_too_long",
    "token_too_old",
    "token_type_not_allowed",
    "unencoded_payload",
    "unknown_issuer",
    "unknown_key",
    "unsupported_scheme",
    "wrong_audience",
];

struct Bench {
    signer: Signer,
    providers: Providers,
}

impl Bench {
    fn new() -> Self {
        let signer = Signer::new("ES256", "k");
        let rsa = Signer::new("RS256", "r");
        let allowed = [Algorithm::ES256, Algorithm::RS256];
        let mut waiting = provider(
            "waiting",
            &allowed,
            Keys::JwksUri { uri: "https://waiting.example/keys".into(), life: KeyLife::default() },
        );
        waiting.spec.tokens.as_mut().unwrap().issuers = vec!["https://waiting.example".into()];
        let ready = provider("sso", &allowed, inline(&[&signer, &rsa]));
        let mut strict = provider("strict", &allowed, inline(&[&signer]));
        strict.spec.tokens.as_mut().unwrap().issuers = vec!["https://strict.example".into()];
        let test = |name: &str, value: &str| ClaimTest {
            names: vec![name.into()],
            values: Some(vec![ClaimValue::Text(value.into())]),
        };
        strict.spec.rules.max_age = Some(std::time::Duration::from_secs(3600));
        strict.spec.rules.require = vec![test("token_use", "access")];
        strict.spec.rules.refuse = vec![test("typ", "Refresh")];
        let quirk = |name: &str, issuer: &str, quirk| {
            let mut provider = provider(name, &allowed, inline(&[&signer]));
            let tokens = provider.spec.tokens.as_mut().unwrap();
            (tokens.issuers, tokens.quirk) = (vec![issuer.into()], quirk);
            provider
        };
        let entra = quirk("entra", "https://entra.example", Quirk::EntraGraph);
        let spiffe = quirk("spiffe", "spiffe://demo.mesh", Quirk::JwtSvid);
        let providers = mint::compile(&[ready, waiting, strict, entra, spiffe]).unwrap();
        Self { signer, providers }
    }

    fn judge(&self, peer: PeerEvidence<'_>, authorization: Option<&str>) -> &'static str {
        let verifier = Verifier::new(10).unwrap();
        let headers: Vec<(&str, &[u8])> =
            authorization.iter().map(|value| ("authorization", value.as_bytes())).collect();
        let http = HttpEvidence {
            method: "GET",
            authority: "orders.shop",
            path: "/",
            query: None,
            headers: &headers,
        };
        let evidence = Evidence { peer, http: Some(http), source: None };
        let (domain, forward) = (domain(), ForwardRules::nobody());
        let rules = PeerRules { members: Members::of(&domain), forward: &forward, roots: None };
        // Nothing can be asked any more: what is unknown is refused.
        let mut learned = Learned::nothing();
        learned.end();
        let now = at(mint::NOW);
        match authenticate(&verifier, &self.providers, &evidence, rules, &learned, now) {
            Ok(principals) => match (principals.peer(), principals.user()) {
                (None, None) => "anonymous",
                (None, Some(_)) => "user",
                (Some(_), None) => "peer",
                (Some(_), Some(_)) => "both",
            },
            Err(Unproven::Unknown(_)) => panic!("nothing is left to be asked"),
            Err(Unproven::Refused(refused)) => {
                assert!(!refused.to_string().is_empty());
                refused.code()
            }
        }
    }

    fn value(&self, value: &str) -> &'static str {
        self.judge(NOBODY, Some(value))
    }

    fn token(&self, token: &str) -> &'static str {
        self.value(&format!("Bearer {token}"))
    }

    fn header(&self, header: &str) -> &'static str {
        self.token(&self.signer.raw(header, &claims().to_string()))
    }

    fn claim(&self, name: &str, value: Value) -> &'static str {
        self.token(&self.signer.token(&with(name, value)))
    }

    /// A token of another issuer, with these members more in header and claims.
    fn issued(&self, issuer: &str, header: Value, change: Value) -> &'static str {
        let mut head = json!({"alg": "ES256", "kid": "k"});
        head.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
        let mut all = with("iss", json!(issuer));
        for (name, value) in change.as_object().unwrap() {
            all.as_object_mut().unwrap().shift_remove(name);
            if !value.is_null() {
                all[name] = value.clone();
            }
        }
        self.token(&self.signer.raw(&head.to_string(), &all.to_string()))
    }

    fn strict(&self, change: Value) -> &'static str {
        self.issued("https://strict.example", json!({}), change)
    }

    fn peer(&self, principal: &str, certificate: &str) -> &'static str {
        self.judge(PeerEvidence { principal, certificate }, None)
    }
}

/// A header member that is ignored unless a rule says otherwise: keys never come from a token.
fn jku() -> Value {
    json!({"jku": "https://evil.example/keys"})
}

fn nonce() -> Value {
    json!({"nonce": "n"})
}

#[test]
fn every_code_is_produced_and_none_is_new() {
    let bench = Bench::new();
    let now = mint::NOW;
    let certificate = encoded(&pem(|_| {}));
    let expired = encoded(&pem(|p| p.not_after = at(now - 1).into()));
    let early = encoded(&pem(|p| p.not_before = at(now + 1).into()));
    let invalid = encoded(&pem(|p| p.subject_alt_names.push(peers::uri("spiffe://demo.mesh/x"))));
    let foreign = "spiffe://other.mesh/ns/shop/sa/orders";
    let other = encoded(&pem(|p| p.subject_alt_names = vec![peers::uri(foreign)]));
    let good = bench.signer.token(&claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let forged = base64(claims().to_string().replace("alice", "carol"));
    let forged = format!("{}.{forged}.{signature}", signed.split_once('.').unwrap().0);

    let table = [
        ("algorithm_not_allowed", bench.header(r#"{"alg":"none"}"#)),
        ("bad_signature", bench.token(&forged)),
        ("certificate_expired", bench.peer(PRINCIPAL, &expired)),
        ("certificate_invalid", bench.peer(PRINCIPAL, &invalid)),
        ("certificate_missing", bench.peer(PRINCIPAL, "")),
        ("certificate_not_yet_valid", bench.peer(PRINCIPAL, &early)),
        ("certificate_unreadable", bench.peer(PRINCIPAL, "nonsense")),
        ("confirmation_unknown", bench.claim("cnf", json!({"kid": "k"}))),
        ("credentials_ambiguous", bench.value(&format!("Bearer {good},Bearer {good}"))),
        ("credentials_empty", bench.value("Bearer")),
        ("credentials_unreadable", bench.value("Bearer \"x\"")),
        ("critical_extension", bench.header(r#"{"alg":"ES256","crit":["exp"]}"#)),
        ("foreign_trust_domain", bench.peer(foreign, &other)),
        ("header_member_not_allowed", bench.issued("spiffe://demo.mesh", jku(), json!({}))),
        ("invalid_claim", bench.claim("exp", json!("never"))),
        ("issued_in_future", bench.claim("iat", json!(now + 3600))),
        ("key_not_for_algorithm", bench.header(r#"{"alg":"RS256","kid":"k"}"#)),
        ("keys_unavailable", bench.claim("iss", json!("https://waiting.example"))),
        ("missing_expiry", bench.claim("exp", Value::Null)),
        ("missing_issued_at", bench.strict(json!({"iat": null}))),
        ("missing_issuer", bench.claim("iss", Value::Null)),
        ("missing_subject", bench.claim("sub", json!(""))),
        ("principal_mismatch", bench.peer("CN=orders", &certificate)),
        ("principal_missing", bench.peer("", &certificate)),
        ("refused_claim", bench.strict(json!({"token_use": "access", "typ": "Refresh"}))),
        ("required_claim_missing", bench.strict(json!({}))),
        ("required_claim_other", bench.strict(json!({"token_use": "id"}))),
        ("subject_not_allowed", bench.issued("spiffe://demo.mesh", json!({}), json!({}))),
        ("token_encrypted", bench.token("a.b.c.d.e")),
        ("token_expired", bench.claim("exp", json!(now - 3600))),
        ("token_for_another_api", bench.issued("https://entra.example", nonce(), json!({}))),
        ("token_malformed", bench.token("a.b.c")),
        ("token_nested", bench.header(r#"{"alg":"ES256","cty":"JWT"}"#)),
        ("token_not_yet_valid", bench.claim("nbf", json!(now + 3600))),
        ("token_opaque", bench.token("ory_at_x")),
        ("token_too_long", bench.token(&"a".repeat(20_000))),
        ("token_too_old", bench.strict(json!({"iat": now - 3700}))),
        ("token_type_not_allowed", bench.header(r#"{"alg":"ES256","typ":"dpop+jwt"}"#)),
        ("unencoded_payload", bench.header(r#"{"alg":"ES256","b64":false}"#)),
        ("unknown_issuer", bench.claim("iss", json!("https://evil.example"))),
        ("unknown_key", bench.header(r#"{"alg":"ES256","kid":"other"}"#)),
        ("unsupported_scheme", bench.value("Basic YTpi")),
        ("wrong_audience", bench.claim("aud", json!("elsewhere"))),
    ];
    for (code, seen) in &table {
        assert_eq!(seen, code);
    }
    // Each of the special rules has its yes.
    assert_eq!(bench.strict(json!({"token_use": "access", "typ": "Bearer"})), "user");
    assert_eq!(bench.issued("https://entra.example", jku(), json!({})), "user");
    let svid = json!({"sub": "spiffe://demo.mesh/ns/shop/sa/web", "iss": null});
    assert_eq!(bench.issued("spiffe://demo.mesh", json!({"typ": "JWT"}), svid), "user");
    let produced: BTreeSet<&str> = table.iter().map(|(code, _)| *code).collect();
    assert_eq!(produced.into_iter().collect::<Vec<_>>(), GOLDEN);
    assert_eq!(GOLDEN.len(), table.len());
}

#[test]
fn absent_evidence_is_anonymous_and_only_that() {
    let bench = Bench::new();
    let good = bench.signer.token(&claims());
    let certificate = encoded(&pem(|_| {}));
    let peer = PeerEvidence { principal: PRINCIPAL, certificate: &certificate };
    assert_eq!(bench.judge(NOBODY, None), "anonymous");
    assert_eq!(bench.token(&good), "user");
    assert_eq!(bench.judge(peer, None), "peer");
    assert_eq!(bench.judge(peer, Some(&format!("Bearer {good}"))), "both");
    // A good half never carries a bad one.
    assert_eq!(bench.judge(peer, Some("Bearer x")), "token_opaque");
    let alone = PeerEvidence { principal: PRINCIPAL, certificate: "" };
    assert_eq!(bench.judge(alone, Some(&format!("Bearer {good}"))), "certificate_missing");
    assert_eq!(bench.value(""), "credentials_empty");
}

#[test]
fn a_refusal_names_the_provider_but_never_the_token() {
    let bench = Bench::new();
    let token = bench.signer.token(&with("exp", json!(1)));
    let refused =
        Verifier::new(1).unwrap().user(&token, &bench.providers, at(mint::NOW)).unwrap_err();
    assert_eq!(refused.provider(), Some("sso"));
    assert_eq!(refused.to_string(), "the token has expired (provider sso)");
    assert!(!format!("{refused:?}").contains(&token[..20]));
    let strange = bench.signer.token(&with("iss", json!("https://evil.example")));
    let refused =
        Verifier::new(1).unwrap().user(&strange, &bench.providers, at(mint::NOW)).unwrap_err();
    assert_eq!(refused.provider(), None);
}
