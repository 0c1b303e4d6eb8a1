//! Credentials of every kind, in every place, through a real sidecar.

use std::time::SystemTime;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2_of::sha256;

use crate::support::ask::{Meaning, Sidecar, from_peer, get, http, meaning};
use crate::support::issuer::Issuer;

const WEB: &str = "spiffe://test.mesh/ns/shop/sa/web";
const KEY: &str = "hk_live_4f1d0c2b7a9e48d3b6c5a1e2f3d4c5b6";
const POLICY: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: orders, namespace: shop }
spec:
  rules:
    - name: machines
      allow:
        users: { providers: [keys], roles: [reader] }
        requests: [{ paths: ["/machines"] }]
    - name: both
      allow:
        users: { providers: [sso] }
        clients: { providers: [apps], subjects: [mobile] }
        requests: [{ paths: ["/both"] }]
        when: client.sub == "mobile" && user.sub == "alice"
    - name: bound
      allow:
        users: { boundBy: [Dpop] }
        requests: [{ paths: ["/bound"] }]
    - name: anyone
      allow:
        users: {}
        requests: [{ paths: ["/me"] }]
    - name: public
      allow:
        requests: [{ paths: ["/public"] }]
"#;

mod sha2_of {
    /// In hexadecimal.
    pub fn sha256(text: &str) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn resource(name: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\n\
         metadata: {{ name: {name}, namespace: shop }}\nspec:\n{spec}"
    )
}

fn sso(issuer: &Issuer, more: &str) -> String {
    let jwks = issuer.jwks();
    resource(
        "sso",
        &format!(
            "issuer: https://sso.test\naudiences: [orders]\nalgorithms: [ES256]\nkeys: {{ inline: {jwks} }}\n{more}"
        ),
    )
}

fn keys(entries: &[(&str, &str, &str)]) -> String {
    let list = entries.iter().map(|(id, key, more)| {
        format!("  - {{ id: {id}, sha256: {}, roles: [reader]{more} }}\n", sha256(key))
    });
    format!("keys:\n{}", list.collect::<String>())
}

async fn start(name: &str, files: &[(&str, &str)]) -> Sidecar {
    let mut all = vec![("policy.yaml", POLICY)];
    all.extend_from_slice(files);
    // A policy may name only providers that there are.
    let named = ["sso", "keys", "apps"];
    let spare: Vec<(String, String)> = named
        .iter()
        .filter(|name| !files.iter().any(|(_, text)| text.contains(&format!("name: {name},"))))
        .map(|name| {
            let spec = format!(
                "apiKeys: {{ file: none.txt, prefix: {name}_ }}\nfrom: [{{ header: x-{name} }}]"
            );
            (format!("{name}.yaml"), resource(name, &spec))
        })
        .collect();
    all.extend(spare.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    all.push(("none.txt", "keys: []\n"));
    Sidecar::start(name, &all).await
}

async fn ask(sidecar: &mut Sidecar, path: &str, headers: &[(&str, &str)]) -> Meaning {
    meaning(sidecar.ask(get(path, headers)).await)
}

fn code(answer: &Meaning) -> &str {
    answer.metadata.get("code").map_or("allow", String::as_str)
}

#[tokio::test]
async fn an_api_key_is_known_by_its_hash_and_revoked_live() {
    let other = "hk_live_00000000000000000000000000000000";
    let old = "hk_live_11111111111111111111111111111111";
    let issuer = Issuer::new();
    let spec = "apiKeys: { file: keys.txt, prefix: hk_ }\nfrom:\n  - { header: x-api-key }\n  - { header: authorization, scheme: Bearer }";
    let provider = resource("keys", spec);
    let list = keys(&[("export", KEY, ""), ("old", old, ", expires: 2020-01-01T00:00:00Z")]);
    let files = [
        ("keys.yaml", provider.as_str()),
        ("keys.txt", list.as_str()),
        ("sso.yaml", &sso(&issuer, "")),
    ];
    let mut sidecar = start("api-keys", &files).await;
    let bearer = format!("Bearer {KEY}");
    for header in [("x-api-key", KEY), ("authorization", bearer.as_str())] {
        let allowed = ask(&mut sidecar, "/machines", &[header]).await;
        assert!(allowed.allowed, "{allowed:?}");
        assert_eq!(allowed.header("x-hopgate-user"), Some("export"));
        assert!(allowed.removed.contains(&header.0.to_owned()), "{:?}", allowed.removed);
    }
    for (key, expected) in [
        (other, "api_key_unknown"),
        (old, "api_key_expired"),
        ("hk_", "api_key_malformed"),
        ("xx_live_4f1d0c2b7a9e48d3b6c5a1e2f3d4c5b6", "token_opaque"),
    ] {
        let refused = ask(&mut sidecar, "/machines", &[("x-api-key", key)]).await;
        assert_eq!((refused.status, code(&refused)), (401, expected));
    }
    // A token beside it in the same header is still a token.
    let token = format!("Bearer {}", issuer.token(&json!({})));
    assert!(ask(&mut sidecar, "/me", &[("authorization", &token)]).await.allowed);
    let twice = [("x-api-key", KEY), ("authorization", bearer.as_str())];
    assert_eq!(code(&ask(&mut sidecar, "/machines", &twice).await), "credentials_ambiguous");

    // Revoked by taking it off the list, without a restart.
    sidecar.scratch.write("resources/keys.txt", &keys(&[("next", other, "")]));
    let revoked = async {
        loop {
            let answer = ask(&mut sidecar, "/machines", &[("x-api-key", KEY)]).await;
            if !answer.allowed {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let revoked = tokio::time::timeout(std::time::Duration::from_secs(20), revoked).await.unwrap();
    assert_eq!(code(&revoked), "api_key_unknown");
    assert!(ask(&mut sidecar, "/machines", &[("x-api-key", other)]).await.allowed);
    let log = sidecar.stop().await;
    assert!(!log.contains("4f1d0c2b") && log.contains("\"token.id\":\"export\""), "{log}");
}

#[tokio::test]
async fn a_refusal_counts_for_its_place_only() {
    let issuer = Issuer::new();
    let provider =
        resource("keys", "apiKeys: { file: keys.txt, prefix: hk_ }\nfrom: [{ header: x-api-key }]");
    let list = keys(&[("export", KEY, "")]);
    let files = [("keys.yaml", &*provider), ("keys.txt", &*list), ("sso.yaml", &*sso(&issuer, ""))];
    let mut sidecar = start("negative-memory", &files).await;
    let misplaced = format!("Bearer {KEY}");
    for _ in 0..2 {
        let refused = ask(&mut sidecar, "/machines", &[("authorization", &misplaced)]).await;
        assert_eq!((refused.status, code(&refused)), (401, "token_opaque"));
        assert!(ask(&mut sidecar, "/machines", &[("x-api-key", KEY)]).await.allowed);
    }
    sidecar.stop().await;
}

#[tokio::test]
async fn cookies_and_parameters_are_taken_from_the_request() {
    let issuer = Issuer::new();
    let more = "from:\n  - { cookie: session, csrf: { origins: [https://shop.example] } }\n  - { query: access_token }\n";
    let mut sidecar = start("places", &[("sso.yaml", &sso(&issuer, more))]).await;
    let token = issuer.token(&json!({}));
    let cookies = format!("theme=a%20b; session={token}; lang=\"de\"");
    let allowed = ask(&mut sidecar, "/me", &[("cookie", &cookies)]).await;
    assert!(allowed.allowed, "{allowed:?}");
    assert_eq!(allowed.header("cookie"), Some("theme=a%20b; lang=\"de\""));
    let only = format!("session={token}");
    let allowed = ask(&mut sidecar, "/me", &[("cookie", &only)]).await;
    assert!(allowed.removed.contains(&"cookie".to_owned()));
    let post = |headers: Vec<(&'static str, String)>| {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        http("POST", "/me", &headers)
    };
    let session = ("cookie", only.clone());
    let refused = meaning(sidecar.ask(post(vec![session.clone()])).await);
    assert_eq!((refused.status, code(&refused)), (401, "cross_site_request"));
    let ours = ("origin", "https://shop.example".to_owned());
    assert!(meaning(sidecar.ask(post(vec![session, ours])).await).allowed);

    let path = format!("/me?b=2&access_token={token}&a&a=1");
    let response = sidecar.ask(get(&path, &[])).await;
    use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
    let Some(HttpResponse::OkResponse(ok)) = &response.http_response else {
        panic!("{response:?}")
    };
    // Envoy would sort the rest, and write `a` as `a=`.
    assert!(ok.query_parameters_to_remove.is_empty());
    let allowed = meaning(response);
    assert_eq!(allowed.header(":path"), Some("/me?b=2&a&a=1"));
    // Headers that repeat the target would still hold the token.
    assert!(allowed.removed.contains(&"x-original-url".to_owned()), "{:?}", allowed.removed);
    let untouched = ask(&mut sidecar, "/public?b&a", &[]).await;
    assert_eq!(untouched.header(":path"), None);
    let unwritable = ask(&mut sidecar, &format!("/me?a=\u{1}&access_token={token}"), &[]).await;
    assert_eq!((unwritable.status, code(&unwritable)), (400, "request_not_rewritable"));
    let both = ask(&mut sidecar, &path, &[("cookie", &only)]).await;
    assert_eq!(code(&both), "credentials_ambiguous");
    let log = sidecar.stop().await;
    assert!(!log.contains(&token[token.len() - 20..]), "no token in the log");
}

#[tokio::test]
async fn a_request_speaks_for_a_user_and_a_client() {
    let issuer = Issuer::new();
    let apps = resource(
        "apps",
        "principal: Client\napiKeys: { file: apps.txt }\nfrom: [{ header: x-app-key }]",
    );
    let list =
        keys(&[("mobile", KEY, ""), ("other", "hk_live_22222222222222222222222222222222", "")]);
    let files = [("sso.yaml", &*sso(&issuer, "")), ("apps.yaml", &*apps), ("apps.txt", &*list)];
    let mut sidecar = start("both", &files).await;
    let token = format!("Bearer {}", issuer.token(&json!({})));
    let bob = format!("Bearer {}", issuer.token(&json!({ "sub": "bob" })));
    let other = "hk_live_22222222222222222222222222222222";
    for (headers, expected) in [
        (vec![("authorization", token.as_str()), ("x-app-key", KEY)], "allow"),
        (vec![("authorization", token.as_str()), ("x-app-key", other)], "no_rule_allows"),
        (vec![("authorization", token.as_str())], "no_rule_allows"),
        (vec![("authorization", bob.as_str()), ("x-app-key", KEY)], "no_rule_allows"),
        (vec![("x-app-key", KEY)], "no_rule_allows_anonymous"),
        (
            vec![("authorization", token.as_str()), ("x-app-key", "hk_bad_333333333333")],
            "api_key_unknown",
        ),
    ] {
        assert_eq!(code(&ask(&mut sidecar, "/both", &headers).await), expected, "{headers:?}");
    }
    let log = sidecar.stop().await;
    assert!(log.contains("\"client.provider\":\"apps\",\"client.id\":\"mobile\""), "{log}");
}

/// A client with a key of its own.
struct Holder(EcdsaKeyPair);

impl Holder {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        json!({ "kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) })
    }

    /// RFC 7638.
    fn thumbprint(&self) -> String {
        let jwk = self.jwk();
        let text =
            format!("{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":{},\"y\":{}}}", jwk["x"], jwk["y"]);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        URL_SAFE_NO_PAD.encode(digest.as_ref())
    }

    fn proof(&self, token: &str, change: &Value) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let ath = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let mut id = [0; 12];
        aws_lc_rs::rand::fill(&mut id).unwrap();
        let mut claims = json!({
            "jti": URL_SAFE_NO_PAD.encode(id), "htm": "GET", "htu": "https://orders.shop/bound",
            "iat": now, "ath": URL_SAFE_NO_PAD.encode(ath.as_ref()),
        });
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk() });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

#[tokio::test]
async fn a_bound_token_is_worth_nothing_without_its_key() {
    let issuer = Issuer::new();
    let mut sidecar = start("dpop", &[("sso.yaml", &sso(&issuer, ""))]).await;
    let (holder, thief) = (Holder::new(), Holder::new());
    let token = issuer.token(&json!({ "cnf": { "jkt": holder.thumbprint() } }));
    let plain = issuer.token(&json!({}));
    let (bound, bearer) = (format!("DPoP {token}"), format!("Bearer {token}"));
    let good = holder.proof(&token, &json!({}));
    let allowed = ask(&mut sidecar, "/bound", &[("authorization", &bound), ("dpop", &good)]).await;
    assert!(allowed.allowed, "{allowed:?}");
    assert!(allowed.removed.contains(&"dpop".to_owned()));
    let proof = |change: Value| holder.proof(&token, &change);
    for (authorization, proofs, expected) in [
        (&bound, vec![good.clone()], "dpop_replayed"),
        (&bound, vec![], "dpop_missing"),
        (&bound, vec![proof(json!({})), proof(json!({}))], "dpop_ambiguous"),
        (&bound, vec![thief.proof(&token, &json!({}))], "dpop_key_mismatch"),
        (&bound, vec![proof(json!({ "htm": "POST" }))], "dpop_method"),
        (&bound, vec![proof(json!({ "htu": "https://orders.shop/other" }))], "dpop_uri"),
        (&bound, vec![proof(json!({ "htu": "https://evil.example/bound" }))], "dpop_uri"),
        (&bound, vec![proof(json!({ "iat": 1_700_000_000 }))], "dpop_stale"),
        (&bound, vec![holder.proof(&plain, &json!({}))], "dpop_token_mismatch"),
        (&bearer, vec![proof(json!({}))], "confirmation_scheme"),
        (
            &format!("DPoP {plain}"),
            vec![holder.proof(&plain, &json!({}))],
            "confirmation_not_bound",
        ),
    ] {
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend(proofs.iter().map(|proof| ("dpop", proof.as_str())));
        let refused = ask(&mut sidecar, "/bound", &headers).await;
        assert_eq!((refused.status, code(&refused)), (401, expected));
        let challenge = refused.header("www-authenticate").unwrap();
        if expected.starts_with("dpop") {
            assert!(challenge.contains("DPoP") && challenge.contains("invalid_dpop_proof"));
        }
    }
    // A rule may demand the binding.
    let unbound = format!("Bearer {plain}");
    let refused = ask(&mut sidecar, "/bound", &[("authorization", &unbound)]).await;
    assert_eq!((refused.status, code(&refused)), (403, "no_rule_allows"));
    sidecar.stop().await;
}

#[tokio::test]
async fn a_nonce_of_ours_may_be_demanded() {
    let issuer = Issuer::new();
    let more =
        "confirmation: { dpop: Required, nonce: Required, origins: [https://api.example] }\n";
    let mut sidecar = start("nonce", &[("sso.yaml", &sso(&issuer, more))]).await;
    let holder = Holder::new();
    let token = issuer.token(&json!({ "cnf": { "jkt": holder.thumbprint() } }));
    let bound = format!("DPoP {token}");
    let htu = json!("https://api.example/bound");
    let first = holder.proof(&token, &json!({ "htu": htu }));
    let refused = ask(&mut sidecar, "/bound", &[("authorization", &bound), ("dpop", &first)]).await;
    assert_eq!((refused.status, code(&refused)), (401, "dpop_nonce_missing"));
    assert!(refused.header("www-authenticate").unwrap().contains("use_dpop_nonce"));
    let nonce = refused.header("dpop-nonce").unwrap();
    let second = holder.proof(&token, &json!({ "htu": htu, "nonce": nonce }));
    let headers = [("authorization", bound.as_str()), ("dpop", second.as_str())];
    assert!(ask(&mut sidecar, "/bound", &headers).await.allowed);
    let plain = format!("Bearer {}", issuer.token(&json!({})));
    let refused = ask(&mut sidecar, "/me", &[("authorization", &plain)]).await;
    assert_eq!((refused.status, code(&refused)), (401, "confirmation_demanded"));
    sidecar.stop().await;
}

#[tokio::test]
async fn a_token_may_be_bound_to_the_certificate_on_the_wire() {
    let issuer = Issuer::new();
    let mut sidecar = start("x5t", &[("sso.yaml", &sso(&issuer, ""))]).await;
    let mtls = from_peer(get("/me", &[]), WEB);
    let source = mtls.attributes.as_ref().unwrap().source.clone().unwrap();
    let pem = percent_encoding::percent_decode_str(&source.certificate).decode_utf8().unwrap();
    use rustls::pki_types::pem::PemObject as _;
    let der = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    let right = json!({ "cnf": { "x5t#S256": URL_SAFE_NO_PAD.encode(digest.as_ref()) } });
    let wrong = json!({ "cnf": { "x5t#S256": URL_SAFE_NO_PAD.encode([7; 32]) } });
    let bound = |claims: &Value, with_certificate: bool| {
        let token = format!("Bearer {}", issuer.token(claims));
        let mut request = get("/me", &[("authorization", &token)]);
        if with_certificate {
            request.attributes.as_mut().unwrap().source = Some(source.clone());
        }
        request
    };
    let requests = [
        (bound(&right, true), "allow"),
        (bound(&wrong, true), "confirmation_certificate_mismatch"),
        (bound(&right, false), "confirmation_certificate_missing"),
    ];
    for (request, expected) in requests {
        assert_eq!(code(&meaning(sidecar.ask(request).await)), expected);
    }
    sidecar.stop().await;
}

#[tokio::test]
async fn whoever_guesses_has_to_wait_and_others_do_not() {
    let issuer = Issuer::new();
    let spec = "apiKeys: { file: keys.txt, prefix: hk_ }\nfrom: [{ header: x-api-key }]";
    let list = keys(&[("export", KEY, "")]);
    let provider = resource("keys", spec);
    let files = [("keys.yaml", &*provider), ("keys.txt", &*list), ("sso.yaml", &*sso(&issuer, ""))];
    let mut sidecar = start("brake", &files).await;
    let good = format!("Bearer {}", issuer.token(&json!({})));
    assert!(ask(&mut sidecar, "/machines", &[("x-api-key", KEY)]).await.allowed);
    assert!(ask(&mut sidecar, "/me", &[("authorization", &good)]).await.allowed);
    // Guesses that begin like the good one.
    let mut last = None;
    for n in 0..60 {
        let guess = format!("hk_live_4f1d0c2b{n:024}");
        let refused = ask(&mut sidecar, "/machines", &[("x-api-key", &guess)]).await;
        assert!(!refused.allowed);
        last = Some(refused);
    }
    let last = last.unwrap();
    assert_eq!((last.status, code(&last)), (429, "too_many_bad_credentials"));
    let seconds: u64 = last.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");
    // Who is known already goes on.
    assert!(ask(&mut sidecar, "/machines", &[("x-api-key", KEY)]).await.allowed);
    assert!(ask(&mut sidecar, "/me", &[("authorization", &good)]).await.allowed);
    assert!(ask(&mut sidecar, "/public", &[]).await.allowed);
    sidecar.stop().await;
}
