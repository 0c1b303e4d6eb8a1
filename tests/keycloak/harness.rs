//! That Keycloak itself does what the other tests take for granted, seen by a plain HTTP client.

use serde_json::{Value, json};

use crate::support::keycloak::{CURVES, Realm, SHOP, claims, header};

#[tokio::test]
async fn tokens_of_each_kind_are_what_the_preset_takes_them_for() {
    let realm = Realm::new(SHOP).await;
    let tokens = realm.login("web", "alice").await;
    let access = claims(&tokens.access);
    assert_eq!(access["iss"], realm.issuer());
    assert_eq!(access["typ"], "Bearer");
    assert!(is_for_orders(&access), "{access}");
    assert!(access["realm_access"]["roles"].as_array().unwrap().contains(&json!("customer")));
    assert_eq!(access["resource_access"]["orders"]["roles"], json!(["read"]));
    assert_eq!(claims(&tokens.id)["typ"], "ID");
    assert_eq!(claims(&tokens.refresh)["typ"], "Refresh");
    assert_eq!(header(&tokens.refresh)["alg"], "HS512");
    assert_eq!(claims(&realm.service("worker").await)["sid"], json!(null));
}

#[tokio::test]
async fn a_rotation_changes_the_key_that_signs_and_keeps_the_old_until_withdrawn() {
    let realm = Realm::new(SHOP).await;
    let old = header(&realm.login("web", "alice").await.access)["kid"].clone();
    realm.rotate("second", 200).await;
    let new = header(&realm.login("web", "alice").await.access)["kid"].clone();
    assert_ne!(old, new);
    let published = |keys: Vec<(String, String)>, kid: &Value| {
        keys.iter().any(|(found, _)| kid == found.as_str())
    };
    assert!(published(realm.keys().await, &old));
    realm.withdraw("rsa-generated").await;
    assert!(!published(realm.keys().await, &old));
    assert!(published(realm.keys().await, &new));
}

#[tokio::test]
async fn each_algorithm_signs() {
    let realm = Realm::new(CURVES).await;
    for (client, algorithm) in
        [("es256", "ES256"), ("es384", "ES384"), ("ps256", "PS256"), ("eddsa", "EdDSA")]
    {
        let token = realm.login(client, "alice").await.access;
        assert_eq!(header(&token)["alg"], algorithm);
        assert!(is_for_orders(&claims(&token)), "{client}");
    }
}

#[tokio::test]
async fn introspection_knows_an_ended_session_and_a_wrong_secret() {
    let realm = Realm::new(SHOP).await;
    let tokens = realm.login("web", "alice").await;
    let ask = async |token: &str, secret: &str| {
        let form = [("client_id", "orders"), ("client_secret", secret), ("token", token)];
        let (status, answer) = realm.post("token/introspect", &form).await;
        (status.as_u16(), answer["active"].clone())
    };
    assert_eq!(ask(&tokens.access, "orders-secret").await, (200, json!(true)));
    assert_eq!(ask(&tokens.access, "wrong").await.0, 401);
    realm.end_session(&tokens).await;
    assert_eq!(ask(&tokens.access, "orders-secret").await, (200, json!(false)));
    let tokens = realm.login("web", "alice").await;
    realm.logout("web", &tokens).await;
    assert_eq!(ask(&tokens.access, "orders-secret").await, (200, json!(false)));
}

fn is_for_orders(claims: &Value) -> bool {
    match &claims["aud"] {
        Value::Array(all) => all.contains(&json!("orders")),
        one => one == "orders",
    }
}
