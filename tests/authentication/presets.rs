//! Each preset against the tokens its provider really sends: what they say is read, and what only looks like one of
//! them is refused. The values are invented, the shapes are not.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use hopgate::authn::{Files, Providers, User, Verifier};
use hopgate::policy::{self, Groups, Resource};
use serde_json::{Value, json};

use super::mint::{NOW, Signer, at, base64};
use crate::support::vectors;

static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::new("RS256", "k=/1"));
const SECRET: &str = "directus-secret-of-32-bytes-and-more";

/// One provider of a preset, and what signs for it.
struct Bench {
    providers: Providers,
    header: Value,
}

impl Bench {
    /// A provider whose `spec` is this YAML, its keys those of the test.
    fn new(spec: &str) -> Self {
        let keys = json!({"inline": {"keys": [RSA.jwk()]}});
        Self::with_keys(spec, &keys, json!({"alg": "RS256", "typ": "JWT", "kid": RSA.kid}))
    }

    fn with_keys(spec: &str, keys: &Value, header: Value) -> Self {
        let text = format!(
            "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\nmetadata: {{ name: sso, namespace: shop }}\n\
             spec:\n  keys: {keys}\n{}",
            spec.trim().lines().map(|line| format!("  {}\n", line.trim())).collect::<String>()
        );
        let resources =
            policy::parse("preset.yaml", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let [Resource::IdentityProvider(provider)] = resources.as_slice() else { panic!("{text}") };
        Self {
            providers: Providers::new(std::slice::from_ref(provider), &files()).unwrap(),
            header,
        }
    }

    fn header(mut self, name: &str, value: Value) -> Self {
        set(&mut self.header, name, value);
        self
    }

    fn token(&self, claims: &Value) -> String {
        if self.header["alg"] == "HS256" {
            let signed =
                format!("{}.{}", base64(self.header.to_string()), base64(claims.to_string()));
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
            return format!("{signed}.{}", base64(aws_lc_rs::hmac::sign(&key, signed.as_bytes())));
        }
        RSA.raw(&self.header.to_string(), &claims.to_string())
    }

    fn user(&self, claims: &Value) -> Arc<User> {
        let token = self.token(claims);
        Verifier::new(1)
            .unwrap()
            .user(&token, &self.providers, at(NOW))
            .unwrap_or_else(|refused| panic!("{refused}\n{claims:#}"))
    }

    fn code(&self, claims: &Value) -> &'static str {
        match Verifier::new(1).unwrap().user(&self.token(claims), &self.providers, at(NOW)) {
            Ok(_) => "accepted",
            Err(refused) => refused.code(),
        }
    }

    /// The claims with one of them set or, by null, taken away, are refused with this code.
    fn refuses(&self, claims: &Value, name: &str, value: Value, code: &str) {
        let mut claims = claims.clone();
        set(&mut claims, name, value);
        assert_eq!(self.code(&claims), code, "{name}: {claims:#}");
    }
}

fn files() -> Files {
    let mut jwk = RSA.jwk();
    jwk["use"] = json!("jwt-svid");
    let bundle = json!({"keys": [jwk]}).to_string();
    let mut files = Files::none();
    for (name, content) in [("directus.secret", SECRET), ("bundle.json", &bundle)] {
        files.insert(PathBuf::from(name), content.as_bytes().to_vec().into());
    }
    files
}

/// The groups; nothing when they are unknown.
fn groups(user: &User) -> Option<Vec<&str>> {
    match user.facts().groups() {
        Groups::Known(groups) => Some(groups.iter().map(String::as_str).collect()),
        Groups::Unknown => None,
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if value.is_null() {
        object.as_object_mut().unwrap().shift_remove(name);
    } else {
        object[name] = value;
    }
}

const KEYCLOAK: &str = "
    preset: keycloak
    issuer: https://sso.example.com/realms/shop
    audiences: [orders]
";

fn keycloak() -> Value {
    json!({
        "exp": NOW + 300, "iat": NOW, "auth_time": NOW - 1000, "jti": "onrtac:7",
        "iss": "https://sso.example.com/realms/shop", "aud": ["orders", "account"], "sub": "1d4c", "typ": "Bearer",
        "azp": "web", "sid": "c0ffee", "acr": "1", "allowed-origins": ["https://shop.example.com"],
        "realm_access": {"roles": ["customer"]},
        "resource_access": {"orders": {"roles": ["reader"]}, "account": {"roles": ["manage-account"]}},
        "scope": "openid email", "preferred_username": "ann", "email": "ann@example.com",
        "groups": ["/staff/ops"],
    })
}

#[test]
fn keycloak_says_what_a_token_is_inside() {
    let bench = Bench::new(KEYCLOAK);
    let user = bench.user(&keycloak());
    assert_eq!(user.facts().subject(), "1d4c");
    assert_eq!(user.facts().roles(), ["customer", "reader"], "not those of other clients");
    assert_eq!(user.facts().scopes(), ["openid", "email"]);
    assert_eq!(groups(&user), Some(vec!["/staff/ops"]));
    for kind in ["ID", "Refresh", "Offline", "Logout", "bearer"] {
        bench.refuses(&keycloak(), "typ", json!(kind), "required_claim_other");
    }
    bench.refuses(&keycloak(), "typ", Value::Null, "required_claim_missing");
    bench.refuses(&keycloak(), "aud", json!("account"), "wrong_audience");
    bench.refuses(&keycloak(), "aud", Value::Null, "wrong_audience");
    bench.refuses(&keycloak(), "sub", Value::Null, "missing_subject");
    let other = json!("https://sso.example.com/realms/other");
    bench.refuses(&keycloak(), "iss", other, "unknown_issuer");
    assert_eq!(Bench::new(KEYCLOAK).header("typ", json!("at+jwt")).code(&keycloak()), "accepted");
    let logout = Bench::new(KEYCLOAK).header("typ", json!("logout+jwt"));
    assert_eq!(logout.code(&keycloak()), "token_type_not_allowed");
}

/// A demand of one's own does not open the door that the preset keeps closed.
#[test]
fn written_tests_are_added_to_those_of_the_preset() {
    let more = Bench::new(&format!("{KEYCLOAK}    require: [{{ claim: sid }}]"));
    assert_eq!(more.code(&keycloak()), "accepted");
    more.refuses(&keycloak(), "sid", Value::Null, "required_claim_missing");
    more.refuses(&keycloak(), "typ", json!("ID"), "required_claim_other");
    let instead =
        Bench::new(&format!("{KEYCLOAK}    require: [{{ claim: typ, values: [Bearer, ID] }}]"));
    instead.refuses(&keycloak(), "typ", json!("ID"), "accepted");
    instead.refuses(&keycloak(), "typ", json!("Refresh"), "required_claim_other");
}

/// What a real Keycloak issued, signed anew.
#[test]
fn keycloak_as_recorded() {
    let Some(folder) = vectors("keycloak") else { return };
    let bench = Bench::new(
        "preset: keycloak
         issuer: http://127.0.0.1:18080/realms/lab
         audiences: [shop-api]",
    );
    let read = |name: &str| {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let mut claims = serde_json::from_str::<Value>(&text).unwrap()["payload"].clone();
        let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        claims["iat"] = NOW.into();
        claims["exp"] = (NOW + lifetime).into();
        claims
    };
    let alice = bench.user(&read("access-token-alice.json"));
    let roles = alice.facts().roles();
    for role in ["reader", "writer", "orders:write"] {
        assert!(roles.iter().any(|r| r == role), "{role} in {roles:?}");
    }
    assert!(!roles.iter().any(|r| r == "manage-account"));
    assert_eq!(groups(&alice), Some(vec!["/staff/ops"]));
    let admin = bench.user(&read("access-token-admin.json"));
    assert!(admin.facts().roles().iter().any(|r| r == "orders:admin"));
    let service = bench.user(&read("access-token-svc.json"));
    assert_eq!(groups(&service), Some(vec![]));
    for name in ["id-token-alice.json", "refresh-token-alice.json"] {
        assert_ne!(bench.code(&read(name)), "accepted", "{name}");
    }
}

#[test]
fn auth0_tokens_are_for_an_api_and_not_for_a_client() {
    let bench = Bench::new(
        "preset: auth0
         issuer: https://acme.eu.auth0.com/
         audiences: [https://api.example.com]",
    );
    let claims = json!({
        "iss": "https://acme.eu.auth0.com/", "sub": "auth0|64a1",
        "aud": ["https://api.example.com", "https://acme.eu.auth0.com/userinfo"],
        "iat": NOW, "exp": NOW + 86400, "azp": "cl1", "scope": "openid read:orders",
        "permissions": ["read:orders", "write:orders"], "https://example.com/roles": ["support"],
        "org_id": "org_7",
    });
    let user = bench.user(&claims);
    assert_eq!(user.facts().subject(), "auth0|64a1");
    assert_eq!(user.facts().roles(), ["read:orders", "write:orders"]);
    assert_eq!(user.facts().scopes(), ["openid", "read:orders"], "permissions are no scopes");
    assert_eq!(user.facts().tenant(), Some("org_7"));
    bench.refuses(&claims, "nonce", json!("n"), "refused_claim");
    bench.refuses(&claims, "at_hash", json!("h"), "refused_claim");
    bench.refuses(&claims, "aud", json!("cl1"), "wrong_audience");
    bench.refuses(&claims, "iss", json!("https://acme.eu.auth0.com"), "unknown_issuer");
    let own = Bench::new(
        "preset: auth0
         issuer: https://acme.eu.auth0.com/
         audiences: [https://api.example.com]
         claims: { roles: [[\"https://example.com/roles\"]] }",
    );
    assert_eq!(
        own.user(&claims).facts().roles(),
        ["support"],
        "what is written replaces the preset"
    );
}

#[test]
fn okta_users_are_their_uid() {
    let bench = Bench::new(
        "preset: okta
         issuer: https://acme.okta.com/oauth2/default
         audiences: [api://default]",
    )
    .header("typ", Value::Null);
    let claims = json!({
        "ver": 1, "jti": "AT.x9", "iss": "https://acme.okta.com/oauth2/default", "aud": "api://default",
        "iat": NOW, "exp": NOW + 3600, "cid": "0oa1", "uid": "00u7", "scp": ["openid", "orders.read"],
        "auth_time": NOW - 1000, "sub": "ann@example.com", "groups": ["support"],
    });
    let user = bench.user(&claims);
    assert_eq!(user.facts().subject(), "00u7");
    assert_eq!(user.facts().scopes(), ["openid", "orders.read"]);
    assert_eq!(groups(&user), Some(vec!["support"]));
    let mut machine = claims.clone();
    set(&mut machine, "uid", Value::Null);
    set(&mut machine, "sub", json!("0oa1"));
    assert_eq!(bench.user(&machine).facts().subject(), "0oa1");
    // An ID token names no client.
    bench.refuses(&claims, "cid", Value::Null, "required_claim_missing");
    bench.refuses(&claims, "aud", json!("0oa1"), "wrong_audience");
    // The organization's own server, whose tokens only Okta can verify.
    bench.refuses(&claims, "iss", json!("https://acme.okta.com"), "token_for_another_api");
    bench.refuses(&claims, "iss", json!("https://evil.okta.com"), "unknown_issuer");
}

#[test]
fn cognito_access_tokens_name_the_client_instead_of_an_audience() {
    let pool = "cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Ab3";
    let bench = Bench::new(&format!(
        "preset: cognito
         issuer: https://{pool}
         audiences: [7kq]"
    ))
    .header("typ", Value::Null);
    let claims = json!({
        "sub": "aa11", "cognito:groups": ["support"], "iss": format!("https://{pool}"), "version": 2,
        "client_id": "7kq", "origin_jti": "e1", "event_id": "f2", "token_use": "access",
        "scope": "openid orders/read", "auth_time": NOW - 1000, "exp": NOW + 3600, "iat": NOW, "jti": "9c",
        "username": "ann",
    });
    let user = bench.user(&claims);
    assert_eq!(user.facts().subject(), "aa11");
    assert_eq!(groups(&user), Some(vec!["support"]));
    assert_eq!(user.facts().scopes(), ["openid", "orders/read"]);
    bench.refuses(&claims, "client_id", json!("other"), "wrong_audience");
    bench.refuses(&claims, "client_id", Value::Null, "wrong_audience");
    bench.refuses(&claims, "token_use", json!("id"), "required_claim_other");
    bench.refuses(&claims, "token_use", Value::Null, "required_claim_missing");
    // An ID token's audience is the client.
    let mut id = claims.clone();
    for (name, value) in
        [("aud", json!("7kq")), ("client_id", Value::Null), ("token_use", json!("id"))]
    {
        set(&mut id, name, value);
    }
    assert_eq!(bench.code(&id), "required_claim_other");
    bench.refuses(&claims, "iss", json!(format!("https://issuer-{pool}")), "accepted");
    let strange = json!("https://issuer-cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Zz9");
    bench.refuses(&claims, "iss", strange, "unknown_issuer");
}

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

fn entra() -> (Bench, Value) {
    let bench = Bench::new(&format!(
        "preset: entra
         issuer: https://login.microsoftonline.com/{TENANT}/v2.0
         audiences: [6e74172b, \"api://orders\"]
         claims: {{ roleAliases: {{ Orders.Read: reader }} }}"
    ));
    let claims = json!({
        "aud": "6e74172b", "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"), "iat": NOW,
        "nbf": NOW, "exp": NOW + 4500, "azp": "11aa", "azpacr": "1", "name": "Ann", "oid": "6902",
        "preferred_username": "ann@example.com", "roles": ["Orders.Read"], "scp": "access_as_user", "sub": "pairwise",
        "tid": TENANT, "uti": "fq", "ver": "2.0", "groups": ["d0c5"], "email": "boss@example.com",
    });
    (bench, claims)
}

#[test]
fn entra_users_are_their_object_in_their_tenant() {
    let (bench, claims) = entra();
    let user = bench.user(&claims);
    assert_eq!(user.facts().subject(), "6902");
    assert_eq!(user.facts().tenant(), Some(TENANT));
    assert!(user.facts().roles().iter().any(|role| role == "reader"));
    assert_eq!(user.facts().scopes(), ["access_as_user"]);
    assert_eq!(user.facts().email(), None, "anybody's administrator can write any address");
    assert_eq!(groups(&user), Some(vec!["d0c5"]));

    let v1 = json!({
        "aud": "api://orders", "iss": format!("https://sts.windows.net/{TENANT}/"), "acr": "1",
        "amr": ["pwd", "mfa"], "appid": "11aa", "appidacr": "1", "oid": "6902", "scp": "user_impersonation",
        "sub": "s", "tid": TENANT, "unique_name": "ann@example.com", "uti": "fq", "ver": "1.0", "iat": NOW,
        "exp": NOW + 4500,
    });
    assert_eq!(bench.user(&v1).facts().subject(), "6902", "the manifest decides the version");

    bench.refuses(&claims, "aud", json!("00000003-0000-0000-c000-000000000000"), "wrong_audience");
    bench.refuses(&claims, "nonce", json!("n"), "refused_claim");
    bench.refuses(&claims, "oid", Value::Null, "missing_subject");
    bench.refuses(&claims, "tid", json!("somebody-elses"), "required_claim_other");
    bench.refuses(&claims, "tid", Value::Null, "required_claim_missing");
    let without_slash = json!(format!("https://sts.windows.net/{TENANT}"));
    bench.refuses(&claims, "iss", without_slash, "unknown_issuer");
    let guest = json!("https://sts.windows.net/9188040d-6c67-4c5b-b112-36a304b66dad/");
    bench.refuses(&claims, "iss", guest, "unknown_issuer");
}

#[test]
fn entra_groups_that_do_not_fit_are_unknown_and_not_none() {
    let (bench, mut claims) = entra();
    set(&mut claims, "groups", Value::Null);
    assert_eq!(groups(&bench.user(&claims)), Some(vec![]));
    let mut over = claims.clone();
    over["_claim_names"] = json!({"groups": "src1"});
    over["_claim_sources"] = json!({"src1": {"endpoint": "https://graph.windows.net/.."}});
    assert_eq!(groups(&bench.user(&over)), None);
    let mut implicit = claims.clone();
    implicit["hasgroups"] = json!(true);
    assert_eq!(groups(&bench.user(&implicit)), None);
}

#[test]
fn entra_tokens_for_graph_are_named() {
    let (bench, claims) = entra();
    let bench = bench.header("nonce", json!("n"));
    assert_eq!(bench.code(&claims), "token_for_another_api");
    let refused = Verifier::new(1).unwrap().user(&bench.token(&claims), &bench.providers, at(NOW));
    assert!(refused.unwrap_err().hint().unwrap().contains("your own API"));
}

#[test]
fn google_has_two_spellings_and_the_domain_in_hd() {
    let bench = Bench::new("preset: google\naudiences: [123-x.apps.googleusercontent.com]");
    let claims = json!({
        "iss": "https://accounts.google.com", "azp": "123-x.apps.googleusercontent.com",
        "aud": "123-x.apps.googleusercontent.com", "sub": "1099", "hd": "example.com",
        "email": "ann@example.com", "email_verified": true, "iat": NOW, "exp": NOW + 3600,
    });
    let user = bench.user(&claims);
    assert_eq!(user.facts().subject(), "1099");
    assert_eq!(user.facts().tenant(), Some("example.com"));
    assert_eq!(user.facts().email(), Some("ann@example.com"));
    bench.refuses(&claims, "iss", json!("accounts.google.com"), "accepted");
    bench.refuses(&claims, "iss", json!("https://accounts.google.com/"), "unknown_issuer");
    bench.refuses(&claims, "aud", json!("123-y.apps.googleusercontent.com"), "wrong_audience");
    let mut private = claims.clone();
    set(&mut private, "hd", Value::Null);
    assert_eq!(bench.user(&private).facts().tenant(), None, "never the domain of the address");
    let ours = Bench::new(
        "preset: google
         audiences: [123-x.apps.googleusercontent.com]
         require: [{ claim: hd, values: [example.com] }]",
    );
    assert_eq!(ours.code(&claims), "accepted");
    assert_eq!(ours.code(&private), "required_claim_missing");
}

fn directus(spec: &str) -> Bench {
    let keys = json!({"secretFile": "directus.secret"});
    Bench::with_keys(spec, &keys, json!({"alg": "HS256", "typ": "JWT"}))
}

#[test]
fn directus_tokens_are_told_from_all_else_that_its_secret_signs() {
    let bench = directus("preset: directus");
    let claims = json!({
        "id": "8f2c", "role": "5b1e", "app_access": true, "admin_access": false, "iat": NOW, "exp": NOW + 900,
        "iss": "directus",
    });
    let user = bench.user(&claims);
    assert_eq!(user.facts().subject(), "8f2c");
    assert_eq!(user.facts().roles(), ["5b1e"]);
    bench.refuses(&claims, "app_access", Value::Null, "required_claim_missing");
    bench.refuses(&claims, "admin_access", Value::Null, "required_claim_missing");
    bench.refuses(&claims, "id", Value::Null, "missing_subject");
    bench.refuses(&claims, "share", json!("s1"), "refused_claim");
    bench.refuses(&claims, "aud", json!("mcp"), "refused_claim");
    bench.refuses(&claims, "exp", Value::Null, "missing_expiry");
    bench.refuses(&claims, "iss", json!("Directus"), "unknown_issuer");
    for scope in ["password-reset", "invite", "pending-registration"] {
        let reset = json!({
            "email": "ann@example.com", "scope": scope, "hash": "x", "iat": NOW, "exp": NOW + 900,
            "iss": "directus",
        });
        assert_ne!(bench.code(&reset), "accepted", "{scope}");
        bench.refuses(&claims, "scope", json!(scope), "refused_claim");
    }
    let mut nobodys = claims.clone();
    nobodys["role"] = Value::Null;
    assert_eq!(bench.user(&nobodys).facts().roles(), [""; 0], "a user without a role");
    nobodys["admin_access"] = json!(1);
    assert_eq!(bench.code(&nobodys), "accepted", "some databases have no booleans");
}

/// An extension may put an audience in; then it can be asked for.
#[test]
fn directus_with_an_audience() {
    let bench = directus("preset: directus\naudienceCheck: Required\naudiences: [orders]");
    let claims = json!({
        "id": "8f2c", "role": "5b1e", "app_access": true, "admin_access": false, "iat": NOW, "exp": NOW + 900,
        "iss": "directus", "aud": "orders",
    });
    assert_eq!(bench.code(&claims), "accepted");
    bench.refuses(&claims, "aud", json!("other"), "wrong_audience");
    bench.refuses(&claims, "aud", Value::Null, "wrong_audience");
}

#[test]
fn directus_as_recorded() {
    let Some(folder) = vectors("directus") else { return };
    let text = std::fs::read_to_string(folder.join("access-token.json")).unwrap();
    let mut claims = serde_json::from_str::<Value>(&text).unwrap()["payload"].clone();
    claims["iat"] = NOW.into();
    claims["exp"] = (NOW + 900).into();
    let user = directus("preset: directus").user(&claims);
    assert_eq!(Some(user.facts().subject()), claims["id"].as_str());
    assert_eq!(user.facts().roles().first().map(String::as_str), claims["role"].as_str());
}

#[test]
fn zitadel_roles_are_the_keys_of_an_object() {
    let bench = Bench::new(
        "preset: zitadel
         issuer: https://acme.zitadel.cloud
         audiences: [\"2814\"]",
    );
    let claims = json!({
        "iss": "https://acme.zitadel.cloud", "sub": "2812", "aud": ["2813@shop", "2814"], "exp": NOW + 43200,
        "iat": NOW, "nbf": NOW, "client_id": "2813@shop", "jti": "V2_1",
        "urn:zitadel:iam:org:project:roles": {"support": {"2810": "acme.example.com"}},
        "urn:zitadel:iam:org:project:2814:roles": {"auditor": {"2810": "acme.example.com"}},
        "urn:zitadel:iam:org:project:9999:roles": {"admin": {"2810": "acme.example.com"}},
        "urn:zitadel:iam:user:resourceowner:id": "2810",
    });
    let user = bench.user(&claims);
    assert_eq!(user.facts().subject(), "2812");
    assert_eq!(user.facts().roles(), ["support", "auditor"], "not those of another project");
    assert_eq!(user.facts().tenant(), Some("2810"));
    // An ID token: the same audiences, no jti.
    bench.refuses(&claims, "jti", Value::Null, "required_claim_missing");
    bench.refuses(&claims, "at_hash", json!("h"), "refused_claim");
    bench.refuses(&claims, "aud", json!(["2813@shop"]), "wrong_audience");
}

#[test]
fn hydra_keeps_what_the_consent_app_adds_in_ext() {
    let bench = Bench::new(
        "preset: hydra
         issuer: https://hydra.example.com
         audiences: [orders]",
    );
    let claims = json!({
        "aud": ["orders"], "client_id": "web", "exp": NOW + 3600, "ext": {"tenant": "t1", "roles": ["support"]},
        "iat": NOW, "iss": "https://hydra.example.com", "jti": "j", "nbf": NOW,
        "scp": ["openid", "orders.read"], "sub": "ann",
    });
    let user = bench.user(&claims);
    assert_eq!(user.facts().subject(), "ann");
    assert_eq!(user.facts().roles(), ["support"]);
    assert_eq!(user.facts().tenant(), Some("t1"));
    assert_eq!(user.facts().scopes(), ["openid", "orders.read"]);
    bench.refuses(&claims, "aud", json!([]), "wrong_audience");
    bench.refuses(&claims, "client_id", Value::Null, "required_claim_missing");
    bench.refuses(&claims, "at_hash", json!("h"), "refused_claim");
    bench.refuses(&claims, "token_use", json!("refresh_token"), "refused_claim");
    bench.refuses(&claims, "iss", json!("https://hydra.example.com/"), "unknown_issuer");
}

#[test]
fn dex_makes_no_difference_between_its_tokens() {
    let bench = Bench::new(
        "preset: dex
         issuer: https://dex.example.com/dex
         audiences: [web]",
    )
    .header("typ", Value::Null);
    let claims = json!({
        "iss": "https://dex.example.com/dex", "sub": "CgcyMzQyNz", "aud": "web", "exp": NOW + 86400, "iat": NOW,
        "jti": "j", "at_hash": "h", "email": "ann@example.com", "email_verified": true,
        "groups": ["acme:support"], "name": "Ann",
    });
    let user = bench.user(&claims);
    assert_eq!(user.facts().subject(), "CgcyMzQyNz");
    assert_eq!(groups(&user), Some(vec!["acme:support"]));
    assert_eq!(user.facts().email(), Some("ann@example.com"));
    bench.refuses(&claims, "aud", json!(["cli", "other"]), "wrong_audience");
    bench.refuses(&claims, "iss", json!("https://dex.example.com"), "unknown_issuer");
}

#[test]
fn github_runs_are_known_by_numbers() {
    let bench = Bench::new("preset: github-actions\naudiences: [https://deploy.example.com]");
    let claims = json!({
        "jti": "j", "sub": "repo:acme-12/shop-345:environment:prod", "aud": "https://deploy.example.com",
        "ref": "refs/heads/main", "sha": "a1", "repository": "acme/shop", "repository_id": "345",
        "repository_owner_id": "12", "run_id": "1", "actor": "ann", "event_name": "push",
        "environment": "prod", "job_workflow_ref": "acme/ci/.github/workflows/d.yml@refs/heads/main",
        "iss": "https://token.actions.githubusercontent.com", "nbf": NOW - 600, "iat": NOW, "exp": NOW + 300,
    });
    let user = bench.user(&claims);
    assert_eq!(user.facts().subject(), "repo:acme-12/shop-345:environment:prod");
    assert_eq!(user.facts().tenant(), Some("12"));
    bench.refuses(&claims, "aud", json!("https://github.com/acme"), "wrong_audience");
    bench.refuses(&claims, "repository_id", Value::Null, "required_claim_missing");
    bench.refuses(&claims, "repository_owner_id", Value::Null, "required_claim_missing");
    bench.refuses(&claims, "iss", json!("https://ghes.example/_services/token"), "unknown_issuer");
    let ghes = Bench::new(
        "preset: github-actions
         issuer: https://ghes.example/_services/token
         audiences: [https://deploy.example.com]",
    );
    assert_eq!(ghes.code(&claims), "unknown_issuer", "github.com is not trusted beside it");
}

#[test]
fn kubernetes_tokens_of_old_are_refused() {
    let bench = Bench::new(
        "preset: kubernetes
         issuer: https://kubernetes.default.svc.cluster.local
         audiences: [orders]",
    )
    .header("typ", Value::Null);
    let claims = json!({
        "aud": ["orders"], "exp": NOW + 3607, "iat": NOW, "iss": "https://kubernetes.default.svc.cluster.local",
        "jti": "3f", "nbf": NOW, "sub": "system:serviceaccount:shop:web",
        "kubernetes.io": {
            "namespace": "shop", "node": {"name": "n1", "uid": "u1"}, "pod": {"name": "web-0", "uid": "u2"},
            "serviceaccount": {"name": "web", "uid": "u3"}, "warnafter": NOW + 3600,
        },
    });
    let user = bench.user(&claims);
    assert_eq!(user.facts().subject(), "system:serviceaccount:shop:web");
    assert_eq!(user.facts().tenant(), Some("shop"));
    assert_eq!(groups(&user), Some(vec![]));
    bench.refuses(&claims, "aud", json!(["https://kubernetes.default.svc"]), "wrong_audience");
    bench.refuses(&claims, "kubernetes.io", Value::Null, "required_claim_missing");
    let legacy = json!({
        "iss": "kubernetes/serviceaccount", "kubernetes.io/serviceaccount/namespace": "shop",
        "kubernetes.io/serviceaccount/service-account.name": "web", "sub": "system:serviceaccount:shop:web",
    });
    assert_eq!(bench.code(&legacy), "unknown_issuer");
    bench.refuses(
        &claims,
        "kubernetes.io/serviceaccount/namespace",
        json!("shop"),
        "refused_claim",
    );
    bench.refuses(&claims, "exp", Value::Null, "missing_expiry");
}

#[test]
fn spiffe_names_a_workload_and_says_nothing_more() {
    let keys = json!({"bundleFile": "bundle.json"});
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": RSA.kid});
    let spec = "preset: spiffe\nissuer: spiffe://example.org\naudiences: [orders]";
    let bench = || Bench::with_keys(spec, &keys, header.clone());
    let claims = json!({
        "sub": "spiffe://example.org/ns/shop/sa/web", "aud": ["orders"], "exp": NOW + 300, "iat": NOW,
    });
    assert_eq!(bench().user(&claims).facts().subject(), "spiffe://example.org/ns/shop/sa/web");
    assert_eq!(bench().header("typ", json!("JOSE")).code(&claims), "accepted");
    assert_eq!(bench().header("typ", Value::Null).code(&claims), "accepted");
    assert_eq!(bench().header("typ", json!("at+jwt")).code(&claims), "token_type_not_allowed");
    assert_eq!(bench().header("cty", json!("x")).code(&claims), "header_member_not_allowed");
    bench().refuses(&claims, "aud", json!(["payments"]), "wrong_audience");
    bench().refuses(&claims, "aud", Value::Null, "wrong_audience");
    bench().refuses(&claims, "exp", Value::Null, "missing_expiry");
    for subject in [
        "ann",
        "https://example.org/x",
        "spiffe://example.org/a/../b",
        "spiffe://other.org/ns/shop/sa/web",
    ] {
        let mut claims = claims.clone();
        claims["sub"] = json!(subject);
        assert_ne!(bench().code(&claims), "accepted", "{subject}");
    }
}

#[test]
fn an_issuer_that_no_token_has_is_refused_when_it_is_written() {
    for (spec, part) in [
        (
            "preset: entra, issuer: 'https://login.microsoftonline.com/common/v2.0', audiences: [a]",
            "no token has",
        ),
        ("preset: entra, issuer: 'https://login.microsoftonline.com/72f9/'", "no issuer of Entra"),
        ("preset: entra, issuer: 'https://sts.windows.net/72f9'", "no issuer of Entra"),
        ("preset: kubernetes, issuer: kubernetes/serviceaccount", "never expire"),
        ("preset: keycloak, issuer: 'https://sso.example'", "`audiences` is missing"),
        (
            "preset: cognito, issuer: 'https://cognito-idp.eu.amazonaws.com/a'",
            "`audiences` is missing",
        ),
        ("preset: google", "`audiences` is missing"),
        ("preset: okta, audiences: [a]", "`issuer` is missing"),
        ("preset: directus", "needs a shared secret: `keys.secretFile`"),
        ("preset: gitlab", "unknown value `gitlab`"),
    ] {
        let text = format!(
            "{{ apiVersion: hopgate.dev/v1alpha1, kind: IdentityProvider, metadata: {{ name: sso, namespace: shop }}, \
             spec: {{ {spec} }} }}"
        );
        let error = policy::parse("preset.yaml", &text).unwrap_err().to_string();
        assert!(error.contains(part), "{spec}: {error}");
    }
}
