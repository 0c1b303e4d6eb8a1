//! Sessions that end before their tokens do: a sidecar that asks Keycloak about each token sees it within the time that
//! it believes an answer.

use std::time::{Duration, Instant};

use super::{POLICY, count, me, provider, reasons, sidecar};
use crate::support::ask::Sidecar;
use crate::support::keycloak::{Realm, SHOP, Tokens};

/// Asks about every token, as the client `orders`, and believes the answer for a second. The endpoint is the realm's own
/// document's.
fn always(method: &str) -> String {
    format!(
        "  introspection:\n    when: Always\n    ttl: 1s\n    negativeTtl: 1s\n\
         \x20   auth: {{ {method}: {{ clientId: orders, secretFile: client.secret }} }}\n"
    )
}

async fn asking(name: &str, realm: &Realm, method: &str, secret: &str) -> Sidecar {
    let provider = provider(realm, &always(method));
    let files = [("client.secret", secret), ("keycloak.yaml", &*provider), ("orders.yaml", POLICY)];
    Sidecar::start(name, &files).await
}

/// Refused once the last answer is not believed any more, with time to ask; and refused, not unavailable.
async fn is_out(sidecar: &mut Sidecar, tokens: &Tokens) {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let answer = me(sidecar, &tokens.access).await;
        if !answer.allowed {
            assert_eq!(answer.status, 401, "{answer:?}");
            return;
        }
        assert!(Instant::now() < end, "still good");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_session_that_an_administrator_ends_is_refused() {
    let realm = Realm::new(SHOP).await;
    let mut asking = asking("keycloak-session", &realm, "basic", "orders-secret\n").await;
    let mut trusting = sidecar("keycloak-no-session", &realm, "").await;
    let (alice, sue) = (realm.login("web", "alice").await, realm.login("web", "sue").await);
    assert!(me(&mut asking, &alice.access).await.allowed);
    realm.end_session(&alice).await;
    is_out(&mut asking, &alice).await;
    assert!(me(&mut asking, &sue.access).await.allowed, "another session goes on");
    // What the signature alone can tell: the token is good until it expires.
    assert!(me(&mut trusting, &alice.access).await.allowed);
    assert!(count(&asking, "hopgate_authn_online_questions_total").await >= 3);
    let reasons = reasons(asking).await;
    assert!(!reasons.is_empty() && reasons.iter().all(|code| code == &reasons[0]), "{reasons:?}");
}

#[tokio::test]
async fn a_user_who_signs_out_is_out() {
    let realm = Realm::new(SHOP).await;
    let mut asking = asking("keycloak-logout", &realm, "post", "orders-secret").await;
    let first = realm.login("web", "alice").await;
    let second = realm.refresh("web", &first).await;
    assert!(me(&mut asking, &first.access).await.allowed);
    assert!(me(&mut asking, &second.access).await.allowed);
    realm.logout("web", &second).await;
    is_out(&mut asking, &second).await;
    is_out(&mut asking, &first).await;
    let again = realm.login("web", "alice").await;
    assert!(me(&mut asking, &again.access).await.allowed, "a new session is good");
}

#[tokio::test]
async fn introspection_does_not_let_in_what_the_token_itself_is_not() {
    let realm = Realm::new(SHOP).await;
    let mut asking = asking("keycloak-both", &realm, "basic", "orders-secret").await;
    let tokens = realm.login("web", "alice").await;
    let elsewhere = realm.login("elsewhere", "alice").await;
    assert!(me(&mut asking, &tokens.access).await.allowed);
    for token in [&tokens.id, &tokens.refresh, &elsewhere.access] {
        assert_eq!(me(&mut asking, token).await.status, 401);
    }
}

#[tokio::test]
async fn a_wrong_secret_of_ours_is_unavailable_and_not_the_callers_fault() {
    const FAILURES: &str = r#"hopgate_authn_online_failures_total{code="server_refuses_us"}"#;
    let realm = Realm::new(SHOP).await;
    let mut asking = asking("keycloak-secret", &realm, "basic", "not-the-secret").await;
    let tokens = realm.login("web", "alice").await;
    let answer = me(&mut asking, &tokens.access).await;
    assert_eq!((answer.allowed, answer.status), (false, 503), "{answer:?}");
    // A token that is no good by itself is refused without asking.
    assert_eq!(me(&mut asking, &tokens.id).await.status, 401);
    assert_eq!(count(&asking, FAILURES).await, 1);
}
