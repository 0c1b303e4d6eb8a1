//! A real Keycloak: one for the test binary, started by the first test that asks for it, and a realm for each test.
//!
//! A test that needs it fails with the reason when there is none.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::served::{Probe, Served, installed};

/// A realm with customers (`alice`), support (`sue`, by her group) and a manager (`max`, by a composite role); the
/// clients `web` (for users, audience `orders`), `elsewhere` (for users, not our audience), `worker` (a service account)
/// and `orders` (which may ask whether a token is still good). Passwords are the name and `-pw`, secrets the name and `-secret`.
pub const SHOP: &str = include_str!("keycloak/shop.json");
/// A realm whose clients `es256`, `es384`, `ps256` and `eddsa` get tokens of that algorithm.
pub const CURVES: &str = include_str!("keycloak/curves.json");

/// The address of the one server.
fn server() -> &'static str {
    static SERVER: OnceLock<Result<Served, String>> = OnceLock::new();
    let start = || {
        let probe = Probe {
            path: "/realms/master/protocol/openid-connect/token",
            form: Some("grant_type=password&client_id=admin-cli&username=root&password=root-pw"),
        };
        Served::start("keycloak", &installed("HOPGATE_KEYCLOAK", "keycloak-26.7.3")?, &probe)
    };
    match SERVER.get_or_init(start) {
        Ok(server) => &server.base,
        Err(reason) => panic!("no Keycloak: {reason}"),
    }
}

/// What a login gives.
pub struct Tokens {
    pub access: String,
    pub refresh: String,
    pub id: String,
}

/// A realm of the test's own.
pub struct Realm {
    name: String,
    base: &'static str,
    http: reqwest::Client,
}

impl Realm {
    /// A new realm of this description ([`SHOP`], [`CURVES`]).
    pub async fn new(description: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        // Starting takes a while, and nothing else is done on this test's thread.
        let base = server();
        let name = format!("shop-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        let realm = Self { name, base, http };
        let mut description: Value = serde_json::from_str(description).unwrap();
        description["realm"] = json!(realm.name);
        let url = format!("{base}/admin/realms");
        realm.admin(Method::POST, &url, Some(&description)).await;
        realm
    }

    pub fn issuer(&self) -> String {
        format!("{}/realms/{}", self.base, self.name)
    }

    /// A page of the realm's OpenID Connect, such as `token`.
    pub fn page(&self, name: &str) -> String {
        format!("{}/protocol/openid-connect/{name}", self.issuer())
    }

    /// A form to such a page: the status and what was answered.
    pub async fn post(&self, page: &str, form: &[(&str, &str)]) -> (StatusCode, Value) {
        let answer = self.http.post(self.page(page)).form(form).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// What a GET gives.
    pub async fn get(&self, url: &str) -> Value {
        self.http.get(url).send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    /// A user signs in by way of a client.
    pub async fn login(&self, client: &str, user: &str) -> Tokens {
        let password = format!("{user}-pw");
        self.token(&[
            ("grant_type", "password"),
            ("scope", "openid"),
            ("client_id", client),
            ("username", user),
            ("password", &password),
        ])
        .await
    }

    /// New tokens of the same session.
    pub async fn refresh(&self, client: &str, tokens: &Tokens) -> Tokens {
        self.token(&[
            ("grant_type", "refresh_token"),
            ("client_id", client),
            ("refresh_token", &tokens.refresh),
        ])
        .await
    }

    /// The token of a client's service account.
    pub async fn service(&self, client: &str) -> String {
        let secret = format!("{client}-secret");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", &secret),
        ];
        let (status, answer) = self.post("token", &form).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["access_token"].as_str().unwrap().to_owned()
    }

    async fn token(&self, form: &[(&str, &str)]) -> Tokens {
        let (status, answer) = self.post("token", form).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Tokens {
            access: text("access_token"),
            refresh: text("refresh_token"),
            id: text("id_token"),
        }
    }

    /// A user signs out by way of a client.
    pub async fn logout(&self, client: &str, tokens: &Tokens) {
        let form = [("client_id", client), ("refresh_token", tokens.refresh.as_str())];
        assert!(self.post("logout", &form).await.0.is_success());
    }

    /// An administrator ends a session.
    pub async fn end_session(&self, tokens: &Tokens) {
        let claims = claims(&tokens.access);
        let session = claims["sid"].as_str().unwrap();
        let url = self.own(&format!("sessions/{session}?isOffline=false"));
        self.admin(Method::DELETE, &url, None).await;
    }

    /// The public keys of one algorithm, by `kid`, the newest last known first.
    pub async fn keys(&self) -> Vec<(String, String)> {
        let set = self.get(&self.page("certs")).await;
        let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
        let keys = set["keys"].as_array().unwrap().iter();
        keys.filter(|key| key["use"] == "sig")
            .map(|key| (text(key, "kid"), text(key, "alg")))
            .collect()
    }

    /// A new RSA key that signs from now on. The old ones stay published.
    pub async fn rotate(&self, name: &str, priority: u32) {
        let realm = self.admin(Method::GET, &self.own(""), None).await;
        let component = json!({
            "name": name, "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
            "parentId": realm["id"],
            "config": { "priority": [priority.to_string()], "algorithm": ["RS256"], "keySize": ["2048"] },
        });
        self.admin(Method::POST, &self.own("components"), Some(&component)).await;
    }

    /// A key that [`Self::rotate`] made, or the first (`rsa-generated`), is withdrawn: it is not published any more.
    pub async fn withdraw(&self, name: &str) {
        let url = self.own("components?type=org.keycloak.keys.KeyProvider");
        let found = self.admin(Method::GET, &url, None).await;
        let mut components = found.as_array().unwrap().iter();
        let mut component = components.find(|one| one["name"] == name).unwrap().clone();
        component["config"]["enabled"] = json!(["false"]);
        let url = self.own(&format!("components/{}", component["id"].as_str().unwrap()));
        self.admin(Method::PUT, &url, Some(&component)).await;
    }

    /// Settings of the realm, such as `accessTokenLifespan`.
    pub async fn set(&self, settings: &Value) {
        self.admin(Method::PUT, &self.own(""), Some(settings)).await;
    }

    /// The admin page of this realm.
    fn own(&self, page: &str) -> String {
        format!("{}/admin/realms/{}/{page}", self.base, self.name).trim_end_matches('/').to_owned()
    }

    async fn admin(&self, method: Method, url: &str, body: Option<&Value>) -> Value {
        let form = [
            ("grant_type", "password"),
            ("client_id", "admin-cli"),
            ("username", "root"),
            ("password", "root-pw"),
        ];
        let page = format!("{}/realms/master/protocol/openid-connect/token", self.base);
        let answer = self.http.post(page).form(&form).send().await.unwrap();
        let answer: Value = answer.error_for_status().unwrap().json().await.unwrap();
        let mut request = self.http.request(method.clone(), url);
        request = request.bearer_auth(answer["access_token"].as_str().unwrap());
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{method} {url}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }
}

/// The header of a token, not verified.
pub fn header(token: &str) -> Value {
    part(token, 0)
}

/// The claims of a token, not verified.
pub fn claims(token: &str) -> Value {
    part(token, 1)
}

fn part(token: &str, index: usize) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(index).expect("a token has three parts");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}
