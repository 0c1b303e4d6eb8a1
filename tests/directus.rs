//! A real Directus: tokens by its secret, static tokens by asking it, and what it signs besides. For `make test-all`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::ask::{Meaning, Sidecar, get, meaning};
use crate::support::directus::{Directus, SECRET, wanted};
use crate::support::keycloak::claims;

const POLICY: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: orders, namespace: shop }
spec:
  selector: { matchLabels: { app: orders } }
  rules:
    - name: users-see-themselves
      allow:
        users: {}
        requests: [{ methods: [GET], paths: ["/users/{id}"] }]
        when: user.sub == path.id
    - name: administrators-see-all
      allow:
        users: { providers: [directus], claims: { admin_access: [true] } }
        requests: [{ methods: [GET], paths: ["/users/**"] }]
"#;

/// Tokens by the secret.
fn signed(more: &str) -> String {
    format!(
        "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\n\
         metadata: {{ name: directus, namespace: shop }}\n\
         spec:\n  preset: directus\n  keys: {{ secretFile: directus.secret }}\n{more}"
    )
}

/// Any other token by asking Directus whose it is; believed for a second.
fn asked(directus: &Directus, name: &str, when: &str) -> String {
    format!(
        "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\n\
         metadata: {{ name: {name}, namespace: shop }}\n\
         spec:\n  userinfo:\n    url: {}/users/me?fields=id,status,role.name\n    when: {when}\n\
         \x20   root: [data]\n    refusals: [401, 403]\n    ttl: 1s\n    negativeTtl: 1s\n\
         \x20 require: [{{ claim: status, values: [active] }}]\n\
         \x20 claims: {{ subject: [[id]], roles: [{{ path: [role, name], as: Text }}] }}\n",
        directus.base()
    )
}

async fn ask(sidecar: &mut Sidecar, path: &str, token: &str) -> Meaning {
    let bearer = format!("Bearer {token}");
    meaning(sidecar.ask(get(path, &[("authorization", &bearer)])).await)
}

/// Refused as no good, once the last answer is not believed any more.
async fn is_out(sidecar: &mut Sidecar, path: &str, token: &str) {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let answer = ask(sidecar, path, token).await;
        if !answer.allowed {
            assert_eq!(answer.status, 401, "{answer:?}");
            return;
        }
        assert!(Instant::now() < end, "still good");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_access_token_is_verified_by_the_secret_and_names_its_user() {
    if !wanted() {
        return;
    }
    let directus = Directus::new();
    let (ann, ben) =
        (directus.user("ann", &json!({})).await, directus.user("ben", &json!({})).await);
    let files = [("directus.secret", SECRET), ("a.yaml", &*signed("")), ("b.yaml", POLICY)];
    let mut sidecar = Sidecar::start("directus", &files).await;
    let token = directus.login("ann").await;
    assert_eq!(claims(&token)["iss"], "directus");
    let own = ask(&mut sidecar, &format!("/users/{ann}"), &token).await;
    assert!(own.allowed, "{own:?}");
    assert_eq!(own.header("x-hopgate-user"), Some(ann.as_str()));
    assert_eq!(ask(&mut sidecar, &format!("/users/{ben}"), &token).await.status, 403);
    let admin = directus.login("admin").await;
    assert!(ask(&mut sidecar, &format!("/users/{ben}"), &admin).await.allowed);

    let files = [
        ("directus.secret", "another-secret-that-is-long-enough-too"),
        ("a.yaml", &*signed("")),
        ("b.yaml", POLICY),
    ];
    let mut other = Sidecar::start("directus-other", &files).await;
    assert_eq!(ask(&mut other, &format!("/users/{ann}"), &token).await.status, 401);
}

#[tokio::test]
async fn a_password_reset_is_no_access_token() {
    if !wanted() {
        return;
    }
    let directus = Directus::new();
    let id = directus.user("rita", &json!({})).await;
    let files = [("directus.secret", SECRET), ("a.yaml", &*signed("")), ("b.yaml", POLICY)];
    let mut sidecar = Sidecar::start("directus-reset", &files).await;
    let reset = directus.reset_token("rita").await;
    let said = claims(&reset);
    assert_eq!((&said["iss"], &said["scope"]), (&json!("directus"), &json!("password-reset")));
    assert!(
        ask(&mut sidecar, &format!("/users/{id}"), &directus.login("rita").await).await.allowed
    );
    assert_eq!(ask(&mut sidecar, &format!("/users/{id}"), &reset).await.status, 401);
    let log = sidecar.stop().await;
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert!(
        ["required_claim_missing", "refused_claim"].contains(&last["code"].as_str().unwrap()),
        "{last}"
    );
}

#[tokio::test]
async fn a_static_token_is_whoever_directus_says_until_the_user_is_suspended() {
    if !wanted() {
        return;
    }
    let directus = Directus::new();
    let id = directus.user("stan", &json!({ "token": "static-token-of-stan" })).await;
    let policy = directus.reads_itself().await;
    directus.change(&id, &json!({ "policies": [{ "policy": policy }] })).await;
    let asked = asked(&directus, "directus-static", "Opaque");
    let files = [
        ("directus.secret", SECRET),
        ("a.yaml", &*signed("")),
        ("b.yaml", POLICY),
        ("c.yaml", &*asked),
    ];
    let mut sidecar = Sidecar::start("directus-static", &files).await;
    let own = format!("/users/{id}");
    let answer = ask(&mut sidecar, &own, "static-token-of-stan").await;
    assert!(answer.allowed, "{answer:?}");
    assert_eq!(answer.header("x-hopgate-user"), Some(id.as_str()));
    assert_eq!(ask(&mut sidecar, "/users/other", "static-token-of-stan").await.status, 403);
    assert_eq!(ask(&mut sidecar, &own, "static-token-of-nobody").await.status, 401);
    // Both kinds in one header.
    assert!(ask(&mut sidecar, &own, &directus.login("stan").await).await.allowed);

    directus.change(&id, &json!({ "status": "suspended" })).await;
    is_out(&mut sidecar, &own, "static-token-of-stan").await;
}

#[tokio::test]
async fn a_suspended_user_keeps_a_signed_token_but_not_where_directus_is_asked() {
    if !wanted() {
        return;
    }
    let directus = Directus::new();
    let id = directus.user("sam", &json!({})).await;
    let policy = directus.reads_itself().await;
    directus.change(&id, &json!({ "policies": [{ "policy": policy }] })).await;
    let files = [("directus.secret", SECRET), ("a.yaml", &*signed("")), ("b.yaml", POLICY)];
    let mut trusting = Sidecar::start("directus-trusting", &files).await;
    let asked = asked(&directus, "directus", "Always");
    let files = [("b.yaml", POLICY), ("c.yaml", &*asked)];
    let mut asking = Sidecar::start("directus-asking", &files).await;
    let token = directus.login("sam").await;
    let own = format!("/users/{id}");
    assert!(ask(&mut trusting, &own, &token).await.allowed);
    let answer = ask(&mut asking, &own, &token).await;
    assert!(answer.allowed, "{answer:?}");
    directus.change(&id, &json!({ "status": "suspended" })).await;
    is_out(&mut asking, &own, &token).await;
    // Until it expires.
    assert!(ask(&mut trusting, &own, &token).await.allowed);
}
