//! Keys by discovery, every algorithm that a realm may sign with, roles of the realm and of a client, and the tokens of
//! the same realm that are none for us.

use super::{POLICY, ask, me, provider, reasons, sidecar};
use crate::support::ask::Sidecar;
use crate::support::keycloak::{CURVES, Realm, SHOP, claims};

#[tokio::test]
async fn roles_of_the_realm_and_of_the_audience_count_however_they_were_given() {
    let realm = Realm::new(SHOP).await;
    let mut sidecar = sidecar("keycloak-roles", &realm, "").await;
    let alice = realm.login("web", "alice").await.access;
    let sue = realm.login("web", "sue").await.access;
    let max = realm.login("web", "max").await.access;
    let worker = realm.service("worker").await;
    for (who, token, method, path, allowed) in [
        ("alice", &alice, "GET", "/me", true),
        ("alice", &alice, "GET", "/orders/1", true),
        ("alice", &alice, "POST", "/orders/1/note", false),
        ("alice", &alice, "POST", "/orders/1/refund", false),
        ("alice", &alice, "GET", "/night", false),
        ("sue", &sue, "GET", "/orders/1", false),
        ("sue", &sue, "POST", "/orders/1/note", true),
        ("sue", &sue, "POST", "/orders/1/refund", false),
        ("sue", &sue, "GET", "/night", true),
        ("max", &max, "GET", "/orders/1", false),
        ("max", &max, "POST", "/orders/1/note", true),
        ("max", &max, "POST", "/orders/1/refund", true),
        ("worker", &worker, "POST", "/orders/1/note", true),
        ("worker", &worker, "POST", "/orders/1/refund", false),
    ] {
        let answer = ask(&mut sidecar, method, path, token).await;
        assert_eq!(answer.allowed, allowed, "{who} {method} {path}: {answer:?}");
        assert_eq!(answer.status, if allowed { 200 } else { 403 }, "{who} {method} {path}");
        if allowed {
            assert_eq!(answer.header("x-hopgate-user"), claims(token)["sub"].as_str());
        }
    }
    let none = me(&mut sidecar, "").await;
    assert_eq!((none.allowed, none.status), (false, 401));
}

#[tokio::test]
async fn id_and_refresh_tokens_and_tokens_for_others_are_refused() {
    let realm = Realm::new(SHOP).await;
    let other = Realm::new(SHOP).await;
    let mut sidecar = sidecar("keycloak-kinds", &realm, "").await;
    let tokens = realm.login("web", "alice").await;
    let elsewhere = realm.login("elsewhere", "alice").await.access;
    let foreign = other.login("web", "alice").await.access;
    assert!(me(&mut sidecar, &tokens.access).await.allowed);
    for (what, token) in [
        ("an ID token", &tokens.id),
        ("a refresh token", &tokens.refresh),
        ("a token for another audience", &elsewhere),
        ("a token of another realm", &foreign),
    ] {
        let answer = me(&mut sidecar, token).await;
        assert_eq!((answer.allowed, answer.status), (false, 401), "{what}: {answer:?}");
    }
    let expected = ["wrong_audience", "algorithm_not_allowed", "wrong_audience", "unknown_issuer"];
    assert_eq!(reasons(sidecar).await, expected);
}

#[tokio::test]
async fn an_id_token_is_refused_even_where_its_audience_is_ours() {
    let realm = Realm::new(SHOP).await;
    // As one configures an API that its own browser application calls: an access token names that as `azp`.
    let provider = provider(&realm, "  audienceClaims: [aud, azp]\n").replace("[orders]", "[web]");
    let files = [("keycloak.yaml", &*provider), ("orders.yaml", POLICY)];
    let mut sidecar = Sidecar::start("keycloak-id", &files).await;
    let tokens = realm.login("web", "alice").await;
    assert!(me(&mut sidecar, &tokens.access).await.allowed);
    assert_eq!(me(&mut sidecar, &tokens.id).await.status, 401);
    assert_eq!(reasons(sidecar).await, ["required_claim_other"]);
}

#[tokio::test]
async fn each_algorithm_of_a_realm_is_verified_and_only_those_allowed() {
    let realm = Realm::new(CURVES).await;
    let mut all = sidecar("keycloak-curves", &realm, "").await;
    let mut one = sidecar("keycloak-curve", &realm, "  algorithms: [ES256]\n").await;
    for client in ["es256", "es384", "ps256", "eddsa"] {
        let token = realm.login(client, "alice").await.access;
        let answer = ask(&mut all, "GET", "/orders/1", &token).await;
        assert!(answer.allowed, "{client}: {answer:?}");
        let answer = ask(&mut one, "GET", "/orders/1", &token).await;
        assert_eq!(answer.allowed, client == "es256", "{client}: {answer:?}");
        // The last part is the signature; another one of the same length.
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let other: String = signature.chars().rev().collect();
        assert_eq!(me(&mut all, &format!("{signed}.{other}")).await.status, 401, "{client}");
    }
    assert_eq!(reasons(one).await, ["algorithm_not_allowed"; 3]);
}

#[tokio::test]
async fn a_token_expires() {
    let realm = Realm::new(SHOP).await;
    realm.set(&serde_json::json!({ "accessTokenLifespan": 5 })).await;
    let mut sidecar = sidecar("keycloak-expiry", &realm, "  leeway: 0s\n").await;
    let token = realm.login("web", "alice").await.access;
    let end = claims(&token)["exp"].as_u64().unwrap();
    assert!(me(&mut sidecar, &token).await.allowed);
    let now = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_secs()
    };
    while now() <= end {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(me(&mut sidecar, &token).await.status, 401);
    assert_eq!(reasons(sidecar).await, ["token_expired"]);
}
