//! What a refused client is told, and what the operator is told of the same refusal.

use serde_json::{Value, json};

use crate::support::ask::{Meaning, Sidecar, get, meaning};
use crate::support::issuer::Issuer;

const POLICY: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: orders, namespace: shop }
spec:
  rules:
    - name: known
      allow: { users: {} }
"#;

const DPOP: &str = r#"DPoP realm="hopgate", algs="ES256 ES384 "#;
const BEARER: &str = r#"Bearer realm="hopgate""#;

async fn start(name: &str, providers: &[&str]) -> Sidecar {
    let named: Vec<(String, &str)> =
        (0..).map(|n| format!("provider-{n}.yaml")).zip(providers.iter().copied()).collect();
    let mut files = vec![("policy.yaml", POLICY), ("keys.txt", "keys: []\n")];
    files.extend(named.iter().map(|(file, text)| (file.as_str(), *text)));
    Sidecar::start(name, &files).await
}

async fn ask(sidecar: &mut Sidecar, headers: &[(&str, &str)]) -> Meaning {
    let answer = meaning(sidecar.ask(get("/", headers)).await);
    assert!(!answer.allowed);
    answer
}

fn challenge(answer: &Meaning) -> &str {
    answer.header("www-authenticate").unwrap_or_default()
}

#[tokio::test]
async fn a_challenge_names_the_schemes_that_are_taken_here() {
    let issuer = Issuer::new();
    let bearer = issuer.provider();
    let machines = "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\n\
         metadata: { name: keys, namespace: shop }\n\
         spec:\n  apiKeys: { file: keys.txt, prefix: hk_ }\n  from: [{ header: x-api-key }]\n";
    let proven = issuer.provider()
        + "  from: [{ header: authorization, scheme: DPoP }]\n  confirmation: { dpop: Required }\n";
    let cookie = issuer.provider()
        + "  from: [{ cookie: session, csrf: { origins: [https://shop.test] } }]\n";

    let mut both = start("challenge-both", &[&bearer, machines]).await;
    assert_eq!(challenge(&ask(&mut both, &[]).await), BEARER, "a header of its own is not named");
    let mut keys = start("challenge-keys", &[machines]).await;
    let answer = ask(&mut keys, &[]).await;
    assert_eq!(challenge(&answer), r#"ApiKey realm="hopgate""#, "not the header's name");
    let mut cookies = start("challenge-cookie", &[&cookie]).await;
    assert_eq!(challenge(&ask(&mut cookies, &[]).await), r#"Cookie realm="hopgate""#);
    let mut none = start("challenge-none", &[]).await;
    assert_eq!(challenge(&ask(&mut none, &[]).await), BEARER);

    let mut bound = start("challenge-dpop", &[&proven]).await;
    let answer = ask(&mut bound, &[]).await;
    assert!(challenge(&answer).starts_with(DPOP) && !challenge(&answer).contains("Bearer"));
    let token = format!("DPoP {}", issuer.token(&json!({})));
    let answer = ask(&mut bound, &[("authorization", &token)]).await;
    assert_eq!(answer.status, 401);
    assert!(challenge(&answer).starts_with("DPoP realm=\"hopgate\", error="), "{answer:?}");
}

#[tokio::test]
async fn the_log_names_the_provider_and_the_next_step_and_the_client_learns_neither() {
    let issuer = Issuer::new();
    let mut sidecar = start("challenge-log", &[&issuer.provider()]).await;
    let token = format!("Bearer {}", issuer.token(&json!({ "aud": "elsewhere" })));
    let answer = ask(&mut sidecar, &[("authorization", &token)]).await;
    let told = format!("{}{:?}", answer.body, answer.headers);
    assert!(!told.contains("audience") && !told.contains("sso"), "{told}");

    let log = sidecar.stop().await;
    let line: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(line["code"], "wrong_audience");
    assert_eq!(line["credential.provider"], "sso");
    assert!(line["hint"].as_str().unwrap().contains("`audiences`"), "{line}");
}
